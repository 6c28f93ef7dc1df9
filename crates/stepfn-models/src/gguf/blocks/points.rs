//! Blocks of 256 elements that are taken eight or four at a time from a table of points, usually with a sign for each element:
//!
//! | type | elements of a point | points | value |
//! |---|---|---|---|
//! | IQ2_XXS, IQ2_XS, IQ2_S | 8 | 256, 512, 1024 | `± d (s + ½) p / 4`, with 4-bit s per 32 or 16 elements |
//! | IQ3_XXS | 4 | 256 | `± d (s + ½) p / 2`, with 4-bit s per 32 elements |
//! | IQ3_S | 4 | 512 | `± d (2 s + 1) p`, with 4-bit s per 32 elements |
//! | IQ1_S, IQ1_M | 8 | 2048 | `d (2 s + 1) (p ± ⅛)`, with 3-bit s per 32 or 16 elements |
//!
//! ggml chose the points by experiment, so they can only be listed. `points.bin` has them as `tests/goldens/gguf/make.py` writes them: 16
//! bits each, two for an element of eight or four for one of four, the first in the lowest bits.

use super::{double_word, fill, half, half_precision, nibble, word};

static POINTS: &[u8; 2 * (256 + 512 + 1024 + 256 + 512 + 2048)] = include_bytes!("points.bin");

/// A table of points: its place among all, and the value of each code.
struct Table<const CODES: usize> {
    start: usize,
    values: [f32; CODES],
}

const IQ2: [f32; 4] = [8.0, 25.0, 43.0, 0.0];
const IQ2_XXS: Table<4> = Table { start: 0, values: IQ2 };
const IQ2_XS: Table<4> = Table { start: 256, values: IQ2 };
const IQ2_S: Table<4> = Table { start: 768, values: IQ2 };
const IQ3_XXS: Table<8> = Table { start: 1792, values: [4.0, 12.0, 20.0, 28.0, 36.0, 44.0, 52.0, 62.0] };
const IQ3_S: Table<8> = Table { start: 2048, values: [1.0, 3.0, 5.0, 7.0, 9.0, 11.0, 13.0, 15.0] };
const IQ1: Table<4> = Table { start: 2560, values: [-1.0, 0.0, 1.0, 0.0] };

impl<const CODES: usize> Table<CODES> {
    /// The elements of a point. `index` must be below the number of points.
    #[inline(always)]
    fn point(&self, index: usize) -> impl Iterator<Item = f32> {
        let codes = usize::from(word(POINTS, 2 * (self.start + index)));
        let elements = if CODES == 4 { 8 } else { 4 };
        (0..elements).map(move |i| self.values[codes >> (16 / elements * i) & (CODES - 1)])
    }
}

/// Writes the scaled elements of a point, negated where `signs` has a bit.
#[inline(always)]
fn signed(point: impl Iterator<Item = f32>, scale: f32, signs: u8, values: &mut [f32]) {
    fill(values, point.enumerate().map(|(i, p)| if signs >> i & 1 == 1 { -(scale * p) } else { scale * p }));
}

/// Eight signs from seven: the number of negative ones is even.
#[inline(always)]
fn even(signs: u32) -> u8 {
    let signs = (signs & 127) as u8;
    signs | ((signs.count_ones() & 1) as u8) << 7
}

#[inline(always)]
pub(super) fn iq2_xxs(block: &[u8; 66], values: &mut [f32; 256]) {
    let groups = block[2..].as_chunks::<8>().0.iter().zip(values.as_chunks_mut::<32>().0);
    for (group, values) in groups {
        let rest = double_word(group, 4);
        let scale = half(block, 0) * (0.5 + (rest >> 28) as f32) * 0.25;
        for (i, (index, values)) in group[..4].iter().zip(values.as_chunks_mut::<8>().0).enumerate() {
            signed(IQ2_XXS.point(usize::from(*index)), scale, even(rest >> (7 * i)), values);
        }
    }
}

