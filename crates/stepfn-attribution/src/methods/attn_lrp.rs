//! AttnLRP (Achtibat et al. 2024, arXiv:2402.05602): layer-wise relevance propagation through transformers. Relevance is `x ⊙ G`, with a
//! gradient G that leaves the size of normalizations out, takes nonlinearities as their ratio φ(u)/u, and halves at each product.

use burn::tensor::backend::Backend;
use serde::{Deserialize, Serialize};
use stepfn_core::Named;
use stepfn_models::transformer::Rule;

use super::gradient::{by_chunks, gradients, times};
use crate::{AttributionError, AttributionMethod, InputScores, Passes};

/// Layer-wise relevance propagation.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AttnLrp {}

impl Named for AttnLrp {
    const NAME: &'static str = "attn_lrp";
    const SUMMARY: &'static str = "layer-wise relevance propagation with rules for attention";
    const ALSO_CALLED: &'static [&'static str] = &["lrp", "attnlrp", "layerwise_relevance_propagation"];
}

impl<B: Backend> AttributionMethod<B> for AttnLrp {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn attribute(&self, passes: &Passes<'_, B>) -> Result<InputScores, AttributionError> {
        by_chunks(passes, |steps| {
            let input = passes.input(steps);
            Ok(times(gradients(passes, &input, Rule::AttnLrp, steps)?, &input, passes.question().columns(steps)))
        })
    }
}
