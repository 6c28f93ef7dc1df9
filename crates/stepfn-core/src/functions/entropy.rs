//! `entropy`: how uncertain the model was, whatever the target.
//!
//! | | |
//! |---|---|
//! | value | `H = −Σ p_i ln p_i` (0 · ln 0 = 0) |
//! | unit | nats |
//! | range | [0, ln V]; 0 if one token is certain, ln V if all are equally likely |
//! | passes | the scored one |
//! | gradient | yes |
//!
//! **When to use it.** Uncertainty at a step before the next token is known: where a translation could have gone another way, where a
//! generator may hallucinate, which steps a person should review.
//!
//! **Source.** Shannon 1948, *A mathematical theory of communication*.

use burn::tensor::{Tensor, backend::Backend};
use serde::{Deserialize, Serialize};

use crate::{Join, Named, Prediction, StepBatch, StepError, StepFunction, StepScore};

/// `H = −Σ pᵢ ln pᵢ` of every row.
///
/// # Shapes
/// - `logits`: `[rows, vocab]`
/// - result: `[rows]`, nats
pub fn entropy<B: Backend>(logits: Tensor<B, 2>) -> Tensor<B, 1> {
    Prediction::unchecked(logits).entropy()
}

/// [`entropy()`] as a [`StepFunction`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Entropy {}

impl Named for Entropy {
    const NAME: &'static str = "entropy";
    const SUMMARY: &'static str = "entropy of the prediction, -sum p ln p";
    const UNIT: &'static str = "nats";
    const ALSO_CALLED: &'static [&'static str] = &["h", "shannon_entropy"];
}

impl StepScore for Entropy {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn join(&self) -> Join {
        Join::Sum
    }
}

impl<B: Backend> StepFunction<B> for Entropy {
    fn score(&self, steps: &StepBatch<B>) -> Result<Tensor<B, 1>, StepError> {
        Ok(steps.prediction().entropy())
    }
}
