//! What is given of one text: scores, and what people marked.

use stepfn_attribution::Side;

use super::{Column, Token};

/// The scores of a method for one text.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// The method.
    pub name: String,
    /// For each token of the source, a score for each column; empty where there are none.
    pub source: Vec<Vec<f64>>,
    /// The same for the target.
    pub target: Vec<Vec<f64>>,
    /// The scores of the same text with noise on its embeddings, several times; empty if max-sensitivity is not asked for, or does not apply.
    pub with_noise: Vec<Self>,
}

impl Candidate {
    /// The score of a token; 0 where there is none.
    pub(super) fn score(&self, (side, token): Token, column: usize) -> f64 {
        let scores = match side {
            Side::Source => &self.source,
            Side::Target => &self.target,
        };
        scores
            .get(token)
            .and_then(|columns| columns.get(column))
            .copied()
            .filter(|score| !score.is_nan())
            .unwrap_or(0.0)
    }

    /// The scores of a column's features.
    pub(super) fn scores(&self, column: &Column, number: usize) -> Vec<f64> {
        column.features.iter().map(|&token| self.score(token, number)).collect()
    }
}

/// What is given of one text.
#[derive(Debug, Clone, Copy)]
pub struct Given<'g> {
    /// The scores of methods.
    pub candidates: &'g [Candidate],
    /// The tokens that people marked as what the prediction should come from.
    pub marked: &'g [(Side, usize)],
}

impl<'g> Given<'g> {
    /// Scores of a text of which nothing is marked.
    pub fn new(candidates: &'g [Candidate]) -> Self {
        Self { candidates, marked: &[] }
    }
}
