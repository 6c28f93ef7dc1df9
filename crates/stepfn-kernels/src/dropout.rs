//! Dropout masks from a counter-based generator, so that a mask depends on what it masks and not on when it is drawn.
//!
//! The generator is Threefry (`threefry.rs`). It needs only operations that burn's integer tensors have, so a GPU can generate its masks in
//! place and gets the same bits as the CPU.
//!
//! A mask's address is `(seed, stack, layer, site)`, one [`MaskStream`], then `(text, sample, position)`, one [`MaskRow`] per row, then the
//! element's index within the row. An address always gives the same decision, whatever the batch, padding, chunk size, number of threads or
//! backend.

use burn::tensor::{DType, Int, Tensor, TensorData, backend::Backend};
use rayon::prelude::*;

use crate::host;
use crate::threefry::{Words, threefry};

/// Where a mask applies in a transformer block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Site {
    /// The sum of token and position embeddings.
    Embedding,
    /// The attention probabilities of self-attention.
    SelfAttention,
    /// The attention probabilities of cross-attention.
    CrossAttention,
    /// The output of self-attention, before it joins the residual stream.
    SelfAttentionOutput,
    /// The output of cross-attention, before it joins the residual stream.
    CrossAttentionOutput,
    /// The hidden activations of the feed-forward.
    Activation,
    /// The output of the feed-forward, before it joins the residual stream.
    FeedForwardOutput,
    /// The hidden states after the last block.
    Final,
}

/// The half of an encoder–decoder model that a layer belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stack {
    /// The encoder.
    Encoder,
    /// The decoder, or the only stack of a causal model.
    Decoder,
}

/// The masks of one site in one layer, for one seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaskStream {
    key: [u32; 2],
}

/// One row of activations: a position of a text in one noisy pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MaskRow {
    /// The text's index in the whole run, not in its batch.
    pub text: u32,
    /// Index of the noisy pass.
    pub sample: u32,
    /// The position in the text, not counting padding.
    pub position: u32,
}

/// A dropout probability, in `[0, 1)`.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct DropRate(f64);

impl DropRate {
    /// `rate`, or `None` unless `0 ≤ rate < 1`.
    pub fn new(rate: f64) -> Option<Self> {
        (0.0..1.0).contains(&rate).then_some(Self(rate))
    }

    /// The probability of being dropped.
    pub fn get(self) -> f64 {
        self.0
    }

    /// An element is kept if its 24 random bits are below this.
    fn keep_below(self) -> u32 {
        ((1.0 - self.0) * f64::from(1u32 << 24)).round() as u32
    }

    /// The factor for kept elements, which preserves the mean.
    fn scale(self) -> f32 {
        (1.0 / (1.0 - self.0)) as f32
    }
}

impl MaskStream {
    /// The stream at an address. Different addresses give independent masks.
    pub fn new(seed: u64, stack: Stack, layer: u32, site: Site) -> Self {
        let seed = [seed as u32, (seed >> 32) as u32];
        let place = ((stack as u32) << 8) | site as u32;
        Self { key: threefry(seed, [layer, place]) }
    }

    /// The multipliers for `rows` rows of `width` elements: 0 with probability `rate`, otherwise `1 / (1 − rate)`. Element `(row, i)`
    /// depends only on this stream, on `rows[row]` and on `i`, so a narrower mask is a prefix of a wider one.
    ///
    /// # Shapes
    /// - result: `[rows, width]`, `f32`
    pub fn mask<B: Backend>(self, rows: &[MaskRow], width: usize, rate: DropRate, device: &B::Device) -> Tensor<B, 2> {
        if host::is_host::<B>() {
            self.mask_on_host(rows, width, rate, device)
        } else {
            self.mask_on_device(rows, width, rate, device)
        }
    }

    fn row_key(self, row: MaskRow) -> [u32; 2] {
        threefry(threefry(self.key, [row.text, row.sample]), [row.position, 0])
    }

