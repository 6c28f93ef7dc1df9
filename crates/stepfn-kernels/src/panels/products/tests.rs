//! Products are the sums that they stand for, whatever the batch, the cores and the instructions.

use super::pulling::{counting, pull_few};
use super::*;
use crate::panels::tiles::MOST_DOTS;
use crate::testing::{Flex, noise};
use crate::weight::{StoredRows, Weight};
use burn::tensor::{DType, bf16, f16};
use proptest::prelude::*;

fn length() -> impl Strategy<Value = usize> {
    prop_oneof![1_usize..50, Just(512), (1_usize..9).prop_map(|panels| 32 * panels), 1_usize..300, Just(1500)]
}

fn rows() -> impl Strategy<Value = usize> {
    prop_oneof![1_usize..14, 14_usize..70, Just(300)]
}

fn element() -> impl Strategy<Value = DType> {
    prop_oneof![Just(DType::F32), Just(DType::F16), Just(DType::BF16)]
}

/// Rows that are rounded to an element type.
#[derive(Debug)]
struct Rounded(Strided<2>, DType);

impl StoredRows for Rounded {
    fn size(&self) -> [usize; 2] {
        self.0.size()
    }

    fn block(&self) -> usize {
        1
    }

    fn element(&self) -> DType {
        self.1
    }

    fn expand(&self, row: usize, columns: Range<usize>, values: &mut [f32]) {
        self.0.expand(row, columns, values);
        for value in values {
            *value = match self.1 {
                DType::F16 => f16::from_f32(*value).to_f32(),
                DType::BF16 => bf16::from_f32(*value).to_f32(),
                _ => *value,
            };
        }
    }
}

/// A weight, as numbers and in panels.
fn weight([outputs, inputs]: [usize; 2], element: DType) -> (Vec<f32>, Panels) {
    let rounded = Rounded(Strided::of(&noise::<Flex, 2>([outputs, inputs], 2)).expect("numbers in memory"), element);
    let mut numbers = vec![0.0; outputs * inputs];
    numbers.chunks_exact_mut(inputs).enumerate().for_each(|(row, to)| rounded.expand(row, 0..inputs, to));
    let panels = Panels::of(&rounded);
    assert_eq!(panels.element(), element);
    (numbers, panels)
}

fn numbers(size: [usize; 2], seed: u64) -> Vec<f32> {
    HostRows::of(&noise::<Flex, 2>(size, seed)).expect("numbers in memory").as_slice().to_vec()
}

