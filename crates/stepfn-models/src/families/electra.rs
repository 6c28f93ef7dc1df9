//! ELECTRA's generators.
//!
//! BERT whose embeddings may be narrower than the model. A discriminator says which tokens were replaced, and predicts none.

use super::Family;
use super::bert_like::{self, Variant};
use crate::config::{Activation, SpecialTokens};
use crate::names::whole;

pub(super) const ELECTRA: Family = Family {
    name: "electra",
    configure: |f| {
        let is_discriminator = f
            .optional_strings("architectures")?
            .is_some_and(|architectures| architectures.contains(&"ElectraForPreTraining"));
        f.check(
            !is_discriminator,
            "architectures",
            "ElectraForMaskedLM: a discriminator predicts no tokens; take the generator",
        )?;
        let special = SpecialTokens { pad: Some(0), ..SpecialTokens::default() };
        let head_activation = Some(Activation::Gelu);
        let mut config = bert_like::configure(f, Variant { family: "electra", offset: 0, head_activation, special })?;
        bert_like::narrow(f, &mut config, false)?;
        Ok(config)
    },
    names: |config| {
        let mut names = bert_like::stack!("electra");
        names.push(whole("decoder.project_in", "electra.embeddings_project"));
        names.push(whole("head.transform", "generator_predictions.dense"));
        names.extend(bert_like::norm!("head.norm", "generator_predictions.LayerNorm"));
        names.extend(bert_like::head_names(
            config,
            "electra.embeddings.word_embeddings",
            "generator_lm_head",
            "generator_lm_head.bias",
        ));
        names
    },
    prefixes: &["electra."],
    ignored: &["position_ids"],
};
