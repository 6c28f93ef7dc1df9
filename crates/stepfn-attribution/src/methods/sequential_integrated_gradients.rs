//! Sequential integrated gradients (Enguehard 2023, arXiv:2305.15853): integrated gradients of one token at a time, while the others don't
//! change.

use burn::tensor::{Tensor, backend::Backend};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use stepfn_core::catalog::parameters;
use stepfn_core::{Count, Named, ParameterError};

use super::gradient::{along_the_line, by_chunks, difference, times};
use super::limits::PATH_POINTS;
use crate::passes::Embedded;
use crate::quadrature::Quadrature;
use crate::{AttributionError, AttributionMethod, InputScores, Passes, StepRows, Steps, Variants};

/// Integrated gradients, token by token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SequentialIntegratedGradients {
    /// Points on each token's line.
    pub n_steps: usize,
    /// Where the points are.
    pub quadrature: Quadrature,
}

impl Default for SequentialIntegratedGradients {
    fn default() -> Self {
        Self { n_steps: 50, quadrature: Quadrature::default() }
    }
}

impl Named for SequentialIntegratedGradients {
    const NAME: &'static str = "sequential_integrated_gradients";
    const SUMMARY: &'static str = "integrated gradients of each token by itself, all others staying what they are";
    const ALSO_CALLED: &'static [&'static str] = &["sig"];
    const COUNTS: &'static [Count] = &[PATH_POINTS];
}

impl<B: Backend> AttributionMethod<B> for SequentialIntegratedGradients {
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
            let of_source = |token| Variants {
                source: here.source.as_ref().zip(baseline.source.as_ref()).map(|(a, b)| with_token(a, b, token)),
                ..here.clone()
            };
            let of_target =
                |token| Variants { target: with_token(&here.target, &baseline.target, token), ..here.clone() };
            let columns = passes.question().columns(steps);
            let mut rows = [Vec::new(), Vec::new()];
            for token in 0..passes.question().source_len() {
                let scores = self.of_token(passes, &here, &of_source(token), steps)?.source;
                rows[0].extend(scores.map(|scores| token_rows(scores, token, columns)));
            }
            if passes.question().attributes_target() {
                for token in 0..steps.width() {
                    let scores = self.of_token(passes, &here, &of_target(token), steps)?.target;
                    rows[1].extend(scores.map(|scores| token_rows(scores, token, columns)));
                }
            }
            let [source, target] = rows.map(|rows| joined(rows, columns));
            Ok(StepRows { source, target, completeness: None })
        })
    }
}

impl SequentialIntegratedGradients {
    fn of_token<B: Backend>(
        &self,
        passes: &Passes<'_, B>,
        here: &Variants<B>,
        without: &Variants<B>,
        steps: Steps,
    ) -> Result<StepRows<B>, AttributionError> {
        let (points, weights) = self.quadrature.points(self.n_steps);
        let averaged = along_the_line(passes, (without, here), (&points, &weights), steps)?;
        Ok(times(averaged, &difference(here, without), passes.question().columns(steps)))
    }
}

/// One side, with one token replaced by that of another.
fn with_token<B: Backend>(side: &Embedded<B>, other: &Embedded<B>, token: usize) -> Embedded<B> {
    let row = other.hidden.clone().slice(token..token + 1);
    let [_, size] = side.hidden.dims();
    Embedded { hidden: side.hidden.clone().slice_assign([token..token + 1, 0..size], row), entry: side.entry }
}

/// One token's rows of all steps, `[steps · tokens, size]` to `[steps, 1, size]`.
fn token_rows<B: Backend>(scores: Tensor<B, 2>, token: usize, steps: usize) -> Tensor<B, 3> {
    let [rows, size] = scores.dims();
    scores.reshape([steps, rows / steps, size]).slice([0..steps, token..token + 1])
}

/// Puts the tokens together again, `[steps · tokens, size]`.
fn joined<B: Backend>(tokens: Vec<Tensor<B, 3>>, steps: usize) -> Option<Tensor<B, 2>> {
    let size = tokens.first()?.dims()[2];
    let rows = steps * tokens.len();
    Some(Tensor::cat(tokens, 1).reshape([rows, size]))
}
