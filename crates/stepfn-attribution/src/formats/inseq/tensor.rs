//! Score tensors in base64: written as f32, read as f32, f16 or float8 (e4m3), which are what inseq saves.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use half::f16;
use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize};

use crate::AttributionError;

const NAME: &str = "attribution";

/// Values of a shape, as inseq stores them.
pub(super) fn encode(what: &str, shape: &[usize], values: &[f32]) -> Result<String, AttributionError> {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let file = TensorView::new(Dtype::F32, shape.to_vec(), &bytes).and_then(|view| serialize([(NAME, view)], None));
    let file = file.map_err(|error| wrong(what, "scores that safetensors can hold", error.to_string()))?;
    Ok(STANDARD.encode(file))
}

/// The shape and the values.
pub(super) fn decode(what: &str, text: &str) -> Result<(Vec<usize>, Vec<f32>), AttributionError> {
    let bytes = STANDARD.decode(text).map_err(|error| wrong(what, "base64", error.to_string()))?;
    let unreadable = |error: safetensors::SafeTensorError| {
        wrong(what, "a safetensors file with a tensor `attribution`", error.to_string())
    };
    let file = SafeTensors::deserialize(&bytes).map_err(unreadable)?;
    let tensor = file.tensor(NAME).map_err(unreadable)?;
    let data = tensor.data();
    let values = match tensor.dtype() {
        Dtype::F32 => {
            data.chunks_exact(4).map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])).collect()
        }
        Dtype::F16 => data.chunks_exact(2).map(|bytes| f16::from_le_bytes([bytes[0], bytes[1]]).to_f32()).collect(),
        Dtype::F8_E4M3 => data.iter().map(|&byte| e4m3(byte)).collect(),
        other => return Err(wrong(what, "numbers of type F32, F16 or F8_E4M3", format!("{other:?}"))),
    };
    Ok((tensor.shape().to_vec(), values))
}

/// Eight bits: a sign, four of exponent (bias 7), three of mantissa; no infinities, 0x7F is NaN (Micikevicius et al. 2022,
/// arXiv:2209.05433).
fn e4m3(byte: u8) -> f32 {
    let sign = if byte & 0x80 == 0 { 1.0 } else { -1.0 };
    let (exponent, mantissa) = (i32::from(byte >> 3 & 0x0F), f32::from(byte & 0x07));
    match (exponent, byte & 0x7F) {
        (_, 0x7F) => f32::NAN,
        (0, _) => sign * mantissa * (2f32).powi(-9),
        _ => sign * (1.0 + mantissa / 8.0) * (2f32).powi(exponent - 7),
    }
}

fn wrong(what: &str, expected: &str, found: String) -> AttributionError {
    AttributionError::Format { what: what.to_owned(), expected: expected.to_owned(), found }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_of_float8() {
        for (byte, value) in [(0x00, 0.0), (0x38, 1.0), (0xB8, -1.0), (0x7E, 448.0), (0x01, 0.001_953_125), (0x3C, 1.5)]
        {
            assert_eq!(e4m3(byte), value, "{byte:#x}");
        }
        assert!(e4m3(0x7F).is_nan() && e4m3(0xFF).is_nan());
    }

    #[test]
    fn every_precision_is_read() {
        let file = |dtype: Dtype, bytes: &[u8]| {
            STANDARD.encode(serialize([(NAME, TensorView::new(dtype, vec![2], bytes).unwrap())], None).unwrap())
        };
        let halves: Vec<u8> = [0.5, -2.0].into_iter().flat_map(|value| f16::from_f32(value).to_le_bytes()).collect();
        assert_eq!(decode("x", &file(Dtype::F16, &halves)).unwrap(), (vec![2], vec![0.5, -2.0]));
        assert_eq!(decode("x", &file(Dtype::F8_E4M3, &[0x30, 0xC0])).unwrap(), (vec![2], vec![0.5, -2.0]));
        assert!(decode("x", &file(Dtype::I16, &[0; 4])).is_err());
    }
}
