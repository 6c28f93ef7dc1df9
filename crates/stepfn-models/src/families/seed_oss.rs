//! Seed-OSS.
//!
//! Llama with biases on queries, keys and values, and dropout on both branches' outputs. Heads are 128 wide by default.

use super::{Family, llama_like};
use crate::config::SpecialTokens;

pub(super) const SEED_OSS: Family = Family {
    name: "seed_oss",
    configure: |f| {
        let defaults = llama_like::Defaults {
            n_kv_heads: Some(8),
            head_dim: Some(128),
            special: SpecialTokens { bos: Some(0), eos: vec![2], pad: Some(1), decoder_start: None },
            ..llama_like::Defaults::llama("seed_oss")
        };
        let mut config = llama_like::configure(f, defaults)?;
        let stack = &mut config.decoder;
        stack.attention.qkv_bias = f.bool_or("attention_bias", true)?;
        stack.attention.output_bias = f.bool_or("attention_out_bias", false)?;
        stack.feed_forward.bias = f.bool_or("mlp_bias", false)?;
        stack.dropout.attention = Some(f.rate_or("attention_dropout", 0.1)?);
        stack.dropout.residual = Some(f.rate_or("residual_dropout", 0.1)?);
        Ok(config)
    },
    names: llama_like::names,
    prefixes: &["model."],
    ignored: &["rotary_emb.inv_freq"],
};
