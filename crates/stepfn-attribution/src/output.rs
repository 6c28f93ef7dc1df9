//! The result: scores for every (input token, step), as a value that can be written to JSON and read back.

mod array;

use core::ops::Range;
use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};
use stepfn_core::Join;
use stepfn_models::chat::MessageSpan;
use stepfn_models::tokenizer::Token;

use crate::aggregation::Function;
use crate::number::{Number, from_numbers, numbers};
use crate::{AttributionError, Provenance};

pub use self::array::{Axis, Scores};

/// The version of the JSON that [`Attribution`] is written as.
pub const FORMAT: u32 = 1;

/// The id of a token that is not in the vocabulary because aggregation merged it from several. In JSON it is `null`.
pub const MERGED: u32 = u32::MAX;

/// Where the predictions of one text came from.
///
/// Steps are positions of `target`: `target[steps]` are the predicted tokens. Scores of a token that a step can't see are NaN (`null` in
/// JSON), as are those of steps where a step function has no value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attribution {
    /// [`FORMAT`] at the time of writing. Newer versions are not read.
    #[serde(deserialize_with = "readable_format")]
    pub format: u32,
    /// What its user calls the text: any JSON value, `null` if it has no name.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub id: Value,
    /// Fields of its user's own that travel with the text.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub fields: Map<String, Value>,
    /// What the encoder read, or the prompt, as a string. The spans of `source` are bytes of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_text: Option<String>,
    /// What the decoder read and predicted, as a string. The spans of `target` are bytes of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_text: Option<String>,
    /// What the encoder read; empty for a causal model.
    #[serde(with = "crate::tokens")]
    pub source: Vec<Token>,
    /// What the decoder read and predicted: a causal model's prompt is part of it.
    #[serde(with = "crate::tokens")]
    pub target: Vec<Token>,
    /// Positions in `target` that were asked about.
    pub steps: Range<usize>,
    /// What the columns of scores are about, where that isn't each step: positions in `target`, among the steps, whose values were added up.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spans: Vec<Range<usize>>,
    /// Scores of source tokens; `None` for a causal model or a method that has none.
    pub source_scores: Option<Scores>,
    /// Scores of target tokens; `None` where they were not asked for.
    pub target_scores: Option<Scores>,
    /// Values of step functions by name, one per step.
    #[serde(with = "columns")]
    pub step_scores: BTreeMap<String, Vec<f32>>,
    /// How values of step functions are joined when steps merge, by name. A function that is missing here is looked up by its name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub joins: BTreeMap<String, Join>,
    /// For methods that promise completeness: how far the scores of each step are from adding up.
    #[serde(with = "optional_column")]
    pub deltas: Option<Vec<f32>>,
    /// For the same methods: what the scores of each step should add up to, `f(x) − f(x̄)`.
    #[serde(default, with = "optional_column", skip_serializing_if = "Option::is_none")]
    pub changes: Option<Vec<f32>>,
    /// The token that each step was compared with, `None` where a step has no partner; empty where nothing was compared.
    #[serde(default, with = "crate::tokens::optional", skip_serializing_if = "Vec::is_empty")]
    pub contrast: Vec<Option<Token>>,
    /// For each step, what the model expected, most likely first; empty where it was not asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alternatives: Vec<Vec<Alternative>>,
    /// What was measured of the scores, by name; empty where nothing was.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub measured: BTreeMap<String, f64>,
    /// Of a chat: where each of its messages stands, in bytes of `target_text`; empty otherwise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub messages: Vec<MessageSpan>,
    /// How it was made.
    pub about: Provenance,
}

/// A token that the model could have written at a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alternative {
    /// Index in the vocabulary.
    pub id: u32,
    /// The token as text.
    pub surface: String,
    /// Its probability.
    pub probability: f32,
}

impl Attribution {
    /// A result without scores.
    pub fn new(source: Vec<Token>, target: Vec<Token>, steps: Range<usize>) -> Self {
        Self {
            format: FORMAT,
            id: Value::Null,
            fields: Map::new(),
            source_text: None,
            target_text: None,
            source,
            target,
            steps,
            spans: Vec::new(),
            source_scores: None,
            target_scores: None,
            step_scores: BTreeMap::new(),
            joins: BTreeMap::new(),
            deltas: None,
            changes: None,
            contrast: Vec::new(),
            alternatives: Vec::new(),
            measured: BTreeMap::new(),
            messages: Vec::new(),
            about: Provenance::default(),
        }
    }

