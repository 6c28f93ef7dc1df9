//! Phi-3, 3.5 and 4 with short contexts and without experts.
//!
//! Llama with query, key and value stored as one tensor, gate and up as one, dropout on both branches' outputs, and optionally only a part
//! of each head rotated. Files contain `embd_pdrop`, but nothing uses it.

use super::rotary::{RotaryFields, WHOLE_HEAD};
use super::{Family, llama_like};
use crate::config::SpecialTokens;
use crate::names::{Layout, Packed, laid_out};

pub(super) const PHI3: Family = Family {
    name: "phi3",
    configure: |f| {
        f.only_bool("attention_bias", false, "Phi-3 has no biases")?;
        f.only_bool("mlp_bias", false, "Phi-3 has no biases")?;
        let defaults = llama_like::Defaults {
            epsilon: 1e-5,
            rotary: RotaryFields {
                share: Some((&["partial_rotary_factor"], 1.0)),
                // Old files call it `su`.
                scalings: &["default", "longrope", "su"],
                ..WHOLE_HEAD
            },
            special: SpecialTokens { bos: Some(1), eos: vec![32_000], pad: Some(32_000), decoder_start: None },
            ..llama_like::Defaults::llama("phi3")
        };
        let mut config = llama_like::configure(f, defaults)?;
        config.decoder.dropout.residual = Some(f.rate_or("resid_pdrop", 0.0)?);
        config.decoder.attention.windows.fill(llama_like::window(f, None)?);
        Ok(config)
    },
    names: |config| {
        let qkv = "model.layers.{}.self_attn.qkv_proj";
        let packed = [
            laid_out("decoder.layers.{}.self_attention.query", qkv, Layout::Rows(Packed::Query)),
            laid_out("decoder.layers.{}.self_attention.key", qkv, Layout::Rows(Packed::Key)),
            laid_out("decoder.layers.{}.self_attention.value", qkv, Layout::Rows(Packed::Value)),
        ];
        [
            &llama_like::outer_names(config)[..],
            &packed,
            &llama_like::PACKED_GATE_UP,
            &llama_like::OUTPUT_DOWN,
            &llama_like::PRE_NORMS,
        ]
        .concat()
    },
    prefixes: &["model."],
    ignored: &["rotary_emb.inv_freq"],
};
