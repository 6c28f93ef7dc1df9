//! What perturbation methods hide: tokens, or groups of them. Source and target are one game; special tokens that a baseline keeps take no part,
//! and score 0. A step of the target sees the source's players and those that begin before it: always the first so many, so that one sample of
//! hidden players serves all steps.

#[cfg(test)]
mod tests;

use core::ops::Range;

use burn::tensor::backend::Backend;

use crate::engine::{Replaced, Subject};
use crate::grid::Found;
use crate::{AttributionError, Scores};

/// A part of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Source,
    Target,
}

/// Tokens of one side that are hidden and shown together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Player {
    pub(super) side: Side,
    /// In order; none that is kept, and at least one.
    pub(super) tokens: Vec<usize>,
}

/// All of a text: those of the source, then those of the target, in order.
pub(super) struct Players {
    all: Vec<Player>,
}

impl Players {
    pub(super) fn of<B: Backend>(subject: &Subject<'_, B>) -> Result<Self, AttributionError> {
        let mut all = Vec::new();
        for side in [Side::Source, Side::Target] {
            let of_unit = |unit: Range<usize>| Player { side, tokens: hideable(subject, side, unit) };
            all.extend(units(subject, side)?.into_iter().map(of_unit).filter(|player| !player.tokens.is_empty()));
        }
        Ok(Self { all })
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// How many of them a step sees: the first so many.
    pub(super) fn seen_by(&self, step: usize) -> usize {
        self.all.partition_point(|player| player.side == Side::Source || player.tokens[0] < step)
    }

    /// The text where only some are present.
    pub(super) fn present<B: Backend>(&self, subject: &Subject<'_, B>, present: &[bool]) -> Replaced {
        self.replaced(subject, |player, _| (!present[player]).then_some(subject.options.baseline.id))
    }

    /// The text where some players' tokens are others.
    pub(super) fn replaced<B: Backend>(
        &self,
        subject: &Subject<'_, B>,
        mut by: impl FnMut(usize, (Side, usize)) -> Option<u32>,
    ) -> Replaced {
        let mut text = Replaced { source: subject.text.source.clone(), target: subject.text.target.clone() };
        for (number, player) in self.all.iter().enumerate() {
            let ids = match player.side {
                Side::Source => text.source.as_mut(),
                Side::Target => Some(&mut text.target),
            };
            let Some(ids) = ids else { continue };
            for &token in &player.tokens {
                if let Some(id) = by(number, (player.side, token)) {
                    ids[token] = id;
                }
            }
        }
        text
    }

    /// Scores of tokens, from those of the players that each step sees: a player's tokens share its score in equal parts.
    pub(super) fn found<B: Backend>(
        &self,
        subject: &Subject<'_, B>,
        scores: &[Vec<f64>],
        deltas: Option<Vec<f32>>,
    ) -> Result<Found, AttributionError> {
        let mut columns = Columns::new(subject);
        for (step, scores) in subject.steps().zip(scores) {
            for (player, score) in self.all.iter().zip(scores) {
                let seen = |token: &&usize| player.side == Side::Source || **token < step;
                let share = score / player.tokens.iter().filter(seen).count().max(1) as f64;
                player.tokens.iter().filter(seen).for_each(|&token| columns.set(player.side, token, step, share));
            }
        }
        columns.found(deltas)
    }
}

/// Tokens and groups of one side, in order, as far as steps see any of it.
pub(super) fn units<B: Backend>(subject: &Subject<'_, B>, side: Side) -> Result<Vec<Range<usize>>, AttributionError> {
    let (name, tokens, read, groups) = match side {
        Side::Source => {
            let (tokens, groups) = (subject.source_width(), subject.features().map(|features| &features.source));
            ("features.source", tokens, tokens, groups)
        }
        Side::Target => {
            let read = if subject.attributes_target() { subject.width(&subject.steps()) } else { 0 };
            let groups = subject.features().map(|features| &features.target);
            ("features.target", subject.text.target.len(), read, groups)
        }
    };
    let mut groups = groups.cloned().unwrap_or_default();
    groups.sort_by_key(|group| group.start);
    let mut units = Vec::new();
    let mut next = 0;
    for group in groups {
        if group.start < next || group.is_empty() || group.end > tokens {
            return Err(AttributionError::Parameter {
                of: "the options".to_owned(),
                parameter: name.to_owned(),
                expected: format!("ranges of some of the text's {tokens} tokens that don't overlap"),
                found: format!("{group:?}"),
            });
        }
        units.extend((next..group.start).map(|token| token..token + 1));
        next = group.end;
        units.push(group);
    }
    units.extend((next..tokens).map(|token| token..token + 1));
    let seen = units.into_iter().filter(|unit| unit.start < read);
    Ok(seen.map(|unit| unit.start..unit.end.min(read)).collect())
}

/// Those of some tokens that are not kept.
pub(super) fn hideable<B: Backend>(subject: &Subject<'_, B>, side: Side, tokens: Range<usize>) -> Vec<usize> {
    let ids = match side {
        Side::Source => subject.text.source.as_deref().unwrap_or_default(),
        Side::Target => &subject.text.target,
    };
    tokens.filter(|&token| !subject.options.baseline.kept.contains(&ids[token])).collect()
}

/// One number for each token and step: NaN where a step can't see the token, 0 where nothing was found.
pub(super) struct Columns {
    first: usize,
    steps: usize,
    source: Option<Vec<f32>>,
    target: Option<Vec<f32>>,
}

impl Columns {
    pub(super) fn new<B: Backend>(subject: &Subject<'_, B>) -> Self {
        let steps = subject.steps();
        let seen = |token: usize| steps.clone().map(move |step| if token < step { 0.0 } else { f32::NAN });
        Self {
            first: steps.start,
            steps: steps.len(),
            source: subject.text.source.as_ref().map(|source| vec![0.0; source.len() * steps.len()]),
            target: subject.attributes_target().then(|| (0..subject.text.target.len()).flat_map(seen).collect()),
        }
    }

    /// Sets the score of a token that the step sees.
    pub(super) fn set(&mut self, side: Side, token: usize, step: usize, score: f64) {
        let values = match side {
            Side::Source => &mut self.source,
            Side::Target => &mut self.target,
        };
        if let Some(values) = values {
            values[token * self.steps + step - self.first] = score as f32;
        }
    }

    pub(super) fn found(self, deltas: Option<Vec<f32>>) -> Result<Found, AttributionError> {
        let steps = self.steps;
        let scores = |values: Option<Vec<f32>>| {
            values.map(|values| Scores::per_token(values.len() / steps, steps, values)).transpose()
        };
        Ok(Found { source: scores(self.source)?, target: scores(self.target)?, deltas })
    }
}
