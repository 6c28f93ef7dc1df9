//! `pcxmi`: pointwise conditional cross-mutual information, the bits that the contrastive context adds to the prediction.
//!
//! | | |
//! |---|---|
//! | value | `−log2(p_y / p'_y')` |
//! | unit | bits |
//! | range | (−∞, ∞); positive if the contrastive context makes its target more likely |
//! | passes | the contrastive one |
//! | gradient | yes |
//!
//! **When to use it.** Finding words that depend on context: score a sentence without its document, with a contrast inside its document,
//! and look for large values. It is `in_context_pvi` in bits.
//!
//! **Source.** Yin et al. 2021, *Do context-aware translation models pay the right attention?*; Fernandes et al. 2021, *Measuring and
//! increasing context usage in context-aware machine translation*.

use core::f64::consts::LN_2;

use burn::tensor::{Int, Tensor, backend::Backend};
use serde::{Deserialize, Serialize};

use crate::{Join, Named, Needs, Prediction, StepBatch, StepError, StepFunction, StepScore};

/// `−log₂(p_y / p'_{y'})` of every row.
///
/// # Shapes
/// - `logits`, `contrast_logits`: `[rows, vocab]`
/// - `target_ids`, `contrast_target_ids`: `[rows]`
/// - result: `[rows]`, bits
pub fn pcxmi<B: Backend>(
    logits: Tensor<B, 2>,
    target_ids: Tensor<B, 1, Int>,
    contrast_logits: Tensor<B, 2>,
    contrast_target_ids: Tensor<B, 1, Int>,
) -> Tensor<B, 1> {
    let log_prob = Prediction::unchecked(logits).log_prob(target_ids);
    let contrast_log_prob = Prediction::unchecked(contrast_logits).log_prob(contrast_target_ids);
    bits(log_prob, contrast_log_prob)
}

fn bits<B: Backend>(log_prob: Tensor<B, 1>, contrast_log_prob: Tensor<B, 1>) -> Tensor<B, 1> {
    (contrast_log_prob - log_prob).div_scalar(LN_2)
}

/// [`pcxmi()`] as a [`StepFunction`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pcxmi {}

impl Named for Pcxmi {
    const NAME: &'static str = "pcxmi";
    const SUMMARY: &'static str = "pointwise conditional cross-mutual information, -log2(p_y / p'_y')";
    const UNIT: &'static str = "bits";
    const ALSO_CALLED: &'static [&'static str] = &["cxmi"];
}

impl StepScore for Pcxmi {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn join(&self) -> Join {
        Join::Sum
    }

    fn needs(&self) -> Needs {
        Needs::CONTRAST
    }
}

impl<B: Backend> StepFunction<B> for Pcxmi {
    fn score(&self, steps: &StepBatch<B>) -> Result<Tensor<B, 1>, StepError> {
        let contrast = steps.require_contrast(Self::NAME)?;
        Ok(contrast.where_aligned(bits(steps.log_prob(), contrast.log_prob())))
    }
}
