#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::path::Path;

use burn::tensor::DType;
use serde_json::{Value, json};
use stepfn_models::transformer::Rule;

use super::*;
use crate::{AttributionOptions, Baseline, Registries, Text};

type B = stepfn_cpu::flex::Backend;

fn load(name: &str) -> Model<B> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens/models").join(name);
    Model::load(folder, DType::F64, &Default::default()).unwrap()
}

fn text_for(model: &Model<B>) -> Text {
    match model.encoder() {
        None => Text::causal(vec![5, 9, 30, 7, 61, 12], 3),
        Some(_) => Text::seq2seq(vec![5, 9, 30, 7], vec![0, 61, 12, 50]),
    }
}

fn numbers(x: &Tensor<B, 2>) -> Vec<f64> {
    x.clone().into_data().iter::<f64>().collect()
}

/// `side` with one number moved.
fn moved(side: &Embedded<B>, index: usize, by: f64) -> Embedded<B> {
    let mut values = numbers(&side.hidden);
    values[index] += by;
    let data = TensorData::new(values, side.hidden.dims());
    Embedded { hidden: Tensor::from_data(data, (&side.hidden.device(), DType::F64)), entry: side.entry }
}

/// Derivatives of a function, against central differences of its values.
fn differentiates(name: &str, (function, parameters): (&str, Value)) {
    const STEP: f64 = 1e-5;
    let model = load(name);
    let registries = Registries::<B>::default();
    let attributed = registries.attributed(function, parameters.as_object().unwrap()).unwrap();
    let options = AttributionOptions { seed: 3, ..AttributionOptions::new(Baseline::token(0)) };
    let text = text_for(&model);
    let passes = Passes::new(Question::new(&text, &options, 0, 1).unwrap(), &model, &attributed).unwrap();
    let steps = passes.question().steps();
    let input = passes.input(steps);
    let gradients = passes.differentiate(&input, Rule::Gradient, steps).unwrap();
    let sides = [
        (input.source.clone(), gradients.source.clone(), true),
        (Some(input.target.clone()), Some(gradients.target.clone()), false),
    ];
    for (side, gradients, of_source) in sides {
        let (Some(side), Some(gradients)) = (side, gradients) else { continue };
        let [width, size] = side.hidden.dims();
        let gradients = numbers(&gradients);
        let greatest = gradients.iter().fold(0.0f64, |most, x| most.max(x.abs()));
        assert!(greatest > 1e-6, "{name}: {function} stays as it is");
        // A number of each place.
        for index in (0..width).map(|place| place * size + (place * 7 + 3) % size) {
            let at = |by: f64| {
                let mut variant = input.clone();
                let moved = moved(&side, index, by);
                match of_source {
                    true => variant.source = Some(moved),
                    false => variant.target = moved,
                }
                numbers(&passes.values(&variant, steps).unwrap())
            };
            let (up, down) = (at(STEP), at(-STEP));
            for step in 0..steps.len() {
                let expected = (up[step] - down[step]) / (2.0 * STEP);
                let found = gradients[step * width * size + index];
                let off = (found - expected).abs() / greatest;
                assert!(off < 1e-5, "{name}: {function}, step {step}, number {index}: {found} instead of {expected}");
            }
        }
    }
}

#[test]
fn derivatives_are_central_differences() {
    for name in ["gpt2", "gemma2", "marian"] {
        differentiates(name, ("probability", json!({})));
        differentiates(name, ("entropy", json!({})));
    }
}

#[test]
fn so_they_are_through_passes_with_dropout() {
    for name in ["gpt2", "marian", "t5"] {
        for statistic in ["mean", "zscore", "var"] {
            differentiates(
                name,
                ("mc_dropout_prob_avg", json!({ "n_mcd_steps": 3, "logprob": true, "statistic": statistic })),
            );
        }
        differentiates(name, ("mc_dropout_mutual_information", json!({ "n_mcd_steps": 2 })));
    }
}
