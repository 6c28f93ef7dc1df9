//! Normalization of hidden states: LayerNorm (Ba et al. 2016) and RMSNorm (Zhang & Sennrich 2019).

use burn::tensor::{DType, Tensor, backend::Backend};

use crate::ModelError;
use crate::config::{NormConfig, NormKind};
use crate::parameters::Parameters;

/// `(x − mean) / √(var + ε) · weight + bias`, or `x / √(mean x² + ε) · weight`.
#[derive(Debug, Clone)]
pub(crate) struct Norm<B: Backend> {
    weight: Tensor<B, 2>,
    /// LayerNorm's; RMSNorm has none.
    bias: Option<Tensor<B, 2>>,
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
        let weight = vector("weight")?;
        let (weight, bias) = match config.kind {
            NormKind::LayerNorm => (weight, Some(vector("bias")?)),
            NormKind::RmsNorm => (weight, None),
            NormKind::RmsNormPlusOne => (weight.add_scalar(1), None),
        };
        Ok(Self { weight, bias, epsilon: config.epsilon })
    }

    /// # Shapes
    /// - `x`, result: `[rows, size]`
    pub(crate) fn forward(&self, x: Tensor<B, 2>) -> Tensor<B, 2> {
        // Squares overflow half precision, and sums lose digits there.
        let dtype = x.dtype();
        let half = matches!(dtype, DType::F16 | DType::BF16);
        let x = if half { x.cast(DType::F32) } else { x };
        let centered = match self.bias {
            Some(_) => x.clone() - x.mean_dim(1),
            None => x,
        };
        let variance = centered.clone().powi_scalar(2).mean_dim(1);
        let normalized = centered / variance.add_scalar(self.epsilon).sqrt();
        let normalized = if half { normalized.cast(dtype) } else { normalized } * self.weight.clone();
        match &self.bias {
            Some(bias) => normalized + bias.clone(),
            None => normalized,
        }
    }
}
