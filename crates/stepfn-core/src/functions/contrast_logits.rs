//! `contrast_logits`: the logit of the contrastive target in the contrastive context.
//!
//! | | |
//! |---|---|
//! | value | `z'_y'`; without a contrast, `z_y` |
//! | unit | logits (nats up to a constant of the step) |
//! | range | (−∞, ∞) |
//! | passes | the contrastive one, if given |
//! | gradient | yes |
//!
//! **When to use it.** What else the model could have said, and how strongly it leaned towards it. As an attribution target, it shows which
//! input tokens support the alternative.
//!
//! **Source.** Yin & Neubig 2022, *Interpreting language models with contrastive explanations*.

use burn::tensor::{Int, Tensor, backend::Backend};
use serde::{Deserialize, Serialize};

use crate::{Join, Named, Needs, Prediction, StepBatch, StepError, StepFunction, StepScore};

/// `z'_{y'}` of every row.
///
/// # Shapes
/// - `contrast_logits`: `[rows, vocab]`
/// - `contrast_target_ids`: `[rows]`
/// - result: `[rows]`, logits
pub fn contrast_logits<B: Backend>(
    contrast_logits: Tensor<B, 2>,
    contrast_target_ids: Tensor<B, 1, Int>,
) -> Tensor<B, 1> {
    Prediction::unchecked(contrast_logits).logit(contrast_target_ids)
}

/// [`contrast_logits()`] as a [`StepFunction`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ContrastLogits {}

impl Named for ContrastLogits {
    const NAME: &'static str = "contrast_logits";
    const SUMMARY: &'static str = "logit of the contrastive target, z'_y'";
    const UNIT: &'static str = "logits";
}

impl StepScore for ContrastLogits {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn join(&self) -> Join {
        Join::Mean
    }

    fn needs(&self) -> Needs {
        Needs::CONTRAST_IF_GIVEN
    }
}

impl<B: Backend> StepFunction<B> for ContrastLogits {
    fn score(&self, steps: &StepBatch<B>) -> Result<Tensor<B, 1>, StepError> {
        Ok(match steps.contrast() {
            Some(contrast) => contrast.where_aligned(contrast.logit()),
            None => steps.logit(),
        })
    }
}
