//! `kl_divergence`: how much the prediction differs from the contrastive one, over the whole vocabulary.
//!
//! | | |
//! |---|---|
//! | value | `Σ p_i (ln p_i − ln p'_i)` |
//! | unit | nats |
//! | range | [0, ∞); 0 if both predictions are equal |
//! | passes | the contrastive one |
//! | gradient | yes (the set of kept tokens is treated as constant) |
//!
//! With `top_p < 1` or `top_k > 0`, only tokens that are likely under the original prediction are compared: the smallest set that holds
//! `top_p` of its probability, at most `top_k` tokens (0 for no limit) and at least `min_tokens_to_keep`. Both predictions are renormalized
//! over that set. Tokens that tie with the last one are kept too.
//!
//! **When to use it.** Finding steps that depend on context, whatever the target: any shift of the prediction counts. Use the filter if the
//! tail of the vocabulary is noise.
//!
//! **Source.** Kullback & Leibler 1951, *On information and sufficiency*; as a measure of context use, Sarti et al. 2024, *Quantifying
//! the plausibility of context reliance in neural machine translation*.

use burn::tensor::{Tensor, backend::Backend};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use stepfn_kernels::divergence;
use stepfn_kernels::nucleus::{Likely, nucleus};

use super::MOST_TOKENS;
use crate::catalog::parameters;
use crate::{Count, Join, Named, Needs, ParameterError, Prediction, StepBatch, StepError, StepFunction, StepScore};

/// `Σ pᵢ (ln pᵢ − ln p'ᵢ)` of every row, over the tokens that `filter` keeps.
///
/// # Shapes
/// - `logits`, `contrast_logits`: `[rows, vocab]`
/// - `filter`: parameters within their ranges
/// - result: `[rows]`, nats
pub fn kl_divergence<B: Backend>(
    logits: Tensor<B, 2>,
    contrast_logits: Tensor<B, 2>,
    filter: &KlDivergence,
) -> Tensor<B, 1> {
    filter.of(&Prediction::unchecked(logits), &Prediction::unchecked(contrast_logits))
}

/// [`kl_divergence()`] as a [`StepFunction`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KlDivergence {
    /// Compare at most this many tokens; 0 for no limit.
    pub top_k: usize,
    /// Compare the tokens that hold this share of the probability, in `(0, 1]`.
    pub top_p: f64,
    /// Compare at least this many tokens, 1 or more.
    pub min_tokens_to_keep: usize,
}

impl Default for KlDivergence {
    fn default() -> Self {
        Self { top_k: 0, top_p: 1.0, min_tokens_to_keep: 1 }
    }
}

impl KlDivergence {
    fn of<B: Backend>(&self, prediction: &Prediction<B>, contrast: &Prediction<B>) -> Tensor<B, 1> {
        let threshold = (self.top_k > 0 || self.top_p < 1.0).then(|| {
            let top_k = (self.top_k > 0).then_some(self.top_k);
            let likely = Likely { top_p: self.top_p, top_k, min_tokens: self.min_tokens_to_keep };
            nucleus(prediction.softmax(), likely).threshold
        });
        let kl = divergence::kl_divergence(prediction.softmax(), contrast.softmax(), threshold.as_ref());
        kl.squeeze_dim(1)
    }
}

impl Named for KlDivergence {
    const NAME: &'static str = "kl_divergence";
    const SUMMARY: &'static str = "Kullback-Leibler divergence of the prediction from the contrastive one";
    const UNIT: &'static str = "nats";
    const ALSO_CALLED: &'static [&'static str] = &["kl", "kld", "relative_entropy"];
    const COUNTS: &'static [Count] =
        &[Count::new("top_k", 0, MOST_TOKENS), Count::new("min_tokens_to_keep", 1, MOST_TOKENS)];

    fn validate(&self) -> Result<(), ParameterError> {
        self.check_counts()?;
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return Err(Self::out_of_range("top_p", "a number in (0, 1]", self.top_p));
        }
        Ok(())
    }
}

impl StepScore for KlDivergence {
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
        Needs::CONTRAST_CONTEXT
    }
}

impl<B: Backend> StepFunction<B> for KlDivergence {
    fn score(&self, steps: &StepBatch<B>) -> Result<Tensor<B, 1>, StepError> {
        self.validate()?;
        let contrast = steps.require_contrast(Self::NAME)?;
        Ok(contrast.where_aligned(self.of(steps.prediction(), contrast.prediction())))
    }
}
