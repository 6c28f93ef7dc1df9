//! Checkpoints: a folder with `config.json` and weights, as safetensors or as PyTorch saved them, or one GGUF file, memory-mapped; or the
//! same in memory.
//!
//! Headers are checked before anything is read or allocated: every tensor must lie inside its file and have exactly the bytes that its
//! shape needs.

mod element;
pub(crate) mod files;
mod quantized;
mod stored;
#[cfg(test)]
mod tests;
mod torch;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use burn::tensor::backend::Backend;
use burn::tensor::{DType, TensorData};
use memmap2::Mmap;
use serde_json::Value;

use crate::ModelError;
use crate::source::{StoredTensor, TensorSource, check_shape};
use element::Element;
pub use files::resolve;
use files::{file_error, read_json};
pub(crate) use files::{map, shards};
use quantized::Quantization;
use stored::{Place, Stored, StoredEntry};

/// The files of a model.
#[derive(Debug)]
pub struct Checkpoint {
    folder: PathBuf,
    config: Value,
    stored: Stored,
    quantized: Quantization,
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

impl Checkpoint {
    /// Opens a folder in Hugging Face layout: `config.json` with `model.safetensors` or `pytorch_model.bin`, or with the files listed in
    /// `model.safetensors.index.json` or `pytorch_model.bin.index.json`. Or opens one file of weights with the `config.json` beside it. With
    /// the feature `gguf`, also opens a GGUF file.
    ///
    /// No code in a PyTorch file is run: a file that asks for anything but tensors is an error.
    ///
    /// Weight files are memory-mapped for as long as the checkpoint exists. Nothing may change or truncate them in that time: the values of
    /// tensors would then be unpredictable, and reading past a file's new end terminates the process (`SIGBUS` on Unix). If you can't rule
    /// that out, read the files yourself and use [`from_bytes`](Self::from_bytes).
    ///
    /// # Errors
    /// [`ModelError::File`], which names the file that is missing, truncated or in another format.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, ModelError> {
        let path = resolve(path.as_ref());
        let (folder, weights) = if files::is_weight_file(&path) {
            (files::folder_of(&path), Some(vec![path]))
        } else if path.is_file() {
            let contents = map(&path)?;
            return Self::gguf(path, contents);
        } else {
            (path, None)
        };
        if let Some(error) = files::no_config(&folder) {
            return Err(error);
        }
        let mut config = read_json(&folder.join("config.json"))?;
        files::add_quantization(&folder, &mut config)?;
        let mut stored = Stored::default();
        for file in weights.map_or_else(|| files::weight_files(&folder), Ok)? {
            let contents = map(&file)?;
            stored.add(file, contents)?;
        }
        Self::of(folder, config, stored)
    }

