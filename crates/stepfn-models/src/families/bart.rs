//! BART, and models fine-tuned from it (bart-large-cnn, distilbart).
//!
//! Norms after the residual sums; embeddings are normalized with their positions; no final norm; a bias on the logits.

use super::Family;
use super::bart_like::{self, Variant, learned_positions};
use crate::config::{NormPlacement, SpecialTokens};

pub(super) const BART: Family = Family {
    name: "bart",
    configure: |f| {
        bart_like::configure(
            f,
            Variant {
                family: "bart",
                positions: learned_positions,
                norm_placement: NormPlacement::Post,
                embedding_norm: true,
                final_norm: false,
                head_bias: true,
                scale_embedding: false,
                activation: "gelu",
                attention_dropout: 0.0,
                special: SpecialTokens { bos: Some(0), eos: vec![2], pad: Some(1), decoder_start: Some(2) },
            },
        )
    },
    names: bart_like::names,
    prefixes: &["model."],
    ignored: &["encoder.version", "decoder.version"],
};
