//! The tensors in files of weights, as they are stored.

use core::ops::Range;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use safetensors::SafeTensors;
use stepfn_kernels::weight::{Panels, StoredRows};

use super::damaged::damage;
use super::element::Element;
use super::files::{LFS_POINTER, file_error, is_lfs_pointer};
use super::rows::{BF16, F16, FileColumns, FileRows};
use super::torch::{self, TorchTensor};
use super::{Contents, MemoryTensor};
use crate::ModelError;

/// Files of weights, and where each tensor lies in them.
#[derive(Debug, Default)]
pub(super) struct Stored {
    pub(super) files: Vec<(PathBuf, Contents)>,
    pub(super) tensors: BTreeMap<String, StoredEntry>,
}

/// A tensor in a file.
#[derive(Debug, Clone)]
pub(super) struct StoredEntry {
    pub(super) file: usize,
    pub(super) shape: Vec<usize>,
    pub(super) place: Place,
}

/// How and where a tensor's elements are stored.
#[derive(Debug, Clone)]
pub(super) enum Place {
    /// In order, in a byte range of the file.
    Bytes(Element, Range<usize>),
    Torch(TorchTensor),
    #[cfg(feature = "gguf")]
    Gguf(crate::gguf::Stored, Range<usize>),
}

impl StoredEntry {
    /// The element type; none in blocks of a GGUF file.
    pub(super) fn element(&self) -> Option<Element> {
        match &self.place {
            Place::Bytes(element, _) => Some(*element),
            Place::Torch(tensor) => Some(tensor.element),
            #[cfg(feature = "gguf")]
            Place::Gguf(..) => None,
        }
    }
}

impl Stored {
    /// Adds the tensors of a file: safetensors, or what PyTorch saved.
    pub(super) fn add(&mut self, path: PathBuf, contents: Contents) -> Result<(), ModelError> {
        let bytes = contents.bytes();
        if is_lfs_pointer(bytes) {
            return Err(file_error(&path, LFS_POINTER));
        }
        let file = self.files.len();
        if is_torch(&path, bytes) {
            self.tensors.extend(torch::parse(&path, bytes)?.into_iter().map(|tensor| {
                (tensor.name.clone(), StoredEntry { file, shape: tensor.shape.clone(), place: Place::Torch(tensor) })
            }));
        } else {
            let tensors = SafeTensors::deserialize(bytes).map_err(|error| file_error(&path, damage(bytes, &error)))?;
            let start = bytes.as_ptr() as usize;
            for (name, view) in tensors.iter() {
                let offset = view.data().as_ptr() as usize - start;
                let place = Place::Bytes(view.dtype().into(), offset..offset + view.data().len());
                self.tensors.insert(name.to_owned(), StoredEntry { file, shape: view.shape().to_vec(), place });
            }
        }
        self.files.push((path, contents));
        Ok(())
    }

    /// Adds a tensor that another library owns.
    pub(super) fn add_lent(&mut self, folder: &Path, tensor: MemoryTensor) -> Result<(), ModelError> {
        let MemoryTensor { name, dtype, shape, bytes } = tensor;
        let len = (*bytes).as_ref().len();
        let wrong = |expected: &str, found: String| {
            let (path, tensor, expected) = (folder.to_owned(), name.clone(), expected.to_owned());
            ModelError::Tensor { path, tensor, expected, found }
        };
        let floats = [Element::F64, Element::F32, Element::F16, Element::Bf16];
        let element = floats.into_iter().find(|&element| super::dtype(element) == Some(dtype));
        let element = element.ok_or_else(|| wrong("F64, F32, F16 or BF16", format!("{dtype:?}")))?;
        if element.bytes(&shape) != Some(len) {
            return Err(wrong(&format!("the bytes of shape {shape:?}"), format!("{len} bytes")));
        }
        let place = Place::Bytes(element, 0..len);
        self.tensors.insert(name, StoredEntry { file: self.files.len(), shape, place });
        self.files.push((folder.to_owned(), Contents::Lent(bytes)));
        Ok(())
    }

    /// Removes what training programs put before every name.
    pub(super) fn strip_prefixes(&mut self) {
        const PREFIXES: [&str; 2] = ["_orig_mod.", "module."];
        while let Some(prefix) = PREFIXES.into_iter().find(|prefix| {
            !self.tensors.is_empty()
                && self.tensors.keys().all(|name| name.len() > prefix.len() && name.starts_with(prefix))
        }) {
            let stripped = |(name, entry): (String, StoredEntry)| (name.split_at(prefix.len()).1.to_owned(), entry);
            self.tensors = core::mem::take(&mut self.tensors).into_iter().map(stripped).collect();
        }
    }

    /// The path of a file.
    pub(super) fn path(&self, file: usize) -> Option<&Path> {
        self.files.get(file).map(|(path, _)| path.as_path())
    }

    /// The bytes of a tensor's elements in order, or its blocks.
    pub(super) fn bytes(&self, entry: &StoredEntry) -> Cow<'_, [u8]> {
        let file = self.files.get(entry.file).map(|(_, contents)| contents.bytes()).unwrap_or_default();
        match &entry.place {
            Place::Torch(tensor) => tensor.read(file),
            Place::Bytes(_, range) => Cow::Borrowed(file.get(range.clone()).unwrap_or_default()),
            #[cfg(feature = "gguf")]
            Place::Gguf(_, range) => Cow::Borrowed(file.get(range.clone()).unwrap_or_default()),
        }
    }
}

impl Stored {
    /// The rows of a matrix, or of its transpose, as they are in the file, and those of several matrices one after the other; `None` if they aren't
    /// there so, or are no smaller than in single precision.
    pub(super) fn rows(&self, entry: &StoredEntry, transposed: bool) -> Option<Arc<dyn StoredRows>> {
        let (rows, columns) = match *entry.shape.as_slice() {
            [rows, columns] => (rows, columns),
            [matrices, rows, columns] if !transposed => (matrices.checked_mul(rows)?, columns),
            _ => return None,
        };
        let (_, contents) = self.files.get(entry.file)?;
        // What is lent may change after loading, so that it must be copied now: numbers in half precision are, where they are laid out.
        if matches!(contents, Contents::Lent(_)) && !Panels::is_supported() {
            return None;
        }
        let half = |range, format| -> Option<Arc<dyn StoredRows>> {
            let rows = FileRows::new(contents, range, [rows, columns], format)?;
            match transposed {
                true => Panels::is_supported().then(|| Arc::new(FileColumns(rows)) as Arc<dyn StoredRows>),
                false => Some(Arc::new(rows)),
            }
        };
        match &entry.place {
            #[cfg(feature = "gguf")]
            Place::Gguf(stored, range) => stored.rows_in(contents, range, [rows, columns], transposed),
            Place::Bytes(Element::F16, range) => half(range, F16),
            Place::Bytes(Element::Bf16, range) => half(range, BF16),
            _ => None,
        }
    }
}

/// The header of a safetensors file follows 8 bytes of length.
fn is_torch(path: &Path, bytes: &[u8]) -> bool {
    let is_safetensors = bytes.get(8) == Some(&b'{');
    let is_named_so = path.extension().is_some_and(|extension| extension == "safetensors");
    !is_safetensors && (!is_named_so || bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"\x80\x02"))
}
