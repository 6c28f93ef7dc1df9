//! DeepLIFT of a layer: contributions of what the block gives, against what it gives for the baseline.

use burn::tensor::backend::Backend;
use serde::{Deserialize, Serialize};

use super::gradient::by_chunks;
use super::{Attribute, Layer, deeplift};
use crate::AttributionError;
use crate::engine::Subject;
use crate::grid::Found;

/// DeepLIFT at a layer's output.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LayerDeepLift {
    /// Which layer.
    #[serde(flatten)]
    pub layer: Layer,
}

impl Attribute for LayerDeepLift {
    const NAME: &'static str = "layer_deeplift";
    const SUMMARY: &'static str = "DeepLIFT at the output of a layer";

    fn attribute<B: Backend>(&self, subject: &Subject<'_, B>) -> Result<Found, AttributionError> {
        by_chunks(subject, |steps| {
            let (baseline, here) = self.layer.ends(subject, steps)?;
            Ok(self.layer.of_stack(deeplift::between(subject, &baseline, &here, steps)?))
        })
    }
}
