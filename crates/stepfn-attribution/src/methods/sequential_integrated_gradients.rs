//! Sequential integrated gradients (Enguehard 2023, arXiv:2305.15853): integrated gradients of one token at a time, all others staying what
//! they are.

use core::ops::Range;

use burn::tensor::{Tensor, backend::Backend};
use serde::{Deserialize, Serialize};

use super::Attribute;
use super::gradient::{along_the_line, by_chunks, difference, times};
use crate::AttributionError;
use crate::engine::{Side, Subject, Variants};
use crate::grid::{Found, Piece};
use crate::quadrature::Quadrature;

/// Integrated gradients, token by token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SequentialIntegratedGradients {
    /// Points on each token's line.
    pub n_steps: usize,
    /// Where they lie.
    pub quadrature: Quadrature,
}

impl Default for SequentialIntegratedGradients {
    fn default() -> Self {
        Self { n_steps: 50, quadrature: Quadrature::default() }
    }
}

impl Attribute for SequentialIntegratedGradients {
    const NAME: &'static str = "sequential_integrated_gradients";
    const SUMMARY: &'static str = "integrated gradients of each token by itself, all others staying what they are";

    fn validate(&self) -> Result<(), AttributionError> {
        match self.n_steps {
            0 => Err(Self::out_of_range("n_steps", "a whole number, 1 or greater", 0)),
            _ => Ok(()),
        }
    }

    fn attribute<B: Backend>(&self, subject: &Subject<'_, B>) -> Result<Found, AttributionError> {
        by_chunks(subject, |steps| {
            let (here, baseline) = (subject.input(steps), subject.baseline(steps)?);
            let of_source = |token| Variants {
                source: here.source.as_ref().zip(baseline.source.as_ref()).map(|(a, b)| with_token(a, b, token)),
                ..here.clone()
            };
            let of_target =
                |token| Variants { target: with_token(&here.target, &baseline.target, token), ..here.clone() };
            let mut rows = [Vec::new(), Vec::new()];
            for token in 0..subject.source_width() {
                let scores = self.of_token(subject, &here, &of_source(token), steps)?.source;
                rows[0].extend(scores.map(|scores| token_rows(scores, token, steps.len())));
            }
            if subject.attributes_target() {
                for token in 0..subject.width(steps) {
                    let scores = self.of_token(subject, &here, &of_target(token), steps)?.target;
                    rows[1].extend(scores.map(|scores| token_rows(scores, token, steps.len())));
                }
            }
            let [source, target] = rows.map(|rows| joined(rows, steps.len()));
            Ok(Piece { source, target, deltas: None })
        })
    }
}

impl SequentialIntegratedGradients {
    fn of_token<B: Backend>(
        &self,
        subject: &Subject<'_, B>,
        here: &Variants<B>,
        without: &Variants<B>,
        steps: &Range<usize>,
    ) -> Result<Piece<B>, AttributionError> {
        let (points, weights) = self.quadrature.points(self.n_steps);
        let averaged = along_the_line(subject, (without, here), (&points, &weights), steps)?;
        Ok(times(averaged, &difference(here, without), steps.len()))
    }
}

/// One side with one token of another.
fn with_token<B: Backend>(side: &Side<B>, other: &Side<B>, token: usize) -> Side<B> {
    let row = other.hidden.clone().slice(token..token + 1);
    let [_, size] = side.hidden.dims();
    Side { hidden: side.hidden.clone().slice_assign([token..token + 1, 0..size], row), entry: side.entry }
}

/// One token's rows of all steps, `[steps · tokens, size]` to `[steps, 1, size]`.
fn token_rows<B: Backend>(scores: Tensor<B, 2>, token: usize, steps: usize) -> Tensor<B, 3> {
    let [rows, size] = scores.dims();
    scores.reshape([steps, rows / steps, size]).slice([0..steps, token..token + 1])
}

/// Tokens side by side again, `[steps · tokens, size]`.
fn joined<B: Backend>(tokens: Vec<Tensor<B, 3>>, steps: usize) -> Option<Tensor<B, 2>> {
    let size = tokens.first()?.dims()[2];
    let rows = steps * tokens.len();
    Some(Tensor::cat(tokens, 1).reshape([rows, size]))
}
