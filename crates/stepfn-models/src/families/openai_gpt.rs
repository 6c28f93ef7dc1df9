//! GPT of 2018.
//!
//! GPT-2 with norms after the residual sums and none at the end. The nonlinearity that files call `gelu` is the approximation by tanh.

use super::Family;
use super::gpt_like::{self, Names};
use crate::config::{Activation, NormPlacement, SpecialTokens};
use crate::names::{Layout, Packed, laid_out, whole};

pub(super) const OPENAI_GPT: Family = Family {
    name: "openai-gpt",
    configure: |f| {
        let names = Names { activation: ("afn", "gelu"), inner: None, ..gpt_like::GPT2 };
        let mut config = gpt_like::configure(f, "openai-gpt", &names, 0, SpecialTokens::default())?;
        let stack = &mut config.decoder;
        stack.norm_placement = NormPlacement::Post;
        stack.final_norm = false;
        if stack.feed_forward.activation == Activation::Gelu {
            stack.feed_forward.activation = Activation::GeluTanh;
        }
        Ok(config)
    },
    names: |config| {
        let qkv = "transformer.h.{}.attn.c_attn";
        let mut names = vec![
            whole("decoder.embedding", "transformer.tokens_embed"),
            whole("decoder.positions", "transformer.positions_embed"),
            laid_out("decoder.layers.{}.self_attention.query", qkv, Layout::Columns(Packed::Query)),
            laid_out("decoder.layers.{}.self_attention.key", qkv, Layout::Columns(Packed::Key)),
            laid_out("decoder.layers.{}.self_attention.value", qkv, Layout::Columns(Packed::Value)),
            laid_out("decoder.layers.{}.self_attention.output", "transformer.h.{}.attn.c_proj", Layout::Transposed),
            whole("decoder.layers.{}.self_attention_norm", "transformer.h.{}.ln_1"),
            laid_out("decoder.layers.{}.feed_forward.up", "transformer.h.{}.mlp.c_fc", Layout::Transposed),
            laid_out("decoder.layers.{}.feed_forward.down", "transformer.h.{}.mlp.c_proj", Layout::Transposed),
            whole("decoder.layers.{}.feed_forward_norm", "transformer.h.{}.ln_2"),
            whole("head", "lm_head"),
        ];
        if config.head.tied {
            names.extend([whole("decoder.embedding", "lm_head"), whole("head", "transformer.tokens_embed")]);
        }
        names
    },
    prefixes: &["transformer."],
    ignored: &[".attn.bias", "position_ids"],
};
