//! Sources of a model's parameters: a file, tensors in memory, or placeholders.
//!
//! In every source, tensors have the names and shapes of the family's published checkpoints.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use burn::tensor::{DType, Tensor, TensorData, backend::Backend};
use stepfn_kernels::weight::StoredRows;

use crate::ModelError;

/// A source of parameters by name.
pub trait TensorSource<B: Backend> {
    /// The names of all tensors that a model should use.
    fn names(&self) -> Vec<String>;

    /// Whether there is a tensor with that name.
    fn contains(&self, tensor: &str) -> bool;

    /// The path that errors about a tensor show: its file, or the path of the whole source if there is no such tensor.
    fn location(&self, tensor: &str) -> &Path;

    /// The tensor with that name and shape. A source that reads files puts it on `device` with type `dtype`; tensors already on a device
    /// stay as they are.
    ///
    /// # Errors
    /// [`ModelError::MissingTensor`] if there is no such tensor, [`ModelError::Tensor`] if it has a different shape or an unreadable
    /// element type.
    fn tensor(
        &self,
        tensor: &str,
        shape: &[usize],
        dtype: DType,
        device: &B::Device,
    ) -> Result<StoredTensor<B>, ModelError>;

    /// The rows of a matrix in the form in which the source has them, or those of its transpose, if products can expand them from there. If it
    /// returns `None`, as by default, the matrix is read as a [`tensor`](Self::tensor).
    fn rows(&self, _tensor: &str, _transposed: bool) -> Option<Arc<dyn StoredRows>> {
        None
    }
}

/// A tensor of a checkpoint; other ranks don't occur.
#[derive(Debug, Clone)]
pub enum StoredTensor<B: Backend> {
    /// A bias, or the weight of a normalization.
    Vector(Tensor<B, 1>),
    /// Any other weight.
    Matrix(Tensor<B, 2>),
}

impl<B: Backend> StoredTensor<B> {
    /// Moves values to a device. More than two dimensions become `[first, all others]`, and none become `[1]`.
    pub fn from_data(data: TensorData, dtype: DType, device: &B::Device) -> Self {
        match *data.shape.as_slice() {
            [] | [_] => {
                let (elements, bytes, found) = (data.num_elements(), data.bytes, data.dtype);
                let data = TensorData::from_bytes(bytes, [elements], found).convert_dtype(dtype);
                Self::Vector(Tensor::from_data(data, (device, dtype)))
            }
            _ => {
                let rows = data.shape.first().copied().unwrap_or(1);
                let columns = data.shape.iter().skip(1).product();
                let (bytes, found) = (data.bytes, data.dtype);
                let data = TensorData::from_bytes(bytes, [rows, columns], found).convert_dtype(dtype);
                Self::Matrix(Tensor::from_data(data, (device, dtype)))
            }
        }
    }

    /// Its sizes.
    pub fn shape(&self) -> Vec<usize> {
        match self {
            Self::Vector(vector) => vector.dims().to_vec(),
            Self::Matrix(matrix) => matrix.dims().to_vec(),
        }
    }

    pub(crate) fn into_matrix(self) -> Tensor<B, 2> {
        match self {
            Self::Vector(vector) => vector.unsqueeze_dim(0),
            Self::Matrix(matrix) => matrix,
        }
    }

    pub(crate) fn into_vector(self) -> Tensor<B, 1> {
        match self {
            Self::Vector(vector) => vector,
            Self::Matrix(matrix) => matrix.flatten(0, 1),
        }
    }
}

impl<B: Backend> From<Tensor<B, 1>> for StoredTensor<B> {
    fn from(vector: Tensor<B, 1>) -> Self {
        Self::Vector(vector)
    }
}

impl<B: Backend> From<Tensor<B, 2>> for StoredTensor<B> {
    fn from(matrix: Tensor<B, 2>) -> Self {
        Self::Matrix(matrix)
    }
}

/// Checks that a tensor has the shape that the configuration needs.
pub(crate) fn check_shape(
    location: &Path,
    tensor: &str,
    expected: &[usize],
    found: &[usize],
) -> Result<(), ModelError> {
    if expected == found {
        return Ok(());
    }
    Err(ModelError::Tensor {
        path: location.to_owned(),
        tensor: tensor.to_owned(),
        expected: format!("shape {expected:?}"),
        found: format!("{found:?}"),
    })
}

/// Tensors in memory, for example of a model in training. Models share them without copying.
pub type Tensors<B> = BTreeMap<String, StoredTensor<B>>;

/// The path that errors show for tensors in memory.
const IN_MEMORY: &str = "(tensors in memory)";

impl<B: Backend> TensorSource<B> for Tensors<B> {
    fn names(&self) -> Vec<String> {
        self.keys().cloned().collect()
    }

    fn contains(&self, tensor: &str) -> bool {
        self.contains_key(tensor)
    }

    fn location(&self, _tensor: &str) -> &Path {
        Path::new(IN_MEMORY)
    }

    fn tensor(
        &self,
        tensor: &str,
        shape: &[usize],
        _dtype: DType,
        _device: &B::Device,
    ) -> Result<StoredTensor<B>, ModelError> {
        let location = Path::new(IN_MEMORY);
        let missing = || ModelError::MissingTensor { path: location.to_owned(), tensor: tensor.to_owned() };
        let stored = self.get(tensor).ok_or_else(missing)?;
        // As `StoredTensor` has it.
        let flat = match *shape {
            [] => vec![1],
            [first, ref others @ ..] if others.len() > 1 => vec![first, others.iter().product()],
            _ => shape.to_vec(),
        };
        check_shape(location, tensor, &flat, &stored.shape())?;
        Ok(stored.clone())
    }
}

/// A source that returns zeros for any tensor and records the requests.
pub(crate) struct Outline<F> {
    /// Whether a tensor counts as stored, by name.
    pub(crate) is_stored: F,
    pub(crate) shapes: RefCell<BTreeMap<String, Vec<usize>>>,
}

impl<B: Backend, F: Fn(&str) -> bool> TensorSource<B> for Outline<F> {
    fn names(&self) -> Vec<String> {
        self.shapes.borrow().keys().cloned().collect()
    }

    fn contains(&self, tensor: &str) -> bool {
        (self.is_stored)(tensor)
    }

    fn location(&self, _tensor: &str) -> &Path {
        Path::new("(no tensors yet)")
    }

    fn tensor(
        &self,
        tensor: &str,
        shape: &[usize],
        dtype: DType,
        device: &B::Device,
    ) -> Result<StoredTensor<B>, ModelError> {
        self.shapes.borrow_mut().insert(tensor.to_owned(), shape.to_vec());
        Ok(match *shape {
            [len] => Tensor::<B, 1>::zeros([len], (device, dtype)).into(),
            _ => {
                let rows = shape.first().copied().unwrap_or(1);
                Tensor::<B, 2>::zeros([rows, shape.iter().skip(1).product()], (device, dtype)).into()
            }
        })
    }
}
