//! `crossentropy`: how badly the model predicted the target; its training loss.
//!
//! | | |
//! |---|---|
//! | value | `−ln p_y` |
//! | unit | nats |
//! | range | [0, ∞) |
//! | passes | the scored one |
//! | gradient | yes |
//!
//! **When to use it.** Its sum over a text is the negative log-likelihood, its mean is the loss. `surprisal` is the same number in bits.
//!
//! **Source.** Good 1952, *Rational decisions*; as a loss of softmax outputs, Bridle 1990.

use burn::tensor::{Int, Tensor, backend::Backend};
use serde::{Deserialize, Serialize};

use crate::{Join, Named, Prediction, StepBatch, StepError, StepFunction, StepScore};

/// `−ln p_y` of every row.
///
/// # Shapes
/// - `logits`: `[rows, vocab]`
/// - `target_ids`: `[rows]`
/// - result: `[rows]`, nats
pub fn crossentropy<B: Backend>(logits: Tensor<B, 2>, target_ids: Tensor<B, 1, Int>) -> Tensor<B, 1> {
    Prediction::unchecked(logits).log_prob(target_ids).neg()
}

/// [`crossentropy()`] as a [`StepFunction`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Crossentropy {}

impl Named for Crossentropy {
    const NAME: &'static str = "crossentropy";
    const SUMMARY: &'static str = "cross-entropy of the target, -ln p_y";
    const UNIT: &'static str = "nats";
    const ALSO_CALLED: &'static [&'static str] = &["ce", "nll", "loss", "negative_log_likelihood"];
}

impl StepScore for Crossentropy {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn join(&self) -> Join {
        Join::Sum
    }
}

impl<B: Backend> StepFunction<B> for Crossentropy {
    fn score(&self, steps: &StepBatch<B>) -> Result<Tensor<B, 1>, StepError> {
        Ok(steps.log_prob().neg())
    }

    fn gradient(&self, steps: &StepBatch<B>) -> Option<Tensor<B, 2>> {
        Some(steps.log_prob_gradient(steps.log_prob().ones_like().neg()))
    }
}
