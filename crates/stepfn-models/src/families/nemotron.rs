//! Nemotron 3 and 4, and Minitron.
//!
//! Llama with LayerNorms of weight 1 + w, half of each head rotated, and a feed-forward without a gate, whose nonlinearity is a squared ReLU.

use super::rotary::{RotaryFields, WHOLE_HEAD};
use super::{Family, llama_like};
use crate::config::{NormKind, SpecialTokens};

pub(super) const NEMOTRON: Family = Family {
    name: "nemotron",
    configure: |f| {
        let defaults = llama_like::Defaults {
            activation: ("hidden_act", "relu2"),
            rotary: RotaryFields { share: Some((&["partial_rotary_factor"], 0.5)), ..WHOLE_HEAD },
            special: SpecialTokens { bos: Some(2), eos: vec![3], pad: None, decoder_start: None },
            ..llama_like::Defaults::llama("nemotron")
        };
        let mut config = llama_like::configure(f, defaults)?;
        llama_like::layer_norm(f, &mut config, NormKind::LayerNormPlusOne, "norm_eps")?;
        llama_like::attention_bias(f, &mut config)?;
        config.decoder.feed_forward.gated = false;
        config.decoder.feed_forward.bias = f.bool_or("mlp_bias", false)?;
        Ok(config)
    },
    names: llama_like::names,
    prefixes: &["model."],
    ignored: &["rotary_emb.inv_freq"],
};
