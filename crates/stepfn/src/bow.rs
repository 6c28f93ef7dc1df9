//! The correction of words' probabilities for tokenizers that mark where words begin.
//!
//! Such a tokenizer has the space before a word in the word's first token, so that `p(tokens of w | c)` says that a word goes on at least like this, and the
//! end of the word is part of the next one. With `V_bow`, the tokens that begin a word or end the text (Pimentel & Meister 2024; Oh & Schuler 2024):
//!
//! `p(w | c) = p(tokens of w | c) · p(V_bow | c, w) / p(V_bow | c)`

use core::f64::consts::LN_2;
use core::ops::Range;

use burn::tensor::{Tensor, TensorData, backend::Backend};
use stepfn_attribution::TextScores;
use stepfn_core::{Join, StepBatch, StepError, StepFunction, StepScore};
use stepfn_models::tokenizer::Tokenizer;

use crate::{Error, ErrorKind, Result};

/// Which correction of words' probabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BowCorrection {
    /// The published one: `V_bow` are the tokens that begin with whitespace, and special tokens, such as the end of text. The first word of a text
    /// has no denominator.
    Published,
    /// As minicons 0.3.39 computes it: `V_bow` are the tokens with the mark of a space, and the first scored word has no denominator, also behind a prompt.
    Minicons,
}

impl BowCorrection {
    /// Its name: `published` or `minicons`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Published => "published",
            Self::Minicons => "minicons",
        }
    }

    /// Which tokens begin words.
    pub(crate) fn starts(self, tokenizer: &Tokenizer, end_of_text: &[u32]) -> Result<Vec<bool>> {
        let starts = match self {
            Self::Published => tokenizer.word_starts(),
            Self::Minicons => tokenizer.word_starts_of_minicons(),
        };
        let mut starts = starts.ok_or_else(|| {
            let what = "the tokenizer of this model does not mark where words begin, so there is nothing to correct";
            Error::new(ErrorKind::Option, what, "leave out the correction")
        })?;
        if self == Self::Published {
            end_of_text.iter().filter_map(|&id| usize::try_from(id).ok()).for_each(|id| {
                if let Some(start) = starts.get_mut(id) {
                    *start = true;
                }
            });
        }
        Ok(starts)
    }
}

/// The name of [`WordStart`], which no function of a user's has.
const NAME: &str = "ln p(V_bow)";

/// `ln p(V_bow)`: the log-probability that the next token begins a word.
pub(crate) struct WordStart {
    pub(crate) starts: Vec<bool>,
}

impl StepScore for WordStart {
    fn name(&self) -> &str {
        NAME
    }

    fn join(&self) -> Join {
        Join::Mean
    }
}

impl<B: Backend> StepFunction<B> for WordStart {
    fn score(&self, steps: &StepBatch<B>) -> core::result::Result<Tensor<B, 1>, StepError> {
        let prediction = steps.prediction();
        let logits = prediction.logits();
        let weights = (0..prediction.vocab()).map(|id| f32::from(u8::from(self.starts.get(id) == Some(&true))));
        let weights = TensorData::new(weights.collect::<Vec<f32>>(), [1, prediction.vocab()]);
        let weights = Tensor::<B, 2>::from_data(weights, &logits.device()).cast(logits.dtype());
        let stats = prediction.softmax().stats();
        let sum = ((logits.clone() - stats.max.clone()).exp() * weights).sum_dim(1);
        Ok((sum.log() - stats.log_norm.clone()).squeeze_dim(1))
    }
}

/// `ln p(V_bow)` where words may begin, and after the last token.
pub(crate) struct Mass {
    values: Vec<f32>,
    /// For each token of the target, whether it begins a word.
    begins: Vec<bool>,
    variant: BowCorrection,
    /// Whether the first word is the first of the text, and not of what follows a prompt.
    starts_text: bool,
}

impl Mass {
    /// Takes the values out of the scores of a text.
    pub(crate) fn taken_from(
        scores: &mut TextScores,
        begins: Vec<bool>,
        variant: BowCorrection,
        starts_text: bool,
    ) -> Self {
        let place = scores.scores.iter().position(|(name, _)| name == NAME);
        scores.joins.remove(NAME);
        let values = place.map_or_else(Vec::new, |place| scores.scores.remove(place).1);
        Self { values, begins, variant, starts_text }
    }

    /// What to add to the log-probability of each word: with the ranges of their tokens, and the first scored token. Where the token behind a word does not
    /// begin a word, nothing is corrected between the two. NaN where the model says nothing about what follows.
    pub(crate) fn corrections(&self, words: &[Range<usize>], first: usize) -> Vec<f64> {
        let boundary = |token: usize| match self.begins.get(token) {
            Some(false) => 0.0,
            // The end of the text, and where a word begins.
            _ => token
                .checked_sub(first)
                .and_then(|step| self.values.get(step))
                .map_or(f64::NAN, |&mass| f64::from(mass)),
        };
        let correction = |(number, word): (usize, &Range<usize>)| {
            let is_first = match self.variant {
                BowCorrection::Published => self.starts_text && number == 0,
                BowCorrection::Minicons => word.start == first,
            };
            boundary(word.end) - if is_first { 0.0 } else { boundary(word.start) }
        };
        words.iter().enumerate().map(correction).collect()
    }
}

impl Mass {
    /// Corrects the scores of all tokens, each as if it were a word: only where words begin does that change anything.
    pub(crate) fn correct(&self, scores: &mut TextScores) {
        let first = scores.first;
        for (name, values) in &mut scores.scores {
            let join = scores.joins.get(name);
            let tokens: Vec<Range<usize>> = (first..first + values.len()).map(|token| token..token + 1).collect();
            for (value, change) in values.iter_mut().zip(self.corrections(&tokens, first)) {
                *value = corrected(name, join, f64::from(*value), change) as f32;
            }
        }
    }
}

/// The score of a word whose log-probability changes by so much: of functions of the target's probability. Others stay as they are.
pub(crate) fn corrected(function: &str, join: Option<&Join>, score: f64, change: f64) -> f64 {
    match (function, join) {
        ("surprisal", _) => score - change / LN_2,
        ("crossentropy", _) => score - change,
        // Its logarithm.
        ("probability", Some(Join::Sum)) => score + change,
        ("probability", _) => score * change.exp(),
        _ => score,
    }
}

/// Functions that are corrected.
pub(crate) const CORRECTED: [&str; 3] = ["surprisal", "crossentropy", "probability"];
