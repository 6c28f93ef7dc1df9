//! What is attributed as one: a span of steps, whose value is the sum of theirs.
//!
//! For a span `A` the attributed function is `f_A(x) = Σ_{t ∈ A} g_t(x)`, with the step function `g`. Its gradient is one cotangent that starts at all
//! places of the span, so an answer of many tokens takes one forward pass and one backward pass.

#[cfg(test)]
mod tests;

use core::ops::Range;

use crate::aggregation::{sentences, words};
use crate::features::touched;
use crate::{AttributionError, Positions, Prepared, Text};

/// Spans of steps: each is a column of scores.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpanTarget {
    /// Positions in the target, among the text's steps: one range or more, in order, that don't overlap.
    pub spans: Vec<Range<usize>>,
    /// Whether the value of a span is the mean of its steps' values, and not their sum.
    pub mean: bool,
}

impl SpanTarget {
    /// These spans, with sums of values.
    pub fn new(spans: Vec<Range<usize>>) -> Self {
        Self { spans, mean: false }
    }

    /// All steps as one: the whole answer.
    pub fn answer(prepared: &Prepared) -> Self {
        Self::new(core::iter::once(prepared.text.steps.clone()).collect())
    }

    /// The words of the steps: the groups that [`Stage::Subwords`](crate::aggregation::Stage::Subwords) merges.
    pub fn words(prepared: &Prepared) -> Self {
        Self::of_groups(prepared, words(&prepared.target))
    }

    /// The sentences of the steps: the groups that [`Stage::Sentences`](crate::aggregation::Stage::Sentences) merges.
    pub fn sentences(prepared: &Prepared) -> Self {
        Self::of_groups(prepared, sentences(&prepared.target_text, &prepared.target))
    }

    fn of_groups(prepared: &Prepared, groups: Vec<Range<usize>>) -> Self {
        let Range { start, end } = prepared.text.steps;
        let of_steps = groups.into_iter().map(|group| group.start.max(start)..group.end.min(end));
        Self::new(of_steps.filter(|group| !group.is_empty()).collect())
    }

    /// The steps that these spans of the target's text touch, in any order.
    ///
    /// # Errors
    /// [`AttributionError::Text`] for a span that lies outside the text, touches no step, or touches a token of another.
    pub fn parts(prepared: &Prepared, spans: &[Range<usize>], positions: Positions) -> Result<Self, AttributionError> {
        let mut found = touched((&prepared.target_text, &prepared.target), spans, positions, "unit")?;
        let Range { start, end } = prepared.text.steps;
        if let Some(outside) = found.iter().position(|span| span.start < start || end < span.end) {
            let token = &prepared.target[if found[outside].start < start { found[outside].start } else { end }];
            let Range { start, end } = spans[outside];
            return Err(AttributionError::Text(format!(
                "the span [{start}, {end}] touches the token {:?}, which is not asked about: spans are of what the model predicts",
                token.surface
            )));
        }
        found.sort_by_key(|span| span.start);
        Ok(Self::new(found))
    }

    /// Checks that the spans are among the steps of a text that has them all in one pass.
    ///
    /// # Errors
    /// [`AttributionError::Text`].
    pub(crate) fn check(&self, text: &Text) -> Result<(), AttributionError> {
        if text.masked.is_some() {
            let what = "a model of masked tokens predicts each token from a copy of its own, so a span has no pass to attribute; attribute tokens";
            return Err(AttributionError::Text(what.to_owned()));
        }
        let mut next = text.steps.start;
        for span in &self.spans {
            if span.start < next || span.is_empty() || text.steps.end < span.end {
                return Err(AttributionError::Text(format!(
                    "the span {span:?} is not among the steps {:?}, after the span before it",
                    text.steps
                )));
            }
            next = span.end;
        }
        match self.spans.is_empty() {
            true => Err(AttributionError::Text("there is no span to attribute".to_owned())),
            false => Ok(()),
        }
    }
}
