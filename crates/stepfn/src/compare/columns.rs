//! Texts to compare as columns of records.

use serde_json::{Map, Value};

use super::Variant;
use crate::writers::plain;
use crate::{Error, ErrorKind, Input, Region, Result};

/// A pair or a tuple of texts from a JSON object: its `id`, and what of it is compared, or why it can't be read. The texts are in `columns`; without any, in
/// `good` and `bad` or in `sentence_good` and `sentence_bad`, the expected one first. A column is a text, or a list of its regions: texts, or
/// objects with `content` and `name` or `region_number`, which are joined by spaces. The conditions of an item of SyntaxGym are columns of their names. `source` is what all texts follow. Other fields travel along if
/// `keep` names them, or is `*`.
///
/// ```
/// use stepfn::{Criterion, CompareTask, LanguageModel, comparison};
///
/// let (_, input) = comparison(br#"{"good": "And God said", "bad": "And God say"}"#, &[], &[]);
/// let model = LanguageModel::load("verse")?;
/// let compared = model.compare(input?, &CompareTask { criterion: Criterion::Token, ..CompareTask::default() })?;
/// assert!(compared.prefers && compared.difference > Some(0.0));
/// # Ok::<(), stepfn::Error>(())
/// ```
pub fn comparison(bytes: &[u8], columns: &[String], keep: &[String]) -> (Value, Result<Input>) {
    let (id, fields) = match crate::record::fields(bytes) {
        Ok((id, fields)) => (id, fields),
        Err(error) => return (Value::Null, Err(error)),
    };
    (id, variants(fields, columns, keep))
}

fn variants(mut fields: Map<String, Value>, columns: &[String], keep: &[String]) -> Result<Input> {
    let wrong = |what: String, hint: &str| Error::new(ErrorKind::Text, what, hint);
    fields.extend(conditions(&fields));
    let known = [["good", "bad"], ["sentence_good", "sentence_bad"]].map(|pair| pair.map(str::to_owned));
    let columns = match columns {
        [] => known
            .iter()
            .find(|pair| pair.iter().all(|column| fields.contains_key(column)))
            .map(|pair| &pair[..])
            .ok_or_else(|| {
                wrong(
                    "there are neither `good` and `bad` nor `sentence_good` and `sentence_bad`".to_owned(),
                    "name the columns of the texts: --columns a,b",
                )
            })?,
        columns => columns,
    };
    let variant = |name: &String| {
        let misfit = |found: &Value| {
            let what =
                format!("`{name}` must be a text, or a list of its regions, not {}", crate::record::shortened(found));
            wrong(what, "give a text, or a list of texts or of {\"name\": …, \"content\": …}")
        };
        match fields.get(name) {
            Some(Value::String(text)) => Ok(Variant::new(name, text)),
            Some(list @ Value::Array(parts)) => regions(name, parts).ok_or_else(|| misfit(list)),
            Some(other) => Err(misfit(other)),
            None => Err(wrong(format!("there is no field `{name}`"), "give a text in each of the columns")),
        }
    };
    let variants = columns.iter().map(variant).collect::<Result<Vec<_>>>()?;
    let source = match fields.get("source").filter(|_| columns.iter().all(|column| column != "source")) {
        None | Some(Value::Null) => None,
        Some(Value::String(source)) => Some(source.clone()),
        Some(other) => {
            return Err(wrong(
                format!("`source` must be a text, not {}", crate::record::shortened(other)),
                "give a text, or leave it out",
            ));
        }
    };
    let is_kept = |name: &String| {
        keep.iter().any(|keep| keep == name || keep == "*") && !columns.contains(name) && name != "source"
    };
    fields.retain(|name, _| is_kept(name));
    Ok(Input { source, variants, fields, ..Input::default() })
}

