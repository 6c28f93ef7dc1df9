//! Granite 3.
//!
//! Llama with multipliers: of embeddings, of attention scores, of what both branches add, and (a divisor) of logits. With a mixture of experts
//! in every layer or without; the matrices of all experts of a layer are one tensor.

use super::experts::{Fields as ExpertFields, experts};
use super::{Family, llama_like};
use crate::ModelError;
use crate::config::{Residual, TransformerConfig, Weighing};
use crate::json::Fields;
use crate::names::{Layout, Packed, laid_out, whole};

pub(super) const GRANITE: Family = Family {
    name: "granite",
    configure: |f| {
        let mut config = configure(f, "granite")?;
        config.decoder.feed_forward.bias = f.bool_or("mlp_bias", false)?;
        Ok(config)
    },
    names: llama_like::names,
    prefixes: &["model."],
    ignored: &["rotary_emb.inv_freq"],
};

pub(super) const GRANITEMOE: Family = Family {
    name: "granitemoe",
    configure: |f| {
        let mut config = configure(f, "granitemoe")?;
        let fields =
            ExpertFields { count: ("num_local_experts", 8), per_token: 2, size: ("intermediate_size", 11_008) };
        config.decoder.experts = Some(experts(f, config.decoder.n_layers, Weighing::OfChosen, fields)?);
        Ok(config)
    },
    names: |config| {
        const INPUT: &str = "model.layers.{}.block_sparse_moe.input_linear";
        const OUTPUT: &str = "model.layers.{}.block_sparse_moe.output_linear";
        let experts = [
            whole("decoder.layers.{}.feed_forward.router", "model.layers.{}.block_sparse_moe.router.layer"),
            laid_out("decoder.layers.{}.feed_forward.experts.{}.gate", INPUT, Layout::Stacked(Some(Packed::Gate))),
            laid_out("decoder.layers.{}.feed_forward.experts.{}.up", INPUT, Layout::Stacked(Some(Packed::Up))),
            laid_out("decoder.layers.{}.feed_forward.experts.{}.down", OUTPUT, Layout::Stacked(None)),
        ];
        let output = &llama_like::OUTPUT_DOWN[..1];
        [&llama_like::outer_names(config)[..], &llama_like::QUERY_KEY_VALUE, output, &experts, &llama_like::PRE_NORMS]
            .concat()
    },
    prefixes: &["model."],
    ignored: &["rotary_emb.inv_freq"],
};

fn configure(f: &Fields, family: &'static str) -> Result<TransformerConfig, ModelError> {
    let mut config = llama_like::configure(f, llama_like::Defaults::llama(family))?;
    llama_like::attention_bias(f, &mut config)?;
    config.head.scale = 1.0 / f.positive_or("logits_scaling", 1.0)?;
    let stack = &mut config.decoder;
    stack.embedding_scale = f.positive_or("embedding_multiplier", 1.0)?;
    stack.attention.scale = f.positive_or("attention_multiplier", 1.0)?;
    stack.residual = Residual::Scaled(f.positive_or("residual_multiplier", 1.0)?);
    Ok(config)
}
