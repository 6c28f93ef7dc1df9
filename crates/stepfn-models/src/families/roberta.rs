//! RoBERTa, XLM-RoBERTa and CamemBERT.
//!
//! BERT whose positions start after the row of padding. The nonlinearity of the head is always GELU.

use super::Family;
use super::bert_like::{self, Variant};
use crate::ModelError;
use crate::config::{Activation, SpecialTokens, TransformerConfig};
use crate::json::Fields;
use crate::names::{Name, whole};

pub(super) const ROBERTA: Family = Family {
    name: "roberta",
    configure: |f| configure(f, "roberta"),
    names,
    prefixes: &["roberta."],
    ignored: &IGNORED,
};

pub(super) const XLM_ROBERTA: Family =
    Family { name: "xlm-roberta", configure: |f| configure(f, "xlm-roberta"), ..ROBERTA };

pub(super) const CAMEMBERT: Family = Family { name: "camembert", configure: |f| configure(f, "camembert"), ..ROBERTA };

const IGNORED: [&str; 3] = ["position_ids", "roberta.pooler.dense.weight", "roberta.pooler.dense.bias"];

fn configure(f: &Fields, family: &'static str) -> Result<TransformerConfig, ModelError> {
    let special = SpecialTokens { bos: Some(0), eos: vec![2], pad: Some(1), decoder_start: None };
    let offset = f.usize_or("pad_token_id", 1)? + 1;
    bert_like::configure(f, Variant { family, offset, head_activation: Some(Activation::Gelu), special })
}

fn names(config: &TransformerConfig) -> Vec<Name> {
    let mut names = bert_like::stack!("roberta");
    names.push(whole("head.transform", "lm_head.dense"));
    names.push(whole("head.norm", "lm_head.layer_norm"));
    names.extend(bert_like::head_names(
        config,
        "roberta.embeddings.word_embeddings",
        "lm_head.decoder",
        "lm_head.bias",
    ));
    names
}
