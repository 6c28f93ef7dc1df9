//! GLM 4 of 2024, and (`glm4`) GLM 4 and Z1 of 2025.
//!
//! Llama with interleaved rotary positions in half of each head, biases on queries, keys and values, and gate and up in one tensor. `glm4` also
//! normalizes the outputs of both branches.

use super::rotary::{RotaryFields, WHOLE_HEAD};
use super::{Family, llama_like};
use crate::ModelError;
use crate::config::{NormPlacement, SpecialTokens, TransformerConfig};
use crate::json::Fields;
use crate::names::{Name, whole};

pub(super) const GLM: Family = Family {
    name: "glm",
    configure: |f| configure(f, "glm"),
    names: |config| [&names(config)[..], &llama_like::PRE_NORMS].concat(),
    prefixes: &["model."],
    ignored: &["rotary_emb.inv_freq"],
};

pub(super) const GLM4: Family = Family {
    name: "glm4",
    configure: |f| {
        let mut config = configure(f, "glm4")?;
        config.decoder.norm_placement = NormPlacement::Sandwich;
        Ok(config)
    },
    names: |config| {
        let norms = [
            whole("decoder.layers.{}.self_attention_post_norm", "model.layers.{}.post_self_attn_layernorm"),
            whole("decoder.layers.{}.feed_forward_post_norm", "model.layers.{}.post_mlp_layernorm"),
        ];
        [&names(config)[..], &llama_like::PRE_NORMS, &norms].concat()
    },
    prefixes: &["model."],
    ignored: &["rotary_emb.inv_freq"],
};

fn configure(f: &Fields, family: &'static str) -> Result<TransformerConfig, ModelError> {
    let eos = vec![151_329, 151_336, 151_338];
    let defaults = llama_like::Defaults {
        n_kv_heads: Some(2),
        head_dim: Some(128),
        epsilon: 1.5625e-7,
        rotary: RotaryFields { share: Some((&["partial_rotary_factor"], 0.5)), interleaved: true, ..WHOLE_HEAD },
        special: SpecialTokens { bos: None, eos, pad: Some(151_329), decoder_start: None },
        ..llama_like::Defaults::llama(family)
    };
    let mut config = llama_like::configure(f, defaults)?;
    config.decoder.attention.qkv_bias = f.bool_or("attention_bias", true)?;
    Ok(config)
}

fn names(config: &TransformerConfig) -> Vec<Name> {
    [
        &llama_like::outer_names(config)[..],
        &llama_like::QUERY_KEY_VALUE,
        &llama_like::PACKED_GATE_UP,
        &llama_like::OUTPUT_DOWN,
    ]
    .concat()
}
