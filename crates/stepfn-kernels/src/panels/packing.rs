//! The other factor of a product with [`Panels`](super::Panels), in the order in which tiles read it.

use core::cell::Cell;
use core::ops::Range;

use super::PANEL;
use super::tiles::{Instructions, MOST_ROWS};
use super::turning::{TILE, Turned, turn_rows};
use crate::cores::on_all_cores;
use crate::product::Matrix;

/// Greatest number of terms of a sum that stays in registers. What it reads of a panel fits a core's L2 cache.
const DEEPEST: usize = 1024;
/// Elements from which several cores share the work.
const PARALLEL_MIN: usize = 1 << 15;

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

/// Calls `work` with memory for so many numbers, which this thread keeps for the next time. What is left in it is to be overwritten.
pub(super) fn with_memory<R>(numbers: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
    /// Numbers that are kept: 64 MiB.
    const KEPT: usize = 1 << 24;
    thread_local! {
        static MEMORY: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
    }
    let mut memory = MEMORY.take();
    if memory.len() < numbers {
        memory = vec![0.0; numbers];
    }
    let result = work(&mut memory[..numbers]);
    if memory.len() <= KEPT {
        MEMORY.set(memory);
    }
    result
}

/// Rows for [`forward`](super::tiles::forward), written to as much memory: for each part of the depth, for each group, for each column, the numbers of the group's rows.
pub(super) fn in_groups(x: Matrix, groups: Groups, parallel: bool, to: &mut [f32]) {
    let depth = x.size()[1];
    let mut pieces = Vec::new();
    for part in parts_of(depth) {
        pieces.extend((0..groups.len()).map(|number| (groups.get(number), part.clone())));
    }
    let mut rest = to;
    let mut work: Vec<(&mut [f32], Range<usize>, Range<usize>)> = Vec::with_capacity(pieces.len());
    for (group, part) in pieces {
        let (piece, after) = rest.split_at_mut(group.len() * part.len());
        work.push((piece, group, part));
        rest = after;
    }
    let of_piece = |(piece, group, part): (&mut [f32], Range<usize>, Range<usize>)| turn_group(x, group, part, piece);
    if parallel && all_elements(&work) >= PARALLEL_MIN {
        on_all_cores(work.into_iter(), of_piece);
    } else {
        work.into_iter().for_each(of_piece);
    }
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

/// Numbers that [`in_panels`] writes for so many rows and columns.
pub(super) fn size_in_panels(rows: usize, columns: usize) -> usize {
    rows.next_multiple_of(PANEL) * columns.next_multiple_of(PANEL)
}

/// Some rows for [`backward`](super::tiles::backward), written to [as much memory as that takes](size_in_panels): for each panel of rows, for each column, the numbers
/// of its rows. Rows and columns are filled up with 0 to whole panels.
pub(super) fn in_panels(with: Instructions, x: Matrix, rows: &[usize], parallel: bool, to: &mut [f32]) {
    /// Tiles that a core turns at a time.
    const TILES: usize = 16;
    let [_, columns] = x.size();
    let depth = columns.next_multiple_of(PANEL);
    // A tile of columns of one panel.
    let of_tile = |number: usize, to: &mut [f32]| {
        let (panel, tile) = (number / (depth / TILE), number % (depth / TILE));
        let (first, columns) = (panel * PANEL, (tile * TILE).min(columns)..columns.min((tile + 1) * TILE));
        let rows = &rows[first..rows.len().min(first + PANEL)];
        if rows.len() < PANEL || columns.len() < TILE {
            to.fill(0.0);
        }
        if columns.is_empty() {
            return;
        }
        for (rows, start) in rows.chunks(TILE).zip((0..).step_by(TILE)) {
            let to = Turned { first: to[start..].as_mut_ptr(), stride: PANEL };
            // SAFETY: the chunk has room for as many columns of a panel's rows as a tile has.
            #[allow(unsafe_code, reason = "tiles are pointers into the factor")]
            unsafe {
                turn_rows(with, x, rows, columns.clone(), to);
            }
        }
    };
    let of_tiles = |(number, to): (usize, &mut [f32])| {
        to.chunks_exact_mut(TILE * PANEL).enumerate().for_each(|(tile, to)| of_tile(number * TILES + tile, to));
    };
    let parallel = parallel && to.len() >= PARALLEL_MIN;
    let tiles = to.chunks_mut(TILES * TILE * PANEL).enumerate();
    if parallel { on_all_cores(tiles, of_tiles) } else { tiles.for_each(of_tiles) }
}