    /// Checks that the parts fit each other: steps are in the target, and scores have a row for every token and a column for every step.
    ///
    /// # Errors
    /// [`AttributionError::Format`] naming the part that doesn't fit.
    pub fn check(&self) -> Result<(), AttributionError> {
        let Range { start, end } = self.steps;
        if start > end || end > self.target.len() {
            let expected = format!("positions among the {} tokens of `target`", self.target.len());
            return Err(misfit("steps", expected, format!("{start}..{end}")));
        }
        if let Some(span) = self.spans.iter().find(|span| span.start < start || end < span.end || span.is_empty()) {
            return Err(misfit("spans", format!("positions among the steps {start}..{end}"), format!("{span:?}")));
        }
        let columns = self.columns();
        let what = if self.spans.is_empty() { "steps" } else { "spans" };
        let sides = [
            ("source_scores", &self.source_scores, self.source.len()),
            ("target_scores", &self.target_scores, self.target.len()),
        ];
        for (side, scores, tokens) in sides {
            let Some(scores) = scores else { continue };
            if scores.tokens() != tokens || scores.steps() != columns {
                let expected = format!("{tokens} tokens and {columns} {what}");
                return Err(misfit(
                    side,
                    expected,
                    format!("{} tokens and {} {what}", scores.tokens(), scores.steps()),
                ));
            }
        }
        for (what, tokens, text) in
            [("source", &self.source, &self.source_text), ("target", &self.target, &self.target_text)]
        {
            let wrong = tokens.iter().find(|token| !is_inside(&token.span, text.as_deref()));
            if let Some(Token { span, .. }) = wrong {
                let expected = text.as_ref().map_or_else(
                    || "spans that start before they end".to_owned(),
                    |text| format!("spans of whole characters among the {} bytes of `{what}_text`", text.len()),
                );
                return Err(misfit(what, expected, format!("{}..{}", span.start, span.end)));
            }
        }
        for (what, scores) in [("source_scores", &self.source_scores), ("target_scores", &self.target_scores)] {
            if let Some(step) = scores.as_ref().and_then(Scores::infinite) {
                return Err(misfit(what, "numbers, or null".to_owned(), format!("an infinite one at step {step}")));
            }
        }
        let values = self.step_scores.iter().map(|(name, values)| (format!("step score `{name}`"), values.len()));
        let values = values.chain(self.deltas.iter().map(|deltas| ("deltas".to_owned(), deltas.len())));
        let values = values.chain(self.changes.iter().map(|changes| ("changes".to_owned(), changes.len())));
        let contrast = (!self.contrast.is_empty()).then(|| ("contrast".to_owned(), self.contrast.len()));
        let alternatives =
            (!self.alternatives.is_empty()).then(|| ("alternatives".to_owned(), self.alternatives.len()));
        for (part, length) in values.chain(contrast).chain(alternatives) {
            if length != columns {
                let each = what.trim_end_matches('s');
                return Err(misfit(&part, format!("{columns}, one per {each}"), length.to_string()));
            }
        }
        Ok(())
    }

    /// How many columns scores have: one for each step, or for each span.
    pub fn columns(&self) -> usize {
        if self.spans.is_empty() { self.steps.len() } else { self.spans.len() }
    }

    /// The positions in `target` that a column is about.
    pub fn column(&self, column: usize) -> Range<usize> {
        match self.spans.get(column) {
            Some(span) => span.clone(),
            None => self.steps.start + column..self.steps.start + column + 1,
        }
    }

    /// What is predicted in a column, as text.
    pub fn column_text(&self, column: usize) -> String {
        let tokens = self.target.get(self.column(column)).unwrap_or_default();
        let span = tokens.first().map_or(0, |token| token.span.start)..tokens.last().map_or(0, |token| token.span.end);
        match (tokens, self.target_text.as_deref().and_then(|text| text.get(span))) {
            ([token], _) => token.surface.clone(),
            (_, Some(text)) => text.to_owned(),
            (_, None) => tokens.iter().map(|token| token.surface.as_str()).collect(),
        }
    }

    /// How values of a step function are joined when steps merge.
    pub(crate) fn join(&self, name: &str) -> Function {
        let parameters = || self.about.parameters.get(name).and_then(serde_json::Value::as_object);
        let by_name = || stepfn_core::functions::join(name, parameters().unwrap_or(&serde_json::Map::new()));
        match self.joins.get(name).copied().or_else(by_name) {
            Some(Join::Sum) => Function::Sum,
            Some(Join::Product) => Function::Prod,
            Some(Join::Mean) | None => Function::Mean,
        }
    }

    /// Whether there is one number per token and step on both sides.
    pub fn is_aggregated(&self) -> bool {
        [&self.source_scores, &self.target_scores].into_iter().flatten().all(Scores::is_aggregated)
    }
}

/// Whether a span is one of a text; of a text that isn't there, whether it can be one.
fn is_inside(span: &Range<usize>, text: Option<&str>) -> bool {
    text.map_or(span.start <= span.end, |text| text.get(span.clone()).is_some())
}

fn misfit(what: &str, expected: String, found: String) -> AttributionError {
    AttributionError::Format { what: what.to_owned(), expected, found }
}

fn readable_format<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let found = u32::deserialize(deserializer)?;
    match found {
        FORMAT => Ok(found),
        0 => Err(serde::de::Error::custom(format!("expected format {FORMAT}, found 0, which no stepfn wrote"))),
        _ => Err(serde::de::Error::custom(format!(
            "expected format {FORMAT}, found {found}: a newer stepfn wrote this file, and is needed to read it"
        ))),
    }
}

mod columns {
    use super::{BTreeMap, Deserialize, Deserializer, Number, Serialize, Serializer, from_numbers, numbers};

    pub(super) fn serialize<S: Serializer>(
        scores: &BTreeMap<String, Vec<f32>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let numbers: BTreeMap<&String, _> = scores.iter().map(|(name, values)| (name, numbers(values))).collect();
        numbers.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<String, Vec<f32>>, D::Error> {
        let scores = BTreeMap::<String, Vec<Number<f32>>>::deserialize(deserializer)?;
        Ok(scores.into_iter().map(|(name, values)| (name, from_numbers(values))).collect())
    }
}

mod optional_column {
    use super::{Deserialize, Deserializer, Number, Serialize, Serializer, from_numbers, numbers};

    pub(super) fn serialize<S: Serializer>(values: &Option<Vec<f32>>, serializer: S) -> Result<S::Ok, S::Error> {
        values.as_deref().map(numbers).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<f32>>, D::Error> {
        Ok(Option::<Vec<Number<f32>>>::deserialize(deserializer)?.map(from_numbers))
    }
}
