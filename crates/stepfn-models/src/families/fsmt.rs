//! FSMT: fairseq's translation models of WMT 2019 and 2020 (wmt19-en-de, wmt19-ru-en).
//!
//! BART with fairseq's computed positions and no embedding norm, a vocabulary for each language, and no bias on the logits. The head is the
//! decoder's embedding, of which files have one copy or both.

use super::Family;
use super::bart_like::{self, Variant, sinusoidal_fairseq};
use crate::config::{NormPlacement, SpecialTokens};
use crate::names::whole;

const ENCODER: &str = "model.encoder.embed_tokens";
const DECODER: &str = "model.decoder.embed_tokens";
const HEAD: &str = "model.decoder.output_projection";

pub(super) const FSMT: Family = Family {
    name: "fsmt",
    configure: |f| {
        let variant = Variant {
            family: "fsmt",
            positions: sinusoidal_fairseq,
            norm_placement: NormPlacement::Post,
            embedding_norm: false,
            final_norm: false,
            head_bias: false,
            scale_embedding: true,
            activation: "relu",
            attention_dropout: 0.0,
            special: SpecialTokens { bos: Some(0), eos: vec![2], pad: Some(1), decoder_start: Some(2) },
        };
        let mut config = bart_like::configure(f, variant)?;
        config.head.tied = true;
        config.shared_embeddings = f.bool_or("tie_word_embeddings", false)?;
        let source = f.usize("src_vocab_size")?;
        let target = config.vocab_size;
        let expected = format!("{target}, as in tgt_vocab_size, because both languages share their embeddings");
        f.check(!config.shared_embeddings || source == target, "src_vocab_size", expected)?;
        config.encoder_vocab_size = (source != target).then_some(source);
        Ok(config)
    },
    names: |config| {
        let mut names =
            vec![whole("encoder.embedding", ENCODER), whole("decoder.embedding", DECODER), whole("head", HEAD)];
        names.extend([whole("decoder.embedding", HEAD), whole("head", DECODER)]);
        if config.shared_embeddings {
            let ours = ["encoder.embedding", "decoder.embedding", "head"];
            names.extend(ours.iter().flat_map(|ours| [ENCODER, DECODER, HEAD].map(|theirs| whole(ours, theirs))));
        }
        bart_like::names_after(names, &bart_like::ROWS, config)
    },
    prefixes: &["model."],
    ignored: &[
        "encoder.version",
        "decoder.version",
        "encoder.embed_positions.weight",
        "decoder.embed_positions.weight",
    ],
};