    fn mask_on_host<B: Backend>(
        self,
        rows: &[MaskRow],
        width: usize,
        rate: DropRate,
        device: &B::Device,
    ) -> Tensor<B, 2> {
        let arch = pulp::Arch::new();
        let (keep_below, scale) = (rate.keep_below(), rate.scale());
        let mut mask = vec![0.0f32; rows.len() * width];
        mask.par_chunks_mut(width.max(1)).zip(rows).for_each(|(mask, &row)| {
            let key = self.row_key(row);
            arch.dispatch(FillRow { mask, key, keep_below, scale });
        });
        Tensor::from_data(TensorData::new(mask, [rows.len(), width]), device)
    }

    fn mask_on_device<B: Backend>(
        self,
        rows: &[MaskRow],
        width: usize,
        rate: DropRate,
        device: &B::Device,
    ) -> Tensor<B, 2> {
        let keys: Vec<_> = rows.iter().map(|&row| self.row_key(row)).collect();
        let word = |n: usize| {
            let words: Vec<i32> = keys.iter().map(|key| key[n] as i32).collect();
            Words::<B>::new(Tensor::from_data(TensorData::new(words, [rows.len(), 1]), device))
        };
        let pairs = width.div_ceil(2);
        let counters = Tensor::<B, 1, Int>::arange(0..pairs as i64, device);
        let counters = counters.unsqueeze_dim::<2>(0).expand([rows.len(), pairs]);
        let zeros = counters.clone().mul_scalar(0);
        let words = threefry([word(0), word(1)], [Words::new(counters), Words::new(zeros)]);
        // Element 2i gets the first word of counter i, element 2i + 1 the second.
        let [even, odd] = words.map(|word| word.top_24_bits().unsqueeze_dim::<3>(2));
        let words = Tensor::cat(vec![even, odd], 2).reshape([rows.len(), 2 * pairs]);
        let kept = words.slice([0..rows.len(), 0..width]).lower_elem(i64::from(rate.keep_below()));
        kept.float().cast(DType::F32).mul_scalar(rate.scale())
    }
}

/// Fills one row; compiled once per instruction set.
struct FillRow<'a> {
    mask: &'a mut [f32],
    key: [u32; 2],
    keep_below: u32,
    scale: f32,
}

