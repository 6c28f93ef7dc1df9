//! Mixtral.
//!
//! Mistral with a mixture of experts in every layer. The weights of a token's experts add up to 1.

use super::experts::{Fields as ExpertFields, experts};
use super::{Family, llama_like};
use crate::config::Weighing;
use crate::names::whole;

pub(super) const MIXTRAL: Family = Family {
    name: "mixtral",
    configure: |f| {
        let defaults =
            llama_like::Defaults { n_kv_heads: Some(8), epsilon: 1e-5, ..llama_like::Defaults::llama("mixtral") };
        let mut config = llama_like::configure(f, defaults)?;
        config.decoder.attention.windows.fill(llama_like::window(f, None)?);
        let fields =
            ExpertFields { count: ("num_local_experts", 8), per_token: 2, size: ("intermediate_size", 14_336) };
        config.decoder.experts = Some(experts(f, config.decoder.n_layers, Weighing::OfChosen, fields)?);
        Ok(config)
    },
    names: |config| {
        let experts = [
            whole("decoder.layers.{}.feed_forward.router", "model.layers.{}.block_sparse_moe.gate"),
            whole("decoder.layers.{}.feed_forward.experts.{}.gate", "model.layers.{}.block_sparse_moe.experts.{}.w1"),
            whole("decoder.layers.{}.feed_forward.experts.{}.up", "model.layers.{}.block_sparse_moe.experts.{}.w3"),
            whole("decoder.layers.{}.feed_forward.experts.{}.down", "model.layers.{}.block_sparse_moe.experts.{}.w2"),
        ];
        let output = &llama_like::OUTPUT_DOWN[..1];
        [&llama_like::outer_names(config)[..], &llama_like::QUERY_KEY_VALUE, output, &experts, &llama_like::PRE_NORMS]
            .concat()
    },
    prefixes: &["model."],
    ignored: &["rotary_emb.inv_freq"],
};
