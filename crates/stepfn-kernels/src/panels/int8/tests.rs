//! Products of rounded numbers are exact, and rounding is what it should be.

use super::*;
use crate::testing::{Flex, noise};
use proptest::prelude::*;

fn rounded_to(values: &[f32], greatest_whole: f32) -> (Vec<f64>, f64) {
    let scale = f64::from(greatest(values) / greatest_whole);
    (
        values
            .iter()
            .map(|&value| if scale > 0.0 { (f64::from(value) / scale).round_ties_even() } else { 0.0 })
            .collect(),
        scale,
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// With all instructions, on one thread and on several: rounding, then sums without any.
    #[test]
    fn products_are_those_of_rounded_numbers(
        (rows, inputs, outputs) in (1_usize..60, prop_oneof![1_usize..70, Just(513)], 1_usize..200),
        has_bias: bool,
        threads in 1_usize..4,
    ) {
        let weight = noise::<Flex, 2>([outputs, inputs], 2);
        let (x, bias) = (noise::<Flex, 2>([rows, inputs], 1), noise::<Flex, 2>([1, outputs], 3));
        let plain = |x: &Tensor<Flex, 2>| HostRows::of(x).expect("numbers in memory").as_slice().to_vec();
        let (of_x, of_weight, of_bias) = (plain(&x), plain(&weight), plain(&bias));
        for with in Instructions::all() {
            let stored = Int8::for_machine(&Strided::of(&weight).expect("numbers in memory"), with);
            let x = Matrix::new(&of_x, [rows, inputs], [inputs, 1]);
            let y = stored.products(x, has_bias.then_some(of_bias.as_slice()), threads);
            for (at, &y) in y.iter().enumerate() {
                let (row, output) = (at / outputs, at % outputs);
                let (a, scale_of_row) = rounded_to(&of_x[row * inputs..][..inputs], GREATEST);
                let (b, scale_of_output) = rounded_to(&of_weight[output * inputs..][..inputs], with.greatest());
                let sum: f64 = a.iter().zip(&b).map(|(a, b)| a * b).sum();
                let bias = if has_bias { f64::from(of_bias[output]) } else { 0.0 };
                let expected = sum * scale_of_row * scale_of_output + bias;
                // A number halfway between two may be rounded to either.
                let either = 2.0 * 127.0 * scale_of_row * scale_of_output;
                prop_assert!((f64::from(y) - expected).abs() <= 1e-5 * (1.0 + expected.abs()) + either, "{with:?} {y} {expected}");
            }
            let mut back = vec![0.0; inputs];
            stored.expand(outputs - 1, 0..inputs, &mut back);
            let from = &of_weight[(outputs - 1) * inputs..];
            let step = greatest(from) / with.greatest();
            prop_assert!(back.iter().zip(from).all(|(a, b)| (a - b).abs() <= 0.51 * step));
        }
    }
}

/// The greatest numbers there can be: nothing saturates.
#[test]
fn the_greatest_sums_are_exact() {
    for with in Instructions::all() {
        for sign in [1.0, -1.0] {
            let weight = Tensor::<Flex, 2>::full([33, 1024], sign, &Default::default());
            let x = vec![1.0; 1024];
            let stored = Int8::for_machine(&Strided::of(&weight).expect("numbers in memory"), with);
            for y in stored.products(Matrix::new(&x, [1, 1024], [1024, 1]), None, 1) {
                assert!((y - sign * 1024.0).abs() < 1e-2, "{y}");
            }
        }
    }
}

#[test]
fn what_is_no_number_stays_none() {
    let stored =
        Int8::of(&Strided::of(&noise::<Flex, 2>([3, 4], 1)).expect("numbers in memory")).expect("instructions");
    for broken in [f32::NAN, f32::INFINITY] {
        let x = [0.1, broken, 0.2, 0.3, 0.1, 0.2, 0.3, 0.4, 0.0, 0.0, 0.0, 0.0];
        let y = stored.products(Matrix::new(&x, [3, 4], [4, 1]), None, 1);
        assert!(y[..3].iter().all(|y| y.is_nan()) && y[3..6].iter().all(|y| y.is_finite()), "{y:?}");
        assert_eq!(y[6..], [0.0; 3]);
    }
}
