//! GPT-2 and DistilGPT-2.
//!
//! Learned positions; projections stored as `[in, out]` (`Conv1D`), with query, key and value side by side in one tensor.

use super::{Family, gpt_like};
use crate::config::SpecialTokens;
use crate::names::{Layout, Packed, laid_out, whole};

pub(super) const GPT2: Family = Family {
    name: "gpt2",
    configure: |f| {
        f.only_bool("scale_attn_weights", true, "unscaled attention is not implemented")?;
        f.only_bool("scale_attn_by_inverse_layer_idx", false, "scaling scores by layer index is not implemented")?;
        let special = SpecialTokens { bos: Some(50_256), eos: vec![50_256], ..SpecialTokens::default() };
        gpt_like::configure(f, "gpt2", &gpt_like::GPT2, 0, special)
    },
    names: |config| {
        let qkv = "transformer.h.{}.attn.c_attn";
        let mut names = vec![
            whole("decoder.embedding", "transformer.wte"),
            whole("decoder.positions", "transformer.wpe"),
            whole("decoder.layers.{}.self_attention_norm", "transformer.h.{}.ln_1"),
            laid_out("decoder.layers.{}.self_attention.query", qkv, Layout::Columns(Packed::Query)),
            laid_out("decoder.layers.{}.self_attention.key", qkv, Layout::Columns(Packed::Key)),
            laid_out("decoder.layers.{}.self_attention.value", qkv, Layout::Columns(Packed::Value)),
            laid_out("decoder.layers.{}.self_attention.output", "transformer.h.{}.attn.c_proj", Layout::Transposed),
            whole("decoder.layers.{}.feed_forward_norm", "transformer.h.{}.ln_2"),
            laid_out("decoder.layers.{}.feed_forward.up", "transformer.h.{}.mlp.c_fc", Layout::Transposed),
            laid_out("decoder.layers.{}.feed_forward.down", "transformer.h.{}.mlp.c_proj", Layout::Transposed),
            whole("decoder.final_norm", "transformer.ln_f"),
            whole("head", "lm_head"),
        ];
        if config.head.tied {
            names.extend([whole("decoder.embedding", "lm_head"), whole("head", "transformer.wte")]);
        }
        names
    },
    prefixes: &["transformer."],
    ignored: &[".attn.bias", ".attn.masked_bias"],
};
