//! Matrix products on parts of tensors in host memory, through the `gemm` crate: the blocks that heads are of packed projections are
//! multiplied where they lie.

use core::marker::PhantomData;
use core::ops::Range;

use rayon::prelude::*;

/// A matrix somewhere in a slice.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    data: &'a [f32],
    size: [usize; 2],
    strides: [usize; 2],
}

impl<'a> Matrix<'a> {
    /// `size` elements that begin with the first of `data` and lie `strides` apart: rows, then columns.
    pub(crate) fn new(data: &'a [f32], size: [usize; 2], strides: [usize; 2]) -> Self {
        assert!(reach(size, strides) <= data.len(), "a matrix of {size:?} elements with strides {strides:?}");
        Self { data, size, strides }
    }

    /// Rows and columns.
    pub(crate) fn size(self) -> [usize; 2] {
        self.size
    }

    /// How far apart rows and columns are.
    pub(crate) fn strides(self) -> [usize; 2] {
        self.strides
    }

    /// The first element and all behind it.
    pub(crate) fn data(self) -> &'a [f32] {
        self.data
    }

    pub(crate) fn transposed(self) -> Self {
        let ([rows, columns], [row, column]) = (self.size, self.strides);
        Self { size: [columns, rows], strides: [column, row], ..self }
    }

    pub(crate) fn block(self, rows: Range<usize>, columns: Range<usize>) -> Self {
        assert!(rows.end <= self.size[0] && columns.end <= self.size[1], "a block outside its matrix");
        let start = (rows.start * self.strides[0] + columns.start * self.strides[1]).min(self.data.len());
        Self::new(&self.data[start..], [rows.len(), columns.len()], self.strides)
    }
}

/// A matrix somewhere in memory that only its holder reads and writes.
pub(crate) struct MatrixMut<'a> {
    pointer: *mut f32,
    size: [usize; 2],
    row_stride: usize,
    exclusive: PhantomData<&'a mut [f32]>,
}

impl<'a> MatrixMut<'a> {
    /// `size` elements that begin with the first of `data`, rows `row_stride` apart.
    pub(crate) fn new(data: &'a mut [f32], size: [usize; 2], row_stride: usize) -> Self {
        assert!(size[1] <= row_stride && reach(size, [row_stride, 1]) <= data.len(), "a matrix of {size:?} elements");
        Self { pointer: data.as_mut_ptr(), size, row_stride, exclusive: PhantomData }
    }
}

/// A matrix whose blocks are written by several threads at a time.
pub(crate) struct Blocks<'a>(MatrixMut<'a>);

// SAFETY: the only use of the pointer from several threads is through `block`, whose callers keep blocks apart.
#[allow(
    unsafe_code,
    reason = "heads of packed projections interleave, so that no safe split gives each thread its own"
)]
unsafe impl Sync for Blocks<'_> {}

impl<'a> Blocks<'a> {
    /// Rows of `columns` elements, one after the other.
    pub(crate) fn new(data: &'a mut [f32], columns: usize) -> Self {
        let rows = data.len() / columns.max(1);
        Self(MatrixMut::new(data, [rows, columns], columns))
    }

    /// One block.
    ///
    /// # Safety
    /// While the block is used, nobody uses another one that overlaps it.
    #[allow(
        unsafe_code,
        reason = "heads of packed projections interleave, so that no safe split gives each thread its own"
    )]
    pub(crate) unsafe fn block(&self, rows: Range<usize>, columns: Range<usize>) -> MatrixMut<'_> {
        let MatrixMut { pointer, size, row_stride, .. } = self.0;
        let inside =
            rows.start <= rows.end && rows.end <= size[0] && columns.start <= columns.end && columns.end <= size[1];
        assert!(inside, "a block outside its matrix");
        // Computed without going through memory: an empty block may begin behind the last element.
        let pointer = pointer.wrapping_add(rows.start * row_stride + columns.start);
        MatrixMut { pointer, size: [rows.len(), columns.len()], row_stride, exclusive: PhantomData }
    }
}

/// How far a matrix reaches behind its first element.
fn reach([rows, columns]: [usize; 2], [row, column]: [usize; 2]) -> usize {
    if rows == 0 || columns == 0 { 0 } else { (rows - 1) * row + (columns - 1) * column + 1 }
}

/// What a product does with what was there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Before {
    /// Overwrites it.
    Dropped,
    /// Adds to it.
    Kept,
}

/// `target = [target +] scale · left · right`, on this core alone.
pub(crate) fn product(target: &mut MatrixMut, before: Before, scale: f32, left: Matrix, right: Matrix) {
    let ([m, n], depth) = (target.size, left.size[1]);
    assert!([m, depth, n] == [left.size[0], right.size[0], right.size[1]], "factors that do not fit together");
    let stride = |stride: usize| stride as isize;
    // SAFETY: all three matrices lie within the memory that they borrow, which their constructors made sure of, `target` alone in its
    // own; strides of the target do not make its elements overlap.
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

/// The factor that is worth reading only once: each core reads, and lays out anew where need be, a part of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Divided {
    Left,
    Right,
}

/// `target = [target +] left · right` on all cores, where the target's rows lie one after the other.
///
/// The `gemm` crate would share the work too, but one core lays out a factor while the others wait.
pub(crate) fn product_on_all_cores(target: &mut [f32], before: Before, left: Matrix, right: Matrix, divided: Divided) {
    let (size, depth) = ([left.size[0], right.size[1]], left.size[1]);
    assert!(size[0] * size[1] == target.len(), "a target of another size");
    assert!(depth == right.size[0], "factors that do not fit together");
    let [of_rows, of_columns] = block_size(size, depth, divided);
    let part = |index: usize, each: usize, of: usize| index * each..of.min((index + 1) * each);
    let across = size[1].div_ceil(of_columns);
    let blocks = Blocks::new(target, size[1]);
    let each = |index: usize| {
        let rows = part(index / across, of_rows, size[0]);
        let columns = part(index % across, of_columns, size[1]);
        // SAFETY: no other task has these rows of these columns.
        #[allow(unsafe_code, reason = "tasks write blocks of one matrix")]
        let mut target = unsafe { blocks.block(rows.clone(), columns.clone()) };
        product(&mut target, before, 1.0, left.block(rows, 0..depth), right.block(0..depth, columns));
    };
    (0..size[0].div_ceil(of_rows) * across).into_par_iter().with_max_len(1).for_each(each);
}

/// Rows and columns of the blocks that a product is shared out in.
fn block_size(size: [usize; 2], depth: usize, divided: Divided) -> [usize; 2] {
    /// What the inner loop of a product computes at a time.
    const LEAST: usize = 64;
    /// Elements of a vector.
    const STEP: usize = 16;
    /// Multiplications for which a task of their own costs next to nothing.
    const ENOUGH: usize = 1 << 25;
    /// Tasks of a core: a core that was held up leaves some to the others.
    const TASKS: usize = 2;
    let cores = rayon::current_num_threads();
    let tasks = cores * (size[0] * size[1] * depth / (cores * ENOUGH)).clamp(1, TASKS);
    let each = |length: usize, parts: usize| length.div_ceil(parts).next_multiple_of(STEP).max(LEAST);
    let (first, second) = if divided == Divided::Left { (size[0], size[1]) } else { (size[1], size[0]) };
    let of_first = each(first, tasks);
    let of_second = each(second, tasks.div_ceil(first.div_ceil(of_first).max(1)));
    if divided == Divided::Left { [of_first, of_second] } else { [of_second, of_first] }
}
