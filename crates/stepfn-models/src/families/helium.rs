//! Helium 1.
//!
//! Llama with interleaved rotary positions. `attention_bias` applies to queries, keys and values alone.

use super::rotary::{RotaryFields, WHOLE_HEAD};
use super::{Family, llama_like};
use crate::config::SpecialTokens;

pub(super) const HELIUM: Family = Family {
    name: "helium",
    configure: |f| {
        let defaults = llama_like::Defaults {
            n_kv_heads: Some(20),
            head_dim: Some(128),
            epsilon: 1e-8,
            rotary: RotaryFields { default_theta: 100_000.0, interleaved: true, ..WHOLE_HEAD },
            special: SpecialTokens { bos: Some(1), eos: vec![2], pad: Some(3), decoder_start: None },
            ..llama_like::Defaults::llama("helium")
        };
        let mut config = llama_like::configure(f, defaults)?;
        config.decoder.attention.qkv_bias = f.bool_or("attention_bias", false)?;
        config.decoder.feed_forward.bias = f.bool_or("mlp_bias", false)?;
        Ok(config)
    },
    names: llama_like::names,
    prefixes: &["model."],
    ignored: &["rotary_emb.inv_freq"],
};
