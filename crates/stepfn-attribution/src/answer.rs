//! From scores to an answer: scores joined with the tokens they belong to.

use burn::tensor::backend::Backend;
use stepfn_models::tokenizer::{Token, Tokenizer};

use crate::aggregation::per_span;
use crate::{
    Alternative, Attributed, Attribution, AttributionError, Baseline, Completeness, Likely, Prepared, Preparer,
    Provenance, SpanTarget, Text, TextScores,
};

impl<B: Backend> Preparer<'_, B> {
    /// The answer to a text that this preparer made; with `spans`, if they were [attributed](crate::AttributionOptions::spans).
    ///
    /// # Errors
    /// [`AttributionError::Model`] if the tokenizer can't name the tokens of a contrast.
    pub fn answer(
        &self,
        prepared: &Prepared,
        attributed: Attributed,
        spans: Option<&SpanTarget>,
        about: Provenance,
    ) -> Result<Attribution, AttributionError> {
        let Attributed { scores, step_scores } = attributed;
        let steps = prepared.text.steps.clone();
        let mut answer = Attribution::new(prepared.source.clone(), prepared.target.clone(), steps);
        answer.source_text.clone_from(&prepared.source_text);
        answer.target_text = Some(prepared.target_text.clone());
        answer.contrast = contrast_tokens(self.tokenizers.target(), &prepared.text)?;
        answer.source_scores = scores.source;
        answer.target_scores = scores.target;
        if let Some(Completeness { deltas, changes }) = scores.completeness {
            (answer.deltas, answer.changes) = (Some(deltas), Some(changes));
        }
        if let Some(TextScores { scores, joins, likely, .. }) = step_scores {
            answer.step_scores = scores.into_iter().collect();
            answer.joins = joins;
            answer.alternatives = self.alternatives(&likely)?;
        }
        if let Some(target) = spans {
            answer = per_span(answer, target.spans.clone());
        }
        answer.about = Provenance { family: self.model.config().family.to_owned(), ..about };
        Ok(answer)
    }

    /// The names of the most likely tokens of each step.
    ///
    /// # Errors
    /// [`AttributionError::Model`] if the tokenizer can't name a token.
    pub fn alternatives(&self, likely: &[Vec<Likely>]) -> Result<Vec<Vec<Alternative>>, AttributionError> {
        let named = |&Likely { id, probability }: &Likely| {
            // A model's vocabulary may be padded beyond the tokenizer's.
            let known = self.tokenizers.target().id_to_token(id).is_some();
            let named = if known { self.tokenizers.target().describe(&[id])?.1.pop() } else { None };
            let surface = named.map_or_else(|| format!("<{id}>"), |token| token.surface);
            Ok(Alternative { id, surface, probability })
        };
        likely.iter().map(|step| step.iter().map(named).collect()).collect()
    }

    /// What replaces tokens that are hidden: the unknown token, or the end token if there is none; in a model of masked tokens, the token that masks
    /// others. Special tokens are never hidden.
    pub fn baseline(&self) -> Baseline {
        if let (true, Some((_, id))) = (self.model.config().is_masked(), self.tokenizers.target().mask()) {
            let unknown = self.tokenizers.target().unk().map(|(_, id)| id);
            let kept = self.tokenizers.target().special().filter(|special| Some(*special) != unknown).collect();
            return Baseline { id, kept };
        }
        let special = &self.model.config().special;
        let unknown = self.tokenizers.target().unk().map(|(_, id)| id);
        let end = || self.tokenizers.target().eos().map(|(_, id)| id).or_else(|| special.eos.first().copied());
        let kept = [special.bos, special.pad, special.decoder_start].into_iter().flatten();
        let kept = kept.chain(special.eos.iter().copied()).collect();
        Baseline { id: unknown.or_else(end).or(special.pad).unwrap_or(0), kept }
    }
}

/// The token that each step is compared with.
fn contrast_tokens(tokenizer: &Tokenizer, text: &Text) -> Result<Vec<Option<Token>>, AttributionError> {
    let Some(contrast) = &text.contrast else { return Ok(Vec::new()) };
    let partners = text.partners()?;
    let (_, tokens) = tokenizer.describe(&contrast.target)?;
    Ok(partners.into_iter().map(|partner| tokens.get(contrast.first + partner?).cloned()).collect())
}
