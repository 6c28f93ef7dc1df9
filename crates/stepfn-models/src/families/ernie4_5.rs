//! ERNIE 4.5 without experts.
//!
//! Llama with interleaved rotary positions, biases everywhere or nowhere (`use_bias`), and no dropout.

use super::rotary::{RotaryFields, WHOLE_HEAD};
use super::{Family, llama_like};
use crate::config::{DropoutRates, SpecialTokens};

pub(super) const ERNIE4_5: Family = Family {
    name: "ernie4_5",
    configure: |f| {
        let defaults = llama_like::Defaults {
            tied: true,
            n_kv_heads: Some(2),
            head_dim: Some(128),
            epsilon: 1e-5,
            rotary: RotaryFields { default_theta: 500_000.0, interleaved: true, ..WHOLE_HEAD },
            special: SpecialTokens { bos: Some(1), eos: vec![2], pad: Some(0), decoder_start: None },
            ..llama_like::Defaults::llama("ernie4_5")
        };
        let mut config = llama_like::configure(f, defaults)?;
        let bias = f.bool_or("use_bias", false)?;
        let stack = &mut config.decoder;
        stack.attention.qkv_bias = bias;
        stack.attention.output_bias = bias;
        stack.feed_forward.bias = bias;
        stack.dropout = DropoutRates::default();
        Ok(config)
    },
    names: llama_like::names,
    prefixes: &["model."],
    ignored: &["rotary_emb.inv_freq"],
};
