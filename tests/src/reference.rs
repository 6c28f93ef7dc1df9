//! The step functions a second time: one row at a time, in double precision, directly from the formulas and without tensors.

use std::f64::consts::LN_2;

use serde_json::{Map, Value};

use crate::case::Case;

/// A row of logits.
type Row<'a> = &'a [f64];

/// `ln softmax(z)`.
fn log_softmax(z: Row) -> Vec<f64> {
    let max = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let log_norm = z.iter().map(|z| (z - max).exp()).sum::<f64>().ln();
    z.iter().map(|z| z - max - log_norm).collect()
}

fn softmax(z: Row) -> Vec<f64> {
    log_softmax(z).into_iter().map(f64::exp).collect()
}

/// `−Σ p ln p`, with 0 · ln 0 = 0.
fn entropy(p: &[f64]) -> f64 {
    p.iter().filter(|&&p| p > 0.0).map(|p| -p * p.ln()).sum()
}

fn kl(log_p: &[f64], log_q: &[f64]) -> f64 {
    log_p.iter().zip(log_q).map(|(p, q)| p.exp() * (p - q)).sum()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The variance with Bessel's n − 1.
fn variance(values: &[f64]) -> f64 {
    let mean = mean(values);
    values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (values.len() - 1) as f64
}

/// The number of most likely tokens whose probabilities sum to at least `top_p`.
pub fn nucleus_size(z: Row, top_p: f64) -> usize {
    if top_p >= 1.0 {
        return z.len();
    }
    let mut p = softmax(z);
    p.sort_by(|a, b| b.total_cmp(a));
    let mut mass = 0.0;
    let enough = |p: &f64| {
        mass += p;
        mass >= top_p
    };
    p.iter().position(enough).map_or(z.len(), |last| last + 1)
}

/// `KL(p‖q)` over the tokens that are likely under `p`.
fn filtered_kl(z: Row, other: Row, top_k: usize, top_p: f64, min_tokens_to_keep: usize) -> f64 {
    let mut sorted = z.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let size = nucleus_size(z, top_p);
    let size = if top_k > 0 { size.min(top_k) } else { size };
    let size = size.max(min_tokens_to_keep).min(z.len());
    let kept: Vec<usize> = (0..z.len()).filter(|&i| z[i] >= sorted[size - 1]).collect();
    let renormalized = |z: Row| log_softmax(&kept.iter().map(|&i| z[i]).collect::<Vec<_>>());
    kl(&renormalized(z), &renormalized(other))
}

/// The score of `function` at step `row` of `case`.
///
/// # Panics
/// If there is no reference for the function.
pub fn score(function: &str, parameters: &Map<String, Value>, case: &Case, row: usize) -> f64 {
    let number = |name: &str, default: f64| parameters.get(name).map_or(default, |v| v.as_f64().unwrap());
    let flag = |name: &str| parameters.get(name).is_some_and(|v| v.as_bool().unwrap());
    let row_of = |matrix: &'_ [f64], row: usize| -> Vec<f64> { matrix[row * case.vocab..][..case.vocab].to_vec() };

    let z = row_of(&case.logits, row);
    let other = row_of(&case.contrast_logits, row);
    let (y, other_y) = (case.target_ids[row] as usize, case.contrast_target_ids[row] as usize);
    let (log_p, log_q) = (log_softmax(&z), log_softmax(&other));
    let (p, q) = (softmax(&z), softmax(&other));
    let n_mcd_steps = number("n_mcd_steps", 10.0) as usize;
    let noisy_log_p = || -> Vec<Vec<f64>> {
        (0..n_mcd_steps).map(|sample| log_softmax(&row_of(&case.noisy_logits, sample * case.rows + row))).collect()
    };
    let noisy = || -> Vec<Vec<f64>> {
        noisy_log_p().into_iter().map(|log_p| log_p.into_iter().map(f64::exp).collect()).collect()
    };
    let mean_of = |members: &[Vec<f64>]| -> Vec<f64> {
        (0..case.vocab).map(|i| members.iter().map(|p| p[i]).sum::<f64>() / members.len() as f64).collect()
    };
    let log_if_asked = |log_p: f64| if flag("logprob") { log_p } else { log_p.exp() };

    match function {
        "logit" => z[y],
        "probability" => log_if_asked(log_p[y]),
        "entropy" => entropy(&p),
        "crossentropy" => -log_p[y],
        "perplexity" if parameters.get("compat") == Some(&Value::from("inseq")) => 2f64.powf(-log_p[y]),
        "perplexity" => (-log_p[y]).exp(),
        "surprisal" => -log_p[y] / LN_2,
        "rank" => 1.0 + z.iter().filter(|&&other| other > z[y]).count() as f64,
        "margin" => {
            let others = (0..case.vocab).filter(|&i| i != y).map(|i| p[i]);
            p[y] - others.fold(0.0, f64::max)
        }
        "typicality" => (-log_p[y] - entropy(&p)).abs(),
        "top_p_size" => nucleus_size(&z, number("top_p", 0.9)) as f64,
        "renyi_entropy" => {
            let alpha = number("alpha", 2.0);
            if alpha == 1.0 {
                return entropy(&p);
            }
            log_p.iter().map(|log_p| (alpha * log_p).exp()).sum::<f64>().ln() / (1.0 - alpha)
        }
        "contrast_logits" => other[other_y],
        "contrast_prob" => log_if_asked(log_q[other_y]),
        "contrast_logits_diff" => z[y] - other[other_y],
        "contrast_prob_diff" => log_if_asked(log_p[y]) - log_if_asked(log_q[other_y]),
        "pcxmi" => -(log_p[y] - log_q[other_y]) / LN_2,
        "in_context_pvi" => -log_p[y] + log_q[other_y],
        "kl_divergence" => {
            let (top_k, top_p) = (number("top_k", 0.0) as usize, number("top_p", 1.0));
            filtered_kl(&z, &other, top_k, top_p, number("min_tokens_to_keep", 1.0) as usize)
        }
        "js_divergence" => {
            let m: Vec<f64> = p.iter().zip(&q).map(|(p, q)| (p + q) / 2.0).collect();
            entropy(&m) - (entropy(&p) + entropy(&q)) / 2.0
        }
        "mc_dropout_prob_avg" => {
            let values: Vec<f64> = noisy_log_p().iter().map(|log_p| log_if_asked(log_p[y])).collect();
            match parameters.get("statistic").and_then(Value::as_str).unwrap_or("mean") {
                "mean" => mean(&values),
                "zscore" => (log_if_asked(log_p[y]) - mean(&values)) / variance(&values).sqrt(),
                "std" => variance(&values).sqrt(),
                "var" => variance(&values),
                other => panic!("no reference for statistic {other}"),
            }
        }
        "mc_dropout_variance" => variance(&noisy().iter().map(|p| p[y]).collect::<Vec<_>>()),
        "mc_dropout_entropy" => entropy(&mean_of(&noisy())),
        "mc_dropout_mutual_information" => {
            let members = noisy();
            entropy(&mean_of(&members)) - mean(&members.iter().map(|p| entropy(p)).collect::<Vec<_>>())
        }
        other => panic!("no reference for {other}"),
    }
}
