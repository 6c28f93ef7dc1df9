//! Which keys a query sees.

use core::ops::Range;
use std::sync::OnceLock;

use burn::tensor::{DType, Tensor, TensorData, backend::Backend};

/// The keys that each query sees: always one contiguous range, the text's own bounds cut further by causal order and by the window.
///
/// Fused loops read these ranges and touch no other key. The composed route adds a [`mask`](Self::mask) to the scores. It is built on first
/// use and cached, so share one `Visible` between all layers with the same ranges.
#[derive(Debug, Clone)]
pub struct Visible<B: Backend> {
    /// One per query (`texts · queries`), or one per text.
    ranges: Vec<Range<u32>>,
    texts: usize,
    queries: usize,
    keys: usize,
    device: B::Device,
    mask: OnceLock<Tensor<B, 4>>,
}

/// What is added to the score of a key that is not seen: so low that its exponential is 0, but not so low that a fully masked row overflows.
pub fn masked(dtype: DType) -> f32 {
    if dtype == DType::F16 { -3e4 } else { -1e30 }
}

impl<B: Backend> Visible<B> {
    /// Query `q` of text `t` sees the keys `ranges[t · queries + q]`, or `ranges[t]` if there is one range per text. No range goes past
    /// `keys`. An empty range marks a query whose output is never read.
    ///
    /// # Panics
    /// If the number of ranges is neither `texts` nor `texts · queries`, or if a range goes past `keys`.
    pub fn new(ranges: Vec<Range<u32>>, texts: usize, queries: usize, keys: usize, device: &B::Device) -> Self {
        let expected = [texts, texts * queries];
        assert!(expected.contains(&ranges.len()), "visible keys: expected {expected:?} ranges, found {}", ranges.len());
        let last = ranges.iter().map(|range| range.end).max().unwrap_or(0) as usize;
        assert!(last <= keys, "a query sees keys up to {last}, but there are only {keys}");
        Self { ranges, texts, queries, keys, device: device.clone(), mask: OnceLock::new() }
    }

    /// Number of texts in the batch.
    pub fn texts(&self) -> usize {
        self.texts
    }

    /// Queries per text.
    pub fn queries(&self) -> usize {
        self.queries
    }

    /// Keys per text.
    pub fn keys(&self) -> usize {
        self.keys
    }

    /// Where masks are made.
    pub fn device(&self) -> &B::Device {
        &self.device
    }

    /// The keys that a query sees.
    pub fn range(&self, text: usize, query: usize) -> Range<usize> {
        let range = if self.per_text() { &self.ranges[text] } else { &self.ranges[text * self.queries + query] };
        range.start as usize..range.end as usize
    }

    /// Whether all queries see all keys, so that no mask is needed.
    pub fn all(&self) -> bool {
        self.ranges.iter().all(|range| range.start == 0 && range.end as usize == self.keys)
    }

    /// The mask that is added to the scores: 0 for visible keys, elsewhere a number whose exponential is 0.
    ///
    /// # Shapes
    /// - result: `[texts, 1, queries, keys]`, or `[texts, 1, 1, keys]` if all queries of a text see the same keys
    pub fn mask(&self, dtype: DType) -> Tensor<B, 4> {
        let mask = self.mask.get_or_init(|| self.make_mask(dtype));
        if mask.dtype() == dtype { mask.clone() } else { self.make_mask(dtype) }
    }

    /// Whether all queries of a text see the same keys.
    fn per_text(&self) -> bool {
        self.ranges.len() == self.texts
    }

    fn make_mask(&self, dtype: DType) -> Tensor<B, 4> {
        let masked = masked(dtype);
        let mut values = vec![masked; self.ranges.len() * self.keys];
        for (row, range) in values.chunks_mut(self.keys.max(1)).zip(&self.ranges) {
            // An empty range may start anywhere.
            if let Some(seen) = row.get_mut(range.start as usize..range.end as usize) {
                seen.fill(0.0);
            }
        }
        let queries = if self.per_text() { 1 } else { self.queries };
        let data = TensorData::new(values, [self.texts, 1, queries, self.keys]).convert_dtype(dtype);
        Tensor::from_data(data, (&self.device, dtype))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{NdArray, values};

    #[test]
    #[allow(clippy::reversed_empty_ranges, reason = "an empty range may be reversed")]
    fn masks_hide_keys_outside_the_ranges() {
        let visible = Visible::<NdArray>::new(vec![0..1, 1..3, 2..3, 3..0], 2, 2, 3, &Default::default());
        let mask = visible.mask(DType::F32);
        assert_eq!(mask.dims(), [2, 1, 2, 3]);
        let seen: Vec<bool> = values(&mask).into_iter().map(|added| added == 0.0).collect();
        #[rustfmt::skip]
        let expected = [true, false, false,  false, true, true,  false, false, true,  false, false, false];
        assert_eq!(seen, expected);
        assert!(!visible.all());
        assert_eq!(visible.range(1, 0), 2..3);
    }

    #[test]
    fn one_range_per_text_applies_to_all_its_queries() {
        let visible = Visible::<NdArray>::new(vec![0..2, 0..2], 2, 5, 2, &Default::default());
        assert_eq!(visible.mask(DType::F32).dims(), [2, 1, 1, 2]);
        assert_eq!(visible.range(1, 4), 0..2);
        assert!(visible.all());
    }

    #[test]
    #[should_panic(expected = "a query sees keys up to 4, but there are only 3")]
    fn a_range_past_the_last_key_panics() {
        Visible::<NdArray>::new(vec![0..4, 0..1], 2, 1, 3, &Default::default());
    }
}
