//! What spans promise, of every family: a span's scores are the sums of its steps' scores, and add up to what its value changes.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![allow(clippy::single_range_in_vec_init, reason = "one span is a list of spans too")]

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::DType;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use stepfn_core::Alignment;
use stepfn_core::functions::Probability;
use stepfn_models::{Model, ModelError};

use super::SpanTarget;
use crate::{
    Attributed, AttributedFn, AttributionError, AttributionMethod, AttributionOptions, Baseline, ContrastText, Masked,
    Methods, Registries, Scores, Text, attribute,
};

type B = stepfn_cpu::flex::Backend;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens/models").join(name)
}

fn load(name: &str) -> Model<B> {
    Model::load(folder(name), DType::F32, &Default::default()).unwrap()
}

/// The tiny models of all families.
fn families() -> Vec<String> {
    let all = fs::read_dir(folder("")).unwrap().map(|entry| entry.unwrap());
    let all = all.filter(|entry| entry.path().join("config.json").exists());
    let mut all: Vec<String> = all.map(|entry| entry.file_name().into_string().unwrap()).collect();
    all.sort();
    all
}

/// A prompt and a longer answer.
fn text(model: &Model<B>) -> Text {
    let answer = [61, 12, 50, 33, 9, 17, 28];
    match model.encoder() {
        None => Text::causal([&[5, 9, 30, 7][..], &answer[..]].concat(), 4),
        Some(_) => Text::seq2seq(vec![5, 9, 30, 7], [&[0][..], &answer[..]].concat()),
    }
}

fn run(
    model: &Model<B>,
    text: &Text,
    (method, function): (&dyn AttributionMethod<B>, &str),
    spans: &[SpanTarget],
    options: AttributionOptions<'_>,
) -> Result<Attributed, AttributionError> {
    let function = function_named(function);
    let options = AttributionOptions { spans, ..options };
    attribute(model, core::slice::from_ref(text), method, &function, &[], &options)?.remove(0)
}

fn function_named(name: &str) -> AttributedFn<B> {
    match name {
        "log_probability" => AttributedFn::new(Probability { logprob: true }),
        name => Registries::default().attributed(name, &Map::new()).unwrap(),
    }
}

fn options() -> AttributionOptions<'static> {
    AttributionOptions { attribute_target: true, raw: true, ..AttributionOptions::new(Baseline::token(0)) }
}

/// Methods whose scores are linear in the function that is attributed.
fn linear_methods() -> Vec<Box<dyn AttributionMethod<B>>> {
    let of = |name: &str, parameters: Value| Methods::default().make(name, parameters.as_object().unwrap()).unwrap();
    vec![
        of("saliency", json!({ "abs": false })),
        of("input_x_gradient", json!({})),
        of("integrated_gradients", json!({ "n_steps": 3 })),
        of("deeplift", json!({})),
        of("attn_lrp", json!({})),
        of("gradient_shap", json!({ "n_samples": 2, "stdevs": 0.01 })),
        of("sequential_integrated_gradients", json!({ "n_steps": 2 })),
        of("discretized_integrated_gradients", json!({ "n_steps": 4 })),
        of("layer_gradient_x_activation", json!({ "layer": 0 })),
        of("grad_x_attention", json!({ "positive": false })),
        of("occlusion", json!({ "abs": false })),
        of("shapley_sampling", json!({ "n_samples": 2 })),
    ]
}

/// The sums of the columns of each span, without those that a step can't see.
fn summed(scores: &Scores, spans: &[core::ops::Range<usize>]) -> Vec<Vec<f64>> {
    let sum = |token: usize, span: &core::ops::Range<usize>, position: usize| {
        span.clone()
            .map(|step| f64::from(scores.at(token, step)[position]))
            .filter(|score| !score.is_nan())
            .sum::<f64>()
    };
    let depth = scores.at(0, 0).len();
    let of_span = |span| (0..scores.tokens()).flat_map(move |token| (0..depth).map(move |at| sum(token, span, at)));
    spans.iter().map(|span| of_span(span).collect()).collect()
}

fn columns(scores: &Scores) -> Vec<Vec<f64>> {
    let spans: Vec<_> = (0..scores.steps()).map(|column| column..column + 1).collect();
    summed(scores, &spans)
}

fn assert_same(what: &str, found: &[Vec<f64>], expected: &[Vec<f64>]) {
    assert_eq!(found.len(), expected.len(), "{what}: other columns");
    for (column, (found, expected)) in found.iter().zip(expected).enumerate() {
        let scale = expected.iter().fold(1e-9_f64, |scale, value| scale.max(value.abs()));
        for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
            assert!((found - expected).abs() <= 2e-3 * scale, "{what}, column {column}, {at}: {found}, not {expected}");
        }
    }
}

