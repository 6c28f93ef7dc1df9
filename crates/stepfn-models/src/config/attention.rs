//! Attention.

use super::NormConfig;

/// Attention.
#[derive(Debug, Clone, PartialEq)]
pub struct AttentionConfig {
    /// Query heads.
    pub n_heads: usize,
    /// Key and value heads; divides the number of query heads.
    pub n_kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Scores are multiplied by this.
    pub scale: f64,
    /// Whether query, key and value projections have biases.
    pub qkv_bias: bool,
    /// Whether the output projection has a bias.
    pub output_bias: bool,
    /// How queries and keys are normalized.
    pub query_key_norm: Option<QueryKeyNorm>,
    /// How queries grow with their position.
    pub query_growth: Option<QueryGrowth>,
    /// `c` in `c · tanh(score / c)`, applied before the mask.
    pub soft_cap: Option<f64>,
    /// Whether each head has a sink: a learned score that takes part in the softmax and is of no token, so that a head may look at nothing
    /// (gpt-oss). Probabilities then add up to less than 1.
    pub sinks: bool,
    /// For each layer, how many positions back (including its own) a token sees, and in an encoder as many ahead; `None` for all.
    pub windows: Vec<Option<usize>>,
}

/// Queries at position `p` are multiplied by `1 + rate · ln(1 + ⌊p / positions⌋)`, so that attention stays peaked in long texts (Llama 4).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QueryGrowth {
    /// How fast they grow.
    pub rate: f64,
    /// Positions before they grow.
    pub positions: f64,
}

/// How queries and keys are normalized.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QueryKeyNorm {
    /// The formula.
    pub norm: NormConfig,
    /// What is normalized together.
    pub over: NormOver,
    /// Whether queries and keys are rotated first (Hunyuan).
    pub after_rotation: bool,
}

/// What a normalization of queries or keys takes together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NormOver {
    /// Each head by itself; all have the same weights (Qwen 3).
    Head,
    /// Each head by itself, with weights of its own (Cohere).
    EachHead,
    /// All heads of a token (OLMo 2).
    Token,
}

impl AttentionConfig {
    /// The attention of Vaswani et al. (2017), with biases everywhere or nowhere. Families override what they do differently.
    pub(crate) fn multi_head(n_layers: usize, n_heads: usize, head_dim: usize, bias: bool) -> Self {
        Self {
            n_heads,
            n_kv_heads: n_heads,
            head_dim,
            scale: (head_dim as f64).powf(-0.5),
            qkv_bias: bias,
            output_bias: bias,
            query_key_norm: None,
            query_growth: None,
            soft_cap: None,
            sinks: false,
            windows: vec![None; n_layers],
        }
    }
}
