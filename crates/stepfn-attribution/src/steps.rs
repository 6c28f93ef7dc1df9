//! Consecutive steps of a text, and the arithmetic of the rows they have.
//!
//! A step is the position of a predicted token in the target. It is predicted at the place before it, from that place and all earlier ones, so
//! the last step decides how much of the target is read. The one step of a masked copy is predicted at its mask instead, from all places of the
//! copy. In passes over several variants of a text, rows are `[variants · steps]`.

use core::ops::Range;

/// Consecutive steps of a text: positions of predicted tokens in the target, at least one, none of them 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Steps {
    start: usize,
    end: usize,
    /// Where the one step of a masked copy is predicted.
    mask: Option<usize>,
}

impl Steps {
    /// The steps at these positions, which were checked: `1 ≤ start < end`.
    pub(crate) fn new(positions: Range<usize>) -> Self {
        debug_assert!(0 < positions.start && positions.start < positions.end, "{positions:?}");
        Self { start: positions.start, end: positions.end, mask: None }
    }

    /// The same, predicted at a mask.
    pub(crate) fn at_mask(self, mask: Option<usize>) -> Self {
        Self { mask, ..self }
    }

    /// The first.
    pub fn start(self) -> usize {
        self.start
    }

    /// Their number.
    #[allow(clippy::len_without_is_empty, reason = "there is always a step")]
    pub fn len(self) -> usize {
        self.end - self.start
    }

    /// Their positions in the target.
    pub fn positions(self) -> Range<usize> {
        self.start..self.end
    }

    /// The places that predict them: those before them, or the mask.
    pub fn places(self) -> Range<usize> {
        self.mask.map_or(self.start - 1..self.end - 1, |mask| mask..mask + 1)
    }

    /// The position of the last: tokens before it can matter, no others.
    pub fn last(self) -> usize {
        self.end - 1
    }

    /// How many tokens of the target the model reads to predict them all.
    pub fn width(self) -> usize {
        self.end - 1
    }

    /// The step that a row belongs to, in rows `[variants · steps]`.
    pub fn of_row(self, row: usize) -> usize {
        self.start + row % self.len()
    }

    /// The range of these steps within other steps that contain them.
    pub fn within(self, all: Self) -> Range<usize> {
        self.start - all.start..self.end - all.start
    }

    /// The steps at or after a position, if there are any.
    pub(crate) fn from(self, position: usize) -> Option<Self> {
        let start = self.start.max(position);
        (start < self.end).then_some(Self { start, ..self })
    }

    /// Those at these positions, which are some of these steps.
    pub fn part(self, positions: Range<usize>) -> Self {
        debug_assert!(self.start <= positions.start && positions.end <= self.end && !positions.is_empty());
        Self { start: positions.start, end: positions.end, ..self }
    }

    /// One of these steps alone.
    pub(crate) fn only(self, position: usize) -> Self {
        Self { start: position, end: position + 1, ..self }
    }

    /// Chunks of at most `size` steps.
    pub(crate) fn chunks(self, size: usize) -> Vec<Self> {
        let Self { start, end, .. } = self;
        let chunk = |start| Self { start, end: end.min(start + size.max(1)), ..self };
        (start..end).step_by(size.max(1)).map(chunk).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn chunks_are_all_steps_in_order(start in 1usize..50, len in 1usize..50, size in 0usize..60) {
            let steps = Steps::new(start..start + len);
            let chunks = steps.chunks(size);
            let positions: Vec<usize> = chunks.iter().flat_map(|chunk| chunk.positions()).collect();
            prop_assert_eq!(positions, steps.positions().collect::<Vec<_>>());
            prop_assert!(chunks.iter().all(|chunk| chunk.len() <= size.max(1)));
            let within: Vec<usize> = chunks.iter().flat_map(|chunk| chunk.within(steps)).collect();
            prop_assert_eq!(within, (0..len).collect::<Vec<_>>());
        }

        #[test]
        fn each_step_is_predicted_by_the_place_before_it(start in 1usize..50, len in 1usize..50, row in 0usize..500) {
            let steps = Steps::new(start..start + len);
            prop_assert!(steps.positions().zip(steps.places()).all(|(position, place)| place + 1 == position));
            prop_assert_eq!(steps.width(), steps.places().end);
            prop_assert!(steps.positions().contains(&steps.of_row(row)));
            prop_assert_eq!(steps.of_row(row), steps.of_row(row + len));
        }

        #[test]
        fn steps_from_a_position_on_see_it(start in 1usize..50, len in 1usize..50, position in 0usize..120) {
            let steps = Steps::new(start..start + len);
            match steps.from(position) {
                Some(later) => prop_assert!(later.start() >= position && later.width() == steps.width()),
                None => prop_assert!(position >= start + len),
            }
        }
    }
}
