//! Texts and the scores of their tokens, or of words and sentences.

use core::fmt;

use serde::Serialize;
use serde_json::{Map, Value};
use stepfn_attribution::{Alternative, Provenance, ScoredTokens, TextScores};
use stepfn_models::chat::MessageSpan;
use stepfn_models::tokenizer::Token;
use stepfn_report::is_invisible;

use crate::writers::{Record, aligned, csv_lines, number, number_or_nothing, plain, values};
use crate::{ScoreUnit, ScoredUnit};

/// A text and the scores of its tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoredText {
    /// What you call the text, or its number.
    pub id: Value,
    /// Fields of your own that came with the text.
    pub fields: Map<String, Value>,
    /// What the encoder read, or the prompt.
    pub source_text: Option<String>,
    /// What was scored; for a causal model, prompt included.
    pub target_text: String,
    /// What the encoder read; empty for a causal model.
    pub source: Vec<Token>,
    /// What the decoder read and predicted.
    pub target: Vec<Token>,
    /// The scores, from the first scored token of the target on, and of all scored tokens together.
    pub scores: TextScores,
    /// What has scores of its own.
    pub by: ScoreUnit,
    /// Words, sentences or regions with their scores; of tokens, none.
    pub units: Vec<ScoredUnit>,
    /// For each scored token, what the model expected, most likely first; empty where it was not asked for.
    pub alternatives: Vec<Vec<Alternative>>,
    /// Of a chat: where each of its messages stands, in bytes of the target text; empty otherwise.
    pub messages: Vec<MessageSpan>,
    /// How they were made.
    pub about: Provenance,
}

impl ScoredText {
    /// The scored tokens.
    pub fn tokens(&self) -> &[Token] {
        let scored = self.scores.scores.first().map_or(0, |(_, values)| values.len());
        &self.target[self.scores.first..self.scores.first + scored]
    }

    /// A number for each scored token, by the name of the step function. NaN where it has no value.
    pub fn values(&self, function: &str) -> Option<&[f32]> {
        self.scores.scores.iter().find(|(name, _)| name == function).map(|(_, values)| values.as_slice())
    }

    /// A cell per score at a position, in the order of the functions.
    fn cells(&self, position: usize, cell: impl Fn(f32) -> String) -> Vec<String> {
        let step = position.checked_sub(self.scores.first);
        let value = |values: &Vec<f32>| step.and_then(|step| values.get(step)).copied();
        self.scores.scores.iter().map(|(_, values)| value(values).map_or_else(String::new, &cell)).collect()
    }

    /// The alternatives at a position, with their probabilities.
    fn expected(&self, position: usize) -> String {
        let step = position.checked_sub(self.scores.first);
        let alternatives = step.and_then(|step| self.alternatives.get(step)).map_or(&[][..], Vec::as_slice);
        let one = |other: &Alternative| format!("{} {}", visible(&other.surface), number(f64::from(other.probability)));
        alternatives.iter().map(one).collect::<Vec<_>>().join(", ")
    }

    /// The units for people.
    fn table_of_units(&self) -> String {
        let named = self.units.iter().any(|unit| unit.name.is_some());
        let header = ["#", self.by.name()].map(str::to_owned).into_iter();
        let header: Vec<String> = header.chain(named.then(|| "name".to_owned())).chain(self.names_of_units()).collect();
        let row = |(position, unit): (usize, &ScoredUnit)| {
            let scores =
                unit.scores.iter().map(|(_, score)| if score.is_nan() { String::new() } else { number(*score) });
            let name = named.then(|| visible(unit.name.as_deref().unwrap_or_default()));
            [position.to_string(), visible(&unit.text)].into_iter().chain(name).chain(scores).collect()
        };
        aligned(&header, &self.units.iter().enumerate().map(row).collect::<Vec<_>>())
    }

    /// A line for each unit.
    fn csv_of_units(&self, fields: &[String], with_header: bool) -> String {
        let fixed = ["id", "position", self.by.name(), "name", "start", "end", "tokens"].map(str::to_owned);
        let header = fixed.into_iter().chain(self.names_of_units()).chain(fields.iter().cloned()).collect();
        let row = |(position, unit): (usize, &ScoredUnit)| {
            let fixed = [
                plain(&self.id),
                position.to_string(),
                unit.text.clone(),
                unit.name.clone().unwrap_or_default(),
                unit.span.start.to_string(),
                unit.span.end.to_string(),
                unit.tokens.len().to_string(),
            ];
            let score = |(_, score): &(String, f64)| if score.is_nan() { String::new() } else { score.to_string() };
            fixed.into_iter().chain(unit.scores.iter().map(score)).chain(values(&self.fields, fields)).collect()
        };
        csv_lines(with_header.then_some(header).into_iter().chain(self.units.iter().enumerate().map(row)))
    }

