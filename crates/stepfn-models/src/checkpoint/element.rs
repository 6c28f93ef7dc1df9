//! Element types of stored tensors.

use half::{bf16, f16};
use safetensors::Dtype;

/// How one element is stored, little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Element {
    F64,
    F32,
    F16,
    Bf16,
    /// 8-bit floats: 4 bits of exponent and 3 of fraction, no infinity.
    F8E4m3,
    /// 5 bits of exponent and 2 of fraction.
    F8E5m2,
    /// Powers of two.
    F8E8m0,
    I64,
    I32,
    I16,
    I8,
    U64,
    U32,
    U16,
    U8,
    Bool,
    C64,
    C128,
    /// Less than a byte.
    Packed,
}

impl Element {
    /// Bytes of an element.
    pub(crate) fn size(self) -> usize {
        match self {
            Self::F8E4m3 | Self::F8E5m2 | Self::F8E8m0 | Self::I8 | Self::U8 | Self::Bool | Self::Packed => 1,
            Self::F16 | Self::Bf16 | Self::I16 | Self::U16 => 2,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F64 | Self::I64 | Self::U64 | Self::C64 => 8,
            Self::C128 => 16,
        }
    }

    /// Bytes of a tensor, unless they are more than this machine can count.
    pub(crate) fn bytes(self, shape: &[usize]) -> Option<usize> {
        shape.iter().try_fold(self.size(), |total, &size| total.checked_mul(size))
    }

    /// Whether these are numbers with a fraction, as every parameter has.
    pub(crate) fn is_float(self) -> bool {
        use Element::{Bf16, F8E4m3, F8E5m2, F16, F32, F64};
        matches!(self, F64 | F32 | F16 | Bf16 | F8E4m3 | F8E5m2)
    }

    /// The values of float elements, and of powers of two; `None` for others.
    pub(crate) fn to_f32(self, bytes: &[u8]) -> Option<Vec<f32>> {
        Some(match self {
            Self::F64 => bytes.as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes) as f32).collect(),
            Self::F32 => bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
            Self::F16 => bytes.as_chunks().0.iter().map(|bytes| f16::from_le_bytes(*bytes).to_f32()).collect(),
            Self::Bf16 => bytes.as_chunks().0.iter().map(|bytes| bf16::from_le_bytes(*bytes).to_f32()).collect(),
            Self::F8E4m3 => bytes.iter().map(|byte| e4m3(*byte)).collect(),
            Self::F8E5m2 => bytes.iter().map(|byte| f16::from_bits(u16::from(*byte) << 8).to_f32()).collect(),
            Self::F8E8m0 => bytes.iter().map(|byte| e8m0(*byte)).collect(),
            _ => return None,
        })
    }
}

/// 4 bits of exponent, 3 of fraction; the largest code is NaN, and there is no infinity.
fn e4m3(byte: u8) -> f32 {
    let (sign, exponent, fraction) = (byte >> 7, i32::from(byte >> 3 & 15), f32::from(byte & 7));
    let size = match (exponent, byte & 7) {
        (15, 7) => f32::NAN,
        (0, _) => fraction * 2_f32.powi(-9),
        _ => (8.0 + fraction) * 2_f32.powi(exponent - 10),
    };
    if sign == 1 { -size } else { size }
}

/// 8 bits of exponent: a power of two, or NaN.
pub(crate) fn e8m0(byte: u8) -> f32 {
    match byte {
        0 => f32::from_bits(1 << 22),
        255 => f32::NAN,
        _ => f32::from_bits(u32::from(byte) << 23),
    }
}

impl From<Dtype> for Element {
    fn from(dtype: Dtype) -> Self {
        match dtype {
            Dtype::F64 => Self::F64,
            Dtype::F32 => Self::F32,
            Dtype::F16 => Self::F16,
            Dtype::BF16 => Self::Bf16,
            Dtype::F8_E4M3 => Self::F8E4m3,
            Dtype::F8_E5M2 => Self::F8E5m2,
            Dtype::F8_E8M0 => Self::F8E8m0,
            Dtype::I64 => Self::I64,
            Dtype::I32 => Self::I32,
            Dtype::I16 => Self::I16,
            Dtype::I8 => Self::I8,
            Dtype::U64 => Self::U64,
            Dtype::U32 => Self::U32,
            Dtype::U16 => Self::U16,
            Dtype::U8 => Self::U8,
            Dtype::BOOL => Self::Bool,
            Dtype::C64 => Self::C64,
            _ => Self::Packed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values from the definition of the formats (OCP 8-bit floating point, microscaling).
    #[test]
    fn eight_bits_have_their_published_values() {
        let e4m3 = |byte: u8| Element::F8E4m3.to_f32(&[byte]).map(|values| values[0]);
        assert_eq!(
            [0x00, 0x01, 0x07, 0x08, 0x38, 0x7e, 0xfe].map(e4m3),
            [
                Some(0.0),
                Some(0.001_953_125),
                Some(0.013_671_875),
                Some(0.015_625),
                Some(1.0),
                Some(448.0),
                Some(-448.0)
            ]
        );
        assert!(e4m3(0x7f).is_some_and(f32::is_nan) && e4m3(0xff).is_some_and(f32::is_nan));
        let e5m2 = |byte: u8| Element::F8E5m2.to_f32(&[byte]).map(|values| values[0]);
        assert_eq!(
            [0x3c, 0x7b, 0x01, 0xfc].map(e5m2),
            [Some(1.0), Some(57344.0), Some(2_f32.powi(-16)), Some(f32::NEG_INFINITY)]
        );
        let e8m0 = |byte: u8| Element::F8E8m0.to_f32(&[byte]).map(|values| values[0]);
        assert_eq!([0, 1, 127, 128, 254].map(e8m0), [-127, -126, 0, 1, 127].map(|power| Some(2_f32.powi(power))));
        assert_eq!(Element::I8.to_f32(&[1]), None);
    }
}
