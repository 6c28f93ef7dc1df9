//! Normalization of hidden states: LayerNorm (Ba et al. 2016, arXiv:1607.06450) and RMSNorm (Zhang & Sennrich 2019, arXiv:1910.07467).
//!
//! Both are a quotient `y = w ⊙ n + b`, `n = c / σ`, of the centered input `c` (RMSNorm: the input) and its size `σ`.

use burn::backend::Autodiff;
use burn::tensor::{Int, Tensor, backend::Backend};
use stepfn_kernels::norm::{NormKind as Formula, normalize, normalize_backward};
use stepfn_kernels::{Cotangents, narrowed, widened};

use super::front::{Gradients, scaled};
use super::part::{Forward, One, Part, constant};
use super::places::Places;
use super::rule::{Rule, Saved, halfway};
use crate::ModelError;
use crate::config::{NormConfig, NormKind};
use crate::parameters::Parameters;

/// `(x − mean) / √(var + ε) · weight + bias`, or `x / √(mean x² + ε) · weight`.
#[derive(Debug, Clone)]
pub(crate) struct Norm<B: Backend> {
    weight: Tensor<B, 2>,
    /// LayerNorm's, if it has one; RMSNorm has none.
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
        let (formula, weight, bias) = match config.kind {
            NormKind::LayerNorm => (Formula::Layer, vector("weight")?, Some(vector("bias")?)),
            NormKind::LayerNormPlusOne => (Formula::Layer, vector("weight")?.add_scalar(1), Some(vector("bias")?)),
            NormKind::LayerNormWithoutBias => (Formula::Layer, vector("weight")?, None),
            NormKind::LayerNormWithoutWeight => (Formula::Layer, parameters.ones(size), None),
            NormKind::RmsNorm => (Formula::Rms, vector("weight")?, None),
            NormKind::RmsNormPlusOne => (Formula::Rms, vector("weight")?.add_scalar(1), None),
        };
        Ok(Self { weight, bias, formula, epsilon: config.epsilon })
    }

    /// The same without weights and biases.
    pub(crate) fn plain(parameters: &Parameters<B>, size: usize, config: NormConfig) -> Self {
        let formula = match config.kind {
            NormKind::RmsNorm | NormKind::RmsNormPlusOne => Formula::Rms,
            _ => Formula::Layer,
        };
        Self { weight: parameters.ones(size), bias: None, formula, epsilon: config.epsilon }
    }

    /// The same with its units in another order.
    pub(crate) fn reordered(self, order: &Tensor<B, 1, Int>) -> Self {
        let ordered = |x: Tensor<B, 2>| x.select(1, order.clone());
        Self { weight: ordered(self.weight), bias: self.bias.map(ordered), ..self }
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
        let dtype = grad.dtype();
        let grad = widened(grad) * widened(self.weight.clone());
        let (c, size) = self.quotient(x.here.clone());
        let grad = match baseline {
            // The size is taken for a constant.
            None => scaled(grad, size.recip(), cotangents),
            // From c = n σ, Δc = Δn · (σ + σ̄)/2 + Δσ · (n + n̄)/2, solved for Δn; and Δσ = mean((c + c̄) Δc) / (σ + σ̄). Both quotients are
            // bounded, even if one of the sizes is next to nothing.
            Some(baseline) => {
                let (c0, size0) = self.quotient(baseline);
                let normalized = halfway(c.clone() / size.clone(), c0.clone() / size0.clone());
                let sizes = size + size0;
                let direction = (c + c0) / sizes.clone();
                let grad = scaled(grad, sizes.div_scalar(2).recip(), cotangents);
                let [rows, width] = grad.dims();
                let through_size = scaled(grad.clone(), normalized, cotangents).mean_dim(1);
                grad - scaled(through_size.expand([rows, width]), direction, cotangents)
            }
        };
        let grad = match self.formula {
            Formula::Layer => grad.clone() - grad.mean_dim(1),
            Formula::Rms => grad,
        };
        narrowed(grad, dtype)
    }

    /// The centered input `c` `[rows, size]`, and its size `σ` `[rows, 1]`.
    fn quotient(&self, x: Tensor<B, 2>) -> (Tensor<B, 2>, Tensor<B, 2>) {
        let x = widened(x);
        let centered = match self.formula {
            Formula::Layer => x.clone() - x.mean_dim(1),
            Formula::Rms => x,
        };
        let variance = centered.clone().powi_scalar(2).mean_dim(1);
        (centered, variance.add_scalar(self.epsilon).sqrt())
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

#[cfg(test)]
mod tests {
    use burn::tensor::{DType, TensorData};
    use proptest::prelude::*;

    use super::*;

    type B = stepfn_cpu::flex::Backend;

    fn row(values: &[f64], scale: f64) -> Tensor<B, 2> {
        let data = TensorData::new(values.iter().map(|x| x * scale).collect::<Vec<f64>>(), [1, values.len()]);
        Tensor::from_data(data, (&Default::default(), DType::F64))
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn multipliers_are_bounded_however_different_the_sizes_are(
            (here, baseline) in (2usize..7).prop_flat_map(|size| {
                let row = || prop::collection::vec(-1.0..1.0f64, size);
                (row(), row())
            }),
            scales in [-6..=6i32, -6..=6i32],
            formula in prop::sample::select(vec![Formula::Layer, Formula::Rms]),
        ) {
            let size = here.len();
            let [x, x0] = [(&here, scales[0]), (&baseline, scales[1])].map(|(x, power)| row(x, 10f64.powi(power)));
            let norm = Norm::<B> { weight: row(&vec![1.0; size], 1.0), bias: None, formula, epsilon: 1e-12 };
            let mut one_each = vec![0.0; size * size];
            (0..size).for_each(|unit| one_each[unit * size + unit] = 1.0);
            let one_each = row(&one_each, 1.0).reshape([size, size]);
            let cotangents = Cotangents { texts: 1, per_text: size };
            let multipliers = norm.pull(Saved::new(&x, Rule::DeepLift { baseline: &x0 }), one_each, cotangents);
            let larger = norm.quotient(x).1.max_pair(norm.quotient(x0).1).into_scalar();
            // Both terms are at most 2 / (σ + σ̄), and centering may double them.
            let most = 8.0 / larger;
            prop_assert!(multipliers.clone().abs().max().into_scalar() <= most, "{multipliers} above {most}");
        }
    }
}
