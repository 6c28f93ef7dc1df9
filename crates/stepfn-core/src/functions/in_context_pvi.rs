//! `in_context_pvi`: in-context pointwise V-usable information, the nats that the contrastive context adds to the prediction.
//!
//! | | |
//! |---|---|
//! | value | `−ln p_y + ln p'_y'` |
//! | unit | nats |
//! | range | (−∞, ∞); positive if the contrastive context makes its target more likely |
//! | passes | the contrastive one |
//! | gradient | yes |
//!
//! **When to use it.** How much the examples in a prompt help with one instance: score it without them, with a contrast that has them. Hard
//! instances gain little. It is `pcxmi` in nats.
//!
//! **Source.** Lu et al. 2023, *Measuring pointwise V-usable information in-context-ly*; Ethayarajh et al. 2022, *Understanding dataset
//! difficulty with V-usable information*.

use burn::tensor::{Int, Tensor, backend::Backend};
use serde::{Deserialize, Serialize};

use crate::{Join, Named, Needs, Prediction, StepBatch, StepError, StepFunction, StepScore};

/// `−ln p_y + ln p'_{y'}` of every row.
///
/// # Shapes
/// - `logits`, `contrast_logits`: `[rows, vocab]`
/// - `target_ids`, `contrast_target_ids`: `[rows]`
/// - result: `[rows]`, nats
pub fn in_context_pvi<B: Backend>(
    logits: Tensor<B, 2>,
    target_ids: Tensor<B, 1, Int>,
    contrast_logits: Tensor<B, 2>,
    contrast_target_ids: Tensor<B, 1, Int>,
) -> Tensor<B, 1> {
    let log_prob = Prediction::unchecked(logits).log_prob(target_ids);
    gained(log_prob, Prediction::unchecked(contrast_logits).log_prob(contrast_target_ids))
}

fn gained<B: Backend>(log_prob: Tensor<B, 1>, contrast_log_prob: Tensor<B, 1>) -> Tensor<B, 1> {
    contrast_log_prob - log_prob
}

/// [`in_context_pvi()`] as a [`StepFunction`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InContextPvi {}

impl Named for InContextPvi {
    const NAME: &'static str = "in_context_pvi";
    const SUMMARY: &'static str = "in-context pointwise V-usable information, -ln p_y + ln p'_y'";
    const UNIT: &'static str = "nats";
    const ALSO_CALLED: &'static [&'static str] = &["pvi"];
}

impl StepScore for InContextPvi {
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

impl<B: Backend> StepFunction<B> for InContextPvi {
    fn score(&self, steps: &StepBatch<B>) -> Result<Tensor<B, 1>, StepError> {
        let contrast = steps.require_contrast(Self::NAME)?;
        Ok(contrast.where_aligned(gained(steps.log_prob(), contrast.log_prob())))
    }
}
