//! Blenderbot: conversations (blenderbot-400M-distill, blenderbot-3B), and Blenderbot Small (blenderbot_small-90M), whose structure is another.
//!
//! Blenderbot is mBART without an embedding norm. Blenderbot Small is BART, but its decoder normalizes embeddings before positions are added. No
//! row of their positions is unused.

use super::Family;
use super::bart_like::{self, Variant};
use crate::ModelError;
use crate::config::{NormPlacement, Positions, SpecialTokens, TransformerConfig};
use crate::json::Fields;

pub(super) const BLENDERBOT: Family = Family {
    name: "blenderbot",
    configure: |f| configure(f, "blenderbot", NormPlacement::Pre),
    names: bart_like::names,
    prefixes: &["model."],
    ignored: &["encoder.version", "decoder.version"],
};

pub(super) const BLENDERBOT_SMALL: Family = Family {
    name: "blenderbot-small",
    configure: |f| {
        let mut config = configure(f, "blenderbot-small", NormPlacement::Post)?;
        let rows = f.usize("max_position_embeddings")?;
        // Its decoder doesn't scale embeddings, which are normalized by themselves.
        config.decoder.embedding_scale = 1.0;
        config.decoder.positions = Positions::LearnedAfterNorm { offset: 0, rows };
        Ok(config)
    },
    ..BLENDERBOT
};

fn configure(f: &Fields, family: &'static str, norm_placement: NormPlacement) -> Result<TransformerConfig, ModelError> {
    let variant = Variant {
        family,
        positions: |f| Ok(Positions::Learned { offset: 0, rows: f.usize("max_position_embeddings")? }),
        norm_placement,
        embedding_norm: norm_placement == NormPlacement::Post,
        final_norm: norm_placement == NormPlacement::Pre,
        head_bias: true,
        scale_embedding: false,
        activation: "gelu",
        attention_dropout: 0.0,
        special: SpecialTokens { bos: Some(1), eos: vec![2], pad: Some(0), decoder_start: Some(1) },
    };
    bart_like::configure(f, variant)
}
