//! `renyi_entropy`: uncertainty that gives likely tokens more weight (α > 1) or less (α < 1) than entropy does.
//!
//! | | |
//! |---|---|
//! | value | `ln(Σ p_i^α) / (1 − α)`; at α = 1 the (Shannon) entropy |
//! | unit | nats |
//! | range | [0, ln V], decreasing in α; ln V at α = 0, `−ln max p` as α → ∞ |
//! | passes | the scored one |
//! | gradient | yes |
//!
//! **When to use it.** When the long tail of the vocabulary drowns out what matters: at α = 2 (collision entropy) a thousand tokens of
//! probability 1e-6 count for nothing; below 1 they count more.
//!
//! **Source.** Rényi 1961, *On measures of entropy and information*.

use burn::tensor::{Tensor, backend::Backend};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use stepfn_kernels::power_sum::log_power_sum;

use crate::catalog::parameters;
use crate::{Join, Named, ParameterError, Prediction, StepBatch, StepError, StepFunction, StepScore};

/// Within this distance of 1, `ln Σ pᵅ / (1 − α)` is 0 / 0 in single precision, and its limit is more accurate.
const SHANNON: f64 = 1e-4;

/// Beyond this order only the most likely token counts.
const LARGEST: f64 = 1e6;

/// `ln(Σ pᵢᵅ) / (1 − α)` of every row.
///
/// # Shapes
/// - `logits`: `[rows, vocab]`
/// - `alpha`: in `[0, 1e6]`
/// - result: `[rows]`, nats
pub fn renyi_entropy<B: Backend>(logits: Tensor<B, 2>, alpha: f64) -> Tensor<B, 1> {
    renyi_entropy_of(&Prediction::unchecked(logits), alpha)
}

fn renyi_entropy_of<B: Backend>(prediction: &Prediction<B>, alpha: f64) -> Tensor<B, 1> {
    if (alpha - 1.0).abs() < SHANNON {
        return prediction.entropy();
    }
    let log_power_sum = log_power_sum(prediction.softmax(), alpha);
    log_power_sum.squeeze_dim::<1>(1).div_scalar(1.0 - alpha)
}

/// [`renyi_entropy()`] as a [`StepFunction`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RenyiEntropy {
    /// The order α, in `[0, 1e6]`.
    pub alpha: f64,
}

impl Default for RenyiEntropy {
    fn default() -> Self {
        Self { alpha: 2.0 }
    }
}

impl Named for RenyiEntropy {
    const NAME: &'static str = "renyi_entropy";
    const SUMMARY: &'static str = "Rényi entropy of order alpha, ln(sum p^alpha) / (1 - alpha)";
    const UNIT: &'static str = "nats";
    const ALSO_CALLED: &'static [&'static str] = &["renyi"];

    fn validate(&self) -> Result<(), ParameterError> {
        if (0.0..=LARGEST).contains(&self.alpha) {
            Ok(())
        } else {
            Err(Self::out_of_range("alpha", "a number in [0, 1e6]", self.alpha))
        }
    }
}

impl StepScore for RenyiEntropy {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn parameters(&self) -> Map<String, Value> {
        parameters(self)
    }

    fn join(&self) -> Join {
        Join::Sum
    }
}

impl<B: Backend> StepFunction<B> for RenyiEntropy {
    fn score(&self, steps: &StepBatch<B>) -> Result<Tensor<B, 1>, StepError> {
        self.validate()?;
        Ok(renyi_entropy_of(steps.prediction(), self.alpha))
    }
}
