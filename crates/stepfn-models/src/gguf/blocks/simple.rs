//! Plain numbers, and blocks with one scale:
//!
//! | type | elements per block | value |
//! |---|---|---|
//! | Q8_0 | 32 | `d q`, with 8-bit q |
//! | Q4_0, Q5_0 | 32 | `d (q − 8)`, `d (q − 16)` |
//! | Q4_1, Q5_1 | 32 | `d q + m` |
//! | IQ4_NL | 32 | `d c(q)`, with 16 unevenly spaced numbers c |
//! | MXFP4 | 32 | the same with 4-bit floats, and a power of two as the scale |
//! | NVFP4 | 64 in 4 parts | the same with an 8-bit float as the scale of each part |

use burn::tensor::{bf16, f16};

use super::{double_word, each, half};

pub(super) fn f32(bytes: &[u8], values: &mut Vec<f32>) {
    each(bytes, |block| values.push(f32::from_le_bytes(*block)));
}

pub(super) fn f16(bytes: &[u8], values: &mut Vec<f32>) {
    each(bytes, |block| values.push(f16::from_le_bytes(*block).to_f32()));
}

pub(super) fn bf16(bytes: &[u8], values: &mut Vec<f32>) {
    each(bytes, |block| values.push(bf16::from_le_bytes(*block).to_f32()));
}

pub(super) fn f64(bytes: &[u8], values: &mut Vec<f32>) {
    each(bytes, |block| values.push(f64::from_le_bytes(*block) as f32));
}

pub(super) fn i8(bytes: &[u8], values: &mut Vec<f32>) {
    each(bytes, |block| values.push(f32::from(i8::from_le_bytes(*block))));
}

pub(super) fn i16(bytes: &[u8], values: &mut Vec<f32>) {
    each(bytes, |block| values.push(f32::from(i16::from_le_bytes(*block))));
}

pub(super) fn i32(bytes: &[u8], values: &mut Vec<f32>) {
    each(bytes, |block| values.push(i32::from_le_bytes(*block) as f32));
}

pub(super) fn i64(bytes: &[u8], values: &mut Vec<f32>) {
    each(bytes, |block| values.push(i64::from_le_bytes(*block) as f32));
}

pub(super) fn q8_0(bytes: &[u8], values: &mut Vec<f32>) {
    each::<34>(bytes, |block| {
        let scale = half(block, 0);
        values.extend(block[2..].iter().map(|&q| scale * f32::from(q as i8)));
    });
}

pub(super) fn q4_0(bytes: &[u8], values: &mut Vec<f32>) {
    each::<18>(bytes, |block| nibbles(&block[2..], values, half(block, 0), -8.0 * half(block, 0)));
}

pub(super) fn q4_1(bytes: &[u8], values: &mut Vec<f32>) {
    each::<20>(bytes, |block| nibbles(&block[4..], values, half(block, 0), half(block, 2)));
}

pub(super) fn q5_0(bytes: &[u8], values: &mut Vec<f32>) {
    each::<22>(bytes, |block| {
        let scale = half(block, 0);
        five_bits(&block[6..], double_word(block, 2), values, scale, -16.0 * scale);
    });
}

pub(super) fn q5_1(bytes: &[u8], values: &mut Vec<f32>) {
    each::<24>(bytes, |block| {
        five_bits(&block[8..], double_word(block, 4), values, half(block, 0), half(block, 2));
    });
}

/// `scale q + offset`: the low nibbles of all bytes, then the high ones.
fn nibbles(bytes: &[u8], values: &mut Vec<f32>, scale: f32, offset: f32) {
    values.extend(bytes.iter().map(|byte| scale * f32::from(byte & 15) + offset));
    values.extend(bytes.iter().map(|byte| scale * f32::from(byte >> 4) + offset));
}

/// The same with a fifth bit for each element.
fn five_bits(bytes: &[u8], fifth: u32, values: &mut Vec<f32>, scale: f32, offset: f32) {
    let low = bytes.iter().map(|byte| byte & 15).chain(bytes.iter().map(|byte| byte >> 4));
    let whole = low.enumerate().map(|(i, low)| low | ((fifth >> i & 1) as u8) << 4);
    values.extend(whole.map(|q| scale * f32::from(q) + offset));
}

/// The 16 values of `IQ4_NL` and `IQ4_XS`.
pub(super) const UNEVEN: [f32; 16] =
    [-127.0, -104.0, -83.0, -65.0, -49.0, -35.0, -22.0, -10.0, 1.0, 13.0, 25.0, 38.0, 53.0, 69.0, 89.0, 113.0];

/// Twice the 4-bit floats: a sign, two bits of exponent, one of mantissa (E2M1).
const FLOATS: [f32; 16] = [0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 0.0, -1.0, -2.0, -3.0, -4.0, -6.0, -8.0, -12.0];

/// `scale c(q)`: the low nibbles of all bytes, then the high ones.
pub(super) fn looked_up(bytes: &[u8], values: &mut Vec<f32>, scale: f32, table: &[f32; 16]) {
    values.extend(bytes.iter().map(|byte| scale * table[usize::from(byte & 15)]));
    values.extend(bytes.iter().map(|byte| scale * table[usize::from(byte >> 4)]));
}

pub(super) fn iq4_nl(bytes: &[u8], values: &mut Vec<f32>) {
    each::<18>(bytes, |block| looked_up(&block[2..], values, half(block, 0), &UNEVEN));
}

pub(super) fn mxfp4(bytes: &[u8], values: &mut Vec<f32>) {
    each::<17>(bytes, |block| looked_up(&block[1..], values, half_power(block[0]), &FLOATS));
}

/// 2 to the power of `exponent − 128`, which is no normal number for 0 and 1.
fn half_power(exponent: u8) -> f32 {
    f32::from_bits(if exponent < 2 { 1 << (21 + exponent) } else { u32::from(exponent - 1) << 23 })
}

pub(super) fn nvfp4(bytes: &[u8], values: &mut Vec<f32>) {
    each::<36>(bytes, |block| {
        for (scale, part) in block[..4].iter().zip(block[4..].as_chunks::<8>().0) {
            looked_up(part, values, 0.5 * unsigned_float(*scale), &FLOATS);
        }
    });
}

/// An 8-bit float whose sign does not count (UE4M3). Its only NaN is read as 0.
fn unsigned_float(byte: u8) -> f32 {
    let (exponent, mantissa) = (i32::from(byte >> 3 & 15), f32::from(byte & 7));
    match (byte, exponent) {
        (0x7F, _) => 0.0,
        (_, 0) => mantissa / 512.0,
        _ => (1.0 + mantissa / 8.0) * 2.0_f32.powi(exponent - 7),
    }
}
