//! Blocks of 256 elements in groups:
//!
//! | type | groups | value |
//! |---|---|---|
//! | Q2_K | 16 | `d s q − m o`, with 4-bit s and o per group |
//! | Q3_K | 16 | `d (s − 32) (q − 4)`, with 6-bit s per group |
//! | Q4_K, Q5_K | 8 | `d s q − m o`, with 6-bit s and o per group |
//! | Q6_K | 16 | `d s (q − 32)`, with 8-bit s per group |
//! | Q8_K | | `d q`, with 8-bit q and 32-bit d |
//! | IQ4_XS | 8 | `d (s − 32) c(q)`, with 6-bit s per group and c as in IQ4_NL |
//! | TQ1_0, TQ2_0 | | `d (q − 1)`, with q from 0 to 2, five in a byte or four |

use super::simple::{UNEVEN, looked_up};
use super::{fill, half, nibble, word};

/// Two bits of each of 32 bytes, and the next two of each, and so on; `q(i)` for the 128 elements of half a block.
#[inline(always)]
fn two_bits(bytes: &[u8], i: usize) -> u8 {
    bytes[i % 32] >> (2 * (i / 32)) & 3
}

#[inline(always)]
pub(super) fn q2_k(block: &[u8; 84], values: &mut [f32; 256]) {
    let (scales, quants, scale, offset) = (&block[..16], &block[16..80], half(block, 80), half(block, 82));
    for (group, (packed, values)) in scales.iter().zip(values.as_chunks_mut::<16>().0).enumerate() {
        let (scale, offset) = (scale * f32::from(packed & 15), offset * f32::from(packed >> 4));
        let quants = &quants[32 * (group / 8)..];
        let at = 16 * (group % 8);
        fill(values, (at..at + 16).map(|i| scale * f32::from(two_bits(quants, i)) - offset));
    }
}

#[inline(always)]
pub(super) fn q3_k(block: &[u8; 110], values: &mut [f32; 256]) {
    let (high, quants, packed, scale) = (&block[..32], &block[32..96], &block[96..108], half(block, 108));
    for (group, values) in values.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        // Four bits of groups 0 to 7 below four bits of groups 8 to 15; then two bits of groups 0 to 3, of 4 to 7, and so on.
        let s = packed[group % 8] >> (4 * (group / 8)) & 15 | (packed[8 + group % 4] >> (2 * (group / 4)) & 3) << 4;
        let scale = scale * (f32::from(s) - 32.0);
        let (half, at) = (group / 8, 16 * (group % 8));
        let value = |i: usize| {
            let third = high[i % 32] >> (4 * half + i / 32) & 1;
            scale * (f32::from(two_bits(&quants[32 * half..], i) | third << 2) - 4.0)
        };
        fill(values, (at..at + 16).map(value));
    }
}

/// The 6-bit scale and offset of a group of Q4_K or Q5_K.
#[inline(always)]
fn scale_and_offset(packed: &[u8], group: usize) -> (f32, f32) {
    // The bits of groups 0 to 3 are contiguous. Those of groups 4 to 7 are split into 4 and 2, with the 2 stored above the others.
    let (scale, offset) = match group {
        0..4 => (packed[group] & 63, packed[group + 4] & 63),
        _ => (packed[group + 4] & 15 | packed[group - 4] >> 6 << 4, packed[group + 4] >> 4 | packed[group] >> 6 << 4),
    };
    (f32::from(scale), f32::from(offset))
}

#[inline(always)]
pub(super) fn q4_k(block: &[u8; 144], values: &mut [f32; 256]) {
    let (scale, offset) = (half(block, 0), half(block, 2));
    let pairs = block[16..].as_chunks::<32>().0.iter().zip(values.as_chunks_mut::<64>().0);
    for (pair, (quants, values)) in pairs.enumerate() {
        let (low, high) = values.split_at_mut(32);
        let (s, o) = scale_and_offset(&block[4..16], 2 * pair);
        fill(low, quants.iter().map(|byte| scale * s * f32::from(byte & 15) - offset * o));
        let (s, o) = scale_and_offset(&block[4..16], 2 * pair + 1);
        fill(high, quants.iter().map(|byte| scale * s * f32::from(byte >> 4) - offset * o));
    }
}

