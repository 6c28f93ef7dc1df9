//! From the last hidden states to logits: `cap(scale · x Wᵀ + b)`, with `cap(z) = c · tanh(z / c)` where logits are soft-capped.

use burn::backend::Autodiff;
use burn::tensor::{Tensor, backend::Backend};

use super::Linear;
use super::front::{Gradients, scaled};
use super::part::{Forward, One, Part};
use super::places::Places;
use super::rule::{Rule, Saved, ratio, slope};
use crate::ModelError;
use crate::config::HeadConfig;
use crate::parameters::Parameters;

/// The head of a language model.
#[derive(Debug, Clone)]
pub(crate) struct Head<B: Backend> {
    linear: Linear<B>,
    scale: f64,
    soft_cap: Option<f64>,
}

impl<B: Backend> Head<B> {
    /// Loads the parameters of `head`, from hidden states of this size to logits of that many tokens.
    pub(crate) fn load(parameters: &Parameters<B>, shape: [usize; 2], config: &HeadConfig) -> Result<Self, ModelError> {
        // Files saved without the head, or before it had a bias, mean zeros.
        let bias = config.bias && parameters.has("head.bias");
        let linear = Linear::load(parameters, "head", shape, bias, None)?;
        Ok(Self { linear, scale: config.scale, soft_cap: config.soft_cap })
    }

    fn scaled(&self, x: Tensor<B, 2>) -> Tensor<B, 2> {
        if self.scale == 1.0 { x } else { x.mul_scalar(self.scale) }
    }

    /// What gradients of capped logits are multiplied by, so that they become gradients of the logits before.
    fn slope_of_cap(&self, x: Saved<'_, B, Tensor<B, 2>>, cap: f64) -> Tensor<B, 2> {
        let uncapped = |x: &Tensor<B, 2>| self.linear.apply(self.scaled(x.clone()));
        let capped = |x| soft_capped(x, cap);
        let derivative = |x: Tensor<B, 2>| x.div_scalar(cap).tanh().powi_scalar(2).neg().add_scalar(1);
        match x.rule {
            Rule::Gradient => derivative(uncapped(x.here)),
            Rule::DeepLift { baseline } => slope(uncapped(x.here), uncapped(baseline), capped, derivative),
            Rule::AttnLrp => ratio(uncapped(x.here), capped, 1.0),
        }
    }
}

fn soft_capped<B: Backend>(x: Tensor<B, 2>, cap: f64) -> Tensor<B, 2> {
    x.mul_scalar(cap.recip()).tanh().mul_scalar(cap)
}

impl<B: Backend> Forward<B> for Head<B> {
    type Inputs = One;
    type Around = ();
    type Lifted = Head<Autodiff<B>>;

    fn lift(&self) -> Self::Lifted {
        let &Self { scale, soft_cap, .. } = self;
        Head { linear: self.linear.lift(), scale, soft_cap }
    }

    fn lift_around((): &()) {}

    fn forward(&self, x: Tensor<B, 2>, (): &()) -> Tensor<B, 2> {
        let logits = self.linear.apply(self.scaled(x));
        match self.soft_cap {
            Some(cap) => soft_capped(logits, cap),
            None => logits,
        }
    }
}

impl<B: Backend> Part<B> for Head<B> {
    const NAME: &'static str = "head";

    /// The input.
    type Tape = Tensor<B, 2>;

    fn record(&self, x: Tensor<B, 2>, (): &()) -> (Tensor<B, 2>, Tensor<B, 2>) {
        (self.forward(x.clone(), &()), x)
    }

    fn backward(&self, x: Saved<'_, B, Tensor<B, 2>>, (): &(), grad: Gradients<B>) -> Result<Gradients<B>, ModelError> {
        let rows = |x: &Tensor<B, 2>, places: &Places<B>| places.of(x);
        let grad = match self.soft_cap {
            None => grad,
            Some(cap) => {
                grad.map(|grad, front| x.at(front, rows, |x| scaled(grad, self.slope_of_cap(x, cap), front.over())))
            }
        };
        Ok(grad.map(|grad, _| self.scaled(self.linear.pull(grad))))
    }

    fn first(x: &Tensor<B, 2>, places: &Places<B>) -> Tensor<B, 2> {
        places.of(x)
    }
}
