//! Step functions on the CPU backends: values, identities, gradients, goldens.

#![allow(clippy::unwrap_used, reason = "a test that can't continue should fail")]

use burn::tensor::{DType, Device, Tensor, TensorData};
use proptest::prelude::*;
use stepfn_core::{Alignment, Contrast, StepBatch, StepError};
use stepfn_tests::case::{Case, matrix, uniform};
use stepfn_tests::{golden, gradients, identities, values};

type Flex = stepfn_cpu::flex::Backend;
type NdArray = stepfn_cpu::ndarray::Backend;

/// Steps of any size and peakedness, with logits up to ±10,000.
fn cases() -> impl Strategy<Value = Case> {
    let scale = prop_oneof![Just(0.0), Just(1e-3), Just(1.0), Just(8.0), Just(1e2), Just(1e4)];
    let vocab = prop_oneof![2usize..5, 2usize..70, 500usize..600];
    (1usize..5, vocab, scale, any::<u64>())
        .prop_map(|(rows, vocab, scale, seed)| Case::random(rows, vocab, 4, scale, uniform(seed)))
}

/// The same without extremes, for identities that rounding affects.
fn moderate_cases() -> impl Strategy<Value = Case> {
    let scale = prop_oneof![Just(0.0), Just(1e-2), Just(1.0), Just(8.0)];
    (1usize..5, 2usize..60, scale, any::<u64>())
        .prop_map(|(rows, vocab, scale, seed)| Case::random(rows, vocab, 4, scale, uniform(seed)))
}

/// Prints failures in full and does not save them to files.
fn config() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::default() }
}

/// One property per test, so that a failure identifies the property.
macro_rules! identity {
    ($($identity:ident: $cases:expr;)*) => {
        proptest! {
            #![proptest_config(config())]
            $(#[test]
            fn $identity(case in $cases) {
                identities::$identity::<Flex>(&case, &Default::default());
            })*
        }
    };
}

identity! {
    softmax_shift_invariance: moderate_cases();
    forms_of_the_probability: cases();
    uniform_logits: cases();
    bounds_of_entropies: moderate_cases();
    divergences: cases();
    contrasts: cases();
    rows_are_independent: moderate_cases();
    nucleus_is_monotone: cases();
    dropout_uncertainty: cases();
    broken_logits_are_reported: moderate_cases();
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn flex_agrees_with_the_reference(case in cases()) {
        values::agree_with_the_reference::<Flex>(&case, &Default::default());
    }

    #[test]
    fn ndarray_agrees_with_the_reference(case in cases()) {
        values::agree_with_the_reference::<NdArray>(&case, &Default::default());
    }

    #[test]
    fn gradients_equal_central_differences_in_double_precision(
        rows in 1usize..4,
        vocab in 2usize..9,
        scale in prop_oneof![Just(0.5), Just(4.0)],
        seed: u64,
    ) {
        let case = Case::random(rows, vocab, 4, scale, uniform(seed));
        gradients::equal_central_differences::<Flex>(&case, DType::F64, 1e-6, &Default::default());
    }
}

#[test]
fn gradients_of_a_steep_score_equal_central_differences() {
    // Passes that nearly agree give a z-score whose gradient is in the thousands.
    let case = Case::random(2, 7, 4, 0.5, uniform(8_928_386_248_400_584_335));
    gradients::equal_central_differences::<Flex>(&case, DType::F64, 1e-6, &Default::default());
}

#[test]
fn identities_hold_on_ndarray() {
    for seed in 0..8 {
        identities::all::<NdArray>(&Case::random(3, 40, 4, 4.0, uniform(seed)), &Default::default());
    }
}

#[test]
fn flex_agrees_with_pytorch() {
    golden::agree_with_pytorch::<Flex>(&Default::default());
}

#[test]
fn ndarray_agrees_with_pytorch() {
    golden::agree_with_pytorch::<NdArray>(&Default::default());
}

#[test]
fn a_vocabulary_of_256k_and_a_single_row_work() {
    for (rows, vocab) in [(1, 262_144), (2, 128_256), (1, 2)] {
        let case = Case::random(rows, vocab, 4, 8.0, uniform(vocab as u64));
        values::agree_with_the_reference::<Flex>(&case, &Default::default());
    }
}

