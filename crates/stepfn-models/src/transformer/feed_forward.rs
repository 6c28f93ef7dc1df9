//! The feed-forward of a block: `down(φ(up x))`, or gated (Shazeer 2020, arXiv:2002.05202), `down(φ(gate x) ⊙ up x)`.
//!
//! A gate may be clamped (gpt-oss): `down(φ(min(gate x, l)) ⊙ (clamp(up x, −l, l) + 1))`. DeepLIFT and AttnLRP have no rule for that.

use burn::backend::Autodiff;
use burn::tensor::{Tensor, backend::Backend};
use stepfn_kernels::Cotangents;
use stepfn_kernels::activation::{activate, gated, gated_backward};

use super::Linear;
use super::activation::Phi;
use super::front::{Gradients, scaled};
use super::part::{Forward, One, Part, constant};
use super::places::Places;
use super::rule::{Rule, Saved};
use crate::ModelError;
use crate::config::{Activation, FeedForwardConfig, Xielu};
use crate::parameters::{PackedRows, Parameters};

/// A feed-forward.
#[derive(Debug, Clone)]
pub(crate) struct FeedForward<B: Backend> {
    gate: Option<Linear<B>>,
    up: Linear<B>,
    down: Linear<B>,
    phi: Phi,
    /// `l` of a clamped gate.
    gate_limit: Option<f64>,
}

/// What the way back reads.
#[derive(Debug, Clone)]
pub(crate) struct FeedForwardTape<B: Backend> {
    /// `gate x`, `[texts · places, size]`
    pub(super) gate: Option<Tensor<B, 2>>,
    /// `up x`, `[texts · places, size]`
    pub(super) up: Tensor<B, 2>,
}

impl<B: Backend> FeedForwardTape<B> {
    fn rows(&self, places: &Places<B>) -> Self {
        Self { gate: places.of_optional(&self.gate), up: places.of(&self.up) }
    }
}

/// The numbers of a layer's xIELU: it keeps the inverse of a softplus of both αs, and of αₙ what it is above β.
fn xielu<B: Backend>(parameters: &Parameters<B>, name: &str) -> Result<Xielu, ModelError> {
    let number = |part: &str, shape: &[usize]| parameters.number(&format!("{name}.activation.{part}"), shape);
    let softplus = |x: f64| x.max(0.0) + (-x.abs()).exp().ln_1p();
    let linear = number("beta", &[])?;
    let (positive, negative) = (softplus(number("alpha_p", &[1])?), linear + softplus(number("alpha_n", &[1])?));
    Ok(Xielu { positive, negative, linear })
}

impl<B: Backend> FeedForward<B> {
    pub(crate) fn load(
        parameters: &Parameters<B>,
        name: &str,
        hidden: usize,
        config: &FeedForwardConfig,
    ) -> Result<Self, ModelError> {
        let FeedForwardConfig { size, activation, gated, gate_limit, bias } = *config;
        let packed = gated.then_some(PackedRows { rows: [size, size, 0], head_dim: 1 });
        let linear =
            |part: &str, shape, packed| Linear::load(parameters, &format!("{name}.{part}"), shape, bias, packed);
        let gate = match gated {
            true => Some(linear("gate", [hidden, size], packed)?),
            false => None,
        };
        let up = linear("up", [hidden, size], packed)?;
        let phi = match activation {
            // The numbers are parameters of the layer.
            Activation::Xielu(_) => Activation::Xielu(xielu(parameters, name)?),
            activation => activation,
        };
        Ok(Self { gate, up, down: linear("down", [size, hidden], None)?, phi: Phi(phi), gate_limit })
    }

    /// What is multiplied: `gate x` before φ, and `up x`, clamped if they are.
    fn factors(&self, gate: Tensor<B, 2>, up: Tensor<B, 2>) -> (Tensor<B, 2>, Tensor<B, 2>) {
        match self.gate_limit {
            None => (gate, up),
            Some(limit) => (gate.clamp_max(limit), up.clamp(-limit, limit).add_scalar(1)),
        }
    }

    /// The gradients of `gate x` and `up x`, from that of the hidden activations.
    fn through_factors(
        &self,
        gate: &Tensor<B, 2>,
        up: &Tensor<B, 2>,
        grad: Tensor<B, 2>,
        cotangents: Cotangents,
    ) -> (Tensor<B, 2>, Tensor<B, 2>) {
        let Some(limit) = self.gate_limit else { return gated_backward(gate, up, self.phi.0, grad, cotangents) };
        let (clamped_gate, clamped_up) = self.factors(gate.clone(), up.clone());
        let (to_gate, to_up) = gated_backward(&clamped_gate, &clamped_up, self.phi.0, grad, cotangents);
        let slope = |x: Tensor<B, 2>| {
            let (dtype, inside) = (x.dtype(), x.lower_equal_elem(limit).float());
            if inside.dtype() == dtype { inside } else { inside.cast(dtype) }
        };
        let to_gate = scaled(to_gate, slope(gate.clone()), cotangents);
        (to_gate, scaled(to_up, slope(up.clone().abs()), cotangents))
    }

