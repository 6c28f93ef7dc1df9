//! Gemma 2.
//!
//! Llama with embeddings times √d, norms with weight 1 + w before and after both branches, its own score scale, soft caps on scores and
//! logits, and a sliding window on even layers. The nonlinearity is `hidden_activation`; `hidden_act` is ignored.

use super::{Family, llama_like};
use crate::config::{NormKind, NormPlacement, SpecialTokens};
use crate::names::whole;

pub(super) const GEMMA2: Family = Family {
    name: "gemma2",
    configure: |f| {
        let defaults = llama_like::Defaults {
            tied: true,
            n_kv_heads: Some(4),
            head_dim: Some(256),
            activation: ("hidden_activation", "gelu_pytorch_tanh"),
            special: SpecialTokens { bos: Some(2), eos: vec![1], pad: Some(0), decoder_start: None },
            ..llama_like::Defaults::llama("gemma2")
        };
        let mut config = llama_like::configure(f, defaults)?;
        let soft_cap = |name, absent: f64| {
            if f.is_absent(name) { Ok(Some(absent)) } else { f.optional_positive(name) }
        };
        config.head.soft_cap = soft_cap("final_logit_softcapping", 30.0)?;

        let stack = &mut config.decoder;
        stack.embedding_scale = (config.hidden_size as f64).sqrt();
        stack.norm.kind = NormKind::RmsNormPlusOne;
        stack.norm_placement = NormPlacement::Sandwich;

        let attention = &mut stack.attention;
        let bias = f.bool_or("attention_bias", false)?;
        attention.qkv_bias = bias;
        attention.output_bias = bias;
        attention.scale = f.positive_or("query_pre_attn_scalar", 256.0)?.powf(-0.5);
        attention.soft_cap = soft_cap("attn_logit_softcapping", 50.0)?;
        let window = llama_like::window(f, Some(4096))?;
        f.check(window.is_some(), "sliding_window", "a whole number, 1 or greater")?;
        attention.windows = llama_like::windows_by_layer(f, stack.n_layers, window, |layer| layer % 2 == 0)?;
        Ok(config)
    },
    names: |config| {
        let norms = [
            whole("decoder.layers.{}.self_attention_norm", "model.layers.{}.input_layernorm"),
            whole("decoder.layers.{}.self_attention_post_norm", "model.layers.{}.post_attention_layernorm"),
            whole("decoder.layers.{}.feed_forward_norm", "model.layers.{}.pre_feedforward_layernorm"),
            whole("decoder.layers.{}.feed_forward_post_norm", "model.layers.{}.post_feedforward_layernorm"),
        ];
        [
            &llama_like::outer_names(config)[..],
            &llama_like::QUERY_KEY_VALUE,
            &llama_like::GATE_UP,
            &llama_like::OUTPUT_DOWN,
            &norms,
        ]
        .concat()
    },
    prefixes: &["model."],
    ignored: &["rotary_emb.inv_freq"],
};
