//! Marian: the OPUS-MT translation models.
//!
//! BART with computed positions and no embedding norm. The two languages may have separate embeddings (`share_encoder_decoder_embeddings`
//! false), and then also separate vocabularies (`vocab_size` and `decoder_vocab_size`).

use super::Family;
use super::bart_like::{self, Variant, sinusoidal_halves};
use crate::config::{NormPlacement, SpecialTokens};

pub(super) const MARIAN: Family = Family {
    name: "marian",
    configure: |f| {
        let mut config = bart_like::configure(
            f,
            Variant {
                family: "marian",
                positions: sinusoidal_halves,
                norm_placement: NormPlacement::Post,
                embedding_norm: false,
                final_norm: false,
                head_bias: true,
                scale_embedding: false,
                activation: "gelu",
                attention_dropout: 0.0,
                special: SpecialTokens { eos: vec![0], ..SpecialTokens::default() },
            },
        )?;
        config.shared_embeddings = f.bool_or("share_encoder_decoder_embeddings", true)?;
        let source = config.vocab_size;
        let target = f.usize_or("decoder_vocab_size", source)?;
        if target != source {
            let expected = format!("{source}, as in vocab_size, because both languages share their embeddings");
            f.check(!config.shared_embeddings, "decoder_vocab_size", expected)?;
            config.vocab_size = target;
            config.encoder_vocab_size = Some(source);
        }
        Ok(config)
    },
    names: bart_like::names,
    prefixes: &["model."],
    ignored: &[
        "encoder.version",
        "decoder.version",
        "encoder.embed_positions.weight",
        "decoder.embed_positions.weight",
    ],
};
