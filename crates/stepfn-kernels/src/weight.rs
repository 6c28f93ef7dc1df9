//! Weights of linear layers and embeddings: a tensor, or rows in the form in which a file has them.
//!
//! Files have weights in half precision, or in blocks of few-bit numbers. They stay as small: products expand a tile at a time,
//! forward (`x Wᵀ`) and backward (`dy W`).

use core::any::Any;
use core::fmt::Debug;
use core::ops::Range;
use std::sync::Arc;

use burn::tensor::{DType, Int, Tensor, TensorData, backend::Backend};
use rayon::prelude::*;

pub use crate::panels::Panels;
use crate::{half, linear};

/// A matrix whose elements are stored in another form than products read, in memory that this value keeps.
pub trait StoredRows: Any + Debug + Send + Sync {
    /// Rows and columns.
    fn size(&self) -> [usize; 2];

    /// How many elements of a row are stored together. They divide the columns.
    fn block(&self) -> usize;

    /// An element type that has each of the elements as it is: `F16` or `BF16`, if that is how they are stored.
    fn element(&self) -> DType {
        DType::F32
    }

    /// Writes the elements of a row that are in a range of columns, which starts and ends where blocks do.
    fn expand(&self, row: usize, columns: Range<usize>, values: &mut [f32]);
}

/// The weight of a linear layer, `[out, in]`, or of an embedding, `[tokens, size]`.
#[derive(Debug, Clone)]
pub enum Weight<B: Backend> {
    /// A tensor on a device.
    Tensor(Tensor<B, 2>),
    /// Rows that are laid out for products ([`Panels`]), or are expanded when they are needed: on the CPU a tile at a time, elsewhere all of them for each
    /// product.
    Stored(Arc<dyn StoredRows>),
}

impl<B: Backend> Weight<B> {
    /// Whether products of this backend expand [`StoredRows`] a tile at a time, in single precision. If not, read them once, as a tensor.
    pub fn expands_tiles(dtype: DType) -> bool {
        #[cfg(feature = "flex")]
        {
            use core::any::TypeId;
            dtype == DType::F32 && TypeId::of::<B::FloatTensorPrimitive>() == TypeId::of::<burn_flex::FlexTensor>()
        }
        #[cfg(not(feature = "flex"))]
        {
            let _ = dtype;
            false
        }
    }

    /// The weight in a tensor, laid out for products if this backend and this machine have them.
    pub fn of(tensor: Tensor<B, 2>) -> Self {
        #[cfg(feature = "flex")]
        if Self::expands_tiles(tensor.dtype())
            && Panels::is_supported()
            && let Some(rows) = crate::host::flex::Strided::of(&tensor)
        {
            return Self::Stored(Arc::new(Panels::of(&rows)));
        }
        Self::Tensor(tensor)
    }

    /// Rows in the form in which they are, but for those in half precision, which are laid out for products where [`of`](Self::of) would do that. They stay in
    /// half precision.
    pub fn of_stored(rows: Arc<dyn StoredRows>) -> Self {
        let has_panels = Self::expands_tiles(DType::F32) && Panels::is_supported();
        match half::is_half(rows.element()) && has_panels && Form::of(rows.as_ref()) == Form::Expanded {
            true => Self::Stored(Form::Panels.laid_out(rows)),
            false => Self::Stored(rows),
        }
    }

    /// Whether this backend and this machine multiply weights of 8 bits.
    pub fn has_int8() -> bool {
        Self::expands_tiles(DType::F32) && Form::Int8.is_supported()
    }

    /// The weight rounded to 8 bits, by output, for products with rows that are rounded to 8 bits too. Gradients are those of the rounded weight, for rows in single precision.
    ///
    /// # Panics
    /// If there are [no such products](Self::has_int8).
    pub fn in_int8(self) -> Self {
        assert!(Self::has_int8(), "this machine doesn't multiply weights of 8 bits");
        match self {
            Self::Stored(stored) => Self::Stored(Form::Int8.laid_out(stored)),
            #[cfg(feature = "flex")]
            Self::Tensor(tensor) => match crate::host::flex::Strided::of(&tensor) {
                Some(rows) => Self::Stored(Form::Int8.laid_out(rows)),
                None => Self::Tensor(tensor),
            },
            #[cfg(not(feature = "flex"))]
            tensor => tensor,
        }
    }

