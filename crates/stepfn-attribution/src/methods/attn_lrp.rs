//! AttnLRP (Achtibat et al. 2024, arXiv:2402.05602): layer-wise relevance propagation through transformers. Relevance is `x ⊙ G`, with a
//! gradient G that leaves the size of normalizations out, takes nonlinearities as their ratio φ(u)/u, and halves at each product.

use burn::tensor::backend::Backend;
use serde::{Deserialize, Serialize};
use stepfn_models::transformer::Rule;

use super::Attribute;
use super::gradient::{by_chunks, gradients, times};
use crate::AttributionError;
use crate::engine::Subject;
use crate::grid::Found;

/// Layer-wise relevance propagation.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AttnLrp {}

impl Attribute for AttnLrp {
    const NAME: &'static str = "attn_lrp";
    const SUMMARY: &'static str = "layer-wise relevance propagation with rules for attention";

    fn attribute<B: Backend>(&self, subject: &Subject<'_, B>) -> Result<Found, AttributionError> {
        by_chunks(subject, |steps| {
            let input = subject.input(steps);
            Ok(times(gradients(subject, &input, Rule::AttnLrp, steps)?, &input, steps.len()))
        })
    }
}
