//! StarCoder 1 and SantaCoder.
//!
//! GPT-2 with weights stored as `[out, in]`, and one key and value for all heads (`multi_query`).

use super::Family;
use super::gpt_like::{self, Names};
use crate::config::SpecialTokens;
use crate::names::{Layout, Packed, laid_out, whole};

pub(super) const GPT_BIGCODE: Family = Family {
    name: "gpt_bigcode",
    configure: |f| {
        let special = SpecialTokens { bos: Some(50_256), eos: vec![50_256], ..SpecialTokens::default() };
        let names = Names { activation: ("activation_function", "gelu_pytorch_tanh"), ..gpt_like::GPT2 };
        let mut config = gpt_like::configure(f, "gpt_bigcode", &names, 0, special)?;
        let attention = &mut config.decoder.attention;
        if f.bool_or("multi_query", true)? {
            attention.n_kv_heads = 1;
        }
        if !f.bool_or("scale_attn_weights", true)? {
            attention.scale = 1.0;
        }
        Ok(config)
    },
    names: |config| {
        let qkv = "transformer.h.{}.attn.c_attn";
        let packed = if config.decoder.attention.n_kv_heads == 1 { Layout::Rows } else { Layout::PerHead };
        let mut names = vec![
            whole("decoder.embedding", "transformer.wte"),
            whole("decoder.positions", "transformer.wpe"),
            whole("decoder.layers.{}.self_attention_norm", "transformer.h.{}.ln_1"),
            laid_out("decoder.layers.{}.self_attention.query", qkv, packed(Packed::Query)),
            laid_out("decoder.layers.{}.self_attention.key", qkv, packed(Packed::Key)),
            laid_out("decoder.layers.{}.self_attention.value", qkv, packed(Packed::Value)),
            whole("decoder.layers.{}.self_attention.output", "transformer.h.{}.attn.c_proj"),
            whole("decoder.layers.{}.feed_forward_norm", "transformer.h.{}.ln_2"),
            whole("decoder.layers.{}.feed_forward.up", "transformer.h.{}.mlp.c_fc"),
            whole("decoder.layers.{}.feed_forward.down", "transformer.h.{}.mlp.c_proj"),
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
