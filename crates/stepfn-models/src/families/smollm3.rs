//! SmolLM 3.
//!
//! Llama in which every fourth layer has no positions (`no_rope_layers`, with 0 for such a layer). With `use_sliding_window`, these layers have a
//! sliding window.

use super::rotary::{RotaryFields, WHOLE_HEAD, in_layers};
use super::{Family, llama_like};
use crate::config::SpecialTokens;

pub(super) const SMOLLM3: Family = Family {
    name: "smollm3",
    configure: |f| {
        let defaults = llama_like::Defaults {
            tied: true,
            n_kv_heads: Some(4),
            rotary: RotaryFields { default_theta: 2_000_000.0, ..WHOLE_HEAD },
            special: SpecialTokens { bos: Some(128_000), eos: vec![128_001], pad: Some(128_004), decoder_start: None },
            ..llama_like::Defaults::llama("smollm3")
        };
        let mut config = llama_like::configure(f, defaults)?;
        llama_like::attention_bias(f, &mut config)?;
        let stack = &mut config.decoder;
        stack.feed_forward.bias = f.bool_or("mlp_bias", false)?;
        let interval = f.usize_or("no_rope_layer_interval", 4)?;
        f.check(interval > 0, "no_rope_layer_interval", "a whole number, 1 or greater")?;
        let rotates = match f.optional_numbers("no_rope_layers")? {
            Some(layers) => {
                f.check(
                    layers.len() >= stack.n_layers,
                    "no_rope_layers",
                    format!("{} entries or more", stack.n_layers),
                )?;
                layers.into_iter().map(|layer| layer != 0).collect()
            }
            None => (0..stack.n_layers).map(|layer| (layer + 1) % interval != 0).collect::<Vec<bool>>(),
        };
        stack.positions = in_layers(&stack.positions, stack.n_layers, |layer| rotates[layer]);
        let is_on = f.bool_or("use_sliding_window", false)?;
        let window = if is_on { llama_like::window(f, None)? } else { None };
        stack.attention.windows = llama_like::windows_by_layer(f, stack.n_layers, window, |layer| !rotates[layer])?;
        Ok(config)
    },
    names: llama_like::names,
    prefixes: &["model."],
    ignored: &["rotary_emb.inv_freq"],
};
