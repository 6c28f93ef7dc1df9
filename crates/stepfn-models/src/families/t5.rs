//! T5 1.0; with a gated feed-forward T5 1.1, Flan-T5, ByT5, mT5, UMT5.
//!
//! Scores are not scaled, but biased by distance, with one table per stack, stored in its first block (UMT5: one per block); no other biases;
//! RMSNorm. Logits are scaled by d^-½ if `scale_decoder_outputs` (transformers 5) is true or, in files without it, if the head is tied.

use super::activation::named;
use super::{Family, bart_like};
use crate::ModelError;
use crate::config::{
    AttentionConfig, DropoutRates, FeedForwardConfig, HeadConfig, NormConfig, NormKind, NormPlacement, Positions,
    Residual, SpecialTokens, StackConfig, TransformerConfig,
};
use crate::json::Fields;
use crate::names::{Name, whole};

pub(super) const T5: Family = Family {
    name: "t5",
    configure: |f| configure(f, "t5", true),
    names,
    prefixes: &[],
    // Old files have this unused table in cross-attention.
    ignored: &["EncDecAttention.relative_attention_bias.weight"],
};

/// T5 1.1 under another name, trained on a hundred languages.
pub(super) const MT5: Family = Family { name: "mt5", configure: |f| configure(f, "mt5", false), ..T5 };

/// With a bias in every block. transformers 5 says that its head is tied, and scales, whatever it is; published files, which are older, say that
/// it isn't, and mean that logits are not scaled.
pub(super) const UMT5: Family = Family { name: "umt5", configure: |f| configure(f, "umt5", true), ..T5 };

pub(super) fn configure(f: &Fields, family: &'static str, tied: bool) -> Result<TransformerConfig, ModelError> {
    f.only_bool("tie_encoder_decoder", false, "an encoder that is also the decoder is not implemented")?;
    let hidden_size = f.usize("d_model")?;
    let tied = f.bool_or("tie_word_embeddings", tied)?;
    // transformers 5 says that mT5's head is tied whatever it is, and never scales.
    let is_scaled = f.bool_or("scale_decoder_outputs", tied && family != "mt5")?;
    let mut special = f.special_tokens(SpecialTokens { eos: vec![1], pad: Some(0), ..SpecialTokens::default() })?;
    // transformers 5 moved this to generation_config.json; T5 has always started from padding.
    special.decoder_start = special.decoder_start.or(special.pad);
    Ok(TransformerConfig {
        family,
        vocab_size: f.usize("vocab_size")?,
        encoder_vocab_size: None,
        hidden_size,
        encoder: Some(StackConfig { bidirectional: true, ..stack(f, "num_layers")? }),
        decoder: stack(f, f.any_of(&["num_decoder_layers", "num_layers"]))?,
        shared_embeddings: true,
        head: HeadConfig {
            transform: None,
            tied,
            scale: if is_scaled { (hidden_size as f64).powf(-0.5) } else { 1.0 },
            bias: false,
            soft_cap: None,
        },
        special,
    })
}

pub(super) fn names(config: &TransformerConfig) -> Vec<Name> {
    let mut names = bart_like::embedding_names(config, "shared", "encoder.embed_tokens", "decoder.embed_tokens");
    names.extend([&ENCODER[..], &DECODER].concat());
    let by_layer = matches!(config.decoder.positions, Positions::RelativeBias { by_layer: true, .. });
    names.extend(if by_layer { BIASES } else { BIAS });
    let gate_and_up: &[Name] = if config.decoder.feed_forward.gated { &GATED } else { &UNGATED };
    names.extend(gate_and_up);
    names
}

fn stack(f: &Fields, layers: &'static str) -> Result<StackConfig, ModelError> {
    let n_layers = f.layers(layers)?;
    let n_heads = f.usize("num_heads")?;
    let buckets = f.usize_or("relative_attention_num_buckets", 32)?;
    // Half of the buckets are for each direction, and half of these for single distances.
    f.check(
        buckets >= 4 && buckets.is_multiple_of(2),
        "relative_attention_num_buckets",
        "an even number, 4 or greater",
    )?;
    let max_distance = f.usize_or("relative_attention_max_distance", 128)?;
    let expected = format!("more than half of the {buckets} buckets");
    f.check(max_distance > buckets / 2, "relative_attention_max_distance", expected)?;
    let rate = f.rate_or("dropout_rate", 0.1)?;
    Ok(StackConfig {
        n_layers,
        bidirectional: false,
        embedding_scale: 1.0,
        embedding_size: None,
        projected_last: false,
        token_types: None,
        embedding_norm: false,
        positions: Positions::RelativeBias {
            buckets,
            max_distance,
            by_layer: f.str_or("model_type", "t5")? == "umt5",
            made_for: f.optional_usize("n_positions")?,
        },
        norm: NormConfig { kind: NormKind::RmsNorm, epsilon: f.positive_or("layer_norm_epsilon", 1e-6)? },
        first_norm: true,
        norm_placement: NormPlacement::Pre,
        final_norm: true,
        residual: Residual::Sequential,
        attention: AttentionConfig {
            scale: 1.0,
            ..AttentionConfig::multi_head(n_layers, n_heads, f.usize_or("d_kv", 64)?, false)
        },
        feed_forward: feed_forward(f)?,
        experts: None,
        dropout: DropoutRates {
            embedding: Some(rate),
            attention: Some(rate),
            residual: Some(rate),
            activation: Some(rate),
            feed_forward: None,
            last: Some(rate),
        },
    })
}

