//! Checkpoints: a folder with `config.json` and weights, as safetensors or as PyTorch saved them, or one GGUF file, memory-mapped; or the
//! same in memory.
//!
//! Headers are checked before anything is read or allocated: every tensor must lie inside its file and have exactly the bytes that its
//! shape needs.

mod adapter;
mod damaged;
mod element;
pub(crate) mod files;
mod quantized;
pub(crate) mod rows;
mod stored;
#[cfg(test)]
mod tests;
mod torch;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::backend::Backend;
use burn::tensor::{DType, TensorData};
use memmap2::Mmap;
use serde_json::Value;
use stepfn_kernels::weight::StoredRows;

use crate::ModelError;
use crate::source::{StoredTensor, TensorSource, check_shape};
pub use adapter::adapter_base;
use adapter::{Adapter, Base};
use element::Element;
pub(crate) use files::map;
pub use files::resolve;
#[cfg(feature = "hub")]
pub(crate) use files::shards;
use files::{file_error, read_json};
use quantized::Quantization;
#[cfg(feature = "gguf")]
use stored::Place;
use stored::{Stored, StoredEntry};

/// The files of a model.
#[derive(Debug)]
pub struct Checkpoint {
    folder: PathBuf,
    config: Value,
    stored: Stored,
    quantized: Quantization,
    adapters: Vec<Adapter>,
}

/// The bytes of a file, shared by everything that reads them.
#[derive(Clone)]
pub(crate) enum Contents {
    Mapped(Arc<Mmap>),
    Memory(Arc<Cow<'static, [u8]>>),
    Lent(Lent),
}

/// Bytes that another library owns.
pub type Lent = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// A tensor in memory, such as one of a model that another library has loaded.
#[derive(Clone)]
pub struct MemoryTensor {
    /// Its name, as in a checkpoint of the family.
    pub name: String,
    /// `F64`, `F32`, `F16` or `BF16`.
    pub dtype: DType,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its elements, little-endian, row by row.
    pub bytes: Lent,
}

impl core::fmt::Debug for MemoryTensor {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} {:?} {:?}", self.name, self.dtype, self.shape)
    }
}

impl core::fmt::Debug for Contents {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} bytes", self.bytes().len())
    }
}

impl From<Mmap> for Contents {
    fn from(map: Mmap) -> Self {
        Self::Mapped(Arc::new(map))
    }
}

impl From<Cow<'static, [u8]>> for Contents {
    fn from(bytes: Cow<'static, [u8]>) -> Self {
        Self::Memory(Arc::new(bytes))
    }
}

impl Contents {
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Memory(bytes) => bytes,
            Self::Lent(bytes) => (**bytes).as_ref(),
        }
    }
}

