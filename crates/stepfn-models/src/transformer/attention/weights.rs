//! What cotangents say of the probabilities of attention: `∂f/∂A = G Vᵀ ⊙ D`, with the cotangent `G` of attention's output before its projection and
//! dropout's multipliers `D`.

use core::fmt;

use burn::tensor::{Tensor, backend::Backend};
use stepfn_kernels::attention::{AttentionInputs, attention_probabilities};

use super::rules::Heads;
use crate::transformer::inside::AttentionKind;

/// Cotangents on their way back through one attention.
#[derive(Debug)]
pub struct WeightGradients<'a, B: Backend> {
    pub(super) inputs: AttentionInputs<'a, B>,
    /// `[texts · cotangents · queries, n_heads · head_dim]`, or `[texts · cotangents, n_heads · head_dim]`.
    pub(super) grad: Tensor<B, 2>,
    /// Cotangents of a text, where each comes from all queries; else each comes from one query of its own.
    pub(super) per_text: Option<usize>,
    pub(super) kind: AttentionKind,
    pub(super) layer: usize,
}

/// Is shown the cotangents at every attention.
pub(crate) type Watch<'a, B> = dyn Fn(WeightGradients<'_, B>) + 'a;

/// Who watches, and what.
pub(crate) struct Watched<'a, B: Backend> {
    pub(crate) watch: &'a Watch<'a, B>,
    pub(crate) kind: AttentionKind,
    pub(crate) layer: usize,
}

impl<B: Backend> Clone for Watched<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B: Backend> Copy for Watched<'_, B> {}

impl<B: Backend> fmt::Debug for Watched<'_, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Watched({:?} of layer {})", self.kind, self.layer)
    }
}

impl<B: Backend> WeightGradients<'_, B> {
    /// Which attention of its block.
    pub fn kind(&self) -> AttentionKind {
        self.kind
    }

    /// The block's number, from 0.
    pub fn layer(&self) -> usize {
        self.layer
    }

    /// `Σ A ⊙ ∂f/∂A` over queries, for each cotangent, head and key; with `positive`, of positive derivatives only.
    ///
    /// # Shapes
    /// - result: `[texts · cotangents, heads, keys]`
    pub fn times_weights(&self, positive: bool) -> Tensor<B, 3> {
        let heads = Heads::of(&self.inputs);
        let Heads { texts, queries, keys, .. } = heads;
        let n_heads = self.inputs.shape.n_heads;
        let weights = attention_probabilities(&self.inputs).reshape([texts * n_heads, queries, keys]);
        let values = heads.shared(self.inputs.value).transpose(); // [texts · heads, head_dim, keys]
        let dropout = self.inputs.dropout.map(|dropout| heads.broadcast(dropout));
        // [texts · heads, queries, head_dim] to [texts · heads, queries, keys]
        let product = |grad: Tensor<B, 2>| {
            let mut gradients = heads.split(grad, queries).matmul(values.clone());
            if let Some(dropout) = &dropout {
                gradients = gradients * dropout.clone();
            }
            let gradients = if positive { gradients.clamp_min(0) } else { gradients };
            (gradients * weights.clone()).reshape([texts, n_heads, queries, keys])
        };
        let Some(per_text) = self.per_text else {
            return product(self.grad.clone()).swap_dims(1, 2).reshape([texts * queries, n_heads, keys]);
        };
        // One cotangent at a time: all together would be that many times the probabilities.
        let [_, width] = self.grad.dims();
        let grad = self.grad.clone().reshape([texts, per_text, queries, width]);
        let one = |cotangent: usize| {
            let grad = grad.clone().slice([0..texts, cotangent..cotangent + 1]);
            product(grad.reshape([texts * queries, width])).sum_dim(2).swap_dims(1, 2) // [texts, 1, heads, keys]
        };
        Tensor::cat((0..per_text).map(one).collect(), 1).reshape([texts * per_text, n_heads, keys])
    }
}
