//! From the last hidden states to logits: `cap(scale · x Wᵀ + b)`, with `cap(z) = c · tanh(z / c)` where logits are soft-capped. Models of masked
//! tokens first transform hidden states: `norm(φ(x W + b))`.

use burn::backend::Autodiff;
use burn::tensor::{Tensor, backend::Backend};
use stepfn_kernels::Cotangents;
use stepfn_kernels::activation::activate;

use super::Linear;
use super::activation::Phi;
use super::front::{Gradients, scaled};
use super::norm::Norm;
use super::part::{Forward, One, Part};
use super::places::Places;
use super::rule::{Rule, Saved};
use super::soft_cap::SoftCap;
use crate::ModelError;
use crate::config::{HeadConfig, TransformConfig};
use crate::parameters::Parameters;

/// The head of a language model.
#[derive(Debug, Clone)]
pub(crate) struct Head<B: Backend> {
    transform: Option<Transform<B>>,
    linear: Linear<B>,
    scale: f64,
    soft_cap: Option<SoftCap>,
}

/// `norm(φ(x W + b))`.
#[derive(Debug, Clone)]
struct Transform<B: Backend> {
    linear: Linear<B>,
    phi: Phi,
    norm: Norm<B>,
}

impl<B: Backend> Transform<B> {
    fn load(parameters: &Parameters<B>, shape: [usize; 2], config: &TransformConfig) -> Result<Self, ModelError> {
        let TransformConfig { activation, norm, bias } = *config;
        Ok(Self {
            linear: Linear::load(parameters, "head.transform", shape, bias, None)?,
            phi: Phi(activation),
            norm: Norm::load(parameters, "head.norm", shape[1], norm)?,
        })
    }

    fn apply(&self, x: Tensor<B, 2>) -> Tensor<B, 2> {
        self.norm.apply(activate(self.linear.apply(x), self.phi.0))
    }

    /// Pulls cotangents back to the hidden states `x`.
    fn pull(&self, x: Saved<'_, B, Tensor<B, 2>>, grad: Tensor<B, 2>, cotangents: Cotangents) -> Tensor<B, 2> {
        let grad = x.made(
            |x| self.linear.apply(x.clone()),
            |z| {
                let grad = z.made(|z| activate(z.clone(), self.phi.0), |y| self.norm.pull(y, grad, cotangents));
                self.phi.pull(z, grad, cotangents)
            },
        );
        self.linear.pull(grad)
    }
}

impl<B: Backend> Head<B> {
    /// Loads the parameters of `head`, from hidden states of a size, transformed to another where there is a transform, to logits of that many tokens.
    pub(crate) fn load(
        parameters: &Parameters<B>,
        [hidden, width, vocab]: [usize; 3],
        config: &HeadConfig,
    ) -> Result<Self, ModelError> {
        let transform = config.transform.as_ref();
        // Files saved without the head, or before it had a bias, mean zeros.
        let bias = config.bias && parameters.has("head.bias");
        Ok(Self {
            transform: transform.map(|config| Transform::load(parameters, [hidden, width], config)).transpose()?,
            linear: Linear::load(parameters, "head", [width, vocab], bias, None)?,
            scale: config.scale,
            soft_cap: config.soft_cap.map(SoftCap),
        })
    }

    fn transformed(&self, x: Tensor<B, 2>) -> Tensor<B, 2> {
        match &self.transform {
            Some(transform) => transform.apply(x),
            None => x,
        }
    }

    fn scaled(&self, x: Tensor<B, 2>) -> Tensor<B, 2> {
        if self.scale == 1.0 { x } else { x.mul_scalar(self.scale) }
    }

    /// What gradients of capped logits are multiplied by, so that they become gradients of the logits before.
    fn slope_of_cap(&self, x: Saved<'_, B, Tensor<B, 2>>, cap: SoftCap) -> Tensor<B, 2> {
        let uncapped = |x: &Tensor<B, 2>| self.linear.apply(self.scaled(self.transformed(x.clone())));
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
        let transform = self.transform.as_ref().map(|Transform { linear, phi, norm }| Transform {
            linear: linear.lift(),
            phi: *phi,
            norm: norm.lift(),
        });
        Head { transform, linear: self.linear.lift(), scale, soft_cap }
    }

    fn lift_around((): &()) {}

    fn forward(&self, x: Tensor<B, 2>, (): &()) -> Tensor<B, 2> {
        let logits = self.linear.apply(self.scaled(self.transformed(x)));
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
        let grad = grad.map(|grad, _| self.scaled(self.linear.pull(grad)));
        Ok(match &self.transform {
            None => grad,
            Some(transform) => grad.map(|grad, front| x.at(front, rows, |x| transform.pull(x, grad, front.over()))),
        })
    }

    fn first(x: &Tensor<B, 2>, places: &Places<B>) -> Tensor<B, 2> {
        places.of(x)
    }
}
