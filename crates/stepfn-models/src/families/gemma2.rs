//! Gemma 2, and (`gemma3_text`) the text models of Gemma 3: 270M and 1B.
//!
//! Llama with embeddings times √d, norms with weight 1 + w before and after both branches, its own score scale, soft caps on scores and
//! logits, and a sliding window on even layers. The nonlinearity is `hidden_activation`; `hidden_act` is ignored. Gemma 3 normalizes queries
//! and keys per head, has no soft caps, and has full attention in every sixth layer only, with another base of rotary positions and the scaling.

use super::rotary::{RotaryFields, WHOLE_HEAD, by_window};
use super::{Family, llama_like};
use crate::ModelError;
use crate::config::{NormKind, NormOver, NormPlacement, SpecialTokens, TransformerConfig};
use crate::json::Fields;
use crate::names::{Name, whole};

pub(super) const GEMMA2: Family = Family {
    name: "gemma2",
    configure: |f| configure(f, "gemma2", WHOLE_HEAD, ([Some(50.0), Some(30.0)], 2)),
    names,
    prefixes: &["model."],
    ignored: &["rotary_emb.inv_freq"],
};

pub(super) const GEMMA3_TEXT: Family = Family {
    name: "gemma3_text",
    configure: |f| gemma3(f, "gemma3_text"),
    names: |config| [&names(config)[..], &llama_like::QUERY_KEY_NORMS].concat(),
    prefixes: &["model."],
    ignored: &["rotary_emb.inv_freq"],
};

/// The configuration of the text model.
pub(super) fn gemma3(f: &Fields, family: &'static str) -> Result<TransformerConfig, ModelError> {
    let rotary = RotaryFields { default_theta: 1_000_000.0, by_layer_type: true, ..WHOLE_HEAD };
    let pattern = f.usize_or(f.any_of(&["sliding_window_pattern", "_sliding_window_pattern"]), 6)?;
    f.check(pattern > 0, "sliding_window_pattern", "a whole number, 1 or greater")?;
    let mut config = configure(f, family, rotary, ([None, None], pattern))?;
    config.decoder.attention.query_key_norm = llama_like::query_key_norm(&config, NormOver::Head);
    by_window(f, &mut config.decoder, &WHOLE_HEAD, ("rope_local_base_freq", 10_000.0))?;
    Ok(config)
}

/// With these soft caps of scores and logits where files say nothing, and full attention in one of so many layers.
fn configure(
    f: &Fields,
    family: &'static str,
    rotary: RotaryFields,
    ([score_cap, logit_cap], pattern): ([Option<f64>; 2], usize),
) -> Result<TransformerConfig, ModelError> {
    let defaults = llama_like::Defaults {
        tied: true,
        n_kv_heads: Some(4),
        head_dim: Some(256),
        activation: ("hidden_activation", "gelu_pytorch_tanh"),
        rotary,
        special: SpecialTokens { bos: Some(2), eos: vec![1], pad: Some(0), decoder_start: None },
        ..llama_like::Defaults::llama(family)
    };
    let mut config = llama_like::configure(f, defaults)?;
    llama_like::attention_bias(f, &mut config)?;
    let soft_cap = |name, absent| if f.is_absent(name) { Ok(absent) } else { f.optional_positive(name) };
    config.head.soft_cap = soft_cap("final_logit_softcapping", logit_cap)?;
    let stack = &mut config.decoder;
    stack.embedding_scale = (config.hidden_size as f64).sqrt();
    stack.norm.kind = NormKind::RmsNormPlusOne;
    stack.norm_placement = NormPlacement::Sandwich;
    stack.attention.scale = f.positive_or("query_pre_attn_scalar", 256.0)?.powf(-0.5);
    stack.attention.soft_cap = soft_cap("attn_logit_softcapping", score_cap)?;
    let window = llama_like::window(f, Some(4096))?;
    f.check(window.is_some(), "sliding_window", "a whole number, 1 or greater")?;
    let slides = |layer: usize| !(layer + 1).is_multiple_of(pattern);
    stack.attention.windows = llama_like::windows_by_layer(f, stack.n_layers, window, slides)?;
    Ok(config)
}

fn names(config: &TransformerConfig) -> Vec<Name> {
    let norms = [
        whole("decoder.layers.{}.self_attention_norm", "model.layers.{}.input_layernorm"),
        whole("decoder.layers.{}.feed_forward_norm", "model.layers.{}.pre_feedforward_layernorm"),
    ];
    [
        &llama_like::outer_names(config)[..],
        &llama_like::QUERY_KEY_VALUE,
        &llama_like::GATE_UP,
        &llama_like::OUTPUT_DOWN,
        &llama_like::OUTPUT_NORMS,
        &norms,
    ]
    .concat()
}
