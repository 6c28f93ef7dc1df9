//! Models of masked tokens: what the prediction of each token reads.
//!
//! Such a model predicts a token from the text on both sides of it, so that every step has a copy of the text of its own, in which its token is
//! masked (pseudo-log-likelihoods; Salazar et al. 2020, arXiv:1910.14659), or also what follows the token in its word (Kauf & Ivanova 2023,
//! arXiv:2305.10588). Everything else in this crate reads a copy as a text with one step: the masked copy, and behind it the token that is to
//! be predicted, not before it but at the place of the mask.

use core::ops::Range;
use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use stepfn_core::{Alignment, StepError};

use crate::score_table::InputScores;
use crate::{AttributionError, Completeness, ContrastText, Scores, SequenceScores, Text, TextScores};

/// What is masked where a model of masked tokens predicts a token.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Masking {
    /// The token alone (Salazar et al. 2020).
    #[default]
    Token,
    /// The token, and what follows it in its word, so that a token isn't predicted from the rest of a rare word (Kauf & Ivanova 2023).
    Word,
}

impl Masking {
    /// Its name, as in JSON: `token` or `word`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Word => "word",
        }
    }
}

/// What is masked where the tokens of a text are predicted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Masked {
    /// The token that masks others.
    pub id: u32,
    /// For each token of the target, the position after the last that is masked with it: the next one, or the end of its word. Tokens behind those in
    /// this list are context alone, such as the end token.
    pub until: Vec<usize>,
}

impl Masked {
    /// Each of the first `tokens` tokens is masked alone.
    pub fn alone(id: u32, tokens: usize) -> Self {
        Self { id, until: (1..=tokens).collect() }
    }

    /// Checks that steps can be predicted in a target of so many tokens.
    pub(crate) fn check(&self, steps: &Range<usize>, tokens: usize) -> Result<(), AttributionError> {
        let end = self.until.len().min(tokens);
        if steps.start >= steps.end || steps.end > end {
            let Range { start, end: found } = steps;
            return Err(AttributionError::Text(format!(
                "steps {start}..{found} are not in the text: steps go from position 0 to {}",
                end.saturating_sub(1)
            )));
        }
        match steps.clone().find(|&step| self.until[step] <= step || self.until[step] > tokens) {
            Some(step) => Err(AttributionError::Text(format!(
                "step {step} masks the tokens up to {} (not included), and they are not that step and tokens behind it",
                self.until[step]
            ))),
            None => Ok(()),
        }
    }

    /// The copy in which a step is predicted, and behind it the step's token.
    fn copy(&self, target: &[u32], step: usize) -> Vec<u32> {
        let mut copy = target.to_vec();
        copy[step..self.until[step]].fill(self.id);
        copy.push(target[step]);
        copy
    }
}

/// Where a masked copy's step is predicted, in the copy and in that of its contrast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Places {
    pub(crate) own: usize,
    /// The place after the last that is masked there.
    pub(crate) until: usize,
    pub(crate) contrast: usize,
}

/// A text as passes read it: as it is, or one of its masked copies.
#[derive(Debug, Clone)]
pub(crate) struct Reading<'t> {
    pub(crate) text: Cow<'t, Text>,
    pub(crate) places: Option<Places>,
}

impl Text {
    /// What is read to predict the steps: the text, or a masked copy for each of them.
    ///
    /// # Errors
    /// If the text or its alignment makes no sense.
    pub(crate) fn readings(&self) -> Result<Vec<Reading<'_>>, AttributionError> {
        self.check()?;
        let Some(masked) = &self.masked else {
            return Ok(vec![Reading { text: Cow::Borrowed(self), places: None }]);
        };
        let partners = self.partners()?;
        let reading = |(step, partner): (usize, Option<usize>)| {
            let (contrast, place) = self.contrast.as_ref().map(|contrast| contrast.copy(masked.id, partner)).unzip();
            let target = masked.copy(&self.target, step);
            let end = target.len();
            let text = Text { source: None, target, steps: end - 1..end, contrast, masked: None };
            Reading {
                text: Cow::Owned(text),
                places: Some(Places { own: step, until: masked.until[step], contrast: place.unwrap_or(0) }),
            }
        };
        Ok(self.steps.clone().zip(partners).map(reading).collect())
    }

    /// The step of the contrast that each step is compared with, both counted from the first.
    pub(crate) fn partners(&self) -> Result<Vec<Option<usize>>, StepError> {
        match &self.contrast {
            Some(contrast) => contrast.alignment.partners(self.steps.len(), contrast.steps().len()),
            None => Ok(vec![None; self.steps.len()]),
        }
    }

    /// The scores of the text from those of its readings, of masked tokens only `of_layer`: what they are is not read there, but something is.
    pub(crate) fn joined(&self, parts: Vec<InputScores>, of_layer: bool) -> InputScores {
        let Some(masked) = &self.masked else { return parts.into_iter().next().unwrap_or_default() };
        let of_each: Option<Vec<&Scores>> = parts.iter().map(|part| part.target.as_ref()).collect();
        let inner = of_each.as_ref().and_then(|parts| parts.first()).map(|scores| scores.inner()).unwrap_or_default();
        let target = of_each.map(|parts| {
            Scores::filled(self.target.len(), self.steps.len(), &inner, |token, column, place| {
                let step = self.steps.start + column;
                let is_hidden = !of_layer && (step..masked.until[step]).contains(&token);
                if is_hidden { f32::NAN } else { parts[column].at(token, 0)[place] }
            })
        });
        let completeness: Option<Vec<&Completeness>> = parts.iter().map(|part| part.completeness.as_ref()).collect();
        let completeness = completeness.map(|all| Completeness {
            deltas: all.iter().flat_map(|one| one.deltas.iter().copied()).collect(),
            changes: all.iter().flat_map(|one| one.changes.iter().copied()).collect(),
        });
        InputScores { source: None, target, completeness }
    }

    /// The same of step functions.
    pub(crate) fn joined_scores(&self, parts: Vec<TextScores>) -> Option<TextScores> {
        let several = parts.len() > 1;
        let mut parts = parts.into_iter();
        let mut all = parts.next()?;
        for part in parts {
            for ((_, values), (_, more)) in all.scores.iter_mut().zip(part.scores) {
                values.extend(more);
            }
            all.likely.extend(part.likely);
            all.log_probs.extend(part.log_probs);
            all.entropies.extend(part.entropies);
        }
        all.first = self.steps.start;
        if several {
            all.sequence = SequenceScores::new(&all.log_probs, &all.entropies);
        }
        Some(all)
    }
}

