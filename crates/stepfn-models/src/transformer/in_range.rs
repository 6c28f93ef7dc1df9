//! Cotangents of models in half precision, kept in the range of their numbers.
//!
//! The smallest number of `f16` is 6e-8, and the derivative of a probability may well be smaller. Every cotangent is therefore multiplied by a
//! power of two, which rounds nothing, so that its largest element is about 1. The way back is linear: what arrives is multiplied by the
//! inverse power, in single precision. Other element types need none of this, and nothing happens to them.

use burn::tensor::{DType, Tensor, TensorData, backend::Backend};
use stepfn_kernels::{is_half, narrowed, widened};

use crate::ModelError;

/// Cotangents in the range of the model's numbers.
#[derive(Debug)]
pub(crate) struct InRange<B: Backend> {
    /// The cotangents, in the model's element type, `[rows, size]`.
    pub(crate) grad: Tensor<B, 2>,
    inverse: Inverse<B>,
}

/// What results are multiplied by: one number for each cotangent, `[cotangents, 1]`; `None` if that is 1.
#[derive(Debug, Clone)]
pub(crate) struct Inverse<B: Backend>(Option<Tensor<B, 2>>);

impl<B: Backend> InRange<B> {
    /// Cotangents for a model with this element type. Each has as many rows as `rows` says, one cotangent after the other.
    ///
    /// # Shapes
    /// - `grad`: `[sum of rows, size]`
    pub(crate) fn of(grad: Tensor<B, 2>, dtype: DType, rows: impl Iterator<Item = usize>) -> Self {
        if !is_half(dtype) {
            return Self { grad, inverse: Inverse::none() };
        }
        let grad = widened(grad);
        let mut largest = grad.clone().abs().max_dim(1).into_data().iter::<f32>().collect::<Vec<_>>().into_iter();
        let (mut factors, mut inverse) = (Vec::new(), Vec::new());
        for rows in rows {
            let power = power_of_two(largest.by_ref().take(rows).fold(0.0, f32::max));
            factors.extend(core::iter::repeat_n(power.recip(), rows));
            inverse.push(power);
        }
        let column = |values: Vec<f32>| {
            let shape = [values.len(), 1];
            Tensor::from_data(TensorData::new(values, shape), (&grad.device(), DType::F32))
        };
        let in_range = grad.clone() * column(factors);
        Self { grad: narrowed(in_range, dtype), inverse: Inverse(Some(column(inverse))) }
    }

    /// The cotangents, and what restores their results.
    pub(crate) fn split(self) -> (Tensor<B, 2>, Inverse<B>) {
        (self.grad, self.inverse)
    }
}

impl<B: Backend> Inverse<B> {
    /// Results that stay as they are.
    pub(crate) fn none() -> Self {
        Self(None)
    }

    /// What the results would be of the cotangents as they were, in single precision.
    ///
    /// # Shapes
    /// - `x`, result: `[cotangents · rows, size]`
    ///
    /// # Errors
    /// [`ModelError::Overflow`] if the results have left the range of half precision.
    pub(crate) fn restored<const D: usize>(&self, x: Tensor<B, D>) -> Result<Tensor<B, D>, ModelError> {
        let Some(inverse) = &self.0 else { return Ok(x) };
        let (shape, dtype) = (x.shape(), x.dtype());
        let x = widened(x);
        let finite = x.clone().abs().lower_equal_elem(f32::MAX).all();
        if !finite.into_data().iter::<bool>().all(|finite| finite) {
            return Err(ModelError::Overflow { dtype });
        }
        let [cotangents, _] = inverse.dims();
        let apart = x.reshape([cotangents, shape.num_elements() / cotangents.max(1)]);
        Ok((apart * inverse.clone()).reshape(shape))
    }
}

/// The largest power of two that is not above this number; 1 for 0 and for what is not finite.
fn power_of_two(number: f32) -> f32 {
    /// The bits of a float's exponent.
    const EXPONENT: u32 = 0x7f80_0000;
    if number == 0.0 || !number.is_finite() {
        return 1.0;
    }
    // The inverse has to be a normal number too.
    f32::from_bits(number.to_bits() & EXPONENT).clamp(f32::MIN_POSITIVE, f32::MIN_POSITIVE.recip())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type B = stepfn_cpu::flex::Backend;

    fn rows(values: &[f32], width: usize) -> Tensor<B, 2> {
        let data = TensorData::new(values.to_vec(), [values.len() / width, width]);
        Tensor::from_data(data, (&Default::default(), DType::F32))
    }

    fn values(x: Tensor<B, 2>) -> Vec<f32> {
        x.into_data().iter::<f32>().collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn cotangents_of_any_size_keep_their_digits(
            numbers in prop::collection::vec(0.5..1.0f32, 12),
            powers in [-120..=120i32, -120..=120i32, -120..=120i32],
        ) {
            // Three cotangents of two rows each.
            let grad: Vec<f32> = numbers.iter().enumerate().map(|(i, x)| x * 2f32.powi(powers[i / 4])).collect();
            for dtype in [DType::F16, DType::BF16] {
                let (in_range, inverse) = InRange::of(rows(&grad, 2), dtype, [2; 3].into_iter()).split();
                prop_assert_eq!(in_range.dtype(), dtype);
                prop_assert!(values(in_range.clone()).iter().all(|x| (0.25..=2.0).contains(x)));
                let restored = values(inverse.restored(in_range).unwrap());
                for (found, expected) in restored.iter().zip(&grad) {
                    prop_assert!((found / expected - 1.0).abs() < 1e-2, "{found} instead of {expected}");
                }
            }
        }
    }

    #[test]
    fn zeros_stay_zeros() {
        let (grad, inverse) = InRange::of(rows(&[0.0, -0.0], 2), DType::F16, [1].into_iter()).split();
        assert_eq!(values(inverse.restored(grad).unwrap()), [0.0, 0.0]);
    }

    #[test]
    fn results_that_left_half_precision_are_an_error() {
        let (grad, inverse) = InRange::of(rows(&[1.0, 1.0], 2), DType::F16, [1].into_iter()).split();
        let error = inverse.restored(grad.mul_scalar(1e5)).unwrap_err();
        assert_eq!(error, ModelError::Overflow { dtype: DType::F16 });
        assert_eq!(error.to_string(), "the gradient has numbers that are larger than f16 can hold");
    }
}
