//! Golden values of step functions, computed by PyTorch (`goldens/step_functions.py`).

use std::collections::BTreeSet;
use std::path::PathBuf;

use burn::tensor::{DType, backend::Backend};
use serde::Deserialize;
use serde_json::{Map, Value};
use stepfn_core::Registry;

use crate::case::Case;
use crate::values::{scores, tolerance};

#[derive(Deserialize)]
struct Golden {
    name: String,
    rows: usize,
    vocab: usize,
    n_noisy: usize,
    logits: Vec<f64>,
    target_ids: Vec<u32>,
    contrast_logits: Vec<f64>,
    contrast_target_ids: Vec<u32>,
    noisy_logits: Vec<f64>,
    expected: Vec<Expected>,
}

#[derive(Deserialize)]
struct Expected {
    function: String,
    parameters: Map<String, Value>,
    values: Vec<f64>,
}

/// The folder of golden data.
pub fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("goldens")
}

/// Checks every function on `B` against PyTorch, to 1e-5 of the value (at least of 0.1); a z-score only as closely as its spread allows.
pub fn agree_with_pytorch<B: Backend>(device: &B::Device) {
    let text = std::fs::read_to_string(folder().join("step_functions.json")).unwrap();
    let goldens: Vec<Golden> = serde_json::from_str(&text).unwrap();
    assert!(goldens.len() >= 5);
    let covered: BTreeSet<&str> =
        goldens.iter().flat_map(|golden| golden.expected.iter().map(|expected| expected.function.as_str())).collect();
    let registry = Registry::<B>::default();
    assert_eq!(covered, registry.iter().map(|about| about.name.as_str()).collect());
    for golden in goldens {
        let Golden { name, expected, .. } = golden;
        let case = Case {
            rows: golden.rows,
            vocab: golden.vocab,
            n_noisy: golden.n_noisy,
            logits: golden.logits,
            target_ids: golden.target_ids,
            contrast_logits: golden.contrast_logits,
            contrast_target_ids: golden.contrast_target_ids,
            noisy_logits: golden.noisy_logits,
        };
        let steps = case.batch::<B>(DType::F32, device);
        for Expected { function, parameters, values } in expected {
            let scores = scores(&function, &parameters, &steps);
            assert_eq!(scores.len(), values.len());
            for (row, (score, value)) in scores.iter().zip(&values).enumerate() {
                let zscore = parameters.get("statistic") == Some(&Value::from("zscore"));
                let tolerance = if zscore {
                    tolerance(&function, &parameters, *value, &case, row)
                } else {
                    1e-5 * value.abs().max(0.1)
                };
                assert!(
                    (score - value).abs() <= tolerance,
                    "{name}: {function} {parameters:?}, row {row}: {score} instead of {value}"
                );
            }
        }
    }
}