/// The nucleus of a flat prediction over a large vocabulary is a sum of 100,000 small numbers, on either route.
#[test]
fn a_large_nucleus_is_accurate_to_1e_4() {
    fn size<B: burn::tensor::backend::Backend>() -> f64 {
        let device = Default::default();
        let steps = StepBatch::new(matrix::<B>(&vec![0.0; 128_256], 1, DType::F32, &device), &[0]).unwrap();
        values::scores("top_p_size", &Default::default(), &steps)[0]
    }
    let expected = 0.9 * 128_256.0;
    for size in [size::<Flex>(), size::<NdArray>()] {
        assert!((size / expected - 1.0).abs() < 1e-4, "{size} instead of {expected}");
    }
}

/// A model may mask tokens with the lowest finite number; they must carry no weight.
#[test]
fn masked_tokens_weigh_nothing() {
    fn scores<B: burn::tensor::backend::Backend>(function: &str) -> f64 {
        let device = Default::default();
        let lowest = f64::from(f32::MIN);
        let logits = matrix::<B>(&[1.0, 1.0, lowest, lowest], 1, DType::F32, &device);
        let contrast = matrix::<B>(&[2.0, 2.0, lowest, lowest], 1, DType::F32, &device);
        let contrast = Contrast::new(contrast, &[0], &Alignment::OneToOne, 1).unwrap();
        let steps = StepBatch::new(logits, &[0]).unwrap().with_contrast(contrast).unwrap();
        values::scores(function, &Default::default(), &steps)[0]
    }
    for (function, expected) in
        [("entropy", 2f64.ln()), ("kl_divergence", 0.0), ("js_divergence", 0.0), ("perplexity", 2.0)]
    {
        for score in [scores::<Flex>(function), scores::<NdArray>(function)] {
            assert!((score - expected).abs() < 1e-6, "{function}: {score} instead of {expected}");
        }
    }
}

#[test]
fn a_standard_deviation_of_equal_passes_has_a_gradient() {
    use burn::backend::Autodiff;
    use stepfn_core::functions::{NoisyStatistic, mc_dropout_prob_avg};
    let device = Device::<Flex>::default();
    let noisy = Tensor::<Autodiff<Flex>, 2>::from_data([[0.5], [0.5]], &device).require_grad();
    let value = Tensor::<Autodiff<Flex>, 1>::from_data([0.5], &device);
    let gradients = mc_dropout_prob_avg(value, noisy.clone(), NoisyStatistic::Std).sum().backward();
    assert_eq!(noisy.grad(&gradients).unwrap().into_data().to_vec::<f32>().unwrap(), [0.0, 0.0]);
}

/// Scoring unchecked NaN logits must give NaN, not a plausible number.
#[test]
fn unchecked_nan_logits_give_nan_scores() {
    use stepfn_core::functions::{
        js_divergence, kl_divergence, mc_dropout_mutual_information, probability, top_p_size,
    };
    let device = Device::<Flex>::default();
    let broken = || matrix::<Flex>(&[0.0, f64::NAN, 1.0], 1, DType::F32, &device);
    let whole = || matrix::<Flex>(&[0.0, 1.0, 2.0], 1, DType::F32, &device);
    let scores = [
        probability(broken(), Tensor::from_data([0], &device)),
        kl_divergence(broken(), whole(), &Default::default()),
        kl_divergence(whole(), broken(), &Default::default()),
        js_divergence(whole(), broken()),
        mc_dropout_mutual_information(broken().reshape([1, 1, 3])),
        top_p_size(broken(), 0.5),
    ];
    assert!(scores.into_iter().all(|score| score.into_scalar().is_nan()));
}

