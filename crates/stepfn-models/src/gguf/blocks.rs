//! GGUF element types: plain numbers, or blocks of few-bit numbers `q` that share a scale `d` (and an offset).

mod groups;
mod points;
mod simple;

use burn::tensor::DType;

use crate::checkpoint::rows::{self, Format, each, half_precision};

/// An element type.
pub(super) struct Blocks {
    /// Its number in the file.
    number: u32,
    /// What ggml calls it.
    pub(super) name: &'static str,
    /// Elements per block.
    pub(super) elements: usize,
    /// Bytes per block.
    pub(super) bytes: usize,
    /// Writes the values of whole blocks.
    read: fn(&[u8], &mut [f32]),
}

/// A row of [`TYPES`]: number, name, elements and bytes per block, and the function that reads a block.
macro_rules! kind {
    ($number:literal, $name:literal, $elements:literal, $bytes:literal, $read:path) => {
        Blocks {
            number: $number,
            name: $name,
            elements: $elements,
            bytes: $bytes,
            read: |bytes, values| each::<$bytes, $elements>(bytes, values, $read),
        }
    };
}

/// The element types that are read.
static TYPES: [Blocks; 32] = [
    kind!(0, "F32", 1, 4, simple::f32),
    kind!(1, "F16", 1, 2, rows::f16),
    kind!(2, "Q4_0", 32, 18, simple::q4_0),
    kind!(3, "Q4_1", 32, 20, simple::q4_1),
    kind!(6, "Q5_0", 32, 22, simple::q5_0),
    kind!(7, "Q5_1", 32, 24, simple::q5_1),
    kind!(8, "Q8_0", 32, 34, simple::q8_0),
    kind!(10, "Q2_K", 256, 84, groups::q2_k),
    kind!(11, "Q3_K", 256, 110, groups::q3_k),
    kind!(12, "Q4_K", 256, 144, groups::q4_k),
    kind!(13, "Q5_K", 256, 176, groups::q5_k),
    kind!(14, "Q6_K", 256, 210, groups::q6_k),
    kind!(15, "Q8_K", 256, 292, groups::q8_k),
    kind!(16, "IQ2_XXS", 256, 66, points::iq2_xxs),
    kind!(17, "IQ2_XS", 256, 74, points::iq2_xs),
    kind!(18, "IQ3_XXS", 256, 98, points::iq3_xxs),
    kind!(19, "IQ1_S", 256, 50, points::iq1_s),
    kind!(20, "IQ4_NL", 32, 18, simple::iq4_nl),
    kind!(21, "IQ3_S", 256, 110, points::iq3_s),
    kind!(22, "IQ2_S", 256, 82, points::iq2_s),
    kind!(23, "IQ4_XS", 256, 136, groups::iq4_xs),
    kind!(24, "I8", 1, 1, simple::i8),
    kind!(25, "I16", 1, 2, simple::i16),
    kind!(26, "I32", 1, 4, simple::i32),
    kind!(27, "I64", 1, 8, simple::i64),
    kind!(28, "F64", 1, 8, simple::f64),
    kind!(29, "IQ1_M", 256, 56, points::iq1_m),
    kind!(30, "BF16", 1, 2, rows::bf16),
    kind!(34, "TQ1_0", 256, 54, groups::tq1_0),
    kind!(35, "TQ2_0", 256, 66, groups::tq2_0),
    kind!(39, "MXFP4", 32, 17, simple::mxfp4),
    kind!(40, "NVFP4", 64, 36, simple::nvfp4),
];

/// Those that are not: never in published files, no longer written, or too new.
const NOT_READ: [(u32, &str); 10] = [
    (4, "Q4_2"),
    (5, "Q4_3"),
    (9, "Q8_1"),
    (31, "Q4_0_4_4"),
    (32, "Q4_0_4_8"),
    (33, "Q4_0_8_8"),
    (36, "IQ4_NL_4_4"),
    (37, "IQ4_NL_4_8"),
    (38, "IQ4_NL_8_8"),
    (41, "Q1_0"),
];

impl Blocks {
    /// The element type with the given number in the file.
    pub(super) fn numbered(number: u32) -> Option<&'static Self> {
        TYPES.iter().find(|blocks| blocks.number == number)
    }

    /// What ggml calls the element type with the given number, which is not read.
    pub(super) fn unread(number: u32) -> String {
        match NOT_READ.iter().find(|(known, _)| *known == number) {
            Some((_, name)) => (*name).to_owned(),
            None => format!("type number {number}, which this version does not know"),
        }
    }

    /// The float type, if the values are stored as they are.
    pub(super) fn float(&self) -> Option<DType> {
        match self.name {
            "F32" => Some(DType::F32),
            "F16" => Some(DType::F16),
            "BF16" => Some(DType::BF16),
            _ => None,
        }
    }

    /// Writes the values of whole blocks, as many as there is room for.
    pub(super) fn dequantize(&self, bytes: &[u8], values: &mut [f32]) {
        (self.read)(bytes, values);
    }

    /// How blocks are read.
    pub(super) fn format(&self) -> Format {
        let &Self { elements, bytes, read, .. } = self;
        Format { elements, bytes, dtype: self.float().unwrap_or(DType::F32), read }
    }

    /// The values of whole blocks.
    pub(super) fn values(&self, bytes: &[u8]) -> Vec<f32> {
        let mut values = vec![0.0; bytes.len() / self.bytes * self.elements];
        self.dequantize(bytes, &mut values);
        values
    }
}

impl core::fmt::Debug for Blocks {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name)
    }
}

/// Writes as many values as there are.
#[inline(always)]
fn fill(values: &mut [f32], with: impl IntoIterator<Item = f32>) {
    values.iter_mut().zip(with).for_each(|(value, with)| *value = with);
}

/// The half-precision number at byte `at`.
#[inline(always)]
fn half(block: &[u8], at: usize) -> f32 {
    half_precision(word(block, at))
}

/// The 16-bit number at byte `at`.
#[inline(always)]
fn word(block: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([block[at], block[at + 1]])
}

/// The 32-bit number at byte `at`.
#[inline(always)]
fn double_word(block: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
}

/// The lower or the upper half of byte `i / 2`.
#[inline(always)]
fn nibble(bytes: &[u8], i: usize) -> u8 {
    bytes[i / 2] >> (4 * (i % 2)) & 15
}