#[inline(always)]
pub(super) fn q5_k(block: &[u8; 176], values: &mut [f32; 256]) {
    let (scale, offset) = (half(block, 0), half(block, 2));
    for (group, values) in values.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (s, o) = scale_and_offset(&block[4..16], group);
        let (scale, offset) = (scale * s, offset * o);
        let quants = &block[48 + 32 * (group / 2)..][..32];
        let value = |(byte, fifth): (&u8, &u8)| {
            let q = byte >> (4 * (group % 2)) & 15 | (fifth >> group & 1) << 4;
            scale * f32::from(q) - offset
        };
        fill(values, quants.iter().zip(&block[16..48]).map(value));
    }
}

#[inline(always)]
pub(super) fn q6_k(block: &[u8; 210], values: &mut [f32; 256]) {
    let scale = half(block, 208);
    for (group, values) in values.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        // Half a block has two bits of each element in 32 bytes, and the other four in 64: of its elements 0 to 63, then of 64 to 127.
        let (part, quarter, at) = (group / 8, group % 8 / 2, 16 * (group % 2));
        let low = &block[64 * part + 32 * (quarter % 2) + at..][..16];
        let high = &block[128 + 32 * part + at..][..16];
        let scale = scale * f32::from(block[192 + group] as i8);
        let value = |(low, high): (&u8, &u8)| {
            let quant = low >> (4 * (quarter / 2)) & 15 | (high >> (2 * quarter) & 3) << 4;
            scale * (f32::from(quant) - 32.0)
        };
        fill(values, low.iter().zip(high).map(value));
    }
}

#[inline(always)]
pub(super) fn q8_k(block: &[u8; 292], values: &mut [f32; 256]) {
    // The sums of the groups, after the elements, only speed up products.
    let scale = f32::from_le_bytes([block[0], block[1], block[2], block[3]]);
    fill(values, block[4..260].iter().map(|&q| scale * f32::from(q as i8)));
}

#[inline(always)]
pub(super) fn iq4_xs(block: &[u8; 136], values: &mut [f32; 256]) {
    let (scale, high) = (half(block, 0), word(block, 2));
    let groups = block[8..].as_chunks::<16>().0.iter().zip(values.as_chunks_mut::<32>().0);
    for (group, (quants, values)) in groups.enumerate() {
        let s = nibble(&block[4..8], group) | ((high >> (2 * group) & 3) as u8) << 4;
        looked_up(quants, values, scale * (f32::from(s) - 32.0), &UNEVEN);
    }
}

#[inline(always)]
pub(super) fn tq1_0(block: &[u8; 54], values: &mut [f32; 256]) {
    let (scale, mut at) = (half(block, 52), 0);
    // A byte is a fraction of 256 in base 3. Multiplied by a power of 3, it loses the digits before that one.
    for (part, digits) in [(&block[..32], 5), (&block[32..48], 5), (&block[48..52], 4)] {
        for power in [1_u8, 3, 9, 27, 81].iter().take(digits) {
            let digit = |byte: &u8| (u16::from(byte.wrapping_mul(*power)) * 3) >> 8;
            fill(&mut values[at..], part.iter().map(|byte| scale * (f32::from(digit(byte)) - 1.0)));
            at += part.len();
        }
    }
}

#[inline(always)]
pub(super) fn tq2_0(block: &[u8; 66], values: &mut [f32; 256]) {
    let scale = half(block, 64);
    for (quants, values) in block[..64].as_chunks::<32>().0.iter().zip(values.as_chunks_mut::<128>().0) {
        fill(values, (0..128).map(|i| scale * (f32::from(two_bits(quants, i)) - 1.0)));
    }
}
