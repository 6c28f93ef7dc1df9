//! MPT 7B and 30B.
//!
//! ALiBi positions, LayerNorm without biases, no biases at all, and a feed-forward four times as wide as the model. The options of `attn_config`
//! that published models don't use are refused: clipped or normalized queries and keys, other slopes, attention to a prefix.

use super::Family;
use super::gpt_like::{self, Names};
use crate::config::{Activation, DropoutRates, NormKind, Positions, SpecialTokens};
use crate::names::{Layout, Packed, laid_out, whole};

const NAMES: Names = Names {
    hidden_size: &["d_model", "hidden_size"],
    layers: &["n_layers", "num_hidden_layers"],
    heads: &["n_heads", "num_attention_heads"],
    inner: None,
    positions: &["max_seq_len"],
    ..gpt_like::GPT2
};

pub(super) const MPT: Family = Family {
    name: "mpt",
    configure: |f| {
        f.refuse("logit_scale", "scaled logits are not implemented for this family")?;
        f.only_bool("no_bias", true, "biases are not implemented for this family")?;
        f.check(f.usize_or("expansion_ratio", 4)? == 4, "expansion_ratio", "4")?;
        let fraction = f.positive_or("embedding_fraction", 1.0)?;
        f.check(fraction == 1.0, "embedding_fraction", "1: other gradients of embeddings are not implemented")?;
        let mut config = gpt_like::configure(f, "mpt", &NAMES, 0, SpecialTokens::default())?;
        let stack = &mut config.decoder;
        stack.norm.kind = NormKind::LayerNormWithoutBias;
        stack.positions = Positions::Alibi { made_for: f.optional_usize("max_seq_len")? };
        stack.attention.qkv_bias = false;
        stack.attention.output_bias = false;
        stack.feed_forward.bias = false;
        stack.feed_forward.activation = Activation::Gelu;
        let mut rate = 0.0;
        if let Some(attention) = f.optional_object("attn_config")? {
            attention.refuse("clip_qkv", "clipped queries, keys and values are not implemented")?;
            attention.only_bool("qk_ln", false, "normalized queries and keys are not implemented for this family")?;
            attention.only_bool("prefix_lm", false, "bidirectional attention is not implemented")?;
            attention.only_bool("alibi", true, "other positions are not implemented for this family")?;
            attention.check(attention.usize_or("alibi_bias_max", 8)? == 8, "alibi_bias_max", "8")?;
            let kind = attention.str_or("attn_type", "multihead_attention")?;
            attention.check(kind == "multihead_attention", "attn_type", "multihead_attention")?;
            stack.attention.scale = attention.positive_or("softmax_scale", stack.attention.scale)?;
            rate = attention.rate_or("attn_pdrop", 0.0)?;
        }
        stack.dropout = DropoutRates { attention: Some(rate), residual: Some(rate), ..DropoutRates::default() };
        Ok(config)
    },
    names: |config| {
        let qkv = "transformer.blocks.{}.attn.Wqkv";
        let mut names = vec![
            whole("decoder.embedding", "transformer.wte"),
            whole("decoder.layers.{}.self_attention_norm", "transformer.blocks.{}.norm_1"),
            laid_out("decoder.layers.{}.self_attention.query", qkv, Layout::Rows(Packed::Query)),
            laid_out("decoder.layers.{}.self_attention.key", qkv, Layout::Rows(Packed::Key)),
            laid_out("decoder.layers.{}.self_attention.value", qkv, Layout::Rows(Packed::Value)),
            whole("decoder.layers.{}.self_attention.output", "transformer.blocks.{}.attn.out_proj"),
            whole("decoder.layers.{}.feed_forward_norm", "transformer.blocks.{}.norm_2"),
            whole("decoder.layers.{}.feed_forward.up", "transformer.blocks.{}.ffn.up_proj"),
            whole("decoder.layers.{}.feed_forward.down", "transformer.blocks.{}.ffn.down_proj"),
            whole("decoder.final_norm", "transformer.norm_f"),
            whole("head", "lm_head"),
        ];
        if config.head.tied {
            names.extend([whole("decoder.embedding", "lm_head"), whole("head", "transformer.wte")]);
        }
        names
    },
    prefixes: &["transformer."],
    ignored: &[],
};
