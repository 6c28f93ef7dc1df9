//! Arcee's AFM.
//!
//! Llama with a feed-forward without a gate, whose nonlinearity is a squared ReLU.

use super::{Family, llama_like};
use crate::config::SpecialTokens;

pub(super) const ARCEE: Family = Family {
    name: "arcee",
    configure: |f| {
        let defaults = llama_like::Defaults {
            epsilon: 1e-5,
            activation: ("hidden_act", "relu2"),
            special: SpecialTokens { bos: Some(128_000), eos: vec![128_001], pad: None, decoder_start: None },
            ..llama_like::Defaults::llama("arcee")
        };
        let mut config = llama_like::configure(f, defaults)?;
        llama_like::attention_bias(f, &mut config)?;
        config.decoder.feed_forward.gated = false;
        config.decoder.feed_forward.bias = f.bool_or("mlp_bias", false)?;
        Ok(config)
    },
    names: llama_like::names,
    prefixes: &["model."],
    ignored: &["rotary_emb.inv_freq"],
};
