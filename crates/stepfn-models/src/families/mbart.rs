//! mBART-25 and mBART-50.
//!
//! BART with norms before the branches, and therefore final norms.

use super::Family;
use super::bart_like::{self, Variant, learned_positions};
use crate::config::{NormPlacement, SpecialTokens};

pub(super) const MBART: Family = Family {
    name: "mbart",
    configure: |f| {
        bart_like::configure(
            f,
            Variant {
                family: "mbart",
                positions: learned_positions,
                norm_placement: NormPlacement::Pre,
                embedding_norm: true,
                final_norm: true,
                head_bias: true,
                scale_embedding: false,
                activation: "gelu",
                attention_dropout: 0.0,
                special: SpecialTokens { bos: Some(0), eos: vec![2], pad: Some(1), decoder_start: None },
            },
        )
    },
    names: bart_like::names,
    prefixes: &["model."],
    ignored: &["encoder.version", "decoder.version"],
};
