//! Granite 3 without experts.
//!
//! Llama with multipliers: of embeddings, of attention scores, of what both branches add, and (a divisor) of logits.

use super::{Family, llama_like};
use crate::config::Residual;

pub(super) const GRANITE: Family = Family {
    name: "granite",
    configure: |f| {
        let mut config = llama_like::configure(f, llama_like::Defaults::llama("granite"))?;
        llama_like::attention_bias(f, &mut config)?;
        config.head.scale = 1.0 / f.positive_or("logits_scaling", 1.0)?;
        let stack = &mut config.decoder;
        stack.feed_forward.bias = f.bool_or("mlp_bias", false)?;
        stack.embedding_scale = f.positive_or("embedding_multiplier", 1.0)?;
        stack.attention.scale = f.positive_or("attention_multiplier", 1.0)?;
        stack.residual = Residual::Scaled(f.positive_or("residual_multiplier", 1.0)?);
        Ok(config)
    },
    names: llama_like::names,
    prefixes: &["model."],
    ignored: &["rotary_emb.inv_freq"],
};
