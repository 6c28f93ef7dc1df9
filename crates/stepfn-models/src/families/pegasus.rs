//! Pegasus: summarization (pegasus-xsum, pegasus-cnn_dailymail) and paraphrasing.
//!
//! mBART with Marian's computed positions and no embedding norm. Files have the table of positions, which is the computed one.

use super::Family;
use super::bart_like::{self, Variant, sinusoidal_halves};
use crate::config::{NormPlacement, SpecialTokens};

pub(super) const PEGASUS: Family = Family {
    name: "pegasus",
    configure: |f| {
        bart_like::configure(
            f,
            Variant {
                family: "pegasus",
                positions: sinusoidal_halves,
                norm_placement: NormPlacement::Pre,
                embedding_norm: false,
                final_norm: true,
                head_bias: true,
                scale_embedding: false,
                activation: "gelu",
                attention_dropout: 0.0,
                special: SpecialTokens { bos: None, eos: vec![1], pad: Some(0), decoder_start: Some(0) },
            },
        )
    },
    names: bart_like::names,
    prefixes: &["model."],
    ignored: &["encoder.embed_positions.weight", "decoder.embed_positions.weight"],
};
