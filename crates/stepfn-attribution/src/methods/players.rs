//! What perturbation methods hide: tokens, or groups of them. Source and target are one game. Kept tokens (special ones) don't take part
//! and score 0. A step sees the source's players and those of the target that begin before it. These are always the first ones, so one sample of
//! hidden players works for all steps.

#[cfg(test)]
mod tests;

use core::ops::Range;

use crate::{
    AttributionError, Completeness, InputScores, ParameterError, Perturbed, Question, ScoreTable, Side, Steps,
};

/// Tokens of one side that are hidden and shown together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Player {
    pub(super) side: Side,
    /// In order; at least one, without kept tokens.
    pub(super) tokens: Vec<usize>,
}

/// All players of a text: those of the source, then those of the target, in order.
pub(super) struct Players {
    all: Vec<Player>,
}

impl Players {
    pub(super) fn of(question: &Question<'_>) -> Result<Self, AttributionError> {
        let mut all = Vec::new();
        for side in [Side::Source, Side::Target] {
            let of_unit = |unit: Range<usize>| Player { side, tokens: hideable(question, side, unit) };
            all.extend(units(question, side)?.into_iter().map(of_unit).filter(|player| !player.tokens.is_empty()));
        }
        Ok(Self { all })
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// The number of players that a step, or any step of a span, sees. They are the first ones.
    pub(super) fn seen_by(&self, span: Steps) -> usize {
        self.all.partition_point(|player| player.side == Side::Source || player.tokens[0] < span.last())
    }

    /// The text with only some players present.
    pub(super) fn present(&self, question: &Question<'_>, present: &[bool]) -> Perturbed {
        self.replaced(question, |player, _| (!present[player]).then_some(question.options().baseline.id))
    }

    /// The text with other tokens for some players.
    pub(super) fn replaced(
        &self,
        question: &Question<'_>,
        mut by: impl FnMut(usize, (Side, usize)) -> Option<u32>,
    ) -> Perturbed {
        let text = question.text();
        let mut text = Perturbed { source: text.source.clone(), target: text.target.clone(), ..Perturbed::default() };
        for (number, player) in self.all.iter().enumerate() {
            let ids = text.ids_mut(player.side);
            for &token in &player.tokens {
                if let Some(id) = by(number, (player.side, token)) {
                    ids[token] = id;
                }
            }
        }
        text
    }

    /// Scores of tokens, from the scores of the players that each column's steps see. A player's tokens share its score equally.
    pub(super) fn scores(
        &self,
        question: &Question<'_>,
        scores: &[Vec<f64>],
        completeness: Option<Completeness>,
    ) -> InputScores {
        let mut table = ScoreTable::zeros(question);
        for (column, (span, scores)) in question.spans(question.steps()).into_iter().zip(scores).enumerate() {
            for (player, score) in self.all.iter().zip(scores) {
                let seen = |token: &&usize| player.side == Side::Source || **token < span.last();
                let share = score / player.tokens.iter().filter(seen).count().max(1) as f64;
                player.tokens.iter().filter(seen).for_each(|&token| table.set(player.side, token, column, share));
            }
        }
        completeness.into_iter().for_each(|completeness| table.set_completeness(completeness));
        table.finish()
    }
}

/// Tokens and groups of one side that steps see, in order.
pub(super) fn units(question: &Question<'_>, side: Side) -> Result<Vec<Range<usize>>, AttributionError> {
    let (name, tokens, read, groups) = match side {
        Side::Source => {
            let (tokens, groups) = (question.source_len(), question.features().map(|features| &features.source));
            ("features.source", tokens, tokens, groups)
        }
        Side::Target => {
            let read =
                if question.attributes_target() { question.steps().width().min(question.scored_until()) } else { 0 };
            let groups = question.features().map(|features| &features.target);
            ("features.target", question.target_len(), read, groups)
        }
    };
    let mut groups = groups.cloned().unwrap_or_default();
    groups.sort_by_key(|group| group.start);
    let mut units = Vec::new();
    let mut next = 0;
    for group in groups {
        if group.start < next || group.is_empty() || group.end > tokens {
            let expected = format!("ranges of the text's {tokens} tokens that don't overlap");
            return Err(ParameterError::new("attribution", name, expected, format!("{group:?}")).into());
        }
        units.extend((next..group.start).map(|token| token..token + 1));
        next = group.end;
        units.push(group);
    }
    units.extend((next..tokens).map(|token| token..token + 1));
    let seen = units.into_iter().filter(|unit| unit.start < read);
    Ok(seen.map(|unit| unit.start..unit.end.min(read)).collect())
}

/// The tokens of a range that are not kept.
pub(super) fn hideable(question: &Question<'_>, side: Side, tokens: Range<usize>) -> Vec<usize> {
    let ids = question.text().ids(side);
    tokens.filter(|&token| !question.is_kept(ids[token])).collect()
}