impl pulp::NullaryFnOnce for FillRow<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        /// Counters per iteration: wide enough for the vectors of any instruction set.
        const BATCH: usize = 16;
        let element = |word: u32| if word >> 8 < self.keep_below { self.scale } else { 0.0 };
        for (batch, mask) in self.mask.chunks_mut(2 * BATCH).enumerate() {
            let mut elements = [0.0; 2 * BATCH];
            for lane in 0..BATCH {
                let [even, odd] = threefry(self.key, [(batch * BATCH + lane) as u32, 0]);
                elements[2 * lane] = element(even);
                elements[2 * lane + 1] = element(odd);
            }
            mask.copy_from_slice(&elements[..mask.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Flex, NdArray};
    use proptest::prelude::*;

    fn stream(seed: u64) -> MaskStream {
        MaskStream::new(seed, Stack::Decoder, 1, Site::Activation)
    }

    fn rows(range: core::ops::Range<u32>) -> Vec<MaskRow> {
        range.map(|position| MaskRow { text: 5, sample: 7, position }).collect()
    }

    fn bits<B: Backend>(mask: Tensor<B, 2>) -> Vec<f32> {
        mask.into_data().iter::<f32>().collect()
    }

    fn host_mask(stream: MaskStream, rows: &[MaskRow], width: usize, rate: f64) -> Vec<f32> {
        bits(stream.mask::<Flex>(rows, width, DropRate::new(rate).unwrap(), &Default::default()))
    }

    #[test]
    fn a_rate_outside_its_range_is_refused() {
        for rate in [-0.1, 1.0, f64::NAN, f64::INFINITY] {
            assert!(DropRate::new(rate).is_none());
        }
        assert_eq!(DropRate::new(0.25).map(DropRate::get), Some(0.25));
    }

    #[test]
    fn elements_are_kept_at_the_rate_and_scaled_to_keep_the_mean() {
        for rate in [0.0, 0.1, 0.5, 0.9] {
            let mask = host_mask(stream(1), &rows(0..100), 1000, rate);
            let kept = mask.iter().filter(|&&m| m != 0.0).count() as f64 / mask.len() as f64;
            let deviation = (rate * (1.0 - rate) / mask.len() as f64).sqrt();
            assert!((kept - (1.0 - rate)).abs() <= 4.0 * deviation + 1e-7, "{kept} kept at rate {rate}");
            assert!(mask.iter().all(|&m| m == 0.0 || (f64::from(m) * (1.0 - rate) - 1.0).abs() < 1e-6));
        }
    }

    #[test]
    fn streams_and_rows_of_different_addresses_are_independent() {
        let base = MaskStream::new(1, Stack::Decoder, 3, Site::Activation);
        let others = [
            MaskStream::new(2, Stack::Decoder, 3, Site::Activation),
            MaskStream::new(1 << 32 | 1, Stack::Decoder, 3, Site::Activation),
            MaskStream::new(1, Stack::Encoder, 3, Site::Activation),
            MaskStream::new(1, Stack::Decoder, 2, Site::Activation),
            MaskStream::new(1, Stack::Decoder, 3, Site::FeedForwardOutput),
        ];
        let n = 40_000;
        let agreement = |a: &[f32], b: &[f32]| a.iter().zip(b).filter(|(a, b)| a == b).count() as f64 / n as f64;
        // Independent fair coins agree half the time; allow 5 standard deviations.
        let independent = |a: &[f32], b: &[f32]| (agreement(a, b) - 0.5).abs() < 5.0 * 0.5 / (n as f64).sqrt();
        let mask = host_mask(base, &rows(0..1), n, 0.5);
        for other in others {
            assert!(independent(&mask, &host_mask(other, &rows(0..1), n, 0.5)), "{other:?}");
        }
        let row = MaskRow { text: 5, sample: 7, position: 0 };
        assert_eq!(mask, host_mask(base, &[row], n, 0.5));
        for other in [MaskRow { text: 6, ..row }, MaskRow { sample: 8, ..row }, MaskRow { position: 1, ..row }] {
            assert!(independent(&mask, &host_mask(base, &[other], n, 0.5)), "{other:?}");
        }
        let shifted: Vec<f32> = mask.iter().copied().cycle().skip(1).take(n).collect();
        assert!(independent(&mask, &shifted));
    }

    proptest! {
        #[test]
        fn masks_do_not_depend_on_batch_chunk_or_width(seed: u64, split in 1u32..9, width in 1usize..70, rate in 0.0f64..0.99) {
            let whole = host_mask(stream(seed), &rows(0..10), width, rate);
            let mut parts = host_mask(stream(seed), &rows(0..split), width, rate);
            parts.extend(host_mask(stream(seed), &rows(split..10), width, rate));
            prop_assert_eq!(&whole, &parts);
            let wider = host_mask(stream(seed), &rows(0..10), width + 13, rate);
            for (narrow, wide) in whole.chunks(width).zip(wider.chunks(width + 13)) {
                prop_assert_eq!(narrow, &wide[..width]);
            }
        }

        #[test]
        fn host_and_device_make_the_same_bits(seed: u64, width in 1usize..70, rate in 0.0f64..0.99) {
            let rate = DropRate::new(rate).unwrap();
            let expected = bits(stream(seed).mask_on_host::<Flex>(&rows(0..5), width, rate, &Default::default()));
            let flex = stream(seed).mask_on_device::<Flex>(&rows(0..5), width, rate, &Default::default());
            let ndarray = stream(seed).mask_on_device::<NdArray>(&rows(0..5), width, rate, &Default::default());
            prop_assert_eq!(&bits(flex), &expected);
            prop_assert_eq!(&bits(ndarray), &expected);
        }
    }
}
