//! Every step function against the independent reference.

use burn::tensor::{DType, Int, Tensor, TensorData, backend::Backend};
use serde_json::{Map, Value, json};
use stepfn_core::{NoisyPredictions, Registry, StepBatch, StepError};

use crate::case::{Case, matrix};
use crate::reference;

/// Every step function, each with the parameters that change its formula.
pub fn functions<B: Backend>() -> Vec<(String, Map<String, Value>)> {
    let variants = |name: &str| match name {
        "probability" | "contrast_prob" | "contrast_prob_diff" => json!([{}, { "logprob": true }]),
        "perplexity" => json!([{}, { "compat": "inseq" }]),
        "top_p_size" => json!([{}, { "top_p": 0.1 }, { "top_p": 0.5 }, { "top_p": 1.0 }]),
        "renyi_entropy" => json!([{}, { "alpha": 0.0 }, { "alpha": 0.5 }, { "alpha": 1.0 }, { "alpha": 30.0 }]),
        "kl_divergence" => json!([
            {}, { "top_k": 3 }, { "top_p": 0.8 }, { "top_k": 5, "top_p": 0.95 }, { "top_p": 0.1, "min_tokens_to_keep": 2 },
        ]),
        "mc_dropout_prob_avg" => json!([
            { "n_mcd_steps": 3 }, { "n_mcd_steps": 4, "logprob": true }, { "n_mcd_steps": 4, "statistic": "zscore" },
            { "n_mcd_steps": 4, "statistic": "std" }, { "n_mcd_steps": 2, "statistic": "var" },
        ]),
        name if name.starts_with("mc_dropout") => json!([{ "n_mcd_steps": 4 }, { "n_mcd_steps": 2 }]),
        _ => json!([{}]),
    };
    let registry = Registry::<B>::default();
    let with_variants = |name: String| {
        let variants: Vec<Map<String, Value>> = serde_json::from_value(variants(&name)).unwrap();
        variants.into_iter().map(move |parameters| (name.clone(), parameters)).collect::<Vec<_>>()
    };
    registry.iter().flat_map(|about| with_variants(about.name.clone())).collect()
}

/// The scores of one function.
pub fn scores<B: Backend>(function: &str, parameters: &Map<String, Value>, steps: &StepBatch<B>) -> Vec<f64> {
    scores_unless_certain(function, parameters, steps).unwrap()
}

/// The scores of one function; `None` if it divides by a spread that is 0 because the model is certain.
pub fn scores_unless_certain<B: Backend>(
    function: &str,
    parameters: &Map<String, Value>,
    steps: &StepBatch<B>,
) -> Option<Vec<f64>> {
    let function = Registry::default().make(function, parameters).unwrap();
    match function.score(steps) {
        Ok(scores) => Some(scores.into_data().iter::<f64>().collect()),
        Err(StepError::NoSpread { .. }) => None,
        Err(error) => panic!("{error}"),
    }
}

/// The scores of one function's plain form, called with tensors; `None` if that form doesn't support the parameters.
fn plain_scores<B: Backend>(
    function: &str,
    parameters: &Map<String, Value>,
    case: &Case,
    device: &B::Device,
) -> Option<Vec<f64>> {
    use stepfn_core::functions::*;
    let n = parameters.get("n_mcd_steps").map_or(case.n_noisy, |n| n.as_u64().unwrap() as usize);
    let number = |name: &str, default: f64| parameters.get(name).map_or(default, |value| value.as_f64().unwrap());
    let ids = |ids: &[u32]| {
        let ids: Vec<i32> = ids.iter().map(|&id| id as i32).collect();
        Tensor::<B, 1, Int>::from_data(TensorData::new(ids, [case.rows]), device)
    };
    let z = || matrix::<B>(&case.logits, case.rows, DType::F32, device);
    let other = || matrix::<B>(&case.contrast_logits, case.rows, DType::F32, device);
    let (y, other_y) = (|| ids(&case.target_ids), || ids(&case.contrast_target_ids));
    let noisy = || case.noisy::<B>(DType::F32, device).slice(0..n);
    let noisy_log_prob = || NoisyPredictions::unchecked(noisy()).log_prob(y(), n);
    let scores = match (function, parameters.contains_key("logprob") || parameters.contains_key("compat")) {
        (_, true) => return None,
        ("logit", _) => logit(z(), y()),
        ("probability", _) => probability(z(), y()),
        ("entropy", _) => entropy(z()),
        ("crossentropy", _) => crossentropy(z(), y()),
        ("perplexity", _) => perplexity(z(), y()),
        ("surprisal", _) => surprisal(z(), y()),
        ("rank", _) => rank(z(), y()),
        ("margin", _) => margin(z(), y()),
        ("typicality", _) => typicality(z(), y()),
        ("top_p_size", _) => top_p_size(z(), number("top_p", 0.9)),
        ("renyi_entropy", _) => renyi_entropy(z(), number("alpha", 2.0)),
        ("contrast_logits", _) => contrast_logits(other(), other_y()),
        ("contrast_prob", _) => contrast_prob(other(), other_y()),
        ("contrast_logits_diff", _) => contrast_logits_diff(z(), y(), other(), other_y()),
        ("contrast_prob_diff", _) => contrast_prob_diff(z(), y(), other(), other_y()),
        ("pcxmi", _) => pcxmi(z(), y(), other(), other_y()),
        ("in_context_pvi", _) => in_context_pvi(z(), y(), other(), other_y()),
        ("kl_divergence", _) => {
            let filter = serde_json::from_value(Value::Object(parameters.clone())).unwrap();
            kl_divergence(z(), other(), &filter)
        }
        ("js_divergence", _) => js_divergence(z(), other()),
        ("mc_dropout_prob_avg", _) => match parameters.get("statistic") {
            Some(statistic) if statistic == "zscore" => return None,
            statistic => {
                let statistic = statistic.cloned().unwrap_or_else(|| "mean".into());
                let statistic = serde_json::from_value(statistic).unwrap();
                mc_dropout_prob_avg(probability(z(), y()), noisy_log_prob().exp(), statistic)
            }
        },
        ("mc_dropout_variance", _) => mc_dropout_variance(noisy_log_prob().exp()),
        ("mc_dropout_entropy", _) => mc_dropout_entropy(noisy()),
        ("mc_dropout_mutual_information", _) => mc_dropout_mutual_information(noisy()),
        (other, _) => panic!("the plain form of {other} is not tested"),
    };
    Some(scores.into_data().iter::<f64>().collect())
}

