//! Apertus.
//!
//! Llama with queries and keys normalized per head, and a feed-forward without a gate, whose nonlinearity xIELU has parameters in every layer.

use super::rotary::{RotaryFields, WHOLE_HEAD};
use super::{Family, llama_like};
use crate::config::{NormOver, Positions, RotaryScaling, SpecialTokens};
use crate::names::whole;

pub(super) const APERTUS: Family = Family {
    name: "apertus",
    configure: |f| {
        let defaults = llama_like::Defaults {
            epsilon: 1e-5,
            activation: ("hidden_act", "xielu"),
            rotary: RotaryFields { default_theta: 12_000_000.0, ..WHOLE_HEAD },
            special: SpecialTokens { bos: Some(1), eos: vec![2], pad: Some(3), decoder_start: None },
            ..llama_like::Defaults::llama("apertus")
        };
        let mut config = llama_like::configure(f, defaults)?;
        llama_like::attention_bias(f, &mut config)?;
        config.decoder.attention.query_key_norm = llama_like::query_key_norm(&config, NormOver::Head);
        config.decoder.feed_forward.gated = false;
        if let (Positions::Rotary(rotary), false, false) =
            (&mut config.decoder.positions, f.has("rope_scaling"), f.has("rope_parameters"))
        {
            rotary.scaling = RotaryScaling::Llama3 {
                factor: 8.0,
                low_freq_factor: 1.0,
                high_freq_factor: 4.0,
                original_positions: 8192.0,
            };
        }
        Ok(config)
    },
    names: |config| {
        let own = [
            whole("decoder.layers.{}.self_attention_norm", "model.layers.{}.attention_layernorm"),
            whole("decoder.layers.{}.feed_forward_norm", "model.layers.{}.feedforward_layernorm"),
            whole("decoder.layers.{}.feed_forward.activation", "model.layers.{}.mlp.act_fn"),
        ];
        [&llama_like::names(config)[..], &llama_like::QUERY_KEY_NORMS, &own].concat()
    },
    prefixes: &["model."],
    // ε of a limit in the file is below what single precision shows.
    ignored: &["rotary_emb.inv_freq", "mlp.act_fn.eps"],
};
