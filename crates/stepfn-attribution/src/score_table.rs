//! Scores under construction: one array for each side, filled step by step or chunk of steps by chunk.

use burn::tensor::{Tensor, backend::Backend};

use crate::question::Question;
use crate::steps::Steps;
use crate::{AttributionError, Axis, Completeness, Scores, Side};

/// The result of a method for one text: a score for each (input token, column), on either side. A column is a step, or a span of them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct InputScores {
    /// Scores of source tokens; `None` for a causal model, or if the method has none.
    pub source: Option<Scores>,
    /// Scores of target tokens; `None` if they were not asked for.
    pub target: Option<Scores>,
    /// For methods that promise completeness: how far the scores of each column are from adding up.
    pub completeness: Option<Completeness>,
}

impl InputScores {
    /// Without the numbers of some columns: they are NaN.
    pub(crate) fn without(self, columns: &[usize]) -> Self {
        let completeness = self.completeness.map(|completeness| completeness.without(columns));
        let scores = |scores: Option<Scores>| scores.map(|scores| scores.without(columns));
        Self { source: scores(self.source), target: scores(self.target), completeness }
    }
}

impl InputScores {
    /// The first column with an infinite score.
    pub(crate) fn infinite(&self) -> Option<usize> {
        let sides = || [&self.source, &self.target].into_iter().flatten();
        sides().flat_map(Scores::infinite).min()
    }
}

/// Scores of both sides for some steps, still on the device: `[columns · tokens, units]`, a column for each span of the steps.
#[derive(Debug, Clone)]
pub struct StepRows<B: Backend> {
    /// Of source tokens.
    pub source: Option<Tensor<B, 2>>,
    /// Of target tokens.
    pub target: Option<Tensor<B, 2>>,
    /// How far each column's scores are from adding up.
    pub completeness: Option<Completeness>,
}

impl<B: Backend> StepRows<B> {
    /// No scores.
    pub(crate) const fn none() -> Self {
        Self { source: None, target: None, completeness: None }
    }

    /// Applies `f` to both sides.
    pub fn map(self, f: impl Fn(Tensor<B, 2>) -> Tensor<B, 2>) -> Self {
        Self { source: self.source.map(&f), target: self.target.map(&f), completeness: self.completeness }
    }

    /// The sum of all parts on each side; no scores if there are no parts.
    pub(crate) fn sum(
        parts: impl IntoIterator<Item = Result<Self, AttributionError>>,
    ) -> Result<Self, AttributionError> {
        let mut sum: Option<Self> = None;
        for part in parts {
            let part = part?;
            sum = Some(match sum {
                None => part,
                Some(sum) => Self {
                    source: sum.source.zip(part.source).map(|(sum, more)| sum + more),
                    target: sum.target.zip(part.target).map(|(sum, more)| sum + more),
                    completeness: None,
                },
            });
        }
        Ok(sum.unwrap_or(Self::none()))
    }
}

/// Collects the scores of one text.
///
/// A column is a step of the target, or a span of them. It sees the source and the target's tokens before its last step. What it can't see stays NaN.
#[derive(Debug)]
pub struct ScoreTable {
    /// The steps of each column.
    columns: Vec<Steps>,
    /// Tokens of source and target.
    tokens: [usize; 2],
    /// The first target token that has no score.
    until: usize,
    values: [Option<Vec<f32>>; 2],
    completeness: Option<Completeness>,
    /// Axes after token and step, with their sizes.
    inner: Vec<(Axis, usize)>,
}

impl ScoreTable {
    /// An empty table, whose scores will have `inner` axes.
    pub(crate) fn new(question: &Question<'_>, inner: Vec<(Axis, usize)>) -> Self {
        let tokens = [question.source_len(), question.target_len()];
        let (columns, until) = (question.spans(question.steps()), question.scored_until());
        Self { columns, tokens, until, values: [None, None], completeness: None, inner }
    }

    /// A table with one score per token and column, 0 where the column sees the token: for the source if there is one, and for the target if it is
    /// attributed.
    pub fn zeros(question: &Question<'_>) -> Self {
        let mut table = Self::new(question, Vec::new());
        let sides = [(Side::Source, question.source_len() > 0), (Side::Target, question.attributes_target())];
        for (side, _) in sides.into_iter().filter(|&(_, scored)| scored) {
            let tokens = table.tokens[side as usize];
            let zeros = (0..tokens).flat_map(|token| table.columns.iter().map(move |column| (*column, token)));
            let zeros = zeros.map(|(column, token)| if table.sees(side, column, token) { 0.0 } else { f32::NAN });
            table.values[side as usize] = Some(zeros.collect());
        }
        table
    }

    /// Sets the score of a token in a column, counted from 0. Does nothing where the column does not see the token, or its side has no scores.
    ///
    /// # Panics
    /// If there is no such token or column.
    pub fn set(&mut self, side: Side, token: usize, column: usize, score: f64) {
        let (is_seen, place) = (self.sees(side, self.columns[column], token), token * self.columns.len() + column);
        if let Some(values) = self.values[side as usize].as_mut().filter(|_| is_seen) {
            values[place] = score as f32;
        }
    }

    /// Sets how far the scores of each column are from adding up.
    pub fn set_completeness(&mut self, completeness: Completeness) {
        self.completeness = Some(completeness);
    }

    /// Stores the scores of some steps.
    pub(crate) fn put<B: Backend>(&mut self, steps: Steps, rows: StepRows<B>) {
        let units = self.inner.iter().map(|(_, size)| size).product::<usize>();
        let all = self.columns.len();
        let first = self.columns.partition_point(|column| column.start() < steps.start());
        let last = self.columns.partition_point(|column| column.last() <= steps.last());
        for (side, scores) in [(Side::Source, rows.source), (Side::Target, rows.target)] {
            let Some(scores) = scores else { continue };
            let tokens = self.tokens[side as usize];
            let mut values = self.values[side as usize].take().unwrap_or_else(|| vec![f32::NAN; tokens * all * units]);
            let width = scores.dims()[0] / (last - first);
            let scores: Vec<f32> = scores.into_data().iter::<f32>().collect();
            for (index, column) in (first..last).enumerate() {
                for token in (0..width).filter(|&token| self.sees(side, self.columns[column], token)) {
                    let from = (index * width + token) * units;
                    let to = (token * all + column) * units;
                    // What was computed and is no number has failed: NaN is for what a step can't see.
                    let computed =
                        scores[from..from + units].iter().map(|&x| if x.is_nan() { f32::INFINITY } else { x });
                    values[to..to + units].iter_mut().zip(computed).for_each(|(value, computed)| *value = computed);
                }
            }
            self.values[side as usize] = Some(values);
        }
        if let Some(Completeness { deltas, changes }) = rows.completeness {
            let all = self.completeness.get_or_insert_with(|| Completeness::unknown(all));
            all.deltas[first..last].copy_from_slice(&deltas);
            all.changes[first..last].copy_from_slice(&changes);
        }
    }

    /// The scores.
    pub fn finish(self) -> InputScores {
        let columns = self.columns.len();
        let [source, target] = self.values;
        let scores =
            |side: Side, values: Vec<f32>| Scores::of_table(self.tokens[side as usize], columns, &self.inner, values);
        InputScores {
            source: source.map(|values| scores(Side::Source, values)),
            target: target.map(|values| scores(Side::Target, values)),
            completeness: self.completeness,
        }
    }

    /// Whether a step of the column sees a token that has scores.
    fn sees(&self, side: Side, column: Steps, token: usize) -> bool {
        side == Side::Source || token < column.last().min(self.until)
    }
}
