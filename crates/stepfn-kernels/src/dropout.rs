//! Dropout masks that depend on what is masked, not on when: a counter-based generator.
//!
//! Generator: Threefry-2×32 with 20 rounds (Salmon et al. 2011, *Parallel random numbers: as easy as 1, 2, 3*), which needs only
//! additions, rotations and exclusive-or of 32-bit integers. These are operations of burn's integer tensors, so that a GPU makes
//! its masks where it uses them and gets the very bits that the CPU gets.
//!
//! A mask is addressed by `(seed, stack, layer, site)`, one [`MaskStream`], then by `(text, sample, position)`, one [`MaskRow`] per row,
//! then by the element within the row. The same address gives the same decision whatever the batch, its padding, its chunks, the
//! number of threads or the backend.

use burn::tensor::{DType, Int, Tensor, TensorData, backend::Backend};
use rayon::prelude::*;

use crate::host;

/// Where in a transformer block a mask applies.
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
    /// The hidden states behind the last block.
    Final,
}

/// Which part of an encoder–decoder a layer belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stack {
    /// The encoder.
    Encoder,
    /// The decoder, or the only stack of a causal model.
    Decoder,
}

/// The masks of one site, in one layer, for a seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaskStream {
    key: [u32; 2],
}

/// A row of activations: a position of a text, in one of its noisy passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MaskRow {
    /// The text's number in the whole run, not in its batch.
    pub text: u32,
    /// The number of the pass.
    pub sample: u32,
    /// The position in the text, padding not counted.
    pub position: u32,
}

/// A probability of being dropped, in `[0, 1)`.
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

    /// A word of 24 random bits keeps its element if it is less than this.
    fn keep_below(self) -> u32 {
        ((1.0 - self.0) * f64::from(1u32 << 24)).round() as u32
    }

    /// What a kept element is multiplied by, so that the expectation stays.
    fn scale(self) -> f32 {
        (1.0 / (1.0 - self.0)) as f32
    }
}

impl MaskStream {
    /// The stream of an address. Different addresses give independent masks.
    pub fn new(seed: u64, stack: Stack, layer: u32, site: Site) -> Self {
        let seed = [seed as u32, (seed >> 32) as u32];
        let place = ((stack as u32) << 8) | site as u32;
        Self { key: threefry(seed, [layer, place]) }
    }

    /// The multipliers of `rows` rows of `width` elements: 0 with probability `rate`, else `1 / (1 − rate)`. Element `(row, i)` depends
    /// on this stream, on `rows[row]` and on `i` alone: a narrower mask is the beginning of a wider one.
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
        // Element 2i takes the first word of counter i, element 2i + 1 the second.
        let [even, odd] = words.map(|word| word.top_24_bits().unsqueeze_dim::<3>(2));
        let words = Tensor::cat(vec![even, odd], 2).reshape([rows.len(), 2 * pairs]);
        let kept = words.slice([0..rows.len(), 0..width]).lower_elem(i64::from(rate.keep_below()));
        kept.float().cast(DType::F32).mul_scalar(rate.scale())
    }
}

/// Fills one row, compiled once per instruction set.
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
        /// Counters worked on at a time: vectors wide enough for any instruction set.
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

/// What Threefry needs of a word of 32 bits, or of a tensor of them.
trait Word: Clone {
    fn add(self, other: Self) -> Self;
    fn add_constant(self, constant: u32) -> Self;
    fn xor(self, other: Self) -> Self;
    fn xor_constant(self, constant: u32) -> Self;
    fn rotate_left(self, bits: u32) -> Self;
}

impl Word for u32 {
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.wrapping_add(other)
    }

    #[inline(always)]
    fn add_constant(self, constant: u32) -> Self {
        self.wrapping_add(constant)
    }

    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        self ^ other
    }

    #[inline(always)]
    fn xor_constant(self, constant: u32) -> Self {
        self ^ constant
    }

    #[inline(always)]
    fn rotate_left(self, bits: u32) -> Self {
        self.rotate_left(bits)
    }
}

/// 32-bit words in an integer tensor of 32 or 64 bits. Only the low 32 bits mean anything; in a wider type the others are kept 0.
#[derive(Clone)]
struct Words<B: Backend>(Tensor<B, 2, Int>);