/// The allowed error of a row's score: a few rounding errors of logits with the case's `spread`, amplified as in the formula.
pub fn tolerance(function: &str, parameters: &Map<String, Value>, expected: f64, case: &Case, row: usize) -> f64 {
    let logit_error = 1e-6 * (10.0 + case.spread());
    match function {
        "rank" => 0.0,
        // Logits far below the maximum carry no weight here, so their rounding does not matter.
        "entropy" | "renyi_entropy" | "js_divergence" | "mc_dropout_entropy" | "mc_dropout_mutual_information" => {
            1e-5 * expected.abs() + 1e-5
        }
        "perplexity" => expected * logit_error.exp_m1(),
        "mc_dropout_prob_avg" if parameters.get("statistic") == Some(&Value::from("zscore")) => {
            // The spread in the denominator may be as small as the rounding errors.
            let statistic = |name: &str| {
                let mut parameters = parameters.clone();
                parameters.insert("statistic".into(), name.into());
                reference::score(function, &parameters, case, row)
            };
            let (mean, std) = (statistic("mean").abs(), statistic("std"));
            (1.0 + expected.abs()) * (1.0 + expected.abs() + mean / std) * logit_error
        }
        "probability" | "contrast_prob" | "contrast_prob_diff" | "mc_dropout_prob_avg"
            if parameters.get("logprob") != Some(&Value::Bool(true)) =>
        {
            1e-5 * expected.abs().max(0.05)
        }
        "margin" | "mc_dropout_variance" => 1e-5 * expected.abs().max(0.1),
        _ => 1e-5 * expected.abs() + logit_error,
    }
}

/// Whether rounding decides how many tokens are likely, so that there is nothing to compare.
fn on_the_edge(parameters: &Map<String, Value>, function: &str, case: &Case, row: usize) -> bool {
    let default = if function == "top_p_size" { 0.9 } else { 1.0 };
    let top_p = parameters.get("top_p").map_or(default, |v| v.as_f64().unwrap());
    let z = &case.logits[row * case.vocab..(row + 1) * case.vocab];
    let edge = 1e-5 + 1e-7 * case.spread();
    matches!(function, "top_p_size" | "kl_divergence")
        && top_p < 1.0
        && reference::nucleus_size(z, top_p - edge) != reference::nucleus_size(z, (top_p + edge).min(0.999_999_9))
}

/// Checks every function on `B`, in single precision, against the reference on `case`.
pub fn agree_with_the_reference<B: Backend>(case: &Case, device: &B::Device) {
    let steps = case.batch::<B>(DType::F32, device);
    for (function, parameters) in functions::<B>() {
        let Some(scores) = scores_unless_certain(&function, &parameters, &steps) else { continue };
        assert_eq!(scores.len(), case.rows);
        let plain = plain_scores::<B>(&function, &parameters, case, device).unwrap_or_default();
        assert!(plain.is_empty() || plain.len() == case.rows);
        for (row, score) in scores.iter().chain(&plain).enumerate().map(|(n, &score)| (n % case.rows, score)) {
            let expected = reference::score(&function, &parameters, case, row);
            if on_the_edge(&parameters, &function, case, row) || !(expected as f32).is_finite() {
                continue;
            }
            let tolerance = tolerance(&function, &parameters, expected, case, row);
            assert!(
                (score - expected).abs() <= tolerance,
                "{function} {parameters:?}, row {row} of {} x {}: {score} instead of {expected} (tolerance {tolerance})",
                case.rows,
                case.vocab,
            );
        }
    }
}
