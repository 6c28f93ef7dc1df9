//! Tiles of a matrix as columns, in the vectors of the machine.

use core::ops::Range;

use super::tiles::Instructions;
use crate::product::Matrix;

/// Rows and columns that are turned at a time: one cache line of each.
pub(super) const TILE: usize = 16;

/// Where turned numbers go: the first, and the distance of rows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Turned {
    pub(super) first: *mut f32,
    pub(super) stride: usize,
}

/// Whether some rows follow each other, if there are any.
fn follow_each_other(rows: &[usize]) -> Option<Range<usize>> {
    let (first, last) = (*rows.first()?, *rows.last()?);
    (last + 1 - first == rows.len()).then_some(first..last + 1)
}

/// [`turn_tile`] of rows that need not follow each other, of which there are at most a tile's.
///
/// # Safety
/// As [`turn_tile`].
#[allow(unsafe_code, reason = "tiles are pointers into both matrices")]
pub(super) unsafe fn turn_rows(with: Instructions, from: Matrix, rows: &[usize], columns: Range<usize>, to: Turned) {
    if let Some(rows) = follow_each_other(rows) {
        // SAFETY: as promised by the caller.
        return unsafe { turn_tile(with, from, rows, columns, to) };
    }
    let [apart, step] = from.strides();
    let mut near = [0.0; TILE * TILE];
    for (row, near) in rows.iter().zip(near.chunks_exact_mut(TILE)) {
        let from = &from.data()[row * apart + columns.start * step..];
        near[..columns.len()].iter_mut().enumerate().for_each(|(column, to)| *to = from[column * step]);
    }
    let near = Matrix::new(&near, [TILE, TILE], [TILE, 1]);
    // SAFETY: as promised by the caller.
    unsafe { turn_tile(with, near, 0..rows.len(), 0..columns.len(), to) };
}

/// The reverse of [`turn_rows`]: columns of a matrix become rows of the target that need not follow each other, counted from its first.
///
/// # Safety
/// As [`turn_tile`], for these rows of the target.
#[allow(unsafe_code, reason = "tiles are pointers into both matrices")]
pub(super) unsafe fn turn_to_rows(
    with: Instructions,
    from: Matrix,
    [turned, columns]: [Range<usize>; 2],
    rows: &[usize],
    to: Turned,
) {
    let Turned { first, stride } = to;
    if let Some(rows) = follow_each_other(rows) {
        let to = Turned { first: first.wrapping_add(rows.start * stride), stride };
        // SAFETY: as promised by the caller.
        return unsafe { turn_tile(with, from, turned, columns, to) };
    }
    let (mut near, across) = ([0.0; TILE * TILE], turned.len());
    let to = Turned { first: near.as_mut_ptr(), stride: TILE };
    // SAFETY: there is room for a tile, whose rows are copied to rows to which the caller promised access.
    unsafe {
        turn_tile(with, from, turned, columns, to);
        for (row, near) in rows.iter().zip(near.chunks_exact(TILE)) {
            first.add(row * stride).copy_from_nonoverlapping(near.as_ptr(), across);
        }
    }
}

/// Writes at most a tile's rows and columns of a matrix as columns and rows: element `(row, column)` of these ranges goes to
/// `column · stride + row` from the first on, both counted from the ranges' starts.
///
/// # Safety
/// The ranges are within the matrix and have at most [`TILE`] elements. There is exclusive access to the target's elements. The machine has the instructions.
#[allow(unsafe_code, reason = "tiles are pointers into both matrices")]
unsafe fn turn_tile(with: Instructions, from: Matrix, rows: Range<usize>, columns: Range<usize>, to: Turned) {
    let [apart, step] = from.strides();
    let (down, across) = (rows.len(), columns.len());
    if with == Instructions::Avx512 && step == 1 && [down, across] == [TILE; 2] {
        let near = &from.data()[rows.start * apart + columns.start..][..(TILE - 1) * apart + TILE];
        // SAFETY: the slice has a tile of rows that are `apart`; the target is as promised by the caller.
        unsafe { whole(near.as_ptr(), apart, to) };
        return;
    }
    let mut tile = [[0.0; TILE]; TILE];
    for (row, tile) in rows.zip(&mut tile) {
        let from = &from.data()[row * apart + columns.start * step..];
        if step == 1 && across == TILE {
            *tile = core::array::from_fn(|column| from[column]);
        } else {
            tile[..across].iter_mut().enumerate().for_each(|(column, to)| *to = from[column * step]);
        }
    }
    let column = |column: usize| core::array::from_fn::<f32, TILE, _>(|row| tile[row][column]);
    for (number, numbers) in (0..across).map(column).enumerate() {
        // SAFETY: as promised by the caller.
        unsafe { to.first.add(number * to.stride).copy_from_nonoverlapping(numbers.as_ptr(), down) };
    }
}

