//! Occlusion (Zeiler & Fergus 2014, arXiv:1311.2901): what the attributed function loses when a token is hidden, `f(x) − f(x without it)`.
//!
//! A window of neighbouring tokens (or groups) is hidden at a time. One pass per window scores all steps that see any of it. The windows of a
//! step are those that it would have if the text ended there.

use burn::tensor::backend::Backend;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use stepfn_core::catalog::parameters;
use stepfn_core::{Count, Named, ParameterError};

use super::limits::MOST_TOKENS;
use super::players::{hideable, units};
use crate::{AttributionError, AttributionMethod, InputScores, Passes, Perturbed, Question, ScoreTable, Side};

/// What the function loses without a token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Occlusion {
    /// Whether to take absolute values. Otherwise tokens that make the prediction less likely have negative scores.
    pub abs: bool,
    /// Number of neighbouring tokens (or groups) hidden at once. A token's score is the mean over the windows that contain it.
    pub window: usize,
    /// Number of tokens (or groups) from one window to the next.
    pub stride: usize,
    /// Whether hidden tokens stay where no token attends to them, instead of being replaced by the baseline's.
    pub mask: bool,
}

impl Default for Occlusion {
    fn default() -> Self {
        Self { abs: true, window: 1, stride: 1, mask: false }
    }
}

/// What is hidden at once.
struct Window {
    side: Side,
    /// The number of windows before it on its side.
    number: usize,
    tokens: Vec<usize>,
}

impl Named for Occlusion {
    const NAME: &'static str = "occlusion";
    const SUMMARY: &'static str = "what the function loses when a token, or a window of them, is hidden";
    const ALSO_CALLED: &'static [&'static str] = &["leave_one_out", "loo", "erasure"];
    const COUNTS: &'static [Count] = &[Count::new("window", 1, MOST_TOKENS), Count::new("stride", 1, MOST_TOKENS)];

    fn validate(&self) -> Result<(), ParameterError> {
        self.check_counts()?;
        match self.stride {
            stride if (1..=self.window).contains(&stride) => Ok(()),
            stride => {
                let expected =
                    format!("a whole number from 1 to the window, {}, so that no token is left out", self.window);
                Err(Self::out_of_range("stride", &expected, stride))
            }
        }
    }
}

impl<B: Backend> AttributionMethod<B> for Occlusion {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn parameters(&self) -> Map<String, Value> {
        parameters(self)
    }

    fn hides_tokens(&self) -> bool {
        true
    }

    fn check(&self) -> Result<(), ParameterError> {
        self.validate()
    }

    fn attribute(&self, passes: &Passes<'_, B>) -> Result<InputScores, AttributionError> {
        let question = passes.question();
        let sides = [(Side::Source, units(question, Side::Source)?), (Side::Target, units(question, Side::Target)?)];
        let mut windows = Vec::new();
        for (side, units) in &sides {
            windows.extend((0..self.windows(units.len())).map(|number| {
                let start = number * self.stride;
                let covered = units[start].start..units[units.len().min(start + self.window) - 1].end;
                Window { side: *side, number, tokens: hideable(question, *side, covered) }
            }));
        }
        let perturbation = passes.perturb()?;
        let variants: Vec<Perturbed> =
            windows.iter().map(|window| self.hidden(question, perturbation.text(), window)).collect();
        let (clean, values) = perturbation.values(&variants)?;

        let mut table = ScoreTable::zeros(question);
        for (column, span) in question.spans(question.steps()).into_iter().enumerate() {
            let last = span.last();
            for (side, units) in &sides {
                let seen = units.iter().filter(|unit| *side == Side::Source || unit.start < last).count();
                let mut sums = vec![(0.0, 0_u32); units.last().map_or(0, |unit| unit.end)];
                let of_step =
                    |window: &&(&Window, &Vec<f64>)| window.0.side == *side && window.0.number < self.windows(seen);
                for (window, values) in windows.iter().zip(&values).collect::<Vec<_>>().iter().filter(of_step) {
                    for &token in &window.tokens {
                        sums[token].0 += clean[column] - values[column];
                        sums[token].1 += 1;
                    }
                }
                for (token, (sum, count)) in sums.into_iter().enumerate() {
                    if count > 0 && (*side == Side::Source || token < last) {
                        let mean = sum / f64::from(count);
                        table.set(*side, token, column, if self.abs { mean.abs() } else { mean });
                    }
                }
            }
        }
        Ok(table.finish())
    }
}

impl Occlusion {
    /// The number of windows that cover this many tokens.
    fn windows(&self, tokens: usize) -> usize {
        if tokens == 0 { 0 } else { tokens.saturating_sub(self.window).div_ceil(self.stride) + 1 }
    }

    /// The text without a window.
    fn hidden(&self, question: &Question<'_>, mut text: Perturbed, window: &Window) -> Perturbed {
        if self.mask {
            text.hidden = window.tokens.iter().map(|&token| (window.side, token)).collect();
            return text;
        }
        let ids = text.ids_mut(window.side);
        window.tokens.iter().for_each(|&token| ids[token] = question.options().baseline.id);
        text
    }
}
