//! Qwen 3 without experts.
//!
//! Llama with queries and keys normalized per head before the rotation. Heads are 128 wide by default; `attention_bias` applies to all four
//! projections; windows as in Qwen 2.

use super::{Family, llama_like, qwen2};
use crate::config::SpecialTokens;
use crate::names::whole;

pub(super) const QWEN3: Family = Family {
    name: "qwen3",
    configure: |f| {
        let defaults = llama_like::Defaults {
            n_kv_heads: Some(32),
            head_dim: Some(128),
            special: SpecialTokens::default(),
            ..llama_like::Defaults::llama("qwen3")
        };
        let mut config = llama_like::configure(f, defaults)?;
        let bias = f.bool_or("attention_bias", false)?;
        let attention = &mut config.decoder.attention;
        attention.qkv_bias = bias;
        attention.output_bias = bias;
        attention.query_key_norm = true;
        attention.windows = qwen2::windows(f, config.decoder.n_layers)?;
        Ok(config)
    },
    names: |config| {
        let mut names = llama_like::names(config);
        names.extend([
            whole("decoder.layers.{}.self_attention.query_norm", "model.layers.{}.self_attn.q_norm"),
            whole("decoder.layers.{}.self_attention.key_norm", "model.layers.{}.self_attn.k_norm"),
        ]);
        names
    },
    prefixes: &["model."],
    ignored: &["rotary_emb.inv_freq"],
};
