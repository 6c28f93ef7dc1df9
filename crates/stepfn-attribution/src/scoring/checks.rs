//! What can be wrong with texts, functions and models before anything runs.

use std::collections::BTreeSet;

use burn::tensor::backend::Backend;
use stepfn_core::StepFunction;
use stepfn_models::config::TransformerConfig;

use crate::budget::Budget;
use crate::{AttributionError, ParameterError, Text};

/// Checks that the predictions of one token in all noisy passes fit into memory.
pub(crate) fn check_noise(budget: &Budget, memory: usize, noisy_samples: usize) -> Result<(), AttributionError> {
    /// Memory that every machine has.
    const SPARE: usize = 1 << 30;
    let bytes = budget.bytes_per_row();
    if noisy_samples == 0 || bytes <= memory.max(SPARE) {
        return Ok(());
    }
    Err(AttributionError::Unsuited(format!(
        "the predictions of one token in {noisy_samples} passes with dropout need {:.1} GiB of memory: take fewer passes (n_mcd_steps)",
        bytes as f64 / f64::from(1 << 30)
    )))
}

pub(super) fn check_names<B: Backend>(functions: &[Box<dyn StepFunction<B> + '_>]) -> Result<(), AttributionError> {
    let mut seen = BTreeSet::new();
    match functions.iter().find(|function| !seen.insert(function.name())) {
        Some(function) => Err(AttributionError::from(ParameterError::new(
            "scoring",
            "functions",
            "functions with different names",
            format!("`{}` twice", function.name()),
        ))),
        None => Ok(()),
    }
}

/// Checks that a text is of the model's kind: of masked tokens, or of those that come next.
pub(crate) fn check_kind(config: &TransformerConfig, text: &Text) -> Result<(), AttributionError> {
    match (config.is_masked(), &text.masked) {
        (true, None) => Err(AttributionError::Text(
            "this model predicts masked tokens, and the text does not say which token masks others".to_owned(),
        )),
        (false, Some(_)) => Err(AttributionError::Text(
            "this model predicts what comes next, and the text has tokens to mask".to_owned(),
        )),
        _ => Ok(()),
    }
}

/// Checks that a model can read a source and the first `read` tokens of a target, and knows all tokens of both. `which` is "contrast " for a
/// contrast's.
pub(crate) fn check_fits(
    config: &TransformerConfig,
    which: &str,
    source: Option<&[u32]>,
    target: &[u32],
    read: usize,
) -> Result<(), AttributionError> {
    let wrong = |what: String| Err(AttributionError::Text(what));
    match (&config.encoder, source) {
        (Some(_), None) => {
            return wrong(format!("this model has an encoder, and there is no {which}source for it to read"));
        }
        (None, Some(_)) => {
            return wrong(format!(
                "this model has no encoder to read a {which}source; make it part of the {which}target"
            ));
        }
        (Some(_), Some([])) => return wrong(format!("the {which}source is empty")),
        _ => {}
    }
    for (part, ids, known) in
        [("source", source.unwrap_or_default(), config.source_vocab_size()), ("target", target, config.vocab_size)]
    {
        if let Some(position) = ids.iter().position(|&id| id as usize >= known) {
            return wrong(format!(
                "token {position} of the {which}{part} has id {}, and the model knows only ids below {}",
                ids[position], known
            ));
        }
    }
    let encoder = config.encoder.as_ref().map(|stack| ("source", stack, source.map_or(0, <[u32]>::len)));
    for (part, stack, len) in encoder.into_iter().chain([("target", &config.decoder, read)]) {
        if let Some(most) = stack.most_tokens().filter(|&most| len > most) {
            return wrong(format!("the {which}{part} has {len} tokens, and the model can read {most}"));
        }
    }
    Ok(())
}
