//! Gradients of step functions against central differences of the independent reference.

use burn::backend::Autodiff;
use burn::tensor::{DType, Tensor, backend::Backend};
use serde_json::{Map, Value};
use stepfn_core::{Alignment, Contrast, Registry, StepBatch};

use crate::case::{Case, matrix};
use crate::reference;
use crate::values::functions;

/// The gradient of the sum of all scores with respect to the logits of every pass, by autodiff. The result concatenates the three passes.
fn by_autodiff<B: Backend>(
    function: &str,
    parameters: &Map<String, Value>,
    case: &Case,
    dtype: DType,
    device: &B::Device,
) -> Option<Vec<f64>> {
    type Tracked<B> = Autodiff<B>;
    let function = Registry::<Tracked<B>>::default().make(function, parameters).unwrap();
    if !function.is_differentiable() {
        return None;
    }
    let leaf = |values: &[f64], rows: usize| matrix::<Tracked<B>>(values, rows, dtype, device).require_grad();
    let logits = leaf(&case.logits, case.rows);
    let contrast_logits = leaf(&case.contrast_logits, case.rows);
    let noisy_logits = leaf(&case.noisy_logits, case.n_noisy * case.rows);
    let contrast =
        Contrast::new(contrast_logits.clone(), &case.contrast_target_ids, &Alignment::OneToOne, case.rows).unwrap();
    let noisy = noisy_logits.clone().reshape([case.n_noisy, case.rows, case.vocab]);
    let steps = StepBatch::new(logits.clone(), &case.target_ids).unwrap();
    let steps = steps.with_contrast(contrast).unwrap().with_noisy(noisy).unwrap();
    let gradients = function.score(&steps).unwrap().sum().backward();
    let gradient = |leaf: &Tensor<Tracked<B>, 2>| match leaf.grad(&gradients) {
        Some(gradient) => gradient.into_data().iter::<f64>().collect(),
        None => vec![0.0; leaf.shape().num_elements()],
    };
    Some([gradient(&logits), gradient(&contrast_logits), gradient(&noisy_logits)].concat())
}

/// The same by central differences; NaN if the function has a kink or jump within the step, which comparing two step sizes detects.
fn by_differences(function: &str, parameters: &Map<String, Value>, case: &Case) -> Vec<f64> {
    const STEP: f64 = 2e-5;
    let sum = |case: &Case| (0..case.rows).map(|row| reference::score(function, parameters, case, row)).sum::<f64>();
    let along = |logits: fn(&mut Case) -> &mut Vec<f64>| -> Vec<f64> {
        let len = logits(&mut case.clone()).len();
        let difference = |index: usize, step: f64| {
            let [up, down] = [step, -step].map(|step| {
                let mut moved = case.clone();
                logits(&mut moved)[index] += step;
                sum(&moved)
            });
            (up - down) / (2.0 * step)
        };
        let smooth = |index| {
            let (coarse, fine) = (difference(index, STEP), difference(index, STEP / 2.0));
            // Richardson extrapolation removes the leading error term, which matters for a steep function.
            if (coarse - fine).abs() <= 1e-5 * (1.0 + fine.abs()) { fine + (fine - coarse) / 3.0 } else { f64::NAN }
        };
        (0..len).map(smooth).collect()
    };
    [along(|case| &mut case.logits), along(|case| &mut case.contrast_logits), along(|case| &mut case.noisy_logits)]
        .concat()
}

/// Checks every differentiable function's gradient against central differences, within `tolerance` of the largest element.
pub fn equal_central_differences<B: Backend>(case: &Case, dtype: DType, tolerance: f64, device: &B::Device) {
    for (function, parameters) in functions::<B>() {
        let Some(gradient) = by_autodiff::<B>(&function, &parameters, case, dtype, device) else { continue };
        // What a function says itself.
        let made = Registry::<B>::default().make(&function, &parameters).unwrap();
        let logits = matrix::<B>(&case.logits, case.rows, dtype, device);
        if let Some(own) = made.gradient(&StepBatch::new(logits, &case.target_ids).unwrap()) {
            for (own, gradient) in own.into_data().iter::<f64>().zip(&gradient) {
                assert!((own - gradient).abs() <= tolerance, "{function}: {own}, and {gradient} by autodiff");
            }
        }
        let expected = by_differences(&function, &parameters, case);
        assert_eq!(gradient.len(), expected.len());
        assert!(
            expected.iter().filter(|x| x.is_nan()).count() * 2 <= expected.len(),
            "{function}: no gradient to compare"
        );
        let largest = expected.iter().fold(1.0, |largest: f64, x| largest.max(x.abs()));
        for (index, (gradient, expected)) in gradient.iter().zip(&expected).enumerate() {
            assert!(
                expected.is_nan() || (gradient - expected).abs() <= tolerance * largest,
                "{function} {parameters:?}, element {index}: {gradient} instead of {expected}"
            );
        }
    }
}
