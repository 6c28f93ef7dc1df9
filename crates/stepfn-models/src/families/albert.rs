//! ALBERT.
//!
//! BERT whose layers are all the same one, and whose embeddings are narrower than the model.

use super::Family;
use super::bert_like::{self, Variant};
use crate::config::{DropoutRates, SpecialTokens};
use crate::names::{Name, whole};

pub(super) const ALBERT: Family = Family {
    name: "albert",
    configure: |f| {
        for field in ["num_hidden_groups", "inner_group_num"] {
            f.check(f.usize_or(field, 1)? == 1, field, "1: several groups of layers are not implemented")?;
        }
        let special = SpecialTokens { bos: Some(2), eos: vec![3], pad: Some(0), decoder_start: None };
        let mut config =
            bert_like::configure(f, Variant { family: "albert", offset: 0, head_activation: None, special })?;
        bert_like::narrow(f, &mut config, true)?;
        let drops = f.rate_or("hidden_dropout_prob", 0.0)?;
        let attention = f.rate_or("attention_probs_dropout_prob", 0.0)?;
        f.check(drops == 0.0, "hidden_dropout_prob", "0: dropout of attention's output alone is not implemented")?;
        config.decoder.dropout =
            DropoutRates { embedding: Some(drops), attention: Some(attention), ..DropoutRates::default() };
        Ok(config)
    },
    names: |config| {
        let mut names = vec![
            whole("decoder.embedding", "albert.embeddings.word_embeddings"),
            whole("decoder.positions", "albert.embeddings.position_embeddings"),
            whole("decoder.token_types", "albert.embeddings.token_type_embeddings"),
            whole("decoder.embedding_norm", "albert.embeddings.LayerNorm"),
            whole("decoder.project_in", "albert.encoder.embedding_hidden_mapping_in"),
            whole("head.transform", "predictions.dense"),
            whole("head.norm", "predictions.LayerNorm"),
        ];
        names.extend(LAYERS);
        names.extend(bert_like::head_names(
            config,
            "albert.embeddings.word_embeddings",
            "predictions.decoder",
            "predictions.bias",
        ));
        names
    },
    prefixes: &["albert."],
    ignored: &["position_ids", "albert.pooler.weight", "albert.pooler.bias", "sop_classifier."],
};

/// Table rows of the one layer, whatever its number.
macro_rules! layers {
    ($($ours:literal = $theirs:literal),*) => {
        [$(whole(
            concat!("decoder.layers.{}.", $ours),
            concat!("albert.encoder.albert_layer_groups.0.albert_layers.0.", $theirs),
        )),*]
    };
}

const LAYERS: [Name; 8] = layers!(
    "self_attention.query" = "attention.query",
    "self_attention.key" = "attention.key",
    "self_attention.value" = "attention.value",
    "self_attention.output" = "attention.dense",
    "self_attention_norm" = "attention.LayerNorm",
    "feed_forward.up" = "ffn",
    "feed_forward.down" = "ffn_output",
    "feed_forward_norm" = "full_layer_layer_norm"
);
