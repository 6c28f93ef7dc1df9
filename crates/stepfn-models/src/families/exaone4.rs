//! EXAONE 4.
//!
//! Llama with norms on the outputs of both branches and none before them, and with queries and keys normalized per head. Three of four layers have
//! a sliding window, and where there are such layers, the others have no positions.

use super::rotary::in_layers;
use super::{Family, llama_like, olmo2};
use crate::config::{NormOver, NormPlacement, SpecialTokens};

pub(super) const EXAONE4: Family = Family {
    name: "exaone4",
    configure: |f| {
        let defaults = llama_like::Defaults {
            n_kv_heads: Some(32),
            epsilon: 1e-5,
            special: SpecialTokens { bos: Some(0), eos: vec![2], ..SpecialTokens::default() },
            ..llama_like::Defaults::llama("exaone4")
        };
        let mut config = llama_like::configure(f, defaults)?;
        config.decoder.attention.query_key_norm = llama_like::query_key_norm(&config, NormOver::Head);
        let stack = &mut config.decoder;
        stack.norm_placement = NormPlacement::Output;
        let window = llama_like::window(f, Some(4096))?;
        // Files with a pattern of letters have layer_types too.
        let pattern = if f.has("layer_types") { 4 } else { f.usize_or("sliding_window_pattern", 4)? };
        let slides = |layer: usize| pattern > 0 && !(layer + 1).is_multiple_of(pattern);
        stack.attention.windows = llama_like::windows_by_layer(f, stack.n_layers, window, slides)?;
        if window.is_some() {
            let windows = &stack.attention.windows;
            stack.positions = in_layers(&stack.positions, stack.n_layers, |layer| windows[layer].is_some());
        }
        Ok(config)
    },
    names: olmo2::names,
    prefixes: &["model."],
    ignored: &["rotary_emb.inv_freq"],
};
