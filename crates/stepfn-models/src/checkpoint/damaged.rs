//! What is wrong with a safetensors file: eight bytes that say how long a header is, the header, which is JSON, and the tensors' bytes.

use safetensors::{Dtype, SafeTensorError};
use serde_json::{Map, Value};

use crate::json_file::from_json;

/// Bytes of the header's length.
const LENGTH: u64 = 8;

/// A tensor that a header lists.
struct Listed<'a> {
    name: &'a str,
    dtype: Dtype,
    shape: Vec<u64>,
    start: u64,
    end: u64,
}

/// What is wrong with a file that could not be read, for its user.
pub(super) fn damage(bytes: &[u8], error: &SafeTensorError) -> String {
    let has = bytes.len() as u64;
    let Some(length) = bytes.first_chunk::<8>().map(|length| u64::from_le_bytes(*length)) else {
        return incomplete(&format!("it has {has} bytes"));
    };
    if bytes.len() > 8 && bytes[8] != b'{' {
        return "this is no safetensors file: it doesn't begin with a header".to_owned();
    }
    let header = usize::try_from(length).ok().and_then(|length| bytes.get(8..)?.get(..length));
    let Some(header) = header else {
        let needs = length.saturating_add(LENGTH);
        return incomplete(&format!("it has {has} bytes, and its header alone needs {needs}"));
    };
    let fields: Map<String, Value> = match from_json(header) {
        Ok(fields) => fields,
        Err(what) => return format!("damaged safetensors file: its header is not JSON: {what}"),
    };
    let tensors = fields.iter().filter(|(name, _)| *name != "__metadata__");
    let mut listed = match tensors.map(|(name, value)| of_header(name, value)).collect::<Result<Vec<_>, _>>() {
        Ok(listed) => listed,
        Err(what) => return format!("damaged safetensors file: in its header, {what}"),
    };
    listed.sort_by_key(|tensor| (tensor.start, tensor.end));
    let needs = listed.iter().map(|tensor| tensor.end).max().unwrap_or(0).saturating_add(LENGTH).saturating_add(length);
    if needs > has {
        return incomplete(&format!("it has {has} bytes, and its tensors need {needs}"));
    }
    if let Some(what) = listed.iter().find_map(misshapen).or_else(|| apart(&listed)) {
        return format!("damaged safetensors file: {what}");
    }
    if needs < has {
        let more = has - needs;
        return format!("damaged safetensors file: behind its last tensor are {more} bytes that belong to none");
    }
    format!("damaged safetensors file: {error}")
}

fn incomplete(what: &str) -> String {
    format!("incomplete safetensors file: {what}; was the download interrupted?")
}

fn of_header<'a>(name: &'a str, value: &Value) -> Result<Listed<'a>, String> {
    let field = |field: &str| value.get(field).ok_or_else(|| format!("tensor `{name}` has no `{field}`"));
    let numbers = |field: &str, value: &Value| {
        let numbers: Option<Vec<u64>> = value.as_array().and_then(|all| all.iter().map(Value::as_u64).collect());
        numbers.ok_or_else(|| format!("tensor `{name}`: `{field}` should be a list of whole numbers"))
    };
    let dtype = field("dtype")?;
    let known = serde_json::from_value::<Dtype>(dtype.clone());
    let dtype =
        known.map_err(|_| format!("tensor `{name}` has the element type {dtype}, which this version doesn't know"))?;
    let shape = numbers("shape", field("shape")?)?;
    match numbers("data_offsets", field("data_offsets")?)?.as_slice() {
        &[start, end] if start <= end => Ok(Listed { name, dtype, shape, start, end }),
        _ => Err(format!("tensor `{name}`: `data_offsets` should be where its bytes start and where they end")),
    }
}

