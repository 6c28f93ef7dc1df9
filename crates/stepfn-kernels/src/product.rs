//! Matrix products on parts of tensors in host memory, through the `gemm` crate. The blocks of heads in packed projections are multiplied
//! in place.

use core::marker::PhantomData;
use core::ops::Range;

use crate::cores::on_all_cores;
use crate::watched::Ends;

/// A strided matrix in a slice.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    data: &'a [f32],
    size: [usize; 2],
    strides: [usize; 2],
}

impl<'a> Matrix<'a> {
    /// A matrix that starts at the first element of `data`; `size` and `strides` are those of rows, then of columns.
    pub(crate) fn new(data: &'a [f32], size: [usize; 2], strides: [usize; 2]) -> Self {
        assert!(
            reach(size, strides) <= data.len(),
            "a matrix of size {size:?} with strides {strides:?} exceeds its {} elements",
            data.len()
        );
        Self { data, size, strides }
    }

    /// Rows and columns.
    pub(crate) fn size(self) -> [usize; 2] {
        self.size
    }

    /// Strides of rows and columns.
    pub(crate) fn strides(self) -> [usize; 2] {
        self.strides
    }

    /// The memory from the first element on.
    pub(crate) fn data(self) -> &'a [f32] {
        self.data
    }

    pub(crate) fn transposed(self) -> Self {
        let ([rows, columns], [row, column]) = (self.size, self.strides);
        Self { size: [columns, rows], strides: [column, row], ..self }
    }

    pub(crate) fn block(self, rows: Range<usize>, columns: Range<usize>) -> Self {
        assert!(rows.end <= self.size[0] && columns.end <= self.size[1], "the block is not inside the matrix");
        let start = (rows.start * self.strides[0] + columns.start * self.strides[1]).min(self.data.len());
        Self::new(&self.data[start..], [rows.len(), columns.len()], self.strides)
    }
}

/// A matrix in memory to which it has exclusive access.
pub(crate) struct MatrixMut<'a> {
    pointer: *mut f32,
    size: [usize; 2],
    row_stride: usize,
    exclusive: PhantomData<&'a mut [f32]>,
}

impl<'a> MatrixMut<'a> {
    /// A matrix that starts at the first element of `data`, with contiguous rows that are `row_stride` apart.
    pub(crate) fn new(data: &'a mut [f32], size: [usize; 2], row_stride: usize) -> Self {
        assert!(
            size[1] <= row_stride && reach(size, [row_stride, 1]) <= data.len(),
            "a matrix of size {size:?} exceeds its memory"
        );
        Self { pointer: data.as_mut_ptr(), size, row_stride, exclusive: PhantomData }
    }

    /// One block, instead of the whole.
    fn block(&mut self, rows: Range<usize>, columns: Range<usize>) -> MatrixMut<'_> {
        assert!(rows.end <= self.size[0] && columns.end <= self.size[1], "the block is not inside the matrix");
        // `wrapping_add`, because an empty block may start past the end of the memory.
        let pointer = self.pointer.wrapping_add(rows.start * self.row_stride + columns.start);
        let size = [rows.len(), columns.len()];
        MatrixMut { pointer, size, row_stride: self.row_stride, exclusive: PhantomData }
    }
}

/// A matrix whose blocks several threads write at the same time.
pub(crate) struct Blocks<'a>(MatrixMut<'a>);

#[allow(
    unsafe_code,
    reason = "heads of packed projections interleave, so that no safe split gives each thread its own"
)]
// SAFETY: threads can only use the pointer through `block`, whose callers guarantee that blocks in use do not overlap.
unsafe impl Sync for Blocks<'_> {}

impl<'a> Blocks<'a> {
    /// A matrix with contiguous rows of `columns` elements.
    pub(crate) fn new(data: &'a mut [f32], columns: usize) -> Self {
        let rows = data.len() / columns.max(1);
        Self(MatrixMut::new(data, [rows, columns], columns))
    }

