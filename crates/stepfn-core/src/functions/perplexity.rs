//! `perplexity`: how many equally likely tokens would be as hard to choose from.
//!
//! | | |
//! |---|---|
//! | value | `exp(−ln p_y) = 1 / p_y`; with `compat = "inseq"`, `2^(−ln p_y)` |
//! | unit | tokens |
//! | range | [1, ∞) |
//! | passes | the scored one |
//! | gradient | yes |
//!
//! **When to use it.** Reporting to people: 100 means "as confused as if it had to pick between 100 words". The perplexity of a text is
//! `exp` of its mean cross-entropy, not the mean of these values.
//!
//! **Compatibility.** inseq 0.7.1 raises 2 to a cross-entropy in nats, which mixes two bases; `compat = "inseq"` reproduces that number.
//!
//! **Source.** Jelinek et al. 1977, *Perplexity—a measure of the difficulty of speech recognition tasks*.

use core::f64::consts::LN_2;

use burn::tensor::{Int, Tensor, backend::Backend};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::catalog::parameters;
use crate::{Join, Named, Prediction, StepBatch, StepError, StepFunction, StepScore};

/// `1 / p_y` of every row.
///
/// # Shapes
/// - `logits`: `[rows, vocab]`
/// - `target_ids`: `[rows]`
/// - result: `[rows]`, tokens; ∞ if `1 / p_y` overflows the element type
pub fn perplexity<B: Backend>(logits: Tensor<B, 2>, target_ids: Tensor<B, 1, Int>) -> Tensor<B, 1> {
    Prediction::unchecked(logits).log_prob(target_ids).neg().exp()
}

/// [`perplexity()`] as a [`StepFunction`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Perplexity {
    /// Which definition to follow.
    pub compat: PerplexityCompat,
}

/// The definition of perplexity to follow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PerplexityCompat {
    /// `exp(−ln p_y)`.
    #[default]
    Standard,
    /// `2^(−ln p_y)`, as inseq 0.7.1 computes it.
    Inseq,
}

impl Named for Perplexity {
    const NAME: &'static str = "perplexity";
    const SUMMARY: &'static str = "perplexity of the target, 1 / p_y";
    const UNIT: &'static str = "tokens";
    const ALSO_CALLED: &'static [&'static str] = &["ppl"];
}

impl StepScore for Perplexity {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn parameters(&self) -> Map<String, Value> {
        parameters(self)
    }

    fn join(&self) -> Join {
        Join::Product
    }
}

impl<B: Backend> StepFunction<B> for Perplexity {
    fn score(&self, steps: &StepBatch<B>) -> Result<Tensor<B, 1>, StepError> {
        let crossentropy = steps.log_prob().neg();
        Ok(match self.compat {
            PerplexityCompat::Standard => crossentropy.exp(),
            PerplexityCompat::Inseq => crossentropy.mul_scalar(LN_2).exp(),
        })
    }
}
