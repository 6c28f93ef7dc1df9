//! No attribution: step scores only.

use burn::tensor::backend::Backend;
use serde::{Deserialize, Serialize};
use stepfn_core::Named;

use crate::{AttributionError, AttributionMethod, InputScores, Passes};

/// Step scores only.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Dummy {}

impl Named for Dummy {
    const NAME: &'static str = "dummy";
    const SUMMARY: &'static str = "no attribution: step scores alone";
}

impl<B: Backend> AttributionMethod<B> for Dummy {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn is_of_function(&self) -> bool {
        false
    }

    fn attribute(&self, _passes: &Passes<'_, B>) -> Result<InputScores, AttributionError> {
        Ok(InputScores::default())
    }
}
