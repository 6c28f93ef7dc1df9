//! DeepLIFT (Shrikumar et al. 2017, arXiv:1704.02685), rescale rule: contributions `Δx ⊙ m` with multipliers `m = Δout / Δin` against the pass of a
//! baseline, chained through the model. Normalizations, softmax and gates distribute differences like products, and the step function's
//! gradient is averaged between the two predictions, so that contributions add up to `f(x) − f(x̄)`.

use burn::tensor::backend::Backend;
use serde::{Deserialize, Serialize};
use stepfn_core::Named;
use stepfn_models::transformer::Rule;

use super::gradient::{by_chunks, change, difference, gradients, times, totals};
use crate::{AttributionError, AttributionMethod, Completeness, InputScores, Passes, StepRows, Steps, Variants};

/// Contributions of differences from a baseline.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeepLift {}

impl Named for DeepLift {
    const NAME: &'static str = "deeplift";
    const SUMMARY: &'static str =
        "differences from a baseline, shared by the rescale rule; sums over hidden units add up to f(x) − f(x̄)";
    const ALSO_CALLED: &'static [&'static str] = &["dl", "rescale"];
}

impl<B: Backend> AttributionMethod<B> for DeepLift {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn attribute(&self, passes: &Passes<'_, B>) -> Result<InputScores, AttributionError> {
        by_chunks(passes, |steps| between(passes, &passes.baseline(steps)?, &passes.input(steps), steps))
    }
}

/// The contributions at some steps, between two inputs.
pub(super) fn between<B: Backend>(
    passes: &Passes<'_, B>,
    baseline: &Variants<B>,
    here: &Variants<B>,
    steps: Steps,
) -> Result<StepRows<B>, AttributionError> {
    let multipliers = gradients(passes, here, Rule::DeepLift { baseline }, steps)?;
    let scores = times(multipliers, &difference(here, baseline), passes.question().columns(steps));
    let change = change(passes, here, baseline, steps)?;
    let totals = totals(&scores, passes.question().columns(steps));
    Ok(StepRows { completeness: Some(Completeness::new(&totals, &change)), ..scores })
}
