//! GPT-Neo.
//!
//! GPT-2 without a scale of attention scores and without biases on queries, keys and values; every other layer sees `window_size` tokens only,
//! as `attention_types` (or `attention_layers`, which counts where both are there) says.

use super::Family;
use super::gpt_like::{self, Names};
use crate::config::SpecialTokens;
use crate::names::whole;

const NAMES: Names = Names {
    hidden_size: &["hidden_size"],
    layers: &["num_layers", "num_hidden_layers"],
    heads: &["num_heads", "num_attention_heads"],
    inner: Some("intermediate_size"),
    positions: &["max_position_embeddings"],
    dropout: [Some(("embed_dropout", 0.0)), Some(("attention_dropout", 0.0)), Some(("resid_dropout", 0.0)), None],
    ..gpt_like::GPT2
};

pub(super) const GPT_NEO: Family = Family {
    name: "gpt_neo",
    configure: |f| {
        let special = SpecialTokens { bos: Some(50_256), eos: vec![50_256], ..SpecialTokens::default() };
        let mut config = gpt_like::configure(f, "gpt_neo", &NAMES, 0, special)?;
        let n_layers = config.decoder.n_layers;
        let window = f.usize_or("window_size", 256)?;
        f.check(window > 0, "window_size", "a whole number, 1 or greater")?;
        let (field, kinds) = match f.optional_strings("attention_layers")? {
            Some(kinds) => ("attention_layers", kinds),
            None => {
                let kinds = f.repeated_strings("attention_types")?;
                ("attention_types", kinds.unwrap_or_else(|| ["global", "local"].repeat(12)))
            }
        };
        let fits = kinds.len() == n_layers && kinds.iter().all(|kind| ["global", "local"].contains(kind));
        f.check(fits, field, format!("global or local for each of {n_layers} layers"))?;
        let attention = &mut config.decoder.attention;
        attention.windows = kinds.iter().map(|kind| (*kind == "local").then_some(window)).collect();
        attention.scale = 1.0;
        attention.qkv_bias = false;
        Ok(config)
    },
    names: |config| {
        let mut names = vec![
            whole("decoder.embedding", "transformer.wte"),
            whole("decoder.positions", "transformer.wpe"),
            whole("decoder.layers.{}.self_attention_norm", "transformer.h.{}.ln_1"),
            whole("decoder.layers.{}.self_attention.query", "transformer.h.{}.attn.attention.q_proj"),
            whole("decoder.layers.{}.self_attention.key", "transformer.h.{}.attn.attention.k_proj"),
            whole("decoder.layers.{}.self_attention.value", "transformer.h.{}.attn.attention.v_proj"),
            whole("decoder.layers.{}.self_attention.output", "transformer.h.{}.attn.attention.out_proj"),
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
    ignored: &[".attn.attention.bias", ".attn.attention.masked_bias"],
};
