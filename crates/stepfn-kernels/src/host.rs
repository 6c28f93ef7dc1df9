//! Access to fused CPU loops: is this tensor contiguous `f32` in host memory, and if so, where?
//!
//! `B` is a type parameter, so comparing `TypeId`s picks the branch at compile time. On other backends this costs nothing.

use burn::tensor::{Tensor, TensorData, backend::Backend};

use crate::cores::on_all_cores;

/// With fewer elements than this, starting other threads costs more than it saves: waking them takes about 50 µs, in which one core
/// computes this many exponentials.
const PARALLEL_MIN: usize = 1 << 16;

/// A 2-D (or flattened) tensor seen as rows of `f32` in host memory.
pub(crate) struct HostRows {
    #[cfg(feature = "flex")]
    tensor: burn_flex::FlexTensor,
    #[cfg(not(feature = "flex"))]
    absent: core::convert::Infallible,
    width: usize,
}

impl HostRows {
    /// The rows of `tensor` (its last dimension), or `None` if fused loops can't read it.
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

    /// All elements in row order.
    #[cfg(feature = "flex")]
    pub(crate) fn as_slice(&self) -> &[f32] {
        self.try_as_slice().unwrap_or(&[])
    }

    /// All elements in row order.
    #[cfg(not(feature = "flex"))]
    pub(crate) fn as_slice(&self) -> &[f32] {
        match self.absent {}
    }

    /// Elements per row; never 0.
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

/// Whether `B` keeps its tensors in host memory. This holds under automatic differentiation too, which wraps floats but not integers.
pub fn is_host<B: Backend>() -> bool {
    #[cfg(feature = "flex")]
    {
        use core::any::TypeId;
        TypeId::of::<B::IntTensorPrimitive>() == TypeId::of::<burn_flex::FlexTensor>()
    }
    #[cfg(not(feature = "flex"))]
    {
        // No host backend is compiled in, so no memory can be read.
        let _ = core::marker::PhantomData::<B>;
        false
    }
}

/// What a fused loop computes for one row. Implementations must mark `row`, and everything it calls, `#[inline(always)]`. Otherwise its
/// loops are compiled for the baseline instruction set instead of the machine's.
pub(crate) trait RowKernel<const N: usize>: Sync {
    /// The `N` numbers of row `index`.
    fn row(&self, index: usize) -> [f32; N];
}

/// One row, to be compiled once per instruction set.
struct OneRow<'a, K, const N: usize>(&'a K, usize);

impl<const N: usize, K: RowKernel<N>> pulp::NullaryFnOnce for OneRow<'_, K, N> {
    type Output = [f32; N];

    #[inline(always)]
    fn call(self) -> [f32; N] {
        self.0.row(self.1)
    }
}

/// `N` numbers for each of `rows` rows of `width` elements, on several cores if that is faster. Column `k` of the result holds the `k`-th
/// number of each row.
pub(crate) fn map_rows<const N: usize, K: RowKernel<N>>(rows: usize, width: usize, kernel: K) -> [Vec<f32>; N] {
    let arch = pulp::Arch::new();
    let one = |index: usize| arch.dispatch(OneRow(&kernel, index));
    let values: Vec<[f32; N]> = if rows > 1 && rows * width >= PARALLEL_MIN {
        let at_least = (PARALLEL_MIN / (8 * width)).max(1);
        let mut values = vec![[0.0; N]; rows];
        on_all_cores(values.chunks_mut(at_least).enumerate(), |(chunk, values)| {
            values.iter_mut().enumerate().for_each(|(row, value)| *value = one(chunk * at_least + row));
        });
        values
    } else {
        (0..rows).map(one).collect()
    };
    core::array::from_fn(|column| values.iter().map(|value| value[column]).collect())
}

/// A fused loop that overwrites rows in place. Implementations must mark `rows` `#[inline(always)]`, as for [`RowKernel::row`].
pub(crate) trait BlockKernel: Sync {
    /// Number of elements from which on several cores are faster.
    const PARALLEL_MIN: usize = PARALLEL_MIN;

