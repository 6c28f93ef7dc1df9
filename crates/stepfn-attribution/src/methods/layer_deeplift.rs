//! DeepLIFT of a layer: contributions of what the block gives, against what it gives for the baseline.

use burn::tensor::backend::Backend;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use stepfn_core::catalog::parameters;
use stepfn_core::{Count, Named};

use super::deeplift;
use super::gradient::by_chunks;
use super::limits::LAYER;
use crate::{AttributionError, AttributionMethod, InputScores, Layer, Passes};

/// DeepLIFT at a layer's output.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LayerDeepLift {
    /// Which layer.
    #[serde(flatten)]
    pub layer: Layer,
}

impl Named for LayerDeepLift {
    const NAME: &'static str = "layer_deeplift";
    const SUMMARY: &'static str = "DeepLIFT at the output of a layer";
    const ALSO_CALLED: &'static [&'static str] = &["ldl"];
    const COUNTS: &'static [Count] = &[LAYER];
}

impl<B: Backend> AttributionMethod<B> for LayerDeepLift {
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
            let (baseline, here) = layer.ends(passes, steps)?;
            Ok(layer.of_stack(deeplift::between(passes, &baseline, &here, steps)?))
        })
    }
}
