//! Models that also see, for texts: of Gemma 3 (4B to 27B) and (`mistral3`) Mistral Small 3.1 and Ministral 3, the text model alone is loaded.
//!
//! `text_config` is a configuration of `gemma3_text`, `mistral` or `ministral3`; special tokens and the tied head are outside of it.

use super::{Family, gemma2, ministral, mistral, refuse_experts, refuse_unsupported};
use crate::ModelError;
use crate::config::TransformerConfig;
use crate::json::Fields;
use crate::names::{Name, whole};

/// The table of the text model, below these names in the file. Gemma has a norm of its own before the feed-forward.
macro_rules! names {
    ($model:literal, $head:literal) => {
        [
            whole("decoder.embedding", concat!($model, "embed_tokens")),
            whole("decoder.final_norm", concat!($model, "norm")),
            whole("head", $head),
            whole("decoder.layers.{}.self_attention.query", concat!($model, "layers.{}.self_attn.q_proj")),
            whole("decoder.layers.{}.self_attention.key", concat!($model, "layers.{}.self_attn.k_proj")),
            whole("decoder.layers.{}.self_attention.value", concat!($model, "layers.{}.self_attn.v_proj")),
            whole("decoder.layers.{}.self_attention.output", concat!($model, "layers.{}.self_attn.o_proj")),
            whole("decoder.layers.{}.self_attention.query_norm", concat!($model, "layers.{}.self_attn.q_norm")),
            whole("decoder.layers.{}.self_attention.key_norm", concat!($model, "layers.{}.self_attn.k_norm")),
            whole("decoder.layers.{}.self_attention_norm", concat!($model, "layers.{}.input_layernorm")),
            whole("decoder.layers.{}.self_attention_post_norm", concat!($model, "layers.{}.post_attention_layernorm")),
            whole("decoder.layers.{}.feed_forward_norm", concat!($model, "layers.{}.pre_feedforward_layernorm")),
            whole("decoder.layers.{}.feed_forward_norm", concat!($model, "layers.{}.post_attention_layernorm")),
            whole("decoder.layers.{}.feed_forward_post_norm", concat!($model, "layers.{}.post_feedforward_layernorm")),
            whole("decoder.layers.{}.feed_forward.gate", concat!($model, "layers.{}.mlp.gate_proj")),
            whole("decoder.layers.{}.feed_forward.up", concat!($model, "layers.{}.mlp.up_proj")),
            whole("decoder.layers.{}.feed_forward.down", concat!($model, "layers.{}.mlp.down_proj")),
        ]
    };
}

pub(super) const GEMMA3: Family = Family {
    name: "gemma3",
    configure: |f| {
        configure(f, |text| {
            let all = text.with_defaults(&GEMMA3_SIZES);
            gemma2::gemma3(&text.of_map(&all), "gemma3")
        })
    },
    names,
    prefixes: &[],
    ignored: IGNORED,
};

pub(super) const MISTRAL3: Family = Family {
    name: "mistral3",
    configure: |f| {
        configure(f, |text| match text.str_or("model_type", "mistral")? {
            "mistral" => mistral::configure(text, "mistral3"),
            "ministral3" => ministral::ministral3(text, "mistral3"),
            _ => Err(text.error("model_type", "mistral or ministral3")),
        })
    },
    names,
    prefixes: &[],
    ignored: IGNORED,
};

/// The sizes that published files of Gemma 3 leave out where they are these.
const GEMMA3_SIZES: [(&str, u64); 6] = [
    ("vocab_size", 262_208),
    ("hidden_size", 2304),
    ("intermediate_size", 9216),
    ("num_hidden_layers", 26),
    ("num_attention_heads", 8),
    ("max_position_embeddings", 131_072),
];

const IGNORED: &[&str] = &["rotary_emb.inv_freq", "vision_tower.", "multi_modal_projector."];

fn configure(
    f: &Fields,
    text: impl Fn(&Fields) -> Result<TransformerConfig, ModelError>,
) -> Result<TransformerConfig, ModelError> {
    let found = f.optional_object("text_config")?;
    let found = found.ok_or_else(|| f.error("text_config", "the configuration of the text model"))?;
    refuse_unsupported(&found)?;
    refuse_experts(&found)?;
    let mut config = text(&found)?;
    config.head.tied = f.bool_or("tie_word_embeddings", config.head.tied)?;
    config.special = f.special_tokens(config.special)?;
    Ok(config)
}

fn names(config: &TransformerConfig) -> Vec<Name> {
    let mut names = names!("model.language_model.", "lm_head").to_vec();
    names.extend(names!("language_model.model.", "language_model.lm_head"));
    if config.head.tied {
        names.extend([
            whole("head", "model.language_model.embed_tokens"),
            whole("head", "language_model.model.embed_tokens"),
            whole("decoder.embedding", "lm_head"),
            whole("decoder.embedding", "language_model.lm_head"),
        ]);
    }
    names
}
