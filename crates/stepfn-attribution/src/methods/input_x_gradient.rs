//! Input × gradient (Shrikumar et al. 2016, arXiv:1605.01713): `x ⊙ ∂f/∂x`.

use burn::tensor::backend::Backend;
use serde::{Deserialize, Serialize};
use stepfn_models::transformer::Rule;

use super::Attribute;
use super::gradient::{by_chunks, gradients, times};
use crate::AttributionError;
use crate::engine::Subject;
use crate::grid::Found;

/// The gradient times the embeddings.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct InputXGradient {}

impl Attribute for InputXGradient {
    const NAME: &'static str = "input_x_gradient";
    const SUMMARY: &'static str = "embeddings times gradient, x ⊙ ∂f/∂x";

    fn attribute<B: Backend>(&self, subject: &Subject<'_, B>) -> Result<Found, AttributionError> {
        by_chunks(subject, |steps| {
            let input = subject.input(steps);
            Ok(times(gradients(subject, &input, Rule::Gradient, steps)?, &input, steps.len()))
        })
    }
}
