//! Integrated gradients (Sundararajan et al. 2017, arXiv:1703.01365): `(x − x̄) ⊙ ∫₀¹ ∂f/∂x (x̄ + α (x − x̄)) dα`, which adds up to `f(x) − f(x̄)`.

use burn::tensor::backend::Backend;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use stepfn_core::catalog::parameters;
use stepfn_core::{Count, Named, ParameterError};

use super::gradient::{along_the_line, by_chunks, change, difference, times, totals};
use super::limits::PATH_POINTS;
use crate::quadrature::Quadrature;
use crate::{AttributionError, AttributionMethod, Completeness, InputScores, Passes, StepRows, Steps, Variants};

/// Gradients along the line from a baseline to the text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct IntegratedGradients {
    /// Points on the line: a number, or `auto`.
    pub n_steps: PathSteps,
    /// Where the points are.
    pub quadrature: Quadrature,
    /// Whether to multiply gradients by `x − x̄`. Otherwise they are only averaged.
    pub multiply_by_inputs: bool,
    /// With `auto`: the number of points is doubled, up to 1024, until each step's scores add up within this fraction of `|f(x) − f(x̄)|`.
    pub tolerance: f64,
}

/// Number of points on a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PathSteps {
    /// A fixed number.
    Fixed(usize),
    /// As many as needed.
    Auto(Auto),
}

/// The word `auto`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Auto {
    /// As many as needed.
    Auto,
}

impl Default for IntegratedGradients {
    fn default() -> Self {
        let (n_steps, quadrature) = (PathSteps::Fixed(50), Quadrature::default());
        Self { n_steps, quadrature, multiply_by_inputs: true, tolerance: 0.05 }
    }
}

impl Named for IntegratedGradients {
    const NAME: &'static str = "integrated_gradients";
    const SUMMARY: &'static str =
        "gradients integrated from a baseline to the text; sums over hidden units add up to f(x) − f(x̄)";
    const ALSO_CALLED: &'static [&'static str] = &["ig"];
    const COUNTS: &'static [Count] = &[PATH_POINTS.or("auto")];

    fn validate(&self) -> Result<(), ParameterError> {
        self.check_counts()?;
        match self.tolerance > 0.0 && self.tolerance <= 1.0 {
            true => Ok(()),
            false => Err(Self::out_of_range("tolerance", "a share greater than 0 and at most 1", self.tolerance)),
        }
    }
}

impl<B: Backend> AttributionMethod<B> for IntegratedGradients {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn parameters(&self) -> Map<String, Value> {
        parameters(self)
    }

    fn check(&self) -> Result<(), ParameterError> {
        self.validate()
    }

    fn attribute(&self, passes: &Passes<'_, B>) -> Result<InputScores, AttributionError> {
        by_chunks(passes, |steps| {
            let (here, baseline) = (passes.input(steps), passes.baseline(steps)?);
            self.between(passes, &baseline, &here, steps)
        })
    }
}

impl IntegratedGradients {
    /// The scores of some steps, between two inputs.
    pub(super) fn between<B: Backend>(
        &self,
        passes: &Passes<'_, B>,
        baseline: &Variants<B>,
        here: &Variants<B>,
        steps: Steps,
    ) -> Result<StepRows<B>, AttributionError> {
        /// More points don't help: this is the limit of single precision.
        const MOST: usize = 1024;
        let moved = difference(here, baseline);
        let change = change(passes, here, baseline, steps)?;
        let mut n_steps = match self.n_steps {
            PathSteps::Fixed(n_steps) => n_steps,
            PathSteps::Auto(_) => 16,
        };
        loop {
            let (points, weights) = self.quadrature.points(n_steps);
            let averaged = along_the_line(passes, (baseline, here), (&points, &weights), steps)?;
            let kept = (!self.multiply_by_inputs).then(|| StepRows {
                source: averaged.source.clone(),
                target: averaged.target.clone(),
                completeness: None,
            });
            let scores = times(averaged, &moved, passes.question().columns(steps));
            let totals = totals(&scores, passes.question().columns(steps));
            let completeness = Completeness::new(&totals, &change);
            let off = |(delta, change): (&f32, &f64)| f64::from(delta.abs()) > self.tolerance * change.abs().max(1e-6);
            let again = matches!(self.n_steps, PathSteps::Auto(_)) && n_steps < MOST;
            if again && completeness.deltas.iter().zip(&change).any(off) {
                n_steps *= 2;
                continue;
            }
            return Ok(StepRows { completeness: Some(completeness), ..kept.unwrap_or(scores) });
        }
    }
}
