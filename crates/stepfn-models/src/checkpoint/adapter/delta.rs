//! The change of one weight: a product of two thin matrices.

use crate::checkpoint::stored::{Stored, StoredEntry};

/// `scale · b a`, or its transpose.
#[derive(Debug)]
pub(super) struct Delta {
    /// `[rank, in]`.
    a: StoredEntry,
    /// `[out, rank]`.
    b: StoredEntry,
    scale: f32,
    is_turned: bool,
    rank: usize,
    inputs: usize,
    outputs: usize,
}

impl Delta {
    /// The change of a weight of this shape; `None` if it doesn't fit. A weight that isn't square says itself whether it is stored as
    /// `[in, out]`; for others, `is_turned` does.
    pub(super) fn of([a, b]: [&StoredEntry; 2], shape: &[usize], is_turned: bool, scale: f32) -> Option<Self> {
        let (&[rank, inputs], &[outputs, same]) = (a.shape.as_slice(), b.shape.as_slice()) else { return None };
        let are_floats = [a, b].iter().all(|entry| entry.element().is_some_and(|element| element.is_float()));
        let is_turned = match *shape {
            [rows, columns] if rows == columns => is_turned,
            _ => shape == [inputs, outputs],
        };
        let fits = shape == if is_turned { [inputs, outputs] } else { [outputs, inputs] };
        if rank != same || !fits || !are_floats {
            return None;
        }
        Some(Self { a: a.clone(), b: b.clone(), scale, is_turned, rank, inputs, outputs })
    }

    /// Adds the change to a weight's values.
    pub(super) fn add_to(&self, values: &mut [f32], stored: &Stored) {
        let floats = |entry: &StoredEntry| {
            entry.element().and_then(|element| element.to_f32(&stored.bytes(entry))).unwrap_or_default()
        };
        let (a, b) = (floats(&self.a), floats(&self.b));
        let (a, b) = match self.is_turned {
            false => (a, b),
            true => (turned(&b, self.outputs, self.rank), turned(&a, self.rank, self.inputs)),
        };
        let columns = if self.is_turned { self.outputs } else { self.inputs };
        let rows = values.chunks_exact_mut(columns.max(1)).zip(b.chunks_exact(self.rank.max(1)));
        for (values, factors) in rows {
            for (factor, row) in factors.iter().zip(a.chunks_exact(columns.max(1))) {
                let factor = factor * self.scale;
                values.iter_mut().zip(row).for_each(|(value, change)| *value += factor * change);
            }
        }
    }
}

/// The transpose of a matrix.
fn turned(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    (0..columns).flat_map(|column| values.iter().skip(column).step_by(columns.max(1)).take(rows).copied()).collect()
}
