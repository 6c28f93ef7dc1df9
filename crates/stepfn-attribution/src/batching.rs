//! Which texts run together: texts of similar length, so that batches have little padding, as many as the budget allows.

use crate::budget::Activations;

/// What a text takes up in a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Tokens of each part (source, target, and those of a contrast), each padded separately.
    pub(crate) parts: [usize; 4],
    /// Texts of different kinds never share a batch.
    pub(crate) kind: bool,
}

/// What a batch may take up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchLimits {
    /// Maximum number of token slots, including padding. A longer text runs alone.
    pub(crate) slots: usize,
    /// Maximum bytes of activations. A text that needs more runs alone.
    pub(crate) bytes: usize,
    /// What they are estimated from.
    pub(crate) activations: Activations,
}

impl BatchLimits {
    /// Whether that many texts padded to these widths are too much.
    fn exceeded(&self, texts: usize, widths: [usize; 4]) -> bool {
        texts * slots(widths) > self.slots || texts * self.bytes_of(widths) > self.bytes
    }

    /// How many copies of a text of these widths fit at once, one at least.
    pub(crate) fn copies(&self, widths: [usize; 4]) -> usize {
        (self.slots / slots(widths).max(1)).min(self.bytes / self.bytes_of(widths).max(1)).max(1)
    }

    fn bytes_of(&self, widths: [usize; 4]) -> usize {
        widths.into_iter().map(|width| self.activations.bytes(width)).sum()
    }
}

/// Padding that is cheaper than another batch, whose fixed cost is about that of so many tokens.
const FREE_PADDING: usize = 16;
/// Beyond that, the part of a batch that may be padding: one in so many slots.
const PADDING_SHARE: usize = 10;

/// Batches of texts by number, the longest texts first, so that a run that does not fit fails at its start.
pub(crate) fn batches(shapes: &[(usize, Shape)], limits: BatchLimits) -> Vec<Vec<usize>> {
    let mut sorted: Vec<(usize, Shape)> = shapes.to_vec();
    // Parts after the total: of two texts of one length, those with like sources go together.
    sorted.sort_by_key(|(number, shape)| (shape.kind, core::cmp::Reverse((slots(shape.parts), shape.parts)), *number));
    let mut batches: Vec<Vec<usize>> = Vec::new();
    let mut open: Option<Open> = None;
    for (number, shape) in sorted {
        match open.as_mut().and_then(|open| open.with(shape, limits)) {
            Some(grown) => {
                open = Some(grown);
                batches.last_mut().into_iter().for_each(|batch| batch.push(number));
            }
            None => {
                open = Some(Open { kind: shape.kind, texts: 1, widths: shape.parts, tokens: slots(shape.parts) });
                batches.push(vec![number]);
            }
        }
    }
    batches
}

/// A batch that may grow.
#[derive(Clone, Copy)]
struct Open {
    kind: bool,
    texts: usize,
    widths: [usize; 4],
    tokens: usize,
}

impl Open {
    fn with(self, shape: Shape, limits: BatchLimits) -> Option<Self> {
        let widths = core::array::from_fn(|part| self.widths[part].max(shape.parts[part]));
        let grown = Self { texts: self.texts + 1, widths, tokens: self.tokens + slots(shape.parts), kind: shape.kind };
        let all = grown.texts * slots(widths);
        let too_loose = all - grown.tokens > FREE_PADDING.max(all / PADDING_SHARE);
        (self.kind == shape.kind && !too_loose && !limits.exceeded(grown.texts, widths)).then_some(grown)
    }
}

fn slots(widths: [usize; 4]) -> usize {
    widths.iter().sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LOOSE: BatchLimits =
        BatchLimits { slots: 4096, bytes: usize::MAX, activations: Activations { per_token: 1, per_pair: 1 } };

    fn shape(parts: [usize; 4]) -> Shape {
        Shape { parts, kind: parts[3] > 0 }
    }

    /// Slots of all batches, and tokens in them.
    fn filled(shapes: &[(usize, Shape)], batches: &[Vec<usize>]) -> (usize, usize) {
        let parts = |number: &usize| shapes.iter().find(|(other, _)| other == number).unwrap().1.parts;
        let of_batch = |batch: &Vec<usize>| {
            let widths: [usize; 4] = core::array::from_fn(|part| batch.iter().map(|n| parts(n)[part]).max().unwrap());
            batch.len() * slots(widths)
        };
        (batches.iter().map(of_batch).sum(), shapes.iter().map(|(_, shape)| slots(shape.parts)).sum())
    }

    /// Different lengths of no particular order.
    fn mixed(texts: usize, longest: usize) -> Vec<usize> {
        (0..texts).map(|text| 3 + (text * 2_654_435_761 % 1009) * (longest - 3) / 1008).collect()
    }

    #[test]
    fn sixty_four_texts_of_mixed_lengths_waste_less_than_15_percent_in_few_batches() {
        for longest in [20, 60, 200, 1000] {
            let shapes: Vec<_> = mixed(64, longest).into_iter().map(|len| shape([0, len, 0, 0])).enumerate().collect();
            let batches = batches(&shapes, LOOSE);
            let (all, used) = filled(&shapes, &batches);
            let waste = 1.0 - used as f64 / all as f64;
            assert!(waste < 0.15, "{longest}: {waste}");
            assert!(batches.len() <= 24, "{longest}: {} batches", batches.len());
        }
    }

    #[test]
    fn sources_and_targets_that_go_together_waste_less_than_15_percent_too() {
        let pair = |(number, len): (usize, usize)| shape([len, len * 9 / 10 + number % 3, 0, 0]);
        let shapes: Vec<_> = mixed(64, 60).into_iter().enumerate().map(pair).enumerate().collect();
        let (all, used) = filled(&shapes, &batches(&shapes, LOOSE));
        assert!(1.0 - (used as f64) / (all as f64) < 0.15, "{used} of {all}");
    }

    #[test]
    fn copies_of_a_text_fill_the_budget_and_are_never_none() {
        assert_eq!(LOOSE.copies([0, 1000, 0, 0]), 4);
        assert_eq!(LOOSE.copies([0, 5000, 0, 0]), 1);
        assert_eq!(BatchLimits { bytes: 3 * (10 + 100), ..LOOSE }.copies([0, 10, 0, 0]), 3);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_text_is_in_one_batch_of_its_kind_and_batches_of_several_keep_to_the_budget(
            parts in prop::collection::vec((0usize..40, 1usize..40, prop::bool::ANY), 0..60),
            most in 1usize..400,
        ) {
            let shapes: Vec<_> = parts
                .iter()
                .map(|&(source, target, contrast)| shape([source, target, 0, usize::from(contrast) * target]))
                .enumerate()
                .collect();
            let limits = BatchLimits { slots: most, ..LOOSE };
            let batches = batches(&shapes, limits);
            let mut seen: Vec<usize> = batches.concat();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..parts.len()).collect::<Vec<_>>());
            for batch in &batches {
                let members: Vec<_> = batch.iter().map(|&number| shapes[number]).collect();
                prop_assert!(members.iter().all(|(_, shape)| shape.kind == members[0].1.kind));
                let (all, _) = filled(&members, std::slice::from_ref(batch));
                prop_assert!(batch.len() == 1 || all <= most);
            }
        }
    }
}
