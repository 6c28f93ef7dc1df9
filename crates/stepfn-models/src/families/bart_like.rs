//! The common structure of BART and its relatives (mBART, Marian, M2M-100, Pegasus, Blenderbot, PLBart, MVP, FSMT, LED): an encoder–decoder
//! with LayerNorm and biases everywhere. The two stacks may differ in depth, heads and feed-forward; token embeddings and head are usually
//! one tensor.
//!
//! Old files have `normalize_before`, `normalize_embedding`, `add_final_layer_norm`, `static_position_embeddings` and `add_bias_logits`.
//! Like transformers, we ignore these, because the family determines them.

use super::activation::activation;
use crate::ModelError;
use crate::config::{
    AttentionConfig, DropoutRates, FeedForwardConfig, HeadConfig, NormConfig, NormKind, NormPlacement, Positions,
    Residual, SpecialTokens, StackConfig, TransformerConfig,
};
use crate::json::Fields;
use crate::names::{Layout, Name, exact, whole};

/// What distinguishes the family, and its defaults for absent fields.
pub(super) struct Variant {
    pub(super) family: &'static str,
    pub(super) positions: fn(&Fields) -> Result<Positions, ModelError>,
    pub(super) norm_placement: NormPlacement,
    pub(super) embedding_norm: bool,
    pub(super) final_norm: bool,
    /// Whether the checkpoint has `final_logits_bias`.
    pub(super) head_bias: bool,
    pub(super) scale_embedding: bool,
    pub(super) activation: &'static str,
    pub(super) attention_dropout: f64,
    pub(super) special: SpecialTokens,
}

/// The configuration of a family.
pub(super) fn configure(f: &Fields, variant: Variant) -> Result<TransformerConfig, ModelError> {
    f.only_bool("tie_encoder_decoder", false, "an encoder that is also the decoder is not implemented")?;
    let tied = f.bool_or("tie_word_embeddings", true)?;
    Ok(TransformerConfig {
        family: variant.family,
        // FSMT has a vocabulary for each side.
        vocab_size: f.usize(f.any_of(&["tgt_vocab_size", "vocab_size"]))?,
        encoder_vocab_size: None,
        hidden_size: f.usize("d_model")?,
        encoder: Some(StackConfig {
            bidirectional: true,
            ..stack(f, &variant, ["encoder_layers", "encoder_attention_heads", "encoder_ffn_dim"])?
        }),
        decoder: stack(f, &variant, ["decoder_layers", "decoder_attention_heads", "decoder_ffn_dim"])?,
        shared_embeddings: tied,
        head: HeadConfig { transform: None, tied, scale: 1.0, bias: variant.head_bias, soft_cap: None },
        special: f.special_tokens(variant.special)?,
    })
}

fn stack(f: &Fields, variant: &Variant, [layers, heads, size]: [&str; 3]) -> Result<StackConfig, ModelError> {
    let hidden_size = f.usize("d_model")?;
    let n_layers = f.layers(layers)?;
    let (n_heads, head_dim) = f.heads(heads, hidden_size)?;
    let is_scaled = f.bool_or("scale_embedding", variant.scale_embedding)?;
    let dropout = f.rate_or("dropout", 0.1)?;
    Ok(StackConfig {
        n_layers,
        bidirectional: false,
        embedding_scale: if is_scaled { (hidden_size as f64).sqrt() } else { 1.0 },
        embedding_size: None,
        projected_last: false,
        token_types: None,
        embedding_norm: variant.embedding_norm,
        positions: (variant.positions)(f)?,
        norm: NormConfig { kind: NormKind::LayerNorm, epsilon: 1e-5 },
        first_norm: true,
        norm_placement: variant.norm_placement,
        final_norm: variant.final_norm,
        residual: Residual::Sequential,
        attention: AttentionConfig::multi_head(n_layers, n_heads, head_dim, true),
        feed_forward: FeedForwardConfig {
            size: f.usize(size)?,
            activation: activation(f, "activation_function", variant.activation)?,
            gated: false,
            gate_limit: None,
            bias: true,
        },
        experts: None,
        dropout: DropoutRates {
            embedding: Some(dropout),
            attention: Some(f.rate_or("attention_dropout", variant.attention_dropout)?),
            residual: Some(dropout),
            activation: Some(f.rate_or("activation_dropout", 0.0)?),
            feed_forward: None,
            last: None,
        },
    })
}

/// A position table whose first two rows belong to no position, a relic of fairseq.
pub(super) fn learned_positions(f: &Fields) -> Result<Positions, ModelError> {
    const OFFSET: usize = 2;
    Ok(Positions::Learned { offset: OFFSET, rows: f.usize("max_position_embeddings")? + OFFSET })
}

/// Marian's positions, which are computed; its tables end with the last position.
pub(super) fn sinusoidal_halves(f: &Fields) -> Result<Positions, ModelError> {
    check_sinusoidal_width(f)?;
    Ok(Positions::SinusoidalHalves { max: f.usize("max_position_embeddings")? })
}

