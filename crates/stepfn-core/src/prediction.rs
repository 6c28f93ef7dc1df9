//! Predictions of a number of steps, with the statistics that step functions share.

use burn::tensor::{DType, Int, Tensor, backend::Backend};
use stepfn_kernels::softmax::Softmax;

use crate::{PassKind, StepError};

/// Logits, one row per step, and what is computed from them; each statistic is computed once, on first use.
///
/// Half-precision logits are widened to `f32`, and so are results: 11 bits are too few for a sum over a vocabulary.
#[derive(Debug)]
pub struct Prediction<B: Backend> {
    softmax: Softmax<B>,
}

impl<B: Backend> Prediction<B> {
    /// A prediction from unchecked logits. A row with NaN or ±∞ gets NaN as its score, except for functions that count (ranks), where the
    /// result is meaningless.
    ///
    /// # Shapes
    /// - `logits`: `[rows, vocab]`
    pub fn unchecked(logits: Tensor<B, 2>) -> Self {
        Self { softmax: Softmax::unchecked(widened(logits)) }
    }

    /// A prediction from finite logits.
    ///
    /// # Shapes
    /// - `logits`: `[rows, vocab]`, `rows ≥ 1`, `vocab ≥ 2`
    ///
    /// # Errors
    /// [`StepError::Empty`], [`StepError::ElementType`], or [`StepError::NonFinite`] with the first row that contains NaN or ±∞.
    pub fn new(logits: Tensor<B, 2>, pass: PassKind) -> Result<Self, StepError> {
        let [rows, vocab] = logits.dims();
        if rows == 0 || vocab < 2 {
            return Err(StepError::Empty { rows, vocab });
        }
        let dtype = logits.dtype();
        if !matches!(dtype, DType::F64 | DType::F32 | DType::Flex32 | DType::F16 | DType::BF16) {
            return Err(StepError::ElementType(dtype));
        }
        match Softmax::checked(widened(logits)) {
            Ok(softmax) => Ok(Self { softmax }),
            Err(non_finite) => Err(StepError::NonFinite { pass, row: non_finite.row }),
        }
    }

    /// The given rows, in the given order, keeping statistics already computed.
    pub(crate) fn select(&self, indices: &Tensor<B, 1, Int>) -> Self {
        Self { softmax: self.softmax.select(indices) }
    }

    /// Number of steps.
    pub fn rows(&self) -> usize {
        self.logits().dims()[0]
    }

    /// Number of tokens in the vocabulary.
    pub fn vocab(&self) -> usize {
        self.logits().dims()[1]
    }

    /// The logits `z`, `[rows, vocab]`, in `f32` or `f64`.
    pub fn logits(&self) -> &Tensor<B, 2> {
        self.softmax.logits()
    }

    /// The logits and the statistics of their softmax, for functions that need more than the methods below.
    pub fn softmax(&self) -> &Softmax<B> {
        &self.softmax
    }

    /// `z_y`.
    ///
    /// # Shapes
    /// - `target_ids`: `[rows]`
    /// - result: `[rows]`
    pub fn logit(&self, target_ids: Tensor<B, 1, Int>) -> Tensor<B, 1> {
        self.logits().clone().gather(1, target_ids.unsqueeze_dim(1)).squeeze_dim(1)
    }

    /// `ln p_y`, in nats.
    ///
    /// # Shapes
    /// - `target_ids`: `[rows]`
    /// - result: `[rows]`
    pub fn log_prob(&self, target_ids: Tensor<B, 1, Int>) -> Tensor<B, 1> {
        let stats = self.softmax.stats();
        self.logit(target_ids) - stats.max.clone().squeeze_dim(1) - stats.log_norm.clone().squeeze_dim(1)
    }

    /// `H = −Σ pᵢ ln pᵢ`, in nats, `[rows]`.
    pub fn entropy(&self) -> Tensor<B, 1> {
        self.softmax.entropy().clone().squeeze_dim(1)
    }
}

/// Widens half-precision logits to single precision.
fn widened<B: Backend>(logits: Tensor<B, 2>) -> Tensor<B, 2> {
    match logits.dtype() {
        DType::F32 | DType::F64 => logits,
        _ => logits.cast(DType::F32),
    }
}