    /// One block.
    ///
    /// # Safety
    /// No overlapping block may be in use at the same time.
    #[allow(
        unsafe_code,
        reason = "heads of packed projections interleave, so that no safe split gives each thread its own"
    )]
    pub(crate) unsafe fn block(&self, rows: Range<usize>, columns: Range<usize>) -> MatrixMut<'_> {
        let MatrixMut { pointer, size, row_stride, .. } = self.0;
        let inside =
            rows.start <= rows.end && rows.end <= size[0] && columns.start <= columns.end && columns.end <= size[1];
        assert!(inside, "the block is not inside the matrix");
        // `wrapping_add`, because an empty block may start past the end of the memory.
        let pointer = pointer.wrapping_add(rows.start * row_stride + columns.start);
        MatrixMut { pointer, size: [rows.len(), columns.len()], row_stride, exclusive: PhantomData }
    }
}

/// Number of elements from the first to the last of a matrix, both included.
fn reach([rows, columns]: [usize; 2], [row, column]: [usize; 2]) -> usize {
    if rows == 0 || columns == 0 { 0 } else { (rows - 1) * row + (columns - 1) * column + 1 }
}

/// What a product does with the old contents of its target.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Before {
    /// Overwrites them.
    Dropped,
    /// Adds to them.
    Kept,
}

