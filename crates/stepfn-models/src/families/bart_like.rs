//! The common structure of BART and its descendants (mBART, Marian, M2M-100): an encoder–decoder with LayerNorm and biases everywhere. The
//! two stacks may differ in depth, heads and feed-forward; token embeddings and head are usually one tensor.
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
        vocab_size: f.usize("vocab_size")?,
        encoder_vocab_size: None,
        hidden_size: f.usize("d_model")?,
        encoder: Some(stack(f, &variant, ["encoder_layers", "encoder_attention_heads", "encoder_ffn_dim"])?),
        decoder: stack(f, &variant, ["decoder_layers", "decoder_attention_heads", "decoder_ffn_dim"])?,
        shared_embeddings: tied,
        head: HeadConfig { tied, scale: 1.0, bias: variant.head_bias, soft_cap: None },
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
        embedding_scale: if is_scaled { (hidden_size as f64).sqrt() } else { 1.0 },
        embedding_size: None,
        embedding_norm: variant.embedding_norm,
        positions: (variant.positions)(f)?,
        norm: NormConfig { kind: NormKind::LayerNorm, epsilon: 1e-5 },
        norm_placement: variant.norm_placement,
        final_norm: variant.final_norm,
        residual: Residual::Sequential,
        attention: AttentionConfig::multi_head(n_layers, n_heads, head_dim, true),
        feed_forward: FeedForwardConfig {
            size: f.usize(size)?,
            activation: activation(f, "activation_function", variant.activation)?,
            gated: false,
            bias: true,
        },
        dropout: DropoutRates {
            embedding: Some(dropout),
            attention: Some(f.rate_or("attention_dropout", variant.attention_dropout)?),
            residual: Some(dropout),
            activation: Some(f.rate_or("activation_dropout", 0.0)?),
            last: None,
        },
    })
}

/// A position table whose first two rows belong to no position, a relic of fairseq.
pub(super) fn learned_positions(f: &Fields) -> Result<Positions, ModelError> {
    const OFFSET: usize = 2;
    Ok(Positions::Learned { offset: OFFSET, rows: f.usize("max_position_embeddings")? + OFFSET })
}

/// Checks that the width can be split into sines and cosines.
pub(super) fn check_sinusoidal_width(f: &Fields) -> Result<(), ModelError> {
    let hidden_size = f.usize("d_model")?;
    f.check(hidden_size >= 4 && hidden_size.is_multiple_of(2), "d_model", "an even number, 4 or greater")
}

/// Table rows of a block without cross-attention.
macro_rules! block {
    ($stack:literal) => {
        [
            whole(
                concat!($stack, ".layers.{}.self_attention.query"),
                concat!("model.", $stack, ".layers.{}.self_attn.q_proj"),
            ),
            whole(
                concat!($stack, ".layers.{}.self_attention.key"),
                concat!("model.", $stack, ".layers.{}.self_attn.k_proj"),
            ),
            whole(
                concat!($stack, ".layers.{}.self_attention.value"),
                concat!("model.", $stack, ".layers.{}.self_attn.v_proj"),
            ),
            whole(
                concat!($stack, ".layers.{}.self_attention.output"),
                concat!("model.", $stack, ".layers.{}.self_attn.out_proj"),
            ),
            whole(
                concat!($stack, ".layers.{}.self_attention_norm"),
                concat!("model.", $stack, ".layers.{}.self_attn_layer_norm"),
            ),
            whole(concat!($stack, ".layers.{}.feed_forward.up"), concat!("model.", $stack, ".layers.{}.fc1")),
            whole(concat!($stack, ".layers.{}.feed_forward.down"), concat!("model.", $stack, ".layers.{}.fc2")),
            // The norm of the feed-forward. The stack's final norm is `layer_norm` in mBART and M2M-100, `final_layer_norm` in OPT.
            whole(
                concat!($stack, ".layers.{}.feed_forward_norm"),
                concat!("model.", $stack, ".layers.{}.final_layer_norm"),
            ),
        ]
    };
}

const ENCODER_BLOCK: [Name; 8] = block!("encoder");
/// Without cross-attention.
pub(super) const DECODER_BLOCK: [Name; 8] = block!("decoder");

const CROSS_ATTENTION: [Name; 5] = [
    whole("decoder.layers.{}.cross_attention.query", "model.decoder.layers.{}.encoder_attn.q_proj"),
    whole("decoder.layers.{}.cross_attention.key", "model.decoder.layers.{}.encoder_attn.k_proj"),
    whole("decoder.layers.{}.cross_attention.value", "model.decoder.layers.{}.encoder_attn.v_proj"),
    whole("decoder.layers.{}.cross_attention.output", "model.decoder.layers.{}.encoder_attn.out_proj"),
    whole("decoder.layers.{}.cross_attention_norm", "model.decoder.layers.{}.encoder_attn_layer_norm"),
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
    let mut names = embedding_names(config, "model.shared", "model.encoder.embed_tokens", "model.decoder.embed_tokens");
    names.extend([&ENCODER_BLOCK[..], &DECODER_BLOCK, &CROSS_ATTENTION].concat());
    if matches!(config.decoder.positions, Positions::Learned { .. }) {
        names.extend([
            whole("encoder.positions", "model.encoder.embed_positions"),
            whole("decoder.positions", "model.decoder.embed_positions"),
        ]);
    }
    if config.decoder.embedding_norm {
        names.extend([
            whole("encoder.embedding_norm", "model.encoder.layernorm_embedding"),
            whole("decoder.embedding_norm", "model.decoder.layernorm_embedding"),
        ]);
    }
    if config.decoder.final_norm {
        names.extend([
            whole("encoder.final_norm", "model.encoder.layer_norm"),
            whole("decoder.final_norm", "model.decoder.layer_norm"),
        ]);
    }
    if config.head.bias {
        names.push(exact("head.bias", "final_logits_bias", Layout::RowVector));
    }
    names
}