#[test]
fn the_scores_of_a_span_are_the_sums_of_its_steps() {
    for family in families() {
        let model = load(&family);
        if model.config().is_masked() {
            continue;
        }
        let text = text(&model);
        let first = text.steps.start;
        // A gap, a step by itself, and steps at both ends.
        let spans = [0..3, 4..5, 5..7];
        let target = SpanTarget::new(spans.iter().map(|span| first + span.start..first + span.end).collect());
        for method in linear_methods() {
            let what = format!("{} of {family}", method.name());
            let attributed = |spans: &[SpanTarget]| run(&model, &text, (&*method, "log_probability"), spans, options());
            let by_step = match attributed(&[]) {
                Err(AttributionError::Model(ModelError::NoRule { .. })) if !model.config().has_every_rule() => continue,
                found => found.unwrap().scores,
            };
            let found = attributed(core::slice::from_ref(&target)).unwrap().scores;
            assert_eq!(found.source.is_some(), by_step.source.is_some(), "{what}");
            for (found, by_step) in [(&found.source, &by_step.source), (&found.target, &by_step.target)] {
                if let (Some(found), Some(by_step)) = (found, by_step) {
                    assert_same(&what, &columns(found), &summed(by_step, &spans));
                }
            }
            if let (Some(found), Some(by_step)) = (&found.completeness, &by_step.completeness) {
                for (column, span) in spans.iter().enumerate() {
                    let change: f32 = by_step.changes[span.clone()].iter().sum();
                    assert!((found.changes[column] - change).abs() < 1e-3 * (1.0 + change.abs()), "{what}: {change}");
                }
            }
        }
    }
}

/// The sizes of scores are of a span's own gradient, and not sums of sizes.
#[test]
fn the_length_of_a_span_is_that_of_the_summed_gradient() {
    let model = load("gpt2");
    let text = text(&model);
    let saliency = Methods::default().make("saliency", &Map::new()).unwrap();
    let target = [SpanTarget::new(vec![4..11])];
    let found = |spans: &[SpanTarget], raw| {
        let options = AttributionOptions { raw, ..options() };
        run(&model, &text, (&*saliency, "probability"), spans, options).unwrap().scores.target.unwrap()
    };
    let (length, raw) = (found(&target, false), found(&target, true));
    for token in 0..10 {
        let expected = raw.at(token, 0).iter().map(|unit| unit * unit).sum::<f32>().sqrt();
        assert!((length.at(token, 0)[0] - expected).abs() <= 1e-5 * expected);
    }
    assert!(length.at(10, 0)[0].is_nan(), "nothing is predicted from the last token");
}

#[test]
fn scores_of_a_span_add_up_and_means_are_shares_of_sums() {
    for family in ["gpt2", "marian"] {
        let model = load(family);
        let text = text(&model);
        let span = text.steps.start + 1..text.steps.end;
        for (name, parameters, tolerance) in [
            ("integrated_gradients", json!({ "n_steps": 300 }), 1e-2),
            ("deeplift", json!({}), 1e-3),
            ("shapley_sampling", json!({ "n_samples": 3 }), 1e-4),
            ("kernel_shap", json!({ "n_samples": 40 }), 1e-4),
        ] {
            let method = Methods::default().make(name, parameters.as_object().unwrap()).unwrap();
            let found = |mean| {
                let target = SpanTarget { spans: vec![span.clone()], mean };
                run(&model, &text, (&*method, "log_probability"), &[target], options()).unwrap().scores
            };
            let (sum, mean) = (found(false), found(true));
            let total = |scores: &crate::InputScores| -> f64 {
                let sides = [&scores.source, &scores.target].into_iter().flatten();
                sides.flat_map(|scores| columns(scores).concat()).sum()
            };
            let change = f64::from(sum.completeness.as_ref().unwrap().changes[0]);
            assert!((total(&sum) - change).abs() <= tolerance * change.abs(), "{name}: {} of {change}", total(&sum));
            let steps = span.len() as f64;
            assert!((total(&mean) * steps - total(&sum)).abs() <= 1e-4 * change.abs(), "{name}: {}", total(&mean));
        }
    }
}

/// In a comparison, steps without a partner add nothing, and a span of nothing else has no scores.
#[test]
fn spans_of_a_comparison_are_of_the_steps_that_are_compared() {
    let model = load("gpt2");
    let contrast = ContrastText {
        source: None,
        target: vec![5, 9, 30, 7, 61, 13, 51],
        first: 4,
        alignment: Alignment::Pairs(vec![(0, 0), (1, 1), (2, 2)]),
        masked: None,
    };
    let text = Text { contrast: Some(contrast), ..text(&model) };
    let method = Methods::default().make("input_x_gradient", &Map::new()).unwrap();
    let found = |spans: &[SpanTarget]| {
        run(&model, &text, (&*method, "contrast_prob_diff"), spans, options()).unwrap().scores.target.unwrap()
    };
    let by_step = found(&[]);
    let spans = found(&[SpanTarget::new(vec![5..9, 9..11])]);
    assert_same("compared", &columns(&spans)[..1], &summed(&by_step, &[1..3]));
    assert!((0..11).all(|token| spans.at(token, 1)[0].is_nan()), "nothing is compared there");
}

