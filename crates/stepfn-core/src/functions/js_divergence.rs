//! `js_divergence`: how much the prediction differs from the contrastive one; symmetric and bounded.
//!
//! | | |
//! |---|---|
//! | value | `½ Σ p_i ln(p_i / m_i) + ½ Σ p'_i ln(p'_i / m_i)` with `m = ½ (p + p')` |
//! | unit | nats |
//! | range | [0, ln 2]; 0 if both predictions are equal, ln 2 if they share no token |
//! | passes | the contrastive one |
//! | gradient | yes |
//!
//! **When to use it.** Like `kl_divergence`, but bounded, and the same whichever of the two contexts is called the contrast. Its square
//! root is a metric.
//!
//! **Source.** Lin 1991, *Divergence measures based on the Shannon entropy*.

use burn::tensor::{Tensor, backend::Backend};
use serde::{Deserialize, Serialize};
use stepfn_kernels::mixture::mixture;

use crate::{Join, Named, Needs, Prediction, StepBatch, StepError, StepFunction, StepScore};

/// The Jensen–Shannon divergence of every row.
///
/// # Shapes
/// - `logits`, `contrast_logits`: `[rows, vocab]`
/// - result: `[rows]`, nats
pub fn js_divergence<B: Backend>(logits: Tensor<B, 2>, contrast_logits: Tensor<B, 2>) -> Tensor<B, 1> {
    js_divergence_of(&Prediction::unchecked(logits), &Prediction::unchecked(contrast_logits))
}

fn js_divergence_of<B: Backend>(prediction: &Prediction<B>, contrast: &Prediction<B>) -> Tensor<B, 1> {
    mixture(&[prediction.softmax(), contrast.softmax()]).mutual_information.squeeze_dim(1)
}

/// [`js_divergence()`] as a [`StepFunction`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JsDivergence {}

impl Named for JsDivergence {
    const NAME: &'static str = "js_divergence";
    const SUMMARY: &'static str = "Jensen-Shannon divergence between the prediction and the contrastive one";
    const UNIT: &'static str = "nats";
    const ALSO_CALLED: &'static [&'static str] = &["js", "jsd", "jensen_shannon"];
}

impl StepScore for JsDivergence {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn join(&self) -> Join {
        Join::Sum
    }

    fn needs(&self) -> Needs {
        Needs::CONTRAST_CONTEXT
    }
}

impl<B: Backend> StepFunction<B> for JsDivergence {
    fn score(&self, steps: &StepBatch<B>) -> Result<Tensor<B, 1>, StepError> {
        let contrast = steps.require_contrast(Self::NAME)?;
        Ok(contrast.where_aligned(js_divergence_of(steps.prediction(), contrast.prediction())))
    }
}
