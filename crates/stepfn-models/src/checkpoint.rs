//! Checkpoints: a folder with `config.json` and one or more `*.safetensors` files, or one GGUF file, memory-mapped; or the same in memory.
//!
//! Headers are checked before anything is read or allocated: every tensor must lie inside its file and have exactly the bytes that its
//! shape needs.

mod element;
mod torch;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use burn::tensor::backend::Backend;
use burn::tensor::{DType, TensorData};
use memmap2::Mmap;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

use crate::ModelError;
use crate::source::{StoredTensor, TensorSource, check_shape};

/// The files of a model.
#[derive(Debug)]
pub struct Checkpoint {
    folder: PathBuf,
    config: Value,
    files: Vec<(PathBuf, Contents)>,
    tensors: BTreeMap<String, TensorEntry>,
}

/// The bytes of a file.
#[derive(Debug)]
pub(crate) enum Contents {
    Mapped(Mmap),
    Memory(Cow<'static, [u8]>),
}

impl Contents {
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Memory(bytes) => bytes,
        }
    }
}

#[derive(Debug, Clone)]
struct TensorEntry {
    file: usize,
    elements: Elements,
    shape: Vec<usize>,
    /// Byte range in the file.
    bytes: core::ops::Range<usize>,
}

/// How a tensor's elements are stored.
#[derive(Debug, Clone)]
enum Elements {
    Float(DType),
    #[cfg(feature = "gguf")]
    Gguf(crate::gguf::Stored),
    /// An element type that no parameter has.
    Other(Dtype),
}

impl From<Dtype> for Elements {
    fn from(dtype: Dtype) -> Self {
        match dtype {
            Dtype::F32 => Self::Float(DType::F32),
            Dtype::F16 => Self::Float(DType::F16),
            Dtype::BF16 => Self::Float(DType::BF16),
            other => Self::Other(other),
        }
    }
}

