//! The feed-forward of a block: `down(φ(up x))`, or gated (Shazeer 2020), `down(φ(gate x) ⊙ up x)`.

use burn::tensor::{Tensor, activation, backend::Backend};

use super::Linear;
use crate::ModelError;
use crate::config::{Activation, FeedForwardConfig};
use crate::parameters::{Blocks, Parameters};

#[derive(Debug, Clone)]
pub(crate) struct FeedForward<B: Backend> {
    gate: Option<Linear<B>>,
    up: Linear<B>,
    down: Linear<B>,
    activation: Activation,
}

impl<B: Backend> FeedForward<B> {
    pub(crate) fn load(
        parameters: &Parameters<B>,
        name: &str,
        hidden: usize,
        config: &FeedForwardConfig,
    ) -> Result<Self, ModelError> {
        let FeedForwardConfig { size, activation, gated, bias } = *config;
        let blocks = gated.then_some(Blocks { rows: [size, size, 0], head_dim: 1 });
        let part = |part: &str, shape, blocks| Linear::load(parameters, &format!("{name}.{part}"), shape, bias, blocks);
        let gate = match gated {
            true => Some(part("gate", [hidden, size], blocks)?),
            false => None,
        };
        let up = part("up", [hidden, size], blocks)?;
        Ok(Self { gate, up, down: part("down", [size, hidden], None)?, activation })
    }

    /// `dropped` is what dropout makes of the hidden activations.
    ///
    /// # Shapes
    /// - `x`, result: `[rows, hidden]`
    pub(crate) fn forward(&self, x: Tensor<B, 2>, dropped: impl FnOnce(Tensor<B, 2>) -> Tensor<B, 2>) -> Tensor<B, 2> {
        let hidden = match &self.gate {
            Some(gate) => self.activation.apply(gate.forward(x.clone())) * self.up.forward(x),
            None => self.activation.apply(self.up.forward(x)),
        };
        self.down.forward(dropped(hidden))
    }
}

impl Activation {
    /// φ, elementwise.
    pub(crate) fn apply<B: Backend, const D: usize>(self, x: Tensor<B, D>) -> Tensor<B, D> {
        match self {
            Activation::Relu => activation::relu(x),
            Activation::Silu => x.clone() * activation::sigmoid(x),
            Activation::Gelu => activation::gelu(x),
            Activation::GeluTanh => {
                let cubic = x.clone().powi_scalar(3).mul_scalar(0.044_715);
                let inner = (x.clone() + cubic).mul_scalar((2.0 / core::f64::consts::PI).sqrt());
                x.mul_scalar(0.5) * inner.tanh().add_scalar(1)
            }
            Activation::GeluQuick => x.clone() * activation::sigmoid(x.mul_scalar(1.702)),
        }
    }
}
