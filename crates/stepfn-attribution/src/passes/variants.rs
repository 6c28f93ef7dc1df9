//! Inputs of one text that differ in their embeddings.

use burn::tensor::{Tensor, backend::Backend};
use stepfn_models::transformer::{Entry, Rule};

use crate::Side;

/// Inputs of one text that differ in their embeddings, one after the other.
#[derive(Debug, Clone)]
pub struct Variants<B: Backend> {
    pub(crate) count: usize,
    /// What the encoder reads, `[variants · source tokens, size]`.
    pub(crate) source: Option<Embedded<B>>,
    /// What the decoder reads, `[variants · target tokens, size]`.
    pub(crate) target: Embedded<B>,
    /// Tokens of each variant that no token attends to; empty if there are none.
    pub(crate) hidden: Vec<Vec<(Side, usize)>>,
}

/// What one stack reads.
#[derive(Debug, Clone)]
pub(crate) struct Embedded<B: Backend> {
    pub(crate) hidden: Tensor<B, 2>,
    pub(crate) entry: Entry,
}

impl<B: Backend> Embedded<B> {
    fn tokens(hidden: Tensor<B, 2>) -> Self {
        Self { hidden, entry: Entry::Embeddings }
    }
}

impl<B: Backend> Variants<B> {
    /// Variants of embeddings.
    ///
    /// # Shapes
    /// - `source`: `[variants · source tokens, size]`, `None` for a causal model
    /// - `target`: `[variants · target tokens, size]`, as many tokens as the steps see
    pub fn new(count: usize, source: Option<Tensor<B, 2>>, target: Tensor<B, 2>) -> Self {
        Self { count, source: source.map(Embedded::tokens), target: Embedded::tokens(target), hidden: Vec::new() }
    }

    /// The same with tokens of each variant that no token attends to.
    pub(super) fn hiding(self, hidden: Vec<Vec<(Side, usize)>>) -> Self {
        Self { hidden, ..self }
    }

    /// The hidden tokens of one side of each variant.
    pub(super) fn hidden_of(&self, side: Side) -> Vec<Vec<usize>> {
        let of = |hidden: &Vec<(Side, usize)>| {
            hidden.iter().filter(|(of, _)| *of == side).map(|(_, token)| *token).collect()
        };
        self.hidden.iter().map(of).collect()
    }

    /// Their number.
    pub fn count(&self) -> usize {
        self.count
    }

    /// What the encoder reads, `[variants · source tokens, size]`.
    pub fn source(&self) -> Option<&Tensor<B, 2>> {
        self.source.as_ref().map(|source| &source.hidden)
    }

    /// What the decoder reads, `[variants · target tokens, size]`.
    pub fn target(&self) -> &Tensor<B, 2> {
        &self.target.hidden
    }

    /// All variants, repeated `times` times.
    pub(super) fn repeated(&self, times: usize) -> Self {
        let side = |side: &Embedded<B>| Embedded { hidden: side.hidden.clone().repeat(&[times, 1]), entry: side.entry };
        Self {
            count: self.count * times,
            source: self.source.as_ref().map(side),
            target: side(&self.target),
            hidden: (0..times).flat_map(|_| self.hidden.iter().cloned()).collect(),
        }
    }

    /// Combines both sides with those of `other`.
    pub(crate) fn combined(
        &self,
        other: &Self,
        count: usize,
        f: impl Fn(Tensor<B, 2>, Tensor<B, 2>) -> Tensor<B, 2>,
    ) -> Self {
        let side = |a: &Embedded<B>, b: &Embedded<B>| Embedded {
            hidden: f(a.hidden.clone(), b.hidden.clone()),
            entry: a.entry,
        };
        Self {
            count,
            source: self.source.as_ref().zip(other.source.as_ref()).map(|(a, b)| side(a, b)),
            target: side(&self.target, &other.target),
            hidden: self.hidden.clone(),
        }
    }
}

/// How derivatives are pulled back, with the variants that [`Rule::DeepLift`] compares with.
pub type PullBack<'v, B> = Rule<&'v Variants<B>>;
