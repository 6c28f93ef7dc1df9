//! The structure of a GGUF file: header, metadata, tensor table, tensor data.
//!
//! Every count is checked against the rest of the file before anything is allocated for it.

use core::ops::Range;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::blocks::Blocks;
use crate::ModelError;

/// A metadata value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Metadata {
    Integer(i128),
    Float(f64),
    Bool(bool),
    Text(String),
    Integers(Vec<i64>),
    Floats(Vec<f32>),
    Texts(Vec<String>),
    /// A type that nothing here needs.
    Other,
}

impl Metadata {
    /// The value for messages.
    pub(super) fn shortened(&self) -> String {
        match self {
            Self::Integer(number) => number.to_string(),
            Self::Float(number) => number.to_string(),
            Self::Bool(flag) => flag.to_string(),
            Self::Text(text) => format!("`{}`", crate::json::shortened(text)),
            Self::Integers(_) | Self::Floats(_) => "a list of numbers".to_owned(),
            Self::Texts(_) => "a list of strings".to_owned(),
            Self::Other => "another kind of value".to_owned(),
        }
    }
}

/// A row of the tensor table.
#[derive(Debug)]
pub(super) struct TensorRow {
    pub(super) name: String,
    /// Rows first, unlike in the file.
    pub(super) shape: Vec<usize>,
    pub(super) blocks: &'static Blocks,
    /// Byte range in the file; exactly as long as the shape needs.
    pub(super) bytes: Range<usize>,
}

/// Everything except the tensor data.
#[derive(Debug)]
pub(super) struct Contents {
    pub(super) metadata: BTreeMap<String, Metadata>,
    pub(super) tensors: Vec<TensorRow>,
}

/// Minimum encoded sizes: a key's length and type; a name's length, number of dimensions, type and offset.
const SHORTEST_KEY: usize = 8 + 4;
const SHORTEST_ROW: usize = 8 + 4 + 4 + 8;

impl Contents {
    pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<Self, ModelError> {
        let mut reader = Reader { path, bytes, at: 0 };
        if reader.take(4)? != b"GGUF" {
            return Err(reader.error("expected a GGUF file, which starts with `GGUF`"));
        }
        let version = reader.u32()?;
        if !(2..=3).contains(&version) {
            return Err(reader.error(format!("expected GGUF version 2 or 3 in little-endian order, found {version}")));
        }
        let tensors = reader.count("tensors", SHORTEST_ROW)?;
        let keys = reader.count("metadata keys", SHORTEST_KEY)?;
        let mut metadata = BTreeMap::new();
        for _ in 0..keys {
            let key = reader.text()?;
            let kind = reader.u32()?;
            let value = reader.value(kind)?;
            if metadata.insert(key.clone(), value).is_some() {
                return Err(reader.error(format!("metadata `{key}` appears twice")));
            }
        }
        let alignment = match metadata.get("general.alignment") {
            None => 32,
            Some(Metadata::Integer(alignment)) => usize::try_from(*alignment).unwrap_or(0),
            Some(_) => 0,
        };
        if !alignment.is_power_of_two() || alignment > 1 << 20 {
            return Err(reader.error("`general.alignment`: expected a power of two up to 1048576"));
        }
        let rows = (0..tensors).map(|_| reader.row()).collect::<Result<Vec<_>, _>>()?;
        let start = reader.at.next_multiple_of(alignment);
        let mut names = BTreeSet::new();
        let mut tensors = Vec::with_capacity(rows.len());
        for row in rows {
            if !names.insert(row.name.clone()) {
                return Err(reader.error(format!("tensor `{}` appears twice", row.name)));
            }
            tensors.push(row.placed(path, bytes.len(), start, alignment)?);
        }
        Ok(Self { metadata, tensors })
    }
}

/// A table row as stored.
struct RawRow {
    name: String,
    /// Columns first, as in the file.
    dims: Vec<u64>,
    kind: u32,
    offset: u64,
}

impl RawRow {
    fn placed(self, path: &Path, file_len: usize, start: usize, alignment: usize) -> Result<TensorRow, ModelError> {
        let Self { name, dims, kind, offset } = self;
        let error = |expected: String, found: String| ModelError::Tensor {
            path: path.to_owned(),
            tensor: name.clone(),
            expected,
            found,
        };
        let blocks = Blocks::numbered(kind).ok_or_else(|| {
            let found = format!("{} (take a Q4_K_M or Q8_0 file of the same model)", Blocks::unread(kind));
            error("a type of elements that can be read".to_owned(), found)
        })?;
        let (elements, size) = (blocks.elements, blocks.bytes);
        if dims.is_empty() || dims.contains(&0) || dims[0] % elements as u64 != 0 {
            let expected = format!("sizes above 0, the first a multiple of {elements}");
            return Err(error(expected, format!("sizes {dims:?}")));
        }
        let total = dims.iter().try_fold(1_u64, |total, &dim| total.checked_mul(dim));
        let len = total.and_then(|total| (total / elements as u64).checked_mul(size as u64));
        let begin = offset.checked_add(start as u64);
        let end = begin.zip(len).and_then(|(begin, len)| begin.checked_add(len));
        let (Some(begin), Some(end)) = (begin, end.filter(|&end| end <= file_len as u64)) else {
            let found = format!("sizes {dims:?} at offset {offset} from {start}; was the download interrupted?");
            return Err(error(format!("a tensor within the file's {file_len} bytes"), found));
        };
        if !offset.is_multiple_of(alignment as u64) {
            return Err(error(format!("an offset that is a multiple of {alignment}"), offset.to_string()));
        }
        let shape: Option<Vec<usize>> = dims.iter().rev().map(|&dim| usize::try_from(dim).ok()).collect();
        let shape = shape
            .ok_or_else(|| error("sizes that fit this machine's address range".to_owned(), format!("{dims:?}")))?;
        Ok(TensorRow { shape, blocks, bytes: begin as usize..end as usize, name })
    }
}

