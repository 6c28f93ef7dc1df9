//! Gemma 1.
//!
//! Llama with embeddings times √d and norms with weight 1 + w. Heads are 256 wide by default, and the nonlinearity that files call `gelu` is the
//! approximation by tanh.

use super::{Family, llama_like};
use crate::config::{Activation, NormKind, SpecialTokens};

pub(super) const GEMMA: Family = Family {
    name: "gemma",
    configure: |f| {
        let defaults = llama_like::Defaults {
            tied: true,
            n_kv_heads: Some(16),
            head_dim: Some(256),
            activation: ("hidden_act", "gelu_pytorch_tanh"),
            special: SpecialTokens { bos: Some(2), eos: vec![1], pad: Some(0), decoder_start: None },
            ..llama_like::Defaults::llama("gemma")
        };
        let mut config = llama_like::configure(f, defaults)?;
        llama_like::attention_bias(f, &mut config)?;
        let stack = &mut config.decoder;
        stack.embedding_scale = (config.hidden_size as f64).sqrt();
        stack.norm.kind = NormKind::RmsNormPlusOne;
        if stack.feed_forward.activation == Activation::Gelu {
            stack.feed_forward.activation = Activation::GeluTanh;
        }
        Ok(config)
    },
    names: llama_like::names,
    prefixes: &["model."],
    ignored: &["rotary_emb.inv_freq"],
};