    /// The rows with these numbers, in this order, as a weight.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn chosen(self, rows: &[usize]) -> Self {
        match self {
            Self::Tensor(tensor) => {
                let numbers: Vec<i32> = rows.iter().map(|&row| row as i32).collect();
                let numbers = Tensor::<B, 1, Int>::from_data(TensorData::new(numbers, [rows.len()]), &tensor.device());
                Self::Tensor(tensor.select(0, numbers))
            }
            Self::Stored(stored) => {
                let form = Form::of(stored.as_ref());
                let chosen = ChosenRows::new(stored, rows.iter().copied());
                Self::Stored(form.laid_out(chosen))
            }
        }
    }

    /// The weight in panels, if it is.
    #[cfg(all(feature = "flex", target_arch = "x86_64"))]
    fn panels(&self) -> Option<&Panels> {
        match self {
            Self::Stored(stored) => (stored.as_ref() as &dyn Any).downcast_ref(),
            Self::Tensor(_) => None,
        }
    }

    /// Rows and columns.
    pub fn size(&self) -> [usize; 2] {
        match self {
            Self::Tensor(tensor) => tensor.dims(),
            Self::Stored(rows) => rows.size(),
        }
    }

    /// `x Wᵀ + b`.
    ///
    /// # Shapes
    /// - `x`: `[rows, in]`
    /// - `bias`: `[1, out]`
    /// - result: `[rows, out]`
    ///
    /// # Panics
    /// If the shapes don't match.
    pub fn linear(&self, x: Tensor<B, 2>, bias: Option<&Tensor<B, 2>>) -> Tensor<B, 2> {
        let stored = match self {
            Self::Tensor(tensor) => return linear::linear(x, &tensor.clone().transpose(), bias),
            Self::Stored(stored) => stored.as_ref(),
        };
        #[cfg(feature = "flex")]
        if let Some(y) = linear::stored::linear(&x, stored, bias) {
            return y;
        }
        let weight = expanded(stored, &x).transpose();
        linear::composed(x, &weight, bias)
    }

    /// [`linear`](Self::linear) for each of some weights, with their biases: where they are laid out for products, they share the work on `x`.
    ///
    /// # Panics
    /// If the shapes don't match.
    pub fn linear_all<const N: usize>(
        x: Tensor<B, 2>,
        layers: [(&Self, Option<&Tensor<B, 2>>); N],
    ) -> [Tensor<B, 2>; N] {
        #[cfg(all(feature = "flex", target_arch = "x86_64"))]
        {
            let laid_out: Vec<_> = layers.iter().filter_map(|(weight, bias)| Some((weight.panels()?, *bias))).collect();
            let all = if laid_out.len() == N { crate::panels::products::linear(&x, &laid_out) } else { None };
            if let Some(Ok(all)) = all.map(<[Tensor<B, 2>; N]>::try_from) {
                return all;
            }
        }
        layers.map(|(weight, bias)| weight.linear(x.clone(), bias))
    }

    /// Pulls gradients of [`linear`](Self::linear) back: `grad W`.
    ///
    /// # Shapes
    /// - `grad`: `[rows, out]`
    /// - result: `[rows, in]`
    ///
    /// # Panics
    /// If the shapes don't match.
    pub fn pull(&self, grad: Tensor<B, 2>) -> Tensor<B, 2> {
        let stored = match self {
            Self::Tensor(tensor) => return linear::linear(grad, tensor, None),
            Self::Stored(stored) => stored.as_ref(),
        };
        #[cfg(feature = "flex")]
        if let Some(to_x) = linear::stored::pull(&grad, stored) {
            return to_x;
        }
        let weight = expanded(stored, &grad);
        linear::composed(grad, &weight, None)
    }

    /// The sum of what [`pull`](Self::pull) makes of some weights' gradients, for weights that read the same.
    ///
    /// # Panics
    /// If the shapes don't match.
    pub fn pull_all<const N: usize>(terms: [(&Self, Tensor<B, 2>); N]) -> Tensor<B, 2> {
        #[cfg(all(feature = "flex", target_arch = "x86_64"))]
        {
            let laid_out: Vec<_> = terms.iter().filter_map(|(weight, grad)| Some((weight.panels()?, grad))).collect();
            let all = if laid_out.len() == N { crate::panels::products::pull(&laid_out) } else { None };
            if let Some(to_x) = all {
                return to_x;
            }
        }
        let sum = terms.into_iter().map(|(weight, grad)| weight.pull(grad)).reduce(|sum, to_x| sum + to_x);
        sum.expect("there is a weight")
    }

    /// The rows with these numbers, such as the embeddings of tokens.
    ///
    /// # Shapes
    /// - result: `[numbers, columns]`
    ///
    /// # Panics
    /// If there is no such row.
    pub fn select(&self, numbers: Vec<i32>, device: &B::Device) -> Tensor<B, 2> {
        let (len, [rows, columns]) = (numbers.len(), self.size());
        match self {
            Self::Tensor(tensor) => {
                let numbers = Tensor::<B, 1, Int>::from_data(TensorData::new(numbers, [len]), device);
                tensor.clone().select(0, numbers)
            }
            Self::Stored(stored) => {
                let mut values = vec![0.0; len * columns];
                let selected = values.par_chunks_exact_mut(columns.max(1)).zip(&numbers).with_min_len(16);
                selected.for_each(|(values, &number)| {
                    let number = usize::try_from(number).ok().filter(|&number| number < rows);
                    stored.expand(number.expect("there is no such row"), 0..columns, values);
                });
                Tensor::from_data(TensorData::new(values, [len, columns]), (device, DType::F32))
            }
        }
    }
}

