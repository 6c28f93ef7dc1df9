//! How cotangents are pulled back through the parts: by the gradient, or by a rule that takes its place in some of them.
//!
//! A *cotangent* is the derivative of one number with respect to a part's output; pulled back through the part, it is the derivative with
//! respect to its input. Many cotangents share one forward pass: a part's backward reads what the pass saved, `[texts · places, width]`, for
//! the `[texts · cotangents · places, width]` rows of all cotangents at once.

use burn::tensor::{Tensor, backend::Backend};
use stepfn_kernels::Cotangents;

/// How cotangents are pulled back. `S` is what [`DeepLift`](Rule::DeepLift) needs beside the pass itself: a baseline's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rule<S = ()> {
    /// By the derivative.
    #[default]
    Gradient,
    /// By multipliers `Δout / Δin` against the pass of a baseline (Shrikumar et al. 2017, rescale rule). Products share their difference
    /// evenly between factors, so that `Σ Δin · multiplier = Δout` holds in every part: normalizations, softmax and gates too.
    DeepLift {
        /// What the baseline's pass saved.
        baseline: S,
    },
    /// By the relevance propagation of AttnLRP (Achtibat et al. 2024), as a modified gradient whose product with the input is the relevance:
    /// normalizations and nonlinearities pass relevance on unchanged, factors of products take half each.
    AttnLrp,
}

impl<S> Rule<S> {
    /// Whether it is the derivative, and not a rule that takes its place.
    pub fn is_gradient(&self) -> bool {
        matches!(self, Rule::Gradient)
    }

    /// What it compares with, if it compares.
    pub fn baseline(&self) -> Option<&S> {
        match self {
            Rule::DeepLift { baseline } => Some(baseline),
            _ => None,
        }
    }

    /// The same rule with something made of its baseline, if it has one.
    pub fn map<'a, T>(&'a self, f: impl FnOnce(&'a S) -> T) -> Rule<T> {
        match self {
            Rule::Gradient => Rule::Gradient,
            Rule::AttnLrp => Rule::AttnLrp,
            Rule::DeepLift { baseline } => Rule::DeepLift { baseline: f(baseline) },
        }
    }

    /// The same, where making it may fail.
    ///
    /// # Errors
    /// Those of `f`.
    pub fn try_map<'a, T, E>(&'a self, f: impl FnOnce(&'a S) -> Result<T, E>) -> Result<Rule<T>, E> {
        Ok(match self {
            Rule::Gradient => Rule::Gradient,
            Rule::AttnLrp => Rule::AttnLrp,
            Rule::DeepLift { baseline } => Rule::DeepLift { baseline: f(baseline)? },
        })
    }
}

/// What a backward reads: something that the pass saved, and the same of the baseline's pass under [`Rule::DeepLift`].
#[derive(Debug)]
pub(crate) struct Saved<'a, T> {
    pub(crate) here: &'a T,
    pub(crate) rule: Rule<&'a T>,
}

impl<T> Clone for Saved<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Saved<'_, T> {}

impl<'a, T> Saved<'a, T> {
    /// A part of it.
    pub(crate) fn part<U>(self, f: impl Fn(&'a T) -> &'a U) -> Saved<'a, U> {
        Saved { here: f(self.here), rule: self.rule.map(|baseline| f(baseline)) }
    }

    /// What `f` makes of it, handed on to `then`.
    pub(crate) fn made<U, R>(self, f: impl Fn(&'a T) -> U, then: impl FnOnce(Saved<'_, U>) -> R) -> R {
        let here = f(self.here);
        match self.rule.map(|baseline| f(baseline)) {
            Rule::Gradient => then(Saved { here: &here, rule: Rule::Gradient }),
            Rule::AttnLrp => then(Saved { here: &here, rule: Rule::AttnLrp }),
            Rule::DeepLift { baseline } => then(Saved { here: &here, rule: Rule::DeepLift { baseline: &baseline } }),
        }
    }

    /// A part of it that both passes have, or neither.
    pub(crate) fn optional<U>(self, f: impl Fn(&'a T) -> Option<&'a U>) -> Option<Saved<'a, U>> {
        let rule = match self.rule {
            Rule::Gradient => Rule::Gradient,
            Rule::AttnLrp => Rule::AttnLrp,
            Rule::DeepLift { baseline } => Rule::DeepLift { baseline: f(baseline)? },
        };
        Some(Saved { here: f(self.here)?, rule })
    }
}

/// `grad ⊙ factor`, the factor shared by the cotangents of a text.
///
/// # Shapes
/// - `grad`, result: `[texts · cotangents · places, width]`
/// - `factor`: `[texts · places, width]`, or `[texts · places, 1]`
pub(crate) fn scaled<B: Backend>(grad: Tensor<B, 2>, factor: Tensor<B, 2>, cotangents: Cotangents) -> Tensor<B, 2> {
    let [rows, width] = grad.dims();
    let [saved, factors] = factor.dims();
    let Cotangents { texts, per_text } = cotangents;
    if per_text == 1 {
        return grad * factor;
    }
    let places = saved / texts;
    let grad = grad.reshape([texts, per_text, places, width]);
    (grad * factor.reshape([texts, 1, places, factors])).reshape([rows, width])
}

/// `Δout / Δin` of an elementwise function; its derivative halfway where `Δin` is too small to divide by.
pub(crate) fn slope<B: Backend, const D: usize>(
    here: Tensor<B, D>,
    baseline: Tensor<B, D>,
    function: impl Fn(Tensor<B, D>) -> Tensor<B, D>,
    derivative: impl Fn(Tensor<B, D>) -> Tensor<B, D>,
) -> Tensor<B, D> {
    /// Below it, the error of the midpoint, some Δ²/24 of a third derivative, is less than that of the difference in single precision.
    const SMALL: f64 = 1e-2;
    let step = here.clone() - baseline.clone();
    let small = step.clone().abs().lower_elem(SMALL);
    let halfway = derivative((here.clone() + baseline.clone()).div_scalar(2));
    let secant = (function(here) - function(baseline)) / step.mask_fill(small.clone(), 1.0);
    secant.mask_where(small, halfway)
}
