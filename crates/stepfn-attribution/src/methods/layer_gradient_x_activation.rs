//! Gradient × activation of a layer: `h ⊙ ∂f/∂h` for the residual stream h behind a block.

use burn::tensor::backend::Backend;
use serde::{Deserialize, Serialize};
use stepfn_models::transformer::Rule;

use super::gradient::{by_chunks, times};
use super::{Attribute, Layer};
use crate::AttributionError;
use crate::engine::Subject;
use crate::grid::{Found, Piece};

/// A layer's output times its gradient.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LayerGradientXActivation {
    /// Which layer.
    #[serde(flatten)]
    pub layer: Layer,
}

impl Attribute for LayerGradientXActivation {
    const NAME: &'static str = "layer_gradient_x_activation";
    const SUMMARY: &'static str = "output of a layer times its gradient, h ⊙ ∂f/∂h";

    fn attribute<B: Backend>(&self, subject: &Subject<'_, B>) -> Result<Found, AttributionError> {
        by_chunks(subject, |steps| {
            let here = self.layer.here(subject, steps)?;
            let inputs = subject.differentiate(&here, Rule::Gradient, steps)?;
            let piece = Piece { source: inputs.source, target: Some(inputs.target), deltas: None };
            Ok(self.layer.of_stack(times(piece, &here, steps.len())))
        })
    }
}
