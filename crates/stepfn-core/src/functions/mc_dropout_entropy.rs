//! `mc_dropout_entropy`: how uncertain the model is, including uncertainty about its own weights.
//!
//! | | |
//! |---|---|
//! | value | entropy of `m = (1/n) Σ p_s`, the mean prediction of the noisy passes |
//! | unit | nats |
//! | range | [0, ln V] |
//! | passes | `n_mcd_steps` with dropout on |
//! | gradient | yes |
//!
//! **When to use it.** Total uncertainty: from the text (several continuations are right) plus from the model (it has not seen enough
//! data). Subtract `mc_dropout_mutual_information` to get the first alone.
//!
//! **Source.** Gal 2016, *Uncertainty in deep learning*; for sequences, Malinin & Gales 2021, *Uncertainty estimation in autoregressive
//! structured prediction*.

use burn::tensor::{Tensor, backend::Backend};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::MOST_NOISY_PASSES;
use crate::catalog::parameters;
use crate::{Count, Join, Named, Needs, NoisyPredictions, StepBatch, StepError, StepFunction, StepScore};

/// Entropy of the mean of several predictions.
///
/// # Shapes
/// - `noisy_logits`: `[n, rows, vocab]`
/// - result: `[rows]`, nats
pub fn mc_dropout_entropy<B: Backend>(noisy_logits: Tensor<B, 3>) -> Tensor<B, 1> {
    let noisy = NoisyPredictions::unchecked(noisy_logits);
    noisy.mean_entropy(noisy.n_samples()).squeeze_dim(1)
}

/// [`mc_dropout_entropy()`] as a [`StepFunction`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct McDropoutEntropy {
    /// Number of noisy passes, 1 or more.
    pub n_mcd_steps: usize,
}

impl Default for McDropoutEntropy {
    fn default() -> Self {
        Self { n_mcd_steps: 10 }
    }
}

impl Named for McDropoutEntropy {
    const NAME: &'static str = "mc_dropout_entropy";
    const SUMMARY: &'static str = "entropy of the mean prediction over passes with dropout";
    const UNIT: &'static str = "nats";
    const COUNTS: &'static [Count] = &[Count::new("n_mcd_steps", 1, MOST_NOISY_PASSES)];
}

impl StepScore for McDropoutEntropy {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn parameters(&self) -> Map<String, Value> {
        parameters(self)
    }

    fn join(&self) -> Join {
        Join::Sum
    }

    fn needs(&self) -> Needs {
        Needs::noisy(self.n_mcd_steps)
    }
}

impl<B: Backend> StepFunction<B> for McDropoutEntropy {
    fn score(&self, steps: &StepBatch<B>) -> Result<Tensor<B, 1>, StepError> {
        self.validate()?;
        let noisy = steps.require_noisy(Self::NAME, self.n_mcd_steps)?;
        Ok(noisy.mean_entropy(self.n_mcd_steps).squeeze_dim(1))
    }
}