/// What is wrong with a tensor that has other bytes than its shape needs.
fn misshapen(tensor: &Listed<'_>) -> Option<String> {
    let Listed { name, dtype, shape, start, end } = tensor;
    let bits = shape.iter().try_fold(dtype.bitsize() as u64, |bits, size| bits.checked_mul(*size));
    let bytes = bits.filter(|bits| bits.is_multiple_of(8)).map(|bits| bits / 8);
    let has = end - start;
    let needs = bytes.map_or_else(|| "another number".to_owned(), |bytes| bytes.to_string());
    (bytes != Some(has))
        .then(|| format!("tensor `{name}` has {has} bytes, and {dtype} of shape {shape:?} needs {needs}"))
}

/// What is wrong with tensors, in order, that don't lie one after the other.
fn apart(listed: &[Listed<'_>]) -> Option<String> {
    let first = listed.first().filter(|first| first.start > 0);
    if let Some(first) = first {
        return Some(format!(
            "before its first tensor, `{}`, are {} bytes that belong to none",
            first.name, first.start
        ));
    }
    listed.windows(2).find_map(|pair| {
        let [one, next] = pair else { return None };
        match next.start.cmp(&one.end) {
            core::cmp::Ordering::Less => Some(format!("tensors `{}` and `{}` share bytes", one.name, next.name)),
            core::cmp::Ordering::Greater => {
                let gap = next.start - one.end;
                Some(format!("between tensors `{}` and `{}` are {gap} bytes that belong to none", one.name, next.name))
            }
            core::cmp::Ordering::Equal => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use safetensors::SafeTensors;

    use super::*;

    fn file(header: &str, data: usize) -> Vec<u8> {
        [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &vec![0; data]].concat()
    }

    #[test]
    fn every_kind_of_damage_has_its_own_words() {
        let tensor = |dtype: &str, shape: &str, offsets: &str| {
            format!("{{\"dtype\":\"{dtype}\",\"shape\":[{shape}],\"data_offsets\":[{offsets}]}}")
        };
        let one = format!("{{\"a\":{}}}", tensor("F32", "2", "0,8"));
        let two = |other: &str| format!("{{\"a\":{},\"b\":{other}}}", tensor("F32", "2", "0,8"));
        let whole = file(&one, 8);
        assert!(SafeTensors::deserialize(&whole).is_ok());
        let mut huge = whole.clone();
        huge[7] = 0xFF;
        let cut = |bytes: usize| whole[..bytes].to_vec();
        for (bytes, says) in [
            (cut(0), "incomplete safetensors file: it has 0 bytes"),
            (cut(20), "its header alone needs"),
            (cut(whole.len() - 1), "its tensors need"),
            (huge, "its header alone needs"),
            (b"<html>no model</html>".to_vec(), "this is no safetensors file"),
            (file("{\"a\": ", 0), "its header is not JSON: not all is there"),
            (file("{\"a\": }", 0), "its header is not JSON: not JSON from line 1, column 7"),
            (file("{\"a\": {}}", 0), "tensor `a` has no `dtype`"),
            (file(&format!("{{\"a\":{}}}", tensor("Q4", "2", "0,8")), 8), "the element type \"Q4\""),
            (file(&format!("{{\"a\":{}}}", tensor("F32", "2", "8,0")), 8), "`data_offsets` should be"),
            (
                file(&format!("{{\"a\":{}}}", tensor("F32", "3", "0,8")), 8),
                "has 8 bytes, and F32 of shape [3] needs 12",
            ),
            (file(&two(&tensor("F32", "2", "4,12")), 12), "tensors `a` and `b` share bytes"),
            (file(&two(&tensor("F32", "2", "12,20")), 20), "between tensors `a` and `b` are 4 bytes"),
            (
                file(&format!("{{\"a\":{}}}", tensor("F32", "2", "4,12")), 12),
                "before its first tensor, `a`, are 4 bytes",
            ),
            (file(&one, 9), "behind its last tensor are 1 bytes"),
        ] {
            let error = SafeTensors::deserialize(&bytes).unwrap_err();
            let damage = damage(&bytes, &error);
            assert!(damage.contains(says), "{says}: {damage}");
            assert_eq!(damage.contains("interrupted"), damage.contains("incomplete"), "{damage}");
        }
    }
}
