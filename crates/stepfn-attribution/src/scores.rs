//! The scores of a text, and their JSON.

use std::collections::BTreeMap;

use serde::ser::{SerializeMap, SerializeStruct};
use serde::{Serialize, Serializer};
use stepfn_core::Join;
use stepfn_models::tokenizer::Token;

use crate::number::Number;

use crate::Alternative;

/// The values of step functions for one text.
#[derive(Debug, Clone, PartialEq)]
pub struct TextScores {
    /// The position of the first scored token in the text's target.
    pub first: usize,
    /// For each function, in the order in which they were asked for, its name and one number per scored token. NaN where a function has no
    /// value: a step without a partner in the contrast.
    pub scores: Vec<(String, Vec<f32>)>,
    /// How the values of each function are joined where several tokens become one.
    pub joins: BTreeMap<String, Join>,
    /// Scores of all scored tokens together.
    pub sequence: SequenceScores,
    /// `ln p_y` of each scored token, in nats.
    pub log_probs: Vec<f32>,
    /// The entropy of the prediction of each scored token, in nats.
    pub entropies: Vec<f32>,
    /// For each scored token, the tokens that the model expected, most likely first; empty where they were not asked for.
    pub likely: Vec<Vec<Likely>>,
}

impl TextScores {
    /// The same without the last scored token.
    #[must_use]
    pub fn without_last(mut self) -> Self {
        for (_, values) in &mut self.scores {
            values.pop();
        }
        self.likely.pop();
        self.log_probs.pop();
        self.entropies.pop();
        self.sequence = SequenceScores::new(&self.log_probs, &self.entropies);
        self
    }
}

/// The most alternatives of a step that can be asked for.
pub const MOST_ALTERNATIVES: usize = 100;

/// A token that the model could have written at a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Likely {
    /// Index in the vocabulary.
    pub id: u32,
    /// Its probability.
    pub probability: f32,
}

/// Scores of all scored tokens of a text together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SequenceScores {
    /// `Σ ln p_y`: the log-probability of the scored tokens given the tokens before them, in nats.
    pub logprob: f64,
    /// `exp(−Σ ln p_y / steps)`: the geometric mean of the tokens' perplexities.
    pub perplexity: f64,
    /// The mean entropy of the predictions, in nats.
    pub mean_entropy: f64,
}

impl SequenceScores {
    /// From the log-probabilities and the entropies of all steps, in nats.
    pub(crate) fn new(log_probs: &[f32], entropies: &[f32]) -> Self {
        let sum = |values: &[f32]| values.iter().map(|&value| f64::from(value)).sum::<f64>();
        let steps = log_probs.len().max(1) as f64;
        let logprob = sum(log_probs);
        Self { logprob, perplexity: (-logprob / steps).exp(), mean_entropy: sum(entropies) / steps }
    }
}

impl Serialize for SequenceScores {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(3))?;
        for (name, value) in
            [("logprob", self.logprob), ("perplexity", self.perplexity), ("mean_entropy", self.mean_entropy)]
        {
            map.serialize_entry(name, &Number(value))?;
        }
        map.end()
    }
}

/// Scores together with their tokens. As JSON:
///
/// ```json
/// {"tokens": [{"token": " Paris", "id": 6342, "start": 24, "end": 30}], "first": 0, "scores": {"probability": [0.5]},
///  "sequence": {"logprob": -0.69, "perplexity": 2.0, "mean_entropy": 1.1}}
/// ```
///
/// `start` and `end` are bytes of the text. There is one number per scored token, from token `first` on, or `null` where there is none.
#[derive(Debug, Clone, Copy)]
pub struct ScoredTokens<'a> {
    /// All tokens of the target.
    pub tokens: &'a [Token],
    /// Their scores.
    pub scores: &'a TextScores,
    /// For each scored token, what the model expected; empty where it was not asked for.
    pub alternatives: &'a [Vec<Alternative>],
}

impl Serialize for ScoredTokens<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let tokens: Vec<TokenEntry<'_>> = self.tokens.iter().map(TokenEntry::from).collect();
        let asked = !self.alternatives.is_empty();
        let mut object = serializer.serialize_struct("ScoredTokens", 4 + usize::from(asked))?;
        object.serialize_field("tokens", &tokens)?;
        object.serialize_field("first", &self.scores.first)?;
        object.serialize_field("scores", &InOrder(&self.scores.scores))?;
        object.serialize_field("sequence", &self.scores.sequence)?;
        if asked {
            object.serialize_field("alternatives", self.alternatives)?;
        }
        object.end()
    }
}

#[derive(Serialize)]
struct TokenEntry<'a> {
    token: &'a str,
    id: u32,
    start: usize,
    end: usize,
}

impl<'a> From<&'a Token> for TokenEntry<'a> {
    fn from(token: &'a Token) -> Self {
        Self { token: &token.surface, id: token.id, start: token.span.start, end: token.span.end }
    }
}

/// An object in the order of the functions.
struct InOrder<'a>(&'a [(String, Vec<f32>)]);

impl Serialize for InOrder<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, values) in self.0 {
            let values: Vec<Number<f32>> = values.iter().copied().map(Number).collect();
            map.serialize_entry(name, &values)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_is_the_promised_one() {
        let token = |id, surface: &str, span| Token { id, surface: surface.to_owned(), span, special: false };
        let tokens = [token(7, "a", 0..1), token(9, " \"é", 1..5)];
        let scores = TextScores {
            first: 1,
            scores: vec![("rank".to_owned(), vec![2.0]), ("kl_divergence".to_owned(), vec![f32::NAN])],
            joins: BTreeMap::new(),
            sequence: SequenceScores::new(&[-0.5], &[0.25]),
            log_probs: vec![-0.5],
            entropies: vec![0.25],
            likely: Vec::new(),
        };
        let json =
            serde_json::to_string(&ScoredTokens { tokens: &tokens, scores: &scores, alternatives: &[] }).unwrap();
        let expected = concat!(
            r#"{"tokens":[{"token":"a","id":7,"start":0,"end":1},{"token":" \"é","id":9,"start":1,"end":5}],"first":1,"#,
            r#""scores":{"rank":[2.0],"kl_divergence":[null]},"#,
            r#""sequence":{"logprob":-0.5,"perplexity":1.6487212707001282,"mean_entropy":0.25}}"#
        );
        assert_eq!(json, expected);
    }

    #[test]
    fn a_sequence_is_as_perplexing_as_the_geometric_mean_of_its_tokens() {
        let sequence = SequenceScores::new(&[-(2f32.ln()), -(8f32.ln())], &[1.0, 2.0]);
        assert!((sequence.logprob + 16f64.ln()).abs() < 1e-6);
        assert!((sequence.perplexity - 4.0).abs() < 1e-6);
        assert!((sequence.mean_entropy - 1.5).abs() < 1e-12);
    }
}
