//! Integrated gradients of a layer: the path goes from what the block gives for the baseline to what it gives for the text, all else seeing the
//! text.

use burn::tensor::backend::Backend;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use stepfn_core::catalog::parameters;
use stepfn_core::{Count, Named, ParameterError};

use super::gradient::by_chunks;
use super::integrated_gradients::{IntegratedGradients, PathSteps};
use super::limits::{LAYER, PATH_POINTS};
use crate::quadrature::Quadrature;
use crate::{AttributionError, AttributionMethod, InputScores, Layer, Passes};

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

impl Named for LayerIntegratedGradients {
    const NAME: &'static str = "layer_integrated_gradients";
    const SUMMARY: &'static str = "integrated gradients at the output of a layer";
    const ALSO_CALLED: &'static [&'static str] = &["lig"];
    const COUNTS: &'static [Count] = &[LAYER, PATH_POINTS.or("auto")];
}

impl<B: Backend> AttributionMethod<B> for LayerIntegratedGradients {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn parameters(&self) -> Map<String, Value> {
        parameters(self)
    }

    fn is_of_layer(&self) -> bool {
        true
    }

    fn check(&self) -> Result<(), ParameterError> {
        self.validate()
    }

    fn attribute(&self, passes: &Passes<'_, B>) -> Result<InputScores, AttributionError> {
        let layer = self.layer.in_model(passes)?;
        by_chunks(passes, |steps| {
            let (baseline, here) = layer.ends(passes, steps)?;
            Ok(layer.of_stack(self.path().between(passes, &baseline, &here, steps)?))
        })
    }
}
