//! Llama 1–3.x, and models published in its format: TinyLlama, SmolLM, Vicuna, Yi.
//!
//! The reference for Llama-like models. `attention_bias` and `mlp_bias` apply to all projections of attention and feed-forward. Rotary
//! scaling is `linear` or `llama3`.

use super::{Family, llama_like};

pub(super) const LLAMA: Family = Family {
    name: "llama",
    configure: |f| {
        let mut config = llama_like::configure(f, llama_like::Defaults::llama("llama"))?;
        llama_like::attention_bias(f, &mut config)?;
        config.decoder.feed_forward.bias = f.bool_or("mlp_bias", false)?;
        Ok(config)
    },
    names: llama_like::names,
    prefixes: &["model."],
    ignored: &["rotary_emb.inv_freq"],
};