/// Half precision is widened and then summed in single precision, so the scores are those of the rounded logits.
#[test]
fn half_precision_logits_are_scored_in_single_precision() {
    for dtype in [DType::F16, DType::BF16] {
        let exact = Case::random(3, 500, 4, 4.0, uniform(7));
        let round = |values: &[f64]| -> Vec<f64> {
            let data = TensorData::new(values.to_vec(), [values.len()]);
            data.convert_dtype(dtype).iter::<f64>().collect()
        };
        let rounded = Case {
            logits: round(&exact.logits),
            contrast_logits: round(&exact.contrast_logits),
            noisy_logits: round(&exact.noisy_logits),
            ..exact
        };
        let device = Device::<Flex>::default();
        let (half, single) = (rounded.batch::<Flex>(dtype, &device), rounded.batch::<Flex>(DType::F32, &device));
        for (function, parameters) in values::functions::<Flex>() {
            let of = |steps| values::scores::<Flex>(&function, &parameters, steps);
            assert_eq!(of(&half), of(&single), "{function} {parameters:?} of {dtype:?}");
        }
    }
}

/// The options that reproduce inseq 0.7.1 keep giving its numbers.
#[test]
fn compatibility_options_reproduce_inseq() {
    use serde_json::json;
    let device = Device::<Flex>::default();
    // For p = 5.677e-6 inseq gives 4326.6, while 1 / p is 176,149.
    let p: f64 = 5.677e-6;
    let logits = matrix::<Flex>(&[0.0, (p / (1.0 - p)).ln()], 1, DType::F32, &device);
    let steps = StepBatch::new(logits, &[1]).unwrap();
    let perplexity =
        |parameters: serde_json::Value| values::scores("perplexity", parameters.as_object().unwrap(), &steps)[0];
    assert!((perplexity(json!({ "compat": "inseq" })) / 4326.6 - 1.0).abs() < 1e-4);
    assert!((perplexity(json!({})) * p - 1.0).abs() < 1e-5);

    // inseq's average over noisy predictions is a z-score with n − 1.
    let noisy = Tensor::<Flex, 3>::from_data([[[0.0, 1.0]], [[0.0, 2.0]], [[0.0, 3.0]]], &device);
    let steps = StepBatch::new(Tensor::from_data([[0.0, 0.0]], &device), &[1]).unwrap().with_noisy(noisy).unwrap();
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let q = [1.0, 2.0, 3.0].map(sigmoid);
    let mean = q.iter().sum::<f64>() / 3.0;
    let std = (q.iter().map(|q| (q - mean).powi(2)).sum::<f64>() / 2.0).sqrt();
    let parameters = json!({ "n_mcd_steps": 3, "statistic": "zscore" });
    let zscore = values::scores("mc_dropout_prob_avg", parameters.as_object().unwrap(), &steps)[0];
    assert!((zscore - (0.5 - mean) / std).abs() < 1e-4, "{zscore}");
}

#[test]
fn mismatched_inputs_are_errors_that_name_the_mismatch() {
    let device = Device::<Flex>::default();
    let logits = |rows: usize, vocab: usize| matrix::<Flex>(&vec![0.0; rows * vocab], rows, DType::F32, &device);
    let message = |result: Result<StepBatch<Flex>, StepError>| result.unwrap_err().to_string();

    assert_eq!(message(StepBatch::new(logits(2, 3), &[0])), "target ids: expected 2, found 1");
    let error = message(StepBatch::new(logits(2, 3), &[0, 3]));
    assert!(error.starts_with("target id 3 in row 1 is outside the vocabulary of 3 tokens"), "{error}");
    let error = message(StepBatch::new(logits(2, 1), &[0, 0]));
    assert!(error.contains("[2, 1]") && error.contains("two tokens"), "{error}");

    let steps = || StepBatch::new(logits(2, 3), &[0, 2]).unwrap();
    let contrast = |rows, vocab, steps| Contrast::new(logits(rows, vocab), &vec![0; rows], &Alignment::OneToOne, steps);
    let error = message(steps().with_contrast(contrast(2, 4, 2).unwrap()));
    assert_eq!(error, "vocabulary size of the contrast: expected 3, found 4");
    let error = message(steps().with_contrast(contrast(2, 3, 1).unwrap()));
    assert_eq!(error, "steps in the contrast's alignment: expected 2, found 1");
    let same_context = Contrast::same_context(&[1, 9], &Alignment::OneToOne, 2, &device).unwrap();
    let error = message(steps().with_contrast(same_context));
    assert!(error.starts_with("target id 9 in row 1"), "{error}");
    let error = message(steps().with_noisy(logits(6, 4).reshape([3, 2, 4])));
    assert_eq!(error, "vocabulary size of the noisy logits: expected 3, found 4");
    let error = message(steps().with_noisy(logits(6, 3).reshape([2, 3, 3])));
    assert_eq!(error, "rows of noisy logits: expected 2, found 3");

    let score = |name: &str, steps: &StepBatch<Flex>| {
        let function = stepfn_core::Registry::default().make(name, &Default::default()).unwrap();
        function.score(steps).map(|_| ()).unwrap_err()
    };
    assert_eq!(score("pcxmi", &steps()), StepError::MissingContrast { function: "pcxmi".into() });
    let missing = StepError::MissingNoisy { function: "mc_dropout_entropy".into(), needed: 10, found: 4 };
    let noisy = steps().with_noisy(logits(8, 3).reshape([4, 2, 3])).unwrap();
    assert_eq!(score("mc_dropout_entropy", &noisy), missing);
    let function = stepfn_core::functions::McDropoutProbAvg {
        n_mcd_steps: 4,
        statistic: stepfn_core::functions::NoisyStatistic::Zscore,
        ..Default::default()
    };
    let error = stepfn_core::StepFunction::<Flex>::score(&function, &noisy).map(|_| ()).unwrap_err();
    assert_eq!(error, StepError::NoSpread { function: "mc_dropout_prob_avg".into(), row: 0, n: 4 });
}

