//! OLMo 1.
//!
//! Llama with LayerNorms that have neither weights nor biases. Clipped queries, keys and values (`clip_qkv`) are refused.

use super::{Family, llama_like};
use crate::config::{NormConfig, NormKind, SpecialTokens};

pub(super) const OLMO: Family = Family {
    name: "olmo",
    configure: |f| {
        f.refuse("clip_qkv", "clipped queries, keys and values are not implemented")?;
        let defaults = llama_like::Defaults {
            special: SpecialTokens { bos: None, eos: vec![50_279], pad: Some(1), decoder_start: None },
            ..llama_like::Defaults::llama("olmo")
        };
        let mut config = llama_like::configure(f, defaults)?;
        llama_like::attention_bias(f, &mut config)?;
        config.decoder.norm = NormConfig { kind: NormKind::LayerNormWithoutWeight, epsilon: 1e-5 };
        Ok(config)
    },
    names: llama_like::names,
    prefixes: &["model."],
    ignored: &["rotary_emb.inv_freq"],
};
