//! BLOOM and BLOOMZ.
//!
//! ALiBi positions; normalized embeddings; query, key and value stored head by head; a feed-forward four times as wide as the model.
//! `apply_residual_connection_post_layernorm` would be a different model and is refused.

use super::Family;
use crate::config::{
    Activation, AttentionConfig, DropoutRates, FeedForwardConfig, HeadConfig, NormConfig, NormKind, NormPlacement,
    Positions, Residual, SpecialTokens, StackConfig, TransformerConfig,
};
use crate::names::{Layout, Packed, laid_out, whole};

pub(super) const BLOOM: Family = Family {
    name: "bloom",
    configure: |f| {
        let why = "residual connections that start after the norm are not implemented";
        f.only_bool("apply_residual_connection_post_layernorm", false, why)?;
        let hidden_size = f.usize(f.any_of(&["n_embed", "hidden_size"]))?;
        let size = 4 * hidden_size;
        f.check(f.usize_or("n_inner", size)? == size, "n_inner", format!("null or {size}, four times the width"))?;
        let n_layers = f.layers(f.any_of(&["n_layer", "num_hidden_layers"]))?;
        let (n_heads, head_dim) = f.heads(f.any_of(&["n_head", "num_attention_heads"]), hidden_size)?;
        Ok(TransformerConfig {
            family: "bloom",
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
                embedding_norm: true,
                positions: Positions::Alibi { made_for: f.optional_usize("seq_length")? },
                norm: NormConfig { kind: NormKind::LayerNorm, epsilon: f.positive_or("layer_norm_epsilon", 1e-5)? },
                first_norm: true,
                norm_placement: NormPlacement::Pre,
                final_norm: true,
                residual: Residual::Sequential,
                attention: AttentionConfig::multi_head(n_layers, n_heads, head_dim, true),
                feed_forward: FeedForwardConfig {
                    size,
                    activation: Activation::GeluTanh,
                    gated: false,
                    gate_limit: None,
                    bias: true,
                },
                experts: None,
                dropout: DropoutRates {
                    attention: Some(f.rate_or("attention_dropout", 0.0)?),
                    residual: Some(f.rate_or("hidden_dropout", 0.0)?),
                    ..DropoutRates::default()
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
            special: f.special_tokens(SpecialTokens { bos: Some(1), eos: vec![2], ..SpecialTokens::default() })?,
        })
    },
    names: |config| {
        let qkv = "transformer.h.{}.self_attention.query_key_value";
        let mut names = vec![
            whole("decoder.embedding", "transformer.word_embeddings"),
            whole("decoder.embedding_norm", "transformer.word_embeddings_layernorm"),
            whole("decoder.layers.{}.self_attention_norm", "transformer.h.{}.input_layernorm"),
            laid_out("decoder.layers.{}.self_attention.query", qkv, Layout::PerHead(Packed::Query)),
            laid_out("decoder.layers.{}.self_attention.key", qkv, Layout::PerHead(Packed::Key)),
            laid_out("decoder.layers.{}.self_attention.value", qkv, Layout::PerHead(Packed::Value)),
            whole("decoder.layers.{}.self_attention.output", "transformer.h.{}.self_attention.dense"),
            whole("decoder.layers.{}.feed_forward_norm", "transformer.h.{}.post_attention_layernorm"),
            whole("decoder.layers.{}.feed_forward.up", "transformer.h.{}.mlp.dense_h_to_4h"),
            whole("decoder.layers.{}.feed_forward.down", "transformer.h.{}.mlp.dense_4h_to_h"),
            whole("decoder.final_norm", "transformer.ln_f"),
            whole("head", "lm_head"),
        ];
        if config.head.tied {
            names.extend([whole("decoder.embedding", "lm_head"), whole("head", "transformer.word_embeddings")]);
        }
        names
    },
    prefixes: &["transformer."],
    ignored: &[],
};
