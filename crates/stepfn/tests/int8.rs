//! Weights of 8 bits: scores that are close to those in single precision.

#![cfg(all(feature = "cpu", target_arch = "x86_64"))]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use stepfn::backend::DType;
use stepfn::functions::Probability;
use stepfn::{LanguageModel, LoadOptions, Saliency, ScoredText};

const TEXTS: [&str; 3] =
    ["so sings the sea", "a stone lies in the deep", "the moon went up and we sang of the night and the wind"];

fn in_int8() -> LanguageModel {
    LanguageModel::load_with("verse", &LoadOptions { dtype: DType::I8, ..LoadOptions::default() }).unwrap()
}

fn log_probs(model: &LanguageModel) -> Vec<ScoredText> {
    TEXTS.iter().map(|&text| model.ask(text).score([Probability { logprob: true }]).unwrap()).collect()
}

fn values(scored: &ScoredText) -> &[f32] {
    &scored.scores.scores[0].1
}

#[test]
fn scores_are_close_to_those_in_single_precision() {
    let [exact, rounded] = [LanguageModel::load("verse").unwrap(), in_int8()].map(|model| log_probs(&model));
    let mut differences = Vec::new();
    for (exact, rounded) in exact.iter().zip(&rounded) {
        assert_eq!(exact.target, rounded.target);
        let pairs = values(exact).iter().zip(values(rounded));
        differences.extend(pairs.map(|(exact, rounded)| (exact - rounded).abs()));
    }
    let mean = differences.iter().sum::<f32>() / differences.len() as f32;
    assert!(mean > 0.0, "nothing was rounded");
    assert!(mean < 0.06, "{mean} nats on average: {differences:?}");
}

#[test]
fn a_model_in_int8_says_so_and_attributes_by_gradients_of_its_weights() {
    let model = in_int8();
    assert_eq!(model.backend(), "cpu int8");
    let exact = LanguageModel::load("verse").unwrap();
    let [a, b] = [&model, &exact].map(|model| {
        let attributed = model.ask("so sings the sea").attribute(Saliency::default()).unwrap();
        attributed.target_scores.as_ref().unwrap().values().to_vec()
    });
    let size = b.iter().fold(0.0_f32, |size, b| size.max(b.abs()));
    assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 0.1 * size || b.is_nan()), "{a:?} {b:?}");
}
