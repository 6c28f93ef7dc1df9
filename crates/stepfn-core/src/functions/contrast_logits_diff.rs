//! `contrast_logits_diff`: by how many logits the target beats the contrastive target.
//!
//! | | |
//! |---|---|
//! | value | `z_y − z'_y'` |
//! | unit | logits; in the same context, nats (a log-odds ratio) |
//! | range | (−∞, ∞) |
//! | passes | the contrastive one |
//! | gradient | yes |
//!
//! **When to use it.** The usual target of contrastive attribution: why *she* rather than *he*? Whatever supports both tokens equally
//! cancels, and the gradient does not vanish when the model is certain.
//!
//! **Source.** Yin & Neubig 2022, *Interpreting language models with contrastive explanations*.

use burn::tensor::{Int, Tensor, backend::Backend};
use serde::{Deserialize, Serialize};

use crate::{Join, Named, Needs, Prediction, StepBatch, StepError, StepFunction, StepScore};

/// `z_y − z'_{y'}` of every row.
///
/// # Shapes
/// - `logits`, `contrast_logits`: `[rows, vocab]`
/// - `target_ids`, `contrast_target_ids`: `[rows]`
/// - result: `[rows]`, logits
pub fn contrast_logits_diff<B: Backend>(
    logits: Tensor<B, 2>,
    target_ids: Tensor<B, 1, Int>,
    contrast_logits: Tensor<B, 2>,
    contrast_target_ids: Tensor<B, 1, Int>,
) -> Tensor<B, 1> {
    Prediction::unchecked(logits).logit(target_ids) - Prediction::unchecked(contrast_logits).logit(contrast_target_ids)
}

/// [`contrast_logits_diff()`] as a [`StepFunction`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ContrastLogitsDiff {}

impl Named for ContrastLogitsDiff {
    const NAME: &'static str = "contrast_logits_diff";
    const SUMMARY: &'static str = "logit of the target minus that of the contrastive target, z_y - z'_y'";
    const UNIT: &'static str = "logits";
    const ALSO_CALLED: &'static [&'static str] = &["logit_diff", "logit_difference"];
}

impl StepScore for ContrastLogitsDiff {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn join(&self) -> Join {
        Join::Mean
    }

    fn needs(&self) -> Needs {
        Needs::CONTRAST
    }
}

impl<B: Backend> StepFunction<B> for ContrastLogitsDiff {
    fn score(&self, steps: &StepBatch<B>) -> Result<Tensor<B, 1>, StepError> {
        let contrast = steps.require_contrast(Self::NAME)?;
        Ok(contrast.where_aligned(steps.logit() - contrast.logit()))
    }
}
