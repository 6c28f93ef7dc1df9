//! What the tests of this crate share: random logits and comparisons.

use burn::tensor::{Tensor, TensorData, backend::Backend};
use proptest::prelude::*;

pub(crate) type Flex = burn_flex::Flex;
pub(crate) type NdArray = burn_ndarray::NdArray<f32>;

/// `[rows, width]` of `values`.
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

/// Fails unless `|value − expected| ≤ tolerance · max(1, |expected|)` everywhere.
#[track_caller]
pub(crate) fn assert_close<B: Backend, const D: usize>(tensor: &Tensor<B, D>, expected: &[f64], tolerance: f64) {
    let values = values(tensor);
    assert_eq!(values.len(), expected.len());
    for (index, (value, expected)) in values.iter().zip(expected).enumerate() {
        let error = (value - expected).abs();
        assert!(error <= tolerance * expected.abs().max(1.0), "element {index}: {value} instead of {expected}");
    }
}
