//! The common structure of GPT-2 and its relatives: pre-norm blocks with LayerNorm, as many keys as queries, a feed-forward without a gate, and
//! biases everywhere. A family starts from [`configure`] and changes what differs.

use super::activation::activation;
use crate::ModelError;
use crate::config::{
    AttentionConfig, DropoutRates, FeedForwardConfig, HeadConfig, NormConfig, NormKind, NormPlacement, Positions,
    Residual, SpecialTokens, StackConfig, TransformerConfig,
};
use crate::json::Fields;

/// The names of a family's fields, and defaults where files don't have them. Each field has one name or several.
pub(super) struct Names {
    pub(super) hidden_size: &'static [&'static str],
    pub(super) layers: &'static [&'static str],
    pub(super) heads: &'static [&'static str],
    /// The width of the feed-forward, four times the model's by default, and if the field has no name.
    pub(super) inner: Option<&'static str>,
    pub(super) positions: &'static [&'static str],
    pub(super) activation: (&'static str, &'static str),
    /// ε is 1e-5 by default, and if the field has no name.
    pub(super) epsilon: Option<&'static str>,
    /// Rates of embeddings, attention, residual branches and activations, and what they are by default.
    pub(super) dropout: [Option<(&'static str, f64)>; 4],
}

/// Those of GPT-2.
pub(super) const GPT2: Names = Names {
    hidden_size: &["n_embd", "hidden_size"],
    layers: &["n_layer", "num_hidden_layers"],
    heads: &["n_head", "num_attention_heads"],
    inner: Some("n_inner"),
    positions: &["n_positions", "max_position_embeddings"],
    activation: ("activation_function", "gelu_new"),
    epsilon: Some("layer_norm_epsilon"),
    dropout: [Some(("embd_pdrop", 0.1)), Some(("attn_pdrop", 0.1)), Some(("resid_pdrop", 0.1)), None],
};

/// A configuration with learned positions from row `offset` of their table on, and a tied head.
pub(super) fn configure(
    f: &Fields,
    family: &'static str,
    names: &Names,
    offset: usize,
    special: SpecialTokens,
) -> Result<TransformerConfig, ModelError> {
    let hidden_size = f.usize(f.any_of(names.hidden_size))?;
    let n_layers = f.layers(f.any_of(names.layers))?;
    let (n_heads, head_dim) = f.heads(f.any_of(names.heads), hidden_size)?;
    let rate = |site: Option<(&str, f64)>| site.map(|(field, default)| f.rate_or(field, default)).transpose();
    let [embedding, attention, residual, activations] = names.dropout;
    Ok(TransformerConfig {
        family,
        vocab_size: f.usize("vocab_size")?,
        encoder_vocab_size: None,
        hidden_size,
        encoder: None,
        decoder: StackConfig {
            n_layers,
            bidirectional: false,
            embedding_scale: 1.0,
            embedding_size: None,
            projected_last: false,
            token_types: None,
            embedding_norm: false,
            positions: Positions::Learned { offset, rows: f.usize(f.any_of(names.positions))? + offset },
            norm: NormConfig {
                kind: NormKind::LayerNorm,
                epsilon: names.epsilon.map_or(Ok(1e-5), |field| f.positive_or(field, 1e-5))?,
            },
            first_norm: true,
            norm_placement: NormPlacement::Pre,
            final_norm: true,
            residual: Residual::Sequential,
            attention: AttentionConfig::multi_head(n_layers, n_heads, head_dim, true),
            feed_forward: FeedForwardConfig {
                size: names.inner.map_or(Ok(4 * hidden_size), |field| f.usize_or(field, 4 * hidden_size))?,
                activation: activation(f, names.activation.0, names.activation.1)?,
                gated: false,
                gate_limit: None,
                bias: true,
            },
            experts: None,
            dropout: DropoutRates {
                embedding: rate(embedding)?,
                attention: rate(attention)?,
                residual: rate(residual)?,
                activation: rate(activations)?,
                feed_forward: None,
                last: None,
            },
        },
        shared_embeddings: false,
        head: HeadConfig {
            transform: None,
            tied: f.bool_or("tie_word_embeddings", true)?,
            scale: 1.0,
            bias: false,
            soft_cap: None,
        },
        special: f.special_tokens(special)?,
    })
}
