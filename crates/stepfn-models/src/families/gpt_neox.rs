//! GPT-NeoX-20B and Pythia.
//!
//! Attention and feed-forward see the same input (`use_parallel_residual`), each through its own norm; the first part of each head is
//! rotated; query, key and value are stored head by head. The head is stored as `embed_out`.

use super::Family;
use super::activation::activation;
use super::rotary::{RotaryFields, rotary};
use crate::config::{
    AttentionConfig, DropoutRates, FeedForwardConfig, HeadConfig, NormConfig, NormKind, NormPlacement, Positions,
    Residual, SpecialTokens, StackConfig, TransformerConfig,
};
use crate::names::{Layout, Packed, laid_out, whole};

const ROTARY: RotaryFields = RotaryFields {
    theta: &["rope_theta", "rotary_emb_base"],
    share: Some((&["partial_rotary_factor", "rotary_pct"], 0.25)),
    ..super::rotary::WHOLE_HEAD
};

pub(super) const GPT_NEOX: Family = Family {
    name: "gpt_neox",
    configure: |f| {
        let hidden_size = f.usize("hidden_size")?;
        let n_layers = f.layers("num_hidden_layers")?;
        let (n_heads, head_dim) = f.heads("num_attention_heads", hidden_size)?;
        let is_parallel = f.bool_or("use_parallel_residual", true)?;
        let attention_bias = f.bool_or("attention_bias", true)?;
        let hidden_dropout = f.rate_or("hidden_dropout", 0.0)?;
        Ok(TransformerConfig {
            family: "gpt_neox",
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
                positions: Positions::Rotary(rotary(f, head_dim, &ROTARY)?),
                norm: NormConfig { kind: NormKind::LayerNorm, epsilon: f.positive_or("layer_norm_eps", 1e-5)? },
                first_norm: true,
                norm_placement: NormPlacement::Pre,
                final_norm: true,
                residual: if is_parallel { Residual::Parallel } else { Residual::Sequential },
                attention: AttentionConfig::multi_head(n_layers, n_heads, head_dim, attention_bias),
                feed_forward: FeedForwardConfig {
                    size: f.usize("intermediate_size")?,
                    activation: activation(f, "hidden_act", "gelu")?,
                    gated: false,
                    gate_limit: None,
                    bias: true,
                },
                experts: None,
                dropout: DropoutRates {
                    embedding: Some(hidden_dropout),
                    attention: Some(f.rate_or("attention_dropout", 0.0)?),
                    residual: Some(hidden_dropout),
                    ..DropoutRates::default()
                },
            },
            shared_embeddings: false,
            head: HeadConfig {
                transform: None,
                tied: f.bool_or("tie_word_embeddings", false)?,
                scale: 1.0,
                bias: false,
                soft_cap: None,
            },
            special: f.special_tokens(SpecialTokens { bos: Some(0), eos: vec![2], ..SpecialTokens::default() })?,
        })
    },
    names: |config| {
        let qkv = "gpt_neox.layers.{}.attention.query_key_value";
        let mut names = vec![
            whole("decoder.embedding", "gpt_neox.embed_in"),
            whole("decoder.layers.{}.self_attention_norm", "gpt_neox.layers.{}.input_layernorm"),
            laid_out("decoder.layers.{}.self_attention.query", qkv, Layout::PerHead(Packed::Query)),
            laid_out("decoder.layers.{}.self_attention.key", qkv, Layout::PerHead(Packed::Key)),
            laid_out("decoder.layers.{}.self_attention.value", qkv, Layout::PerHead(Packed::Value)),
            whole("decoder.layers.{}.self_attention.output", "gpt_neox.layers.{}.attention.dense"),
            whole("decoder.layers.{}.feed_forward_norm", "gpt_neox.layers.{}.post_attention_layernorm"),
            whole("decoder.layers.{}.feed_forward.up", "gpt_neox.layers.{}.mlp.dense_h_to_4h"),
            whole("decoder.layers.{}.feed_forward.down", "gpt_neox.layers.{}.mlp.dense_4h_to_h"),
            whole("decoder.final_norm", "gpt_neox.final_layer_norm"),
            whole("head", "embed_out"),
            whole("head", "lm_head"),
        ];
        if config.head.tied {
            names.extend([
                whole("decoder.embedding", "embed_out"),
                whole("decoder.embedding", "lm_head"),
                whole("head", "gpt_neox.embed_in"),
            ]);
        }
        names
    },
    prefixes: &["gpt_neox."],
    ignored: &[".attention.bias", ".attention.masked_bias", "rotary_emb.inv_freq"],
};