#[test]
fn a_prompt_alone_is_scored_and_hidden() {
    let model = load("gpt2");
    let text = text(&model);
    for name in ["saliency", "integrated_gradients", "occlusion", "lime", "kernel_shap"] {
        let method = Methods::default().make(name, &Map::new()).unwrap();
        let options = AttributionOptions { prompt_only: true, raw: false, ..options() };
        let target = [SpanTarget::new(vec![4..11])];
        let found = run(&model, &text, (&*method, "log_probability"), &target, options).unwrap().scores;
        let scores = found.target.unwrap();
        let seen: Vec<bool> = (0..11).map(|token| !scores.at(token, 0)[0].is_nan()).collect();
        assert_eq!(seen, [&[true; 4][..], &[false; 7]].concat(), "{name}");
    }
    // What the change is of: the answer after a hidden prompt.
    let shap = Methods::default().make("kernel_shap", &Map::new()).unwrap();
    let options = AttributionOptions { prompt_only: true, ..options() };
    let found = run(&model, &text, (&*shap, "log_probability"), &[SpanTarget::new(vec![4..11])], options).unwrap();
    let function = function_named("log_probability");
    let log_prob = |target: Vec<u32>| -> f32 {
        let text = Text::causal(target, 4);
        let functions: [Box<dyn stepfn_core::StepFunction<B>>; 1] = [Box::new(function.clone())];
        let scored = crate::score(&model, &[text], &functions, &Default::default()).unwrap().remove(0).unwrap();
        scored.scores[0].1.iter().sum()
    };
    let hidden = [&[0; 4][..], &text.target[4..]].concat();
    let expected = log_prob(text.target.clone()) - log_prob(hidden);
    let change = found.scores.completeness.unwrap().changes[0];
    assert!((change - expected).abs() < 1e-4 * expected.abs(), "{change} instead of {expected}");
}

#[test]
fn what_spans_can_not_be_of_is_said() {
    let model = load("gpt2");
    let text = text(&model);
    let method = |name: &str| Methods::<B>::default().make(name, &Map::new()).unwrap();
    let error = |name: &str, text: &Text, spans: Vec<core::ops::Range<usize>>| {
        let method = method(name);
        run(&model, text, (&*method, "probability"), &[SpanTarget::new(spans)], options()).unwrap_err().to_string()
    };
    assert!(error("attention", &text, vec![4..6]).contains("has no function"));
    for spans in [vec![], vec![3..5], vec![9..12], vec![6..8, 7..9], vec![8..9, 5..6], vec![5..5]] {
        let message = error("saliency", &text, spans.clone());
        assert!(message.contains("span"), "{spans:?}: {message}");
    }
    let bert = load("bert");
    let masked = Text::masked(vec![2, 8, 40, 22, 51, 17, 3], Masked::alone(4, 6), 3);
    let saliency = method("saliency");
    let message = run(&bert, &masked, (&*saliency, "probability"), &[SpanTarget::new(vec![3..5])], options());
    assert!(message.unwrap_err().to_string().contains("a copy of its own"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// However the work is cut into pieces, and however long the spans.
    #[test]
    fn any_spans_are_the_sums_of_their_steps(
        lengths in prop::collection::vec((0usize..3, 1usize..5), 1..8), memory in prop_oneof![Just(1usize), Just(1 << 30)],
    ) {
        let model = load("llama");
        let mut next = 4;
        let mut spans = Vec::new();
        for (gap, length) in lengths {
            spans.push(next + gap..next + gap + length);
            next += gap + length;
        }
        let text = Text::causal((0..next as u32).map(|at| 3 + at * 7 % 80).collect(), 4);
        let method = Methods::default().make("input_x_gradient", &Map::new()).unwrap();
        let found = |spans: &[SpanTarget]| {
            let options = AttributionOptions { memory, ..options() };
            run(&model, &text, (&*method, "entropy"), spans, options).unwrap().scores.target.unwrap()
        };
        let by_step = found(&[]);
        let counted: Vec<_> = spans.iter().map(|span| span.start - 4..span.end - 4).collect();
        assert_same("entropy", &columns(&found(&[SpanTarget::new(spans)])), &summed(&by_step, &counted));
    }
}
