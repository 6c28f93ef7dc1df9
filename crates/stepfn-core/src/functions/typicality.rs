//! `typicality`: how far the information of the target is from what the model expected to convey.
//!
//! | | |
//! |---|---|
//! | value | `abs(−ln p_y − H)`, H the entropy of the prediction |
//! | unit | nats |
//! | range | [0, ∞); 0 is perfectly typical |
//! | passes | the scored one |
//! | gradient | yes, except at 0 |
//!
//! **When to use it.** Judging text as a reader would: people tend to choose words whose information is close to what is expected, neither
//! dull nor startling. Locally typical sampling keeps the tokens with the lowest value.
//!
//! **Source.** Meister et al. 2023, *Locally typical sampling*.

use burn::tensor::{Int, Tensor, backend::Backend};
use serde::{Deserialize, Serialize};

use crate::{Join, Named, Prediction, StepBatch, StepError, StepFunction, StepScore};

/// `|−ln p_y − H|` of every row.
///
/// # Shapes
/// - `logits`: `[rows, vocab]`
/// - `target_ids`: `[rows]`
/// - result: `[rows]`, nats
pub fn typicality<B: Backend>(logits: Tensor<B, 2>, target_ids: Tensor<B, 1, Int>) -> Tensor<B, 1> {
    let prediction = Prediction::unchecked(logits);
    // The entropy first: its pass also yields what the log-probability needs.
    (prediction.entropy() + prediction.log_prob(target_ids)).abs()
}

/// [`typicality()`] as a [`StepFunction`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Typicality {}

impl Named for Typicality {
    const NAME: &'static str = "typicality";
    const SUMMARY: &'static str = "distance of the target's information from the entropy, |-ln p_y - H|";
    const UNIT: &'static str = "nats";
}

impl StepScore for Typicality {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn join(&self) -> Join {
        Join::Mean
    }
}

impl<B: Backend> StepFunction<B> for Typicality {
    fn score(&self, steps: &StepBatch<B>) -> Result<Tensor<B, 1>, StepError> {
        Ok((steps.prediction().entropy() + steps.log_prob()).abs())
    }
}
