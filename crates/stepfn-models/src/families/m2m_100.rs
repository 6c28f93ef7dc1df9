//! M2M-100, and NLLB without experts.
//!
//! mBART with relu, computed positions instead of learned ones, no embedding norm and no bias on the logits.

use super::Family;
use super::bart_like::{self, Variant, sinusoidal_fairseq};
use crate::config::{NormPlacement, SpecialTokens};

pub(super) const M2M_100: Family = Family {
    name: "m2m_100",
    configure: |f| {
        bart_like::configure(
            f,
            Variant {
                family: "m2m_100",
                positions: sinusoidal_fairseq,
                norm_placement: NormPlacement::Pre,
                embedding_norm: false,
                final_norm: true,
                head_bias: false,
                scale_embedding: true,
                activation: "relu",
                attention_dropout: 0.1,
                special: SpecialTokens { bos: Some(0), eos: vec![2], pad: Some(1), decoder_start: Some(2) },
            },
        )
    },
    names: bart_like::names,
    prefixes: &["model."],
    ignored: &["encoder.version", "decoder.version", "embed_positions.weights"],
};
