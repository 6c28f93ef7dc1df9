//! Qwen 1.5, 2 and 3 with experts.
//!
//! The dense models with a mixture of experts in some layers: by `mlp_only_layers`, and in every `decoder_sparse_step`-th. In Qwen 2, every
//! token also goes to a shared expert, whose share is gated.

use super::experts::{EXPERTS, Fields as ExpertFields, experts, weighing};
use super::{Family, llama_like};
use crate::ModelError;
use crate::config::{NormOver, SharedExpert, SpecialTokens, TransformerConfig};
use crate::json::Fields;
use crate::names::whole;

pub(super) const QWEN2_MOE: Family = Family {
    name: "qwen2_moe",
    configure: |f| {
        let mut config = configure(f, "qwen2_moe", 16, None, (60, 4, 1408))?;
        config.decoder.attention.qkv_bias = f.bool_or("qkv_bias", true)?;
        let shared = SharedExpert { size: f.usize_or("shared_expert_intermediate_size", 5632)?, gated: true };
        config.decoder.experts.as_mut().map(|experts| experts.shared.insert(shared));
        Ok(config)
    },
    names: |config| {
        let shared = [
            whole("decoder.layers.{}.feed_forward.shared.gate", "model.layers.{}.mlp.shared_expert.gate_proj"),
            whole("decoder.layers.{}.feed_forward.shared.up", "model.layers.{}.mlp.shared_expert.up_proj"),
            whole("decoder.layers.{}.feed_forward.shared.down", "model.layers.{}.mlp.shared_expert.down_proj"),
            whole("decoder.layers.{}.feed_forward.shared_gate", "model.layers.{}.mlp.shared_expert_gate"),
        ];
        [&llama_like::names(config)[..], &EXPERTS, &shared].concat()
    },
    prefixes: &["model."],
    ignored: &["rotary_emb.inv_freq"],
};

pub(super) const QWEN3_MOE: Family = Family {
    name: "qwen3_moe",
    configure: |f| {
        let mut config = configure(f, "qwen3_moe", 4, None, (128, 8, 768))?;
        llama_like::attention_bias(f, &mut config)?;
        config.decoder.attention.query_key_norm = llama_like::query_key_norm(&config, NormOver::Head);
        Ok(config)
    },
    names: |config| [&llama_like::names(config)[..], &EXPERTS, &llama_like::QUERY_KEY_NORMS].concat(),
    prefixes: &["model."],
    ignored: &["rotary_emb.inv_freq"],
};

fn configure(
    f: &Fields,
    family: &'static str,
    n_kv_heads: usize,
    head_dim: Option<usize>,
    (count, per_token, size): (usize, usize, usize),
) -> Result<TransformerConfig, ModelError> {
    let defaults = llama_like::Defaults {
        n_kv_heads: Some(n_kv_heads),
        head_dim,
        special: SpecialTokens::default(),
        ..llama_like::Defaults::llama(family)
    };
    let mut config = llama_like::configure(f, defaults)?;
    f.only_bool("use_sliding_window", false, "sliding windows of this family are not implemented")?;
    let fields = ExpertFields { count: ("num_experts", count), per_token, size: ("moe_intermediate_size", size) };
    let mut experts = experts(f, config.decoder.n_layers, weighing(f)?, fields)?;
    let dense = f.optional_numbers("mlp_only_layers")?.unwrap_or_default();
    let step = f.usize_or("decoder_sparse_step", 1)?;
    f.check(step > 0, "decoder_sparse_step", "a whole number, 1 or greater")?;
    for (layer, sparse) in experts.layers.iter_mut().enumerate() {
        *sparse = !dense.contains(&(layer as u64)) && (layer + 1).is_multiple_of(step);
    }
    config.decoder.experts = Some(experts);
    Ok(config)
}