impl Checkpoint {
    /// Opens a folder in Hugging Face layout: `config.json` with `model.safetensors`, or with the files listed in
    /// `model.safetensors.index.json`. With the feature `gguf`, also opens a GGUF file.
    ///
    /// Weight files are memory-mapped for as long as the checkpoint exists. Nothing may change or truncate them in that time: the values of
    /// tensors would then be unpredictable, and reading past a file's new end terminates the process (`SIGBUS` on Unix). If you can't rule
    /// that out, read the files yourself and use [`from_bytes`](Self::from_bytes).
    ///
    /// # Errors
    /// [`ModelError::File`], which names the file that is missing, truncated or in another format.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, ModelError> {
        let folder = path.as_ref().to_owned();
        if folder.is_file() {
            let contents = map(&folder)?;
            return Self::gguf(folder, contents);
        }
        let config = read_json(&folder.join("config.json"))?;
        let mut checkpoint = Self { config, files: Vec::new(), tensors: BTreeMap::new(), folder: folder.clone() };
        for file in weight_files(&folder)? {
            let contents = map(&file)?;
            checkpoint.add(file, contents)?;
        }
        Ok(checkpoint)
    }

    /// Reads a GGUF file in memory. `name` identifies it in error messages.
    ///
    /// # Errors
    /// [`ModelError::File`] or [`ModelError::Tensor`] if it is not a GGUF file, or has an unsupported architecture.
    #[cfg(feature = "gguf")]
    pub fn from_gguf_bytes(name: &str, bytes: impl Into<Cow<'static, [u8]>>) -> Result<Self, ModelError> {
        Self::gguf(PathBuf::from(name), Contents::Memory(bytes.into()))
    }

    #[cfg(feature = "gguf")]
    fn gguf(path: PathBuf, contents: Contents) -> Result<Self, ModelError> {
        let crate::gguf::Gguf { config, tensors } = crate::gguf::Gguf::parse(&path, contents.bytes())?;
        let tensors = tensors.into_iter().map(|tensor| {
            let entry = TensorEntry {
                file: 0,
                elements: Elements::Gguf(tensor.stored),
                shape: tensor.shape,
                bytes: tensor.bytes,
            };
            (tensor.name, entry)
        });
        Ok(Self { config, tensors: tensors.collect(), files: vec![(path.clone(), contents)], folder: path })
    }

    #[cfg(not(feature = "gguf"))]
    fn gguf(path: PathBuf, _contents: Contents) -> Result<Self, ModelError> {
        Err(file_error(&path, "expected a folder, found a file (reading GGUF files needs the feature `gguf`)"))
    }

    /// Reads a checkpoint in memory, such as one compiled into the program, from the contents of `config.json` and `model.safetensors`.
    /// `name` identifies it in error messages.
    ///
    /// # Errors
    /// [`ModelError::File`] if one of them is malformed.
    pub fn from_bytes(name: &str, config: &str, weights: impl Into<Cow<'static, [u8]>>) -> Result<Self, ModelError> {
        let folder = PathBuf::from(name);
        let path = folder.join("config.json");
        let config = serde_json::from_str(config).map_err(|error| file_error(&path, error))?;
        let mut checkpoint = Self { config, files: Vec::new(), tensors: BTreeMap::new(), folder: folder.clone() };
        checkpoint.add(folder.join("model.safetensors"), Contents::Memory(weights.into()))?;
        Ok(checkpoint)
    }

    fn add(&mut self, path: PathBuf, contents: Contents) -> Result<(), ModelError> {
        let bytes = contents.bytes();
        let tensors =
            SafeTensors::deserialize(bytes).map_err(|error| file_error(&path, describe(&error, bytes.len())))?;
        let start = bytes.as_ptr() as usize;
        for (name, view) in tensors.iter() {
            let offset = view.data().as_ptr() as usize - start;
            let bytes = offset..offset + view.data().len();
            let entry = TensorEntry {
                file: self.files.len(),
                elements: view.dtype().into(),
                shape: view.shape().to_vec(),
                bytes,
            };
            self.tensors.insert(name.to_owned(), entry);
        }
        drop(tensors);
        self.files.push((path, contents));
        Ok(())
    }

    /// The folder, or the GGUF file.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// `config.json`.
    pub fn config(&self) -> &Value {
        &self.config
    }

    /// The names of all tensors, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Whether there is a tensor with that name.
    pub fn contains(&self, tensor: &str) -> bool {
        self.tensors.contains_key(tensor)
    }

    /// The file that contains a tensor; [`folder`](Self::folder) if none does.
    pub fn file_of(&self, tensor: &str) -> &Path {
        self.tensors.get(tensor).map_or(&self.folder, |entry| &self.files[entry.file].0)
    }

    /// The shape of a tensor, if it exists.
    pub fn shape(&self, tensor: &str) -> Option<&[usize]> {
        self.tensors.get(tensor).map(|entry| entry.shape.as_slice())
    }

    /// Reads a tensor from the mapped file, with its stored element type, or as f32 if it is quantized.
    ///
    /// # Errors
    /// If there is no tensor with that name, or its element type is not f32, f16 or bf16.
    pub fn read(&self, tensor: &str) -> Result<TensorData, ModelError> {
        let entry = self
            .tensors
            .get(tensor)
            .ok_or_else(|| ModelError::MissingTensor { path: self.folder.clone(), tensor: tensor.to_owned() })?;
        let bytes = &self.files[entry.file].1.bytes()[entry.bytes.clone()];
        match entry.elements {
            Elements::Float(dtype) => Ok(TensorData::from_bytes_vec(bytes.to_vec(), entry.shape.clone(), dtype)),
            #[cfg(feature = "gguf")]
            Elements::Gguf(stored) => Ok(stored.read(bytes, &entry.shape)),
            Elements::Other(found) => Err(ModelError::Tensor {
                path: self.file_of(tensor).to_owned(),
                tensor: tensor.to_owned(),
                expected: "element type F32, F16 or BF16".to_owned(),
                found: format!("{found:?}"),
            }),
        }
    }
}

