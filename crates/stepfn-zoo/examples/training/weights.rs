//! The tensors that a training loop owns, under their names in the checkpoint.

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::{Module, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{DType, Tensor, TensorData, backend::Backend};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use stepfn_models::source::Tensors;

use super::{Outcome, Shuffle};

/// Matrices and vectors, each in the order of their names.
#[derive(Module, Debug)]
pub(crate) struct Weights<B: Backend> {
    matrices: Vec<Param<Tensor<B, 2>>>,
    vectors: Vec<Param<Tensor<B, 1>>>,
    /// Those of the matrices, then of the vectors.
    #[module(skip)]
    names: [Vec<String>; 2],
}

impl<B: Backend> Weights<B> {
    /// Random matrices (Glorot & Bengio 2010; embeddings with a standard deviation of `1/√width`), gains 1, biases 0.
    pub(crate) fn initial(shapes: &BTreeMap<String, Vec<usize>>, seed: u64, device: &B::Device) -> Self {
        let mut random = Shuffle::new(seed, usize::MAX);
        let (mut matrices, mut vectors, mut names) = (vec![], vec![], [vec![], vec![]]);
        for (name, shape) in shapes {
            match *shape.as_slice() {
                [rows, columns] => {
                    let deviation = match name {
                        name if name.ends_with("bias") => 0.0,
                        name if name.contains("embed") || name.contains("shared") => (columns as f64).powf(-0.5),
                        _ => (2.0 / (rows + columns) as f64).sqrt(),
                    };
                    let values: Vec<f32> = (0..rows * columns).map(|_| (deviation * random.normal()) as f32).collect();
                    let matrix = Tensor::from_data(TensorData::new(values, [rows, columns]), device);
                    matrices.push(Param::from_tensor(matrix));
                    names[0].push(name.clone());
                }
                _ => {
                    let len = shape.iter().product();
                    let value = if name.ends_with("bias") { 0.0f32 } else { 1.0 };
                    let vector = Tensor::from_data(TensorData::new(vec![value; len], [len]), device);
                    vectors.push(Param::from_tensor(vector));
                    names[1].push(name.clone());
                }
            }
        }
        Self { matrices, vectors, names }
    }

    /// The weights by name, for a model.
    pub(crate) fn tensors(&self) -> Tensors<B> {
        let [matrices, vectors] = &self.names;
        let matrices = matrices.iter().cloned().zip(self.matrices.iter().map(|matrix| matrix.val().into()));
        matrices.chain(vectors.iter().cloned().zip(self.vectors.iter().map(|vector| vector.val().into()))).collect()
    }

    /// The elementwise sum.
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            matrices: self.matrices.into_iter().zip(other.matrices).map(|(a, b)| plain(a.val() + b.val())).collect(),
            vectors: self.vectors.into_iter().zip(other.vectors).map(|(a, b)| plain(a.val() + b.val())).collect(),
            names: self.names,
        }
    }

    /// Scaled so that the joint norm is at most `norm`.
    pub(crate) fn clipped(self, norm: f64) -> Self {
        let matrices = self.matrices.iter().map(|matrix| sum_of_squares(matrix.val()));
        let vectors = self.vectors.iter().map(|vector| sum_of_squares(vector.val()));
        let found = matrices.chain(vectors).sum::<f64>().sqrt();
        if found <= norm {
            return self;
        }
        let scale = norm / found;
        Self {
            matrices: self.matrices.into_iter().map(|matrix| plain(matrix.val().mul_scalar(scale))).collect(),
            vectors: self.vectors.into_iter().map(|vector| plain(vector.val().mul_scalar(scale))).collect(),
            names: self.names,
        }
    }

    /// Writes a safetensors file in half precision.
    pub(crate) fn write(&self, path: &Path) -> Outcome<()> {
        let halves = |data: TensorData| data.convert_dtype(DType::F16).bytes.to_vec();
        let matrices = self.matrices.iter().map(|matrix| (matrix.dims().to_vec(), halves(matrix.val().into_data())));
        let vectors = self.vectors.iter().map(|vector| (vector.dims().to_vec(), halves(vector.val().into_data())));
        let stored: Vec<_> = self.names.iter().flatten().zip(matrices.chain(vectors)).collect();
        let views: Result<Vec<_>, _> = stored
            .iter()
            .map(|(name, (shape, bytes))| Ok((name.as_str(), TensorView::new(Dtype::F16, shape.clone(), bytes)?)))
            .collect::<Result<_, safetensors::SafeTensorError>>();
        let format = [("format".to_owned(), "pt".to_owned())].into_iter().collect();
        Ok(safetensors::serialize_to_file(views?, Some(format), path)?)
    }
}

impl<B: AutodiffBackend> Weights<B> {
    /// The same weights as leaves of a new graph.
    pub(crate) fn leaves(&self) -> Self {
        let matrix = |matrix: &Param<Tensor<B, 2>>| {
            Param::initialized(matrix.id, Tensor::from_inner(matrix.val().inner()).require_grad())
        };
        let vector = |vector: &Param<Tensor<B, 1>>| {
            Param::initialized(vector.id, Tensor::from_inner(vector.val().inner()).require_grad())
        };
        Self {
            matrices: self.matrices.iter().map(matrix).collect(),
            vectors: self.vectors.iter().map(vector).collect(),
            names: self.names.clone(),
        }
    }

    /// The gradients of these weights; 0 where the loss does not depend on one.
    pub(crate) fn taken(&self, gradients: &B::Gradients) -> Weights<B::InnerBackend> {
        let matrix = |matrix: &Param<Tensor<B, 2>>| {
            let value = matrix.val();
            plain(value.grad(gradients).unwrap_or_else(|| value.inner().zeros_like()))
        };
        let vector = |vector: &Param<Tensor<B, 1>>| {
            let value = vector.val();
            plain(value.grad(gradients).unwrap_or_else(|| value.inner().zeros_like()))
        };
        Weights {
            matrices: self.matrices.iter().map(matrix).collect(),
            vectors: self.vectors.iter().map(vector).collect(),
            names: self.names.clone(),
        }
    }

    /// The gradients in the optimizer's format.
    pub(crate) fn gradients(&self, gradients: Weights<B::InnerBackend>) -> GradientsParams {
        let mut by_id = GradientsParams::new();
        for (matrix, gradient) in self.matrices.iter().zip(gradients.matrices) {
            by_id.register(matrix.id, gradient.val());
        }
        for (vector, gradient) in self.vectors.iter().zip(gradients.vectors) {
            by_id.register(vector.id, gradient.val());
        }
        by_id
    }
}

/// A parameter that no optimizer changes.
fn plain<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Param<Tensor<B, D>> {
    Param::initialized(ParamId::new(), tensor)
}

fn sum_of_squares<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> f64 {
    tensor.powi_scalar(2).sum().into_data().iter::<f64>().sum()
}
