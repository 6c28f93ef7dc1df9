//! The nonlinearity φ of a feed-forward as a part. Its formulas are in [`stepfn_kernels::activation`].

use burn::tensor::{Tensor, activation, backend::Backend};
use stepfn_kernels::Cotangents;
use stepfn_kernels::activation::{activate, activate_backward};

use super::front::{Gradients, scaled};
use super::part::{Forward, One, Part};
use super::places::Places;
use super::rule::{Rule, Saved, ratio, slope};
use crate::ModelError;
use crate::config::{Activation, Xielu};

/// φ.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Phi(pub(crate) Activation);

impl Phi {
    /// Pulls cotangents back through φ to its input, of which `x` has the rows that they need.
    ///
    /// # Shapes
    /// - `x`: `[texts · places, size]`
    /// - `grad`, result: `[texts · cotangents · places, size]`
    pub(crate) fn pull<B: Backend>(
        self,
        x: Saved<'_, B, Tensor<B, 2>>,
        grad: Tensor<B, 2>,
        cotangents: Cotangents,
    ) -> Tensor<B, 2> {
        let Self(phi) = self;
        let factor = match x.rule {
            Rule::Gradient => return activate_backward(x.here, phi, grad, cotangents),
            Rule::AttnLrp => phi_over_x(phi, x.here.clone()),
            Rule::DeepLift { baseline } => {
                let derivative = |x: Tensor<B, 2>| {
                    let ones = Tensor::ones_like(&x);
                    activate_backward(&x, phi, ones, Cotangents::one_each(1))
                };
                slope(x.here.clone(), baseline.clone(), |x| activate(x, phi), derivative)
            }
        };
        scaled(grad, factor, cotangents)
    }
}

/// φ(x) / x, and its limit at 0.
fn phi_over_x<B: Backend>(phi: Activation, x: Tensor<B, 2>) -> Tensor<B, 2> {
    match phi {
        Activation::Relu => x.clone().greater_elem(0.0).float().cast(x.dtype()),
        Activation::ReluSquared => activation::relu(x),
        Activation::Silu => activation::sigmoid(x),
        Activation::GeluQuick => activation::sigmoid(x.mul_scalar(1.702)),
        Activation::Xielu(Xielu { linear, .. }) => ratio(x, |x| activate(x, phi), linear),
        // The others are x times a distribution function, which is ½ at 0.
        _ => ratio(x, |x| activate(x, phi), 0.5),
    }
}

impl<B: Backend> Forward<B> for Phi {
    type Inputs = One;
    type Around = ();
    type Lifted = Self;

    fn lift(&self) -> Self {
        *self
    }

    fn lift_around((): &()) {}

    fn forward(&self, x: Tensor<B, 2>, (): &()) -> Tensor<B, 2> {
        activate(x, self.0)
    }
}

impl<B: Backend> Part<B> for Phi {
    const NAME: &'static str = "activation";

    /// The input.
    type Tape = Tensor<B, 2>;

    fn record(&self, x: Tensor<B, 2>, (): &()) -> (Tensor<B, 2>, Tensor<B, 2>) {
        (activate(x.clone(), self.0), x)
    }

    fn backward(&self, x: Saved<'_, B, Tensor<B, 2>>, (): &(), grad: Gradients<B>) -> Result<Gradients<B>, ModelError> {
        let rows = |x: &Tensor<B, 2>, places: &Places<B>| places.of(x);
        Ok(grad.map(|grad, front| x.at(front, rows, |x| self.pull(x, grad, front.over()))))
    }

    fn first(x: &Tensor<B, 2>, places: &Places<B>) -> Tensor<B, 2> {
        places.of(x)
    }
}