impl ContrastText {
    /// Positions in the target that steps can be compared with.
    pub fn steps(&self) -> Range<usize> {
        self.first..self.masked.as_ref().map_or(self.target.len(), |masked| masked.until.len().min(self.target.len()))
    }

    /// The copy in which one of its steps is predicted, and where. A step without a partner has any, and is compared with nothing.
    fn copy(&self, id: u32, partner: Option<usize>) -> (Self, usize) {
        let step = self.first + partner.unwrap_or(0);
        let masked = self.masked.clone().unwrap_or_else(|| Masked::alone(id, self.target.len()));
        let target = masked.copy(&self.target, step);
        let alignment = if partner.is_some() { Alignment::OneToOne } else { Alignment::Pairs(Vec::new()) };
        (Self { source: None, first: target.len() - 1, target, alignment, masked: None }, step)
    }
}

impl AttributionError {
    /// An error of one reading as one of the text: with the step's own number.
    pub(crate) fn at_reading(self, reading: usize, places: Option<Places>) -> Self {
        if places.is_none() {
            return self;
        }
        match self {
            Self::Step { step: Some(_), error } => {
                let error = match error {
                    StepError::NonFinite { pass, .. } => StepError::NonFinite { pass, row: reading },
                    StepError::NoSpread { function, n, .. } => StepError::NoSpread { function, row: reading, n },
                    other => other,
                };
                Self::Step { step: Some(reading), error }
            }
            Self::NotFinite { method, .. } => Self::NotFinite { step: reading, method },
            Self::NoValue { function, .. } => Self::NoValue { step: reading, function },
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text() -> Text {
        Text::masked(vec![2, 10, 11, 12, 3], Masked { id: 4, until: vec![1, 2, 4, 4] }, 1)
    }

    #[test]
    fn each_step_reads_a_copy_without_it_and_what_is_masked_with_it() {
        let text = text();
        let readings = text.readings().unwrap();
        let targets: Vec<&[u32]> = readings.iter().map(|reading| &reading.text.target[..]).collect();
        assert_eq!(targets, [&[2, 4, 11, 12, 3, 10][..], &[2, 10, 4, 4, 3, 11], &[2, 10, 11, 4, 3, 12]]);
        let places: Vec<usize> = readings.iter().map(|reading| reading.places.unwrap().own).collect();
        assert_eq!(places, [1, 2, 3]);
        assert!(readings.iter().all(|reading| reading.text.steps == (5..6)));
    }

    #[test]
    fn a_contrast_is_masked_at_the_partner_of_each_step() {
        let contrast = ContrastText {
            source: None,
            target: vec![2, 20, 21, 3],
            first: 1,
            alignment: Alignment::OneToOne,
            masked: Some(Masked::alone(4, 3)),
        };
        let text = Text { contrast: Some(contrast), ..text() };
        let readings = text.readings().unwrap();
        let contrasts: Vec<(Vec<u32>, usize, Alignment)> = readings
            .iter()
            .map(|reading| {
                let contrast = reading.text.contrast.clone().unwrap();
                (contrast.target, reading.places.unwrap().contrast, contrast.alignment)
            })
            .collect();
        assert_eq!(contrasts[0], (vec![2, 4, 21, 3, 20], 1, Alignment::OneToOne));
        assert_eq!(contrasts[1], (vec![2, 20, 4, 3, 21], 2, Alignment::OneToOne));
        assert_eq!(contrasts[2].2, Alignment::Pairs(vec![]), "there is no third step to compare with");
    }

    #[test]
    fn what_can_not_be_masked_is_an_error() {
        for (until, steps) in [
            (vec![1, 2, 4, 4], 2..5),
            (vec![1, 1, 4, 4], 1..3),
            (vec![1, 2, 9, 4], 1..3),
            (vec![], 0..1),
            (vec![1], 1..1),
        ] {
            let text = Text { steps, masked: Some(Masked { id: 4, until }), ..text() };
            assert!(matches!(text.readings(), Err(AttributionError::Text(_))), "{text:?}");
        }
    }
}
