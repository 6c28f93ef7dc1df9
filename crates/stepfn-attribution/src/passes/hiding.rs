//! What is promised of tokens that nobody attends to: as transformers has it, alone or together, with or without what is shared.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::path::{Path, PathBuf};

use burn::tensor::DType;
use burn::tensor::activation::log_softmax;
use serde_json::Value;
use stepfn_models::families;

use super::*;
use crate::{AttributionOptions, Baseline, Registries, Text};

type B = stepfn_cpu::flex::Backend;

fn goldens(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens").join(folder)
}

fn load(name: &str, dtype: DType) -> Model<B> {
    Model::load(goldens("models").join(name), dtype, &Default::default()).unwrap()
}

/// A side with the positions of its hidden tokens.
type Hiding<'a> = (&'a [u32], &'a [usize]);

/// Log-probabilities at every place of the target, `[places, vocab]`.
fn predictions(model: &Model<B>, source: Hiding<'_>, target: Hiding<'_>) -> Tensor<B, 2> {
    let batch =
        |stack: &Stack<B>, (ids, hidden): Hiding<'_>| token_batch(stack, ids, 1).unwrap().hiding(vec![hidden.to_vec()]);
    let source = model.encoder().map(|encoder| (batch(encoder, source), encoder));
    let target = batch(model.decoder(), target);
    let input = ModelInput {
        source: source.as_ref().map(|(batch, encoder)| StackInput::embedded(batch, encoder.embed(batch))),
        target: StackInput::embedded(&target, model.decoder().embed(&target)),
        dropout: &Dropout::Off,
    };
    log_softmax(model.logits(model.hidden(input).unwrap()), 1)
}

fn numbers(x: Tensor<B, 2>) -> Vec<f64> {
    x.into_data().iter::<f64>().collect()
}

fn assert_close(found: &[f64], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        let close = (found - expected).abs() <= tolerance * expected.abs().max(1.0);
        assert!(close, "{what}, {at}: {found} instead of {expected}");
    }
}

#[test]
fn hidden_tokens_are_zeros_of_attention_masks_of_transformers() {
    let text = std::fs::read_to_string(goldens("masking/expected.json")).unwrap();
    let expected: serde_json::Map<String, Value> = serde_json::from_str(&text).unwrap();
    let list = |value: &Value| -> Vec<usize> {
        value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as usize).collect()
    };
    let ids = |value: &Value| -> Vec<u32> { list(value).into_iter().map(|id| id as u32).collect() };
    for (name, golden) in expected.iter().filter(|(name, _)| *name != "versions") {
        // The fused route, and the composed one.
        for dtype in [DType::F32, DType::F64] {
            let model = load(name, dtype);
            let (source, target) = (ids(&golden["source"]), ids(&golden["target"]));
            for case in golden["cases"].as_array().unwrap() {
                let hidden = [list(&case["source"]), list(&case["target"])];
                let found = predictions(&model, (&source, &hidden[0]), (&target, &hidden[1]));
                let [_, vocab] = found.dims();
                let found = numbers(found);
                let predicted = if model.config().is_masked() { &target[..] } else { &target[1..] };
                let of = |(place, id): (usize, &u32)| found[place * vocab + *id as usize];
                let found: Vec<f64> = predicted.iter().enumerate().map(of).collect();
                let values = case["log_probabilities"].as_array().unwrap();
                let values: Vec<f64> = values.iter().map(|value| value.as_f64().unwrap()).collect();
                assert_close(&found, &values, 1e-4, &format!("{name}, {dtype:?}, {hidden:?}"));
            }
        }
    }
}

#[test]
fn occlusion_by_mask_is_what_is_lost_where_nobody_attends() {
    for name in ["gpt2", "marian"] {
        let model = load(name, DType::F32);
        let registries = Registries::<B>::default();
        let function = registries.attributed("probability", &serde_json::Map::new()).unwrap();
        let text = match model.encoder() {
            None => Text::causal(vec![5, 9, 30, 7, 61, 12], 3),
            Some(_) => Text::seq2seq(vec![5, 9, 30, 7], vec![0, 61, 12, 50]),
        };
        let options = AttributionOptions::new(Baseline::token(0));
        let method = crate::methods::Occlusion { abs: false, mask: true, ..Default::default() };
        let texts = core::slice::from_ref(&text);
        let found = crate::attribute(&model, texts, &method, &function, &[], &options).unwrap().remove(0).unwrap();
        let (side, scores) = match found.scores.source {
            Some(scores) => (Side::Source, scores),
            None => (Side::Target, found.scores.target.unwrap()),
        };
        let source = text.source.as_deref().unwrap_or_default();
        let at = |hidden: &[usize], step: usize| {
            let [of_source, of_target] = if side == Side::Source { [hidden, &[]] } else { [&[], hidden] };
            let found = predictions(&model, (source, of_source), (&text.target[..text.target.len() - 1], of_target));
            let [_, vocab] = found.dims();
            numbers(found)[(step - 1) * vocab + text.target[step] as usize].exp()
        };
        for (column, step) in text.steps.clone().enumerate() {
            for token in 0..3 {
                let expected = at(&[], step) - at(&[token], step);
                assert_close(&[f64::from(scores.at(token, column)[0])], &[expected], 1e-5, name);
            }
        }
    }
}

