//! The format since PyTorch 1.6: a zip archive with the pickle in `data.pkl` and each memory in a file of its own, uncompressed.

use core::ops::Range;
use std::collections::HashMap;
use std::io::Cursor;

use zip::{CompressionMethod, ZipArchive};

use super::pickle::{self, Unpickled};
use super::value::Storage;

/// Where the files of an archive lie.
#[derive(Debug)]
pub(super) struct Archive<'a> {
    bytes: &'a [u8],
    /// By name, without the folder that all are in.
    files: HashMap<String, Range<usize>>,
}

impl<'a> Archive<'a> {
    /// Reads the table of contents.
    pub(super) fn open(bytes: &'a [u8]) -> Result<Self, String> {
        let broken = |error: &dyn core::fmt::Display| {
            format!("incomplete PyTorch file ({error}; it has {} bytes); was the download interrupted?", bytes.len())
        };
        let mut zip = ZipArchive::new(Cursor::new(bytes)).map_err(|error| broken(&error))?;
        let mut files = HashMap::new();
        for index in 0..zip.len() {
            let file = zip.by_index_raw(index).map_err(|error| broken(&error))?;
            let name = String::from_utf8_lossy(file.name_raw()).into_owned();
            let end = |start: u64| start.checked_add(file.compressed_size());
            let place = file.data_start().and_then(|start| Some((start, end(start)?)));
            let place = place.filter(|&(_, end)| end <= bytes.len() as u64);
            let (start, end) = place.ok_or_else(|| broken(&"a part reaches beyond its end"))?;
            if file.encrypted() || file.compression() != CompressionMethod::Stored {
                return Err("is a compressed zip archive; PyTorch's are not compressed".to_owned());
            }
            let inner = name.split_once('/').map_or(name.as_str(), |(_, inner)| inner).to_owned();
            // Both are below the length of `bytes`.
            if files.insert(inner, start as usize..end as usize).is_some() {
                return Err("is a zip archive with two files of the same name".to_owned());
            }
        }
        Ok(Self { bytes, files })
    }

    fn file(&self, name: &str) -> Option<&'a [u8]> {
        self.files.get(name).and_then(|range| self.bytes.get(range.clone()))
    }

    /// Runs the pickle.
    pub(super) fn unpickle(&self) -> Result<Unpickled<'a>, String> {
        if self.files.contains_key("constants.pkl") {
            return Err(
                "is a TorchScript program, not weights; save the state dict of the model that it was made from"
                    .to_owned(),
            );
        }
        if self.file("byteorder").is_some_and(|order| order != b"little") {
            return Err("was written on a big-endian machine; load and save it in PyTorch to convert it".to_owned());
        }
        let pickle = self.file("data.pkl").ok_or("is a zip archive without `data.pkl`, so not a PyTorch file")?;
        pickle::run(pickle)
    }

    /// The bytes of a memory.
    pub(super) fn storage(&self, storage: &Storage) -> Option<Range<usize>> {
        self.files.get(&format!("data/{}", storage.key)).cloned()
    }
}
