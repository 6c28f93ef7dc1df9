//! From the last hidden states to logits: `cap(scale · x Wᵀ + b)`, with `cap(z) = c · tanh(z / c)` where logits are soft-capped.

use burn::backend::Autodiff;
use burn::tensor::{Tensor, backend::Backend};

use super::Linear;
use super::front::{Gradients, scaled};
use super::part::{Forward, One, Part};
use super::places::Places;
use super::rule::{Rule, Saved};
use super::soft_cap::SoftCap;
use crate::ModelError;
use crate::config::HeadConfig;
use crate::parameters::Parameters;

/// The head of a language model.
#[derive(Debug, Clone)]
pub(crate) struct Head<B: Backend> {
    linear: Linear<B>,
    scale: f64,
    soft_cap: Option<SoftCap>,
}

impl<B: Backend> Head<B> {
    /// Loads the parameters of `head`, from hidden states of this size to logits of that many tokens.
    pub(crate) fn load(parameters: &Parameters<B>, shape: [usize; 2], config: &HeadConfig) -> Result<Self, ModelError> {
        // Files saved without the head, or before it had a bias, mean zeros.
        let bias = config.bias && parameters.has("head.bias");
        let linear = Linear::load(parameters, "head", shape, bias, None)?;
        Ok(Self { linear, scale: config.scale, soft_cap: config.soft_cap.map(SoftCap) })
    }

    fn scaled(&self, x: Tensor<B, 2>) -> Tensor<B, 2> {
        if self.scale == 1.0 { x } else { x.mul_scalar(self.scale) }
    }

    /// What gradients of capped logits are multiplied by, so that they become gradients of the logits before.
    fn slope_of_cap(&self, x: Saved<'_, B, Tensor<B, 2>>, cap: SoftCap) -> Tensor<B, 2> {
        let uncapped = |x: &Tensor<B, 2>| self.linear.apply(self.scaled(x.clone()));
        match x.rule {
            Rule::Gradient => cap.derivative(uncapped(x.here)),
            Rule::DeepLift { baseline } => cap.slope(uncapped(x.here), uncapped(baseline)),
            Rule::AttnLrp => cap.ratio(uncapped(x.here)),
        }
    }
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
            Some(cap) => cap.apply(logits),
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
