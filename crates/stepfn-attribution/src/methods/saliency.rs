//! Saliency (Simonyan et al. 2014, arXiv:1312.6034): `|∂f/∂x|`.

use burn::tensor::{Tensor, backend::Backend};
use serde::{Deserialize, Serialize};
use stepfn_models::transformer::Rule;

use super::Attribute;
use super::gradient::{by_chunks, gradients};
use crate::AttributionError;
use crate::engine::Subject;
use crate::grid::{Found, Piece};

/// The gradient of the attributed function with respect to the embeddings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Saliency {
    /// Whether its absolute value is taken.
    pub abs: bool,
}

impl Default for Saliency {
    fn default() -> Self {
        Self { abs: true }
    }
}

impl Attribute for Saliency {
    const NAME: &'static str = "saliency";
    const SUMMARY: &'static str = "gradient with respect to the embeddings, |∂f/∂x|";

    fn attribute<B: Backend>(&self, subject: &Subject<'_, B>) -> Result<Found, AttributionError> {
        by_chunks(subject, |steps| {
            let piece = gradients(subject, &subject.input(steps), Rule::Gradient, steps)?;
            let size = |x: Tensor<B, 2>| if self.abs { x.abs() } else { x };
            Ok(Piece { source: piece.source.map(size), target: piece.target.map(size), deltas: None })
        })
    }
}
