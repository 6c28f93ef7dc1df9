//! The format before PyTorch 1.6: five pickles (a magic number, the version, facts about the machine, the tensors, the names of their
//! memories), then the memories, each behind its number of elements.

use core::ops::Range;
use std::collections::HashMap;

use super::pickle::{self, Unpickled};
use super::reader::Reader;
use super::value::{Storage, Value};

/// The bytes that such a file starts with: the magic number, pickled.
pub(super) const START: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";

/// A file of this format.
#[derive(Debug)]
pub(super) struct Legacy<'a> {
    /// Where the memories lie, by name.
    storages: HashMap<&'a str, Range<usize>>,
}

impl<'a> Legacy<'a> {
    /// Reads the pickles, and where the memories lie.
    pub(super) fn open(bytes: &'a [u8]) -> Result<(Self, Unpickled<'a>), String> {
        let mut reader = Reader::new(bytes);
        reader.take(START.len())?;
        let mut next = || {
            let unpickled = pickle::run(reader.rest())?;
            reader.take(unpickled.len)?;
            Ok::<_, String>(unpickled)
        };
        if next()?.value != Value::Integer(1001) {
            return Err(
                "is a PyTorch file of a version that is not read; load and save it in PyTorch to convert it".to_owned()
            );
        }
        let machine = next()?;
        let facts = machine.objects.pairs_of(machine.value).unwrap_or_default();
        if facts.contains(&(Value::Text("little_endian"), Value::Bool(false))) {
            return Err("was written on a big-endian machine; load and save it in PyTorch to convert it".to_owned());
        }
        let tensors = next()?;
        let names = next()?;
        let names = names.objects.items_of(names.value).ok_or("has no list of its memories")?;
        let sizes: HashMap<&str, usize> = tensors
            .objects
            .storages
            .iter()
            .map(|storage| (storage.key, storage.element.map_or(1, |element| element.size())))
            .collect();
        let mut storages = HashMap::new();
        for name in names {
            let size = match name {
                Value::Text(name) => sizes.get_key_value(name),
                _ => None,
            };
            let (&name, size) = size.ok_or("lists a memory that no tensor has")?;
            let bytes = reader.u64()?.checked_mul(*size).ok_or("has a count that no file can have; is it damaged?")?;
            let start = reader.at();
            reader.take(bytes)?;
            storages.insert(name, start..start + bytes);
        }
        Ok((Self { storages }, tensors))
    }

    /// The bytes of a memory.
    pub(super) fn storage(&self, storage: &Storage) -> Option<Range<usize>> {
        self.storages.get(storage.key).cloned()
    }
}
