//! PLBART: BART of programs in Java and Python, and of English.
//!
//! BART with scaled embeddings.

use super::Family;
use super::bart_like::{self, Variant, learned_positions};
use crate::config::{NormPlacement, SpecialTokens};

pub(super) const PLBART: Family = Family {
    name: "plbart",
    configure: |f| {
        bart_like::configure(
            f,
            Variant {
                family: "plbart",
                positions: learned_positions,
                norm_placement: NormPlacement::Post,
                embedding_norm: true,
                final_norm: false,
                head_bias: true,
                scale_embedding: true,
                activation: "gelu",
                attention_dropout: 0.1,
                special: SpecialTokens { bos: Some(0), eos: vec![2], pad: Some(1), decoder_start: None },
            },
        )
    },
    names: bart_like::names,
    prefixes: &["model."],
    ignored: &["encoder.version", "decoder.version"],
};
