//! Identities that step functions satisfy for all logits: one test body each, for any backend.

use std::f64::consts::LN_2;

use burn::tensor::{DType, backend::Backend};
use serde_json::{Map, Value, json};
use stepfn_core::StepBatch;

use crate::case::Case;
use crate::values::{functions, scores, scores_unless_certain};

/// `function` with default parameters, and four noisy passes if it uses any.
fn plain<B: Backend>(function: &str, steps: &StepBatch<B>) -> Vec<f64> {
    scores(function, &Map::new(), steps)
}

fn parameters(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

#[track_caller]
fn assert_close(what: &str, left: &[f64], right: &[f64], tolerance: f64) {
    assert_eq!(left.len(), right.len(), "{what}");
    for (row, (left, right)) in left.iter().zip(right).enumerate() {
        let equal = left == right || (left - right).abs() <= tolerance * left.abs().max(right.abs()).max(1.0);
        assert!(equal, "{what}, row {row}: {left} and {right}");
    }
}

/// Adding a constant to all logits of a pass changes only the functions that return logits.
///
/// With multiples of a power of two the shifted logits are exact, so the tolerance only has to cover the functions.
pub fn softmax_shift_invariance<B: Backend>(case: &Case, device: &B::Device) {
    let round = |logits: &[f64]| logits.iter().map(|z| (z * 16.0).round() / 16.0).collect::<Vec<_>>();
    let case = Case {
        logits: round(&case.logits),
        contrast_logits: round(&case.contrast_logits),
        noisy_logits: round(&case.noisy_logits),
        ..case.clone()
    };
    let (steps, shifted) = (case.batch::<B>(DType::F32, device), case.shifted(64.0).batch::<B>(DType::F32, device));
    for (function, parameters) in functions::<B>() {
        if matches!(function.as_str(), "logit" | "contrast_logits") {
            continue;
        }
        let of = |steps| scores_unless_certain(&function, &parameters, steps);
        let (Some(left), Some(right)) = (of(&steps), of(&shifted)) else { continue };
        assert_close(&format!("{function} {parameters:?} of shifted logits"), &left, &right, 1e-6);
    }
}

/// `crossentropy = −ln probability`, `surprisal · ln 2 = crossentropy`, `perplexity = exp crossentropy ≥ 1`.
pub fn forms_of_the_probability<B: Backend>(case: &Case, device: &B::Device) {
    let steps = case.plain_batch::<B>(DType::F32, device);
    let crossentropy = plain("crossentropy", &steps);
    let log_prob = scores("probability", &parameters(json!({ "logprob": true })), &steps);
    assert_close("crossentropy = -ln p", &crossentropy, &log_prob.iter().map(|x| -x).collect::<Vec<_>>(), 0.0);
    for (p, crossentropy) in plain("probability", &steps).iter().zip(&crossentropy) {
        assert!((0.0..=1.000_001).contains(p), "probability {p}");
        if *crossentropy < 80.0 {
            assert_close("exp(-crossentropy)", &[(-crossentropy).exp()], &[*p], 1e-6);
        }
    }
    let bits: Vec<f64> = plain("surprisal", &steps).iter().map(|bits| bits * LN_2).collect();
    assert_close("surprisal", &bits, &crossentropy, 1e-6);
    assert!(plain("perplexity", &steps).iter().all(|&perplexity| perplexity >= 1.0 - 1e-6));
}

/// Uniform logits: perplexity and nucleus are the vocabulary, entropies its logarithm.
pub fn uniform_logits<B: Backend>(case: &Case, device: &B::Device) {
    let uniform = Case { logits: vec![case.logits[0]; case.logits.len()], ..case.clone() };
    let steps = uniform.plain_batch::<B>(DType::F32, device);
    let vocab = case.vocab as f64;
    let everywhere = |value: f64| vec![value; case.rows];
    assert_close("perplexity", &plain("perplexity", &steps), &everywhere(vocab), 1e-5);
    assert_close("rank", &plain("rank", &steps), &everywhere(1.0), 0.0);
    for (function, value) in [("entropy", vocab.ln()), ("renyi_entropy", vocab.ln()), ("typicality", 0.0)] {
        assert_close(function, &plain(function, &steps), &everywhere(value), 2e-6);
    }
    assert_close("margin", &plain("margin", &steps), &everywhere(0.0), 1e-6);
    let half = scores("top_p_size", &parameters(json!({ "top_p": 0.5 })), &steps);
    assert!(half.iter().all(|size| (size - vocab / 2.0).abs() <= 1.0), "{half:?} of {vocab}");
}

/// `0 ≤ entropy ≤ ln V`, and less if one token stands out; Rényi entropies decrease with their order.
pub fn bounds_of_entropies<B: Backend>(case: &Case, device: &B::Device) {
    let steps = case.plain_batch::<B>(DType::F32, device);
    let most = (case.vocab as f64).ln();
    let entropy = plain("entropy", &steps);
    assert!(entropy.iter().all(|h| (-1e-6..=most + 1e-5).contains(h)), "{entropy:?}, at most {most}");

    let mut peaked = case.clone();
    for row in 0..case.rows {
        peaked.logits[row * case.vocab] += 2.0 * case.spread() + 2.0;
    }
    let entropy_of_peaked = plain("entropy", &peaked.plain_batch::<B>(DType::F32, device));
    assert!(entropy_of_peaked.iter().all(|h| *h < most - 1e-3), "{entropy_of_peaked:?}, less than {most}");

    let renyi = |alpha: f64| scores("renyi_entropy", &parameters(json!({ "alpha": alpha })), &steps);
    assert_close("order 0", &renyi(0.0), &vec![most; case.rows], 2e-6);
    assert_close("order 1", &renyi(1.0), &entropy, 0.0);
    let orders = [0.0, 0.5, 1.0, 2.0, 8.0].map(renyi);
    for pair in orders.windows(2) {
        for (lower, higher) in pair[0].iter().zip(&pair[1]) {
            assert!(higher <= &(lower + 1e-5 * (1.0 + lower.abs())), "{higher} above {lower}");
        }
    }
}

/// `kl ≥ 0`, `0 ≤ js ≤ ln 2`, both 0 for equal passes, with and without a filter.
pub fn divergences<B: Backend>(case: &Case, device: &B::Device) {
    let steps = case.batch::<B>(DType::F32, device);
    let equal = Case { contrast_logits: case.logits.clone(), ..case.clone() }.batch::<B>(DType::F32, device);
    for parameters in [json!({}), json!({ "top_k": 3 }), json!({ "top_p": 0.7 })].map(parameters) {
        assert!(scores("kl_divergence", &parameters, &steps).iter().all(|kl| *kl >= 0.0));
        let of_equal = scores("kl_divergence", &parameters, &equal);
        assert_close("kl of equal passes", &of_equal, &vec![0.0; case.rows], 1e-6);
    }
    let js = plain("js_divergence", &steps);
    assert!(js.iter().all(|js| (0.0..=LN_2 + 1e-6).contains(js)), "{js:?}");
    assert_close("js of equal passes", &plain("js_divergence", &equal), &vec![0.0; case.rows], 2e-6);
    let exchanged = case.exchanged().batch::<B>(DType::F32, device);
    assert_close("js of exchanged passes", &plain("js_divergence", &exchanged), &js, 2e-6);
}

/// `pcxmi · ln 2 = in_context_pvi`; differences change sign when the passes are swapped; without a contrast, contrastive functions equal
/// their plain forms.
pub fn contrasts<B: Backend>(case: &Case, device: &B::Device) {
    let steps = case.batch::<B>(DType::F32, device);
    let nats: Vec<f64> = plain("pcxmi", &steps).iter().map(|bits| bits * LN_2).collect();
    assert_close("pcxmi ln 2 = in_context_pvi", &nats, &plain("in_context_pvi", &steps), 1e-6);

    let exchanged = case.exchanged().batch::<B>(DType::F32, device);
    for function in ["contrast_logits_diff", "contrast_prob_diff", "pcxmi", "in_context_pvi"] {
        let negated: Vec<f64> = plain(function, &exchanged).iter().map(|x| -x).collect();
        assert_close(&format!("{function} is antisymmetric"), &plain(function, &steps), &negated, 0.0);
    }

    let alone = case.plain_batch::<B>(DType::F32, device);
    assert_eq!(plain("contrast_logits", &alone), plain("logit", &alone));
    assert_eq!(plain("contrast_prob", &alone), plain("probability", &alone));
    let logprob = parameters(json!({ "logprob": true }));
    assert_eq!(scores("contrast_prob", &logprob, &alone), scores("probability", &logprob, &alone));
}

/// Permuting rows permutes scores, and scoring a subset of rows gives the same scores: batches and chunks make no difference.
pub fn rows_are_independent<B: Backend>(case: &Case, device: &B::Device) {
    let whole = case.batch::<B>(DType::F32, device);
    let reversed: Vec<usize> = (0..case.rows).rev().collect();
    let some: Vec<usize> = (0..case.rows).step_by(2).collect();
    for order in [reversed, some] {
        let part = case.select(&order).batch::<B>(DType::F32, device);
        for (function, parameters) in functions::<B>() {
            let Some(whole) = scores_unless_certain(&function, &parameters, &whole) else { continue };
            let expected: Vec<f64> = order.iter().map(|&row| whole[row]).collect();
            let what = format!("{function} {parameters:?} of rows {order:?}");
            assert_close(&what, &scores(&function, &parameters, &part), &expected, 1e-6);
        }
    }
}

/// The nucleus grows with `top_p`, from one token to all of them.
pub fn nucleus_is_monotone<B: Backend>(case: &Case, device: &B::Device) {
    let steps = case.plain_batch::<B>(DType::F32, device);
    let sizes = [1e-9, 0.1, 0.3, 0.5, 0.9, 0.999, 1.0]
        .map(|top_p| scores("top_p_size", &parameters(json!({ "top_p": top_p })), &steps));
    assert_eq!(sizes[0], vec![1.0; case.rows]);
    assert_eq!(sizes[6], vec![case.vocab as f64; case.rows]);
    for pair in sizes.windows(2) {
        assert!(pair[0].iter().zip(&pair[1]).all(|(small, large)| small <= large), "{pair:?}");
    }
}

/// Uncertainty over noisy passes: spread and mutual information are 0 for equal passes, and bounded.
pub fn dropout_uncertainty<B: Backend>(case: &Case, device: &B::Device) {
    let two = parameters(json!({ "n_mcd_steps": case.n_noisy }));
    let steps = case.batch::<B>(DType::F32, device);
    let information = scores("mc_dropout_mutual_information", &two, &steps);
    let most = (case.n_noisy as f64).ln() + 1e-5;
    assert!(information.iter().all(|information| (0.0..=most).contains(information)), "{information:?}");
    assert!(scores("mc_dropout_variance", &two, &steps).iter().all(|variance| (0.0..=0.5).contains(variance)));

    let noisy_logits = case.logits.repeat(case.n_noisy);
    let equal = Case { noisy_logits, ..case.clone() }.batch::<B>(DType::F32, device);
    let zeros = vec![0.0; case.rows];
    assert_close("information", &scores("mc_dropout_mutual_information", &two, &equal), &zeros, 2e-6);
    assert_close("variance", &scores("mc_dropout_variance", &two, &equal), &zeros, 1e-12);
    assert_close("mean", &scores("mc_dropout_prob_avg", &two, &equal), &plain("probability", &equal), 1e-6);
    assert_close("entropy", &scores("mc_dropout_entropy", &two, &equal), &plain("entropy", &equal), 5e-6);
}

/// NaN and infinite logits are errors that name the pass and the row.
pub fn broken_logits_are_reported<B: Backend>(case: &Case, device: &B::Device) {
    use crate::case::matrix;
    use stepfn_core::{Alignment, Contrast, PassKind, StepError};

    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let row = case.rows - 1;
        let mut broken = case.logits.clone();
        broken[row * case.vocab + case.vocab / 2] = bad;
        let logits = || matrix::<B>(&broken, case.rows, DType::F32, device);
        let error = StepBatch::new(logits(), &case.target_ids).unwrap_err();
        assert_eq!(error, StepError::NonFinite { pass: PassKind::Original, row });
        let error = Contrast::new(logits(), &case.target_ids, &Alignment::OneToOne, case.rows).unwrap_err();
        assert_eq!(error, StepError::NonFinite { pass: PassKind::Contrast, row });
        let mut noisy = case.noisy_logits.clone();
        let sample = case.n_noisy - 1;
        noisy[(sample * case.rows + row) * case.vocab] = bad;
        let noisy = matrix::<B>(&noisy, case.n_noisy * case.rows, DType::F32, device);
        let noisy = noisy.reshape([case.n_noisy, case.rows, case.vocab]);
        let error = case.plain_batch::<B>(DType::F32, device).with_noisy(noisy).unwrap_err();
        assert_eq!(error, StepError::NonFinite { pass: PassKind::Noisy { sample }, row });
    }
}

/// Checks all identities above.
pub fn all<B: Backend>(case: &Case, device: &B::Device) {
    softmax_shift_invariance::<B>(case, device);
    forms_of_the_probability::<B>(case, device);
    uniform_logits::<B>(case, device);
    bounds_of_entropies::<B>(case, device);
    divergences::<B>(case, device);
    contrasts::<B>(case, device);
    rows_are_independent::<B>(case, device);
    nucleus_is_monotone::<B>(case, device);
    dropout_uncertainty::<B>(case, device);
    broken_logits_are_reported::<B>(case, device);
}
