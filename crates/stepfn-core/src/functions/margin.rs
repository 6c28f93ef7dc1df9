//! `margin`: by how much the target beats the best other token, or loses to it.
//!
//! | | |
//! |---|---|
//! | value | `p_y − max over i ≠ y of p_i` |
//! | unit | probability |
//! | range | [−1, 1]; negative where another token was more likely |
//! | passes | the scored one |
//! | gradient | yes (it flows to whichever other token is best) |
//!
//! **When to use it.** Finding close calls, where a small change would have flipped the output: the steps to review, annotate or explain
//! first.
//!
//! **Source.** Scheffer et al. 2001, *Active hidden Markov models for information extraction*.

use burn::tensor::{Int, Tensor, backend::Backend};
use serde::{Deserialize, Serialize};
use stepfn_kernels::competitors::best_other;

use crate::{Join, Named, Prediction, StepBatch, StepError, StepFunction, StepScore};

/// `p_y − maxᵢ≠y pᵢ` of every row.
///
/// # Shapes
/// - `logits`: `[rows, vocab]`, `vocab ≥ 2`
/// - `target_ids`: `[rows]`
/// - result: `[rows]`, in `[−1, 1]`
pub fn margin<B: Backend>(logits: Tensor<B, 2>, target_ids: Tensor<B, 1, Int>) -> Tensor<B, 1> {
    margin_of(&Prediction::unchecked(logits), target_ids)
}

fn margin_of<B: Backend>(prediction: &Prediction<B>, target_ids: Tensor<B, 1, Int>) -> Tensor<B, 1> {
    let best_other = best_other(prediction.logits(), &target_ids.clone().unsqueeze_dim(1));
    let stats = prediction.softmax().stats();
    let log_prob_other = best_other - stats.max.clone() - stats.log_norm.clone();
    prediction.log_prob(target_ids).exp() - log_prob_other.exp().squeeze_dim(1)
}

/// [`margin()`] as a [`StepFunction`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Margin {}

impl Named for Margin {
    const NAME: &'static str = "margin";
    const SUMMARY: &'static str = "probability of the target minus that of the best other token";
    const UNIT: &'static str = "probability";
}

impl StepScore for Margin {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn join(&self) -> Join {
        Join::Mean
    }
}

impl<B: Backend> StepFunction<B> for Margin {
    fn score(&self, steps: &StepBatch<B>) -> Result<Tensor<B, 1>, StepError> {
        Ok(margin_of(steps.prediction(), steps.target_ids()))
    }
}
