//! What all perturbation methods promise.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::path::Path;
use std::sync::LazyLock;

use burn::tensor::DType;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use stepfn_models::Model;

use super::*;
use crate::{
    Attributed, AttributionMethod, AttributionOptions, Baseline, Features, Methods, Passes, Registries, Scores, Text,
    attribute,
};

type B = stepfn_cpu::Backend;

static CAUSAL: LazyLock<Model<B>> = LazyLock::new(|| load("gpt2"));
static PAIRS: LazyLock<Model<B>> = LazyLock::new(|| load("marian"));

fn load(name: &str) -> Model<B> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens/models").join(name);
    Model::load(folder, DType::F32, &Default::default()).unwrap()
}

fn model_of(text: &Text) -> &'static Model<B> {
    if text.source.is_some() { &PAIRS } else { &CAUSAL }
}

type Method = Box<dyn AttributionMethod<B>>;

fn method(name: &str, parameters: &Value) -> Method {
    Methods::default().make(name, parameters.as_object().unwrap()).unwrap()
}

/// All of them, with little to do.
fn all_methods() -> Vec<Method> {
    [
        ("occlusion", json!({})),
        ("occlusion", json!({ "abs": false, "window": 3, "stride": 2 })),
        ("lime", json!({ "n_samples": 12 })),
        ("lime", json!({ "n_samples": 12, "similarity": "kept", "alpha": 0.1 })),
        ("kernel_shap", json!({ "n_samples": 6 })),
        ("shapley_sampling", json!({ "n_samples": 3 })),
        ("reagent", json!({ "num_probes": 2, "max_probe_steps": 3, "keep_top_n": 2 })),
        ("reagent", json!({ "num_probes": 2, "max_probe_steps": 2, "replacement": "uniform" })),
        ("discretized_integrated_gradients", json!({ "n_steps": 4, "n_neighbors": 8 })),
    ]
    .iter()
    .map(|(name, parameters)| method(name, parameters))
    .collect()
}

/// Those that play with groups: every method that hides tokens.
fn games() -> Vec<Method> {
    let games: Vec<Method> = all_methods().into_iter().filter(|method| method.hides_tokens()).collect();
    for about in Methods::<B>::default().iter().filter(|about| method(&about.name, &json!({})).hides_tokens()) {
        assert!(games.iter().any(|game| game.name() == about.name), "{} is not in all_methods()", about.name);
    }
    games
}

fn run(texts: &[Text], method: &Method, options: &AttributionOptions<'_>) -> Vec<Attributed> {
    let function = Registries::default().attributed("probability", &Map::new()).unwrap();
    let found = attribute(model_of(&texts[0]), texts, method, &function, &[], options).unwrap();
    found.into_iter().map(Result::unwrap).collect()
}

fn options() -> AttributionOptions<'static> {
    AttributionOptions { seed: 5, attribute_target: true, ..AttributionOptions::new(Baseline::token(0)) }
}

fn close(a: &Attributed, b: &Attributed) -> Result<(), TestCaseError> {
    for (a, b) in [(&a.scores.source, &b.scores.source), (&a.scores.target, &b.scores.target)] {
        prop_assert_eq!(a.is_some(), b.is_some());
        let (Some(a), Some(b)) = (a, b) else { continue };
        prop_assert_eq!(a.shape(), b.shape());
        same(a.values(), b.values())?;
    }
    Ok(())
}

/// To single precision: sums of differences of probabilities in a small game.
fn same(a: &[f32], b: &[f32]) -> Result<(), TestCaseError> {
    let greatest = a.iter().filter(|a| a.is_finite()).fold(0.0f32, |greatest, a| greatest.max(a.abs()));
    for (a, b) in a.iter().zip(b) {
        let same = (a.is_nan() && b.is_nan()) || (a - b).abs() <= 2e-4 * greatest + 2e-6;
        prop_assert!(same, "{} and {} of {}", a, b, greatest);
    }
    Ok(())
}

