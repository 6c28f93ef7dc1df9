//! Small numbers packed into words.

/// Numbers of `bits` bits, from the lowest bit of the first byte up, without gaps.
#[derive(Debug, Clone, Copy)]
pub(super) struct Codes<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) bits: usize,
}

impl Codes<'_> {
    /// The number at an index.
    pub(super) fn at(self, index: usize) -> u32 {
        let bit = index * self.bits;
        let byte = |at: usize| u32::from(self.bytes.get(bit / 8 + at).copied().unwrap_or(0));
        // At most 8 bits, so two bytes have them all.
        (byte(0) | byte(1) << 8) >> (bit % 8) & ((1 << self.bits) - 1)
    }
}

/// Numbers of `bits` bits down the columns of a matrix of words with `columns` columns: each column is a sequence of bits, from the lowest bit
/// of its first word up.
#[derive(Debug, Clone, Copy)]
pub(super) struct ColumnCodes<'a> {
    pub(super) words: &'a [u32],
    pub(super) columns: usize,
    pub(super) bits: usize,
}

impl ColumnCodes<'_> {
    /// The number at an index of a column.
    pub(super) fn at(self, index: usize, column: usize) -> u32 {
        let bit = index * self.bits;
        let (word, shift) = (bit / 32, bit % 32);
        let get = |word: usize| u64::from(self.words.get(word * self.columns + column).copied().unwrap_or(0));
        let next = if shift + self.bits > 32 { get(word + 1) } else { 0 };
        ((get(word) | next << 32) >> shift) as u32 & ((1 << self.bits) - 1)
    }
}

/// Fills a matrix whose source is stored column by column: a few rows at a time, so that both sides stay in the cache.
pub(super) fn transposed(rows: usize, columns: usize, value: impl Fn(usize, usize) -> f32) -> Vec<f32> {
    const TILE: usize = 32;
    let mut values = vec![0.0; rows * columns];
    for (tile, part) in values.chunks_mut((TILE * columns).max(1)).enumerate() {
        for column in 0..columns {
            for (row, target) in part.iter_mut().skip(column).step_by(columns).enumerate() {
                *target = value(tile * TILE + row, column);
            }
        }
    }
    values
}

/// The eight sizes of 4-bit floats with 2 bits of exponent and 1 of fraction, then the same below zero.
pub(super) const E2M1: [f32; 16] =
    [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0];

/// The value of a 4-bit float.
pub(super) fn e2m1(code: u8) -> f32 {
    E2M1.get(usize::from(code & 15)).copied().unwrap_or(0.0)
}
