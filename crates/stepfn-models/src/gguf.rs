//! GGUF, the single-file format of llama.cpp: metadata, and tensors that are usually quantized. Models of its `llama` architecture are
//! converted to the form of other checkpoints: a `config.json`, tensors with the family's published names, and a `tokenizer.json`.
//!
//! Quantized tensors are dequantized one at a time, when they are read. ggml's `docs/gguf.md` describes the format, its `ggml-quants` the
//! blocks.

mod blocks;
mod llama;
mod reader;
mod tokenizer;

use core::ops::Range;
use std::path::Path;

use burn::tensor::{DType, TensorData};
use serde_json::Value;

use crate::ModelError;
use blocks::Blocks;
use reader::Contents;
pub(crate) use tokenizer::GgufTokenizer;

/// A GGUF file, translated to the form of other checkpoints.
#[derive(Debug)]
pub(crate) struct Gguf {
    /// The equivalent of `config.json`.
    pub(crate) config: Value,
    pub(crate) tensors: Vec<GgufTensor>,
}

/// A tensor in the file.
#[derive(Debug)]
pub(crate) struct GgufTensor {
    /// Its name in published checkpoints of the family, or its name in the file if it has no counterpart there.
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) stored: Stored,
    /// Byte range in the file; exactly what shape and elements need.
    pub(crate) bytes: Range<usize>,
}

/// How elements are stored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stored {
    blocks: &'static Blocks,
    /// Number of heads with interleaved rows: one row from the first half, one from the second, and so on.
    interleaved_heads: Option<usize>,
}

impl Gguf {
    /// Reads everything except tensor data.
    ///
    /// # Errors
    /// [`ModelError::File`] or [`ModelError::Tensor`] if the file violates the format or has an architecture other than `llama`.
    pub(crate) fn parse(path: &Path, bytes: &[u8]) -> Result<Self, ModelError> {
        llama::describe(path, Contents::parse(path, bytes)?)
    }
}

impl Stored {
    /// Elements in the order of published checkpoints; as f32 if they are quantized. `bytes` must have the length that the shape needs.
    pub(crate) fn read(self, bytes: &[u8], shape: &[usize]) -> TensorData {
        if let (Some(dtype), None) = (self.blocks.float(), self.interleaved_heads) {
            return TensorData::from_bytes_vec(bytes.to_vec(), shape.to_vec(), dtype);
        }
        let elements = shape.iter().product();
        let mut values: Vec<f32> = Vec::with_capacity(elements);
        let rows = shape.first().copied().unwrap_or(1);
        match self.interleaved_heads {
            Some(heads) if rows > 0 => {
                let per_row = bytes.len() / rows;
                for row in (0..rows).map(|row| interleaved(row, rows / heads)) {
                    self.blocks.dequantize(&bytes[row * per_row..(row + 1) * per_row], &mut values);
                }
            }
            _ => self.blocks.dequantize(bytes, &mut values),
        }
        let data = TensorData::new(values, shape.to_vec());
        debug_assert_eq!(data.dtype, DType::F32);
        data
    }
}

/// The file's row for a row of a query or key projection: llama.cpp rotates adjacent rows, published models rotate halves.
fn interleaved(row: usize, head_dim: usize) -> usize {
    let (head, within) = (row / head_dim, row % head_dim);
    let half = head_dim / 2;
    head * head_dim + 2 * (within % half) + within / half
}
