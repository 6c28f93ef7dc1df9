//! How cotangents are pulled back through a part: by the derivative, or by a rule that replaces it.
//!
//! A *cotangent* is the derivative of one number with respect to what a part computed. Pulled back through the part, it becomes the derivative
//! with respect to what the part read. Only parts look at which [`Rule`] it is; everything else hands it on inside [`Saved`].

use burn::tensor::{Tensor, backend::Backend};
use stepfn_kernels::{narrowed, widened};

use super::attention::Watch;
use super::front::Front;
use super::places::Places;

/// How cotangents are pulled back. `S` is what [`DeepLift`](Rule::DeepLift) also needs: the same of a baseline.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rule<S = ()> {
    /// By the derivative.
    #[default]
    Gradient,
    /// By multipliers `Δout / Δin` against the pass of a baseline (Shrikumar et al. 2017, arXiv:1704.02685, rescale rule). Products share
    /// their difference evenly between factors, so that `Σ Δin · multiplier = Δout` holds in every part: normalizations, softmax and gates too.
    DeepLift {
        /// What the baseline's pass saved.
        baseline: S,
    },
    /// By the relevance propagation of AttnLRP (Achtibat et al. 2024, arXiv:2402.05602), as a modified gradient whose product with the input
    /// is the relevance: normalizations and nonlinearities pass relevance on unchanged, factors of products take half each.
    AttnLrp,
}

impl<S> Rule<S> {
    /// Whether cotangents are plain derivatives.
    pub fn is_gradient(&self) -> bool {
        matches!(self, Rule::Gradient)
    }

    /// The baseline that the rule compares with, if it has one.
    pub fn baseline(&self) -> Option<&S> {
        match self {
            Rule::DeepLift { baseline } => Some(baseline),
            Rule::Gradient | Rule::AttnLrp => None,
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

    /// What papers call it.
    pub fn name(&self) -> &'static str {
        match self {
            Rule::Gradient => "the gradient",
            Rule::AttnLrp => "AttnLRP",
            Rule::DeepLift { .. } => "DeepLIFT",
        }
    }
}

/// What a backward reads: something that the pass saved, and the rule, with the same of the baseline's pass under [`Rule::DeepLift`].
#[derive(Debug)]
pub(crate) struct Saved<'a, B: Backend, T> {
    pub(crate) here: &'a T,
    pub(crate) rule: Rule<&'a T>,
    /// Who is shown the cotangents at attention.
    pub(crate) watch: Option<Watch<'a, B>>,
}

impl<B: Backend, T> Clone for Saved<'_, B, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B: Backend, T> Copy for Saved<'_, B, T> {}

impl<'a, B: Backend, T> Saved<'a, B, T> {
    /// Something saved, to be pulled back through by a rule.
    pub(crate) fn new(here: &'a T, rule: Rule<&'a T>) -> Self {
        Self { here, rule, watch: None }
    }

    /// A field of it.
    pub(crate) fn part<U>(self, f: impl Fn(&'a T) -> &'a U) -> Saved<'a, B, U> {
        Saved { here: f(self.here), rule: self.rule.map(|baseline| f(baseline)), watch: self.watch }
    }

    /// A field that both passes have, or neither.
    pub(crate) fn optional<U>(self, f: impl Fn(&'a T) -> Option<&'a U>) -> Option<Saved<'a, B, U>> {
        let rule = self.rule.try_map(|baseline| f(baseline).ok_or(())).ok()?;
        Some(Saved { here: f(self.here)?, rule, watch: self.watch })
    }

    /// What `f` makes of it, handed on to `then`.
    pub(crate) fn made<U, R>(self, f: impl Fn(&'a T) -> U, then: impl FnOnce(Saved<'_, B, U>) -> R) -> R {
        let (here, rule) = (f(self.here), self.rule.map(|baseline| f(baseline)));
        then(Saved { here: &here, rule: rule.map(|baseline| baseline), watch: self.watch })
    }

    /// What `rows` takes of it for the places that cotangents are at, handed on to `then`; all of it if they are at all places.
    pub(crate) fn at<R>(
        self,
        front: &Front<B>,
        rows: impl Fn(&T, &Places<B>) -> T,
        then: impl FnOnce(Saved<'_, B, T>) -> R,
    ) -> R {
        match front.places() {
            Some(places) => self.made(|saved| rows(saved, places), then),
            None => then(self),
        }
    }
}

/// The mean of the two passes: what a factor of a product is multiplied by under DeepLIFT.
pub(crate) fn halfway<B: Backend, const D: usize>(here: Tensor<B, D>, baseline: Tensor<B, D>) -> Tensor<B, D> {
    (here + baseline).div_scalar(2)
}

/// `Δout / Δin` of an elementwise function; its derivative halfway where `Δin` is too small to divide by. On different sides of 0, where some
/// functions have a corner, the quotient of small numbers is exact, and the derivative halfway would not be.
pub(crate) fn slope<B: Backend, const D: usize>(
    here: Tensor<B, D>,
    baseline: Tensor<B, D>,
    function: impl Fn(Tensor<B, D>) -> Tensor<B, D>,
    derivative: impl Fn(Tensor<B, D>) -> Tensor<B, D>,
) -> Tensor<B, D> {
    /// Below it, the error of the midpoint, some Δ²/24 of a third derivative, is less than that of the difference in single precision.
    const SMALL: f64 = 1e-2;
    let dtype = here.dtype();
    let (here, baseline) = (widened(here), widened(baseline));
    let step = here.clone() - baseline.clone();
    let same_side = (here.clone() * baseline.clone()).greater_elem(0.0);
    let small = step.clone().abs().lower_elem(SMALL).bool_and(same_side).bool_or(step.clone().equal_elem(0.0));
    let at_halfway = derivative(halfway(here.clone(), baseline.clone()));
    let secant = (function(here) - function(baseline)) / step.mask_fill(small.clone(), 1.0);
    narrowed(secant.mask_where(small, at_halfway), dtype)
}

/// `out / in` of an elementwise function, and its limit at 0: what AttnLRP multiplies by, so that relevance passes unchanged.
pub(crate) fn ratio<B: Backend, const D: usize>(
    x: Tensor<B, D>,
    function: impl Fn(Tensor<B, D>) -> Tensor<B, D>,
    at_zero: f64,
) -> Tensor<B, D> {
    /// Closer to 0 than this, the quotient would be rounding error.
    const TINY: f64 = 1e-6;
    let dtype = x.dtype();
    let x = widened(x);
    let tiny = x.clone().abs().lower_elem(TINY);
    narrowed((function(x.clone()) / x.mask_fill(tiny.clone(), 1.0)).mask_fill(tiny, at_zero), dtype)
}
