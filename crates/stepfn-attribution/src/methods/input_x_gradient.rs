//! Input × gradient (Shrikumar et al. 2016, arXiv:1605.01713): `x ⊙ ∂f/∂x`.

use burn::tensor::backend::Backend;
use serde::{Deserialize, Serialize};
use stepfn_core::Named;
use stepfn_models::transformer::Rule;

use super::gradient::{by_chunks, gradients, times};
use crate::{AttributionError, AttributionMethod, InputScores, Passes};

/// The gradient times the embeddings.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct InputXGradient {}

impl Named for InputXGradient {
    const NAME: &'static str = "input_x_gradient";
    const SUMMARY: &'static str = "embeddings times gradient, x ⊙ ∂f/∂x";
    const ALSO_CALLED: &'static [&'static str] = &["ixg", "gxi", "gradient_x_input"];
}

impl<B: Backend> AttributionMethod<B> for InputXGradient {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn attribute(&self, passes: &Passes<'_, B>) -> Result<InputScores, AttributionError> {
        by_chunks(passes, |steps| {
            let input = passes.input(steps);
            Ok(times(gradients(passes, &input, Rule::Gradient, steps)?, &input, passes.question().columns(steps)))
        })
    }
}
