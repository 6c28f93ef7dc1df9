//! Scores under construction: one array for each side, filled step by step or chunk of steps by chunk.

use burn::tensor::{Tensor, backend::Backend};

use crate::question::Question;
use crate::steps::Steps;
use crate::{AttributionError, Axis, Completeness, Scores, Side};

/// The result of a method for one text: a score for each (input token, step), on either side.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct InputScores {
    /// Scores of source tokens; `None` for a causal model, or if the method has none.
    pub source: Option<Scores>,
    /// Scores of target tokens; `None` if they were not asked for.
    pub target: Option<Scores>,
    /// For methods that promise completeness: how far the scores of each step are from adding up.
    pub completeness: Option<Completeness>,
}

impl InputScores {
    /// Without the numbers of some steps: they are NaN.
    pub(crate) fn without(self, steps: &[usize]) -> Self {
        let completeness = self.completeness.map(|completeness| completeness.without(steps));
        let scores = |scores: Option<Scores>| scores.map(|scores| scores.without(steps));
        Self { source: scores(self.source), target: scores(self.target), completeness }
    }
}

impl InputScores {
    /// The first step with an infinite score.
    pub(crate) fn infinite(&self) -> Option<usize> {
        let sides = || [&self.source, &self.target].into_iter().flatten();
        sides().flat_map(Scores::infinite).min()
    }
}

/// Scores of both sides for some steps, still on the device: `[steps · tokens, units]`.
#[derive(Debug, Clone)]
pub struct StepRows<B: Backend> {
    /// Of source tokens.
    pub source: Option<Tensor<B, 2>>,
    /// Of target tokens.
    pub target: Option<Tensor<B, 2>>,
    /// How far each step's scores are from adding up.
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
/// A step of the target sees the source and the target's tokens before it. What a step can't see stays NaN.
#[derive(Debug)]
pub struct ScoreTable {
    steps: Steps,
    /// Tokens of source and target.
    tokens: [usize; 2],
    values: [Option<Vec<f32>>; 2],
    completeness: Option<Completeness>,
    /// Axes after token and step, with their sizes.
    inner: Vec<(Axis, usize)>,
}

impl ScoreTable {
    /// An empty table, whose scores will have `inner` axes.
    pub(crate) fn new(question: &Question<'_>, inner: Vec<(Axis, usize)>) -> Self {
        let tokens = [question.source_len(), question.target_len()];
        Self { steps: question.steps(), tokens, values: [None, None], completeness: None, inner }
    }

    /// A table with one score per token and step, 0 where a step sees the token: for the source if there is one, and for the target if it is
    /// attributed.
    pub fn zeros(question: &Question<'_>) -> Self {
        let mut table = Self::new(question, Vec::new());
        let sides = [(Side::Source, question.source_len() > 0), (Side::Target, question.attributes_target())];
        for (side, _) in sides.into_iter().filter(|&(_, scored)| scored) {
            let tokens = table.tokens[side as usize];
            let steps = table.steps;
            let zero_if_seen =
                |token: usize| steps.positions().map(move |step| if sees(side, step, token) { 0.0 } else { f32::NAN });
            table.values[side as usize] = Some((0..tokens).flat_map(zero_if_seen).collect());
        }
        table
    }

    /// Sets the score of a token at a step that sees it. Does nothing on a side that has no scores.
    ///
    /// # Panics
    /// If there is no such token or step.
    pub fn set(&mut self, side: Side, token: usize, step: usize, score: f64) {
        let place = token * self.steps.len() + step - self.steps.start();
        if let Some(values) = &mut self.values[side as usize] {
            values[place] = score as f32;
        }
    }

    /// Sets how far the scores of each step are from adding up.
    pub fn set_completeness(&mut self, completeness: Completeness) {
        self.completeness = Some(completeness);
    }

    /// Stores the scores of some steps.
    pub(crate) fn put<B: Backend>(&mut self, steps: Steps, rows: StepRows<B>) {
        let units = self.inner.iter().map(|(_, size)| size).product::<usize>();
        for (side, scores) in [(Side::Source, rows.source), (Side::Target, rows.target)] {
            let Some(scores) = scores else { continue };
            let (all, tokens) = (self.steps.len(), self.tokens[side as usize]);
            let values = self.values[side as usize].get_or_insert_with(|| vec![f32::NAN; tokens * all * units]);
            let width = scores.dims()[0] / steps.len();
            let scores: Vec<f32> = scores.into_data().iter::<f32>().collect();
            for (index, (step, column)) in steps.positions().zip(steps.within(self.steps)).enumerate() {
                for token in (0..width).filter(|&token| sees(side, step, token)) {
                    let from = (index * width + token) * units;
                    let to = (token * all + column) * units;
                    // What was computed and is no number has failed: NaN is for what a step can't see.
                    let computed =
                        scores[from..from + units].iter().map(|&x| if x.is_nan() { f32::INFINITY } else { x });
                    values[to..to + units].iter_mut().zip(computed).for_each(|(value, computed)| *value = computed);
                }
            }
        }
        if let Some(Completeness { deltas, changes }) = rows.completeness {
            let all = self.completeness.get_or_insert_with(|| Completeness::unknown(self.steps.len()));
            all.deltas[steps.within(self.steps)].copy_from_slice(&deltas);
            all.changes[steps.within(self.steps)].copy_from_slice(&changes);
        }
    }

    /// The scores.
    pub fn finish(self) -> InputScores {
        let steps = self.steps.len();
        let [source, target] = self.values;
        let scores =
            |side: Side, values: Vec<f32>| Scores::of_table(self.tokens[side as usize], steps, &self.inner, values);
        InputScores {
            source: source.map(|values| scores(Side::Source, values)),
            target: target.map(|values| scores(Side::Target, values)),
            completeness: self.completeness,
        }
    }
}

/// Whether a step sees a token.
fn sees(side: Side, step: usize, token: usize) -> bool {
    side == Side::Source || token < step
}