    fn of(folder: PathBuf, config: Value, mut stored: Stored) -> Result<Self, ModelError> {
        stored.strip_prefixes();
        let quantized = Quantization::of(&config, &mut stored, &folder)?;
        Ok(Self { folder, config, stored, quantized })
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
            let place = Place::Gguf(tensor.stored, tensor.bytes);
            (tensor.name, StoredEntry { file: 0, shape: tensor.shape, place })
        });
        let stored = Stored { tensors: tensors.collect(), files: vec![(path.clone(), contents)] };
        Ok(Self { config, stored, quantized: Quantization::default(), folder: path })
    }

    #[cfg(not(feature = "gguf"))]
    fn gguf(path: PathBuf, _contents: Contents) -> Result<Self, ModelError> {
        Err(file_error(&path, "expected a folder, found a file (reading GGUF files needs the feature `gguf`)"))
    }

    /// Reads a checkpoint in memory, such as one compiled into the program, from the contents of `config.json` and `model.safetensors`, or
    /// those of `pytorch_model.bin`. `name` identifies it in error messages.
    ///
    /// # Errors
    /// [`ModelError::File`] if one of them is malformed.
    pub fn from_bytes(name: &str, config: &str, weights: impl Into<Cow<'static, [u8]>>) -> Result<Self, ModelError> {
        let folder = PathBuf::from(name);
        let path = folder.join("config.json");
        let config = serde_json::from_str(config).map_err(|error| file_error(&path, error))?;
        let mut stored = Stored::default();
        stored.add(folder.join("model.safetensors"), Contents::Memory(weights.into()))?;
        Self::of(folder, config, stored)
    }

    /// The folder, or the GGUF file.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// `config.json`.
    pub fn config(&self) -> &Value {
        &self.config
    }

    /// The names of all tensors, in order. A quantized weight has the name that it has without quantization.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let stored = self.stored.tensors.keys().map(String::as_str);
        stored.chain(self.quantized.names()).collect::<BTreeSet<_>>().into_iter()
    }

    /// Whether there is a tensor with that name.
    pub fn contains(&self, tensor: &str) -> bool {
        self.shape(tensor).is_some()
    }

    /// The file that contains a tensor; [`folder`](Self::folder) if none does.
    pub fn file_of(&self, tensor: &str) -> &Path {
        let stored = self.stored.tensors.get(tensor).map(|entry| entry.file);
        let file = stored.or_else(|| self.quantized.file(tensor));
        file.and_then(|file| self.stored.path(file)).unwrap_or(&self.folder)
    }

    /// The shape of a tensor, if it exists.
    pub fn shape(&self, tensor: &str) -> Option<&[usize]> {
        let stored = self.stored.tensors.get(tensor).map(|entry| entry.shape.as_slice());
        stored.or_else(|| self.quantized.shape(tensor))
    }

    /// Reads a tensor from the mapped file, with its stored element type, or as f32 if it has fewer than 16 bits.
    ///
    /// # Errors
    /// If there is no tensor with that name, or its elements are integers.
    pub fn read(&self, tensor: &str) -> Result<TensorData, ModelError> {
        if let Some((values, shape)) = self.quantized.read(tensor, &self.stored).zip(self.quantized.shape(tensor)) {
            return Ok(TensorData::new(values, shape.to_vec()));
        }
        let missing = || ModelError::MissingTensor { path: self.folder.clone(), tensor: tensor.to_owned() };
        let entry = self.stored.tensors.get(tensor).ok_or_else(missing)?;
        let (bytes, shape) = (self.stored.bytes(entry), &entry.shape);
        #[cfg(feature = "gguf")]
        if let Place::Gguf(stored, _) = &entry.place {
            return Ok(stored.read(&bytes, shape));
        }
        let element = entry.element().unwrap_or(Element::Packed);
        if let Some(dtype) = dtype(element) {
            return Ok(TensorData::from_bytes_vec(bytes.into_owned(), shape.clone(), dtype));
        }
        match element.to_f32(&bytes).filter(|_| element.is_float()) {
            Some(values) => Ok(TensorData::new(values, shape.clone())),
            None => Err(ModelError::Tensor {
                path: self.file_of(tensor).to_owned(),
                tensor: tensor.to_owned(),
                expected: "numbers with a fraction, of element type F64, F32, F16, BF16 or F8".to_owned(),
                found: format!("{element:?}").to_uppercase(),
            }),
        }
    }

    /// Whether a tensor could be a parameter of a language model. Others needn't have a place in one: positions, masks and counters that
    /// PyTorch saves beside parameters, the value head of a model that was trained by reinforcement, biases that some quantized formats add.
    fn is_parameter(&self, name: &str) -> bool {
        let element = self.stored.tensors.get(name).and_then(StoredEntry::element);
        let is_extra = name.starts_with("v_head.") || self.quantized.is_zero_bias(name);
        element.is_none_or(Element::is_float) && !is_extra
    }
}

/// The type of elements that are read as they are stored.
fn dtype(element: Element) -> Option<DType> {
    match element {
        Element::F64 => Some(DType::F64),
        Element::F32 => Some(DType::F32),
        Element::F16 => Some(DType::F16),
        Element::Bf16 => Some(DType::BF16),
        _ => None,
    }
}

impl<B: Backend> TensorSource<B> for Checkpoint {
    fn names(&self) -> Vec<String> {
        Checkpoint::names(self).filter(|name| self.is_parameter(name)).map(str::to_owned).collect()
    }

    fn contains(&self, tensor: &str) -> bool {
        Checkpoint::contains(self, tensor)
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
