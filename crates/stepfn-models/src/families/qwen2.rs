//! Qwen 1.5, 2 and 2.5 without experts.
//!
//! Llama with biases on queries, keys and values, but not on outputs. A sliding window applies only if `use_sliding_window` is true, and
//! then from layer `max_window_layers` on; in most published files it is off.

use super::{Family, llama_like};
use crate::ModelError;
use crate::config::SpecialTokens;
use crate::json::Fields;

pub(super) const QWEN2: Family = Family {
    name: "qwen2",
    configure: |f| {
        let defaults = llama_like::Defaults {
            n_kv_heads: Some(32),
            special: SpecialTokens::default(),
            ..llama_like::Defaults::llama("qwen2")
        };
        let mut config = llama_like::configure(f, defaults)?;
        config.decoder.attention.qkv_bias = true;
        config.decoder.attention.windows = windows(f, config.decoder.n_layers)?;
        Ok(config)
    },
    names: llama_like::names,
    prefixes: &["model."],
    ignored: &["rotary_emb.inv_freq"],
};

/// The window of each layer of a Qwen model.
pub(super) fn windows(f: &Fields, n_layers: usize) -> Result<Vec<Option<usize>>, ModelError> {
    let is_on = f.bool_or("use_sliding_window", false)?;
    let window = if is_on { llama_like::window(f, Some(4096))? } else { None };
    let first = f.usize_or("max_window_layers", 28)?;
    llama_like::windows_by_layer(f, n_layers, window, |layer| layer >= first)
}