/// `target = [target +] scale · left · right`, on the current core only.
pub(crate) fn product(target: &mut MatrixMut, before: Before, scale: f32, left: Matrix, right: Matrix) {
    let ([m, n], depth) = (target.size, left.size[1]);
    assert!(
        [m, depth, n] == [left.size[0], right.size[0], right.size[1]],
        "the sizes of the factors and the target do not match"
    );
    let stride = |stride: usize| stride as isize;
    // SAFETY: the constructors of all three matrices check that their elements lie within the memory that they borrow. `target` has
    // exclusive access to its elements, and they do not overlap, because its rows are no longer than its row stride.
    #[allow(unsafe_code, reason = "the interface of the `gemm` crate is pointers")]
    unsafe {
        gemm::gemm(
            m,
            n,
            depth,
            target.pointer,
            1,
            stride(target.row_stride),
            before == Before::Kept,
            left.data.as_ptr(),
            stride(left.strides[1]),
            stride(left.strides[0]),
            right.data.as_ptr(),
            stride(right.strides[1]),
            stride(right.strides[0]),
            1.0,
            scale,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// Multiplications of a piece of a product that can be ended: some hundredths of a second.
const PIECE: usize = 1 << 31;

/// The same in pieces, before each of which is looked whether the work is to end.
pub(crate) fn product_until(ends: &Ends, target: &mut MatrixMut, before: Before, left: Matrix, right: Matrix) {
    product_in_pieces(PIECE, ends, target, before, left, right);
}

fn product_in_pieces(most: usize, ends: &Ends, target: &mut MatrixMut, before: Before, left: Matrix, right: Matrix) {
    let ([rows, columns], depth) = (target.size, left.size[1]);
    // Squares, so that each factor is packed as seldom as can be; the depth stays whole, and the sums what they are.
    let side = (most / depth.max(1)).isqrt().next_multiple_of(64).max(64);
    let (tall, wide) = (side.max(most / (depth * columns).max(1)), side.max(most / (depth * rows).max(1)));
    for row in (0..rows).step_by(tall) {
        for column in (0..columns).step_by(wide) {
            if ends.now() {
                return;
            }
            let (down, across) = (row..rows.min(row + tall), column..columns.min(column + wide));
            let (left, right) = (left.block(down.clone(), 0..depth), right.block(0..depth, across.clone()));
            product(&mut target.block(down, across), before, 1.0, left, right);
        }
    }
}

/// The factor that is divided between the cores: each core reads, and packs if needed, only its own part. This is usually the weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Divided {
    Left,
    Right,
}

/// `target = [target +] left · right` on all cores, where the target's rows are contiguous.
///
/// The `gemm` crate can use several cores too, but then one core packs a factor while the others wait.
pub(crate) fn product_on_all_cores(
    ends: &Ends,
    target: &mut [f32],
    before: Before,
    left: Matrix,
    right: Matrix,
    divided: Divided,
) {
    let (size, depth) = ([left.size[0], right.size[1]], left.size[1]);
    assert!(size[0] * size[1] == target.len(), "the target does not have the size of the product");
    assert!(depth == right.size[0], "the sizes of the factors do not match");
    let tiles = Tiles::new(size, depth, divided, rayon::current_num_threads());
    let blocks = Blocks::new(target, size[1]);
    let each = |index: usize| {
        let [rows, columns] = tiles.get(index);
        // SAFETY: each task writes a different tile, and tiles do not overlap (see the tests).
        #[allow(unsafe_code, reason = "tasks write blocks of one matrix")]
        let mut target = unsafe { blocks.block(rows.clone(), columns.clone()) };
        product_until(ends, &mut target, before, left.block(rows, 0..depth), right.block(0..depth, columns));
    };
    on_all_cores(0..tiles.len(), each);
}

/// The tiles of a product's output, one per task. They partition the output.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tiles {
    /// Rows and columns of the output.
    size: [usize; 2],
    /// Rows and columns of a tile; those at the end may be smaller.
    tile: [usize; 2],
}

impl Tiles {
    /// Tiles for a product with the given output size and depth, on `threads` threads.
    fn new(size: [usize; 2], depth: usize, divided: Divided, threads: usize) -> Self {
        /// Rows or columns that the inner loop of a product computes at a time.
        const LEAST: usize = 64;
        /// Elements of a vector.
        const STEP: usize = 16;
        /// With this many multiplications, the overhead of a separate task is negligible.
        const ENOUGH: usize = 1 << 25;
        /// Tasks per thread: a thread that is delayed leaves some of them to the others.
        const TASKS: usize = 2;
        let tasks = threads * (size[0] * size[1] * depth / (threads * ENOUGH)).clamp(1, TASKS);
        let each = |length: usize, parts: usize| length.div_ceil(parts).next_multiple_of(STEP).max(LEAST);
        let (first, second) = if divided == Divided::Left { (size[0], size[1]) } else { (size[1], size[0]) };
        let of_first = each(first, tasks);
        let of_second = each(second, tasks.div_ceil(first.div_ceil(of_first).max(1)));
        let tile = if divided == Divided::Left { [of_first, of_second] } else { [of_second, of_first] };
        Self { size, tile }
    }

    /// One tile for each of so many threads, or a few more, whose columns start at multiples of `block`. There are tiles below each other only
    /// if there are too few columns.
    pub(crate) fn of_blocks(size: [usize; 2], block: usize, threads: usize) -> Self {
        /// Columns that are worth a product of their own.
        const LEAST: usize = 64;
        let [rows, columns] = size;
        let unit = LEAST.next_multiple_of(block.max(1));
        let wide = columns.div_ceil(unit).div_ceil(threads.max(1)).max(1) * unit;
        let tall = rows.div_ceil(threads.div_ceil(columns.div_ceil(wide).max(1)).max(1)).max(LEAST);
        Self { size, tile: [tall, wide] }
    }

    /// Number of tiles.
    pub(crate) fn len(self) -> usize {
        self.size[0].div_ceil(self.tile[0]) * self.across()
    }

    /// Number of tiles side by side.
    fn across(self) -> usize {
        self.size[1].div_ceil(self.tile[1])
    }

    /// Rows and columns of the tile with the given index, which must be below [`len`](Self::len).
    pub(crate) fn get(self, index: usize) -> [Range<usize>; 2] {
        let range = |axis: usize, number: usize| {
            let start = number * self.tile[axis];
            start..self.size[axis].min(start + self.tile[axis])
        };
        [range(0, index / self.across()), range(1, index % self.across())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Sizes of all magnitudes, including empty ones and those around multiples of a tile.
    fn length() -> impl Strategy<Value = usize> {
        prop_oneof![
            0usize..3,
            1usize..300,
            (1usize..40, -1isize..2).prop_map(|(n, by)| (64 * n).saturating_add_signed(by)),
            1usize..200_000
        ]
    }

    #[test]
    fn pieces_are_the_product_and_none_is_computed_at_the_end() {
        let ([rows, depth, columns], ends) = ([150, 40, 210], Ends::default());
        let values = |count: usize| (0..count).map(|at| ((at * 37 % 101) as f32 - 50.0) / 50.0).collect::<Vec<_>>();
        let (left, right) = (values(rows * depth), values(depth * columns));
        let left = Matrix::new(&left, [rows, depth], [depth, 1]);
        let right = Matrix::new(&right, [depth, columns], [1, depth]);
        let mut whole = vec![1.0; rows * columns];
        product(&mut MatrixMut::new(&mut whole, [rows, columns], columns), Before::Kept, 1.0, left, right);
        for most in [1, 40 * 64 * 64, 40 * 100 * 210, usize::MAX] {
            let mut pieces = vec![1.0; rows * columns];
            let mut target = MatrixMut::new(&mut pieces, [rows, columns], columns);
            product_in_pieces(most, &ends, &mut target, Before::Kept, left, right);
            assert_eq!(pieces, whole, "{most}");
        }
        ends.end();
        let mut none = vec![1.0; rows * columns];
        product_until(&ends, &mut MatrixMut::new(&mut none, [rows, columns], columns), Before::Kept, left, right);
        assert_eq!(none, vec![1.0; rows * columns]);
    }

    /// Panics unless each element of the output is in exactly one tile.
    fn assert_partition(tiles: Tiles) {
        let size = tiles.size;
        let all: Vec<[Range<usize>; 2]> = (0..tiles.len()).map(|index| tiles.get(index)).collect();
        for (index, [rows, columns]) in all.iter().enumerate() {
            assert!(!rows.is_empty() && !columns.is_empty(), "tile {index} is empty");
            assert!(rows.end <= size[0] && columns.end <= size[1], "tile {index} is not inside the output");
            for (other, [their_rows, their_columns]) in all[..index].iter().enumerate() {
                let apart = |a: &Range<usize>, b: &Range<usize>| a.end <= b.start || b.end <= a.start;
                assert!(apart(rows, their_rows) || apart(columns, their_columns), "tiles {other} and {index} overlap");
            }
        }
        // Tiles that do not overlap and have the area of the output leave no gap.
        let area: usize = all.iter().map(|[rows, columns]| rows.len() * columns.len()).sum();
        assert_eq!(area, size[0] * size[1]);
    }

    proptest! {
        #[test]
        fn tiles_partition_the_output(
            size in [length(), length()],
            depth in length(),
            left: bool,
            threads in 1usize..65,
        ) {
            let divided = if left { Divided::Left } else { Divided::Right };
            assert_partition(Tiles::new(size, depth, divided, threads));
        }

        #[test]
        fn tiles_of_blocks_partition_the_output(
            rows in length(),
            blocks in 0usize..600,
            block in prop_oneof![Just(1usize), Just(32), Just(64), Just(256)],
            threads in 1usize..65,
        ) {
            let tiles = Tiles::of_blocks([rows, blocks * block], block, threads);
            assert_partition(tiles);
            prop_assert!((0..tiles.len()).all(|index| tiles.get(index)[1].start.is_multiple_of(block)));
            prop_assert!(tiles.len() <= 2 * threads, "{} tiles for {threads} threads", tiles.len());
        }
    }
}
