//! Layers by name: a place in the model where an attribution can start.

use serde::{Deserialize, Serialize};

/// A stack of the model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StackName {
    /// The encoder, or the only stack of a causal model: the one whose tokens always have scores.
    #[default]
    Auto,
    /// The encoder.
    Encoder,
    /// The decoder, or the only stack of a causal model.
    Decoder,
}

impl StackName {
    /// Its name, as in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
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
