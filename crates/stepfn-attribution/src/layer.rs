//! Layers by name: a place in the model where an attribution can start.

use serde::{Deserialize, Serialize};

/// A stack of the model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StackName {
    /// The encoder.
    Encoder,
    /// The decoder, or the only stack of a causal model.
    #[default]
    Decoder,
}

impl StackName {
    /// Its name, as in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Encoder => "encoder",
            Self::Decoder => "decoder",
        }
    }
}

/// The residual stream after one block.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Layer {
    /// Which stack.
    pub stack: StackName,
    /// Which block, counted from 0.
    pub layer: usize,
}
