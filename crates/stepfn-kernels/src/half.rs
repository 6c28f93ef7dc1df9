//! Half precision, whose sums and squares are computed in single precision.

use burn::tensor::{DType, Tensor, backend::Backend};

/// Whether this type is too short for sums.
pub fn is_half(dtype: DType) -> bool {
    matches!(dtype, DType::F16 | DType::BF16)
}

/// Half precision as `f32`; anything else as it is.
pub fn widened<B: Backend, const D: usize>(x: Tensor<B, D>) -> Tensor<B, D> {
    if is_half(x.dtype()) { x.cast(DType::F32) } else { x }
}

/// The reverse of [`widened`]: as `dtype` if that is half precision.
pub fn narrowed<B: Backend, const D: usize>(x: Tensor<B, D>, dtype: DType) -> Tensor<B, D> {
    if is_half(dtype) { x.cast(dtype) } else { x }
}
