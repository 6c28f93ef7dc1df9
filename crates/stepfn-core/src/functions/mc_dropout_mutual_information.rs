//! `mc_dropout_mutual_information`: how much the predictions under different dropout masks disagree (BALD).
//!
//! | | |
//! |---|---|
//! | value | entropy of the mean noisy prediction − mean of the entropies of the noisy predictions |
//! | unit | nats |
//! | range | [0, ln n]; 0 if all passes agree |
//! | passes | `n_mcd_steps` with dropout on |
//! | gradient | yes |
//!
//! **When to use it.** What the model does not know, separate from what can't be known: large on text unlike its training data, small if
//! several continuations are simply all right. Use it to choose what to label next, and to detect out-of-domain input.
//!
//! **Source.** Houlsby et al. 2011, *Bayesian active learning for classification and preference learning*; for sequences, Malinin &
//! Gales 2021, *Uncertainty estimation in autoregressive structured prediction*.

use burn::tensor::{Tensor, backend::Backend};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::SPREAD_PASSES;
use crate::catalog::parameters;
use crate::{Count, Join, Named, Needs, NoisyPredictions, StepBatch, StepError, StepFunction, StepScore};

/// Entropy of the mean of several predictions minus the mean of their entropies.
///
/// # Shapes
/// - `noisy_logits`: `[n, rows, vocab]`
/// - result: `[rows]`, nats
pub fn mc_dropout_mutual_information<B: Backend>(noisy_logits: Tensor<B, 3>) -> Tensor<B, 1> {
    let noisy = NoisyPredictions::unchecked(noisy_logits);
    noisy.mixture(noisy.n_samples()).mutual_information.squeeze_dim(1)
}

/// [`mc_dropout_mutual_information()`] as a [`StepFunction`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct McDropoutMutualInformation {
    /// Number of noisy passes, 2 or more.
    pub n_mcd_steps: usize,
}

impl Default for McDropoutMutualInformation {
    fn default() -> Self {
        Self { n_mcd_steps: 10 }
    }
}

impl Named for McDropoutMutualInformation {
    const NAME: &'static str = "mc_dropout_mutual_information";
    const SUMMARY: &'static str = "disagreement of the predictions under dropout: H(mean) - mean H (BALD)";
    const UNIT: &'static str = "nats";
    const ALSO_CALLED: &'static [&'static str] = &["bald", "mutual_information"];
    const COUNTS: &'static [Count] = &[SPREAD_PASSES];
}

impl StepScore for McDropoutMutualInformation {
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

impl<B: Backend> StepFunction<B> for McDropoutMutualInformation {
    fn score(&self, steps: &StepBatch<B>) -> Result<Tensor<B, 1>, StepError> {
        self.validate()?;
        let noisy = steps.require_noisy(Self::NAME, self.n_mcd_steps)?;
        Ok(noisy.mixture(self.n_mcd_steps).mutual_information.squeeze_dim(1))
    }
}