impl<B: Backend> TensorSource<B> for Checkpoint {
    fn names(&self) -> Vec<String> {
        self.tensors.keys().cloned().collect()
    }

    fn contains(&self, tensor: &str) -> bool {
        self.tensors.contains_key(tensor)
    }

    fn location(&self, tensor: &str) -> &Path {
        self.file_of(tensor)
    }

    fn tensor(
        &self,
        tensor: &str,
        shape: &[usize],
        dtype: DType,
        device: &B::Device,
    ) -> Result<StoredTensor<B>, ModelError> {
        check_shape(self.file_of(tensor), tensor, shape, self.shape(tensor).unwrap_or_default())?;
        Ok(StoredTensor::from_data(self.read(tensor)?, dtype, device))
    }
}

/// Maps a file into memory, so that its bytes are loaded when they are accessed.
///
/// The file must not be changed or truncated while it is mapped. Public functions that call this repeat that in their docs.
pub(crate) fn map(path: &Path) -> Result<Contents, ModelError> {
    let file = File::open(path).map_err(|error| file_error(path, error))?;
    #[allow(
        unsafe_code,
        reason = "without mapping, loading would hold every weight twice: in the file's bytes and on the device"
    )]
    // SAFETY: the map is read-only and private to this crate. Its bytes must not change while it exists, which the docs of the public
    // functions that get here, `Checkpoint::open` and `Tokenizer::open`, require. Every range in it is checked against its
    // length.
    let map = unsafe { Mmap::map(&file) }.map_err(|error| file_error(path, error))?;
    Ok(Contents::Mapped(map))
}

fn weight_files(folder: &Path) -> Result<Vec<PathBuf>, ModelError> {
    let whole = folder.join("model.safetensors");
    if whole.is_file() {
        return Ok(vec![whole]);
    }
    let index = folder.join("model.safetensors.index.json");
    if !index.is_file() {
        let bin = folder.join("pytorch_model.bin");
        let message = if bin.is_file() {
            "not found; there is a pytorch_model.bin, which `save_pretrained` in transformers converts to safetensors"
        } else {
            "not found, and neither is model.safetensors.index.json"
        };
        return Err(ModelError::File { path: whole, message: message.to_owned() });
    }
    Ok(shards(&index)?.iter().map(|name| folder.join(name)).collect())
}

/// The distinct file names in a `model.safetensors.index.json`; all are in its folder.
pub(crate) fn shards(index: &Path) -> Result<BTreeSet<String>, ModelError> {
    let json = read_json(index)?;
    let map = json.get("weight_map").and_then(Value::as_object);
    let map = map.ok_or_else(|| file_error(index, "expected an object `weight_map`"))?;
    let name_of = |file: &Value| {
        let name = file.as_str().ok_or_else(|| file_error(index, "`weight_map`: expected file names"))?;
        // Only plain names: an index must not reach outside its folder.
        if Path::new(name).file_name().is_none_or(|file| file != name) {
            return Err(file_error(
                index,
                format!("`weight_map`: expected the name of a file in the same folder, found {name:?}"),
            ));
        }
        Ok(name.to_owned())
    };
    map.values().map(name_of).collect()
}

fn read_json(path: &Path) -> Result<Value, ModelError> {
    let text = fs::read_to_string(path).map_err(|error| file_error(path, error))?;
    serde_json::from_str(&text).map_err(|error| file_error(path, error))
}

fn file_error(path: &Path, message: impl ToString) -> ModelError {
    ModelError::File { path: path.to_owned(), message: message.to_string() }
}

fn describe(error: &safetensors::SafeTensorError, len: usize) -> String {
    format!("incomplete safetensors file ({error}; it has {len} bytes); was the download interrupted?")
}