#[inline(always)]
pub(super) fn iq2_xs(block: &[u8; 74], values: &mut [f32; 256]) {
    for (i, values) in values.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let packed = word(block, 2 + 2 * i);
        let scale = half(block, 0) * (0.5 + f32::from(nibble(&block[66..], i / 2))) * 0.25;
        signed(IQ2_XS.point(usize::from(packed & 511)), scale, even(u32::from(packed >> 9)), values);
    }
}

#[inline(always)]
pub(super) fn iq2_s(block: &[u8; 82], values: &mut [f32; 256]) {
    let (low, signs, high, scales) = (&block[2..34], &block[34..66], &block[66..74], &block[74..]);
    for (i, values) in values.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let index = usize::from(low[i]) | usize::from(high[i / 4] >> (2 * (i % 4)) & 3) << 8;
        let scale = half(block, 0) * (0.5 + f32::from(nibble(scales, i / 2))) * 0.25;
        signed(IQ2_S.point(index), scale, signs[i], values);
    }
}

#[inline(always)]
pub(super) fn iq3_xxs(block: &[u8; 98], values: &mut [f32; 256]) {
    let pairs = block[2..66].as_chunks::<2>().0.iter().zip(values.as_chunks_mut::<8>().0);
    for (i, (pair, values)) in pairs.enumerate() {
        let rest = double_word(block, 66 + 4 * (i / 4));
        let scale = half(block, 0) * (0.5 + (rest >> 28) as f32) * 0.5;
        let elements = pair.iter().flat_map(|index| IQ3_XXS.point(usize::from(*index)));
        signed(elements, scale, even(rest >> (7 * (i % 4))), values);
    }
}

#[inline(always)]
pub(super) fn iq3_s(block: &[u8; 110], values: &mut [f32; 256]) {
    let (low, high, signs, scales) = (&block[2..66], &block[66..74], &block[74..106], &block[106..]);
    for (i, (sign, values)) in signs.iter().zip(values.as_chunks_mut::<8>().0).enumerate() {
        let scale = half(block, 0) * f32::from(1 + 2 * nibble(scales, i / 4));
        let index = |j: usize| usize::from(low[j]) | usize::from(high[j / 8] >> (j % 8) & 1) << 8;
        signed([2 * i, 2 * i + 1].into_iter().flat_map(|j| IQ3_S.point(index(j))), scale, *sign, values);
    }
}

/// Writes the scaled elements of a point that is moved by an eighth, down if `below`.
#[inline(always)]
fn moved(index: usize, scale: f32, below: bool, values: &mut [f32]) {
    let by = if below { -0.125 } else { 0.125 };
    fill(values, IQ1.point(index).map(|p| scale * (p + by)));
}

#[inline(always)]
pub(super) fn iq1_s(block: &[u8; 50], values: &mut [f32; 256]) {
    for (i, (low, values)) in block[2..34].iter().zip(values.as_chunks_mut::<8>().0).enumerate() {
        let rest = word(block, 34 + 2 * (i / 4));
        let scale = half(block, 0) * f32::from(2 * (rest >> 12 & 7) + 1);
        let index = usize::from(*low) | usize::from(rest >> (3 * (i % 4)) & 7) << 8;
        moved(index, scale, rest >> 15 == 1, values);
    }
}

#[inline(always)]
pub(super) fn iq1_m(block: &[u8; 56], values: &mut [f32; 256]) {
    // The upper four bits of each word of scales are the common scale, lowest first.
    let common = (0..4).map(|i| word(block, 48 + 2 * i) >> 12 << (4 * i)).fold(0, |all, bits| all | bits);
    let common = half_precision(common);
    for (i, (low, values)) in block[..32].iter().zip(values.as_chunks_mut::<8>().0).enumerate() {
        let group = i / 2;
        let scale = common * f32::from(2 * (word(block, 48 + 2 * (group / 4)) >> (3 * (group % 4)) & 7) + 1);
        let rest = nibble(&block[32..48], i);
        moved(usize::from(*low) | usize::from(rest & 7) << 8, scale, rest & 8 != 0, values);
    }
}
