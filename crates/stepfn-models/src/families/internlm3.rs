//! InternLM 3.
//!
//! Llama with heads that are 128 wide by default. `qkv_bias` and `bias` are what Llama calls `attention_bias` and `mlp_bias`, and must be equal.

use super::{Family, llama_like};
use crate::config::SpecialTokens;

pub(super) const INTERNLM3: Family = Family {
    name: "internlm3",
    configure: |f| {
        let bias = f.bool_or(f.any_of(&["qkv_bias", "attention_bias"]), false)?;
        let name = f.any_of(&["bias", "mlp_bias"]);
        f.only_bool(
            name,
            bias,
            "biases of attention and not of the feed-forward, or the reverse, are not implemented",
        )?;
        let defaults = llama_like::Defaults {
            n_kv_heads: Some(2),
            head_dim: Some(128),
            epsilon: 1e-5,
            special: SpecialTokens { bos: Some(1), eos: vec![2], pad: Some(2), decoder_start: None },
            ..llama_like::Defaults::llama("internlm3")
        };
        let mut config = llama_like::configure(f, defaults)?;
        config.decoder.attention.qkv_bias = bias;
        config.decoder.attention.output_bias = bias;
        config.decoder.feed_forward.bias = bias;
        Ok(config)
    },
    names: llama_like::names,
    prefixes: &["model."],
    ignored: &["rotary_emb.inv_freq"],
};
