//! Saliency (Simonyan et al. 2014, arXiv:1312.6034): `|∂f/∂x|`.

use burn::tensor::{Tensor, backend::Backend};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use stepfn_core::Named;
use stepfn_core::catalog::parameters;
use stepfn_models::transformer::Rule;

use super::gradient::{by_chunks, gradients};
use crate::{AttributionError, AttributionMethod, InputScores, Passes, StepRows};

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

impl Named for Saliency {
    const NAME: &'static str = "saliency";
    const SUMMARY: &'static str = "gradient with respect to the embeddings, |∂f/∂x|";
    const ALSO_CALLED: &'static [&'static str] = &["gradient", "grad", "vanilla_gradient"];
}

impl<B: Backend> AttributionMethod<B> for Saliency {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn parameters(&self) -> Map<String, Value> {
        parameters(self)
    }

    fn attribute(&self, passes: &Passes<'_, B>) -> Result<InputScores, AttributionError> {
        by_chunks(passes, |steps| {
            let piece = gradients(passes, &passes.input(steps), Rule::Gradient, steps)?;
            let size = |x: Tensor<B, 2>| if self.abs { x.abs() } else { x };
            Ok(StepRows { source: piece.source.map(size), target: piece.target.map(size), completeness: None })
        })
    }
}
