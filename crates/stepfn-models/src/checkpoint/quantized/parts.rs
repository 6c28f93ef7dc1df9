//! The stored tensors that a quantized weight consists of.

use std::path::Path;

use crate::ModelError;
use crate::checkpoint::element::Element;
use crate::checkpoint::stored::{Stored, StoredEntry};

/// One of them.
#[derive(Debug)]
pub(super) struct Part {
    entry: StoredEntry,
    pub(super) element: Element,
}

impl Part {
    pub(super) fn shape(&self) -> &[usize] {
        &self.entry.shape
    }

    /// Number of elements; at least one.
    pub(super) fn len(&self) -> usize {
        self.entry.shape.iter().product()
    }

    pub(super) fn bytes(&self, stored: &Stored) -> Vec<u8> {
        stored.bytes(&self.entry).into_owned()
    }

    /// Its values, if they are floats or powers of two; otherwise none.
    pub(super) fn floats(&self, stored: &Stored) -> Vec<f32> {
        self.element.to_f32(&stored.bytes(&self.entry)).unwrap_or_default()
    }

    /// Its 32-bit words.
    pub(super) fn words(&self, stored: &Stored) -> Vec<u32> {
        stored.bytes(&self.entry).as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect()
    }
}

/// Takes the parts of one weight out of the stored tensors.
pub(super) struct Parts<'a> {
    pub(super) stored: &'a mut Stored,
    folder: &'a Path,
    /// What the names of all parts start with.
    base: &'a str,
}

/// Element types of scales.
pub(super) const FLOATS: &[Element] = &[Element::F32, Element::F16, Element::Bf16, Element::F64];
/// Element types of packed words.
pub(super) const WORDS: &[Element] = &[Element::I32, Element::U32];

impl<'a> Parts<'a> {
    pub(super) fn new(stored: &'a mut Stored, folder: &'a Path, base: &'a str) -> Self {
        Self { stored, folder, base }
    }

    /// Takes a part, if it is there and not empty. Its elements must be of one of the given types.
    pub(super) fn optional(&mut self, end: &str, elements: &[Element]) -> Result<Option<Part>, ModelError> {
        let entry = self.stored.tensors.remove(&format!("{}{end}", self.base));
        // Without elements, a size may be any number.
        let Some(entry) = entry.filter(|entry| !entry.shape.contains(&0)) else { return Ok(None) };
        match entry.element() {
            Some(element) if elements.contains(&element) => Ok(Some(Part { entry, element })),
            element => {
                let names: Vec<_> = elements.iter().map(|element| format!("{element:?}").to_uppercase()).collect();
                let found = element.map_or_else(|| "another".to_owned(), |found| format!("{found:?}").to_uppercase());
                Err(self.error(end, format!("element type {}", names.join(" or ")), found))
            }
        }
    }

    /// Takes a part of a weight.
    pub(super) fn take(&mut self, end: &str, elements: &[Element]) -> Result<Part, ModelError> {
        let missing = ModelError::MissingTensor { path: self.folder.to_owned(), tensor: format!("{}{end}", self.base) };
        self.optional(end, elements)?.ok_or(missing)
    }

    /// Takes a matrix, and says its rows and columns.
    pub(super) fn matrix(&mut self, end: &str, elements: &[Element]) -> Result<(Part, usize, usize), ModelError> {
        let part = self.take(end, elements)?;
        match *part.shape() {
            [rows, columns] => Ok((part, rows, columns)),
            _ => Err(self.error(end, "two dimensions".to_owned(), format!("shape {:?}", part.shape()))),
        }
    }

    /// Checks that a part has the shape that the others need.
    pub(super) fn check(&self, end: &str, part: &Part, shape: &[usize]) -> Result<(), ModelError> {
        if part.shape() == shape {
            return Ok(());
        }
        Err(self.error(end, format!("shape {shape:?}"), format!("{:?}", part.shape())))
    }

    pub(super) fn error(&self, end: &str, expected: String, found: String) -> ModelError {
        ModelError::Tensor { path: self.folder.to_owned(), tensor: format!("{}{end}", self.base), expected, found }
    }
}
