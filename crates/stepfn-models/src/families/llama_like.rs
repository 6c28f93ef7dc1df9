//! The common structure of Llama and its descendants (Mistral, Qwen, Gemma, Phi-3): pre-norm blocks with RMSNorm, rotary positions, grouped
//! key-value heads and a gated feed-forward, without biases. A family starts from [`configure`] and changes what differs.

use super::activation::activation;
use super::rotary::{RotaryFields, WHOLE_HEAD, rotary};
use crate::ModelError;
use crate::config::{
    AttentionConfig, DropoutRates, FeedForwardConfig, HeadConfig, NormConfig, NormKind, NormOver, NormPlacement,
    Positions, QueryKeyNorm, Residual, SpecialTokens, StackConfig, TransformerConfig,
};
use crate::json::Fields;
use crate::names::{Layout, Name, Packed, laid_out, whole};

/// A family's defaults for absent fields, and the names of its fields.
pub(super) struct Defaults {
    pub(super) family: &'static str,
    pub(super) tied: bool,
    /// If `None`, as many as query heads. (`null` always means as many as query heads.)
    pub(super) n_kv_heads: Option<usize>,
    /// If `None`, the hidden size divided by the number of heads.
    pub(super) head_dim: Option<usize>,
    pub(super) epsilon: f64,
    /// Field name and default of the nonlinearity.
    pub(super) activation: (&'static str, &'static str),
    pub(super) rotary: RotaryFields,
    pub(super) special: SpecialTokens,
}

impl Defaults {
    /// The defaults of Llama.
    pub(super) fn llama(family: &'static str) -> Self {
        Self {
            family,
            tied: false,
            n_kv_heads: None,
            head_dim: None,
            epsilon: 1e-6,
            activation: ("hidden_act", "silu"),
            rotary: RotaryFields { default_positions: (family == "llama").then_some(2048), ..WHOLE_HEAD },
            special: SpecialTokens { bos: Some(1), eos: vec![2], ..SpecialTokens::default() },
        }
    }
}

/// A configuration without biases, windows and soft caps.
pub(super) fn configure(f: &Fields, defaults: Defaults) -> Result<TransformerConfig, ModelError> {
    let hidden_size = f.usize("hidden_size")?;
    let n_layers = f.layers("num_hidden_layers")?;
    let n_heads = f.usize("num_attention_heads")?;
    let head_dim = match (f.optional_usize("head_dim")?, defaults.head_dim) {
        (Some(head_dim), _) => head_dim,
        (None, Some(head_dim)) if f.is_absent("head_dim") => head_dim,
        _ => f.heads("num_attention_heads", hidden_size)?.1,
    };
    f.check(head_dim > 0, "head_dim", "a whole number, 1 or greater")?;
    let absent_kv_heads = defaults.n_kv_heads.filter(|_| f.is_absent("num_key_value_heads")).unwrap_or(n_heads);
    Ok(TransformerConfig {
        family: defaults.family,
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
            positions: Positions::Rotary(rotary(f, head_dim, &defaults.rotary)?),
            norm: NormConfig { kind: NormKind::RmsNorm, epsilon: f.positive_or("rms_norm_eps", defaults.epsilon)? },
            first_norm: true,
            norm_placement: NormPlacement::Pre,
            final_norm: true,
            residual: Residual::Sequential,
            attention: AttentionConfig {
                n_kv_heads: f.usize_or("num_key_value_heads", absent_kv_heads)?,
                ..AttentionConfig::multi_head(n_layers, n_heads, head_dim, false)
            },
            feed_forward: FeedForwardConfig {
                size: f.usize("intermediate_size")?,
                activation: activation(f, defaults.activation.0, defaults.activation.1)?,
                gated: true,
                gate_limit: None,
                bias: false,
            },
            experts: None,
            dropout: DropoutRates { attention: Some(f.rate_or("attention_dropout", 0.0)?), ..DropoutRates::default() },
        },
        shared_embeddings: false,
        head: HeadConfig {
            transform: None,
            tied: f.bool_or("tie_word_embeddings", defaults.tied)?,
            scale: 1.0,
            bias: false,
            soft_cap: None,
        },
        special: f.special_tokens(defaults.special)?,
    })
}

/// Replaces RMSNorm by a LayerNorm, whose ε is in another field.
pub(super) fn layer_norm(
    f: &Fields,
    config: &mut TransformerConfig,
    kind: NormKind,
    epsilon: &str,
) -> Result<(), ModelError> {
    config.decoder.norm = NormConfig { kind, epsilon: f.positive_or(epsilon, 1e-5)? };
    Ok(())
}

/// Reads whether attention has biases: all four projections do, or none.
pub(super) fn attention_bias(f: &Fields, config: &mut TransformerConfig) -> Result<(), ModelError> {
    let bias = f.bool_or("attention_bias", false)?;
    config.decoder.attention.qkv_bias = bias;
    config.decoder.attention.output_bias = bias;
    Ok(())
}

/// The stack's normalization for queries and keys.
pub(super) fn query_key_norm(config: &TransformerConfig, over: NormOver) -> Option<QueryKeyNorm> {
    Some(QueryKeyNorm { norm: config.decoder.norm, over, after_rotation: false })
}

