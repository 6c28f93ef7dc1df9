//! `probability`: how likely the target was under the model.
//!
//! | | |
//! |---|---|
//! | value | `p_y`; with `logprob`, `ln p_y` |
//! | unit | probability; nats with `logprob` |
//! | range | [0, 1]; (−∞, 0] with `logprob` |
//! | passes | the scored one |
//! | gradient | yes |
//!
//! **When to use it.** The default: confidence of single tokens, and the usual attribution target. Multiply probabilities (add
//! their logarithms) for the probability of a span.
//!
//! **Source.** The softmax; Bridle 1990, *Probabilistic interpretation of feedforward classification network outputs*.

use burn::tensor::{Int, Tensor, backend::Backend};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::catalog::parameters;
use crate::{Join, Named, Prediction, StepBatch, StepError, StepFunction, StepScore};

/// `p_y` of every row.
///
/// # Shapes
/// - `logits`: `[rows, vocab]`
/// - `target_ids`: `[rows]`
/// - result: `[rows]`, in `[0, 1]`
pub fn probability<B: Backend>(logits: Tensor<B, 2>, target_ids: Tensor<B, 1, Int>) -> Tensor<B, 1> {
    Prediction::unchecked(logits).log_prob(target_ids).exp()
}

/// [`probability()`] as a [`StepFunction`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Probability {
    /// Return `ln p_y` instead.
    pub logprob: bool,
}

impl Named for Probability {
    const NAME: &'static str = "probability";
    const SUMMARY: &'static str = "probability of the target, p_y (logprob: ln p_y)";
    const UNIT: &'static str = "probability";
    const ALSO_CALLED: &'static [&'static str] = &["p", "prob", "likelihood"];
}

impl StepScore for Probability {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn parameters(&self) -> Map<String, Value> {
        parameters(self)
    }

    fn join(&self) -> Join {
        if self.logprob { Join::Sum } else { Join::Product }
    }
}

impl<B: Backend> StepFunction<B> for Probability {
    fn score(&self, steps: &StepBatch<B>) -> Result<Tensor<B, 1>, StepError> {
        let log_prob = steps.log_prob();
        Ok(if self.logprob { log_prob } else { log_prob.exp() })
    }

    fn gradient(&self, steps: &StepBatch<B>) -> Option<Tensor<B, 2>> {
        let log_prob = steps.log_prob();
        // `dp = p d ln p`
        Some(steps.log_prob_gradient(if self.logprob { log_prob.ones_like() } else { log_prob.exp() }))
    }
}