/// # Safety
/// As [`turn_tile`], for a whole tile of rows that are `apart`, on a machine with these instructions.
#[allow(unsafe_code, reason = "vectors are loaded from pointers")]
#[target_feature(enable = "avx512f")]
unsafe fn whole(from: *const f32, apart: usize, to: Turned) {
    use core::arch::x86_64::*;

    // SAFETY: as promised by the caller.
    unsafe {
        let mut rows = [_mm512_setzero_ps(); TILE];
        for (row, numbers) in rows.iter_mut().enumerate() {
            *numbers = _mm512_loadu_ps(from.add(row * apart));
        }
        // Each pair of numbers of two rows next to each other, then each four of four rows.
        let mut pairs = rows;
        for at in (0..TILE).step_by(2) {
            pairs[at] = _mm512_unpacklo_ps(rows[at], rows[at + 1]);
            pairs[at + 1] = _mm512_unpackhi_ps(rows[at], rows[at + 1]);
        }
        let mut fours = pairs;
        for at in (0..TILE).step_by(4) {
            for side in 0..2 {
                let (low, high) = (_mm512_castps_pd(pairs[at + side]), _mm512_castps_pd(pairs[at + side + 2]));
                fours[at + 2 * side] = _mm512_castpd_ps(_mm512_unpacklo_pd(low, high));
                fours[at + 2 * side + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low, high));
            }
        }
        // A vector has four of these: those of all rows, by halves.
        let mut eights = fours;
        for at in [0, 1, 2, 3, 8, 9, 10, 11] {
            eights[at] = _mm512_shuffle_f32x4::<0x88>(fours[at], fours[at + 4]);
            eights[at + 4] = _mm512_shuffle_f32x4::<0xdd>(fours[at], fours[at + 4]);
        }
        for at in 0..TILE / 2 {
            let columns = [
                _mm512_shuffle_f32x4::<0x88>(eights[at], eights[at + 8]),
                _mm512_shuffle_f32x4::<0xdd>(eights[at], eights[at + 8]),
            ];
            for (half, numbers) in columns.into_iter().enumerate() {
                _mm512_storeu_ps(to.first.add((half * TILE / 2 + at) * to.stride), numbers);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_number_is_turned_and_no_other_is_written(
            size in [1_usize..40, 1_usize..40],
            start in [0_usize..20, 0_usize..20],
            whole: bool,
            by_columns: bool,
        ) {
            let size = if whole { [40, 40] } else { size };
            let range = |axis: usize| {
                let start = start[axis].min(size[axis] - 1);
                start..size[axis].min(start + TILE)
            };
            let (rows, columns) = (range(0), range(1));
            let numbers: Vec<f32> = (0..size[0] * size[1]).map(|at| at as f32).collect();
            let strides = if by_columns { [1, size[0]] } else { [size[1], 1] };
            let matrix = Matrix::new(&numbers, size, strides);
            let mut expected = vec![-1.0; 20 * TILE];
            for (down, row) in rows.clone().enumerate() {
                for (across, column) in columns.clone().enumerate() {
                    expected[across * 20 + down] = (row * strides[0] + column * strides[1]) as f32;
                }
            }
            for with in Instructions::all() {
                let mut found = vec![-1.0; 20 * TILE];
                let to = Turned { first: found.as_mut_ptr(), stride: 20 };
                // SAFETY: the target has room for a tile of rows that are 20 apart.
                #[allow(unsafe_code, reason = "a tile is turned to a pointer")]
                unsafe {
                    turn_tile(with, matrix, rows.clone(), columns.clone(), to);
                }
                prop_assert_eq!(&found, &expected);
            }
        }

        #[test]
        fn rows_with_gaps_are_turned_and_turned_back(
            rows in prop::collection::btree_set(0_usize..40, 1..=TILE), start in 0_usize..20, across in 1_usize..=TILE,
        ) {
            let rows: Vec<usize> = rows.into_iter().collect();
            let numbers: Vec<f32> = (0..40 * 36).map(|at| at as f32).collect();
            let matrix = Matrix::new(&numbers, [40, 36], [36, 1]);
            for with in Instructions::all() {
                let (mut turned, mut back) = (vec![-1.0; TILE * TILE], vec![-1.0; 40 * 36]);
                let columns = start..start + across;
                // SAFETY: there is room for a tile, and the rows are within the target.
                #[allow(unsafe_code, reason = "tiles are turned to pointers")]
                unsafe {
                    turn_rows(with, matrix, &rows, columns.clone(), Turned { first: turned.as_mut_ptr(), stride: TILE });
                    let turned = Matrix::new(&turned, [TILE, TILE], [TILE, 1]);
                    let to = Turned { first: back.as_mut_ptr().add(start), stride: 36 };
                    turn_to_rows(with, turned, [0..across, 0..rows.len()], &rows, to);
                }
                for (at, (found, own)) in back.iter().zip(&numbers).enumerate() {
                    let is_turned = rows.contains(&(at / 36)) && columns.contains(&(at % 36));
                    prop_assert_eq!(*found, if is_turned { *own } else { -1.0 });
                }
            }
        }
    }
}