/// The texts of an item of a suite of SyntaxGym, by the names of its conditions: `{"conditions": [{"condition_name": …, "regions": […]}, …]}`.
fn conditions(fields: &Map<String, Value>) -> Map<String, Value> {
    let condition = |condition: &Value| {
        let name = condition.get("condition_name")?.as_str()?.to_owned();
        Some((name, condition.get("regions")?.clone()))
    };
    let conditions = fields.get("conditions").and_then(Value::as_array).into_iter().flatten();
    conditions.filter_map(condition).filter(|(name, _)| !fields.contains_key(name)).collect()
}

/// A text from its regions. Empty ones are left out of the text, and have no score.
fn regions(name: &str, parts: &[Value]) -> Option<Variant> {
    let part = |(number, part): (usize, &Value)| match part {
        Value::String(text) => Some((None, text.clone())),
        Value::Object(named) => {
            let called = named
                .get("name")
                .or_else(|| named.get("region_number"))
                .map_or_else(|| (number + 1).to_string(), plain);
            Some((Some(called), named.get("content")?.as_str()?.to_owned()))
        }
        _ => None,
    };
    let parts = parts.iter().enumerate().map(part).collect::<Option<Vec<_>>>()?;
    let (mut text, mut regions) = (String::new(), Vec::new());
    for (name, content) in parts.into_iter().filter(|(_, content)| !content.trim().is_empty()) {
        let content = content.trim();
        if !text.is_empty() {
            text.push(' ');
        }
        let start = text.len();
        text.push_str(content);
        regions.push(Region { name, place: crate::Place::Span(start..text.len()) });
    }
    Some(Variant { name: name.to_owned(), text, regions })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_are_texts_or_lists_of_regions() {
        let read = |line: &str, columns: &[&str]| {
            let columns: Vec<String> = columns.iter().map(|&column| column.to_owned()).collect();
            comparison(line.as_bytes(), &columns, &["UID".to_owned()])
        };
        let (id, input) =
            read(r#"{"id": 4, "sentence_good": "a b", "sentence_bad": "a c", "UID": "x", "field": 1}"#, &[]);
        let input = input.unwrap();
        assert_eq!(
            (id, &input.variants),
            (4.into(), &vec![Variant::new("sentence_good", "a b"), Variant::new("sentence_bad", "a c")])
        );
        assert_eq!(Value::from(input.fields), json!({ "UID": "x" }));
        let line = r#"{"match": [{"region_number": 1, "content": "The"}, {"region_number": 2, "content": ""}, {"name": "verb", "content": "sat "}], "other": ["The", "mat"], "source": "s"}"#;
        let input = read(line, &["match", "other"]).1.unwrap();
        assert_eq!((input.source.as_deref(), input.variants[0].text.as_str()), (Some("s"), "The sat"));
        assert_eq!(
            input.variants[0].regions[1],
            Region { name: Some("verb".to_owned()), place: crate::Place::Span(4..7) }
        );
        assert_eq!(input.variants[1].regions.len(), 2);
        let item = r#"{"item_number": 1, "conditions": [{"condition_name": "match", "regions": [{"region_number": 1, "content": "The cat"},
            {"region_number": 2, "content": "sits"}]}, {"condition_name": "mismatch", "regions": [{"region_number": 1, "content": "The cat"},
            {"region_number": 2, "content": "sit"}]}]}"#;
        let input = read(item, &["match", "mismatch"]).1.unwrap();
        let texts: Vec<(&str, usize)> =
            input.variants.iter().map(|variant| (variant.text.as_str(), variant.regions.len())).collect();
        assert_eq!(texts, [("The cat sits", 2), ("The cat sit", 2)]);
        for (line, columns, says) in [
            (r#"{"a": "x"}"#, &[][..], "there are neither"),
            (r#"{"a": "x"}"#, &["a", "b"], "no field `b`"),
            (r#"{"good": "x", "bad": 3}"#, &[], "`bad` must be a text"),
            (r#"{"good": "x", "bad": [3]}"#, &[], "`bad` must be a text"),
            (r#"{"good": "x", "bad": "y", "source": 1}"#, &[], "`source` must be"),
        ] {
            assert!(read(line, columns).1.unwrap_err().what().contains(says), "{line}");
        }
    }
}