/// fairseq's positions, which are computed. Padding has the row of its id, all zeros; texts start after that row.
pub(super) fn sinusoidal_fairseq(f: &Fields) -> Result<Positions, ModelError> {
    check_sinusoidal_width(f)?;
    let offset = f.usize_or("pad_token_id", 1)? + 1;
    Ok(Positions::SinusoidalFairseq { offset, made_for: f.optional_usize("max_position_embeddings")? })
}

/// Checks that the width can be split into sines and cosines.
fn check_sinusoidal_width(f: &Fields) -> Result<(), ModelError> {
    let hidden_size = f.usize("d_model")?;
    f.check(hidden_size >= 4 && hidden_size.is_multiple_of(2), "d_model", "an even number, 4 or greater")
}

/// Table rows of a block without cross-attention, in tensors whose names start with a base.
macro_rules! block {
    ($base:literal, $stack:literal: $($ours:literal = $theirs:literal),*) => {
        [$(whole(
            concat!($stack, ".layers.{}.", $ours),
            concat!($base, ".", $stack, ".layers.{}.", $theirs),
        )),*]
    };
    ($base:literal, $stack:literal) => {
        block!(
            $base, $stack:
            "self_attention.query" = "self_attn.q_proj",
            "self_attention.key" = "self_attn.k_proj",
            "self_attention.value" = "self_attn.v_proj",
            "self_attention.output" = "self_attn.out_proj",
            "self_attention_norm" = "self_attn_layer_norm",
            "feed_forward.up" = "fc1",
            "feed_forward.down" = "fc2",
            // The norm of the feed-forward. The stack's final norm is `layer_norm` in mBART and M2M-100, `final_layer_norm` in OPT.
            "feed_forward_norm" = "final_layer_norm"
        )
    };
}

/// Table rows of a decoder's cross-attention.
macro_rules! cross_attention {
    ($base:literal) => {
        block!(
            $base, "decoder":
            "cross_attention.query" = "encoder_attn.q_proj",
            "cross_attention.key" = "encoder_attn.k_proj",
            "cross_attention.value" = "encoder_attn.v_proj",
            "cross_attention.output" = "encoder_attn.out_proj",
            "cross_attention_norm" = "encoder_attn_layer_norm"
        )
    };
}

/// Table rows of a stack outside its blocks.
macro_rules! outside {
    ($base:literal, $stack:literal) => {
        [
            whole(concat!($stack, ".positions"), concat!($base, ".", $stack, ".embed_positions")),
            whole(concat!($stack, ".embedding_norm"), concat!($base, ".", $stack, ".layernorm_embedding")),
            whole(concat!($stack, ".final_norm"), concat!($base, ".", $stack, ".layer_norm")),
        ]
    };
}

/// Without cross-attention.
pub(super) const DECODER_BLOCK: [Name; 8] = block!("model", "decoder");

/// All rows but those of embeddings and head.
pub(super) const ROWS: [&[Name]; 5] = [
    &block!("model", "encoder"),
    &DECODER_BLOCK,
    &cross_attention!("model"),
    &outside!("model", "encoder"),
    &outside!("model", "decoder"),
];

/// The same in tensors of LED.
pub(super) const ROWS_OF_LED: [&[Name]; 5] = [
    &block!("led", "encoder"),
    &block!("led", "decoder"),
    &cross_attention!("led"),
    &outside!("led", "encoder"),
    &outside!("led", "decoder"),
];

/// Token embeddings and head. If they are one tensor, it may be stored under any of their names. A tensor's own name comes first: like
/// transformers, we keep tensors separate if the file has them separate.
pub(super) fn embedding_names(
    config: &TransformerConfig,
    shared: &'static str,
    encoder: &'static str,
    decoder: &'static str,
) -> Vec<Name> {
    let tied = config.head.tied;
    let mut names = vec![
        whole("encoder.embedding", encoder),
        whole("encoder.embedding", shared),
        whole("decoder.embedding", decoder),
        whole("decoder.embedding", shared),
        whole("head", "lm_head"),
    ];
    if config.shared_embeddings {
        names.extend([whole("encoder.embedding", decoder), whole("decoder.embedding", encoder)]);
    }
    if tied {
        names.extend([whole("decoder.embedding", "lm_head"), whole("head", decoder), whole("head", shared)]);
    }
    if config.shared_embeddings && tied {
        names.extend([whole("encoder.embedding", "lm_head"), whole("head", encoder)]);
    }
    names
}

/// The name table.
pub(super) fn names(config: &TransformerConfig) -> Vec<Name> {
    let embeddings =
        embedding_names(config, "model.shared", "model.encoder.embed_tokens", "model.decoder.embed_tokens");
    names_after(embeddings, &ROWS, config)
}

/// The name table, after the rows of embeddings and head.
pub(super) fn names_after(mut names: Vec<Name>, rows: &[&[Name]], config: &TransformerConfig) -> Vec<Name> {
    names.extend(rows.concat());
    if config.head.bias {
        names.push(exact("head.bias", "final_logits_bias", Layout::RowVector));
    }
    names
}
