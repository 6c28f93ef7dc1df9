//! Mistral 7B and its descendants.
//!
//! Llama without biases, and with one sliding window for all layers (absent: 4096; `null`: none).

use super::{Family, llama_like};

pub(super) const MISTRAL: Family = Family {
    name: "mistral",
    configure: |f| {
        f.only_bool("attention_bias", false, "Mistral has no biases")?;
        f.only_bool("mlp_bias", false, "Mistral has no biases")?;
        let defaults = llama_like::Defaults { n_kv_heads: Some(8), ..llama_like::Defaults::llama("mistral") };
        let mut config = llama_like::configure(f, defaults)?;
        config.decoder.attention.windows.fill(llama_like::window(f, Some(4096))?);
        Ok(config)
    },
    names: llama_like::names,
    prefixes: &["model."],
    ignored: &["rotary_emb.inv_freq"],
};