#[test]
fn a_contrast_is_aligned_and_steps_without_a_partner_are_nan() {
    let device = Device::<Flex>::default();
    let logits = matrix::<Flex>(&[0.0, 1.0, 0.0, 2.0, 0.0, 3.0], 3, DType::F32, &device);
    let other = matrix::<Flex>(&[0.0, 5.0, 0.0, 7.0], 2, DType::F32, &device);
    let scores = |alignment: Alignment| {
        let contrast = Contrast::new(other.clone(), &[1, 1], &alignment, 3).unwrap();
        let steps = StepBatch::new(logits.clone(), &[1, 1, 1]).unwrap().with_contrast(contrast).unwrap();
        values::scores("contrast_logits_diff", &Default::default(), &steps)
    };
    let one_to_one = scores(Alignment::OneToOne);
    assert_eq!(one_to_one[..2], [-4.0, -5.0]);
    assert!(one_to_one[2].is_nan());
    let pairs = scores(Alignment::Pairs(vec![(0, 1), (2, 0)]));
    assert_eq!((pairs[0], pairs[2]), (-6.0, -2.0));
    assert!(pairs[1].is_nan());

    // Errors name the rows of the contrast as given, even if a row is not used.
    let broken = matrix::<Flex>(&[0.0, 5.0, 0.0, f64::NAN], 2, DType::F32, &device);
    let error = Contrast::new(broken, &[1, 1], &Alignment::Pairs(vec![(2, 1)]), 3).unwrap_err();
    assert_eq!(error, StepError::NonFinite { pass: stepfn_core::PassKind::Contrast, row: 1 });
    let empty = Tensor::<Flex, 2>::zeros([0, 2], &device);
    let error = Contrast::new(empty, &[], &Alignment::OneToOne, 3).unwrap_err();
    assert_eq!(error, StepError::Empty { rows: 0, vocab: 2 });
}

/// Contrastive attribution differentiates this: the same context, with a different target token.
#[test]
fn a_contrast_in_the_same_context_compares_tokens() {
    let device = Device::<Flex>::default();
    let logits = matrix::<Flex>(&[0.0, 1.0, 4.0], 1, DType::F32, &device);
    let contrast = Contrast::same_context(&[1], &Alignment::OneToOne, 1, &device).unwrap();
    let steps = StepBatch::new(logits, &[2]).unwrap().with_contrast(contrast).unwrap();
    assert_eq!(values::scores("contrast_logits_diff", &Default::default(), &steps), [3.0]);
    assert_eq!(values::scores("kl_divergence", &Default::default(), &steps), [0.0]);
}
