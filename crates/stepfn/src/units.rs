//! Scores of words, sentences and regions: what is joined, and how.

use core::ops::Range;

use serde::Serialize;
use serde_json::{Map, Value, json};
use stepfn_attribution::aggregation::sentences_of;
use stepfn_attribution::parts::{given_words, tokens_of_parts, unicode_words, whitespace_words};
use stepfn_attribution::{Prepared, TextScores};
use stepfn_core::Join;

use crate::bow::Mass;
use crate::{Error, ErrorKind, Input, Result};

/// What has a score of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ScoreUnit {
    /// Each token.
    #[default]
    Token,
    /// The tokens of a word together.
    Word,
    /// The tokens of a sentence together: Unicode's annex 29.
    Sentence,
    /// All scored tokens together.
    Text,
    /// The tokens of each of the input's [regions](Input::regions) together.
    Region,
}

impl ScoreUnit {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Token, Self::Word, Self::Sentence, Self::Text, Self::Region];

    /// Its name: `word`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Word => "word",
            Self::Sentence => "sentence",
            Self::Text => "text",
            Self::Region => "region",
        }
    }
}

/// Where words are, in texts that don't bring their own ([`Input::words`]).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WordSplit {
    /// Between whitespace, so that punctuation is part of them.
    #[default]
    Whitespace,
    /// Unicode's annex 29: punctuation marks are words of their own.
    Unicode,
}

impl WordSplit {
    /// Its name: `whitespace` or `unicode`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Whitespace => "whitespace",
            Self::Unicode => "unicode",
        }
    }
}

/// A part of a text that has scores of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    /// What it is called.
    pub name: Option<String>,
    /// What is there.
    pub place: Place,
}

/// Where a region is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The first occurrence of this text after the region before it.
    Text(String),
    /// From one position to another, as the input [counts](Input::positions) them.
    Span(Range<usize>),
}

/// Scores of a word, a sentence, a region or a text.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoredUnit {
    /// What it says.
    pub text: String,
    /// What a region is called.
    pub name: Option<String>,
    /// Where it is, in bytes of the target text.
    pub span: Range<usize>,
    /// Its tokens, as positions in the target.
    pub tokens: Range<usize>,
    /// A score for each function. NaN where a token has none, as the first of a text that nothing precedes, or where there is no token.
    pub scores: Vec<(String, f64)>,
}

impl Serialize for ScoredUnit {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> core::result::Result<S::Ok, S::Error> {
        let Self { text, name, span, tokens, scores } = self;
        let scores: Map<String, Value> = scores.iter().map(|(name, score)| (name.clone(), (*score).into())).collect();
        let mut object =
            json!({ "text": text, "start": span.start, "end": span.end, "tokens": tokens.len(), "scores": scores });
        if let (Some(name), Some(object)) = (name, object.as_object_mut()) {
            object.insert("name".to_owned(), name.as_str().into());
        }
        object.serialize(serializer)
    }
}

/// Where the units of a text are.
pub(crate) struct Units {
    parts: Vec<(Option<String>, Range<usize>)>,
    tokens: Vec<Range<usize>>,
}

impl Units {
    /// The units of what is asked about: of a text with a prompt, of what follows the prompt.
    ///
    /// # Errors
    /// [`ErrorKind::Text`] if given words or regions are not there.
    pub(crate) fn new(
        by: ScoreUnit,
        split: WordSplit,
        input: &Input,
        prepared: &Prepared,
        is_pair: bool,
    ) -> Result<Self> {
        let Prepared { text, target_text, target, source_text, .. } = prepared;
        let has_prompt = !is_pair && source_text.is_some();
        let from = if has_prompt { target.get(text.steps.start).map_or(0, |token| token.span.start) } else { 0 };
        let rest = target_text.get(from..).unwrap_or_default();
        let moved = |spans: Vec<Range<usize>>| {
            spans.into_iter().map(|span| (None, span.start + from..span.end + from)).collect()
        };
        let parts: Vec<(Option<String>, Range<usize>)> = match by {
            ScoreUnit::Token => Vec::new(),
            ScoreUnit::Word if !input.words.is_empty() => {
                let found = given_words(target_text, &input.words, from).map_err(|number| {
                    let what = format!(
                        "word {} of `words`, {:?}, does not follow the one before it in the text",
                        number + 1,
                        input.words[number]
                    );
                    Error::new(
                        ErrorKind::Text,
                        what,
                        "give all words of the text in order; only whitespace and punctuation may be between them",
                    )
                })?;
                found.into_iter().map(|span| (None, span)).collect()
            }
            ScoreUnit::Word if split == WordSplit::Unicode => moved(unicode_words(rest)),
            ScoreUnit::Word => moved(whitespace_words(rest)),
            ScoreUnit::Sentence => {
                let trimmed = |span: &Range<usize>| {
                    let own = &rest[span.clone()];
                    let start = span.start + own.len() - own.trim_start().len();
                    start..start + own.trim().len()
                };
                moved(sentences_of(rest).iter().map(trimmed).filter(|span| !span.is_empty()).collect())
            }
            ScoreUnit::Text => vec![(None, from..target_text.len())],
            ScoreUnit::Region => regions(input, target_text, from)?,
        };
        let spans: Vec<Range<usize>> = parts.iter().map(|(_, span)| span.clone()).collect();
        let tokens = match by {
            ScoreUnit::Text => vec![text.steps.clone()],
            ScoreUnit::Region => {
                // What is between regions belongs to none of them.
                let ends = |(own, span): (Range<usize>, &Range<usize>)| {
                    let begins = |position: &usize| visible(target_text, &target[*position].span) < span.end;
                    let inside = |position: &usize| visible(target_text, &target[*position].span) >= span.start;
                    let start = own.clone().find(inside).unwrap_or(own.end);
                    let end = (start..own.end).take_while(begins).last().map_or(start, |last| last + 1);
                    start..end
                };
                tokens_of_parts(target_text, target, &spans, from).into_iter().zip(&spans).map(ends).collect()
            }
            _ => tokens_of_parts(target_text, target, &spans, from),
        };
        Ok(Self { parts, tokens })
    }

