//! `contrast_prob_diff`: how much more likely the target is than the contrastive target.
//!
//! | | |
//! |---|---|
//! | value | `p_y − p'_y'`; with `logprob`, `ln p_y − ln p'_y'` |
//! | unit | probability; nats with `logprob` |
//! | range | [−1, 1]; (−∞, ∞) with `logprob` |
//! | passes | the contrastive one |
//! | gradient | yes |
//!
//! **When to use it.** How much a choice mattered: between two words in one context, or for one word in two contexts. Unlike
//! `contrast_logits_diff`, it gives less weight to steps where both were unlikely.
//!
//! **Source.** Yin & Neubig 2022, *Interpreting language models with contrastive explanations*.

use burn::tensor::{Int, Tensor, backend::Backend};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::catalog::parameters;
use crate::{Join, Named, Needs, Prediction, StepBatch, StepError, StepFunction, StepScore};

/// `p_y − p'_{y'}` of every row.
///
/// # Shapes
/// - `logits`, `contrast_logits`: `[rows, vocab]`
/// - `target_ids`, `contrast_target_ids`: `[rows]`
/// - result: `[rows]`, in `[−1, 1]`
pub fn contrast_prob_diff<B: Backend>(
    logits: Tensor<B, 2>,
    target_ids: Tensor<B, 1, Int>,
    contrast_logits: Tensor<B, 2>,
    contrast_target_ids: Tensor<B, 1, Int>,
) -> Tensor<B, 1> {
    let log_prob = Prediction::unchecked(logits).log_prob(target_ids);
    let contrast_log_prob = Prediction::unchecked(contrast_logits).log_prob(contrast_target_ids);
    difference(log_prob, contrast_log_prob, false)
}

fn difference<B: Backend>(log_prob: Tensor<B, 1>, contrast_log_prob: Tensor<B, 1>, logprob: bool) -> Tensor<B, 1> {
    if logprob { log_prob - contrast_log_prob } else { log_prob.exp() - contrast_log_prob.exp() }
}

/// [`contrast_prob_diff()`] as a [`StepFunction`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ContrastProbDiff {
    /// Return the difference of the logarithms instead.
    pub logprob: bool,
}

impl Named for ContrastProbDiff {
    const NAME: &'static str = "contrast_prob_diff";
    const SUMMARY: &'static str = "probability of the target minus that of the contrastive target, p_y - p'_y'";
    const UNIT: &'static str = "probability";
    const ALSO_CALLED: &'static [&'static str] = &["prob_diff"];
}

impl StepScore for ContrastProbDiff {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn parameters(&self) -> Map<String, Value> {
        parameters(self)
    }

    fn join(&self) -> Join {
        if self.logprob { Join::Sum } else { Join::Mean }
    }

    fn needs(&self) -> Needs {
        Needs::CONTRAST
    }
}

impl<B: Backend> StepFunction<B> for ContrastProbDiff {
    fn score(&self, steps: &StepBatch<B>) -> Result<Tensor<B, 1>, StepError> {
        let contrast = steps.require_contrast(Self::NAME)?;
        Ok(contrast.where_aligned(difference(steps.log_prob(), contrast.log_prob(), self.logprob)))
    }
}
