//! The other factor of a product with [`Panels`](super::Panels), in the order in which tiles read it.

use core::ops::Range;

use rayon::prelude::*;

use super::PANEL;
use super::tiles::MOST_ROWS;
use crate::product::Matrix;

/// Greatest number of terms of a sum that stays in registers. What it reads of a panel fits a core's L2 cache.
const DEEPEST: usize = 1024;
/// Rows and columns that are turned at a time: one cache line of each.
pub(super) const TILE: usize = 16;
/// Elements from which several cores share the work.
const PARALLEL_MIN: usize = 1 << 17;

/// Parts of a sum of `depth` terms, of the same length but for the last.
pub(super) fn parts_of(depth: usize) -> impl Iterator<Item = Range<usize>> + Clone {
    let parts = depth.div_ceil(DEEPEST).max(1);
    let each = depth.div_ceil(parts).max(1);
    (0..depth).step_by(each).map(move |start| start..depth.min(start + each))
}

/// Rows, or what else is shared out, in groups of nearly the same size.
#[derive(Debug, Clone, Copy)]
pub(super) struct Groups {
    rows: usize,
    count: usize,
}

impl Groups {
    /// As few groups as possible of at most so many rows.
    pub(super) fn new(rows: usize, most: usize) -> Self {
        Self { rows, count: rows.div_ceil(most) }
    }

    /// So many groups.
    pub(super) fn in_parts(rows: usize, count: usize) -> Self {
        Self { rows, count }
    }

    pub(super) fn len(self) -> usize {
        self.count
    }

    /// The rows of the group with the given number, which must be below [`len`](Self::len).
    pub(super) fn get(self, number: usize) -> Range<usize> {
        let (least, more) = (self.rows / self.count, self.rows % self.count);
        let start = number * least + number.min(more);
        start..start + least + usize::from(number < more)
    }
}

/// Rows for [`forward`](super::tiles::forward): for each part of the depth, for each group, for each column, the numbers of the group's rows.
pub(super) fn in_groups(x: Matrix, groups: Groups, parallel: bool) -> Vec<f32> {
    let [rows, depth] = x.size();
    let mut all = Vec::with_capacity(rows * depth);
    let mut pieces = Vec::new();
    for part in parts_of(depth) {
        pieces.extend((0..groups.len()).map(|number| (groups.get(number), part.clone())));
    }
    all.resize(rows * depth, 0.0);
    let mut rest = all.as_mut_slice();
    let mut work: Vec<(&mut [f32], Range<usize>, Range<usize>)> = Vec::with_capacity(pieces.len());
    for (group, part) in pieces {
        let (piece, after) = rest.split_at_mut(group.len() * part.len());
        work.push((piece, group, part));
        rest = after;
    }
    let of_piece = |(piece, group, part): (&mut [f32], Range<usize>, Range<usize>)| turn_group(x, group, part, piece);
    if parallel && all_elements(&work) >= PARALLEL_MIN {
        work.into_par_iter().for_each(of_piece);
    } else {
        work.into_iter().for_each(of_piece);
    }
    all
}

fn all_elements(work: &[(&mut [f32], Range<usize>, Range<usize>)]) -> usize {
    work.iter().map(|(piece, ..)| piece.len()).sum()
}

/// A group's numbers column by column.
fn turn_group(x: Matrix, group: Range<usize>, columns: Range<usize>, to: &mut [f32]) {
    let ([stride, step], rows) = (x.strides(), group.len());
    for (first, to) in columns.clone().step_by(TILE).zip(to.chunks_mut(TILE * rows)) {
        let across = TILE.min(columns.end - first);
        let mut tile = [[0.0; TILE]; MOST_ROWS];
        for (row, tile) in group.clone().zip(&mut tile) {
            let from = &x.data()[row * stride + first * step..];
            if step == 1 && across == TILE {
                *tile = core::array::from_fn(|column| from[column]);
            } else {
                tile[..across].iter_mut().enumerate().for_each(|(column, to)| *to = from[column * step]);
            }
        }
        if let Ok(to) = <&mut [f32; TILE * MOST_ROWS]>::try_from(&mut *to) {
            *to = core::array::from_fn(|at| tile[at % MOST_ROWS][at / MOST_ROWS]);
        } else {
            for (column, to) in to.chunks_exact_mut(rows).enumerate() {
                to.iter_mut().zip(&tile).for_each(|(to, tile)| *to = tile[column]);
            }
        }
    }
}

/// Rows for [`backward`](super::tiles::backward): for each panel of rows, for each column, the numbers of its rows. Rows and columns are filled up with 0 to
/// whole panels.
pub(super) fn in_panels(x: Matrix, parallel: bool) -> Vec<f32> {
    let [rows, columns] = x.size();
    let depth = columns.next_multiple_of(PANEL);
    let mut all = vec![0.0; rows.next_multiple_of(PANEL) * depth];
    // A tile of columns of one panel.
    let of_tile = |(number, to): (usize, &mut [f32])| {
        let (panel, tile) = (number / (depth / TILE), number % (depth / TILE));
        let (first, columns) = (panel * PANEL, (tile * TILE).min(columns)..columns.min((tile + 1) * TILE));
        if columns.is_empty() {
            return;
        }
        let rows = first..rows.min(first + PANEL);
        for start in rows.clone().step_by(TILE) {
            let rows = start..rows.end.min(start + TILE);
            turn_tile(x, rows, columns.clone(), &mut to[start - first..], PANEL);
        }
    };
    let tiles = TILE * PANEL;
    if parallel && all.len() >= PARALLEL_MIN {
        all.par_chunks_exact_mut(tiles).enumerate().with_min_len(16).for_each(of_tile);
    } else {
        all.chunks_exact_mut(tiles).enumerate().for_each(of_tile);
    }
    all
}

/// Writes at most a tile's rows of a matrix as columns: `to[column · stride + row]`.
pub(super) fn turn_tile(from: Matrix, rows: Range<usize>, columns: Range<usize>, to: &mut [f32], stride: usize) {
    let [apart, step] = from.strides();
    let (down, across) = (rows.len(), columns.len());
    let mut tile = [[0.0; TILE]; TILE];
    for (row, tile) in rows.zip(&mut tile) {
        let from = &from.data()[row * apart + columns.start * step..];
        if step == 1 && across == TILE {
            *tile = core::array::from_fn(|column| from[column]);
        } else {
            tile[..across].iter_mut().enumerate().for_each(|(column, to)| *to = from[column * step]);
        }
    }
    for column in 0..across {
        let to = &mut to[column * stride..][..down];
        if let Ok(to) = <&mut [f32; TILE]>::try_from(&mut *to) {
            *to = core::array::from_fn(|row| tile[row][column]);
        } else {
            to.iter_mut().zip(&tile).for_each(|(to, tile)| *to = tile[column]);
        }
    }
}
