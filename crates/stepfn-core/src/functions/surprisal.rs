//! `surprisal`: the information that the target carries, in bits.
//!
//! | | |
//! |---|---|
//! | value | `−log2 p_y` |
//! | unit | bits |
//! | range | [0, ∞) |
//! | passes | the scored one |
//! | gradient | yes |
//!
//! **When to use it.** Predicting reading times and other measures of human processing effort; it is the standard predictor for these. The
//! surprisals of a word's tokens add up to the surprisal of the word.
//!
//! **Source.** Hale 2001, *A probabilistic Earley parser as a psycholinguistic model*; Levy 2008, *Expectation-based syntactic
//! comprehension*.

use core::f64::consts::LN_2;

use burn::tensor::{Int, Tensor, backend::Backend};
use serde::{Deserialize, Serialize};

use crate::{Join, Named, Prediction, StepBatch, StepError, StepFunction, StepScore};

/// `−log₂ p_y` of every row.
///
/// # Shapes
/// - `logits`: `[rows, vocab]`
/// - `target_ids`: `[rows]`
/// - result: `[rows]`, bits
pub fn surprisal<B: Backend>(logits: Tensor<B, 2>, target_ids: Tensor<B, 1, Int>) -> Tensor<B, 1> {
    Prediction::unchecked(logits).log_prob(target_ids).div_scalar(-LN_2)
}

/// [`surprisal()`] as a [`StepFunction`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Surprisal {}

impl Named for Surprisal {
    const NAME: &'static str = "surprisal";
    const SUMMARY: &'static str = "surprisal of the target, -log2 p_y";
    const UNIT: &'static str = "bits";
    const ALSO_CALLED: &'static [&'static str] = &["information", "self_information"];
}

impl StepScore for Surprisal {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn join(&self) -> Join {
        Join::Sum
    }
}

impl<B: Backend> StepFunction<B> for Surprisal {
    fn score(&self, steps: &StepBatch<B>) -> Result<Tensor<B, 1>, StepError> {
        Ok(steps.log_prob().div_scalar(-LN_2))
    }

    fn gradient(&self, steps: &StepBatch<B>) -> Option<Tensor<B, 2>> {
        Some(steps.log_prob_gradient(steps.log_prob().ones_like().div_scalar(-LN_2)))
    }
}
