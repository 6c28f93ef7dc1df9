//! DeepLIFT (Shrikumar et al. 2017, arXiv:1704.02685), rescale rule: contributions `Δx ⊙ m` with multipliers `m = Δout / Δin` against the pass of a
//! baseline, chained through the model. Normalizations, softmax and gates share their differences as products do, and the step function's
//! gradient is averaged between the two predictions, so that contributions add up to `f(x) − f(x̄)`.

use core::ops::Range;

use burn::tensor::backend::Backend;
use serde::{Deserialize, Serialize};
use stepfn_models::transformer::Rule;

use super::Attribute;
use super::gradient::{by_chunks, change, difference, gradients, times, totals};
use crate::AttributionError;
use crate::engine::{Subject, Variants};
use crate::grid::{Found, Piece};

/// Contributions of differences from a baseline.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeepLift {}

impl Attribute for DeepLift {
    const NAME: &'static str = "deeplift";
    const SUMMARY: &'static str = "differences from a baseline, shared by the rescale rule; adds up to f(x) − f(x̄)";

    fn attribute<B: Backend>(&self, subject: &Subject<'_, B>) -> Result<Found, AttributionError> {
        by_chunks(subject, |steps| between(subject, &subject.baseline(steps)?, &subject.input(steps), steps))
    }
}

/// The contributions at some steps, between any two inputs.
pub(super) fn between<B: Backend>(
    subject: &Subject<'_, B>,
    baseline: &Variants<B>,
    here: &Variants<B>,
    steps: &Range<usize>,
) -> Result<Piece<B>, AttributionError> {
    let multipliers = gradients(subject, here, Rule::DeepLift { baseline }, steps)?;
    let scores = times(multipliers, &difference(here, baseline), steps.len());
    let change = change(subject, here, baseline, steps)?;
    let totals = totals(&scores, steps.len());
    let deltas = totals.iter().zip(&change).map(|(total, change)| (total - change) as f32).collect();
    Ok(Piece { deltas: Some(deltas), ..scores })
}
