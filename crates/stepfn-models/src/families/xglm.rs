//! XGLM, and (`biogpt`) BioGPT: decoders of fairseq.
//!
//! Embeddings times √d (`scale_embedding`), pre-norm, biases everywhere. XGLM has sinusoidal positions, BioGPT learned ones, both from row 2.
//! BioGPT's `layer_norm_eps` is read by nobody: ε is 1e-5.

use super::Family;
use super::gpt_like::{self, Names};
use crate::ModelError;
use crate::config::{Positions, SpecialTokens, TransformerConfig};
use crate::json::Fields;
use crate::names::{Name, whole};

/// The name table, below this name and with this head.
macro_rules! names {
    ($config:expr, $model:literal, $head:literal) => {{
        let mut names: Vec<Name> = vec![
            whole("decoder.embedding", concat!($model, "embed_tokens")),
            whole("decoder.positions", concat!($model, "embed_positions")),
            whole("decoder.layers.{}.self_attention_norm", concat!($model, "layers.{}.self_attn_layer_norm")),
            whole("decoder.layers.{}.self_attention.query", concat!($model, "layers.{}.self_attn.q_proj")),
            whole("decoder.layers.{}.self_attention.key", concat!($model, "layers.{}.self_attn.k_proj")),
            whole("decoder.layers.{}.self_attention.value", concat!($model, "layers.{}.self_attn.v_proj")),
            whole("decoder.layers.{}.self_attention.output", concat!($model, "layers.{}.self_attn.out_proj")),
            whole("decoder.layers.{}.feed_forward_norm", concat!($model, "layers.{}.final_layer_norm")),
            whole("decoder.layers.{}.feed_forward.up", concat!($model, "layers.{}.fc1")),
            whole("decoder.layers.{}.feed_forward.down", concat!($model, "layers.{}.fc2")),
            whole("decoder.final_norm", concat!($model, "layer_norm")),
            whole("head", $head),
        ];
        if $config.head.tied {
            names.extend([whole("decoder.embedding", $head), whole("head", concat!($model, "embed_tokens"))]);
        }
        names
    }};
}

const XGLM_FIELDS: Names = Names {
    hidden_size: &["d_model", "hidden_size"],
    layers: &["num_layers", "num_hidden_layers"],
    heads: &["attention_heads", "num_attention_heads"],
    inner: Some("ffn_dim"),
    positions: &["max_position_embeddings"],
    activation: ("activation_function", "gelu"),
    epsilon: None,
    dropout: [
        Some(("dropout", 0.1)),
        Some(("attention_dropout", 0.1)),
        Some(("dropout", 0.1)),
        Some(("activation_dropout", 0.0)),
    ],
};

const BIOGPT_FIELDS: Names = Names {
    hidden_size: &["hidden_size"],
    layers: &["num_hidden_layers"],
    heads: &["num_attention_heads"],
    inner: Some("intermediate_size"),
    activation: ("hidden_act", "gelu"),
    dropout: [
        Some(("hidden_dropout_prob", 0.1)),
        Some(("attention_probs_dropout_prob", 0.1)),
        Some(("hidden_dropout_prob", 0.1)),
        Some(("activation_dropout", 0.0)),
    ],
    ..XGLM_FIELDS
};

pub(super) const XGLM: Family = Family {
    name: "xglm",
    configure: |f| {
        let mut config = configure(f, "xglm", &XGLM_FIELDS)?;
        let made_for = f.optional_usize("max_position_embeddings")?;
        config.decoder.positions = Positions::SinusoidalFairseq { offset: 2, made_for };
        Ok(config)
    },
    names: |config| names!(config, "model.", "lm_head"),
    prefixes: &["model."],
    ignored: &["embed_positions.weights"],
};

pub(super) const BIOGPT: Family = Family {
    name: "biogpt",
    configure: |f| configure(f, "biogpt", &BIOGPT_FIELDS),
    names: |config| names!(config, "biogpt.", "output_projection"),
    prefixes: &["biogpt."],
    ignored: &[],
};

fn configure(f: &Fields, family: &'static str, names: &Names) -> Result<TransformerConfig, ModelError> {
    let special = SpecialTokens { bos: Some(0), eos: vec![2], pad: Some(1), decoder_start: None };
    let mut config = gpt_like::configure(f, family, names, 2, special)?;
    if f.bool_or("scale_embedding", true)? {
        config.decoder.embedding_scale = (config.hidden_size as f64).sqrt();
    }
    Ok(config)
}