/// Panics unless each element is the sum of the products, up to rounding.
fn assert_sums(
    actual: &[f32],
    width: usize,
    terms: usize,
    products: impl Fn(usize, usize, usize) -> f64,
    plus: impl Fn(usize) -> f64,
) {
    for (at, &actual) in actual.iter().enumerate() {
        let (row, column) = (at / width, at % width);
        let each = (0..terms).map(|term| products(row, column, term));
        let (sum, size) = each.fold((plus(column), 1.0), |(sum, size), term| (sum + term, size + term.abs()));
        assert!((f64::from(actual) - sum).abs() <= 1e-6 * size, "({row}, {column}): {actual}, not {sum}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// With all instructions, on one thread and on several.
    #[test]
    fn products_are_sums((rows, inputs, outputs) in (rows(), length(), length()), element in element(), (has_bias, zeros) in any::<(bool, bool)>(), threads in 1_usize..4) {
        let (plain, panels) = weight([outputs, inputs], element);
        let (x, mut dy, bias) = (numbers([rows, inputs], 1), numbers([rows, outputs], 3), numbers([1, outputs], 4));
        for row in (0..rows).filter(|row| zeros && row % 5 > 1) {
            dy[row * outputs..][..outputs].fill(0.0);
        }
        let bias = has_bias.then_some(bias.as_slice());
        for with in Instructions::all() {
            let work = Work { weight: &panels, with, rows, threads };
            let y = work.linear(Matrix::new(&x, [rows, inputs], [inputs, 1]), bias);
            let product = |row: usize, column: usize, term: usize| f64::from(x[row * inputs + term]) * f64::from(plain[column * inputs + term]);
            assert_sums(&y, outputs, inputs, product, |column| bias.map_or(0.0, |bias| f64::from(bias[column])));
            let grad = Matrix::new(&dy, [rows, outputs], [outputs, 1]);
            let product = |row: usize, column: usize, term: usize| f64::from(dy[row * outputs + term]) * f64::from(plain[term * inputs + column]);
            assert_sums(&work.pull(grad), inputs, outputs, product, |_| 0.0);
            let terms = [(work, grad)];
            let counting = counting(&terms, rows);
            if counting.len() <= MOST_DOTS {
                assert_sums(&pull_few(&terms, &counting), inputs, outputs, product, |_| 0.0);
            }
        }
    }

    /// To the last bit: what a batch holds besides a row does not matter, nor how many cores there are, nor which instructions they have.
    #[test]
    fn rows_do_not_depend_on_each_other((rows, inputs, outputs) in (rows(), length(), length()), element in element(), row in any::<prop::sample::Index>(), threads in 1_usize..4) {
        let (_, panels) = weight([outputs, inputs], element);
        let x = numbers([rows, inputs], 1);
        let row = row.index(rows);
        let alone = |with| {
            let x = Matrix::new(&x[row * inputs..][..inputs], [1, inputs], [inputs, 1]);
            Work { weight: &panels, with, rows: 1, threads: 1 }.linear(x, None)
        };
        for with in Instructions::all() {
            let together = Work { weight: &panels, with, rows, threads }.linear(Matrix::new(&x, [rows, inputs], [inputs, 1]), None);
            for other in Instructions::all() {
                prop_assert_eq!(&together[row * outputs..][..outputs], alone(other));
            }
        }
    }

    /// To the last bit.
    #[test]
    fn layers_that_share_their_input_don_t_change((rows, inputs) in (rows(), length()), outputs in prop::collection::vec(length(), 1..4)) {
        let x = noise::<Flex, 2>([rows, inputs], 1);
        let panels: Vec<Panels> = outputs.iter().map(|&outputs| weight([outputs, inputs], DType::F32).1).collect();
        let biases: Vec<Tensor<Flex, 2>> = outputs.iter().map(|&outputs| noise([1, outputs], 4)).collect();
        let layers: Vec<_> = panels.iter().zip(&biases).map(|(panels, bias)| (panels, Some(bias))).collect();
        let together = linear(&x, &layers).expect("tensors in memory");
        for (layer, together) in layers.iter().zip(together) {
            let alone = linear(&x, &[*layer]).expect("tensors in memory").swap_remove(0);
            prop_assert_eq!(together.into_data(), alone.into_data());
        }
    }

    #[test]
    fn gradients_of_layers_that_share_their_input_add_up((rows, inputs) in (rows(), length()), outputs in prop::collection::vec(length(), 1..4)) {
        let weights: Vec<(Vec<f32>, Panels)> = outputs.iter().map(|&outputs| weight([outputs, inputs], DType::F32)).collect();
        let grads: Vec<Tensor<Flex, 2>> = (3..).zip(&outputs).map(|(seed, &outputs)| noise([rows, outputs], seed)).collect();
        let terms: Vec<_> = weights.iter().zip(&grads).map(|((_, panels), grad)| (panels, grad)).collect();
        let to_x = pull(&terms).expect("tensors in memory");
        // As if the weights were one below the other, and the gradients side by side.
        let below: Vec<f32> = weights.iter().flat_map(|(plain, _)| plain.iter().copied()).collect();
        let beside = HostRows::of(&Tensor::cat(grads, 1)).expect("numbers in memory").as_slice().to_vec();
        let terms = outputs.iter().sum();
        let product = |row: usize, column: usize, term: usize| f64::from(beside[row * terms + term]) * f64::from(below[term * inputs + column]);
        let to_x = HostRows::of(&to_x).expect("numbers in memory").as_slice().to_vec();
        assert_sums(&to_x, inputs, terms, product, |_| 0.0);
    }

    #[test]
    fn factors_with_any_strides_are_read((rows, inputs, outputs) in (rows(), length(), length())) {
        let (_, panels) = weight([outputs, inputs], DType::F32);
        let [x, dy] = [(inputs, 1), (outputs, 3)].map(|(columns, seed)| noise::<Flex, 2>([columns, rows], seed).transpose());
        let contiguous = |x: &Tensor<Flex, 2>| Tensor::from_data(x.to_data(), &Default::default());
        let same = |a: Option<Tensor<Flex, 2>>, b: Option<Tensor<Flex, 2>>| a.map(|a| a.into_data()) == b.map(|b| b.into_data());
        prop_assert!(same(panels.linear(&x, None), panels.linear(&contiguous(&x), None)));
        prop_assert!(same(panels.pull(&dy), panels.pull(&contiguous(&dy))));
    }

    #[test]
    fn rows_are_read_and_chosen((outputs, inputs) in (length(), length()), element in element(), order in prop::collection::vec(any::<prop::sample::Index>(), 1..40)) {
        let (plain, panels) = weight([outputs, inputs], element);
        let order: Vec<usize> = order.iter().map(|index| index.index(outputs)).collect();
        let chosen = Weight::<Flex>::Stored(std::sync::Arc::new(panels)).chosen(&order);
        let all = chosen.select((0..order.len() as i32).collect(), &Default::default());
        let expected: Vec<f32> = order.iter().flat_map(|&row| &plain[row * inputs..][..inputs]).copied().collect();
        prop_assert_eq!(all.into_data().to_vec::<f32>().expect("numbers"), expected);
        let Weight::Stored(chosen) = chosen else { unreachable!("it was stored") };
        prop_assert!((chosen.as_ref() as &dyn core::any::Any).is::<Panels>());
        prop_assert_eq!(chosen.element(), element);
    }
}
