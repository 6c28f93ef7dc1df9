//! Integrated gradients of a layer: the path goes from what the block gives for the baseline to what it gives for the text, all else seeing the
//! text.

use burn::tensor::backend::Backend;
use serde::{Deserialize, Serialize};

use super::gradient::by_chunks;
use super::integrated_gradients::{IntegratedGradients, PathSteps};
use super::{Attribute, Layer};
use crate::AttributionError;
use crate::engine::Subject;
use crate::grid::Found;
use crate::quadrature::Quadrature;

/// Integrated gradients at a layer's output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LayerIntegratedGradients {
    /// Which layer.
    #[serde(flatten)]
    pub layer: Layer,
    /// Points on the line: a number, or `auto`.
    pub n_steps: PathSteps,
    /// Where they lie.
    pub quadrature: Quadrature,
}

impl Default for LayerIntegratedGradients {
    fn default() -> Self {
        let IntegratedGradients { n_steps, quadrature, .. } = IntegratedGradients::default();
        Self { layer: Layer::default(), n_steps, quadrature }
    }
}

impl LayerIntegratedGradients {
    fn path(&self) -> IntegratedGradients {
        IntegratedGradients { n_steps: self.n_steps, quadrature: self.quadrature, ..Default::default() }
    }
}

impl Attribute for LayerIntegratedGradients {
    const NAME: &'static str = "layer_integrated_gradients";
    const SUMMARY: &'static str = "integrated gradients at the output of a layer";

    fn validate(&self) -> Result<(), AttributionError> {
        self.path().validate()
    }

    fn attribute<B: Backend>(&self, subject: &Subject<'_, B>) -> Result<Found, AttributionError> {
        by_chunks(subject, |steps| {
            let (baseline, here) = self.layer.ends(subject, steps)?;
            Ok(self.layer.of_stack(self.path().between(subject, &baseline, &here, steps)?))
        })
    }
}
