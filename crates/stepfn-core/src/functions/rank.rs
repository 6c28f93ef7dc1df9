//! `rank`: how many guesses the model would have needed.
//!
//! | | |
//! |---|---|
//! | value | 1 + the number of tokens strictly more likely than the target |
//! | unit | tokens |
//! | range | 1 … V, a whole number; 1 is the most likely token |
//! | passes | the scored one |
//! | gradient | no |
//!
//! **When to use it.** Distinguishing text written by a model from text written by people, whose tokens rank lower; and evaluation that
//! should not depend on calibration.
//!
//! **Source.** Gehrmann et al. 2019, *GLTR: statistical detection and visualization of generated text*.

use burn::tensor::{Int, Tensor, backend::Backend};
use serde::{Deserialize, Serialize};
use stepfn_kernels::competitors::better_tokens;

use crate::{Join, Named, Prediction, StepBatch, StepError, StepFunction, StepScore};

/// The rank of the target in every row: 1 for the most likely token, ties in its favour. Not differentiable.
///
/// # Shapes
/// - `logits`: `[rows, vocab]`
/// - `target_ids`: `[rows]`
/// - result: `[rows]`, whole numbers
pub fn rank<B: Backend>(logits: Tensor<B, 2>, target_ids: Tensor<B, 1, Int>) -> Tensor<B, 1> {
    rank_of(&Prediction::unchecked(logits), target_ids)
}

fn rank_of<B: Backend>(prediction: &Prediction<B>, target_ids: Tensor<B, 1, Int>) -> Tensor<B, 1> {
    let target_logits = prediction.logit(target_ids).unsqueeze_dim(1);
    better_tokens(prediction.logits(), &target_logits).squeeze_dim::<1>(1).add_scalar(1)
}

/// [`rank()`] as a [`StepFunction`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rank {}

impl Named for Rank {
    const NAME: &'static str = "rank";
    const SUMMARY: &'static str = "rank of the target, 1 for the most likely token";
    const UNIT: &'static str = "tokens";
}

impl StepScore for Rank {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn join(&self) -> Join {
        Join::Mean
    }

    fn is_differentiable(&self) -> bool {
        false
    }
}

impl<B: Backend> StepFunction<B> for Rank {
    fn score(&self, steps: &StepBatch<B>) -> Result<Tensor<B, 1>, StepError> {
        Ok(rank_of(steps.prediction(), steps.target_ids()))
    }
}
