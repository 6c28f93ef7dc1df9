//! The second step: what in the contexts a token depends on.

use burn::tensor::backend::Backend;
use stepfn_attribution::aggregation::Pipeline;
use stepfn_attribution::reliance::Cues;
use stepfn_attribution::{
    Attribution, AttributionError, AttributionOptions, ContrastText, Likely, Prepared, Provenance, Scores, Side,
    attribute,
};
use stepfn_core::{Alignment, Need, StepScore};

use super::AttributeContextTask;
use super::runs::{Run, Runs};
use crate::{Error, ErrorKind, LanguageModel, Result};

/// A token that depends on context.
pub(super) struct Cue {
    /// Its number among those of the current output.
    pub(super) cti_idx: usize,
    pub(super) cti_score: f32,
    /// What the run without context is compared by.
    pub(super) preferred: Option<Likely>,
}

/// What was found for one token.
pub(super) struct Found {
    pub(super) cues: Cues,
    /// The tokens of the contexts that have the scores.
    pub(super) tokens: [Option<Vec<String>>; 2],
    /// Whether all scores are 0.
    pub(super) is_nothing: bool,
}

impl<B: Backend> AttributeContextTask<B> {
    /// The tokens that the run without context is made to prefer, for as many tokens as depend on context.
    pub(super) fn forced(
        &self,
        model: &LanguageModel<B>,
        given: &[String],
        selected: usize,
    ) -> Result<Vec<Option<Likely>>> {
        if given.is_empty() {
            return Ok(vec![None; selected]);
        }
        if given.len() != selected {
            let given = given.len();
            let what = format!(
                "{given} tokens to compare with are given, and the number of those that depend on context is {selected}"
            );
            let hint = "give one for each, the most dependent first; an empty one is the one that the model prefers";
            return Err(Error::new(ErrorKind::Text, what, hint));
        }
        let tokenizer = model.tokenizers().target();
        let forced = |text: &String| match text.as_str() {
            "" => Ok(None),
            text => {
                let tokens = tokenizer.encode(text, false)?;
                let first = tokens.first().map(|token| Likely { id: token.id, probability: f32::NAN });
                first.map(Some).ok_or_else(|| {
                    let what = format!("`{text}` has no token");
                    Error::new(ErrorKind::Text, what, "give a token that the model could write")
                })
            }
        };
        given.iter().map(forced).collect()
    }

