//! 8-bit numbers with a scale for the tensor, for each row, or for each block: FP8, and whole numbers of 8 bits. `w = scale q`.

use super::Dequantize;
use super::parts::{FLOATS, Part, Parts};
use crate::ModelError;
use crate::checkpoint::element::Element;
use crate::checkpoint::stored::Stored;

/// A matrix, or one for each expert.
#[derive(Debug)]
pub(super) struct Scaled {
    codes: Part,
    scales: Part,
    rows: usize,
    columns: usize,
    /// Sizes of the part that shares a scale.
    block: [usize; 2],
    /// bitsandbytes stores the largest value in place of a scale: 127 times as much.
    unit: f32,
}

const CODES: &[Element] = &[Element::F8E4m3, Element::F8E5m2, Element::I8];
const SCALES: &[Element] = &[Element::F32, Element::F16, Element::Bf16, Element::F64, Element::F8E8m0];

impl Scaled {
    /// `weight` and `scale` are the ends of their names. `block` is the size of blocks, where the configuration says one.
    pub(super) fn find(
        parts: &mut Parts,
        weight: &str,
        scale: &str,
        block: Option<[usize; 2]>,
    ) -> Result<Self, ModelError> {
        let codes = parts.take(weight, CODES)?;
        let zeros = parts.optional(&format!("{weight}_zero_point"), CODES)?;
        if zeros.is_some_and(|zeros| zeros.bytes(parts.stored).iter().any(|zero| *zero != 0)) {
            let (expected, found) = ("numbers around 0".to_owned(), "another zero point".to_owned());
            return Err(parts.error(&format!("{weight}_zero_point"), expected, found));
        }
        let scales = parts.take(scale, SCALES)?;
        let &[ref experts @ .., rows, columns] = codes.shape() else {
            return Err(parts.error(
                weight,
                "at least two dimensions".to_owned(),
                format!("shape {:?}", codes.shape()),
            ));
        };
        let blocks = |rows_of: usize, columns_of: usize| [rows.div_ceil(rows_of), columns.div_ceil(columns_of)];
        let grid = |[rows, columns]: [usize; 2]| [experts, &[rows, columns]].concat();
        let even = match *scales.shape() {
            [.., across, along] if across > 0 && along > 0 && rows % across == 0 && columns % along == 0 => {
                Some([rows / across, columns / along])
            }
            _ => None,
        };
        let fitting = |block: &[usize; 2]| {
            let &[rows, columns] = block;
            rows > 0 && columns > 0 && grid(blocks(rows, columns)) == scales.shape()
        };
        let is_one = scales.len() == 1 && experts.is_empty();
        let is_per_row = scales.shape() == [experts, &[rows]].concat() || scales.shape() == grid([rows, 1]);
        let is_per_expert = scales.shape() == experts || scales.shape() == grid([1, 1]);
        let block = match (block.filter(fitting), even.filter(fitting)) {
            _ if is_one || is_per_expert => [rows, columns],
            _ if is_per_row => [1, columns],
            (Some(block), _) | (None, Some(block)) => block,
            _ => {
                let expected = format!("a scale for the tensor, each row or each block of {:?}", codes.shape());
                return Err(parts.error(scale, expected, format!("shape {:?}", scales.shape())));
            }
        };
        let block = block.map(|size| size.max(1));
        Ok(Self { rows, columns, block, codes, scales, unit: 1.0 })
    }

    /// The 8-bit format of bitsandbytes, with the largest value of each row.
    pub(super) fn of_bitsandbytes(parts: &mut Parts) -> Result<Self, ModelError> {
        let (codes, rows, columns) = parts.matrix(".weight", &[Element::I8])?;
        let scales = parts.take(".SCB", FLOATS)?;
        parts.check(".SCB", &scales, &[rows])?;
        if let Some(format) = parts.optional(".weight_format", &[Element::U8])?
            && format.bytes(parts.stored).iter().any(|format| *format != 0)
        {
            return Err(parts.error(".weight_format", "0, rows in order".to_owned(), "another".to_owned()));
        }
        Ok(Self { rows, columns, block: [1, columns.max(1)], codes, scales, unit: 1.0 / 127.0 })
    }
}

impl Dequantize for Scaled {
    fn shape(&self) -> Vec<usize> {
        self.codes.shape().to_vec()
    }

    fn read(&self, stored: &Stored) -> Vec<f32> {
        let mut values = match self.codes.element {
            Element::I8 => self.codes.bytes(stored).iter().map(|byte| f32::from(byte.cast_signed())).collect(),
            _ => self.codes.floats(stored),
        };
        let scales = self.scales.floats(stored);
        let [block_rows, block_columns] = self.block;
        let (across, along) = (self.rows.div_ceil(block_rows), self.columns.div_ceil(block_columns));
        for (row, values) in values.chunks_mut(self.columns.max(1)).enumerate() {
            let (expert, row) = (row / self.rows.max(1), row % self.rows.max(1));
            let scales = scales.get((expert * across + row / block_rows) * along..).unwrap_or_default();
            for (values, scale) in values.chunks_mut(block_columns).zip(scales) {
                values.iter_mut().for_each(|value| *value = *value * scale * self.unit);
            }
        }
        values
    }
}
