//! Matrix products on parts of tensors in host memory, through the `gemm` crate: the blocks that heads are of packed projections are
//! multiplied where they lie.

use core::marker::PhantomData;
use core::ops::Range;

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

/// `target = [target +] scale · left · right`, on all cores if `parallel`.
pub(crate) fn product(target: &mut MatrixMut, before: Before, scale: f32, left: Matrix, right: Matrix, parallel: bool) {
    let ([m, n], depth) = (target.size, left.size[1]);
    assert!([m, depth, n] == [left.size[0], right.size[0], right.size[1]], "factors that do not fit together");
    let parallelism = if parallel { gemm::Parallelism::Rayon(0) } else { gemm::Parallelism::None };
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
            parallelism,
        );
    }
}
