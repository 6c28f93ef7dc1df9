//! Feed-forwards, and mixtures of them.

use super::Activation;

/// The feed-forward of a block.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FeedForwardConfig {
    /// Width of the hidden activations.
    pub size: usize,
    /// The nonlinearity φ.
    pub activation: Activation,
    /// `down(φ(gate x) ⊙ up x)` instead of `down(φ(up x))`.
    pub gated: bool,
    /// The limit `l` of a clamped gate (gpt-oss): `down(φ(min(gate x, l)) ⊙ (clamp(up x, −l, l) + 1))`. There is no other rule for it than the
    /// gradient.
    pub gate_limit: Option<f64>,
    /// Whether the projections have biases.
    pub bias: bool,
}

/// A mixture of experts: feed-forwards of which each token goes to a few.
#[derive(Debug, Clone, PartialEq)]
pub struct ExpertsConfig {
    /// How many there are.
    pub count: usize,
    /// How many each token goes to: those to which the router gives most.
    pub per_token: usize,
    /// Width of an expert's hidden activations.
    pub size: usize,
    /// What the output of an expert is multiplied by.
    pub weighing: Weighing,
    /// Whether the router has a bias.
    pub router_bias: bool,
    /// An expert that every token goes to.
    pub shared: Option<SharedExpert>,
    /// How many tokens of a text an expert takes, if that is limited: transformers passes over those that come after them. No text may be longer.
    pub capacity: Option<usize>,
    /// Which layers have experts; the others have the feed-forward.
    pub layers: Vec<bool>,
}

/// What the outputs of the chosen experts are multiplied by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Weighing {
    /// By the softmax over what the router gives to all experts (OLMoE).
    OfAll,
    /// By the softmax over what it gives to the chosen ones, which adds up to 1 (Mixtral).
    OfChosen,
}

/// An expert that every token goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SharedExpert {
    /// Width of its hidden activations.
    pub size: usize,
    /// Whether its output is multiplied by the sigmoid of a linear function of the input (Qwen 2).
    pub gated: bool,
}
