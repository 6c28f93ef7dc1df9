//! Reads metadata of the model with checks. A key's name starts with the architecture, which is left out here.

use std::path::Path;

use super::reader::{Contents, Metadata, TensorRow};
use crate::ModelError;

/// The metadata of a checkpoint, and its tensor tables.
pub(super) struct Fields<'a> {
    /// The file with the metadata, the first.
    pub(super) path: &'a Path,
    /// The architecture, and the prefix of its keys.
    pub(super) architecture: &'a str,
    /// What the files contain.
    pub(super) contents: &'a [Contents],
    /// Their bytes.
    pub(super) bytes: &'a [&'a [u8]],
}

impl Fields<'_> {
    /// A tensor, and the bytes of its elements.
    pub(super) fn tensor(&self, name: &str) -> Option<(&TensorRow, &[u8])> {
        let mut files = self.contents.iter().zip(self.bytes);
        files.find_map(|(contents, bytes)| {
            let row = contents.tensors.iter().find(|row| row.name == name)?;
            Some((row, bytes.get(row.bytes.clone())?))
        })
    }

    /// Whether there is a tensor with this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.tensor(name).is_some()
    }

    /// The value of a key, which starts with the architecture unless it belongs to the tokenizer.
    pub(super) fn get(&self, key: &str) -> Option<&Metadata> {
        self.contents.first()?.metadata.get(&self.whole(key))
    }

    fn whole(&self, key: &str) -> String {
        if key.starts_with("tokenizer.") { key.to_owned() } else { format!("{}.{key}", self.architecture) }
    }

    /// A whole number.
    pub(super) fn needed(&self, key: &str) -> Result<u64, ModelError> {
        self.number(key)?.ok_or_else(|| self.error(key, "a whole number"))
    }

    /// A whole number, or a list with the same one for each layer.
    pub(super) fn number(&self, key: &str) -> Result<Option<u64>, ModelError> {
        let number = match self.get(key) {
            None => return Ok(None),
            Some(Metadata::Integer(number)) => u64::try_from(*number).ok(),
            Some(Metadata::Integers(numbers)) if numbers.iter().any(|number| *number != numbers[0]) => {
                return Err(self.error(key, "the same number for all layers"));
            }
            Some(Metadata::Integers(numbers)) => numbers.first().and_then(|number| u64::try_from(*number).ok()),
            Some(_) => None,
        };
        number.map(Some).ok_or_else(|| self.error(key, "a whole number"))
    }

    /// A number.
    pub(super) fn float(&self, key: &str) -> Result<Option<f64>, ModelError> {
        match self.get(key) {
            None => Ok(None),
            Some(Metadata::Float(number)) if number.is_finite() => Ok(Some(*number)),
            Some(_) => Err(self.error(key, "a finite number")),
        }
    }

    /// A string.
    pub(super) fn text(&self, key: &str) -> Result<Option<&str>, ModelError> {
        match self.get(key) {
            None => Ok(None),
            Some(Metadata::Text(text)) => Ok(Some(text)),
            Some(_) => Err(self.error(key, "a string")),
        }
    }

    /// True or false.
    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>, ModelError> {
        match self.get(key) {
            None => Ok(None),
            Some(Metadata::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => Err(self.error(key, "true or false")),
        }
    }

    /// An error with the expected value of a key and its actual one.
    pub(super) fn error(&self, key: &str, expected: impl AsRef<str>) -> ModelError {
        let found = self.get(key).map_or_else(|| "nothing".to_owned(), Metadata::shortened);
        let message = format!("metadata `{}`: expected {}, found {found}", self.whole(key), expected.as_ref());
        ModelError::File { path: self.path.to_owned(), message }
    }
}