    /// What a token depends on.
    pub(super) fn cues_of(&self, model: &LanguageModel<B>, runs: &Runs, cue: &Cue, number: usize) -> Result<Found> {
        let Runs { contextual, contextless, .. } = runs;
        let without = contextless.current[cue.cti_idx];
        let lost = || Error::new(ErrorKind::Text, "a token has no partner with context", "report this as a bug");
        let with = runs.partners[cue.cti_idx].ok_or_else(lost)?;
        let preparer = model.preparer();
        let mut prepared = up_to(contextual, with);
        let is_compared = self.method.is_of_function() && self.function.needs().contrast != Need::Unused;
        let preferred = cue.preferred.filter(|_| is_compared);
        let own = prepared.text.target[with];
        let force = preferred.is_some_and(|preferred| preferred.id == own) || self.function.needs().of_contexts;
        if let Some(Likely { id, .. }) = preferred {
            let text = &contextless.prepared.text;
            let mut target = text.target[..without].to_vec();
            target.push(id);
            let source = text.source.clone();
            prepared.text.contrast =
                Some(ContrastText { source, target, first: without, alignment: Alignment::OneToOne, masked: None });
        }
        let options = AttributionOptions {
            seed: self.options.seed,
            rates: self.options.rates(model.config()),
            first_number: number as u32,
            memory: model.memory(&self.options),
            attribute_target: runs.contexts[1].is_some(),
            raw: self.aggregate.as_ref().is_some_and(Pipeline::needs_raw),
            contrast_force_inputs: preferred.is_some() && force,
            ..AttributionOptions::new(preparer.baseline())
        };
        let texts = core::slice::from_ref(&prepared.text);
        let attributed = attribute(model.model(), texts, &*self.method, &self.function, &[], &options)?;
        let nothing = || Error::new(ErrorKind::Text, "there is no result", "report this as a bug");
        let attributed = attributed.into_iter().next().ok_or_else(nothing)??;
        let answer = preparer.answer(&prepared, attributed, None, Provenance::default())?;
        let answer = match &self.aggregate {
            Some(pipeline) => pipeline.apply(&answer)?,
            None => answer.per_token(),
        };
        let [input, output] = [self.of_context(runs, 0, &answer)?, self.of_context(runs, 1, &answer)?];
        let surface = match preferred {
            Some(preferred) => preparer.alternatives(&[vec![preferred]])?.pop().and_then(|mut named| named.pop()),
            None => None,
        };
        let contrast_token = surface.map(|named| named.surface);
        let is_zero = |scores: &Option<(Vec<String>, Vec<f32>)>| {
            scores.as_ref().is_none_or(|(_, scores)| scores.iter().all(|score| *score == 0.0))
        };
        let is_nothing = is_zero(&input) && is_zero(&output);
        let ([input_tokens, output_tokens], [input_context_scores, output_context_scores]) = {
            let ((a, b), (c, d)) = (input.unzip(), output.unzip());
            ([a, c], [b, d])
        };
        let cues = Cues {
            cti_idx: cue.cti_idx,
            cti_token: contextless.prepared.target[without].surface.clone(),
            cti_score: cue.cti_score,
            contextual_output: prepared.target_text,
            contextless_output: contrast_token.as_deref().map(|token| written_on(contextless, without, token)),
            contrast_token,
            input_context_scores,
            output_context_scores,
        };
        Ok(Found { cues, tokens: [input_tokens, output_tokens], is_nothing })
    }

    /// The tokens of a context and their scores, if there is that context.
    fn of_context(&self, runs: &Runs, which: usize, answer: &Attribution) -> Result<Option<(Vec<String>, Vec<f32>)>> {
        let Some(place) = &runs.contexts[which] else { return Ok(None) };
        let (tokens, scores) = match place.side {
            Side::Source => (&answer.source, &answer.source_scores),
            Side::Target => (&answer.target, &answer.target_scores),
        };
        let unsuited = || {
            let name = ["input", "output"][which];
            let what = format!("{} gives no scores to the tokens of the {name} context", self.method.name());
            Error::from(AttributionError::Unsuited(what))
        };
        let scores: &Scores = scores.as_ref().ok_or_else(unsuited)?;
        if scores.steps() != 1 || !scores.is_aggregated() {
            let what = "the aggregation leaves more than one number for each token of the context";
            return Err(Error::new(ErrorKind::Parameter, what, "end it with a stage that leaves one, such as mean"));
        }
        let own = runs.of_context(which, tokens).unwrap_or_default();
        let surfaces = own.iter().map(|&at| tokens[at].surface.clone()).collect();
        Ok(Some((surfaces, own.iter().map(|&at| scores.at(at, 0)[0]).collect())))
    }
}

/// A run up to and including one token of its output, which is its only step.
fn up_to(run: &Run, position: usize) -> Prepared {
    let mut prepared = run.prepared.clone();
    prepared.target.truncate(position + 1);
    prepared.text.target.truncate(position + 1);
    prepared.text.steps = position..position + 1;
    prepared.target_text.truncate(prepared.target[position].span.end);
    prepared
}

/// A run's text before a token, and another token in its place.
fn written_on(run: &Run, position: usize, token: &str) -> String {
    let before = &run.prepared.target_text[..run.prepared.target[position].span.start];
    let before = if token.starts_with(' ') { before.trim_end_matches(' ') } else { before };
    if before.is_empty() { token.trim_start().to_owned() } else { format!("{before}{token}") }
}
