//! PyTorch files, `pytorch_model.bin`: a pickle of named tensors with their memory beside it, in the format since PyTorch 1.6 and in the
//! one before.
//!
//! Such a file is opened without running anything in it: see [`pickle`]. Tensors may share memory, and needn't be contiguous in it. Every
//! place is checked before it is read.

mod archive;
mod globals;
mod legacy;
mod pickle;
mod reader;
mod state_dict;
#[cfg(test)]
mod tests;
mod value;

use core::ops::Range;
use std::borrow::Cow;
use std::path::Path;

use super::element::Element;
use crate::ModelError;
use archive::Archive;
use legacy::Legacy;

/// A tensor in a PyTorch file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TorchTensor {
    pub(crate) name: String,
    pub(crate) element: Element,
    pub(crate) shape: Vec<usize>,
    /// Elements from one index to the next, for each dimension.
    pub(crate) strides: Vec<usize>,
    /// The bytes of its memory in the file. Other tensors may have the same.
    pub(crate) bytes: Range<usize>,
    /// Elements before its first one.
    pub(crate) offset: usize,
}

/// Reads everything except the tensors' elements.
///
/// # Errors
/// [`ModelError::File`] if it is no such file, is incomplete, or asks for anything but tensors.
pub(crate) fn parse(path: &Path, bytes: &[u8]) -> Result<Vec<TorchTensor>, ModelError> {
    tensors(bytes).map_err(|message| ModelError::File { path: path.to_owned(), message })
}

fn tensors(bytes: &[u8]) -> Result<Vec<TorchTensor>, String> {
    if bytes.starts_with(legacy::START) {
        let (legacy, unpickled) = Legacy::open(bytes)?;
        return state_dict::tensors(&unpickled, bytes.len(), |storage| legacy.storage(storage));
    }
    if bytes.starts_with(b"PK\x03\x04") {
        let archive = Archive::open(bytes)?;
        return state_dict::tensors(&archive.unpickle()?, bytes.len(), |storage| archive.storage(storage));
    }
    Err(match bytes {
        [0x80, ..] => {
            pickle::run(bytes)?;
            "is a pickle, but not one that PyTorch wrote".to_owned()
        }
        [] => "is empty; was the download interrupted?".to_owned(),
        _ => "is not a PyTorch file".to_owned(),
    })
}

impl TorchTensor {
    /// Its elements in the order of its indices; `file` is what it was parsed from. Borrowed where they lie in that order.
    pub(crate) fn read<'a>(&self, file: &'a [u8]) -> Cow<'a, [u8]> {
        let size = self.element.size();
        let memory = file.get(self.bytes.clone()).unwrap_or_default();
        let elements = memory.get(self.offset.saturating_mul(size)..).unwrap_or_default();
        // Checked when parsed: not more than the file has, or little.
        let total: usize = if self.shape.contains(&0) { 0 } else { self.shape.iter().product::<usize>() * size };
        if self.is_contiguous() {
            return Cow::Borrowed(elements.get(..total).unwrap_or_default());
        }
        let mut read = Vec::with_capacity(total);
        let (row, stride) = self.shape.last().copied().zip(self.strides.last().copied()).unwrap_or((1, 1));
        let mut index = vec![0; self.shape.len().saturating_sub(1)];
        for _ in 0..total / (row * size).max(1) {
            let start: usize = index.iter().zip(&self.strides).map(|(index, stride)| index * stride).sum();
            for element in 0..row {
                let at = (start + element * stride) * size;
                read.extend_from_slice(elements.get(at..at + size).unwrap_or_default());
            }
            advance(&mut index, &self.shape);
        }
        Cow::Owned(read)
    }

    fn is_contiguous(&self) -> bool {
        let mut expected = 1_usize;
        let mut dimensions = self.shape.iter().zip(&self.strides).rev();
        let in_order = dimensions.all(|(&size, &stride)| {
            let fits = size == 1 || stride == expected;
            expected = expected.saturating_mul(size);
            fits
        });
        in_order || self.shape.contains(&0)
    }
}

/// The next index; the last one is followed by zeros.
fn advance(index: &mut [usize], shape: &[usize]) {
    for (index, size) in index.iter_mut().zip(shape).rev() {
        *index += 1;
        if *index < *size {
            return;
        }
        *index = 0;
    }
}
