//! Linear layers: `y = x Wᵀ + b`.

use burn::backend::Autodiff;
use burn::tensor::{Tensor, backend::Backend};
use stepfn_kernels::weight::Weight;

use super::front::Gradients;
use super::part::{Forward, One, Part, constant};
use super::places::Places;
use super::rule::Saved;
use super::tokens::indices;
use crate::ModelError;
use crate::parameters::{PackedRows, Parameters};

/// A linear layer.
#[derive(Debug, Clone)]
pub(crate) struct Linear<B: Backend> {
    /// `[out, in]`
    weight: Weight<B>,
    bias: Option<Tensor<B, 2>>,
}

impl<B: Backend> Linear<B> {
    /// Loads the parameters of `name`, which may be one of several `packed` in one stored tensor.
    pub(crate) fn load(
        parameters: &Parameters<B>,
        name: &str,
        [inputs, outputs]: [usize; 2],
        bias: bool,
        packed: Option<PackedRows>,
    ) -> Result<Self, ModelError> {
        let weight = parameters.weight(name, [outputs, inputs], packed)?;
        let bias = match bias {
            true => Some(parameters.vector(&format!("{name}.bias"), outputs, packed)?.unsqueeze_dim(0)),
            false => None,
        };
        Ok(Self { weight, bias })
    }

    /// The same with its outputs in another order.
    pub(crate) fn reordered(self, order: &[usize]) -> Self {
        let numbers = |device: &B::Device| indices(order.iter().map(|&unit| unit as i32).collect(), device);
        let bias = self.bias.map(|bias| {
            let order = numbers(&bias.device());
            bias.select(1, order)
        });
        Self { weight: self.weight.chosen(order), bias }
    }

    /// `x Wᵀ + b`.
    ///
    /// # Shapes
    /// - `x`: `[rows, in]`
    /// - result: `[rows, out]`
    pub(crate) fn apply(&self, x: Tensor<B, 2>) -> Tensor<B, 2> {
        self.weight.linear(x, self.bias.as_ref())
    }

    /// [`apply`](Self::apply) for each of some layers.
    pub(crate) fn apply_all<const N: usize>(layers: [&Self; N], x: Tensor<B, 2>) -> [Tensor<B, 2>; N] {
        Weight::linear_all(x, layers.map(|layer| (&layer.weight, layer.bias.as_ref())))
    }

    /// Pulls cotangents back, by every rule: `grad W`.
    ///
    /// # Shapes
    /// - `grad`: `[rows, out]`
    /// - result: `[rows, in]`
    pub(crate) fn pull(&self, grad: Tensor<B, 2>) -> Tensor<B, 2> {
        self.weight.pull(grad)
    }

    /// The sum of what [`pull`](Self::pull) makes of the gradients of layers that read the same.
    pub(crate) fn pull_all<const N: usize>(terms: [(&Self, Tensor<B, 2>); N]) -> Tensor<B, 2> {
        Weight::pull_all(terms.map(|(layer, grad)| (&layer.weight, grad)))
    }
}

impl<B: Backend> Forward<B> for Linear<B> {
    type Inputs = One;
    type Around = ();
    type Lifted = Linear<Autodiff<B>>;

    fn lift(&self) -> Self::Lifted {
        let weight = match &self.weight {
            Weight::Tensor(weight) => Weight::Tensor(constant(weight)),
            Weight::Stored(rows) => Weight::Stored(rows.clone()),
        };
        Linear { weight, bias: self.bias.as_ref().map(constant) }
    }

    fn lift_around((): &()) {}

    fn forward(&self, x: Tensor<B, 2>, (): &()) -> Tensor<B, 2> {
        self.apply(x)
    }
}

impl<B: Backend> Part<B> for Linear<B> {
    const NAME: &'static str = "linear layer";

    type Tape = ();

    fn record(&self, x: Tensor<B, 2>, (): &()) -> (Tensor<B, 2>, ()) {
        (self.apply(x), ())
    }

    fn backward(&self, _tape: Saved<'_, B, ()>, (): &(), grad: Gradients<B>) -> Result<Gradients<B>, ModelError> {
        Ok(grad.map(|grad, _| self.pull(grad)))
    }

    fn first((): &(), _places: &Places<B>) {}
}