    /// Overwrites some consecutive rows; the first of them is row `first` of the tensor.
    fn rows(&self, first: usize, rows: &mut [f32]);
}

/// Some rows, to be compiled once per instruction set.
struct OneBlock<'a, K>(&'a K, usize, &'a mut [f32]);

impl<K: BlockKernel> pulp::NullaryFnOnce for OneBlock<'_, K> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        self.0.rows(self.1, self.2);
    }
}

/// Applies `kernel` to the rows of `x`, on several cores if that is faster, and in the memory of `x` if nothing else shares it. If fused
/// loops can't read `x`, returns it unchanged as the error.
pub(crate) fn transform<B: Backend, K: BlockKernel>(x: Tensor<B, 2>, kernel: &K) -> Result<Tensor<B, 2>, Tensor<B, 2>> {
    #[cfg(feature = "flex")]
    {
        /// Multiplications that an element takes as long as, because it is read and written.
        const AN_ELEMENT: usize = 16;
        let width = x.dims()[1];
        let mut tensor = flex::owned(x)?;
        let Some(range) = flex::elements(&tensor).filter(|_| width > 0) else {
            return Err(flex::wrapped(tensor));
        };
        if crate::watched::is_moot(range.len() * AN_ELEMENT) {
            return Ok(flex::wrapped(tensor));
        }
        if let Some(storage) = tensor.try_storage_mut::<f32>() {
            each_block(&mut storage[range], None, width, kernel);
            return Ok(flex::wrapped(tensor));
        }
        let mut rows = vec![0.0; range.len()];
        each_block(&mut rows, Some(&tensor.storage::<f32>()[range]), width, kernel);
        Ok(flex::made(rows, tensor.layout().shape().clone()))
    }
    #[cfg(not(feature = "flex"))]
    {
        // Unused without the feature.
        let _ = (each_block::<K>, kernel);
        Err(x)
    }
}

/// Runs `kernel` on blocks of rows that fit a core's L1 cache, first copying them from `source` if there is one.
fn each_block<K: BlockKernel>(rows: &mut [f32], source: Option<&[f32]>, width: usize, kernel: &K) {
    /// Elements per block.
    const BLOCK: usize = 1 << 13;
    let arch = pulp::Arch::new();
    let per_block = (BLOCK / width).max(1);
    let one = |(index, block): (usize, &mut [f32])| {
        if let Some(source) = source {
            let start = index * per_block * width;
            block.copy_from_slice(&source[start..start + block.len()]);
        }
        arch.dispatch(OneBlock(kernel, index * per_block, block));
    };
    if rows.len() >= K::PARALLEL_MIN {
        on_all_cores(rows.chunks_mut(per_block * width).enumerate(), one);
    } else {
        rows.chunks_mut(per_block * width).enumerate().for_each(one);
    }
}

/// Conversions between burn-flex tensors and tensors of a backend `B` that is burn-flex.
#[cfg(feature = "flex")]
pub(crate) mod flex {
    use core::any::{Any, TypeId};
    use core::ops::Range;

    use burn::tensor::{DType, Shape, Tensor, TensorData, TensorPrimitive, backend::Backend};
    use burn_flex::FlexTensor;

    use crate::product::Matrix;
    use crate::weight::StoredRows;

    /// Takes the tensor itself, without adding a handle to it.
    pub(crate) fn owned<B: Backend, const D: usize>(x: Tensor<B, D>) -> Result<FlexTensor, Tensor<B, D>> {
        if TypeId::of::<B::FloatTensorPrimitive>() != TypeId::of::<FlexTensor>() {
            return Err(x);
        }
        match x.into_primitive() {
            TensorPrimitive::Float(primitive) => {
                let boxed: Box<dyn Any> = Box::new(primitive);
                match boxed.downcast::<FlexTensor>() {
                    Ok(tensor) => Ok(*tensor),
                    Err(_) => unreachable!("the types were compared above"),
                }
            }
            quantized => Err(Tensor::from_primitive(quantized)),
        }
    }

