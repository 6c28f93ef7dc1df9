//! OLMoE.
//!
//! Llama with a mixture of experts in every layer, and with queries and keys normalized over all heads of a token.

use super::experts::{EXPERTS, Fields as ExpertFields, experts, weighing};
use super::{Family, llama_like};
use crate::config::{NormOver, SpecialTokens};

pub(super) const OLMOE: Family = Family {
    name: "olmoe",
    configure: |f| {
        let defaults = llama_like::Defaults {
            epsilon: 1e-5,
            special: SpecialTokens { bos: None, eos: vec![50_279], pad: Some(1), decoder_start: None },
            ..llama_like::Defaults::llama("olmoe")
        };
        let mut config = llama_like::configure(f, defaults)?;
        llama_like::attention_bias(f, &mut config)?;
        f.refuse("clip_qkv", "clipped queries, keys and values are not implemented")?;
        config.decoder.attention.query_key_norm = llama_like::query_key_norm(&config, NormOver::Token);
        let fields = ExpertFields { count: ("num_experts", 64), per_token: 8, size: ("intermediate_size", 2048) };
        config.decoder.experts = Some(experts(f, config.decoder.n_layers, weighing(f)?, fields)?);
        Ok(config)
    },
    names: |config| [&llama_like::names(config)[..], &EXPERTS, &llama_like::QUERY_KEY_NORMS].concat(),
    prefixes: &["model."],
    ignored: &["rotary_emb.inv_freq"],
};