fn families() -> impl Iterator<Item = String> {
    families::all().iter().map(|family| family.name.replace('-', "_"))
}

#[test]
fn no_family_has_another_way_to_a_hidden_token_than_attention() {
    for name in families() {
        let model = load(&name, DType::F32);
        let (source, target) = ([13, 8, 25, 9, 3], [7, 12, 17, 22, 27, 32, 37, 42]);
        let of = |source: Hiding<'_>, target: Hiding<'_>| predictions(&model, source, target);
        let whole = numbers(of((&source, &[]), (&target, &[])));
        // Masks that hide nothing.
        assert_close(&numbers(of((&source, &[99]), (&target, &[99]))), &whole, 1e-5, &name);
        let hidden = [1, 4];
        let found = of((&source, &[]), (&target, &hidden));
        let others = |x: &Tensor<B, 2>| {
            let kept: Vec<usize> = (0..target.len()).filter(|place| !hidden.contains(place)).collect();
            numbers(select(x, &kept))
        };
        let differs =
            others(&found).iter().zip(others(&of((&source, &[]), (&target, &[])))).any(|(a, b)| (a - b).abs() > 1e-3);
        assert!(differs, "{name}: hidden tokens are seen");
        let mut other = target;
        hidden.iter().for_each(|&place| other[place] = 50 + place as u32);
        assert_close(&others(&of((&source, &[]), (&other, &hidden))), &others(&found), 1e-4, &name);
        if model.encoder().is_some() {
            let found = numbers(of((&source, &[0, 2]), (&target, &[])));
            assert!(
                found.iter().zip(&whole).any(|(a, b)| (a - b).abs() > 1e-3),
                "{name}: hidden tokens of the source are seen"
            );
            let other = numbers(of((&[50, 8, 51, 9, 3], &[0, 2]), (&target, &[])));
            assert_close(&other, &found, 1e-4, &name);
            // A decoder that has nothing to look at reads zeros.
            let all: Vec<usize> = (0..source.len()).collect();
            let nothing = numbers(of((&source, &all), (&target, &[])));
            let other = numbers(of((&[50, 51, 52, 53, 54], &all), (&target, &[])));
            assert_close(&other, &nothing, 1e-4, &name);
        }
    }
}

#[test]
fn variants_with_hidden_tokens_are_what_each_is_alone() {
    for name in families() {
        let model = load(&name, DType::F32);
        if model.config().is_masked() {
            continue;
        }
        let function = Registries::default()
            .attributed("probability", &serde_json::json!({"logprob": true}).as_object().cloned().unwrap())
            .unwrap();
        let source = model.encoder().map(|_| vec![13, 8, 25, 9, 3]);
        let target: Vec<u32> = (0..12).map(|place| 7 + 5 * place).collect();
        let text = Text { source, target: target.clone(), steps: 3..12, contrast: None, masked: None };
        let options = AttributionOptions::new(Baseline::token(0));
        let question = Question::new(&text, &options, 0, 1).unwrap();
        let passes = Passes::new(question, &model, &function).unwrap();
        let (perturbation, steps) = (passes.perturb().unwrap(), passes.question().steps());
        let mut variants = Vec::new();
        for place in 0..11 {
            let mut hidden = vec![(Side::Target, place), (Side::Target, (place + 4) % 11)];
            hidden.extend(model.encoder().filter(|_| place % 3 == 0).map(|_| (Side::Source, place % 5)));
            variants.push(Perturbed { hidden, ..perturbation.text() });
        }
        let values = perturbation.values_of(function.plain(), &variants, steps, |_, _| Ok(())).unwrap();
        for (variant, values) in variants.iter().zip(&values) {
            let of = |side: Side| {
                variant.hidden.iter().filter(|(of, _)| *of == side).map(|(_, token)| *token).collect::<Vec<_>>()
            };
            let source = text.source.as_deref().unwrap_or_default();
            let alone = predictions(&model, (source, &of(Side::Source)), (&target[..11], &of(Side::Target)));
            let [_, vocab] = alone.dims();
            let alone = numbers(alone);
            let alone: Vec<f64> =
                text.steps.clone().map(|step| alone[(step - 1) * vocab + target[step] as usize]).collect();
            assert_close(values, &alone, 2e-4, &format!("{name}, {:?}", variant.hidden));
        }
    }
}
