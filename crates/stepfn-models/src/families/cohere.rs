//! Command R, Command R7B, Command A and Aya.
//!
//! Llama with LayerNorm without biases, parallel branches that read one norm, interleaved rotary positions, and scaled logits. `cohere` may
//! normalize queries and keys, with weights for every head; in `cohere2` three of four layers have a sliding window, and the others have no
//! positions.

use super::rotary::{RotaryFields, WHOLE_HEAD, in_layers};
use super::{Family, llama_like};
use crate::ModelError;
use crate::config::{NormKind, NormOver, Residual, SpecialTokens, TransformerConfig};
use crate::json::Fields;
use crate::names::Name;

pub(super) const COHERE: Family = Family {
    name: "cohere",
    configure: |f| {
        let mut config = configure(f, "cohere", 500_000.0)?;
        if f.bool_or("use_qk_norm", false)? {
            config.decoder.attention.query_key_norm = llama_like::query_key_norm(&config, NormOver::EachHead);
        }
        Ok(config)
    },
    names,
    prefixes: &["model."],
    ignored: &["rotary_emb.inv_freq"],
};

pub(super) const COHERE2: Family = Family {
    name: "cohere2",
    configure: |f| {
        f.only_bool("use_qk_norm", false, "the family doesn't normalize queries and keys")?;
        let mut config = configure(f, "cohere2", 10_000.0)?;
        let stack = &mut config.decoder;
        let window = llama_like::window(f, Some(4096))?;
        f.check(window.is_some(), "sliding_window", "a whole number, 1 or greater")?;
        let pattern = f.usize_or("sliding_window_pattern", 4)?;
        f.check(pattern > 0, "sliding_window_pattern", "a whole number, 1 or greater")?;
        let windows = llama_like::windows_by_layer(f, stack.n_layers, window, |layer| (layer + 1) % pattern != 0)?;
        stack.positions = in_layers(&stack.positions, stack.n_layers, |layer| windows[layer].is_some());
        stack.attention.windows = windows;
        Ok(config)
    },
    names,
    prefixes: &["model."],
    ignored: &["rotary_emb.inv_freq"],
};

fn configure(f: &Fields, family: &'static str, default_theta: f64) -> Result<TransformerConfig, ModelError> {
    let defaults = llama_like::Defaults {
        tied: true,
        rotary: RotaryFields { default_theta, interleaved: true, ..WHOLE_HEAD },
        special: SpecialTokens { bos: Some(5), eos: vec![255_001], pad: Some(0), decoder_start: None },
        ..llama_like::Defaults::llama(family)
    };
    let mut config = llama_like::configure(f, defaults)?;
    llama_like::layer_norm(f, &mut config, NormKind::LayerNormWithoutBias, "layer_norm_eps")?;
    llama_like::attention_bias(f, &mut config)?;
    config.decoder.residual = Residual::Parallel;
    config.head.scale = f.positive_or("logit_scale", 0.0625)?;
    Ok(config)
}

fn names(config: &TransformerConfig) -> Vec<Name> {
    [
        &llama_like::outer_names(config)[..],
        &llama_like::QUERY_KEY_VALUE,
        &llama_like::QUERY_KEY_NORMS,
        &llama_like::GATE_UP,
        &llama_like::OUTPUT_DOWN,
        &llama_like::SHARED_NORM,
    ]
    .concat()
}
