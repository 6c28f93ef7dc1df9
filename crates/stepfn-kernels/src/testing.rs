//! Shared test code of this crate: random logits and comparisons.

use burn::backend::Autodiff;
use burn::tensor::{DType, Shape, Tensor, TensorData, backend::Backend};
use proptest::prelude::*;

use crate::Cotangents;

pub(crate) type Flex = burn_flex::Flex;
pub(crate) type NdArray = burn_ndarray::NdArray<f32>;

/// A `[rows, width]` tensor of `values`.
pub(crate) fn tensor<B: Backend>(values: &[f32], rows: usize) -> Tensor<B, 2> {
    let width = values.len() / rows;
    Tensor::from_data(TensorData::new(values.to_vec(), [rows, width]), &B::Device::default())
}

/// Rows of logits: 1 to 5 rows, 2 to 700 tokens, from nearly uniform to extremely peaked.
pub(crate) fn logits_strategy() -> impl Strategy<Value = (usize, Vec<f32>)> {
    (1usize..6, 2usize..700, prop_oneof![Just(0.0f32), Just(1e-2), Just(1.0), Just(10.0), Just(1e4)]).prop_flat_map(
        |(rows, width, scale)| {
            let element = (-1.0f32..1.0).prop_map(move |x| x * scale);
            (Just(rows), prop::collection::vec(element, rows * width))
        },
    )
}

/// Values of a tensor, as `f64`.
pub(crate) fn values<B: Backend, const D: usize>(tensor: &Tensor<B, D>) -> Vec<f64> {
    tensor.to_data().iter::<f64>().collect()
}

/// Panics unless `|value − expected| ≤ tolerance · max(1, |expected|)` everywhere.
#[track_caller]
pub(crate) fn assert_close<B: Backend, const D: usize>(tensor: &Tensor<B, D>, expected: &[f64], tolerance: f64) {
    let values = values(tensor);
    assert_eq!(values.len(), expected.len());
    for (index, (value, expected)) in values.iter().zip(expected).enumerate() {
        let error = (value - expected).abs();
        assert!(error <= tolerance * expected.abs().max(1.0), "element {index}: {value} instead of {expected}");
    }
}

/// Pseudo-random `f32` numbers between −1 and 1 that depend only on the seed and the element's index.
pub(crate) fn noise<B: Backend, const D: usize>(shape: [usize; D], seed: u64) -> Tensor<B, D> {
    let mixed = |index: usize| {
        let mixed = (index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ seed.wrapping_mul(0xd1b5_4a32_d192_ed03);
        let mixed = (mixed ^ (mixed >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    let values: Vec<f32> = (0..Shape::from(shape).num_elements()).map(mixed).collect();
    Tensor::from_data(TensorData::new(values, shape), (&B::Device::default(), DType::F32))
}

/// [`noise`] in double precision, so that gradients agree to many digits.
pub(crate) fn double<const D: usize>(shape: [usize; D], seed: u64) -> Tensor<Flex, D> {
    noise(shape, seed).cast(DType::F64)
}

/// Calls `one` once for each cotangent, with the gradients of all texts, and joins the results.
pub(crate) fn one_by_one<B: Backend>(
    grad: &Tensor<B, 2>,
    cotangents: Cotangents,
    one: impl Fn(Tensor<B, 2>) -> Tensor<B, 2>,
) -> Tensor<B, 2> {
    let apart = cotangents.apart(grad.clone());
    let alone = Cotangents::one_each(cotangents.texts);
    let each = (0..cotangents.per_text).map(|index| {
        let grad = Cotangents::joined(apart.clone().slice_dim(1, index..index + 1));
        alone.apart(one(grad))
    });
    Cotangents::joined(Tensor::cat(each.collect(), 1))
}

/// The gradient of `x` by automatic differentiation, given the gradient `grad` of `forward(x)`.
pub(crate) fn autodiff<B: Backend>(
    x: &Tensor<B, 2>,
    grad: Tensor<B, 2>,
    forward: impl Fn(Tensor<Autodiff<B>, 2>) -> Tensor<Autodiff<B>, 2>,
) -> Tensor<B, 2> {
    let x = Tensor::from_inner(x.clone()).require_grad();
    let gradients = (forward(x.clone()) * Tensor::from_inner(grad)).sum().backward();
    x.grad(&gradients).expect("x is a leaf of the graph")
}

/// Panics unless all elements are within `tolerance` of each other, relative to the larger of 1 and `expected`.
#[track_caller]
pub(crate) fn assert_same<A: Backend, B: Backend, const D: usize>(
    tensor: &Tensor<A, D>,
    expected: &Tensor<B, D>,
    tolerance: f64,
) {
    assert_eq!(tensor.dims(), expected.dims());
    assert_close(tensor, &values(expected), tolerance);
}