    /// A tensor of `B`, which must be burn-flex.
    pub(crate) fn wrapped<B: Backend, const D: usize>(tensor: FlexTensor) -> Tensor<B, D> {
        let boxed: Box<dyn Any> = Box::new(tensor);
        match boxed.downcast::<B::FloatTensorPrimitive>() {
            Ok(primitive) => Tensor::from_primitive(TensorPrimitive::Float(*primitive)),
            Err(_) => unreachable!("callers checked that `B` is burn-flex"),
        }
    }

    /// A tensor of `B`, which must be burn-flex, from its elements.
    pub(crate) fn made<B: Backend, const D: usize>(elements: Vec<f32>, shape: impl Into<Shape>) -> Tensor<B, D> {
        wrapped(FlexTensor::from_data(TensorData::new(elements, shape.into())))
    }

    /// A tensor's elements in host memory, with any strides.
    pub(crate) struct Strided<const D: usize> {
        tensor: FlexTensor,
        size: [usize; D],
        strides: [usize; D],
    }

    impl<const D: usize> Strided<D> {
        /// The elements of `x`, or `None` if fused loops can't read it.
        pub(crate) fn of<B: Backend>(x: &Tensor<B, D>) -> Option<Self> {
            let tensor = owned(x.clone()).ok().filter(|tensor| tensor.dtype() == DType::F32)?;
            let strides: &[isize] = tensor.layout().strides();
            let strides: Vec<usize> = strides.iter().map(|&stride| stride.try_into().ok()).collect::<Option<_>>()?;
            Some(Self { strides: strides.try_into().ok()?, size: x.dims(), tensor })
        }

        /// The memory from the first element on.
        pub(crate) fn data(&self) -> &[f32] {
            let storage = self.tensor.storage::<f32>();
            &storage[self.tensor.layout().start_offset().min(storage.len())..]
        }

        /// The number of elements in each dimension.
        pub(crate) fn size(&self) -> [usize; D] {
            self.size
        }

        /// The stride of each dimension; 0 if the dimension has one element, so that any index reads it.
        pub(crate) fn strides(&self) -> [usize; D] {
            core::array::from_fn(|dim| if self.size[dim] == 1 { 0 } else { self.strides[dim] })
        }
    }

    impl core::fmt::Debug for Strided<2> {
        fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
            f.debug_struct("Strided").field("size", &self.size).field("strides", &self.strides).finish_non_exhaustive()
        }
    }

    impl StoredRows for Strided<2> {
        fn size(&self) -> [usize; 2] {
            self.size
        }

        fn block(&self) -> usize {
            1
        }

        fn expand(&self, row: usize, columns: Range<usize>, values: &mut [f32]) {
            let [stride, step] = self.strides();
            let numbers = &self.data()[row * stride + columns.start * step..];
            match step {
                1 => values.copy_from_slice(&numbers[..columns.len()]),
                _ => values.iter_mut().enumerate().for_each(|(at, value)| *value = numbers[at * step]),
            }
        }
    }

    impl Strided<2> {
        pub(crate) fn matrix(&self) -> Matrix<'_> {
            Matrix::new(self.data(), self.size, self.strides)
        }
    }

    /// The range of the elements in the tensor's memory, if they are contiguous `f32`.
    pub(crate) fn elements(tensor: &FlexTensor) -> Option<Range<usize>> {
        let (start, end) = tensor.layout().contiguous_offsets().filter(|_| tensor.dtype() == DType::F32)?;
        Some(start..end)
    }
}

/// A column `[rows, 1]` on the device of `like`.
pub(crate) fn column<B: Backend, const D: usize>(values: Vec<f32>, like: &Tensor<B, D>) -> Tensor<B, 2> {
    let rows = values.len();
    Tensor::from_data(TensorData::new(values, [rows, 1]), &like.device())
}

/// The values of a column `[rows, 1]` that a fused function of this crate returned.
pub(crate) fn column_values<B: Backend>(column: &Tensor<B, 2>) -> Option<Vec<f32>> {
    HostRows::of(column).map(|rows| rows.as_slice().to_vec())
}
