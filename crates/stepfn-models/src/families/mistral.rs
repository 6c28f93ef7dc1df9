//! Mistral 7B and its descendants.
//!
//! Llama without biases, and with one sliding window for all layers (absent: 4096; `null`: none).

use super::{Family, llama_like};
use crate::ModelError;
use crate::config::TransformerConfig;
use crate::json::Fields;

pub(super) const MISTRAL: Family = Family {
    name: "mistral",
    configure: |f| configure(f, "mistral"),
    names: llama_like::names,
    prefixes: &["model."],
    ignored: &["rotary_emb.inv_freq"],
};

pub(super) fn configure(f: &Fields, family: &'static str) -> Result<TransformerConfig, ModelError> {
    f.only_bool("attention_bias", false, "Mistral has no biases")?;
    f.only_bool("mlp_bias", false, "Mistral has no biases")?;
    let defaults = llama_like::Defaults { n_kv_heads: Some(8), ..llama_like::Defaults::llama(family) };
    let mut config = llama_like::configure(f, defaults)?;
    config.decoder.attention.windows.fill(llama_like::window(f, Some(4096))?);
    Ok(config)
}