/// The number of the type of a list.
const ARRAY: u32 = 9;

struct Reader<'a> {
    path: &'a Path,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn error(&self, message: impl Into<String>) -> ModelError {
        ModelError::File { path: self.path.to_owned(), message: message.into() }
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], ModelError> {
        let end = self.at.checked_add(len).filter(|&end| end <= self.bytes.len());
        let end = end.ok_or_else(|| {
            let (len, at) = (self.bytes.len(), self.at);
            self.error(format!(
                "incomplete GGUF file (it has {len} bytes, more are needed after {at}); was the download interrupted?"
            ))
        })?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ModelError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn u32(&mut self) -> Result<u32, ModelError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, ModelError> {
        self.array().map(u64::from_le_bytes)
    }

    /// Reads the number of items, each of which takes at least `shortest` bytes.
    fn count(&mut self, what: &str, shortest: usize) -> Result<usize, ModelError> {
        let count = self.u64()?;
        let most = (self.bytes.len() - self.at) / shortest;
        if count > most as u64 {
            return Err(self.error(format!("expected at most {most} {what} in the rest of the file, found {count}")));
        }
        Ok(count as usize)
    }

    fn text(&mut self) -> Result<String, ModelError> {
        self.string()?.ok_or_else(|| self.error(format!("the name before byte {} is not UTF-8", self.at)))
    }

    /// A string, if it is UTF-8.
    fn string(&mut self) -> Result<Option<String>, ModelError> {
        let len = self.count("bytes of text", 1)?;
        Ok(String::from_utf8(self.take(len)?.to_vec()).ok())
    }

    fn row(&mut self) -> Result<RawRow, ModelError> {
        const MOST_DIMENSIONS: u32 = 4;
        let name = self.text()?;
        let dimensions = self.u32()?;
        if dimensions > MOST_DIMENSIONS {
            let message = format!("tensor `{name}`: expected at most {MOST_DIMENSIONS} dimensions, found {dimensions}");
            return Err(self.error(message));
        }
        let dims = (0..dimensions).map(|_| self.u64()).collect::<Result<_, _>>()?;
        Ok(RawRow { name, dims, kind: self.u32()?, offset: self.u64()? })
    }

    fn value(&mut self, kind: u32) -> Result<Metadata, ModelError> {
        Ok(match kind {
            6 => Metadata::Float(decimal(self.array().map(f32::from_le_bytes)?)),
            7 => Metadata::Bool(self.take(1)? != [0]),
            8 => self.string()?.map_or(Metadata::Other, Metadata::Text),
            ARRAY => self.list(0)?,
            12 => Metadata::Float(self.array().map(f64::from_le_bytes)?),
            _ => Metadata::Integer(self.integer(kind)?),
        })
    }

    fn integer(&mut self, kind: u32) -> Result<i128, ModelError> {
        Ok(match kind {
            0 => self.array().map(u8::from_le_bytes)?.into(),
            1 => self.array().map(i8::from_le_bytes)?.into(),
            2 => self.array().map(u16::from_le_bytes)?.into(),
            3 => self.array().map(i16::from_le_bytes)?.into(),
            4 => self.u32()?.into(),
            5 => self.array().map(i32::from_le_bytes)?.into(),
            10 => self.u64()?.into(),
            11 => self.array().map(i64::from_le_bytes)?.into(),
            _ => {
                return Err(self.error(format!(
                    "metadata before byte {} has a type that GGUF does not have, number {kind}",
                    self.at
                )));
            }
        })
    }

    /// A list, which is in so many others. Nothing here needs a list of lists.
    fn list(&mut self, depth: u32) -> Result<Metadata, ModelError> {
        const DEEPEST: u32 = 8;
        const SHORTEST_LIST: usize = 4 + 8;
        let kind = self.u32()?;
        let size = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            8 | 10..=12 => 8,
            ARRAY if depth < DEEPEST => SHORTEST_LIST,
            ARRAY => return Err(self.error("lists in lists are nested too deeply")),
            _ => {
                return Err(self.error(format!("a list has elements of a type that GGUF does not have, number {kind}")));
            }
        };
        let count = self.count("elements of a list", size)?;
        Ok(match kind {
            6 => Metadata::Floats((0..count).map(|_| self.array().map(f32::from_le_bytes)).collect::<Result<_, _>>()?),
            8 => {
                let texts = (0..count).map(|_| self.string()).collect::<Result<Vec<_>, _>>()?;
                texts.into_iter().collect::<Option<_>>().map_or(Metadata::Other, Metadata::Texts)
            }
            ARRAY => {
                for _ in 0..count {
                    self.list(depth + 1)?;
                }
                Metadata::Other
            }
            7 | 10 | 12 => {
                self.take(count * size)?;
                Metadata::Other
            }
            _ => {
                let integers = (0..count).map(|_| self.integer(kind).map(|integer| integer as i64));
                Metadata::Integers(integers.collect::<Result<_, _>>()?)
            }
        })
    }
}

/// The shortest decimal for an f32: 1e-5, not 9.999999747378752e-6.
fn decimal(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}
