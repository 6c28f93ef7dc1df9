//! Threefry-2×32 with 20 rounds (Salmon et al. 2011, *Parallel random numbers: as easy as 1, 2, 3*): random words as a function of a key
//! and a counter. It uses only additions, rotations and exclusive-ors of 32-bit integers, here for integers and for integer tensors.

use burn::tensor::{DType, Int, Tensor, TensorData, backend::Backend};

/// The operations that Threefry needs on a 32-bit word or a tensor of words.
pub(crate) trait Word: Clone {
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

/// 32-bit words in an integer tensor of 32 or 64 bits. Only the low 32 bits count; in a wider type the others are kept at 0.
#[derive(Clone)]
pub(crate) struct Words<B: Backend>(Tensor<B, 2, Int>);

impl<B: Backend> Words<B> {
    pub(crate) fn new(words: Tensor<B, 2, Int>) -> Self {
        Self(words).wrap()
    }

    fn wrap(self) -> Self {
        match self.0.dtype() {
            DType::I64 | DType::U64 => Self(self.0.clone().bitwise_and(Self::constant(&self.0, 0xffff_ffff))),
            _ => self,
        }
    }

    /// A one-element tensor that broadcasts, with the element type of `like`.
    fn constant(like: &Tensor<B, 2, Int>, value: u32) -> Tensor<B, 2, Int> {
        let data = match like.dtype() {
            DType::I64 | DType::U64 => TensorData::new(vec![i64::from(value)], [1, 1]),
            _ => TensorData::new(vec![value as i32], [1, 1]),
        };
        Tensor::from_data(data, (&like.device(), like.dtype()))
    }

    /// Logical right shift: fills with zeros even if the integers are signed.
    fn shift_right(self, bits: u32) -> Tensor<B, 2, Int> {
        let shift = Self::constant(&self.0, bits);
        let mask = Self::constant(&self.0, u32::MAX >> bits);
        self.0.bitwise_right_shift(shift).bitwise_and(mask)
    }

    /// The high 24 bits, as numbers below 2²⁴.
    pub(crate) fn top_24_bits(self) -> Tensor<B, 2, Int> {
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

/// Threefry-2×32-20: two random words from a key and a counter.
#[inline(always)]
pub(crate) fn threefry<W: Word>(key: [W; 2], counter: [W; 2]) -> [W; 2] {
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

    /// Known-answer vectors of the authors' reference implementation (Random123, `threefry2x32 20`).
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
}
