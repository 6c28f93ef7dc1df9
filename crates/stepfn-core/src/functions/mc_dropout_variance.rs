//! `mc_dropout_variance`: how much the probability of the target varies between dropout masks.
//!
//! | | |
//! |---|---|
//! | value | variance of `p_y` over the noisy passes, with Bessel's n − 1 |
//! | unit | probability squared |
//! | range | [0, ½] (n = 2 reaches the bound; it falls to ¼ as n grows) |
//! | passes | `n_mcd_steps` with dropout on |
//! | gradient | yes |
//!
//! **When to use it.** The simplest measure of model uncertainty about this token; `mc_dropout_mutual_information` covers the whole
//! prediction.
//!
//! **Source.** Gal & Ghahramani 2016, *Dropout as a Bayesian approximation*.

use burn::tensor::{Tensor, backend::Backend};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::SPREAD_PASSES;
use crate::catalog::parameters;
use crate::{Count, Join, Named, Needs, StepBatch, StepError, StepFunction, StepScore};

/// Variance of the noisy probabilities of the target, with n − 1.
///
/// # Shapes
/// - `noisy_probs`: `[n, rows]`, `p_y` of every noisy pass, `n ≥ 2`
/// - result: `[rows]`
pub fn mc_dropout_variance<B: Backend>(noisy_probs: Tensor<B, 2>) -> Tensor<B, 1> {
    noisy_probs.var(0).squeeze_dim(0)
}

/// [`mc_dropout_variance()`] as a [`StepFunction`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct McDropoutVariance {
    /// Number of noisy passes, 2 or more.
    pub n_mcd_steps: usize,
}

impl Default for McDropoutVariance {
    fn default() -> Self {
        Self { n_mcd_steps: 10 }
    }
}

impl Named for McDropoutVariance {
    const NAME: &'static str = "mc_dropout_variance";
    const SUMMARY: &'static str = "variance of the target's probability over passes with dropout";
    const UNIT: &'static str = "probability squared";
    const COUNTS: &'static [Count] = &[SPREAD_PASSES];
}

impl StepScore for McDropoutVariance {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn parameters(&self) -> Map<String, Value> {
        parameters(self)
    }

    fn join(&self) -> Join {
        Join::Mean
    }

    fn needs(&self) -> Needs {
        Needs::noisy(self.n_mcd_steps)
    }
}

impl<B: Backend> StepFunction<B> for McDropoutVariance {
    fn score(&self, steps: &StepBatch<B>) -> Result<Tensor<B, 1>, StepError> {
        self.validate()?;
        let noisy = steps.require_noisy(Self::NAME, self.n_mcd_steps)?;
        Ok(mc_dropout_variance(noisy.log_prob(steps.target_ids(), self.n_mcd_steps).exp()))
    }
}
