//! StarCoder 2.
//!
//! Llama with LayerNorm, biases everywhere (`use_bias`), a feed-forward without a gate, and dropout of embeddings and of both branches.

use super::{Family, llama_like};
use crate::config::{NormKind, SpecialTokens};
use crate::names::whole;

pub(super) const STARCODER2: Family = Family {
    name: "starcoder2",
    configure: |f| {
        let defaults = llama_like::Defaults {
            tied: true,
            n_kv_heads: Some(2),
            activation: ("hidden_act", "gelu_pytorch_tanh"),
            special: SpecialTokens { bos: Some(50_256), eos: vec![50_256], ..SpecialTokens::default() },
            ..llama_like::Defaults::llama("starcoder2")
        };
        let mut config = llama_like::configure(f, defaults)?;
        llama_like::layer_norm(f, &mut config, NormKind::LayerNorm, "norm_epsilon")?;
        let bias = f.bool_or("use_bias", true)?;
        let stack = &mut config.decoder;
        stack.feed_forward.gated = false;
        stack.feed_forward.bias = bias;
        stack.attention.qkv_bias = bias;
        stack.attention.output_bias = bias;
        stack.attention.windows.fill(llama_like::window(f, None)?);
        stack.dropout.residual = Some(f.rate_or("residual_dropout", 0.0)?);
        stack.dropout.embedding = Some(f.rate_or("embedding_dropout", 0.0)?);
        Ok(config)
    },
    names: |config| {
        let branches = [
            whole("decoder.layers.{}.self_attention.output", "model.layers.{}.self_attn.o_proj"),
            whole("decoder.layers.{}.feed_forward.up", "model.layers.{}.mlp.c_fc"),
            whole("decoder.layers.{}.feed_forward.down", "model.layers.{}.mlp.c_proj"),
        ];
        [&llama_like::outer_names(config)[..], &llama_like::QUERY_KEY_VALUE, &branches, &llama_like::PRE_NORMS].concat()
    },
    prefixes: &["model."],
    ignored: &["rotary_emb.inv_freq"],
};
