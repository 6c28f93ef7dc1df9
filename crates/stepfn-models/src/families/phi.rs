//! Phi 1, 1.5 and 2.
//!
//! LayerNorm, biases everywhere, even on the logits; parallel branches that read one norm; the first half of each head is rotated; a feed-forward
//! without a gate.

use super::rotary::{RotaryFields, WHOLE_HEAD};
use super::{Family, llama_like};
use crate::config::{NormKind, NormOver, Residual};
use crate::names::whole;

pub(super) const PHI: Family = Family {
    name: "phi",
    configure: |f| {
        let defaults = llama_like::Defaults {
            activation: ("hidden_act", "gelu_new"),
            rotary: RotaryFields { share: Some((&["partial_rotary_factor"], 0.5)), ..WHOLE_HEAD },
            ..llama_like::Defaults::llama("phi")
        };
        let mut config = llama_like::configure(f, defaults)?;
        llama_like::layer_norm(f, &mut config, NormKind::LayerNorm, "layer_norm_eps")?;
        config.head.bias = true;
        if f.bool_or("qk_layernorm", false)? {
            config.decoder.attention.query_key_norm = llama_like::query_key_norm(&config, NormOver::Head);
        }
        let stack = &mut config.decoder;
        stack.residual = Residual::Parallel;
        stack.attention.qkv_bias = true;
        stack.attention.output_bias = true;
        stack.feed_forward.gated = false;
        stack.feed_forward.bias = true;
        stack.dropout.embedding = Some(f.rate_or("embd_pdrop", 0.0)?);
        stack.dropout.residual = Some(f.rate_or("resid_pdrop", 0.0)?);
        Ok(config)
    },
    names: |config| {
        let own = [
            whole("decoder.layers.{}.self_attention.output", "model.layers.{}.self_attn.dense"),
            whole("decoder.layers.{}.feed_forward.up", "model.layers.{}.mlp.fc1"),
            whole("decoder.layers.{}.feed_forward.down", "model.layers.{}.mlp.fc2"),
            whole("decoder.final_norm", "model.final_layernorm"),
        ];
        [
            &llama_like::outer_names(config)[..],
            &llama_like::QUERY_KEY_VALUE,
            &llama_like::QUERY_KEY_LAYERNORMS,
            &llama_like::SHARED_NORM,
            &own,
        ]
        .concat()
    },
    prefixes: &["model."],
    ignored: &["rotary_emb.inv_freq"],
};
