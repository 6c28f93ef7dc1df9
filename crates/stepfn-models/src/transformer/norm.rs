//! Normalization of hidden states: LayerNorm (Ba et al. 2016, arXiv:1607.06450) and RMSNorm (Zhang & Sennrich 2019, arXiv:1910.07467).
//!
//! Both are a product `y = w ⊙ c · r + b` of the centered input `c` (RMSNorm: the input) and `r`, the reciprocal of its size.

use burn::backend::Autodiff;
use burn::tensor::{Tensor, backend::Backend};
use stepfn_kernels::Cotangents;
use stepfn_kernels::norm::{NormKind as Formula, normalize, normalize_backward};

use super::front::{Gradients, scaled};
use super::part::{Forward, One, Part, constant};
use super::places::Places;
use super::rule::{Rule, Saved};
use crate::ModelError;
use crate::config::{NormConfig, NormKind};
use crate::parameters::Parameters;

/// `(x − mean) / √(var + ε) · weight + bias`, or `x / √(mean x² + ε) · weight`.
#[derive(Debug, Clone)]
pub(crate) struct Norm<B: Backend> {
    weight: Tensor<B, 2>,
    /// LayerNorm's; RMSNorm has none.
    bias: Option<Tensor<B, 2>>,
    formula: Formula,
    epsilon: f64,
}

impl<B: Backend> Norm<B> {
    pub(crate) fn load(
        parameters: &Parameters<B>,
        name: &str,
        size: usize,
        config: NormConfig,
    ) -> Result<Self, ModelError> {
        let vector = |suffix: &str| -> Result<Tensor<B, 2>, ModelError> {
            Ok(parameters.vector(&format!("{name}.{suffix}"), size, None)?.unsqueeze_dim(0))
        };
        let weight = vector("weight")?;
        let (formula, weight, bias) = match config.kind {
            NormKind::LayerNorm => (Formula::Layer, weight, Some(vector("bias")?)),
            NormKind::RmsNorm => (Formula::Rms, weight, None),
            NormKind::RmsNormPlusOne => (Formula::Rms, weight.add_scalar(1), None),
        };
        Ok(Self { weight, bias, formula, epsilon: config.epsilon })
    }

    /// Normalizes every row.
    ///
    /// # Shapes
    /// - `x`, result: `[rows, size]`
    pub(crate) fn apply(&self, x: Tensor<B, 2>) -> Tensor<B, 2> {
        normalize(x, &self.weight, self.bias.as_ref(), self.formula, self.epsilon)
    }

    /// Pulls cotangents back to the input, of which `x` has the rows that they need.
    ///
    /// # Shapes
    /// - `x`: `[texts · places, size]`
    /// - `grad`, result: `[texts · cotangents · places, size]`
    pub(crate) fn pull(
        &self,
        x: Saved<'_, B, Tensor<B, 2>>,
        grad: Tensor<B, 2>,
        cotangents: Cotangents,
    ) -> Tensor<B, 2> {
        let baseline = match x.rule {
            Rule::Gradient => {
                return normalize_backward(x.here, &self.weight, self.formula, self.epsilon, grad, cotangents);
            }
            Rule::AttnLrp => None,
            Rule::DeepLift { baseline } => Some(baseline.clone()),
        };
        let grad = grad * self.weight.clone();
        let (c, r) = self.factors(x.here.clone());
        let grad = match baseline {
            // r is taken for a constant.
            None => scaled(grad, r, cotangents),
            // Δ(c r) = Δc · (r + r₀)/2 + Δr · (c + c₀)/2, and Δr = −r r₀ / (1/r + 1/r₀) · mean((c + c₀) Δc).
            Some(baseline) => {
                let (c0, r0) = self.factors(baseline);
                let both = c + c0;
                let [rows, width] = grad.dims();
                let through_size = scaled(grad.clone(), both.clone().div_scalar(2), cotangents).sum_dim(1);
                let slope =
                    (r.clone() * r0.clone() / (r.clone().recip() + r0.clone().recip())).div_scalar(-(width as f64));
                let through_size = scaled(through_size.expand([rows, width]), both * slope, cotangents);
                scaled(grad, (r + r0).div_scalar(2), cotangents) + through_size
            }
        };
        match self.formula {
            Formula::Layer => grad.clone() - grad.mean_dim(1),
            Formula::Rms => grad,
        }
    }

    /// The centered input `[rows, size]`, and the reciprocal of its size `[rows, 1]`.
    fn factors(&self, x: Tensor<B, 2>) -> (Tensor<B, 2>, Tensor<B, 2>) {
        let centered = match self.formula {
            Formula::Layer => x.clone() - x.mean_dim(1),
            Formula::Rms => x,
        };
        let variance = centered.clone().powi_scalar(2).mean_dim(1);
        (centered, variance.add_scalar(self.epsilon).sqrt().recip())
    }
}

impl<B: Backend> Forward<B> for Norm<B> {
    type Inputs = One;
    type Around = ();
    type Lifted = Norm<Autodiff<B>>;

    fn lift(&self) -> Self::Lifted {
        let &Self { formula, epsilon, .. } = self;
        Norm { weight: constant(&self.weight), bias: self.bias.as_ref().map(constant), formula, epsilon }
    }

    fn lift_around((): &()) {}

    fn forward(&self, x: Tensor<B, 2>, (): &()) -> Tensor<B, 2> {
        self.apply(x)
    }
}

impl<B: Backend> Part<B> for Norm<B> {
    const NAME: &'static str = "normalization";

    /// The input.
    type Tape = Tensor<B, 2>;

    fn record(&self, x: Tensor<B, 2>, (): &()) -> (Tensor<B, 2>, Tensor<B, 2>) {
        (self.apply(x.clone()), x)
    }

    fn backward(&self, x: Saved<'_, B, Tensor<B, 2>>, (): &(), grad: Gradients<B>) -> Result<Gradients<B>, ModelError> {
        let rows = |x: &Tensor<B, 2>, places: &Places<B>| places.of(x);
        Ok(grad.map(|grad, front| x.at(front, rows, |x| self.pull(x, grad, front.over()))))
    }

    fn first(x: &Tensor<B, 2>, places: &Places<B>) -> Tensor<B, 2> {
        places.of(x)
    }
}
