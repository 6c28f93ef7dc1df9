//! No attribution: step scores alone.

use burn::tensor::backend::Backend;
use serde::{Deserialize, Serialize};

use super::Attribute;
use crate::AttributionError;
use crate::engine::Subject;
use crate::grid::Found;

/// Step scores alone.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Dummy {}

impl Attribute for Dummy {
    const NAME: &'static str = "dummy";
    const SUMMARY: &'static str = "no attribution: step scores alone";
    const OF_FUNCTION: bool = false;

    fn attribute<B: Backend>(&self, _subject: &Subject<'_, B>) -> Result<Found, AttributionError> {
        Ok(Found::default())
    }
}
