//! 4-bit numbers that are looked up in a table: those of bitsandbytes (`nf4`, `fp4`), and MXFP4 with powers of two as scales.

use serde_json::Value;

use super::Dequantize;
use super::codes::e2m1;
use super::parts::{Part, Parts};
use crate::ModelError;
use crate::checkpoint::element::{Element, e8m0};
use crate::checkpoint::stored::Stored;

const BYTES: &[Element] = &[Element::U8];
const F32: &[Element] = &[Element::F32];

/// A weight of bitsandbytes. Two numbers are in a byte, the first in the high half.
#[derive(Debug)]
pub(super) struct Bitsandbytes {
    codes: Part,
    table: Part,
    /// The largest value of each block of elements; codes, if they are nested.
    largest: Part,
    nested: Option<Box<Nested>>,
    block: usize,
    shape: Vec<usize>,
}

/// The largest values, as 8-bit numbers that are looked up in a table, with a scale for each block of them, and an offset.
#[derive(Debug)]
struct Nested {
    table: Part,
    scales: Part,
    block: usize,
    offset: f32,
}

impl Bitsandbytes {
    /// `state` is the end of the name of the JSON text with the shape and the sizes of blocks.
    pub(super) fn find(parts: &mut Parts, state: &str) -> Result<Self, ModelError> {
        let json = parts.take(state, BYTES)?.bytes(parts.stored);
        let invalid = |parts: &Parts, expected: &str| {
            let shown = String::from_utf8_lossy(json.get(..200).unwrap_or(&json)).into_owned();
            parts.error(state, expected.to_owned(), shown)
        };
        let json: Value = serde_json::from_slice(&json).map_err(|_| invalid(parts, "JSON"))?;
        let size = |name: &str| json.get(name).and_then(Value::as_u64).and_then(|size| usize::try_from(size).ok());
        let block = size("blocksize").filter(|size| *size > 0);
        let sizes = json.get("shape").and_then(Value::as_array);
        let shape: Option<Vec<usize>> = sizes.and_then(|sizes| {
            sizes.iter().map(|size| size.as_u64().and_then(|size| usize::try_from(size).ok())).collect()
        });
        let (Some(block), Some(shape)) = (block, shape) else {
            return Err(invalid(parts, "`shape` and `blocksize`"));
        };
        let codes = parts.take(".weight", BYTES)?;
        let total = shape.iter().try_fold(1_usize, |total, &size| total.checked_mul(size));
        let Some(total) = total.filter(|total| total.div_ceil(2) == codes.len()) else {
            return Err(parts.error(
                ".weight",
                format!("two elements of {shape:?} in a byte"),
                format!("{:?}", codes.shape()),
            ));
        };
        let table = parts.take(".weight.quant_map", F32)?;
        parts.check(".weight.quant_map", &table, &[16])?;
        let blocks = total.div_ceil(block);
        let nested = match size("nested_blocksize").filter(|size| *size > 0) {
            None => None,
            Some(block) => {
                let scales = parts.take(".weight.nested_absmax", F32)?;
                parts.check(".weight.nested_absmax", &scales, &[blocks.div_ceil(block)])?;
                let table = parts.take(".weight.nested_quant_map", F32)?;
                parts.check(".weight.nested_quant_map", &table, &[256])?;
                let offset = json.get("nested_offset").and_then(Value::as_f64).unwrap_or(0.0) as f32;
                Some(Box::new(Nested { table, scales, block, offset }))
            }
        };
        let largest = parts.take(".weight.absmax", if nested.is_some() { BYTES } else { F32 })?;
        parts.check(".weight.absmax", &largest, &[blocks])?;
        Ok(Self { codes, table, largest, nested, block, shape })
    }

    fn largest(&self, stored: &Stored) -> Vec<f32> {
        let Some(nested) = &self.nested else { return self.largest.floats(stored) };
        let (table, scales) = (nested.table.floats(stored), nested.scales.floats(stored));
        let codes = self.largest.bytes(stored);
        let mut values: Vec<f32> = codes.iter().map(|code| looked_up(&table, *code)).collect();
        for (values, scale) in values.chunks_mut(nested.block).zip(scales) {
            values.iter_mut().for_each(|value| *value = *value * scale + nested.offset);
        }
        values
    }
}

impl Dequantize for Bitsandbytes {
    fn shape(&self) -> Vec<usize> {
        self.shape.clone()
    }

    fn read(&self, stored: &Stored) -> Vec<f32> {
        let table = self.table.floats(stored);
        let codes = self.codes.bytes(stored);
        let mut values: Vec<f32> =
            codes.iter().flat_map(|byte| [looked_up(&table, byte >> 4), looked_up(&table, byte & 15)]).collect();
        values.truncate(self.shape.iter().product());
        for (values, largest) in values.chunks_mut(self.block).zip(self.largest(stored)) {
            values.iter_mut().for_each(|value| *value *= largest);
        }
        values
    }
}

fn looked_up(table: &[f32], code: u8) -> f32 {
    table.get(usize::from(code)).copied().unwrap_or(f32::NAN)
}

/// Weights of experts as gpt-oss has them: blocks of 32 numbers along the inputs, two in a byte, the first in the low half. Published without
/// quantization, they are `[expert, in, out]`.
#[derive(Debug)]
pub(super) struct Mxfp4 {
    blocks: Part,
    scales: Part,
    experts: usize,
    outputs: usize,
    inputs: usize,
}

impl Mxfp4 {
    pub(super) fn find(parts: &mut Parts) -> Result<Self, ModelError> {
        let blocks = parts.take("_blocks", BYTES)?;
        let scales = parts.take("_scales", BYTES)?;
        let &[experts, outputs, groups, 16] = blocks.shape() else {
            let expected = "shape [experts, outputs, groups, 16]".to_owned();
            return Err(parts.error("_blocks", expected, format!("{:?}", blocks.shape())));
        };
        parts.check("_scales", &scales, &[experts, outputs, groups])?;
        Ok(Self { experts, outputs, inputs: groups * 32, blocks, scales })
    }
}

impl Dequantize for Mxfp4 {
    fn shape(&self) -> Vec<usize> {
        vec![self.experts, self.inputs, self.outputs]
    }

    fn read(&self, stored: &Stored) -> Vec<f32> {
        let (blocks, scales) = (self.blocks.bytes(stored), self.scales.bytes(stored));
        let (inputs, outputs) = (self.inputs, self.outputs);
        let expert = |expert: usize| {
            let start = expert * outputs * inputs;
            super::codes::transposed(inputs, outputs, |input, output| {
                let at = start + output * inputs + input;
                let byte = blocks.get(at / 2).copied().unwrap_or(0);
                let scale = scales.get(at / 32).copied().unwrap_or(u8::MAX);
                e2m1(if at.is_multiple_of(2) { byte } else { byte >> 4 }) * e8m0(scale)
            })
        };
        (0..self.experts).flat_map(expert).collect()
    }
}