impl<B: Backend> Words<B> {
    fn new(words: Tensor<B, 2, Int>) -> Self {
        Self(words).wrap()
    }

    fn wrap(self) -> Self {
        match self.0.dtype() {
            DType::I64 | DType::U64 => Self(self.0.clone().bitwise_and(Self::constant(&self.0, 0xffff_ffff))),
            _ => self,
        }
    }

    /// One element that broadcasts, in the element type of `like`.
    fn constant(like: &Tensor<B, 2, Int>, value: u32) -> Tensor<B, 2, Int> {
        let data = match like.dtype() {
            DType::I64 | DType::U64 => TensorData::new(vec![i64::from(value)], [1, 1]),
            _ => TensorData::new(vec![value as i32], [1, 1]),
        };
        Tensor::from_data(data, (&like.device(), like.dtype()))
    }

    /// The words shifted right, zeros coming in, also where the integers are signed.
    fn shift_right(self, bits: u32) -> Tensor<B, 2, Int> {
        let shift = Self::constant(&self.0, bits);
        let mask = Self::constant(&self.0, u32::MAX >> bits);
        self.0.bitwise_right_shift(shift).bitwise_and(mask)
    }

    fn top_24_bits(self) -> Tensor<B, 2, Int> {
        self.shift_right(8)
    }
}

impl<B: Backend> Word for Words<B> {
    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0).wrap()
    }

    fn add_constant(self, constant: u32) -> Self {
        let constant = Self::constant(&self.0, constant);
        Self(self.0 + constant).wrap()
    }

    fn xor(self, other: Self) -> Self {
        Self(self.0.bitwise_xor(other.0))
    }

    fn xor_constant(self, constant: u32) -> Self {
        let constant = Self::constant(&self.0, constant);
        Self(self.0.bitwise_xor(constant))
    }

    fn rotate_left(self, bits: u32) -> Self {
        let shift = Self::constant(&self.0, bits);
        let high = Self(self.0.clone().bitwise_left_shift(shift)).wrap();
        Self(high.0.bitwise_or(self.shift_right(32 - bits)))
    }
}

/// Threefry-2×32-20: two random words of a key and a counter.
#[inline(always)]
fn threefry<W: Word>(key: [W; 2], counter: [W; 2]) -> [W; 2] {
    /// Key-schedule parity (Salmon et al. 2011, §4.2; the Skein constant truncated to 32 bits).
    const PARITY: u32 = 0x1bd1_1bda;
    const ROTATIONS: [[u32; 4]; 2] = [[13, 15, 26, 6], [17, 29, 16, 24]];

    let [k0, k1] = key;
    let k2 = k0.clone().xor(k1.clone()).xor_constant(PARITY);
    let keys = [k0, k1, k2];
    let [mut a, mut b] = counter;
    a = a.add(keys[0].clone());
    b = b.add(keys[1].clone());
    for injection in 1..=5u32 {
        for rotation in ROTATIONS[(injection as usize + 1) % 2] {
            a = a.add(b.clone());
            b = b.rotate_left(rotation).xor(a.clone());
        }
        let index = injection as usize;
        a = a.add(keys[index % 3].clone());
        b = b.add(keys[(index + 1) % 3].clone()).add_constant(injection);
    }
    [a, b]
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

    /// The known-answer vectors of the authors' reference implementation (Random123, `threefry2x32 20`).
    #[test]
    fn known_answers() {
        let cases = [
            ([0, 0], [0, 0], [0x6b20_0159, 0x99ba_4efe]),
            ([u32::MAX; 2], [u32::MAX; 2], [0x1cb9_96fc, 0xbb00_2be7]),
            ([0x1319_8a2e, 0x0370_7344], [0x243f_6a88, 0x85a3_08d3], [0xc492_3a9c, 0x483d_f7a0]),
        ];
        for (key, counter, expected) in cases {
            assert_eq!(threefry(key, counter), expected);
        }
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
        // Independent fair coins agree half the time, within 5 standard deviations.
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
        fn batches_chunks_and_widths_change_nothing(seed: u64, split in 1u32..9, width in 1usize..70, rate in 0.0f64..0.99) {
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
