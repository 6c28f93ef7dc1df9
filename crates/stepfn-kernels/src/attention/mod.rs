//! Attention (Vaswani et al. 2017, arXiv:1706.03762) on packed projections. Per head, over the keys that a query sees:
//! `O = (A ⊙ D) V`, `A = softmax(cap(s · Q Kᵀ) + bias)`, `cap(z) = c · tanh(z / c)`, with `D` the dropout mask.
//!
//! Backward, given the gradient `G` of `O`: `dV = (A ⊙ D)ᵀ G`, `dA = G Vᵀ ⊙ D`, `dS = A ⊙ (dA − rowsum(dA ⊙ A)) ⊙ cap'`, `dQ = s · dS K`,
//! `dK = s · dSᵀ Q`. `A` is computed once for all cotangents of a text, and each product has one factor that they share.
//!
//! Where heads have sinks (Xiao et al. 2023, arXiv:2309.17453; learned in gpt-oss), a head's sink is one more score of every query, and its share
//! is dropped after the softmax: `A = exp(S) / (Σ exp(S) + exp(sink))`. Rows of `A` then add up to less than 1. The formulas of the way back stay
//! the same, because nothing reads that share.
//!
//! Heads may share keys and values (Ainslie et al. 2023, arXiv:2305.13245): query head h reads key head `h / (n_heads / n_kv_heads)`.

mod composed;
#[cfg(feature = "flex")]
mod fused;
mod visible;

use burn::tensor::{Tensor, backend::Backend};

pub use visible::{Visible, masked};

/// The dimensions of an attention layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionShape {
    /// Number of texts in the batch.
    pub texts: usize,
    /// Number of query heads.
    pub n_heads: usize,
    /// Number of key and value heads; divides `n_heads`.
    pub n_kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Scores are multiplied by this.
    pub scale: f64,
    /// `c` in `c · tanh(score / c)`; `None` leaves scores uncapped.
    pub soft_cap: Option<f64>,
}

impl AttentionShape {
    /// Query heads per key head.
    pub(crate) fn group(&self) -> usize {
        self.n_heads / self.n_kv_heads
    }
}

/// The inputs of attention.
#[derive(Debug, Clone, Copy)]
pub struct AttentionInputs<'a, B: Backend> {
    /// `[texts · queries, n_heads · head_dim]`
    pub query: &'a Tensor<B, 2>,
    /// `[texts · keys, n_kv_heads · head_dim]`
    pub key: &'a Tensor<B, 2>,
    /// `[texts · keys, n_kv_heads · head_dim]`
    pub value: &'a Tensor<B, 2>,
    /// Sizes.
    pub shape: AttentionShape,
    /// Which keys each query sees.
    pub visible: &'a Visible<B>,
    /// Added to the scores, broadcast over `[texts, n_heads, queries, keys]`.
    pub bias: Option<&'a Tensor<B, 4>>,
    /// A score of each head that takes part in the softmax and is of no key, `[1, n_heads]`.
    pub sinks: Option<&'a Tensor<B, 2>>,
    /// Dropout mask that the probabilities are multiplied by, broadcast over `[texts, n_heads, queries, keys]`.
    pub dropout: Option<&'a Tensor<B, 4>>,
}

/// Gradients of the inputs of attention.
#[derive(Debug, Clone)]
pub struct AttentionGradients<B: Backend> {
    /// `[texts · per_text · queries, n_heads · head_dim]`
    pub query: Tensor<B, 2>,
    /// `[texts · per_text · keys, n_kv_heads · head_dim]`
    pub key: Tensor<B, 2>,
    /// `[texts · per_text · keys, n_kv_heads · head_dim]`
    pub value: Tensor<B, 2>,
}

/// The attention output. For a query that sees no key, it is finite but meaningless.
///
/// # Shapes
/// - result: `[texts · queries, n_heads · head_dim]`
///
/// # Panics
/// If the shapes don't match.
pub fn attention<B: Backend>(inputs: &AttentionInputs<B>) -> Tensor<B, 2> {
    #[cfg(feature = "flex")]
    if let Some(read) = fused::attention(inputs) {
        return read;
    }
    composed::attention(inputs)
}

/// The attention probabilities, before dropout; 0 for keys that a query does not see.
///
/// # Shapes
/// - result: `[texts, n_heads, queries, keys]`
///
/// # Panics
/// If the shapes don't match.
pub fn attention_probabilities<B: Backend>(inputs: &AttentionInputs<B>) -> Tensor<B, 4> {
    #[cfg(feature = "flex")]
    if let Some(probabilities) = fused::probabilities(inputs) {
        return probabilities;
    }
    composed::probabilities(inputs)
}

/// The gradients of queries, keys and values, given the gradients `grad` of [`attention`]'s result: `per_text` of them for each text.
///
/// # Shapes
/// - `grad`: `[texts · per_text · queries, n_heads · head_dim]`
///
/// # Panics
/// If the shapes don't match.
pub fn attention_backward<B: Backend>(
    inputs: &AttentionInputs<B>,
    grad: Tensor<B, 2>,
    per_text: usize,
) -> AttentionGradients<B> {
    #[cfg(feature = "flex")]
    if let Some(gradients) = fused::backward(inputs, &grad, per_text) {
        return gradients;
    }
    composed::backward(inputs, grad, per_text)
}

/// The same for cotangents that are at one query each: `inputs` has these queries alone, one for each cotangent, and all keys. `None` if fused loops can't
/// read the tensors.
///
/// # Shapes
/// - `grad`: `[texts · queries, n_heads · head_dim]`
/// - result: queries like `grad`, keys and values `[texts · queries · keys, n_kv_heads · head_dim]`
pub fn attention_backward_at_queries<B: Backend>(
    inputs: &AttentionInputs<B>,
    grad: &Tensor<B, 2>,
) -> Option<AttentionGradients<B>> {
    #[cfg(feature = "flex")]
    {
        fused::backward_at_queries(inputs, grad)
    }
    #[cfg(not(feature = "flex"))]
    {
        let _ = (inputs, grad);
        None
    }
}

#[cfg(test)]
mod tests;