    /// From gradients of the output to gradients of the input; `tape` has the rows that they need, and `mask` a row for each of `grad`.
    pub(super) fn pull(
        &self,
        tape: Saved<'_, B, FeedForwardTape<B>>,
        mask: Option<Tensor<B, 2>>,
        grad: Tensor<B, 2>,
        cotangents: Cotangents,
    ) -> Tensor<B, 2> {
        let to_hidden = self.down.pull(grad);
        let to_hidden = match mask {
            Some(mask) => to_hidden * mask,
            None => to_hidden,
        };
        self.through_activations(tape, to_hidden, cotangents)
    }

    /// From gradients of the hidden activations to gradients of the input; `tape` has the rows that they need.
    fn through_activations(
        &self,
        tape: Saved<'_, B, FeedForwardTape<B>>,
        grad: Tensor<B, 2>,
        cotangents: Cotangents,
    ) -> Tensor<B, 2> {
        let up = tape.part(|tape| &tape.up);
        let Some((linear, gate)) = self.gate.as_ref().zip(tape.optional(|tape| tape.gate.as_ref())) else {
            return self.up.pull(self.phi.pull(up, grad, cotangents));
        };
        let activated = |gate: &Tensor<B, 2>| activate(gate.clone(), self.phi.0);
        // Both factors of a product get half of what the other is worth.
        let halves = match (up.rule, gate.rule) {
            (Rule::Gradient, _) | (_, Rule::Gradient) => None,
            (Rule::DeepLift { baseline: up0 }, Rule::DeepLift { baseline: gate0 }) => {
                Some((up.here.clone() + up0.clone(), activated(gate.here) + activated(gate0)))
            }
            _ => Some((up.here.clone(), activated(gate.here))),
        };
        let (to_gate, to_up) = match halves {
            None => self.through_factors(gate.here, up.here, grad, cotangents),
            Some((up, activated)) => {
                let to_activated = scaled(grad.clone(), up.div_scalar(2), cotangents);
                let to_up = scaled(grad, activated.div_scalar(2), cotangents);
                (self.phi.pull(gate, to_activated, cotangents), to_up)
            }
        };
        Linear::pull_all([(linear, to_gate), (&self.up, to_up)])
    }
}

impl<B: Backend> Forward<B> for FeedForward<B> {
    type Inputs = One;
    /// What dropout multiplies the hidden activations by, `[texts · places, size]`.
    type Around = Option<Tensor<B, 2>>;
    type Lifted = FeedForward<Autodiff<B>>;

    fn lift(&self) -> Self::Lifted {
        let Self { gate, up, down, phi, gate_limit } = self;
        let gate = gate.as_ref().map(Linear::lift);
        FeedForward { gate, up: up.lift(), down: down.lift(), phi: *phi, gate_limit: *gate_limit }
    }

    fn lift_around(mask: &Option<Tensor<B, 2>>) -> Option<Tensor<Autodiff<B>, 2>> {
        mask.as_ref().map(constant)
    }

    fn forward(&self, x: Tensor<B, 2>, mask: &Option<Tensor<B, 2>>) -> Tensor<B, 2> {
        self.record(x, mask).0
    }
}

impl<B: Backend> Part<B> for FeedForward<B> {
    const NAME: &'static str = "feed-forward";

    type Tape = FeedForwardTape<B>;

    fn tape(&self, x: Tensor<B, 2>, _mask: &Option<Tensor<B, 2>>) -> FeedForwardTape<B> {
        match &self.gate {
            Some(gate) => {
                let [gate, up] = Linear::apply_all([gate, &self.up], x);
                FeedForwardTape { gate: Some(gate), up }
            }
            None => FeedForwardTape { gate: None, up: self.up.apply(x) },
        }
    }

    fn record(&self, x: Tensor<B, 2>, mask: &Option<Tensor<B, 2>>) -> (Tensor<B, 2>, FeedForwardTape<B>) {
        let FeedForwardTape { gate, up } = self.tape(x, mask);
        let hidden = match &gate {
            Some(gate) => {
                let (gate, up) = self.factors(gate.clone(), up.clone());
                gated(gate, up, self.phi.0)
            }
            None => activate(up.clone(), self.phi.0),
        };
        let hidden = match mask {
            Some(mask) => hidden * mask.clone(),
            None => hidden,
        };
        (self.down.apply(hidden), FeedForwardTape { gate, up })
    }

    fn backward(
        &self,
        tape: Saved<'_, B, FeedForwardTape<B>>,
        mask: &Option<Tensor<B, 2>>,
        grad: Gradients<B>,
    ) -> Result<Gradients<B>, ModelError> {
        if self.gate_limit.is_some() && !tape.rule.is_gradient() {
            return Err(ModelError::NoRule { part: "clamped gate", rule: tape.rule.name() });
        }
        let to_hidden = grad.map(|grad, _| self.down.pull(grad)).scaled(mask.as_ref());
        Ok(to_hidden.map(|grad, front| {
            tape.at(front, FeedForwardTape::rows, |tape| self.through_activations(tape, grad, front.over()))
        }))
    }

    fn first(tape: &FeedForwardTape<B>, places: &Places<B>) -> FeedForwardTape<B> {
        tape.rows(places)
    }
}