impl Checkpoint {
    /// Opens a folder in Hugging Face layout: `config.json` with `model.safetensors` or `pytorch_model.bin`, or with the files listed in
    /// `model.safetensors.index.json` or `pytorch_model.bin.index.json`. Or opens one file of weights with the `config.json` beside it. With
    /// the feature `gguf`, also opens a GGUF file, and with one of several files of a model (`name-00001-of-00003.gguf`) the others beside it.
    ///
    /// A folder with a LoRA adapter opens as the model that it was trained on, changed by the adapter, if `adapter_config.json` names a
    /// folder that exists. If it doesn't, open that model and use [`with_adapter`](Self::with_adapter).
    ///
    /// No code in a PyTorch file is run: a file that asks for anything but tensors is an error.
    ///
    /// Weight files are memory-mapped for as long as the checkpoint exists, or a model that was loaded from it. Nothing may change or truncate them in that time: the values of
    /// tensors would then be unpredictable, and reading past a file's new end terminates the process (`SIGBUS` on Unix). If you can't rule
    /// that out, read the files yourself and use [`from_bytes`](Self::from_bytes).
    ///
    /// # Errors
    /// [`ModelError::File`], which names the file that is missing, truncated or in another format.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, ModelError> {
        let path = resolve(path.as_ref());
        if let Some(base) = files::local_base(&path)? {
            return Self::open_model(base)?.with_adapter(path);
        }
        Self::open_model(path)
    }

    fn open_model(path: PathBuf) -> Result<Self, ModelError> {
        let (folder, weights) = if files::is_weight_file(&path) {
            (files::folder_of(&path), Some(vec![path]))
        } else if path.is_file() {
            return Self::open_gguf(path);
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

    fn of(folder: PathBuf, mut config: Value, mut stored: Stored) -> Result<Self, ModelError> {
        stored.strip_prefixes();
        let quantized = Quantization::of(&config, &mut stored, &folder)?;
        // From here on, the model is one of plain weights.
        if let Some(fields) = config.as_object_mut() {
            fields.retain(|field, _| !["quantization_config", "quantization"].contains(&field.as_str()));
        }
        Ok(Self { folder, config, stored, quantized, adapters: Vec::new() })
    }

    /// Changes the model by a LoRA adapter: a folder with `adapter_config.json`, and with `adapter_model.safetensors` or
    /// `adapter_model.bin`. What is said of weight files at [`open`](Self::open) goes for these, too.
    ///
    /// # Errors
    /// [`ModelError::File`], [`ModelError::Tensor`] or [`ModelError::MissingTensor`] if files are missing or malformed, if the adapter is of
    /// a kind that can't be merged into the weights, or if it belongs to another model.
    pub fn with_adapter(mut self, folder: impl AsRef<Path>) -> Result<Self, ModelError> {
        let shape = |name: &str| Some((name.to_owned(), self.shape(name)?.to_vec()));
        let shapes = self.names().filter_map(shape).collect();
        let adapter = Adapter::open(folder.as_ref(), &mut Base { shapes, config: &mut self.config })?;
        self.adapters.push(adapter);
        Ok(self)
    }

    /// Reads a GGUF file in memory. `name` identifies it in error messages.
    ///
    /// # Errors
    /// [`ModelError::File`] or [`ModelError::Tensor`] if it is not a GGUF file, or has an unsupported architecture.
    #[cfg(feature = "gguf")]
    pub fn from_gguf_bytes(name: &str, bytes: impl Into<Cow<'static, [u8]>>) -> Result<Self, ModelError> {
        Self::gguf(PathBuf::from(name), vec![(PathBuf::from(name), bytes.into().into())])
    }

    #[cfg(feature = "gguf")]
    fn open_gguf(path: PathBuf) -> Result<Self, ModelError> {
        let mapped = |path: PathBuf| map(&path).map(|contents| (path, contents));
        let files = crate::gguf::paths(&path)?.into_iter().map(mapped).collect::<Result<Vec<_>, _>>()?;
        if let Some((path, _)) = files.iter().find(|(_, contents)| files::is_lfs_pointer(contents.bytes())) {
            return Err(file_error(path, files::LFS_POINTER));
        }
        Self::gguf(path, files)
    }

    #[cfg(feature = "gguf")]
    fn gguf(path: PathBuf, files: Vec<(PathBuf, Contents)>) -> Result<Self, ModelError> {
        let parts: Vec<_> = files.iter().map(|(path, contents)| (path.as_path(), contents.bytes())).collect();
        let crate::gguf::Gguf { config, tensors } = crate::gguf::Gguf::parse(&parts)?;
        let tensors = tensors.into_iter().map(|tensor| {
            let place = Place::Gguf(tensor.stored, tensor.bytes);
            (tensor.name, StoredEntry { file: tensor.file, shape: tensor.shape, place })
        });
        let stored = Stored { tensors: tensors.collect(), files };
        Ok(Self { config, stored, quantized: Quantization::default(), adapters: Vec::new(), folder: path })
    }

    #[cfg(not(feature = "gguf"))]
    fn open_gguf(path: PathBuf) -> Result<Self, ModelError> {
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
        let config = crate::from_json(config.as_bytes()).map_err(|error| file_error(&path, error))?;
        let mut stored = Stored::default();
        stored.add(folder.join("model.safetensors"), weights.into().into())?;
        Self::of(folder, config, stored)
    }

    /// A checkpoint of tensors in memory, and of the contents of `config.json`. `name` identifies it in error messages. Loading copies each
    /// tensor once, into the model; nothing reads them after that.
    ///
    /// # Errors
    /// [`ModelError::File`] if the configuration is malformed, [`ModelError::Tensor`] for a tensor of integers, or one that doesn't have the bytes
    /// that its shape needs.
    pub fn from_tensors(
        name: &str,
        config: &str,
        tensors: impl IntoIterator<Item = MemoryTensor>,
    ) -> Result<Self, ModelError> {
        let folder = PathBuf::from(name);
        let path = folder.join("config.json");
        let config = serde_json::from_str(config).map_err(|error| file_error(&path, error))?;
        let mut stored = Stored::default();
        for tensor in tensors {
            stored.add_lent(&folder, tensor)?;
        }
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
        let stored = self.stored.tensors.keys().map(String::as_str).chain(self.quantized.names());
        stored.chain(self.adapters.iter().flat_map(Adapter::names)).collect::<BTreeSet<_>>().into_iter()
    }

    /// Whether there is a tensor with that name.
    pub fn contains(&self, tensor: &str) -> bool {
        self.shape(tensor).is_some()
    }

    /// The file that contains a tensor; [`folder`](Self::folder) if none does.
    pub fn file_of(&self, tensor: &str) -> &Path {
        let path = match self.find(tensor) {
            Some(Found::Entry(stored, entry)) => stored.path(entry.file),
            Some(Found::Quantized) => self.quantized.file(tensor).and_then(|file| self.stored.path(file)),
            None => None,
        };
        path.unwrap_or(&self.folder)
    }

    /// The shape of a tensor, if it exists.
    pub fn shape(&self, tensor: &str) -> Option<&[usize]> {
        match self.find(tensor)? {
            Found::Entry(_, entry) => Some(&entry.shape),
            Found::Quantized => self.quantized.shape(tensor),
        }
    }

    /// Reads a tensor from the mapped file, with its stored element type; as f32 if it has fewer than 16 bits, or is changed by an adapter.
    ///
    /// # Errors
    /// If there is no tensor with that name, or its elements are integers.
    pub fn read(&self, tensor: &str) -> Result<TensorData, ModelError> {
        let data = self.read_whole(tensor)?;
        // An adapter that brings the whole tensor makes those before it void.
        let last = self.adapters.iter().rposition(|adapter| adapter.shape(tensor).is_some());
        let later = self.adapters.iter().skip(last.unwrap_or(0));
        let changing: Vec<&Adapter> = later.filter(|adapter| adapter.changes(tensor)).collect();
        if changing.is_empty() {
            return Ok(data);
        }
        let shape = self.shape(tensor).unwrap_or_default().to_vec();
        let data = data.convert_dtype(DType::F32);
        let mut values: Vec<f32> = data.bytes.as_chunks().0.iter().map(|bytes| f32::from_ne_bytes(*bytes)).collect();
        changing.iter().for_each(|adapter| adapter.merge(tensor, &mut values));
        Ok(TensorData::new(values, shape))
    }

    /// Reads a tensor as a file has it.
    fn read_whole(&self, tensor: &str) -> Result<TensorData, ModelError> {
        let missing = || ModelError::MissingTensor { path: self.folder.clone(), tensor: tensor.to_owned() };
        let Found::Entry(stored, entry) = self.find(tensor).ok_or_else(missing)? else {
            let shape = self.quantized.shape(tensor).unwrap_or_default().to_vec();
            let values = self.quantized.read(tensor, &self.stored).ok_or_else(missing)?;
            return Ok(TensorData::new(values, shape));
        };
        let (bytes, shape) = (stored.bytes(entry), &entry.shape);
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

    /// The rows of a matrix as they are in its file, or those of its transpose.
    ///
    /// These are blocks of GGUF files, and numbers in half precision there and in safetensors, if no adapter changes them. A transpose has the
    /// rows of the file where the converter to GGUF transposed the matrix, as that of GPT-2's Conv1D, and the columns of a matrix in safetensors where products lay
    /// them out. All else is read as tensors: what
    /// PyTorch saved, other quantized formats, and numbers that are no smaller in the file.
    pub(crate) fn rows_in_file(&self, tensor: &str, transposed: bool) -> Option<Arc<dyn StoredRows>> {
        if self.adapters.iter().any(|adapter| adapter.changes(tensor)) {
            return None;
        }
        match self.find(tensor)? {
            Found::Entry(stored, entry) => stored.rows(entry, transposed),
            Found::Quantized => None,
        }
    }

    /// Where a tensor is: in the last adapter that brings it, or in the model's own files.
    fn find(&self, tensor: &str) -> Option<Found<'_>> {
        let brought = self.adapters.iter().rev().find_map(|adapter| adapter.stored(tensor));
        let own = || self.stored.tensors.get(tensor).map(|entry| (&self.stored, entry));
        match brought.or_else(own) {
            Some((stored, entry)) => Some(Found::Entry(stored, entry)),
            None => self.quantized.shape(tensor).map(|_| Found::Quantized),
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

/// Where a tensor is.
enum Found<'a> {
    Entry(&'a Stored, &'a StoredEntry),
    Quantized,
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

    fn rows(&self, tensor: &str, transposed: bool) -> Option<Arc<dyn StoredRows>> {
        self.rows_in_file(tensor, transposed)
    }
}
