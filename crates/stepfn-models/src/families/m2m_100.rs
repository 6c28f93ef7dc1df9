//! M2M-100, and NLLB without experts.
//!
//! mBART with relu, computed positions instead of learned ones, no embedding norm and no bias on the logits.

use super::Family;
use super::bart_like::{self, Variant, check_sinusoidal_width};
use crate::config::{NormPlacement, Positions, SpecialTokens};

pub(super) const M2M_100: Family = Family {
    name: "m2m_100",
    configure: |f| {
        bart_like::configure(
            f,
            Variant {
                family: "m2m_100",
                positions: |f| {
                    check_sinusoidal_width(f)?;
                    // Padding has the row of its id, all zeros; texts start after that row.
                    let offset = f.usize_or("pad_token_id", 1)? + 1;
                    let made_for = f.optional_usize("max_position_embeddings")?;
                    Ok(Positions::SinusoidalFairseq { offset, made_for })
                },
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
