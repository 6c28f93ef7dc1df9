//! Falcon 7B, 40B, 180B and Falcon 2 11B.
//!
//! Parallel branches, rotary positions, no biases unless the file says so. The 7B has one key and value for all heads, and branches that read one
//! norm; in the others (`new_decoder_architecture`), groups of heads share keys and values, and each branch may have a norm of its own. ALiBi and
//! branches that follow each other, as in Falcon-RW, are refused, and so is dropout, which acts at places that no other family has.

use super::Family;
use super::gpt_like::{self, Names};
use super::rotary::{RotaryFields, WHOLE_HEAD, rotary};
use crate::config::{DropoutRates, Positions, Residual, SpecialTokens};
use crate::names::{Layout, Packed, laid_out, whole};

const NAMES: Names = Names {
    hidden_size: &["n_embed", "hidden_size"],
    layers: &["num_hidden_layers", "n_layer"],
    heads: &["num_attention_heads", "n_head"],
    inner: Some("ffn_hidden_size"),
    positions: &["max_position_embeddings"],
    activation: ("activation", "gelu"),
    epsilon: Some("layer_norm_epsilon"),
    dropout: [None; 4],
};

pub(super) const FALCON: Family = Family {
    name: "falcon",
    configure: |f| {
        f.only_bool("alibi", false, "transformers rounds its ALiBi to bfloat16, which is not implemented")?;
        f.only_bool("parallel_attn", true, "branches that follow each other are not implemented for this family")?;
        let rate = f.rate_or("hidden_dropout", 0.0)?;
        f.check(rate == 0.0, "hidden_dropout", "0: dropout of the sum of both branches is not implemented")?;
        f.rate_or("attention_dropout", 0.0)?; // It would act with ALiBi.
        let is_new = f.bool_or("new_decoder_architecture", false)?;
        let norms = f.usize_or("num_ln_in_parallel_attn", 1)?;
        f.check((1..=2).contains(&norms), "num_ln_in_parallel_attn", "1 or 2")?;
        let special = SpecialTokens { bos: Some(11), eos: vec![11], ..SpecialTokens::default() };
        let mut config = gpt_like::configure(f, "falcon", &NAMES, 0, special)?;
        let bias = f.bool_or("bias", false)?;
        let stack = &mut config.decoder;
        stack.residual = Residual::Parallel;
        stack.dropout = DropoutRates::default();
        stack.feed_forward.bias = bias;
        let attention = &mut stack.attention;
        attention.qkv_bias = bias;
        attention.output_bias = bias;
        let n_kv_heads = f.usize_or("num_kv_heads", attention.n_heads)?;
        if is_new {
            attention.n_kv_heads = n_kv_heads;
        } else if f.bool_or("multi_query", true)? {
            attention.n_kv_heads = 1;
        }
        let fields = RotaryFields { default_positions: Some(2048), ..WHOLE_HEAD };
        stack.positions = Positions::Rotary(rotary(f, attention.head_dim, &fields)?);
        Ok(config)
    },
    names: |config| {
        // With one key and value, the first and only group is all heads.
        let qkv = "transformer.h.{}.self_attention.query_key_value";
        let mut names = vec![
            whole("decoder.embedding", "transformer.word_embeddings"),
            whole("decoder.layers.{}.self_attention_norm", "transformer.h.{}.ln_attn"),
            whole("decoder.layers.{}.self_attention_norm", "transformer.h.{}.input_layernorm"),
            laid_out("decoder.layers.{}.self_attention.query", qkv, Layout::PerHead(Packed::Query)),
            laid_out("decoder.layers.{}.self_attention.key", qkv, Layout::PerHead(Packed::Key)),
            laid_out("decoder.layers.{}.self_attention.value", qkv, Layout::PerHead(Packed::Value)),
            whole("decoder.layers.{}.self_attention.output", "transformer.h.{}.self_attention.dense"),
            whole("decoder.layers.{}.feed_forward_norm", "transformer.h.{}.ln_mlp"),
            whole("decoder.layers.{}.feed_forward_norm", "transformer.h.{}.input_layernorm"),
            whole("decoder.layers.{}.feed_forward.up", "transformer.h.{}.mlp.dense_h_to_4h"),
            whole("decoder.layers.{}.feed_forward.down", "transformer.h.{}.mlp.dense_4h_to_h"),
            whole("decoder.final_norm", "transformer.ln_f"),
            whole("head", "lm_head"),
        ];
        if config.head.tied {
            names.extend([whole("decoder.embedding", "lm_head"), whole("head", "transformer.word_embeddings")]);
        }
        names
    },
    prefixes: &["transformer."],
    ignored: &["rotary_emb.inv_freq"],
};
