//! Gradient × activation of a layer: `h ⊙ ∂f/∂h` for the residual stream h after a block.

use burn::tensor::backend::Backend;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use stepfn_core::catalog::parameters;
use stepfn_core::{Count, Named};
use stepfn_models::transformer::Rule;

use super::gradient::{by_chunks, times};
use super::limits::LAYER;
use crate::{AttributionError, AttributionMethod, InputScores, Layer, Passes, StepRows};

/// A layer's output times its gradient.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LayerGradientXActivation {
    /// Which layer.
    #[serde(flatten)]
    pub layer: Layer,
}

impl Named for LayerGradientXActivation {
    const NAME: &'static str = "layer_gradient_x_activation";
    const SUMMARY: &'static str = "output of a layer times its gradient, h ⊙ ∂f/∂h";
    const ALSO_CALLED: &'static [&'static str] = &["lgxa"];
    const COUNTS: &'static [Count] = &[LAYER];
}

impl<B: Backend> AttributionMethod<B> for LayerGradientXActivation {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn parameters(&self) -> Map<String, Value> {
        parameters(self)
    }

    fn is_of_layer(&self) -> bool {
        true
    }

    fn attribute(&self, passes: &Passes<'_, B>) -> Result<InputScores, AttributionError> {
        let layer = self.layer.in_model(passes)?;
        by_chunks(passes, |steps| {
            let here = layer.here(passes, steps)?;
            let inputs = passes.differentiate(&here, Rule::Gradient, steps)?;
            let piece = StepRows { source: inputs.source, target: Some(inputs.target), completeness: None };
            Ok(layer.of_stack(times(piece, &here, passes.question().columns(steps))))
        })
    }
}
