//! `logit`: the raw score of the target, before normalization.
//!
//! | | |
//! |---|---|
//! | value | `z_y` |
//! | unit | logits (nats up to a constant of the step) |
//! | range | (−∞, ∞) |
//! | passes | the scored one |
//! | gradient | yes |
//!
//! **When to use it.** As an attribution target whose gradient does not vanish when the model is certain: a softmax saturated at 1 has no
//! slope, but its logit does. Not for comparing steps, because each step has its own arbitrary zero.
//!
//! **Source.** The output layer itself; as an attribution target, Simonyan et al. 2014, *Deep inside convolutional networks*.

use burn::tensor::{Int, Tensor, backend::Backend};
use serde::{Deserialize, Serialize};

use crate::{Join, Named, Prediction, StepBatch, StepError, StepFunction, StepScore};

/// `z_y` of every row.
///
/// # Shapes
/// - `logits`: `[rows, vocab]`
/// - `target_ids`: `[rows]`
/// - result: `[rows]`, logits
pub fn logit<B: Backend>(logits: Tensor<B, 2>, target_ids: Tensor<B, 1, Int>) -> Tensor<B, 1> {
    Prediction::unchecked(logits).logit(target_ids)
}

/// [`logit()`] as a [`StepFunction`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Logit {}

impl Named for Logit {
    const NAME: &'static str = "logit";
    const SUMMARY: &'static str = "logit of the target, z_y";
    const UNIT: &'static str = "logits";
    const ALSO_CALLED: &'static [&'static str] = &["score"];
}

impl StepScore for Logit {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn join(&self) -> Join {
        Join::Mean
    }
}

impl<B: Backend> StepFunction<B> for Logit {
    fn score(&self, steps: &StepBatch<B>) -> Result<Tensor<B, 1>, StepError> {
        Ok(steps.logit())
    }
}
