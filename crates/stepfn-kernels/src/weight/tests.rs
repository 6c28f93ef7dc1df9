//! Stored rows multiply as tensors do.

use super::*;
use crate::testing::{Flex, NdArray, assert_same, autodiff, noise};
use burn::backend::Autodiff;
use proptest::prelude::*;

/// Bytes that stand for numbers, so many at a time.
#[derive(Debug)]
struct Bytes {
    size: [usize; 2],
    block: usize,
    bytes: Vec<i8>,
}

impl Bytes {
    fn new(rows: usize, [block, blocks]: [usize; 2]) -> Self {
        let columns = block * blocks;
        let byte = |at: usize| ((at as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as i8;
        Self { size: [rows, columns], block, bytes: (0..rows * columns).map(byte).collect() }
    }

    fn values(&self) -> Vec<f32> {
        self.bytes.iter().map(|&byte| f32::from(byte) / 128.0).collect()
    }

    fn tensor<B: Backend>(&self) -> Tensor<B, 2> {
        Tensor::from_data(TensorData::new(self.values(), self.size), (&Default::default(), DType::F32))
    }
}

impl StoredRows for Bytes {
    fn size(&self) -> [usize; 2] {
        self.size
    }

    fn block(&self) -> usize {
        self.block
    }

    fn expand(&self, row: usize, columns: Range<usize>, values: &mut [f32]) {
        assert!([columns.start, columns.end].iter().all(|end| end.is_multiple_of(self.block)), "{columns:?}");
        assert_eq!(values.len(), columns.len());
        let row = &self.bytes[row * self.size[1]..][columns];
        values.iter_mut().zip(row).for_each(|(value, &byte)| *value = f32::from(byte) / 128.0);
    }
}

/// The stored weight, its tensor on another backend, and the tolerance of sums of so many terms.
fn both(stored: Bytes) -> (Weight<Flex>, Weight<NdArray>, f64) {
    let tolerance = 1e-5_f64.max(2e-6 * (stored.size[0].max(stored.size[1]) as f64).sqrt());
    let tensor = Weight::Tensor(stored.tensor());
    (Weight::Stored(Arc::new(stored)), tensor, tolerance)
}

fn blocks() -> impl Strategy<Value = [usize; 2]> {
    prop_oneof![
        (Just(1_usize), 1_usize..300).prop_map(|(block, blocks)| [block, blocks]),
        (Just(32_usize), 1_usize..20).prop_map(|(block, blocks)| [block, blocks]),
        (Just(256_usize), 1_usize..5).prop_map(|(block, blocks)| [block, blocks]),
    ]
}

proptest! {
    #[test]
    fn stored_rows_multiply_as_a_tensor(
        rows in prop_oneof![Just(1_usize), 2..70_usize, Just(600)],
        outputs in 1_usize..200,
        blocks in blocks(),
        bias: bool,
        threads in 1_usize..6,
    ) {
        let (stored, tensor, tolerance) = both(Bytes::new(outputs, blocks));
        let [_, inputs] = stored.size();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        let (y, to_x) = pool.install(|| {
            let bias = bias.then(|| noise([1, outputs], 3));
            (stored.linear(noise([rows, inputs], 1), bias.as_ref()), stored.pull(noise([rows, outputs], 2)))
        });
        let bias = bias.then(|| noise([1, outputs], 3));
        assert_same(&y, &tensor.linear(noise([rows, inputs], 1), bias.as_ref()), tolerance);
        assert_same(&to_x, &tensor.pull(noise([rows, outputs], 2)), tolerance);
    }

    #[test]
    fn chosen_rows_are_selected(rows in proptest::collection::vec(0_usize..20, 1..40), blocks in blocks()) {
        let (stored, tensor, _) = both(Bytes::new(20, blocks));
        let Weight::Stored(all) = &stored else { unreachable!("it is stored") };
        let numbers = || rows.iter().map(|&row| row as i32).collect();
        let expected = tensor.select(numbers(), &Default::default());
        assert_same(&stored.select(numbers(), &Default::default()), &expected, 0.0);
        let chosen = Weight::<Flex>::Stored(Arc::new(ChosenRows::new(all.clone(), rows.clone())));
        let in_order = (0..rows.len() as i32).collect();
        assert_same(&chosen.select(in_order, &Default::default()), &expected, 0.0);
    }
}

/// Several tiles in either direction, on several threads, with rows that collide in caches and a last tile that is smaller.
#[test]
fn large_weights_multiply_as_a_tensor() {
    for (rows, outputs, blocks) in [(40, 1100, [256, 4]), (1, 1100, [32, 33]), (1700, 900, [1, 513])] {
        let (stored, tensor, tolerance) = both(Bytes::new(outputs, blocks));
        let [_, inputs] = stored.size();
        let y = stored.linear(noise([rows, inputs], 1), None);
        assert_same(&y, &tensor.linear(noise([rows, inputs], 1), None), tolerance);
        let to_x = stored.pull(noise([rows, outputs], 2));
        assert_same(&to_x, &tensor.pull(noise([rows, outputs], 2)), tolerance);
    }
}

/// On backends without fused loops, and in double precision.
#[test]
fn all_rows_are_expanded_elsewhere() {
    let stored = || Arc::new(Bytes::new(7, [32, 2]));
    let tensor = Weight::<NdArray>::Tensor(stored().tensor());
    let elsewhere = Weight::<NdArray>::Stored(stored());
    let bias = noise([1, 7], 3);
    let expected = tensor.linear(noise([5, 64], 1), Some(&bias));
    assert_same(&elsewhere.linear(noise([5, 64], 1), Some(&bias)), &expected, 0.0);
    assert_same(&elsewhere.pull(noise([5, 7], 2)), &tensor.pull(noise([5, 7], 2)), 0.0);
    let double = Weight::<Flex>::Stored(stored());
    let y = double.linear(noise([5, 64], 1).cast(DType::F64), Some(&noise([1, 7], 3).cast(DType::F64)));
    assert_eq!(y.dtype(), DType::F64);
    assert_same(&y, &expected, 1e-5);
    let f32 = DType::F32;
    assert!(Weight::<Flex>::expands_tiles(f32) && !Weight::<Flex>::expands_tiles(DType::F64));
    assert!(!Weight::<NdArray>::expands_tiles(f32) && !Weight::<Autodiff<Flex>>::expands_tiles(f32));
}

#[test]
fn gradients_are_those_of_automatic_differentiation() {
    let stored = Arc::new(Bytes::new(300, [256, 2]));
    let lifted = Weight::<Autodiff<Flex>>::Stored(stored.clone());
    let grad = noise::<Flex, 2>([9, 300], 2);
    let expected = autodiff(&noise([9, 512], 1), grad.clone(), |x| lifted.linear(x, None));
    assert_same(&Weight::<Flex>::Stored(stored).pull(grad), &expected, 1e-4);
}
