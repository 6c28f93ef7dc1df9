//! What gradient methods promise of models in half precision: the same map as in single precision, for every family.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::DType;
use serde_json::{Map, json};
use stepfn_models::{Model, ModelError};

use crate::{
    Attributed, AttributionError, AttributionMethod, AttributionOptions, Baseline, Masked, Methods, Registries, Scores,
    Text, attribute,
};

type B = stepfn_cpu::flex::Backend;

/// The tiny models of all families.
fn folders() -> Vec<PathBuf> {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens/models");
    let mut folders: Vec<PathBuf> = fs::read_dir(models).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.retain(|folder| folder.join("config.json").exists());
    folders.sort();
    folders
}

fn run(model: &Model<B>, method: &dyn AttributionMethod<B>, function: &str) -> Result<Attributed, AttributionError> {
    let text = match model.encoder() {
        None if model.config().is_masked() => Text::masked(vec![2, 8, 40, 22, 51, 17, 3], Masked::alone(4, 6), 3),
        None => Text::causal(vec![5, 9, 30, 7, 61, 12], 3),
        Some(_) => Text::seq2seq(vec![5, 9, 30, 7], vec![0, 61, 12, 50]),
    };
    let function = Registries::default().attributed(function, &Map::new()).unwrap();
    let options = AttributionOptions { attribute_target: true, ..AttributionOptions::new(Baseline::token(0)) };
    attribute(model, &[text], method, &function, &[], &options)?.remove(0)
}

/// The gradient methods, with little to do: those that can't attribute a function without a gradient.
fn gradient_methods(model: &Model<B>) -> Vec<Box<dyn AttributionMethod<B>>> {
    let methods = Methods::default();
    let of = |name: &str| {
        let few = json!({ "n_steps": 4 });
        methods.make(name, few.as_object().unwrap()).or_else(|_| methods.make(name, &Map::new())).unwrap()
    };
    let all = methods.iter().map(|description| of(&description.name));
    all.filter(|method| method.is_of_function() && run(model, &**method, "rank").is_err()).collect()
}

/// Each step's scores on both sides, divided by the sum of their sizes.
fn shares(found: &Attributed) -> Vec<Vec<f64>> {
    let sides: Vec<&Scores> = [&found.scores.source, &found.scores.target].into_iter().flatten().collect();
    let steps = sides[0].shape()[1];
    let of_step = |step: usize| {
        let column = |scores: &Scores| {
            let values = scores.values().iter().skip(step).step_by(steps);
            values.map(|&score| f64::from(score)).filter(|score| !score.is_nan()).collect::<Vec<f64>>()
        };
        let column: Vec<f64> = sides.iter().flat_map(|scores| column(scores)).collect();
        let sum: f64 = column.iter().map(|score| score.abs()).sum();
        column.into_iter().map(|score| score / sum).collect()
    };
    (0..steps).map(of_step).collect()
}

#[test]
fn gradient_methods_say_the_same_in_half_precision() {
    for folder in folders() {
        let load = |dtype| Model::<B>::load(&folder, dtype, &Default::default()).unwrap();
        let (single, half, brain) = (load(DType::F32), load(DType::F16), load(DType::BF16));
        let methods = gradient_methods(&single);
        assert!(methods.len() >= 10, "only {} gradient methods", methods.len());
        for method in methods {
            let name = format!("{} of {}", method.name(), folder.display());
            let expected = match run(&single, &*method, "probability") {
                Err(AttributionError::Model(ModelError::NoRule { .. })) if !single.config().has_every_rule() => {
                    continue;
                }
                found => shares(&found.unwrap()),
            };
            for (model, most) in [(&half, 0.05), (&brain, 0.4)] {
                let found = shares(&run(model, &*method, "probability").unwrap());
                for (step, (found, expected)) in found.iter().zip(&expected).enumerate() {
                    assert_eq!(found.len(), expected.len(), "{name}, step {step}: other tokens");
                    let variation = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).sum::<f64>() / 2.0;
                    assert!(variation <= most, "{name}, step {step}: {variation}, {found:?} instead of {expected:?}");
                }
            }
        }
    }
}
