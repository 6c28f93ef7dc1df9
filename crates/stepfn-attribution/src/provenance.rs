//! How a result was made: everything needed to reproduce it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// How an [`Attribution`](crate::Attribution) was made: everything needed to reproduce it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Provenance {
    /// Name of the method; empty for step scores.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub method: String,
    /// Name of the step function that was attributed; empty if the method looks inside the model instead.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub attributed_fn: String,
    /// Parameters of the method, of the attributed function (under `attributed_fn`) and of step functions (under their names).
    pub parameters: Map<String, Value>,
    /// The model as the user named it.
    pub model: String,
    /// Its family, `model_type` in `config.json`.
    pub family: String,
    /// The version of stepfn.
    pub version: String,
    /// Name of the backend, and its element type.
    pub backend: String,
    /// Seed of everything random.
    pub seed: u64,
    /// How long it took, in seconds; 0 where texts are computed together.
    #[serde(skip_serializing_if = "is_zero")]
    pub seconds: f64,
    /// The aggregation stages that the scores went through, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub aggregation: Vec<String>,
    /// What to know before trusting the numbers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

fn is_zero(seconds: &f64) -> bool {
    *seconds == 0.0
}
