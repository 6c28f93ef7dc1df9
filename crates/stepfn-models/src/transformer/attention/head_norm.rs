//! The normalization of queries or of keys, of each head or of all heads of a token.

use burn::backend::Autodiff;
use burn::tensor::{Tensor, backend::Backend};
use stepfn_kernels::Cotangents;

use crate::ModelError;
use crate::config::{NormOver, QueryKeyNorm};
use crate::parameters::Parameters;
use crate::transformer::norm::Norm;
use crate::transformer::part::{Forward, constant};
use crate::transformer::rule::Saved;
use crate::transformer::tokens::indices;

/// The normalization of packed queries or keys, `[texts · places, heads · head_dim]`.
#[derive(Debug, Clone)]
pub(super) struct HeadNorm<B: Backend> {
    norm: Norm<B>,
    /// How many elements it takes together.
    size: usize,
    /// Weights where heads have their own, `[1, heads · head_dim]`.
    weights: Option<Tensor<B, 2>>,
    /// Whether it reads what was rotated.
    pub(super) after_rotation: bool,
}

impl<B: Backend> HeadNorm<B> {
    /// `order` is the order in which heads have their units.
    pub(super) fn load(
        parameters: &Parameters<B>,
        name: &str,
        [heads, head_dim]: [usize; 2],
        &QueryKeyNorm { norm: config, over, after_rotation }: &QueryKeyNorm,
        order: Option<&[usize]>,
    ) -> Result<Self, ModelError> {
        let width = heads * head_dim;
        let size = if over == NormOver::Token { width } else { head_dim };
        let (norm, weights) = match over {
            NormOver::Head | NormOver::Token => (Norm::load(parameters, name, size, config)?, None),
            NormOver::EachHead => {
                let weights = parameters.matrix(name, [heads, head_dim], None)?.reshape([1, width]);
                (Norm::plain(parameters, size, config), Some(weights))
            }
        };
        let Some(order) = order else { return Ok(Self { norm, size, weights, after_rotation }) };
        let device = parameters.device();
        let first = |count: usize| indices(order[..count].iter().map(|&unit| unit as i32).collect(), &device);
        let norm = if weights.is_none() { norm.reordered(&first(size)) } else { norm };
        let weights = weights.map(|weights| weights.select(1, first(width)));
        Ok(Self { norm, size, weights, after_rotation })
    }

    pub(super) fn apply(&self, x: Tensor<B, 2>) -> Tensor<B, 2> {
        let shape = x.dims();
        let y = self.norm.apply(self.apart(x)).reshape(shape);
        self.weighted(y)
    }

    /// Pulls cotangents back to the input, of which `x` has the rows that they need.
    pub(super) fn pull(
        &self,
        x: Saved<'_, B, Tensor<B, 2>>,
        grad: Tensor<B, 2>,
        cotangents: Cotangents,
    ) -> Tensor<B, 2> {
        let shape = grad.dims();
        let grad = self.apart(self.weighted(grad));
        x.made(|x| self.apart(x.clone()), |x| self.norm.pull(x, grad, cotangents)).reshape(shape)
    }

    pub(super) fn lift(&self) -> HeadNorm<Autodiff<B>> {
        let &Self { size, after_rotation, .. } = self;
        HeadNorm { norm: self.norm.lift(), size, weights: self.weights.as_ref().map(constant), after_rotation }
    }

    /// A row for all that is normalized together.
    fn apart(&self, x: Tensor<B, 2>) -> Tensor<B, 2> {
        let [rows, width] = x.dims();
        x.reshape([rows * width / self.size, self.size])
    }

    fn weighted(&self, x: Tensor<B, 2>) -> Tensor<B, 2> {
        match &self.weights {
            Some(weights) => x * weights.clone(),
            None => x,
        }
    }
}