/// The window in `sliding_window`: `absent` if there is no such field, none if it is `null`.
pub(super) fn window(f: &Fields, absent: Option<usize>) -> Result<Option<usize>, ModelError> {
    let window = if f.is_absent("sliding_window") { absent } else { f.optional_usize("sliding_window")? };
    f.check(window != Some(0), "sliding_window", "a whole number, 1 or greater, or null")?;
    Ok(window)
}

/// The window of each layer: from `layer_types` if present, else for the layers that `slides` selects.
pub(super) fn windows_by_layer(
    f: &Fields,
    n_layers: usize,
    window: Option<usize>,
    slides: impl Fn(usize) -> bool,
) -> Result<Vec<Option<usize>>, ModelError> {
    let Some(layer_types) = f.optional_strings("layer_types")? else {
        return Ok((0..n_layers).map(|layer| window.filter(|_| slides(layer))).collect());
    };
    f.check(layer_types.len() == n_layers, "layer_types", format!("{n_layers} entries, one per layer"))?;
    let of_layer = |layer_type: &str| match (layer_type, window) {
        ("full_attention", _) => Ok(None),
        ("sliding_attention", Some(window)) => Ok(Some(window)),
        ("sliding_attention", None) => {
            Err(f.error("sliding_window", "a window, because layer_types has sliding layers"))
        }
        _ => Err(f.error("layer_types", "only full_attention and sliding_attention")),
    };
    layer_types.into_iter().map(of_layer).collect()
}

/// Table rows outside the blocks.
pub(super) fn outer_names(config: &TransformerConfig) -> Vec<Name> {
    let mut names = vec![
        whole("decoder.embedding", "model.embed_tokens"),
        whole("decoder.final_norm", "model.norm"),
        whole("head", "lm_head"),
    ];
    if config.head.tied {
        names.extend([whole("decoder.embedding", "lm_head"), whole("head", "model.embed_tokens")]);
    }
    names
}

/// Query, key and value as separate tensors.
pub(super) const QUERY_KEY_VALUE: [Name; 3] = [
    whole("decoder.layers.{}.self_attention.query", "model.layers.{}.self_attn.q_proj"),
    whole("decoder.layers.{}.self_attention.key", "model.layers.{}.self_attn.k_proj"),
    whole("decoder.layers.{}.self_attention.value", "model.layers.{}.self_attn.v_proj"),
];

/// Gate and up as separate tensors.
pub(super) const GATE_UP: [Name; 2] = [
    whole("decoder.layers.{}.feed_forward.gate", "model.layers.{}.mlp.gate_proj"),
    whole("decoder.layers.{}.feed_forward.up", "model.layers.{}.mlp.up_proj"),
];

/// Gate and up as one tensor.
pub(super) const PACKED_GATE_UP: [Name; 2] = {
    const GATE_UP: &str = "model.layers.{}.mlp.gate_up_proj";
    [
        laid_out("decoder.layers.{}.feed_forward.gate", GATE_UP, Layout::Rows(Packed::Gate)),
        laid_out("decoder.layers.{}.feed_forward.up", GATE_UP, Layout::Rows(Packed::Up)),
    ]
};

/// The output projections of both branches.
pub(super) const OUTPUT_DOWN: [Name; 2] = [
    whole("decoder.layers.{}.self_attention.output", "model.layers.{}.self_attn.o_proj"),
    whole("decoder.layers.{}.feed_forward.down", "model.layers.{}.mlp.down_proj"),
];

/// Norms before both branches.
pub(super) const PRE_NORMS: [Name; 2] = [
    whole("decoder.layers.{}.self_attention_norm", "model.layers.{}.input_layernorm"),
    whole("decoder.layers.{}.feed_forward_norm", "model.layers.{}.post_attention_layernorm"),
];

/// One norm that both branches read, where these are parallel.
pub(super) const SHARED_NORM: [Name; 2] = [
    whole("decoder.layers.{}.self_attention_norm", "model.layers.{}.input_layernorm"),
    whole("decoder.layers.{}.feed_forward_norm", "model.layers.{}.input_layernorm"),
];

/// Norms on the output of both branches.
pub(super) const OUTPUT_NORMS: [Name; 2] = [
    whole("decoder.layers.{}.self_attention_post_norm", "model.layers.{}.post_attention_layernorm"),
    whole("decoder.layers.{}.feed_forward_post_norm", "model.layers.{}.post_feedforward_layernorm"),
];

/// Norms of queries and keys.
pub(super) const QUERY_KEY_NORMS: [Name; 2] = [
    whole("decoder.layers.{}.self_attention.query_norm", "model.layers.{}.self_attn.q_norm"),
    whole("decoder.layers.{}.self_attention.key_norm", "model.layers.{}.self_attn.k_norm"),
];

/// The same by the name that they have where they are LayerNorms.
pub(super) const QUERY_KEY_LAYERNORMS: [Name; 2] = [
    whole("decoder.layers.{}.self_attention.query_norm", "model.layers.{}.self_attn.q_layernorm"),
    whole("decoder.layers.{}.self_attention.key_norm", "model.layers.{}.self_attn.k_layernorm"),
];

/// The name table of Llama.
pub(super) fn names(config: &TransformerConfig) -> Vec<Name> {
    [&outer_names(config)[..], &QUERY_KEY_VALUE, &GATE_UP, &OUTPUT_DOWN, &PRE_NORMS].concat()
}
