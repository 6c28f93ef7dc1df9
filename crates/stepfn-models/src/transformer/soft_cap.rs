//! Soft caps of scores and logits: `cap(u) = c · tanh(u / c)`, which keeps them between −c and c.

use burn::tensor::{Tensor, backend::Backend};

use super::rule::{ratio, slope};

/// A soft cap at `c`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SoftCap(pub(crate) f64);

impl SoftCap {
    /// `cap(u)`.
    pub(crate) fn apply<B: Backend, const D: usize>(self, u: Tensor<B, D>) -> Tensor<B, D> {
        u.mul_scalar(self.0.recip()).tanh().mul_scalar(self.0)
    }

    /// `cap'(u) = 1 − tanh²(u / c)`.
    pub(crate) fn derivative<B: Backend, const D: usize>(self, u: Tensor<B, D>) -> Tensor<B, D> {
        u.mul_scalar(self.0.recip()).tanh().powi_scalar(2).neg().add_scalar(1)
    }

    /// `Δcap / Δu` against a baseline: DeepLIFT's multiplier.
    pub(crate) fn slope<B: Backend, const D: usize>(self, u: Tensor<B, D>, baseline: Tensor<B, D>) -> Tensor<B, D> {
        slope(u, baseline, |u| self.apply(u), |u| self.derivative(u))
    }

    /// `cap(u) / u`: AttnLRP's multiplier, by which relevance passes unchanged.
    pub(crate) fn ratio<B: Backend, const D: usize>(self, u: Tensor<B, D>) -> Tensor<B, D> {
        ratio(u, |u| self.apply(u), 1.0)
    }
}
