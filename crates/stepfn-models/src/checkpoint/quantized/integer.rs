//! Whole numbers with a scale and a zero point for each group: GPTQ, and AWQ in its `gemm` order. `w = scale (q - zero)`.
//!
//! Both store `[in, out]`.

use super::Dequantize;
use super::codes::{Codes, ColumnCodes, transposed};
use super::parts::{FLOATS, Part, Parts, WORDS};
use crate::ModelError;
use crate::checkpoint::stored::Stored;

/// A weight of GPTQ: numbers packed along the inputs, zero points along the outputs.
#[derive(Debug)]
pub(super) struct Gptq {
    codes: Part,
    zeros: Part,
    scales: Part,
    /// The group of each input, if stored.
    groups: Option<Part>,
    group_size: usize,
    bits: usize,
    /// The first version of the format stores zero points less one.
    plus_one: bool,
    shape: [usize; 2],
}

impl Gptq {
    /// `bits` as the configuration says them. Where the groups of inputs are stored, the tensors say it themselves, for each weight.
    pub(super) fn find(parts: &mut Parts, bits: Option<usize>, plus_one: bool) -> Result<Self, ModelError> {
        let (codes, words, outputs) = parts.matrix(".qweight", WORDS)?;
        let (scales, groups, _) = parts.matrix(".scales", FLOATS)?;
        let zeros = parts.take(".qzeros", WORDS)?;
        let group_of = parts.optional(".g_idx", WORDS)?;
        let inputs = group_of.as_ref().map(Part::len);
        let fits = |bits: &usize| inputs.is_none_or(|inputs| (inputs * bits).div_ceil(32) == words);
        let bits = bits.into_iter().chain([4, 8, 3, 2]).filter(|bits| matches!(bits, 2 | 3 | 4 | 8)).find(fits);
        let Some(bits) = bits else {
            let expected = format!("numbers of 2, 3, 4 or 8 bits for {} inputs", inputs.unwrap_or(0));
            return Err(parts.error(".qweight", expected, format!("shape {:?}", codes.shape())));
        };
        let inputs = inputs.unwrap_or(words * 32 / bits);
        parts.check(".scales", &scales, &[groups, outputs])?;
        parts.check(".qzeros", &zeros, &[groups, (outputs * bits).div_ceil(32)])?;
        Ok(Self {
            group_size: inputs.div_ceil(groups.max(1)).max(1),
            groups: group_of,
            codes,
            zeros,
            scales,
            bits,
            plus_one,
            shape: [outputs, inputs],
        })
    }
}

impl Dequantize for Gptq {
    fn shape(&self) -> Vec<usize> {
        self.shape.to_vec()
    }

    fn read(&self, stored: &Stored) -> Vec<f32> {
        let ([outputs, inputs], bits) = (self.shape, self.bits);
        let (words, scales) = (self.codes.words(stored), self.scales.floats(stored));
        let zeros = self.zeros.bytes(stored);
        let row = zeros.len() / (scales.len() / outputs.max(1)).max(1);
        let mask = (1 << bits) - 1;
        let zeros = group_values(&zeros, row, outputs, |row, output| {
            (Codes { bytes: row, bits }.at(output) + u32::from(self.plus_one)) & mask
        });
        let groups: Option<Vec<usize>> =
            self.groups.as_ref().map(|groups| groups.words(stored).iter().map(|group| *group as usize).collect());
        let codes = ColumnCodes { words: &words, columns: outputs, bits };
        transposed(outputs, inputs, |output, input| {
            let group =
                groups.as_ref().map_or(input / self.group_size, |groups| groups.get(input).copied().unwrap_or(0));
            let at = group.saturating_mul(outputs).saturating_add(output);
            let (scale, zero) = (scales.get(at), zeros.get(at));
            let (scale, zero) = (scale.copied().unwrap_or(f32::NAN), zero.copied().unwrap_or(f32::NAN));
            scale * (codes.at(input, output) as f32 - zero)
        })
    }
}

/// A weight of AWQ: eight numbers of 4 bits in a word, along the outputs and in an order of their own.
#[derive(Debug)]
pub(super) struct Awq {
    codes: Part,
    zeros: Part,
    scales: Part,
    shape: [usize; 2],
    group_size: usize,
}

/// The place in its word of each of eight outputs.
const AWQ_ORDER: [usize; 8] = [0, 4, 1, 5, 2, 6, 3, 7];

impl Awq {
    pub(super) fn find(parts: &mut Parts) -> Result<Self, ModelError> {
        let (codes, inputs, words) = parts.matrix(".qweight", WORDS)?;
        let (scales, groups, outputs) = parts.matrix(".scales", FLOATS)?;
        let zeros = parts.take(".qzeros", WORDS)?;
        parts.check(".scales", &scales, &[groups, words * 8])?;
        parts.check(".qzeros", &zeros, &[groups, words])?;
        if groups == 0 || inputs % groups != 0 {
            let found = format!("shape {:?}", scales.shape());
            return Err(parts.error(".scales", format!("groups of the same size from {inputs} inputs"), found));
        }
        Ok(Self { codes, zeros, scales, shape: [outputs, inputs], group_size: (inputs / groups).max(1) })
    }
}

impl Dequantize for Awq {
    fn shape(&self) -> Vec<usize> {
        self.shape.to_vec()
    }

    fn read(&self, stored: &Stored) -> Vec<f32> {
        let [outputs, inputs] = self.shape;
        let (codes, zeros) = (self.codes.bytes(stored), self.zeros.bytes(stored));
        let scales = self.scales.floats(stored);
        let code = |row: &[u8], output: usize| {
            let place = AWQ_ORDER.get(output % 8).copied().unwrap_or(0);
            Codes { bytes: row, bits: 4 }.at(output / 8 * 8 + place)
        };
        let row = outputs / 2;
        let zeros = group_values(&zeros, row, outputs, code);
        transposed(outputs, inputs, |output, input| {
            let at = input / self.group_size * outputs + output;
            let (scale, zero) = (scales.get(at), zeros.get(at));
            let (scale, zero) = (scale.copied().unwrap_or(f32::NAN), zero.copied().unwrap_or(f32::NAN));
            let codes = codes.get(input * row..).unwrap_or_default();
            scale * (code(codes, output) as f32 - zero)
        })
    }
}

/// The zero points of all groups: `row` bytes for each, which hold one for each output.
fn group_values(bytes: &[u8], row: usize, outputs: usize, code: impl Fn(&[u8], usize) -> u32) -> Vec<f32> {
    let rows = bytes.chunks_exact(row.max(1));
    rows.flat_map(|row| (0..outputs).map(|output| code(row, output) as f32).collect::<Vec<_>>()).collect()
}
