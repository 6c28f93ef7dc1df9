//! GGUF, the format of llama.cpp: metadata, and tensors that are usually quantized, in one file or several. They are translated to the form
//! of other checkpoints: a `config.json`, tensors with the family's published names, and a `tokenizer.json`.
//!
//! On the CPU, the weights of linear layers and embeddings stay in the file's blocks, which products expand a tile at a time. Other tensors, and
//! all on other backends, are dequantized one at a time, when they are read. ggml's `docs/gguf.md` describes the format, its `ggml-quants` the
//! blocks.

mod architectures;
mod blocks;
mod metadata;
mod parts;
mod reader;
mod rotary;
mod stored;
#[cfg(test)]
mod tests;
mod tokenizer;

use core::ops::Range;
use std::path::Path;

use serde_json::Value;

use crate::ModelError;
pub(crate) use parts::{first_part, paths};
use reader::Contents;
pub(crate) use stored::Stored;
pub(crate) use tokenizer::GgufTokenizer;

/// A GGUF checkpoint, translated to the form of others.
#[derive(Debug)]
pub(crate) struct Gguf {
    /// The equivalent of `config.json`.
    pub(crate) config: Value,
    pub(crate) tensors: Vec<GgufTensor>,
}

/// A tensor in a file.
#[derive(Debug)]
pub(crate) struct GgufTensor {
    /// Its name in published checkpoints of the family, or its name in the file if it has no counterpart there.
    pub(crate) name: String,
    /// Its shape in published checkpoints.
    pub(crate) shape: Vec<usize>,
    pub(crate) stored: Stored,
    /// Which of the files it is in.
    pub(crate) file: usize,
    /// Byte range in the file; exactly what shape and elements need.
    pub(crate) bytes: Range<usize>,
}

impl Gguf {
    /// Reads everything except tensor data from the file or files of a model, in the order of [`paths`].
    ///
    /// # Errors
    /// [`ModelError::File`] or [`ModelError::Tensor`] if a file violates the format, if the files don't belong together, or if the
    /// architecture is not supported.
    pub(crate) fn parse(files: &[(&Path, &[u8])]) -> Result<Self, ModelError> {
        let contents: Vec<Contents> =
            files.iter().map(|(path, bytes)| Contents::parse(path, bytes)).collect::<Result<_, _>>()?;
        parts::check(files, &contents)?;
        architectures::describe(files, contents)
    }
}