/// Σ of what each step sees, on both sides.
fn totals(found: &Attributed) -> Vec<f32> {
    let sides: Vec<&Scores> = [&found.scores.source, &found.scores.target].into_iter().flatten().collect();
    let of_step = |step: usize| {
        let of_side =
            |scores: &&Scores| (0..scores.tokens()).map(|token| scores.at(token, step)[0]).collect::<Vec<_>>();
        sides.iter().flat_map(of_side).filter(|score| !score.is_nan()).sum()
    };
    (0..sides[0].steps()).map(of_step).collect()
}

/// `f(x) − f(x̄)`, from one pass of each.
fn changes(text: &Text, options: &AttributionOptions<'_>) -> Vec<f32> {
    let function = Registries::default().attributed("probability", &Map::new()).unwrap();
    let passes = Passes::new(Question::new(text, options, 0, 1).unwrap(), model_of(text), &function).unwrap();
    let steps = passes.question().steps();
    let here = passes.values(&passes.input(steps), steps).unwrap();
    let there = passes.values(&passes.baseline(steps).unwrap(), steps).unwrap();
    (here - there).into_data().iter::<f32>().collect()
}

fn ids(len: impl Into<proptest::collection::SizeRange>) -> impl Strategy<Value = Vec<u32>> {
    prop::collection::vec(2u32..97, len)
}

prop_compose! {
    fn text()(source in prop::option::of(ids(1..5)), target in ids(3..8), prompt in 1usize..3) -> Text {
        Text { source, steps: prompt..target.len(), target, contrast: None, masked: None }
    }
}