    /// The scores of the units.
    pub(crate) fn score(&self, text: &str, scores: &TextScores, mass: Option<&Mass>) -> Vec<ScoredUnit> {
        let corrections = mass.map(|mass| mass.corrections(&self.tokens, scores.first));
        let unit = |number: usize| {
            let ((name, span), tokens) = (&self.parts[number], &self.tokens[number]);
            let correction = corrections.as_ref().map_or(0.0, |all| all[number]);
            let score = |(name, values): &(String, Vec<f32>)| {
                let join = joined(scores.joins.get(name), own(values, tokens, scores.first));
                (name.clone(), crate::bow::corrected(name, scores.joins.get(name), join, correction))
            };
            let text = text.get(span.clone()).unwrap_or_default().to_owned();
            let scores = scores.scores.iter().map(score).collect();
            ScoredUnit { text, name: name.clone(), span: span.clone(), scores, tokens: tokens.clone() }
        };
        (0..self.parts.len()).map(unit).collect()
    }
}

fn visible(text: &str, span: &Range<usize>) -> usize {
    let rest = text.get(span.start..).unwrap_or_default();
    span.start + rest.len() - rest.trim_start().len()
}

fn regions(input: &Input, text: &str, from: usize) -> Result<Vec<(Option<String>, Range<usize>)>> {
    let Input { regions, positions, .. } = input;
    let counts = positions.name();
    if regions.is_empty() {
        let what = "there are no regions to score by";
        let hint = format!("give the field `regions`: a list of parts of the text, or of [start, end] in {counts}s");
        return Err(Error::new(ErrorKind::Text, what, hint));
    }
    let given = |region: &Region| match &region.place {
        Place::Text(_) => 0..0,
        Place::Span(span) => span.clone(),
    };
    let given: Vec<Range<usize>> = regions.iter().map(given).collect();
    let spans = positions.in_bytes(text, &given);
    let mut at = from;
    let place = |(number, (Region { name, place }, span)): (usize, (&Region, Range<usize>))| {
        let span = match place {
            Place::Text(part) => {
                let found = text.get(at..).filter(|_| !part.is_empty()).and_then(|rest| rest.find(part.as_str()));
                found.map(|start| at + start..at + start + part.len())
            }
            Place::Span(_) => {
                Some(span).filter(|span| at <= span.start && !span.is_empty() && text.get(span.clone()).is_some())
            }
        };
        let span = span.ok_or_else(|| {
            let what = format!("region {} is not in the text behind the one before it", number + 1);
            let hint = format!(
                "give regions in the order of the text, as they are written there or in {counts}s, without overlap"
            );
            Error::new(ErrorKind::Text, what, hint)
        })?;
        at = span.end;
        Ok((name.clone(), span))
    };
    regions.iter().zip(spans).enumerate().map(place).collect()
}

/// The values of some tokens; `None` if one of them has none.
fn own<'v>(values: &'v [f32], tokens: &Range<usize>, first: usize) -> Option<&'v [f32]> {
    let start = tokens.start.checked_sub(first)?;
    values.get(start..tokens.end - first).filter(|values| !values.is_empty())
}

/// One value from those of several steps.
pub(crate) fn joined(join: Option<&Join>, values: Option<&[f32]>) -> f64 {
    let Some(values) = values else { return f64::NAN };
    let all = values.iter().map(|&value| f64::from(value));
    match join {
        Some(Join::Sum) => all.sum(),
        Some(Join::Product) => all.product(),
        Some(Join::Mean) | None => all.sum::<f64>() / values.len() as f64,
    }
}
