//! GGUF element types: plain floats, or blocks of few-bit numbers `q` that share a scale `d` (and an offset).
//!
//! | type | elements per block | value |
//! |---|---|---|
//! | Q8_0 | 32 | `d q`, with 8-bit q |
//! | Q4_0 | 32 | `d (q − 8)` |
//! | Q4_1 | 32 | `d q + m` |
//! | Q4_K | 256 in 8 groups | `d s q − m o`, with 6-bit s and o per group |
//! | Q6_K | 256 in 16 groups | `d s (q − 32)`, with 8-bit s per group |

use burn::tensor::{DType, bf16, f16};

/// An element type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blocks {
    F32,
    F16,
    Bf16,
    Q8_0,
    Q4_0,
    Q4_1,
    Q4K,
    Q6K,
}

/// ggml's element types by number; the missing ones are no longer written.
const NAMES: [(u32, &str); 32] = [
    (0, "F32"),
    (1, "F16"),
    (2, "Q4_0"),
    (3, "Q4_1"),
    (6, "Q5_0"),
    (7, "Q5_1"),
    (8, "Q8_0"),
    (9, "Q8_1"),
    (10, "Q2_K"),
    (11, "Q3_K"),
    (12, "Q4_K"),
    (13, "Q5_K"),
    (14, "Q6_K"),
    (15, "Q8_K"),
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (20, "IQ4_NL"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (23, "IQ4_XS"),
    (24, "I8"),
    (25, "I16"),
    (26, "I32"),
    (27, "I64"),
    (28, "F64"),
    (29, "IQ1_M"),
    (30, "BF16"),
    (34, "TQ1_0"),
    (35, "TQ2_0"),
    (39, "MXFP4"),
];

impl Blocks {
    /// The element type with the given number in the file.
    pub(super) fn numbered(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::F32,
            1 => Self::F16,
            2 => Self::Q4_0,
            3 => Self::Q4_1,
            8 => Self::Q8_0,
            12 => Self::Q4K,
            14 => Self::Q6K,
            30 => Self::Bf16,
            _ => return None,
        })
    }

    /// What ggml calls the element type with the given number, read or not.
    pub(super) fn name(number: u32) -> String {
        match NAMES.iter().find(|(known, _)| *known == number) {
            Some((_, name)) => (*name).to_owned(),
            None => format!("an unknown element type, number {number}"),
        }
    }

    /// The supported types, for error messages.
    pub(super) const READ: &str = "one of F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q4_K, Q6_K";

    /// Elements and bytes per block.
    pub(super) fn size(self) -> (usize, usize) {
        match self {
            Self::F32 => (1, 4),
            Self::F16 | Self::Bf16 => (1, 2),
            Self::Q8_0 => (32, 34),
            Self::Q4_0 => (32, 18),
            Self::Q4_1 => (32, 20),
            Self::Q4K => (256, 144),
            Self::Q6K => (256, 210),
        }
    }

    /// The float type, if it is not quantized.
    pub(super) fn float(self) -> Option<DType> {
        match self {
            Self::F32 => Some(DType::F32),
            Self::F16 => Some(DType::F16),
            Self::Bf16 => Some(DType::BF16),
            _ => None,
        }
    }

    /// Appends the values of whole blocks.
    pub(super) fn dequantize(self, bytes: &[u8], values: &mut Vec<f32>) {
        match self {
            Self::F32 => values.extend(bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes))),
            Self::F16 => {
                values.extend(bytes.as_chunks::<2>().0.iter().map(|bytes| f16::from_le_bytes(*bytes).to_f32()))
            }
            Self::Bf16 => {
                values.extend(bytes.as_chunks::<2>().0.iter().map(|bytes| bf16::from_le_bytes(*bytes).to_f32()));
            }
            Self::Q8_0 => bytes.as_chunks::<34>().0.iter().for_each(|block| q8_0(block, values)),
            Self::Q4_0 => bytes.as_chunks::<18>().0.iter().for_each(|block| {
                nibbles(&block[2..], values, half(block, 0), -8.0 * half(block, 0));
            }),
            Self::Q4_1 => bytes.as_chunks::<20>().0.iter().for_each(|block| {
                nibbles(&block[4..], values, half(block, 0), half(block, 2));
            }),
            Self::Q4K => bytes.as_chunks::<144>().0.iter().for_each(|block| q4_k(block, values)),
            Self::Q6K => bytes.as_chunks::<210>().0.iter().for_each(|block| q6_k(block, values)),
        }
    }
}

/// The half-precision number at byte `at`.
fn half(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

fn q8_0(block: &[u8; 34], values: &mut Vec<f32>) {
    let scale = half(block, 0);
    values.extend(block[2..].iter().map(|&q| scale * f32::from(q as i8)));
}

/// `scale q + offset`: the low nibbles of all bytes, then the high ones.
fn nibbles(bytes: &[u8], values: &mut Vec<f32>, scale: f32, offset: f32) {
    values.extend(bytes.iter().map(|byte| scale * f32::from(byte & 15) + offset));
    values.extend(bytes.iter().map(|byte| scale * f32::from(byte >> 4) + offset));
}

fn q4_k(block: &[u8; 144], values: &mut Vec<f32>) {
    let (scale, offset) = (half(block, 0), half(block, 2));
    let (packed, quants) = (&block[4..16], &block[16..]);
    // The 6 bits of groups 0 to 3 are contiguous. Those of groups 4 to 7 are split into 4 and 2, with the 2 stored above the others.
    let group = |j: usize| match j {
        0..4 => (packed[j] & 63, packed[j + 4] & 63),
        _ => (packed[j + 4] & 15 | packed[j - 4] >> 6 << 4, packed[j + 4] >> 4 | packed[j] >> 6 << 4),
    };
    for (pair, quants) in quants.as_chunks::<32>().0.iter().enumerate() {
        for (high, j) in [(false, 2 * pair), (true, 2 * pair + 1)] {
            let (s, o) = group(j);
            let (scale, offset) = (scale * f32::from(s), offset * f32::from(o));
            let quant = |byte: &u8| if high { byte >> 4 } else { byte & 15 };
            values.extend(quants.iter().map(|byte| scale * f32::from(quant(byte)) - offset));
        }
    }
}

fn q6_k(block: &[u8; 210], values: &mut Vec<f32>) {
    let scale = half(block, 208);
    let (low, high, scales) = (&block[..128], &block[128..192], &block[192..208]);
    for part in 0..2 {
        let (low, high, scales) = (&low[64 * part..], &high[32 * part..], &scales[8 * part..]);
        for quarter in 0..4 {
            let value = |i: usize| {
                let low = low[i + 32 * (quarter % 2)] >> (4 * (quarter / 2)) & 15;
                let quant = low | (high[i] >> (2 * quarter) & 3) << 4;
                scale * f32::from(scales[i / 16 + 2 * quarter] as i8) * (f32::from(quant) - 32.0)
            };
            values.extend((0..32).map(value));
        }
    }
}
