//! Checkpoints: a folder with `config.json` and one or several `*.safetensors` files, memory-mapped; or the same compiled into the program.
//!
//! Headers are checked by the `safetensors` crate before anything is read or allocated: every tensor must lie inside its file and have
//! as many bytes as its shape says.

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
    tensors: BTreeMap<String, Entry>,
}

/// The bytes of a file.
#[derive(Debug)]
enum Contents {
    Mapped(Mmap),
    Compiled(&'static [u8]),
}

impl Contents {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Compiled(bytes) => bytes,
        }
    }
}

#[derive(Debug, Clone)]
struct Entry {
    file: usize,
    dtype: Dtype,
    shape: Vec<usize>,
    /// In the file.
    bytes: core::ops::Range<usize>,
}

impl Checkpoint {
    /// Opens a folder as Hugging Face tools write it: `config.json` and `model.safetensors`, or the files that
    /// `model.safetensors.index.json` lists.
    ///
    /// # Errors
    /// [`ModelError::File`] naming the file that is missing, truncated or not what its name says.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self, ModelError> {
        let folder = folder.as_ref().to_owned();
        let config = read_json(&folder.join("config.json"))?;
        let mut checkpoint = Self { config, files: Vec::new(), tensors: BTreeMap::new(), folder: folder.clone() };
        for file in weight_files(&folder)? {
            checkpoint.map(file)?;
        }
        Ok(checkpoint)
    }

    /// A checkpoint that is part of the program: its `config.json` and its `model.safetensors`. `name` is what errors call it.
    ///
    /// # Errors
    /// [`ModelError::File`] if one of them is not what its name says.
    pub fn from_bytes(name: &str, config: &str, weights: &'static [u8]) -> Result<Self, ModelError> {
        let folder = PathBuf::from(name);
        let path = folder.join("config.json");
        let config = serde_json::from_str(config).map_err(|error| file_error(&path, error))?;
        let mut checkpoint = Self { config, files: Vec::new(), tensors: BTreeMap::new(), folder: folder.clone() };
        checkpoint.add(folder.join("model.safetensors"), Contents::Compiled(weights))?;
        Ok(checkpoint)
    }

    fn map(&mut self, path: PathBuf) -> Result<(), ModelError> {
        let file = File::open(&path).map_err(|error| file_error(&path, error))?;
        #[allow(
            unsafe_code,
            reason = "mapping is what keeps memory at the size of the weights on the device; a file that another process \
                      truncates while it is mapped ends this one, as with any mapped file"
        )]
        let map = unsafe { Mmap::map(&file) }.map_err(|error| file_error(&path, error))?;
        self.add(path, Contents::Mapped(map))
    }

    fn add(&mut self, path: PathBuf, contents: Contents) -> Result<(), ModelError> {
        let bytes = contents.bytes();
        let tensors =
            SafeTensors::deserialize(bytes).map_err(|error| file_error(&path, describe(&error, bytes.len())))?;
        let start = bytes.as_ptr() as usize;
        for (name, view) in tensors.iter() {
            let offset = view.data().as_ptr() as usize - start;
            let bytes = offset..offset + view.data().len();
            let entry = Entry { file: self.files.len(), dtype: view.dtype(), shape: view.shape().to_vec(), bytes };
            self.tensors.insert(name.to_owned(), entry);
        }
        drop(tensors);
        self.files.push((path, contents));
        Ok(())
    }

    /// The folder.
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

    /// Whether there is a tensor of that name.
    pub fn contains(&self, tensor: &str) -> bool {
        self.tensors.contains_key(tensor)
    }

    /// The file that a tensor is in; the folder if it is in none.
    pub fn file_of(&self, tensor: &str) -> &Path {
        self.tensors.get(tensor).map_or(&self.folder, |entry| &self.files[entry.file].0)
    }

    /// The shape of a tensor, if there is one of that name.
    pub fn shape(&self, tensor: &str) -> Option<&[usize]> {
        self.tensors.get(tensor).map(|entry| entry.shape.as_slice())
    }

    /// A tensor as it is stored, read from the mapped file.
    ///
    /// # Errors
    /// If there is none of that name, or its element type is not f32, f16 or bf16.
    pub fn read(&self, tensor: &str) -> Result<TensorData, ModelError> {
        let entry = self
            .tensors
            .get(tensor)
            .ok_or_else(|| ModelError::MissingTensor { path: self.folder.clone(), tensor: tensor.to_owned() })?;
        let dtype = match entry.dtype {
            Dtype::F32 => DType::F32,
            Dtype::F16 => DType::F16,
            Dtype::BF16 => DType::BF16,
            other => {
                return Err(ModelError::Tensor {
                    path: self.file_of(tensor).to_owned(),
                    tensor: tensor.to_owned(),
                    expected: "element type F32, F16 or BF16".to_owned(),
                    found: format!("{other:?}"),
                });
            }
        };
        let bytes = self.files[entry.file].1.bytes()[entry.bytes.clone()].to_vec();
        Ok(TensorData::from_bytes_vec(bytes, entry.shape.clone(), dtype))
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

fn weight_files(folder: &Path) -> Result<Vec<PathBuf>, ModelError> {
    let whole = folder.join("model.safetensors");
    if whole.is_file() {
        return Ok(vec![whole]);
    }
    let index = folder.join("model.safetensors.index.json");
    if !index.is_file() {
        let bin = folder.join("pytorch_model.bin");
        let message = if bin.is_file() {
            "not found; there is a pytorch_model.bin, which transformers' `save_pretrained` converts to safetensors"
        } else {
            "not found, nor is model.safetensors.index.json"
        };
        return Err(ModelError::File { path: whole, message: message.to_owned() });
    }
    Ok(shards(&index)?.iter().map(|name| folder.join(name)).collect())
}

/// The files that a `model.safetensors.index.json` lists, each once: names of files beside it.
pub(crate) fn shards(index: &Path) -> Result<BTreeSet<String>, ModelError> {
    let json = read_json(index)?;
    let map = json.get("weight_map").and_then(Value::as_object);
    let map = map.ok_or_else(|| file_error(index, "expected an object `weight_map`"))?;
    let name_of = |file: &Value| {
        let name = file.as_str().ok_or_else(|| file_error(index, "`weight_map`: expected names of files"))?;
        // A name, not a path: an index must not reach outside its folder.
        if Path::new(name).file_name().is_none_or(|file| file != name) {
            return Err(file_error(index, format!("`weight_map`: {name:?} is not the name of a file beside it")));
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
    format!("not a whole safetensors file ({error}; it has {len} bytes): was the download cut short?")
}
