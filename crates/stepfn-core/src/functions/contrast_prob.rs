//! `contrast_prob`: the probability of the contrastive target in the contrastive context.
//!
//! | | |
//! |---|---|
//! | value | `p'_y'`, or its logarithm with `logprob`; without a contrast, `p_y` |
//! | unit | probability; nats with `logprob` |
//! | range | [0, 1]; (−∞, 0] with `logprob` |
//! | passes | the contrastive one, if given |
//! | gradient | yes |
//!
//! **When to use it.** Scoring the same text in another context. If the contrast is a document-level translation, this is its probability
//! under the document-level model.
//!
//! **Source.** Yin & Neubig 2022, *Interpreting language models with contrastive explanations*.

use burn::tensor::{Int, Tensor, backend::Backend};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::catalog::parameters;
use crate::{Join, Named, Needs, Prediction, StepBatch, StepError, StepFunction, StepScore};

/// `p'_{y'}` of every row.
///
/// # Shapes
/// - `contrast_logits`: `[rows, vocab]`
/// - `contrast_target_ids`: `[rows]`
/// - result: `[rows]`, in `[0, 1]`
pub fn contrast_prob<B: Backend>(
    contrast_logits: Tensor<B, 2>,
    contrast_target_ids: Tensor<B, 1, Int>,
) -> Tensor<B, 1> {
    Prediction::unchecked(contrast_logits).log_prob(contrast_target_ids).exp()
}

/// [`contrast_prob()`] as a [`StepFunction`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ContrastProb {
    /// Return `ln p'_{y'}` instead.
    pub logprob: bool,
}

impl Named for ContrastProb {
    const NAME: &'static str = "contrast_prob";
    const SUMMARY: &'static str = "probability of the contrastive target, p'_y' (logprob: its logarithm)";
    const UNIT: &'static str = "probability";
}

impl StepScore for ContrastProb {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn parameters(&self) -> Map<String, Value> {
        parameters(self)
    }

    fn join(&self) -> Join {
        if self.logprob { Join::Sum } else { Join::Product }
    }

    fn needs(&self) -> Needs {
        Needs::CONTRAST_IF_GIVEN
    }
}

impl<B: Backend> StepFunction<B> for ContrastProb {
    fn score(&self, steps: &StepBatch<B>) -> Result<Tensor<B, 1>, StepError> {
        let log_prob = match steps.contrast() {
            Some(contrast) => contrast.where_aligned(contrast.log_prob()),
            None => steps.log_prob(),
        };
        Ok(if self.logprob { log_prob } else { log_prob.exp() })
    }
}