/// `relu`, or `gated-` and a nonlinearity; there `gelu` means its tanh approximation. transformers 5 repeats both in other fields, which
/// must agree.
fn feed_forward(f: &Fields) -> Result<FeedForwardConfig, ModelError> {
    let usual = match f.str_or("model_type", "t5")? {
        "mt5" | "umt5" => "gated-gelu",
        // It has this field alone, and none that are gated.
        "switch_transformers" => f.str_or("dense_act_fn", "relu")?,
        _ => "relu",
    };
    let (gated, name) = match f.str_or("feed_forward_proj", usual)? {
        "gated-gelu" => (true, "gelu_new"),
        other => other.strip_prefix("gated-").map_or((false, other), |name| (true, name)),
    };
    let activation =
        named(name).ok_or_else(|| f.error("feed_forward_proj", "relu, gated-gelu, gated-silu or gated-relu"))?;
    f.only_bool("is_gated_act", gated, "as feed_forward_proj says")?;
    f.check(f.str_or("dense_act_fn", name)? == name, "dense_act_fn", format!("{name}, as feed_forward_proj says"))?;
    Ok(FeedForwardConfig { size: f.usize("d_ff")?, activation, gated, gate_limit: None, bias: false })
}

/// One for all blocks.
const BIAS: [Name; 2] = [
    whole("encoder.relative_bias", "encoder.block.0.layer.0.SelfAttention.relative_attention_bias"),
    whole("decoder.relative_bias", "decoder.block.0.layer.0.SelfAttention.relative_attention_bias"),
];

/// One for each block.
const BIASES: [Name; 2] = [
    whole("encoder.layers.{}.relative_bias", "encoder.block.{}.layer.0.SelfAttention.relative_attention_bias"),
    whole("decoder.layers.{}.relative_bias", "decoder.block.{}.layer.0.SelfAttention.relative_attention_bias"),
];

const ENCODER: [Name; 8] = [
    whole("encoder.layers.{}.self_attention_norm", "encoder.block.{}.layer.0.layer_norm"),
    whole("encoder.layers.{}.self_attention.query", "encoder.block.{}.layer.0.SelfAttention.q"),
    whole("encoder.layers.{}.self_attention.key", "encoder.block.{}.layer.0.SelfAttention.k"),
    whole("encoder.layers.{}.self_attention.value", "encoder.block.{}.layer.0.SelfAttention.v"),
    whole("encoder.layers.{}.self_attention.output", "encoder.block.{}.layer.0.SelfAttention.o"),
    whole("encoder.layers.{}.feed_forward_norm", "encoder.block.{}.layer.1.layer_norm"),
    whole("encoder.layers.{}.feed_forward.down", "encoder.block.{}.layer.1.DenseReluDense.wo"),
    whole("encoder.final_norm", "encoder.final_layer_norm"),
];

const DECODER: [Name; 13] = [
    whole("decoder.layers.{}.self_attention_norm", "decoder.block.{}.layer.0.layer_norm"),
    whole("decoder.layers.{}.self_attention.query", "decoder.block.{}.layer.0.SelfAttention.q"),
    whole("decoder.layers.{}.self_attention.key", "decoder.block.{}.layer.0.SelfAttention.k"),
    whole("decoder.layers.{}.self_attention.value", "decoder.block.{}.layer.0.SelfAttention.v"),
    whole("decoder.layers.{}.self_attention.output", "decoder.block.{}.layer.0.SelfAttention.o"),
    whole("decoder.layers.{}.cross_attention_norm", "decoder.block.{}.layer.1.layer_norm"),
    whole("decoder.layers.{}.cross_attention.query", "decoder.block.{}.layer.1.EncDecAttention.q"),
    whole("decoder.layers.{}.cross_attention.key", "decoder.block.{}.layer.1.EncDecAttention.k"),
    whole("decoder.layers.{}.cross_attention.value", "decoder.block.{}.layer.1.EncDecAttention.v"),
    whole("decoder.layers.{}.cross_attention.output", "decoder.block.{}.layer.1.EncDecAttention.o"),
    whole("decoder.layers.{}.feed_forward_norm", "decoder.block.{}.layer.2.layer_norm"),
    whole("decoder.layers.{}.feed_forward.down", "decoder.block.{}.layer.2.DenseReluDense.wo"),
    whole("decoder.final_norm", "decoder.final_layer_norm"),
];

const UNGATED: [Name; 2] = [
    whole("encoder.layers.{}.feed_forward.up", "encoder.block.{}.layer.1.DenseReluDense.wi"),
    whole("decoder.layers.{}.feed_forward.up", "decoder.block.{}.layer.2.DenseReluDense.wi"),
];

const GATED: [Name; 4] = [
    whole("encoder.layers.{}.feed_forward.gate", "encoder.block.{}.layer.1.DenseReluDense.wi_0"),
    whole("encoder.layers.{}.feed_forward.up", "encoder.block.{}.layer.1.DenseReluDense.wi_1"),
    whole("decoder.layers.{}.feed_forward.gate", "decoder.block.{}.layer.2.DenseReluDense.wi_0"),
    whole("decoder.layers.{}.feed_forward.up", "decoder.block.{}.layer.2.DenseReluDense.wi_1"),
];
