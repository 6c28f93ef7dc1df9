//! Scores under construction: one array for each side, filled chunk of steps by chunk.

use core::ops::Range;

use burn::tensor::{Tensor, backend::Backend};

use crate::engine::Subject;
use crate::{AttributionError, Axis, Scores};

/// What a method finds out about one text.
#[derive(Debug, Clone, Default)]
pub(crate) struct Found {
    pub(crate) source: Option<Scores>,
    pub(crate) target: Option<Scores>,
    pub(crate) deltas: Option<Vec<f32>>,
}

/// Scores of both sides for some steps: `[steps · tokens, units]`.
pub(crate) struct Piece<B: Backend> {
    pub(crate) source: Option<Tensor<B, 2>>,
    pub(crate) target: Option<Tensor<B, 2>>,
    /// How far each step's scores are from adding up.
    pub(crate) deltas: Option<Vec<f32>>,
}

impl<B: Backend> Piece<B> {
    /// The sum of all, side by side; nothing of nothing.
    pub(crate) fn sum(
        pieces: impl IntoIterator<Item = Result<Self, AttributionError>>,
    ) -> Result<Self, AttributionError> {
        let mut sum: Option<Self> = None;
        for piece in pieces {
            let piece = piece?;
            sum = Some(match sum {
                None => piece,
                Some(sum) => Self {
                    source: sum.source.zip(piece.source).map(|(sum, more)| sum + more),
                    target: sum.target.zip(piece.target).map(|(sum, more)| sum + more),
                    deltas: None,
                },
            });
        }
        Ok(sum.unwrap_or(Self { source: None, target: None, deltas: None }))
    }
}

/// Collects [`Piece`]s.
pub(crate) struct Grid {
    source: Option<Array>,
    target: Option<Array>,
    deltas: Option<Vec<f32>>,
    first: usize,
    steps: usize,
    /// Axes beyond token and step, with their sizes.
    inner: Vec<(Axis, usize)>,
}

struct Array {
    tokens: usize,
    values: Vec<f32>,
}

impl Grid {
    /// Scores of one text, each of which has `inner` axes.
    pub(crate) fn new<B: Backend>(subject: &Subject<'_, B>, inner: Vec<(Axis, usize)>) -> Self {
        let steps = subject.steps();
        Self { source: None, target: None, deltas: None, first: steps.start, steps: steps.len(), inner }
    }

    /// Takes the scores of some steps. Of the target, a step's own token and all behind it are not seen by it, and stay NaN.
    pub(crate) fn put<B: Backend>(&mut self, subject: &Subject<'_, B>, steps: &Range<usize>, piece: Piece<B>) {
        let (first, all, units) = (self.first, self.steps, self.units());
        let fill = |array: &mut Option<Array>, tokens: usize, scores: Tensor<B, 2>, seen: &dyn Fn(usize) -> usize| {
            let width = scores.dims()[0] / steps.len();
            let array = array.get_or_insert_with(|| Array { tokens, values: vec![f32::NAN; tokens * all * units] });
            let scores: Vec<f32> = scores.into_data().iter::<f32>().collect();
            for (index, step) in steps.clone().enumerate() {
                for token in 0..seen(step).min(width) {
                    let from = (index * width + token) * units;
                    let to = (token * all + step - first) * units;
                    array.values[to..to + units].copy_from_slice(&scores[from..from + units]);
                }
            }
        };
        if let Some(source) = piece.source {
            let tokens = subject.source_width();
            fill(&mut self.source, tokens, source, &|_| tokens);
        }
        if let Some(target) = piece.target {
            fill(&mut self.target, subject.text.target.len(), target, &|step| step);
        }
        if let Some(deltas) = piece.deltas {
            let all = self.deltas.get_or_insert_with(|| vec![f32::NAN; all]);
            all[steps.start - first..steps.end - first].copy_from_slice(&deltas);
        }
    }

    fn units(&self) -> usize {
        self.inner.iter().map(|(_, size)| size).product()
    }

    /// What was found.
    pub(crate) fn found(self) -> Result<Found, AttributionError> {
        let axes = || [Axis::Token, Axis::Step].into_iter().chain(self.inner.iter().map(|(axis, _)| *axis)).collect();
        let shape = |tokens| [tokens, self.steps].into_iter().chain(self.inner.iter().map(|(_, size)| *size)).collect();
        let scores = |array: Option<Array>| {
            array.map(|Array { tokens, values }| Scores::new(axes(), shape(tokens), values)).transpose()
        };
        Ok(Found { source: scores(self.source)?, target: scores(self.target)?, deltas: self.deltas })
    }
}
