//! The route to fused CPU loops: does this tensor lie in host memory as contiguous `f32`, and if so, where?
//!
//! `B` is a type parameter, so `TypeId` comparison decides at compile time which branch remains; nothing here costs
//! anything on other backends.

use burn::tensor::{Tensor, TensorData, backend::Backend};
use rayon::prelude::*;

/// Work (in elements) under which handing rows to other threads costs more than it saves. Waking them takes some 50 µs, in which one
/// core takes the exponential of this many.
const PARALLEL_MIN: usize = 1 << 17;

/// A 2-D (or flattened) tensor seen as rows of `f32` in host memory.
pub(crate) struct HostRows {
    #[cfg(feature = "flex")]
    tensor: burn_flex::FlexTensor,
    #[cfg(not(feature = "flex"))]
    absent: core::convert::Infallible,
    width: usize,
}

impl HostRows {
    /// The rows of `tensor` (its last dimension), or `None` where no fused loop can read them.
    #[cfg(feature = "flex")]
    pub(crate) fn of<B: Backend, const D: usize>(tensor: &Tensor<B, D>) -> Option<Self> {
        use burn::tensor::TensorPrimitive;
        use core::any::{Any, TypeId};

        if TypeId::of::<B::FloatTensorPrimitive>() != TypeId::of::<burn_flex::FlexTensor>() {
            return None;
        }
        let width = *tensor.dims().last()?;
        let TensorPrimitive::Float(primitive) = tensor.clone().into_primitive() else {
            return None;
        };
        let tensor = (&primitive as &dyn Any).downcast_ref::<burn_flex::FlexTensor>()?.clone();
        let rows = Self { tensor, width };
        (width > 0 && rows.try_as_slice().is_some()).then_some(rows)
    }

    /// Without a host backend compiled in, no tensor can be read in place.
    #[cfg(not(feature = "flex"))]
    pub(crate) fn of<B: Backend, const D: usize>(_tensor: &Tensor<B, D>) -> Option<Self> {
        None
    }

    #[cfg(feature = "flex")]
    fn try_as_slice(&self) -> Option<&[f32]> {
        self.tensor.as_slice::<f32>()
    }

    /// All elements, row after row.
    #[cfg(feature = "flex")]
    pub(crate) fn as_slice(&self) -> &[f32] {
        self.try_as_slice().unwrap_or(&[])
    }

    /// All elements, row after row.
    #[cfg(not(feature = "flex"))]
    pub(crate) fn as_slice(&self) -> &[f32] {
        match self.absent {}
    }

    /// Elements in a row; never 0.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// Number of rows.
    pub(crate) fn len(&self) -> usize {
        self.as_slice().len() / self.width
    }

    /// Row `index`.
    pub(crate) fn row(&self, index: usize) -> &[f32] {
        &self.as_slice()[index * self.width..(index + 1) * self.width]
    }
}

/// Whether `B` keeps its tensors in host memory, under automatic differentiation too: that wraps floats, and leaves integers as they are.
pub(crate) fn is_host<B: Backend>() -> bool {
    #[cfg(feature = "flex")]
    {
        use core::any::TypeId;
        TypeId::of::<B::IntTensorPrimitive>() == TypeId::of::<burn_flex::FlexTensor>()
    }
    #[cfg(not(feature = "flex"))]
    {
        // Nothing to compare with: no backend's memory can be read.
        let _ = core::marker::PhantomData::<B>;
        false
    }
}

/// What a fused loop computes of one row. Implementations mark `row`, and all that it calls, `#[inline(always)]`: only then
/// are its loops compiled for the instruction set of the machine rather than for the baseline one.
pub(crate) trait RowKernel<const N: usize>: Sync {
    /// `N` numbers of row `index`.
    fn row(&self, index: usize) -> [f32; N];
}

/// One row, ready to be compiled once per instruction set.
struct OneRow<'a, K, const N: usize>(&'a K, usize);

impl<const N: usize, K: RowKernel<N>> pulp::NullaryFnOnce for OneRow<'_, K, N> {
    type Output = [f32; N];

    #[inline(always)]
    fn call(self) -> [f32; N] {
        self.0.row(self.1)
    }
}

/// `N` numbers for each of `rows` rows of `width` elements, on all cores where that pays. Column `k` of the result holds
/// the `k`-th number of every row.
pub(crate) fn map_rows<const N: usize, K: RowKernel<N>>(rows: usize, width: usize, kernel: K) -> [Vec<f32>; N] {
    let arch = pulp::Arch::new();
    let one = |index: usize| arch.dispatch(OneRow(&kernel, index));
    let values: Vec<[f32; N]> = if rows > 1 && rows * width >= PARALLEL_MIN {
        let at_least = (PARALLEL_MIN / (8 * width)).max(1);
        (0..rows).into_par_iter().with_min_len(at_least).map(one).collect()
    } else {
        (0..rows).map(one).collect()
    };
    core::array::from_fn(|column| values.iter().map(|value| value[column]).collect())
}

/// A column `[rows, 1]` on the device of `like`.
pub(crate) fn column<B: Backend, const D: usize>(values: Vec<f32>, like: &Tensor<B, D>) -> Tensor<B, 2> {
    let rows = values.len();
    Tensor::from_data(TensorData::new(values, [rows, 1]), &like.device())
}

/// The values of a column `[rows, 1]` that a fused function of this crate made.
pub(crate) fn column_values<B: Backend>(column: &Tensor<B, 2>) -> Option<Vec<f32>> {
    HostRows::of(column).map(|rows| rows.as_slice().to_vec())
}
