//! The fields of mixtures of experts, and the names that most families give to their tensors.

use crate::ModelError;
use crate::config::{ExpertsConfig, Weighing};
use crate::json;
use crate::names::{Name, whole};

/// Fields with the defaults of a family.
pub(super) struct Fields {
    /// How many experts there are.
    pub(super) count: (&'static str, usize),
    /// Default of `num_experts_per_tok`.
    pub(super) per_token: usize,
    /// Width of an expert's hidden activations.
    pub(super) size: (&'static str, usize),
}

/// Experts in all layers, none of them shared.
pub(super) fn experts(
    f: &json::Fields,
    n_layers: usize,
    weighing: Weighing,
    Fields { count, per_token, size }: Fields,
) -> Result<ExpertsConfig, ModelError> {
    // transformers 5 writes the field under either name.
    let other = if count.0 == "num_experts" { "num_local_experts" } else { "num_experts" };
    let count = match f.optional_usize(count.0)? {
        Some(count) => count,
        None => f.usize_or(other, count.1)?,
    };
    let per_token = f.usize_or("num_experts_per_tok", per_token)?;
    let in_range = (1..=count).contains(&per_token);
    f.check(in_range, "num_experts_per_tok", format!("between 1 and {count}, the number of experts"))?;
    let size = f.usize_or(size.0, size.1)?;
    Ok(ExpertsConfig {
        count,
        per_token,
        size,
        weighing,
        router_bias: false,
        shared: None,
        capacity: None,
        layers: vec![true; n_layers],
    })
}

/// What `norm_topk_prob` says.
pub(super) fn weighing(f: &json::Fields) -> Result<Weighing, ModelError> {
    Ok(if f.bool_or("norm_topk_prob", false)? { Weighing::OfChosen } else { Weighing::OfAll })
}

/// Router and experts by the names of Qwen.
pub(super) const EXPERTS: [Name; 4] = [
    whole("decoder.layers.{}.feed_forward.router", "model.layers.{}.mlp.gate"),
    whole("decoder.layers.{}.feed_forward.experts.{}.gate", "model.layers.{}.mlp.experts.{}.gate_proj"),
    whole("decoder.layers.{}.feed_forward.experts.{}.up", "model.layers.{}.mlp.experts.{}.up_proj"),
    whole("decoder.layers.{}.feed_forward.experts.{}.down", "model.layers.{}.mlp.experts.{}.down_proj"),
];
