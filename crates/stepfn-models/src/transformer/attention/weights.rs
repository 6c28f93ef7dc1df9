//! Gradients of the probabilities of attention: `∂f/∂A = G Vᵀ ⊙ D`, with the cotangent `G` of attention's output before its projection and
//! dropout's multipliers `D`.

use core::fmt;

use burn::tensor::{Tensor, backend::Backend};
use stepfn_kernels::attention::{AttentionInputs, attention_probabilities};
use stepfn_kernels::widened;

use super::heads::Heads;
use crate::ModelError;
use crate::transformer::front::Front;
use crate::transformer::in_range::Inverse;
use crate::transformer::inside::AttentionKind;

/// Cotangents on their way back through one attention.
#[derive(Debug)]
pub struct WeightGradients<'a, B: Backend> {
    /// The queries that cotangents are at, and all keys.
    pub(super) inputs: AttentionInputs<'a, B>,
    /// `[texts · cotangents · queries, n_heads · head_dim]`, or `[texts · cotangents, n_heads · head_dim]` at one query each.
    pub(super) grad: Tensor<B, 2>,
    pub(super) front: Front<B>,
    pub(super) kind: AttentionKind,
    pub(super) layer: usize,
    /// What restores the cotangents of models in half precision.
    pub(super) inverse: Inverse<B>,
}

/// What is called with the cotangents at every attention.
pub(crate) type Show<'a, B> = dyn Fn(WeightGradients<'_, B>) + 'a;

/// Someone who is shown the cotangents at every attention of a layer.
pub(crate) struct Watch<'a, B: Backend> {
    pub(crate) show: &'a Show<'a, B>,
    pub(crate) layer: usize,
}

impl<B: Backend> Clone for Watch<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B: Backend> Copy for Watch<'_, B> {}

impl<B: Backend> fmt::Debug for Watch<'_, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Watch(layer {})", self.layer)
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

    /// With what restores the cotangents.
    pub(crate) fn with_inverse(self, inverse: &Inverse<B>) -> Self {
        Self { inverse: inverse.clone(), ..self }
    }

    /// `Σ A ⊙ ∂f/∂A` over queries, for each cotangent, head and key; with `positive`, of positive derivatives only. Half precision is widened.
    ///
    /// # Shapes
    /// - result: `[texts · cotangents, heads, keys]`
    ///
    /// # Errors
    /// [`ModelError::Overflow`] if half precision is too short.
    pub fn times_weights(&self, positive: bool) -> Result<Tensor<B, 3>, ModelError> {
        self.inverse.restored(self.sums(positive))
    }

    /// The same of the cotangents as they came.
    fn sums(&self, positive: bool) -> Tensor<B, 3> {
        let heads = Heads::of(&self.inputs);
        let Heads { texts, queries, keys, .. } = heads;
        let n_heads = self.inputs.shape.n_heads;
        let weights = widened(attention_probabilities(&self.inputs)).reshape([texts * n_heads, queries, keys]);
        let values = heads.shared(&widened(self.inputs.value.clone())).transpose(); // [texts · heads, head_dim, keys]
        let dropout = self.inputs.dropout.map(|dropout| widened(heads.broadcast(dropout)));
        // [texts · heads, queries, head_dim] to [texts · heads, queries, keys]
        let product = |grad: Tensor<B, 2>| {
            let mut gradients = heads.split(widened(grad), queries).matmul(values.clone());
            if let Some(dropout) = &dropout {
                gradients = gradients * dropout.clone();
            }
            let gradients = if positive { gradients.clamp_min(0) } else { gradients };
            (gradients * weights.clone()).reshape([texts, n_heads, queries, keys])
        };
        let per_text = match &self.front {
            Front::Rows(rows) => {
                let by_row = product(self.grad.clone()).swap_dims(1, 2).reshape([texts * queries, n_heads * keys]);
                let by_cotangent = rows.by_cotangent(by_row);
                let [cotangents, _] = by_cotangent.dims();
                return by_cotangent.reshape([cotangents, n_heads, keys]);
            }
            Front::All(cotangents) => cotangents.per_text,
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
