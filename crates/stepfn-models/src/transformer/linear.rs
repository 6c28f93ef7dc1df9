//! Linear layers: `y = x Wᵀ + b`.

use burn::tensor::{Tensor, backend::Backend};
use stepfn_kernels::linear::linear;

use crate::ModelError;
use crate::parameters::{Blocks, Parameters};

/// A linear layer.
#[derive(Debug, Clone)]
pub(crate) struct Linear<B: Backend> {
    /// `[in, out]`: a view of the checkpoint's `[out, in]`, which products read without a copy.
    weight: Tensor<B, 2>,
    bias: Option<Tensor<B, 2>>,
}

impl<B: Backend> Linear<B> {
    /// Loads the parameters of `name`, which may be one of several `blocks` in one stored tensor.
    pub(crate) fn load(
        parameters: &Parameters<B>,
        name: &str,
        [inputs, outputs]: [usize; 2],
        bias: bool,
        blocks: Option<Blocks>,
    ) -> Result<Self, ModelError> {
        let weight = parameters.matrix(name, [outputs, inputs], blocks)?.transpose();
        let bias = match bias {
            true => Some(parameters.vector(&format!("{name}.bias"), outputs, blocks)?.unsqueeze_dim(0)),
            false => None,
        };
        Ok(Self { weight, bias })
    }

    /// # Shapes
    /// - `x`: `[rows, in]`
    /// - result: `[rows, out]`
    pub(crate) fn forward(&self, x: Tensor<B, 2>) -> Tensor<B, 2> {
        linear(x, &self.weight, self.bias.as_ref())
    }

    /// Pulls cotangents back; nothing of the forward is needed, whatever the rule.
    ///
    /// # Shapes
    /// - `grad`: `[rows, out]`
    /// - result: `[rows, in]`
    pub(crate) fn backward(&self, grad: Tensor<B, 2>) -> Tensor<B, 2> {
        linear(grad, &self.weight.clone().transpose(), None)
    }
}
