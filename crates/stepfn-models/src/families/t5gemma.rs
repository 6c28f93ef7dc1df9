//! T5Gemma (t5gemma-2b-2b-prefixlm-it, t5gemma-b-b-ul2): two stacks of Gemma 2, the second with cross-attention between its branches.
//!
//! The encoder sees as far ahead as back, where a layer has a window. Dropout is where T5 has it.

use super::{Family, gemma2};
use crate::ModelError;
use crate::config::{DropoutRates, StackConfig, TransformerConfig};
use crate::json::Fields;
use crate::names::{Name, whole};

pub(super) const T5GEMMA: Family = Family {
    name: "t5gemma",
    configure: |f| {
        let (encoder_fields, encoder) = module(f, "encoder")?;
        let (_, mut config) = module(f, "decoder")?;
        let expected = format!("{}, the decoder's: stacks of different widths are not implemented", config.hidden_size);
        encoder_fields.check(encoder.hidden_size == config.hidden_size, "hidden_size", expected)?;
        config.family = "t5gemma";
        config.encoder_vocab_size = (encoder.vocab_size != config.vocab_size).then_some(encoder.vocab_size);
        config.head.tied = f.bool_or("tie_word_embeddings", true)?;
        config.special = f.special_tokens(config.special)?;
        config.special.decoder_start = config.special.decoder_start.or(config.special.bos);
        let mut encoder = StackConfig { bidirectional: true, ..encoder.decoder };
        // transformers 5; in version 4 a window reaches one token less far to either side.
        encoder.attention.windows.iter_mut().flatten().for_each(|window| *window += 1);
        dropout(f, &mut encoder)?;
        dropout(f, &mut config.decoder)?;
        config.encoder = Some(encoder);
        Ok(config)
    },
    names: |config| {
        let mut names = vec![
            whole("encoder.embedding", "model.encoder.embed_tokens"),
            whole("decoder.embedding", "model.decoder.embed_tokens"),
            whole("head", "lm_head.out_proj"),
        ];
        if config.head.tied {
            names.extend([whole("decoder.embedding", "lm_head.out_proj"), whole("head", "model.decoder.embed_tokens")]);
        }
        names.extend([&ENCODER[..], &DECODER, &CROSS_ATTENTION].concat());
        names
    },
    prefixes: &["model."],
    ignored: &["rotary_emb.inv_freq"],
};

/// The fields of a stack, and the causal model that they would make.
fn module<'a>(f: &Fields<'a>, name: &'static str) -> Result<(Fields<'a>, TransformerConfig), ModelError> {
    let fields = f.optional_object(name)?.ok_or_else(|| f.error(name, "an object, the configuration of the stack"))?;
    let config = (gemma2::GEMMA2.configure)(&fields)?;
    Ok((fields, config))
}

fn dropout(f: &Fields, stack: &mut StackConfig) -> Result<(), ModelError> {
    let (rate, attention) = (Some(f.rate_or("dropout_rate", 0.0)?), Some(f.rate_or("attention_dropout", 0.0)?));
    stack.dropout =
        DropoutRates { embedding: rate, attention, residual: rate, feed_forward: None, activation: rate, last: rate };
    Ok(())
}

macro_rules! stack {
    ($stack:literal: $($ours:literal = $theirs:literal),*) => {
        [
            whole(concat!($stack, ".final_norm"), concat!("model.", $stack, ".norm")),
            $(whole(concat!($stack, ".layers.{}.", $ours), concat!("model.", $stack, ".layers.{}.", $theirs))),*
        ]
    };
    ($stack:literal) => {
        stack!(
            $stack: "self_attention.query" = "self_attn.q_proj",
            "self_attention.key" = "self_attn.k_proj",
            "self_attention.value" = "self_attn.v_proj",
            "self_attention.output" = "self_attn.o_proj",
            "self_attention_norm" = "pre_self_attn_layernorm",
            "self_attention_post_norm" = "post_self_attn_layernorm",
            "feed_forward.gate" = "mlp.gate_proj",
            "feed_forward.up" = "mlp.up_proj",
            "feed_forward.down" = "mlp.down_proj",
            "feed_forward_norm" = "pre_feedforward_layernorm",
            "feed_forward_post_norm" = "post_feedforward_layernorm"
        )
    };
}

const ENCODER: [Name; 12] = stack!("encoder");
const DECODER: [Name; 12] = stack!("decoder");

const CROSS_ATTENTION: [Name; 6] = [
    whole("decoder.layers.{}.cross_attention.query", "model.decoder.layers.{}.cross_attn.q_proj"),
    whole("decoder.layers.{}.cross_attention.key", "model.decoder.layers.{}.cross_attn.k_proj"),
    whole("decoder.layers.{}.cross_attention.value", "model.decoder.layers.{}.cross_attn.v_proj"),
    whole("decoder.layers.{}.cross_attention.output", "model.decoder.layers.{}.cross_attn.o_proj"),
    whole("decoder.layers.{}.cross_attention_norm", "model.decoder.layers.{}.pre_cross_attn_layernorm"),
    whole("decoder.layers.{}.cross_attention_post_norm", "model.decoder.layers.{}.post_cross_attn_layernorm"),
];
