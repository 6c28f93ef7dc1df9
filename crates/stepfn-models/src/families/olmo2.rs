//! OLMo 2 and 3.
//!
//! Llama with norms on the outputs of both branches and none before them, and with queries and keys normalized over all heads of a token. In
//! OLMo 3, three of four layers have a sliding window, and scaled rotary positions are those of the others.

use super::rotary::{RotaryFields, WHOLE_HEAD, by_window};
use super::{Family, llama_like};
use crate::ModelError;
use crate::config::{NormOver, NormPlacement, SpecialTokens, TransformerConfig};
use crate::json::Fields;
use crate::names::Name;

pub(super) const OLMO2: Family = Family {
    name: "olmo2",
    configure: |f| configure(f, "olmo2", WHOLE_HEAD),
    names,
    prefixes: &["model."],
    ignored: &["rotary_emb.inv_freq"],
};

pub(super) const OLMO3: Family = Family {
    name: "olmo3",
    configure: |f| {
        let rotary = RotaryFields { default_theta: 500_000.0, by_layer_type: true, ..WHOLE_HEAD };
        let mut config = configure(f, "olmo3", rotary)?;
        let window = llama_like::window(f, Some(4096))?;
        let stack = &mut config.decoder;
        stack.attention.windows =
            llama_like::windows_by_layer(f, stack.n_layers, window, |layer| (layer + 1) % 4 != 0)?;
        by_window(f, stack, &WHOLE_HEAD, ("rope_theta", 500_000.0))?;
        Ok(config)
    },
    names,
    prefixes: &["model."],
    ignored: &["rotary_emb.inv_freq"],
};

fn configure(f: &Fields, family: &'static str, rotary: RotaryFields) -> Result<TransformerConfig, ModelError> {
    let defaults = llama_like::Defaults {
        epsilon: 1e-5,
        rotary,
        special: SpecialTokens { bos: None, eos: vec![50_279], pad: Some(1), decoder_start: None },
        ..llama_like::Defaults::llama(family)
    };
    let mut config = llama_like::configure(f, defaults)?;
    llama_like::attention_bias(f, &mut config)?;
    config.decoder.norm_placement = NormPlacement::Output;
    config.decoder.attention.query_key_norm = llama_like::query_key_norm(&config, NormOver::Token);
    Ok(config)
}

/// The name table, also that of EXAONE 4.
pub(super) fn names(config: &TransformerConfig) -> Vec<Name> {
    [
        &llama_like::outer_names(config)[..],
        &llama_like::QUERY_KEY_VALUE,
        &llama_like::GATE_UP,
        &llama_like::OUTPUT_DOWN,
        &llama_like::OUTPUT_NORMS,
        &llama_like::QUERY_KEY_NORMS,
    ]
    .concat()
}
