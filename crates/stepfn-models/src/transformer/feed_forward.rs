//! The feed-forward of a block: `down(φ(up x))`, or gated (Shazeer 2020), `down(φ(gate x) ⊙ up x)`.

use burn::tensor::{Tensor, activation, backend::Backend};
use stepfn_kernels::Cotangents;
use stepfn_kernels::activation::{activate, activate_backward, gated, gated_backward};

use super::Linear;
use super::rows::Places;
use super::rules::{Rule, Saved, scaled, slope};
use crate::ModelError;
use crate::config::{Activation, FeedForwardConfig};
use crate::parameters::{Blocks, Parameters};

#[derive(Debug, Clone)]
pub(crate) struct FeedForward<B: Backend> {
    gate: Option<Linear<B>>,
    up: Linear<B>,
    down: Linear<B>,
    activation: Activation,
    size: usize,
}

/// What a backward reads of a forward.
#[derive(Debug, Clone)]
pub(crate) struct FeedForwardTape<B: Backend> {
    gate: Option<Tensor<B, 2>>,
    up: Tensor<B, 2>,
    mask: Option<Tensor<B, 2>>,
}

impl<B: Backend> FeedForwardTape<B> {
    /// Some rows of it.
    pub(crate) fn rows(&self, rows: &impl Places<B>) -> Self {
        Self { gate: rows.of_optional(&self.gate), up: rows.of(&self.up), mask: rows.of_optional(&self.mask) }
    }
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
        Ok(Self { gate, up, down: part("down", [size, hidden], None)?, activation, size })
    }

    /// Width of the hidden activations.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// `mask` is what dropout multiplies the hidden activations with, `[rows, size]`.
    ///
    /// # Shapes
    /// - `x`, result: `[rows, hidden]`
    pub(crate) fn forward(&self, x: Tensor<B, 2>, mask: Option<Tensor<B, 2>>) -> (Tensor<B, 2>, FeedForwardTape<B>) {
        let gate = self.gate.as_ref().map(|gate| gate.forward(x.clone()));
        let up = self.up.forward(x);
        let hidden = match &gate {
            Some(gate) => gated(gate.clone(), up.clone(), self.activation),
            None => activate(up.clone(), self.activation),
        };
        let hidden = match &mask {
            Some(mask) => hidden * mask.clone(),
            None => hidden,
        };
        (self.down.forward(hidden), FeedForwardTape { gate, up, mask })
    }

    /// Pulls cotangents back to the input.
    ///
    /// # Shapes
    /// - `grad`, result: `[texts · cotangents · places, hidden]`
    pub(crate) fn backward(
        &self,
        tape: Saved<FeedForwardTape<B>>,
        grad: Tensor<B, 2>,
        cotangents: Cotangents,
    ) -> Tensor<B, 2> {
        let mut grad = self.down.backward(grad);
        if let Some(mask) = &tape.here.mask {
            grad = scaled(grad, mask.clone(), cotangents);
        }
        let up = tape.part(|tape| &tape.up);
        let Some((linear, gate)) = self.gate.as_ref().zip(tape.optional(|tape| tape.gate.as_ref())) else {
            return self.up.backward(self.activation.backward(up, grad, cotangents));
        };
        let (to_gate, to_up) = match gate.rule {
            Rule::Gradient => gated_backward(gate.here, up.here, self.activation, grad, cotangents),
            Rule::AttnLrp | Rule::DeepLift { .. } => {
                let activated = |gate: &Tensor<B, 2>| activate(gate.clone(), self.activation);
                let (up_share, activated_share) = match (up.rule, gate.rule) {
                    (Rule::DeepLift { baseline: up0 }, Rule::DeepLift { baseline: gate0 }) => {
                        (up.here.clone() + up0.clone(), activated(gate.here) + activated(gate0))
                    }
                    _ => (up.here.clone(), activated(gate.here)),
                };
                let to_activated = scaled(grad.clone(), up_share.div_scalar(2), cotangents);
                let to_up = scaled(grad, activated_share.div_scalar(2), cotangents);
                (self.activation.backward(gate, to_activated, cotangents), to_up)
            }
        };
        linear.backward(to_gate) + self.up.backward(to_up)
    }
}

/// Pulling cotangents back through φ.
trait ActivationBackward {
    fn backward<B: Backend>(self, x: Saved<Tensor<B, 2>>, grad: Tensor<B, 2>, cotangents: Cotangents) -> Tensor<B, 2>;
    /// φ(x) / x, its limit at 0.
    fn ratio<B: Backend>(self, x: Tensor<B, 2>) -> Tensor<B, 2>;
}

impl ActivationBackward for Activation {
    fn backward<B: Backend>(self, x: Saved<Tensor<B, 2>>, grad: Tensor<B, 2>, cotangents: Cotangents) -> Tensor<B, 2> {
        let factor = match x.rule {
            Rule::Gradient => return activate_backward(x.here, self, grad, cotangents),
            Rule::AttnLrp => self.ratio(x.here.clone()),
            Rule::DeepLift { baseline } => {
                let derivative = |x: Tensor<B, 2>| {
                    let ones = Tensor::ones_like(&x);
                    activate_backward(&x, self, ones, Cotangents { texts: 1, per_text: 1 })
                };
                slope(x.here.clone(), baseline.clone(), |x| activate(x, self), derivative)
            }
        };
        scaled(grad, factor, cotangents)
    }

    fn ratio<B: Backend>(self, x: Tensor<B, 2>) -> Tensor<B, 2> {
        match self {
            Activation::Relu => x.clone().greater_elem(0.0).float().cast(x.dtype()),
            Activation::Silu => activation::sigmoid(x),
            Activation::GeluQuick => activation::sigmoid(x.mul_scalar(1.702)),
            // Both are x times a distribution function, which is φ(x)/x wherever that can be computed, and ½ at 0.
            _ => {
                let tiny = x.clone().abs().lower_elem(1e-6);
                (activate(x.clone(), self) / x.mask_fill(tiny.clone(), 1.0)).mask_fill(tiny, 0.5)
            }
        }
    }
}
