//! Inputs of one text that differ in their embeddings.

use burn::tensor::{Tensor, backend::Backend};
use stepfn_models::transformer::{Entry, Rule};

/// Inputs of one text that differ in their embeddings, one after the other.
#[derive(Debug, Clone)]
pub(crate) struct Variants<B: Backend> {
    pub(crate) count: usize,
    /// What the encoder reads, `[count · source width, size]`.
    pub(crate) source: Option<Side<B>>,
    /// What the decoder reads, `[count · width, size]`.
    pub(crate) target: Side<B>,
}

/// What one stack reads.
#[derive(Debug, Clone)]
pub(crate) struct Side<B: Backend> {
    pub(crate) hidden: Tensor<B, 2>,
    pub(crate) entry: Entry,
}

impl<B: Backend> Side<B> {
    pub(crate) fn embedded(hidden: Tensor<B, 2>) -> Self {
        Self { hidden, entry: Entry::Embeddings }
    }
}

impl<B: Backend> Variants<B> {
    /// All of them `times` over, one round after the other.
    pub(super) fn repeated(&self, times: usize) -> Self {
        let side = |side: &Side<B>| Side { hidden: side.hidden.clone().repeat(&[times, 1]), entry: side.entry };
        Self { count: self.count * times, source: self.source.as_ref().map(side), target: side(&self.target) }
    }

    /// Both sides, combined with those of another in the same way.
    pub(crate) fn combined(
        &self,
        other: &Self,
        count: usize,
        f: impl Fn(Tensor<B, 2>, Tensor<B, 2>) -> Tensor<B, 2>,
    ) -> Self {
        let side = |a: &Side<B>, b: &Side<B>| Side { hidden: f(a.hidden.clone(), b.hidden.clone()), entry: a.entry };
        Self {
            count,
            source: self.source.as_ref().zip(other.source.as_ref()).map(|(a, b)| side(a, b)),
            target: side(&self.target, &other.target),
        }
    }
}

/// How derivatives are pulled back, with the variants that [`Rule::DeepLift`] compares with.
pub(crate) type PullBack<'v, B> = Rule<&'v Variants<B>>;
