//! Switch Transformers (Fedus et al. 2022, arXiv:2101.03961).
//!
//! T5 with a mixture of experts in some layers: each token goes to the expert that the router thinks most likely, and what it says is multiplied by that
//! probability. An expert takes `expert_capacity` tokens of a text.

use super::experts::{Fields as ExpertFields, experts};
use super::{Family, t5};
use crate::ModelError;
use crate::config::{ExpertsConfig, StackConfig, Weighing};
use crate::json::Fields;
use crate::names::{Name, whole};

pub(super) const SWITCH_TRANSFORMERS: Family = Family {
    name: "switch_transformers",
    configure: |f| {
        let mut config = t5::configure(f, "switch_transformers", true)?;
        let encoder = config.encoder.as_mut().map(|stack| ("encoder", stack));
        for (name, stack) in encoder.into_iter().chain([("decoder", &mut config.decoder)]) {
            stack.experts = Some(mixture(f, name, stack)?);
        }
        Ok(config)
    },
    names: |config| {
        let dense = |name: Name| DENSE.into_iter().find(|dense| dense.ours == name.ours).unwrap_or(name);
        t5::names(config).into_iter().map(dense).chain(EXPERTS).collect()
    },
    ..t5::T5
};

/// The experts of a stack: in the second of every so many layers, or in all.
fn mixture(f: &Fields, name: &str, stack: &StackConfig) -> Result<ExpertsConfig, ModelError> {
    let (sparse, step) = match name {
        "encoder" => ("num_sparse_encoder_layers", "encoder_sparse_step"),
        _ => ("num_sparse_decoder_layers", "decoder_sparse_step"),
    };
    let router = f.str_or("router_dtype", "float32")?;
    f.check(router == "float32", "router_dtype", "float32: a router of less precision chooses other experts")?;
    let capacity = f.usize_or("expert_capacity", 64)?;
    f.check(capacity > 0, "expert_capacity", "a whole number of tokens, 1 or greater")?;
    let layers = stack.n_layers;
    // transformers computes the step, and writes it into newer files.
    let usual = layers.checked_div(f.usize_or(sparse, 3)?).unwrap_or(layers);
    let every = f.usize_or(step, usual)?;
    let fields = ExpertFields { count: ("num_experts", 8), per_token: 1, size: ("d_ff", stack.feed_forward.size) };
    Ok(ExpertsConfig {
        router_bias: f.bool_or("router_bias", false)?,
        capacity: Some(capacity),
        layers: (0..layers).map(|layer| every == 1 || every > 1 && layer % every == 1).collect(),
        ..experts(f, layers, Weighing::OfAll, fields)?
    })
}

const DENSE: [Name; 4] = [
    whole("encoder.layers.{}.feed_forward.up", "encoder.block.{}.layer.1.mlp.wi"),
    whole("encoder.layers.{}.feed_forward.down", "encoder.block.{}.layer.1.mlp.wo"),
    whole("decoder.layers.{}.feed_forward.up", "decoder.block.{}.layer.2.mlp.wi"),
    whole("decoder.layers.{}.feed_forward.down", "decoder.block.{}.layer.2.mlp.wo"),
];

const EXPERTS: [Name; 6] = [
    whole("encoder.layers.{}.feed_forward.router", "encoder.block.{}.layer.1.mlp.router.classifier"),
    whole("encoder.layers.{}.feed_forward.experts.{}.up", "encoder.block.{}.layer.1.mlp.experts.expert_{}.wi"),
    whole("encoder.layers.{}.feed_forward.experts.{}.down", "encoder.block.{}.layer.1.mlp.experts.expert_{}.wo"),
    whole("decoder.layers.{}.feed_forward.router", "decoder.block.{}.layer.2.mlp.router.classifier"),
    whole("decoder.layers.{}.feed_forward.experts.{}.up", "decoder.block.{}.layer.2.mlp.experts.expert_{}.wi"),
    whole("decoder.layers.{}.feed_forward.experts.{}.down", "decoder.block.{}.layer.2.mlp.experts.expert_{}.wo"),
];
