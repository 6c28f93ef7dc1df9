//! Ministral 8B of 2024, and (`ministral3`) the text models of Ministral 3.
//!
//! Mistral with a sliding window on those layers that `layer_types` says, or on all. Ministral 3 has queries that grow with their position
//! (`llama_4_scaling_beta`), and no window unless the file says so.

use super::rotary::{RotaryFields, WHOLE_HEAD};
use super::{Family, llama_like};
use crate::ModelError;
use crate::config::{QueryGrowth, SpecialTokens, TransformerConfig};
use crate::json::Fields;

pub(super) const MINISTRAL: Family = Family {
    name: "ministral",
    configure: |f| {
        let defaults = llama_like::Defaults { n_kv_heads: Some(8), ..llama_like::Defaults::llama("ministral") };
        let mut config = llama_like::configure(f, defaults)?;
        let window = llama_like::window(f, Some(4096))?;
        let stack = &mut config.decoder;
        stack.attention.windows = llama_like::windows_by_layer(f, stack.n_layers, window, |_| true)?;
        Ok(config)
    },
    names: llama_like::names,
    prefixes: &["model."],
    ignored: &["rotary_emb.inv_freq"],
};

pub(super) const MINISTRAL3: Family = Family {
    name: "ministral3",
    configure: |f| ministral3(f, "ministral3"),
    names: llama_like::names,
    prefixes: &["model."],
    ignored: &["rotary_emb.inv_freq"],
};

/// The configuration of the text model.
pub(super) fn ministral3(f: &Fields, family: &'static str) -> Result<TransformerConfig, ModelError> {
    let defaults = llama_like::Defaults {
        n_kv_heads: Some(8),
        head_dim: Some(128),
        epsilon: 1e-5,
        rotary: RotaryFields { default_theta: 1_000_000.0, ..WHOLE_HEAD },
        special: SpecialTokens { bos: Some(1), eos: vec![2], pad: Some(11), decoder_start: None },
        ..llama_like::Defaults::llama(family)
    };
    let mut config = llama_like::configure(f, defaults)?;
    let attention = &mut config.decoder.attention;
    attention.windows.fill(llama_like::window(f, None)?);
    let field = f.any_of(&["rope_scaling", "rope_parameters"]);
    let rotary = f.optional_object(field)?.ok_or_else(|| f.error(field, "the rotary positions"))?;
    let positions = rotary.positive("original_max_position_embeddings")?;
    attention.query_growth = Some(QueryGrowth { rate: rotary.positive("llama_4_scaling_beta")?, positions });
    Ok(config)
}