/// Some texts for the same model.
fn texts() -> impl Strategy<Value = Vec<Text>> {
    prop::collection::vec(text(), 2..4).prop_map(|mut texts| {
        let pairs = texts[0].source.is_some();
        for text in &mut texts {
            text.source = if pairs { text.source.take().or(Some(vec![9, 8])) } else { None };
        }
        texts
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn neither_company_nor_memory_matters(texts in texts(), memory in prop::sample::select(vec![1usize, 200_000])) {
        for method in all_methods() {
            let together = run(&texts, &method, &AttributionOptions { memory, ..options() });
            for (number, text) in texts.iter().enumerate() {
                let alone = AttributionOptions { first_number: number as u32, ..options() };
                close(&together[number], &run(core::slice::from_ref(text), &method, &alone)[0])?;
            }
        }
    }

    #[test]
    fn a_step_has_the_scores_of_a_text_that_ends_there(text in text()) {
        for method in all_methods() {
            let whole = run(core::slice::from_ref(&text), &method, &options()).remove(0);
            for (index, step) in text.steps.clone().enumerate() {
                let alone = Text { target: text.target[..=step].to_vec(), steps: step..step + 1, ..text.clone() };
                // All coalitions of few tokens are run, whatever is drawn for more.
                let few = step + text.source.as_ref().map_or(0, Vec::len) < 4;
                if few && method.name() == "kernel_shap" {
                    continue;
                }
                let alone = run(&[alone], &method, &options()).remove(0);
                for (whole, alone) in
                    [(&whole.scores.source, &alone.scores.source), (&whole.scores.target, &alone.scores.target)]
                {
                    let (Some(whole), Some(alone)) = (whole, alone) else { continue };
                    let column = |scores: &Scores, step: usize| -> Vec<f32> {
                        (0..alone.tokens()).map(|token| scores.at(token, step)[0]).collect()
                    };
                    same(&column(whole, index), &column(alone, 0))?;
                }
            }
        }
    }

    #[test]
    fn what_a_step_cannot_see_is_nan_and_all_else_is_not(text in text(), attribute_target in prop::bool::ANY) {
        for method in all_methods() {
            let found = run(core::slice::from_ref(&text), &method, &AttributionOptions { attribute_target, ..options() }).remove(0);
            prop_assert_eq!(found.scores.source.is_some(), text.source.is_some());
            prop_assert_eq!(found.scores.target.is_some(), attribute_target || text.source.is_none());
            prop_assert!(found.scores.source.iter().all(|scores| scores.values().iter().all(|score| score.is_finite())));
            let Some(scores) = &found.scores.target else { continue };
            for (index, step) in text.steps.clone().enumerate() {
                for token in 0..text.target.len() {
                    prop_assert_eq!(scores.at(token, index)[0].is_nan(), token >= step);
                }
            }
        }
    }

    #[test]
    fn shapley_values_add_up_to_the_whole_change(text in text(), attribute_target in prop::bool::ANY, kept in 2u32..97) {
        let baseline = Baseline { id: 0, kept: vec![kept, text.target[0]] };
        let options = AttributionOptions { attribute_target, baseline, ..options() };
        for (name, n_samples) in [("kernel_shap", 4), ("kernel_shap", 40), ("shapley_sampling", 1), ("shapley_sampling", 4)] {
            let found = run(core::slice::from_ref(&text), &method(name, &json!({ "n_samples": n_samples })), &options).remove(0);
            same(&totals(&found), &changes(&text, &options))?;
            prop_assert!(found.scores.completeness.unwrap().deltas.iter().all(|delta| delta.abs() < 1e-6));
        }
    }

    #[test]
    fn kept_tokens_score_nothing(text in text()) {
        let options = AttributionOptions { baseline: Baseline { id: 0, kept: vec![text.target[0]] }, ..options() };
        for method in all_methods() {
            let found = run(core::slice::from_ref(&text), &method, &options).remove(0);
            let scores = found.scores.target.unwrap();
            prop_assert!((0..scores.steps()).all(|step| scores.at(0, step)[0] == 0.0), "{}", method.name());
        }
    }

    #[test]
    fn tokens_that_are_groups_of_their_own_change_nothing(text in text()) {
        let alone = |tokens: usize| (0..tokens).map(|token| token..token + 1).collect();
        let features = [Features { source: alone(text.source.as_ref().map_or(0, Vec::len)), target: alone(text.target.len()) }];
        for method in games() {
            let plain = run(core::slice::from_ref(&text), &method, &options()).remove(0);
            let grouped = run(core::slice::from_ref(&text), &method, &AttributionOptions { features: &features, ..options() });
            prop_assert_eq!(&plain.scores.target.as_ref().map(bits), &grouped[0].scores.target.as_ref().map(bits));
            prop_assert_eq!(&plain.scores.source.as_ref().map(bits), &grouped[0].scores.source.as_ref().map(bits));
        }
    }

    #[test]
    fn a_group_of_all_tokens_has_the_whole_change_in_equal_parts(text in text()) {
        let causal = Text { source: None, ..text };
        let features = [Features { source: vec![], target: core::iter::once(0..causal.target.len()).collect() }];
        let options = AttributionOptions { features: &features, ..options() };
        let changes = changes(&causal, &options);
        for (name, parameters) in [("kernel_shap", json!({})), ("shapley_sampling", json!({})), ("occlusion", json!({ "abs": false }))] {
            let found = run(core::slice::from_ref(&causal), &method(name, &parameters), &options).remove(0);
            let scores = found.scores.target.as_ref().unwrap();
            for (index, step) in causal.steps.clone().enumerate() {
                let share = if name == "occlusion" { 1.0 } else { step as f32 };
                for token in 0..step {
                    same(&[scores.at(token, index)[0] * share], &[changes[index]])?;
                }
            }
        }
    }

    #[test]
    fn two_tokens_and_an_order_both_ways_are_exact(target in ids(3), source in prop::option::of(ids(1))) {
        // Two players in all: a prompt of two tokens, or one on either side.
        let step = 2 - source.as_ref().map_or(0, Vec::len);
        let text = Text { source, target: target[..=step].to_vec(), steps: step..step + 1, contrast: None, masked: None };
        let ours = run(core::slice::from_ref(&text), &method("shapley_sampling", &json!({ "n_samples": 2 })), &options());
        let exact = run(core::slice::from_ref(&text), &method("kernel_shap", &json!({ "n_samples": 2 })), &options());
        close(&ours[0], &exact[0])?;
    }

    #[test]
    fn importances_of_reagent_are_shares_of_one(text in text()) {
        let method = method("reagent", &json!({ "num_probes": 3, "max_probe_steps": 2 }));
        let found = run(core::slice::from_ref(&text), &method, &options()).remove(0);
        prop_assert!(totals(&found).iter().all(|total| (total - 1.0).abs() < 1e-5));
    }
}

fn bits(scores: &Scores) -> Vec<u32> {
    scores.values().iter().map(|score| score.to_bits()).collect()
}

#[test]
fn many_orders_come_near_the_exact_values() {
    let text = [Text::causal(vec![5, 9, 30, 7, 61, 12, 40], 6)];
    let values =
        |method: Method| run(&text, &method, &options())[0].scores.target.as_ref().unwrap().values()[..6].to_vec();
    let exact = values(method("kernel_shap", &json!({ "n_samples": 62 })));
    let near = values(method("shapley_sampling", &json!({ "n_samples": 200 })));
    let greatest = exact.iter().fold(0.0f32, |greatest, score| greatest.max(score.abs()));
    for (near, exact) in near.iter().zip(&exact) {
        assert!((near - exact).abs() < 0.15 * greatest, "{near} instead of {exact} of {greatest}");
    }
}

#[test]
fn a_seed_repeats_and_another_does_not() {
    let text = [Text::causal(vec![5, 9, 30, 7, 61, 12, 40, 3], 6)];
    let draws =
        |method: &Method| ["n_samples", "num_probes"].iter().any(|count| method.parameters().contains_key(*count));
    for method in games().into_iter().filter(draws) {
        let scores = |seed| {
            let found = run(&text, &method, &AttributionOptions { seed, ..options() });
            bits(found[0].scores.target.as_ref().unwrap())
        };
        assert_eq!(scores(1), scores(1), "{}", method.name());
        assert_ne!(scores(1), scores(2), "{}", method.name());
    }
}

#[test]
fn windows_average_over_those_that_a_token_is_in() {
    let text = Text::causal(vec![5, 9, 30, 7, 61], 4);
    let value = |hidden: core::ops::Range<usize>| {
        let features = [Features { source: vec![], target: vec![hidden.clone()] }];
        let options = AttributionOptions { features: &features, ..options() };
        let found = run(core::slice::from_ref(&text), &method("occlusion", &json!({ "abs": false })), &options);
        found[0].scores.target.as_ref().unwrap().at(hidden.start, 0)[0]
    };
    let (first, last) = (value(0..3), value(2..4));
    let windows = method("occlusion", &json!({ "abs": false, "window": 3, "stride": 2 }));
    let found = run(core::slice::from_ref(&text), &windows, &options());
    let scores = found[0].scores.target.as_ref().unwrap();
    let ours: Vec<f32> = (0..4).map(|token| scores.at(token, 0)[0]).collect();
    same(&ours, &[first, first, (first + last) / 2.0, last]).unwrap();
}

#[test]
fn groups_that_make_no_sense_are_errors() {
    let text = Text::causal(vec![5, 9, 30, 7], 2);
    let function = Registries::default().attributed("probability", &Map::new()).unwrap();
    let range = |start, end| core::ops::Range { start, end };
    for groups in [vec![range(0, 2), range(1, 3)], vec![range(3, 5)], vec![range(1, 1)]] {
        let features = [Features { source: vec![], target: groups }];
        let options = AttributionOptions { features: &features, ..options() };
        let method = method("occlusion", &json!({}));
        let found = attribute(&*CAUSAL, core::slice::from_ref(&text), &method, &function, &[], &options).unwrap();
        let error = found[0].as_ref().unwrap_err().to_string();
        assert!(error.starts_with("attribution: `features.target` must be ranges"), "{error}");
        let both = [text.clone(), text.clone()];
        assert!(attribute(&*CAUSAL, &both, &method, &function, &[], &options).is_err());
    }
}

#[test]
fn a_method_that_hides_nothing_refuses_groups() {
    let text = Text::causal(vec![5, 9, 30, 7], 2);
    let function = Registries::default().attributed("probability", &Map::new()).unwrap();
    let groups = [Features { source: vec![], target: core::iter::once(0..2).collect() }];
    let none = [Features::default()];
    for name in Methods::<B>::default().iter().map(|method| method.name.clone()) {
        let method = method(&name, &json!({}));
        let found = |features| {
            let options = AttributionOptions { features, ..options() };
            attribute(&*CAUSAL, core::slice::from_ref(&text), &method, &function, &[], &options)
        };
        assert_eq!(found(&groups).is_ok(), method.hides_tokens(), "{name}");
        assert_eq!(method.hides_tokens(), games().iter().any(|game| game.name() == name));
        assert!(found(&none).is_ok(), "{name}");
    }
}

#[test]
fn parameters_out_of_range_are_errors() {
    for (name, parameters) in [
        ("occlusion", json!({ "window": 0 })),
        ("occlusion", json!({ "stride": 2 })),
        ("lime", json!({ "mask_prob": 1.0 })),
        ("lime", json!({ "alpha": -1.0 })),
        ("lime", json!({ "kernel_width": 0.0 })),
        ("lime", json!({ "n_samples": 0 })),
        ("kernel_shap", json!({ "n_samples": 1 })),
        ("shapley_sampling", json!({ "n_samples": 0 })),
        ("reagent", json!({ "replacing_ratio": 0.0 })),
        ("reagent", json!({ "num_probes": 0 })),
        ("discretized_integrated_gradients", json!({ "n_steps": 1 })),
        ("discretized_integrated_gradients", json!({ "n_neighbors": 0 })),
    ] {
        let error = Methods::<B>::default().make(name, parameters.as_object().unwrap()).err().unwrap();
        let given = parameters.as_object().unwrap().keys().next().unwrap();
        assert!(error.to_string().starts_with(&format!("{name}: `{given}` must be ")), "{error}");
    }
}

#[test]
fn functions_that_read_noisy_passes_are_occluded_too() {
    let text = Text::causal(vec![5, 9, 30, 7, 61], 3);
    let function = Registries::default().attributed("mc_dropout_prob_avg", &Map::new()).unwrap();
    let rates = Some(stepfn_models::config::DropoutRates { residual: Some(0.3), ..CAUSAL.config().decoder.dropout });
    let options = AttributionOptions { rates, ..options() };
    let method = method("occlusion", &json!({ "abs": false }));
    let found = attribute(&*CAUSAL, core::slice::from_ref(&text), &method, &function, &[], &options)
        .unwrap()
        .remove(0)
        .unwrap();
    // One token by hand, from whole passes with the same masks.
    let passes = Passes::new(Question::new(&text, &options, 0, 1).unwrap(), &*CAUSAL, &function).unwrap();
    let steps = passes.question().steps();
    let (here, baseline) = (passes.input(steps), passes.baseline(steps).unwrap());
    let [_, size] = here.target.hidden.dims();
    let row = baseline.target.hidden.slice(2..3);
    let mut without = here.clone();
    without.target.hidden = here.target.hidden.clone().slice_assign([2..3, 0..size], row);
    let fall = passes.values(&here, steps).unwrap() - passes.values(&without, steps).unwrap();
    let fall: Vec<f32> = fall.into_data().iter::<f32>().collect();
    let scores = found.scores.target.unwrap();
    same(&[scores.at(2, 0)[0], scores.at(2, 1)[0]], &fall).unwrap();
}

#[test]
fn samples_that_do_not_fit_into_memory_are_refused_before_any_runs() {
    let text = Text::causal((0..40).map(|place| 5 + place).collect(), 3);
    let function = Registries::default().attributed("probability", &Map::new()).unwrap();
    let start = std::time::Instant::now();
    // 100,000 orders of 40 tokens are 3.9 million variants of 40 tokens.
    let method = method("shapley_sampling", &json!({ "n_samples": 100_000 }));
    let error = attribute(&*CAUSAL, &[text], &method, &function, &[], &options()).unwrap().remove(0).unwrap_err();
    assert!(error.to_string().starts_with("shapley_sampling: `n_samples` must be at most "), "{error}");
    assert!(start.elapsed() < std::time::Duration::from_secs(2), "{:?}", start.elapsed());
}
