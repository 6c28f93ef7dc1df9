//! BERT, and models with its structure (multilingual BERT, BERTs of single languages and domains).

use super::Family;
use super::bert_like::{self, Variant};
use crate::config::SpecialTokens;
use crate::names::whole;

pub(super) const BERT: Family = Family {
    name: "bert",
    configure: |f| {
        let special = SpecialTokens { pad: Some(0), ..SpecialTokens::default() };
        bert_like::configure(f, Variant { family: "bert", offset: 0, head_activation: None, special })
    },
    names: |config| {
        let mut names = bert_like::stack!("bert");
        names.push(whole("head.transform", "cls.predictions.transform.dense"));
        names.extend(bert_like::norm!("head.norm", "cls.predictions.transform.LayerNorm"));
        names.extend(bert_like::head_names(
            config,
            "bert.embeddings.word_embeddings",
            "cls.predictions.decoder",
            "cls.predictions.bias",
        ));
        names
    },
    prefixes: &["bert."],
    ignored: &["position_ids", "bert.pooler.dense.weight", "bert.pooler.dense.bias", "cls.seq_relationship."],
};
