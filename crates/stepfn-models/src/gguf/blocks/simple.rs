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

use super::{double_word, fill, half};

#[inline(always)]
pub(super) fn f32(block: &[u8; 4], values: &mut [f32; 1]) {
    *values = [f32::from_le_bytes(*block)];
}

#[inline(always)]
pub(super) fn f64(block: &[u8; 8], values: &mut [f32; 1]) {
    *values = [f64::from_le_bytes(*block) as f32];
}

#[inline(always)]
pub(super) fn i8(block: &[u8; 1], values: &mut [f32; 1]) {
    *values = [f32::from(i8::from_le_bytes(*block))];
}

#[inline(always)]
pub(super) fn i16(block: &[u8; 2], values: &mut [f32; 1]) {
    *values = [f32::from(i16::from_le_bytes(*block))];
}

#[inline(always)]
pub(super) fn i32(block: &[u8; 4], values: &mut [f32; 1]) {
    *values = [i32::from_le_bytes(*block) as f32];
}

#[inline(always)]
pub(super) fn i64(block: &[u8; 8], values: &mut [f32; 1]) {
    *values = [i64::from_le_bytes(*block) as f32];
}

#[inline(always)]
pub(super) fn q8_0(block: &[u8; 34], values: &mut [f32; 32]) {
    let scale = half(block, 0);
    fill(values, block[2..].iter().map(|&q| scale * f32::from(q as i8)));
}

#[inline(always)]
pub(super) fn q4_0(block: &[u8; 18], values: &mut [f32; 32]) {
    nibbles(&block[2..], values, half(block, 0), -8.0 * half(block, 0));
}

#[inline(always)]
pub(super) fn q4_1(block: &[u8; 20], values: &mut [f32; 32]) {
    nibbles(&block[4..], values, half(block, 0), half(block, 2));
}

#[inline(always)]
pub(super) fn q5_0(block: &[u8; 22], values: &mut [f32; 32]) {
    let scale = half(block, 0);
    five_bits(&block[6..], double_word(block, 2), values, scale, -16.0 * scale);
}

#[inline(always)]
pub(super) fn q5_1(block: &[u8; 24], values: &mut [f32; 32]) {
    five_bits(&block[8..], double_word(block, 4), values, half(block, 0), half(block, 2));
}

/// `scale q + offset`: the low nibbles of all bytes, then the high ones.
#[inline(always)]
fn nibbles(bytes: &[u8], values: &mut [f32], scale: f32, offset: f32) {
    let (low, high) = values.split_at_mut(bytes.len());
    fill(low, bytes.iter().map(|byte| scale * f32::from(byte & 15) + offset));
    fill(high, bytes.iter().map(|byte| scale * f32::from(byte >> 4) + offset));
}

/// The same with a fifth bit for each element.
#[inline(always)]
fn five_bits(bytes: &[u8], fifth: u32, values: &mut [f32], scale: f32, offset: f32) {
    let (low, high) = values.split_at_mut(bytes.len());
    let value = |i: usize, four: u8| scale * ((fifth >> i & 1) << 4 | u32::from(four)) as f32 + offset;
    fill(low, bytes.iter().enumerate().map(|(i, byte)| value(i, byte & 15)));
    fill(high, bytes.iter().enumerate().map(|(i, byte)| value(i + 16, byte >> 4)));
}

/// The 16 values of `IQ4_NL` and `IQ4_XS`.
pub(super) const UNEVEN: [f32; 16] =
    [-127.0, -104.0, -83.0, -65.0, -49.0, -35.0, -22.0, -10.0, 1.0, 13.0, 25.0, 38.0, 53.0, 69.0, 89.0, 113.0];

/// Twice the 4-bit floats: a sign, two bits of exponent, one of mantissa (E2M1).
const FLOATS: [f32; 16] = [0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 0.0, -1.0, -2.0, -3.0, -4.0, -6.0, -8.0, -12.0];

/// `scale c(q)`: the low nibbles of all bytes, then the high ones.
#[inline(always)]
pub(super) fn looked_up(bytes: &[u8], values: &mut [f32], scale: f32, table: &[f32; 16]) {
    let (low, high) = values.split_at_mut(bytes.len());
    fill(low, bytes.iter().map(|byte| scale * table[usize::from(byte & 15)]));
    fill(high, bytes.iter().map(|byte| scale * table[usize::from(byte >> 4)]));
}

#[inline(always)]
pub(super) fn iq4_nl(block: &[u8; 18], values: &mut [f32; 32]) {
    looked_up(&block[2..], values, half(block, 0), &UNEVEN);
}

#[inline(always)]
pub(super) fn mxfp4(block: &[u8; 17], values: &mut [f32; 32]) {
    looked_up(&block[1..], values, half_power(block[0]), &FLOATS);
}

/// 2 to the power of `exponent − 128`, which is no normal number for 0 and 1.
#[inline(always)]
fn half_power(exponent: u8) -> f32 {
    f32::from_bits(if exponent < 2 { 1 << (21 + exponent) } else { u32::from(exponent - 1) << 23 })
}

#[inline(always)]
pub(super) fn nvfp4(block: &[u8; 36], values: &mut [f32; 64]) {
    let parts = block[4..].as_chunks::<8>().0.iter().zip(values.as_chunks_mut::<16>().0);
    for (scale, (part, values)) in block[..4].iter().zip(parts) {
        looked_up(part, values, 0.5 * unsigned_float(*scale), &FLOATS);
    }
}

/// An 8-bit float whose sign does not count (UE4M3). Its only NaN is read as 0.
#[inline(always)]
fn unsigned_float(byte: u8) -> f32 {
    let (exponent, mantissa) = (i32::from(byte >> 3 & 15), f32::from(byte & 7));
    match (byte, exponent) {
        (0x7F, _) => 0.0,
        (_, 0) => mantissa / 512.0,
        _ => (1.0 + mantissa / 8.0) * 2.0_f32.powi(exponent - 7),
    }
}