    /// Of units, which may have more than tokens.
    fn names_of_units(&self) -> Vec<String> {
        let of_first = |unit: &ScoredUnit| unit.scores.iter().map(|(name, _)| name.clone()).collect();
        self.units.first().map_or_else(|| self.names().collect(), of_first)
    }

    fn names(&self) -> impl Iterator<Item = String> {
        self.scores.scores.iter().map(|(name, _)| name.clone())
    }
}

impl Record for ScoredText {
    fn warnings(&self) -> &[String] {
        &self.about.warnings
    }

    fn json(&self) -> serde_json::Result<String> {
        #[derive(Serialize)]
        struct Line<'a> {
            id: &'a Value,
            #[serde(skip_serializing_if = "Map::is_empty")]
            fields: &'a Map<String, Value>,
            source_text: &'a Option<String>,
            target_text: &'a str,
            #[serde(flatten)]
            scored: ScoredTokens<'a>,
            #[serde(skip_serializing_if = "Option::is_none")]
            by: Option<&'static str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            units: Option<&'a [ScoredUnit]>,
            #[serde(skip_serializing_if = "<[_]>::is_empty")]
            messages: &'a [MessageSpan],
            about: &'a Provenance,
        }
        let Self { id, fields, source_text, target_text, target, scores, alternatives, messages, about, .. } = self;
        let scored = ScoredTokens { tokens: target, scores, alternatives };
        let is_joined = self.by != ScoreUnit::Token;
        let (by, units) = (is_joined.then(|| self.by.name()), is_joined.then_some(self.units.as_slice()));
        serde_json::to_string(&Line { id, fields, source_text, target_text, scored, by, units, messages, about })
    }

    fn table(&self) -> String {
        let sequence = self.scores.sequence;
        let [logprob, perplexity, entropy] = [sequence.logprob, sequence.perplexity, sequence.mean_entropy].map(number);
        let last = format!("logprob {logprob}, perplexity {perplexity}, mean entropy {entropy}\n");
        if self.by != ScoreUnit::Token {
            return self.table_of_units() + &last;
        }
        let asked = (!self.alternatives.is_empty()).then(|| "expected".to_owned());
        let header = ["#", "token"].map(str::to_owned).into_iter().chain(self.names());
        let header: Vec<String> = header.chain(asked.clone()).collect();
        let row = |position: usize| {
            let token = visible(&self.target[position].surface);
            let scores = self.cells(position, |value| number(f64::from(value)));
            let expected = asked.as_ref().map(|_| self.expected(position));
            [position.to_string(), token].into_iter().chain(scores).chain(expected).collect()
        };
        let rows: Vec<Vec<String>> = (self.scores.first..self.target.len()).map(row).collect();
        aligned(&header, &rows) + &last
    }

    fn csv(&self, fields: &[String], with_header: bool) -> String {
        if self.by != ScoreUnit::Token {
            return self.csv_of_units(fields, with_header);
        }
        let fixed = ["id", "position", "token", "token_id", "start", "end"].map(str::to_owned);
        let asked = (!self.alternatives.is_empty()).then(|| "expected".to_owned());
        let header = fixed.into_iter().chain(self.names()).chain(asked.clone()).chain(fields.iter().cloned()).collect();
        let row = |position: usize| {
            let token = &self.target[position];
            let fixed = [
                plain(&self.id),
                position.to_string(),
                token.surface.clone(),
                token.id.to_string(),
                token.span.start.to_string(),
                token.span.end.to_string(),
            ];
            let scores = self.cells(position, number_or_nothing);
            let expected = asked.as_ref().map(|_| self.expected(position));
            fixed.into_iter().chain(scores).chain(expected).chain(values(&self.fields, fields)).collect()
        };
        let rows = (self.scores.first..self.target.len()).map(row);
        csv_lines(with_header.then_some(header).into_iter().chain(rows))
    }
}

/// The scores as a table.
impl fmt::Display for ScoredText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.table().trim_end())
    }
}

/// A token on a terminal: spaces can be seen, and nothing moves the cursor or changes the direction of the text.
fn visible(token: &str) -> String {
    let shown = |c: char| match c {
        ' ' => "·".to_owned(),
        c if is_invisible(c) => c.escape_default().to_string(),
        c => c.to_string(),
    };
    token.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_token_moves_the_cursor_or_turns_the_text_around() {
        assert_eq!(visible(" a\u{1b}[2J"), "·a\\u{1b}[2J");
        assert_eq!(visible("\n\u{202e}\u{200b}é"), "\\n\\u{202e}\\u{200b}é");
    }
}
