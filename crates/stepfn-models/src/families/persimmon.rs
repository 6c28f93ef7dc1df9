//! Persimmon 8B.
//!
//! LayerNorm, biases everywhere but on the logits, queries and keys normalized per head, half of each head rotated, query, key and value stored head by head,
//! and a feed-forward without a gate, whose nonlinearity is a squared ReLU. Dropout of the feed-forward alone is refused.

use super::rotary::{RotaryFields, WHOLE_HEAD};
use super::{Family, llama_like};
use crate::config::{NormKind, NormOver};
use crate::names::{Layout, Packed, laid_out, whole};

pub(super) const PERSIMMON: Family = Family {
    name: "persimmon",
    configure: |f| {
        let rate = f.rate_or("hidden_dropout", 0.0)?;
        f.check(rate == 0.0, "hidden_dropout", "0: dropout of the feed-forward alone is not implemented")?;
        let defaults = llama_like::Defaults {
            activation: ("hidden_act", "relu2"),
            rotary: RotaryFields { share: Some((&["partial_rotary_factor"], 0.5)), ..WHOLE_HEAD },
            ..llama_like::Defaults::llama("persimmon")
        };
        let mut config = llama_like::configure(f, defaults)?;
        llama_like::layer_norm(f, &mut config, NormKind::LayerNorm, "layer_norm_eps")?;
        if f.bool_or("qk_layernorm", true)? {
            config.decoder.attention.query_key_norm = llama_like::query_key_norm(&config, NormOver::Head);
        }
        let stack = &mut config.decoder;
        stack.attention.qkv_bias = true;
        stack.attention.output_bias = true;
        stack.feed_forward.gated = false;
        stack.feed_forward.bias = true;
        Ok(config)
    },
    names: |config| {
        let qkv = "model.layers.{}.self_attn.query_key_value";
        let own = [
            laid_out("decoder.layers.{}.self_attention.query", qkv, Layout::PerHead(Packed::Query)),
            laid_out("decoder.layers.{}.self_attention.key", qkv, Layout::PerHead(Packed::Key)),
            laid_out("decoder.layers.{}.self_attention.value", qkv, Layout::PerHead(Packed::Value)),
            whole("decoder.layers.{}.self_attention.output", "model.layers.{}.self_attn.dense"),
            whole("decoder.layers.{}.feed_forward.up", "model.layers.{}.mlp.dense_h_to_4h"),
            whole("decoder.layers.{}.feed_forward.down", "model.layers.{}.mlp.dense_4h_to_h"),
            whole("decoder.final_norm", "model.final_layernorm"),
        ];
        [&llama_like::outer_names(config)[..], &llama_like::QUERY_KEY_LAYERNORMS, &llama_like::PRE_NORMS, &own].concat()
    },
    prefixes: &["model."],
    ignored: &["rotary_emb.inv_freq"],
};
