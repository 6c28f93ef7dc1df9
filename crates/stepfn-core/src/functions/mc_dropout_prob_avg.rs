//! `mc_dropout_prob_avg`: the probability of the target over several passes with dropout on.
//!
//! | | |
//! |---|---|
//! | value | with `q_s = p_y` in noisy pass s (`ln p_y` with `logprob`): `mean q`, or another `statistic` |
//! | unit | probability (nats with `logprob`); standard deviations for `zscore` |
//! | range | [0, 1] for `mean`; (−∞, ∞) for `zscore`; [0, ∞) for `std` and `var` |
//! | passes | `n_mcd_steps` with dropout on |
//! | gradient | yes |
//!
//! `statistic` is one of `mean`; `zscore`, `(p_y − mean q) / std q`; `std` and `var`, with Bessel's n − 1.
//!
//! **When to use it.** A probability that accounts for model uncertainty: averaging over dropout masks approximates averaging over the
//! models that fit the training data. `zscore` shows how unusual the noise-free probability is among the noisy ones.
//!
//! **Compatibility.** inseq 0.7.1 returns `statistic = "zscore"` under this name.
//!
//! **Source.** Gal & Ghahramani 2016, *Dropout as a Bayesian approximation*; for translation, Fomicheva et al. 2020, *Unsupervised
//! quality estimation for neural machine translation*.

use burn::tensor::{Tensor, backend::Backend};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::MOST_NOISY_PASSES;
use crate::catalog::parameters;
use crate::{Count, Join, Named, Needs, ParameterError, StepBatch, StepError, StepFunction, StepScore};

/// A statistic of the target's probability over noisy passes; see [`mc_dropout_prob_avg()`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum NoisyStatistic {
    /// The mean of the noisy values.
    #[default]
    Mean,
    /// How many standard deviations the noise-free value lies above the mean.
    Zscore,
    /// Their standard deviation, with n − 1.
    Std,
    /// Their variance, with n − 1.
    Var,
}

/// `statistic` over the noisy passes, where `value` is the noise-free one.
///
/// # Shapes
/// - `value`: `[rows]`, `p_y` or `ln p_y`
/// - `noisy_values`: `[n, rows]`, the same for every noisy pass; `n ≥ 2` unless `statistic` is the mean
/// - result: `[rows]`
pub fn mc_dropout_prob_avg<B: Backend>(
    value: Tensor<B, 1>,
    noisy_values: Tensor<B, 2>,
    statistic: NoisyStatistic,
) -> Tensor<B, 1> {
    let mean = |noisy: Tensor<B, 2>| noisy.mean_dim(0).squeeze_dim::<1>(0);
    let variance = |noisy: Tensor<B, 2>| noisy.var(0).squeeze_dim::<1>(0);
    // The square root has no slope at 0, where all passes agree. Clamping just above 0 makes the slope 0.
    let std = |noisy: Tensor<B, 2>| variance(noisy).clamp_min(1e-30).sqrt();
    match statistic {
        NoisyStatistic::Mean => mean(noisy_values),
        NoisyStatistic::Zscore => (value - mean(noisy_values.clone())) / std(noisy_values),
        NoisyStatistic::Std => std(noisy_values),
        NoisyStatistic::Var => variance(noisy_values),
    }
}

/// [`mc_dropout_prob_avg()`] as a [`StepFunction`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct McDropoutProbAvg {
    /// Number of noisy passes: 1 or more for `mean`, 2 or more otherwise.
    pub n_mcd_steps: usize,
    /// Use log-probabilities.
    pub logprob: bool,
    /// What to return.
    pub statistic: NoisyStatistic,
}

impl Default for McDropoutProbAvg {
    fn default() -> Self {
        Self { n_mcd_steps: 10, logprob: false, statistic: NoisyStatistic::Mean }
    }
}

impl McDropoutProbAvg {
    fn zscore<B: Backend>(
        &self,
        log_prob: Tensor<B, 1>,
        noisy_log_prob: Tensor<B, 2>,
    ) -> Result<Tensor<B, 1>, StepError> {
        let (value, noisy_values) = if self.logprob {
            (log_prob, noisy_log_prob)
        } else {
            // A z-score does not depend on the scale. Scaling by the largest noisy probability keeps squares of small ones from
            // underflowing.
            let scale = noisy_log_prob.clone().detach().max_dim(0);
            ((log_prob - scale.clone().squeeze_dim(0)).exp(), (noisy_log_prob - scale).exp())
        };
        let equal = noisy_values.clone().min_dim(0).equal(noisy_values.clone().max_dim(0)).into_data();
        if let Some(row) = equal.iter::<bool>().position(|equal| equal) {
            return Err(StepError::NoSpread { function: Self::NAME.to_owned(), row, n: self.n_mcd_steps });
        }
        Ok(mc_dropout_prob_avg(value, noisy_values, NoisyStatistic::Zscore))
    }
}

impl Named for McDropoutProbAvg {
    const NAME: &'static str = "mc_dropout_prob_avg";
    const SUMMARY: &'static str = "probability of the target over passes with dropout: mean, z-score, std or var";
    const UNIT: &'static str = "probability";
    const ALSO_CALLED: &'static [&'static str] = &["mcd", "mc_dropout"];
    const COUNTS: &'static [Count] = &[Count::new("n_mcd_steps", 1, MOST_NOISY_PASSES)];

    fn validate(&self) -> Result<(), ParameterError> {
        self.check_counts()?;
        match self.statistic {
            NoisyStatistic::Mean => Ok(()),
            _ if self.n_mcd_steps > 1 => Ok(()),
            _ => Err(Self::out_of_range("n_mcd_steps", "2 or greater, for a spread", self.n_mcd_steps)),
        }
    }
}

impl StepScore for McDropoutProbAvg {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn parameters(&self) -> Map<String, Value> {
        parameters(self)
    }

    fn join(&self) -> Join {
        match (self.statistic, self.logprob) {
            (NoisyStatistic::Mean, true) => Join::Sum,
            (NoisyStatistic::Mean, false) => Join::Product,
            _ => Join::Mean,
        }
    }

    fn needs(&self) -> Needs {
        Needs::noisy(self.n_mcd_steps)
    }
}

impl<B: Backend> StepFunction<B> for McDropoutProbAvg {
    fn score(&self, steps: &StepBatch<B>) -> Result<Tensor<B, 1>, StepError> {
        self.validate()?;
        let noisy = steps.require_noisy(Self::NAME, self.n_mcd_steps)?;
        let log_prob = steps.log_prob();
        let noisy_log_prob = noisy.log_prob(steps.target_ids(), self.n_mcd_steps);
        if self.statistic == NoisyStatistic::Zscore {
            return self.zscore(log_prob, noisy_log_prob);
        }
        let (value, noisy_values) =
            if self.logprob { (log_prob, noisy_log_prob) } else { (log_prob.exp(), noisy_log_prob.exp()) };
        Ok(mc_dropout_prob_avg(value, noisy_values, self.statistic))
    }
}
