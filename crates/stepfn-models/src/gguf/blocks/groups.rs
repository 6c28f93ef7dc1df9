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
use super::{each, half, nibble, word};

/// Two bits of each of 32 bytes, and the next two of each, and so on; `q(i)` for the 128 elements of half a block.
fn two_bits(bytes: &[u8], i: usize) -> u8 {
    bytes[i % 32] >> (2 * (i / 32)) & 3
}

pub(super) fn q2_k(bytes: &[u8], values: &mut Vec<f32>) {
    each::<84>(bytes, |block| {
        let (scales, quants, scale, offset) = (&block[..16], &block[16..80], half(block, 80), half(block, 82));
        for (group, packed) in scales.iter().enumerate() {
            let (scale, offset) = (scale * f32::from(packed & 15), offset * f32::from(packed >> 4));
            let quants = &quants[32 * (group / 8)..];
            let at = 16 * (group % 8);
            values.extend((at..at + 16).map(|i| scale * f32::from(two_bits(quants, i)) - offset));
        }
    });
}

pub(super) fn q3_k(bytes: &[u8], values: &mut Vec<f32>) {
    each::<110>(bytes, |block| {
        let (high, quants, packed, scale) = (&block[..32], &block[32..96], &block[96..108], half(block, 108));
        for group in 0..16 {
            // Four bits of groups 0 to 7 below four bits of groups 8 to 15; then two bits of groups 0 to 3, of 4 to 7, and so on.
            let s = packed[group % 8] >> (4 * (group / 8)) & 15 | (packed[8 + group % 4] >> (2 * (group / 4)) & 3) << 4;
            let scale = scale * (f32::from(s) - 32.0);
            let (half, at) = (group / 8, 16 * (group % 8));
            let value = |i: usize| {
                let third = high[i % 32] >> (4 * half + i / 32) & 1;
                scale * (f32::from(two_bits(&quants[32 * half..], i) | third << 2) - 4.0)
            };
            values.extend((at..at + 16).map(value));
        }
    });
}

/// The 6-bit scale and offset of a group of Q4_K or Q5_K.
fn scale_and_offset(packed: &[u8], group: usize) -> (f32, f32) {
    // The bits of groups 0 to 3 are contiguous. Those of groups 4 to 7 are split into 4 and 2, with the 2 stored above the others.
    let (scale, offset) = match group {
        0..4 => (packed[group] & 63, packed[group + 4] & 63),
        _ => (packed[group + 4] & 15 | packed[group - 4] >> 6 << 4, packed[group + 4] >> 4 | packed[group] >> 6 << 4),
    };
    (f32::from(scale), f32::from(offset))
}

pub(super) fn q4_k(bytes: &[u8], values: &mut Vec<f32>) {
    each::<144>(bytes, |block| {
        let (scale, offset) = (half(block, 0), half(block, 2));
        for group in 0..8 {
            let (s, o) = scale_and_offset(&block[4..16], group);
            let (scale, offset) = (scale * s, offset * o);
            let quants = &block[16 + 32 * (group / 2)..][..32];
            values.extend(quants.iter().map(|byte| scale * f32::from(byte >> (4 * (group % 2)) & 15) - offset));
        }
    });
}

pub(super) fn q5_k(bytes: &[u8], values: &mut Vec<f32>) {
    each::<176>(bytes, |block| {
        let (scale, offset) = (half(block, 0), half(block, 2));
        for group in 0..8 {
            let (s, o) = scale_and_offset(&block[4..16], group);
            let (scale, offset) = (scale * s, offset * o);
            let quants = &block[48 + 32 * (group / 2)..][..32];
            let value = |(byte, fifth): (&u8, &u8)| {
                let q = byte >> (4 * (group % 2)) & 15 | (fifth >> group & 1) << 4;
                scale * f32::from(q) - offset
            };
            values.extend(quants.iter().zip(&block[16..48]).map(value));
        }
    });
}

pub(super) fn q6_k(bytes: &[u8], values: &mut Vec<f32>) {
    each::<210>(bytes, |block| {
        let scale = half(block, 208);
        let (low, high, scales) = (&block[..128], &block[128..192], &block[192..208]);
        for part in 0..2 {
            let (low, high, scales) = (&low[64 * part..], &high[32 * part..], &scales[8 * part..]);
            for quarter in 0..4 {
                let value = |i: usize| {
                    let low = low[i + 32 * (quarter % 2)] >> (4 * (quarter / 2)) & 15;
                    let quant = low | (high[i] >> (2 * quarter) & 3) << 4;
                    scale * f32::from(scales[i / 16 + 2 * quarter] as i8) * (f32::from(quant) - 32.0)
                };
                values.extend((0..32).map(value));
            }
        }
    });
}

pub(super) fn q8_k(bytes: &[u8], values: &mut Vec<f32>) {
    // The sums of the groups, after the elements, only speed up products.
    each::<292>(bytes, |block| {
        let scale = f32::from_le_bytes([block[0], block[1], block[2], block[3]]);
        values.extend(block[4..260].iter().map(|&q| scale * f32::from(q as i8)));
    });
}

pub(super) fn iq4_xs(bytes: &[u8], values: &mut Vec<f32>) {
    each::<136>(bytes, |block| {
        let (scale, high) = (half(block, 0), word(block, 2));
        for (group, quants) in block[8..].as_chunks::<16>().0.iter().enumerate() {
            let s = nibble(&block[4..8], group) | ((high >> (2 * group) & 3) as u8) << 4;
            looked_up(quants, values, scale * (f32::from(s) - 32.0), &UNEVEN);
        }
    });
}

pub(super) fn tq1_0(bytes: &[u8], values: &mut Vec<f32>) {
    each::<54>(bytes, |block| {
        let scale = half(block, 52);
        // A byte is a fraction of 256 in base 3. Multiplied by a power of 3, it loses the digits before that one.
        for (part, digits) in [(&block[..32], 5), (&block[32..48], 5), (&block[48..52], 4)] {
            for power in [1_u8, 3, 9, 27, 81].iter().take(digits) {
                let digit = |byte: &u8| (u16::from(byte.wrapping_mul(*power)) * 3) >> 8;
                values.extend(part.iter().map(|byte| scale * (f32::from(digit(byte)) - 1.0)));
            }
        }
    });
}

pub(super) fn tq2_0(bytes: &[u8], values: &mut Vec<f32>) {
    each::<66>(bytes, |block| {
        let scale = half(block, 64);
        for quants in block[..64].as_chunks::<32>().0 {
            values.extend((0..128).map(|i| scale * (f32::from(two_bits(quants, i)) - 1.0)));
        }
    });
}
