//! Numbers packed along each row: those of mlx, `w = scale q + bias`, and `pack-quantized` of compressed-tensors, `w = scale (q - zero)`.

use super::Dequantize;
use super::codes::{Codes, ColumnCodes};
use super::parts::{FLOATS, Part, Parts, WORDS};
use crate::ModelError;
use crate::checkpoint::element::Element;
use crate::checkpoint::stored::Stored;

/// A matrix, or one for each expert.
#[derive(Debug)]
pub(super) struct Rows {
    codes: Part,
    scales: Part,
    offset: Offset,
    bits: usize,
    /// Elements of a row that share a scale.
    group: usize,
    /// The group of each column, if it isn't the next one after each so many.
    groups: Option<Part>,
    shape: Vec<usize>,
}

/// What is added after scaling, or taken away before.
#[derive(Debug)]
enum Offset {
    /// A value for each group.
    Biases(Part),
    /// Half of the codes' range, which stands for 0.
    Middle,
    /// A code for each group, packed down the columns.
    Zeros(Part),
}

impl Rows {
    /// The format of mlx.
    pub(super) fn of_mlx(parts: &mut Parts, bits: usize, group: usize) -> Result<Self, ModelError> {
        let codes = parts.take(".weight", WORDS)?;
        let scales = parts.take(".scales", FLOATS)?;
        let biases = parts.take(".biases", FLOATS)?;
        parts.check(".biases", &biases, scales.shape())?;
        let shape = match (codes.shape(), scales.shape()) {
            ([first @ .., words], [same @ .., groups]) if first == same && !first.is_empty() => {
                let columns = groups.checked_mul(group);
                columns
                    .filter(|columns| columns.checked_mul(bits) == words.checked_mul(32))
                    .map(|last| [first, &[last]].concat())
            }
            _ => None,
        };
        let Some(shape) = shape else {
            let expected =
                format!("numbers of {bits} bits in groups of {group}, for scales of shape {:?}", scales.shape());
            return Err(parts.error(".weight", expected, format!("shape {:?}", codes.shape())));
        };
        Ok(Self { codes, scales, offset: Offset::Biases(biases), bits, group, groups: None, shape })
    }

    /// The format of compressed-tensors.
    pub(super) fn of_compressed(parts: &mut Parts) -> Result<Self, ModelError> {
        /// Numbers of bits for which every version of the format is the same.
        const BITS: [usize; 3] = [4, 8, 2];
        let (codes, rows, words) = parts.matrix(".weight_packed", WORDS)?;
        let scales = parts.take(".weight_scale", FLOATS)?;
        let sizes = parts.take(".weight_shape", &[Element::I64, Element::I32])?;
        let stored_sizes = sizes.bytes(parts.stored);
        let (long, short) = (stored_sizes.as_chunks::<8>().0, stored_sizes.as_chunks::<4>().0);
        let shape: Vec<usize> = match sizes.element {
            Element::I64 => long.iter().map(|size| u64::from_le_bytes(*size) as usize).collect(),
            _ => short.iter().map(|size| u32::from_le_bytes(*size) as usize).collect(),
        };
        let fits = |bits: &usize| match *shape.as_slice() {
            [first, columns] => {
                first == rows && columns.checked_mul(*bits).is_some_and(|bits| bits.div_ceil(32) == words)
            }
            _ => false,
        };
        let (Some(bits), &[_, columns]) = (BITS.into_iter().find(fits), shape.as_slice()) else {
            let expected = format!("numbers of 2, 4 or 8 bits for shape {shape:?}");
            return Err(parts.error(".weight_packed", expected, format!("shape {:?}", codes.shape())));
        };
        let groups = match *scales.shape() {
            [1] if rows == 1 => 1,
            [first, groups] if first == rows && groups > 0 => groups,
            _ => {
                let expected = format!("shape [{rows}, groups]");
                return Err(parts.error(".weight_scale", expected, format!("{:?}", scales.shape())));
            }
        };
        let zeros = parts.optional(".weight_zero_point", WORDS)?;
        let offset = match zeros {
            None => Offset::Middle,
            Some(zeros) => {
                parts.check(".weight_zero_point", &zeros, &[(rows * bits).div_ceil(32), groups])?;
                Offset::Zeros(zeros)
            }
        };
        let group_of = parts.optional(".weight_g_idx", WORDS)?;
        if let Some(group_of) = &group_of {
            parts.check(".weight_g_idx", group_of, &[columns])?;
        }
        let group = columns.div_ceil(groups).max(1);
        Ok(Self { codes, scales, offset, bits, group, groups: group_of, shape })
    }
}

impl Dequantize for Rows {
    fn shape(&self) -> Vec<usize> {
        self.shape.clone()
    }

    fn read(&self, stored: &Stored) -> Vec<f32> {
        let columns = self.shape.last().copied().unwrap_or(0);
        let rows: usize = self.shape.iter().rev().skip(1).product();
        let (codes, scales) = (self.codes.bytes(stored), self.scales.floats(stored));
        let (per_row, groups) = (codes.len() / rows.max(1), scales.len() / rows.max(1));
        let (biases, words) = match &self.offset {
            Offset::Biases(biases) => (biases.floats(stored), Vec::new()),
            Offset::Middle => (Vec::new(), Vec::new()),
            Offset::Zeros(zeros) => (Vec::new(), zeros.words(stored)),
        };
        let zeros = ColumnCodes { words: &words, columns: groups, bits: self.bits };
        let group_of = self.groups.as_ref().map(|groups| groups.words(stored));
        let middle = (1 << (self.bits - 1)) as f32;
        let mut values = Vec::with_capacity(rows * columns);
        for row in 0..rows {
            let codes = Codes { bytes: codes.get(row * per_row..).unwrap_or_default(), bits: self.bits };
            let of_group = |group: usize| {
                let at = row * groups + group;
                let scale = scales.get(at).copied().unwrap_or(f32::NAN);
                match &self.offset {
                    Offset::Biases(_) => (scale, 0.0, biases.get(at).copied().unwrap_or(f32::NAN)),
                    Offset::Middle => (scale, middle, 0.0),
                    Offset::Zeros(_) => (scale, zeros.at(row, group) as f32, 0.0),
                }
            };
            let all: Vec<_> = (0..groups).map(of_group).collect();
            values.extend((0..columns).map(|column| {
                let group = match &group_of {
                    Some(groups) => groups.get(column).map_or(usize::MAX, |group| *group as usize),
                    None => column / self.group,
                };
                let (scale, zero, bias) = all.get(group).copied().unwrap_or((f32::NAN, 0.0, 0.0));
                scale * (codes.at(column) as f32 - zero) + bias
            }));
        }
        values
    }
}