/// How stored rows are multiplied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Expanded a tile at a time.
    Expanded,
    Panels,
    Int8,
}

impl Form {
    fn of(rows: &dyn StoredRows) -> Self {
        #[cfg(all(feature = "flex", target_arch = "x86_64"))]
        if (rows as &dyn Any).is::<crate::panels::int8::Int8>() {
            return Self::Int8;
        }
        if (rows as &dyn Any).is::<Panels>() { Self::Panels } else { Self::Expanded }
    }

    fn is_supported(self) -> bool {
        match self {
            Self::Expanded => true,
            Self::Panels => Panels::is_supported(),
            #[cfg(all(feature = "flex", target_arch = "x86_64"))]
            Self::Int8 => crate::panels::int8::is_supported(),
            #[cfg(not(all(feature = "flex", target_arch = "x86_64")))]
            Self::Int8 => false,
        }
    }

    /// Rows in this form, which must be supported.
    fn laid_out(self, rows: impl StoredRows) -> Arc<dyn StoredRows> {
        match self {
            Self::Expanded => Arc::new(rows),
            Self::Panels => Arc::new(Panels::of(&rows)),
            #[cfg(all(feature = "flex", target_arch = "x86_64"))]
            Self::Int8 => match crate::panels::int8::Int8::of(&rows) {
                Some(rounded) => Arc::new(rounded),
                None => Arc::new(rows),
            },
            #[cfg(not(all(feature = "flex", target_arch = "x86_64")))]
            Self::Int8 => Arc::new(rows),
        }
    }
}

/// Rows that are shared are rows too.
impl<T: StoredRows + ?Sized> StoredRows for Arc<T>
where
    Arc<T>: Any,
{
    fn size(&self) -> [usize; 2] {
        self.as_ref().size()
    }

    fn block(&self) -> usize {
        self.as_ref().block()
    }

    fn element(&self) -> DType {
        self.as_ref().element()
    }

    fn expand(&self, row: usize, columns: Range<usize>, values: &mut [f32]) {
        self.as_ref().expand(row, columns, values);
    }
}

/// All rows as a tensor like another.
fn expanded<B: Backend>(stored: &dyn StoredRows, like: &Tensor<B, 2>) -> Tensor<B, 2> {
    let [rows, columns] = stored.size();
    let mut values = vec![0.0; rows * columns];
    let each = values.par_chunks_exact_mut(columns.max(1)).enumerate().with_min_len(16);
    each.for_each(|(row, values)| stored.expand(row, 0..columns, values));
    let data = TensorData::new(values, [rows, columns]).convert_dtype(like.dtype());
    Tensor::from_data(data, (&like.device(), like.dtype()))
}

/// Some rows of a matrix, in any order.
#[derive(Debug, Clone)]
pub struct ChosenRows {
    of: Arc<dyn StoredRows>,
    rows: Vec<usize>,
}

impl ChosenRows {
    /// Rows with these numbers.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn new(of: Arc<dyn StoredRows>, rows: impl IntoIterator<Item = usize>) -> Self {
        let (count, rows) = (of.size()[0], Vec::from_iter(rows));
        assert!(rows.iter().all(|&row| row < count), "rows of a matrix of {count} rows");
        Self { of, rows }
    }
}

impl StoredRows for ChosenRows {
    fn size(&self) -> [usize; 2] {
        [self.rows.len(), self.of.size()[1]]
    }

    fn block(&self) -> usize {
        self.of.block()
    }

    fn element(&self) -> DType {
        self.of.element()
    }

    fn expand(&self, row: usize, columns: Range<usize>, values: &mut [f32]) {
        self.of.expand(self.rows[row], columns, values);
    }
}

#[cfg(test)]
mod tests;
