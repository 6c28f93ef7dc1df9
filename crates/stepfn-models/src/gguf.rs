//! GGUF, the one-file format of llama.cpp: metadata, and tensors that are mostly quantized. Models of its `llama` architecture are read here as
//! what they are elsewhere: a `config.json`, tensors by the family's published names, and a `tokenizer.json`.
//!
//! Quantized tensors are dequantized when they are read, one at a time. The format is described in ggml's `docs/gguf.md`, the blocks in its
//! `ggml-quants`.

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

/// What a GGUF file is, in the terms of other checkpoints.
#[derive(Debug)]
pub(crate) struct Gguf {
    /// What would stand in `config.json`.
    pub(crate) config: Value,
    pub(crate) tensors: Vec<GgufTensor>,
}

/// A tensor in the file.
#[derive(Debug)]
pub(crate) struct GgufTensor {
    /// Its name in published checkpoints of the family; that in the file, if it has none there.
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) stored: Stored,
    /// In the file; as long as shape and elements ask for.
    pub(crate) bytes: Range<usize>,
}

/// How elements are stored.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Stored {
    blocks: Blocks,
    /// Number of heads whose rows are interleaved: the first half's row, then the second half's, and so on.
    interleaved_heads: Option<usize>,
}

impl Gguf {
    /// Reads all but the elements of a file.
    ///
    /// # Errors
    /// [`ModelError::File`], or [`ModelError::Tensor`], if anything is not as the format has it or of another architecture than `llama`.
    pub(crate) fn parse(path: &Path, bytes: &[u8]) -> Result<Self, ModelError> {
        llama::describe(path, Contents::parse(path, bytes)?)
    }
}

impl Stored {
    /// Elements in the order of published checkpoints, as f32 where they were quantized. `bytes` is as long as the shape asks for.
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

/// Where the file has a row of a query or key projection: llama.cpp rotates neighbours where the published models rotate halves.
fn interleaved(row: usize, head_dim: usize) -> usize {
    let (head, within) = (row / head_dim, row % head_dim);
    let half = head_dim / 2;
    head * head_dim + 2 * (within % half) + within / half
}
