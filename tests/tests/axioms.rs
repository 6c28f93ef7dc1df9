//! Properties of attributions that hold for every model.

#![allow(clippy::unwrap_used, reason = "a test that can't continue should fail")]

use std::sync::LazyLock;

use serde_json::{Map, Value, json};
use stepfn_attribution::{Attributed, AttributionOptions, Baseline, Methods, Text};
use stepfn_core::StepScore;
use stepfn_tests::axioms::{B, Examined, FUNCTIONS, difference, linear, raw, sides, sums};

/// How far scores are from adding up, relative to their sum, or to a hundredth of their absolute sum if they cancel.
fn incompleteness(attributed: &Attributed) -> f64 {
    let (totals, sizes) = (sums(attributed, f64::from), sums(attributed, |x| f64::from(x.abs())));
    let deltas = &attributed.scores.completeness.as_ref().unwrap().deltas;
    assert_eq!(deltas.len(), totals.len());
    let off = |((delta, total), size): ((&f32, &f64), &f64)| {
        assert!(delta.is_finite() && *size > 0.0, "{delta} of {total} ({size})");
        f64::from(delta.abs()) / (total - f64::from(*delta)).abs().max(size / 100.0)
    };
    deltas.iter().zip(&totals).zip(&sizes).map(off).fold(0.0, f64::max)
}

/// Methods and parameters that depend on layers, for a model that supports them.
fn layer_deep_lift(examined: &Examined) -> Vec<(&'static str, Value)> {
    let mut methods = vec![
        ("layer_deeplift", json!({ "stack": "decoder", "layer": 0 })),
        ("layer_deeplift", json!({ "stack": "decoder", "layer": 1 })),
    ];
    if examined.model.encoder().is_some() {
        methods.push(("layer_deeplift", json!({ "stack": "encoder", "layer": 0 })));
    }
    methods
}

#[test]
fn deep_lift_is_complete_on_every_model() {
    /// Measured in single precision: 6e-4 on marian, at most 9e-5 on all others.
    const BOUND: f64 = 1e-3;
    let mut worst = Vec::new();
    for examined in Examined::all().filter(|examined| examined.has_rule_of("deeplift")) {
        for function in FUNCTIONS {
            let mut methods = layer_deep_lift(&examined);
            methods.push(("deeplift", json!({})));
            for method in methods {
                let off = incompleteness(&examined.first(method.clone(), function));
                worst.push((off, format!("{}: {} {} of {function}", examined.name, method.0, method.1)));
            }
        }
    }
    worst.sort_by(|a, b| b.0.total_cmp(&a.0));
    assert!(worst[0].0 <= BOUND, "{:#?}", &worst[..12]);
}

#[test]
fn integrated_gradients_add_points_until_the_tolerance_is_met() {
    const TOLERANCE: f64 = 0.05;
    // Where tokens change their experts on the way from the baseline, the prediction jumps, and no gradient sees that.
    for examined in Examined::all().filter(|examined| examined.model.config().has_every_rule()) {
        for function in FUNCTIONS {
            let parameters = json!({ "n_steps": "auto", "tolerance": TOLERANCE });
            let attributed = examined.first(("integrated_gradients", parameters), function);
            let totals = sums(&attributed, f64::from);
            for (delta, total) in attributed.scores.completeness.unwrap().deltas.iter().zip(totals) {
                let change = (total - f64::from(*delta)).abs().max(1e-5); // Below, rounding is larger.
                assert!(
                    f64::from(delta.abs()) <= TOLERANCE * change,
                    "{} {function}: {delta} of {change}",
                    examined.name
                );
            }
        }
    }
}

/// The same text with one token's embedding removed.
fn without(text: &Text, token: usize) -> Text {
    let mut text = text.clone();
    text.target[token] = 0;
    text
}

#[test]
fn methods_agree_on_a_linear_model() {
    let examined = linear();
    let text = examined.texts().remove(0);
    let options = AttributionOptions { baseline: Baseline::token(0), ..raw() };
    let logit = examined.function("logit", json!({}));
    let run = |method: &str, parameters: Value| {
        examined.run(std::slice::from_ref(&text), (method, parameters), &logit, &options).remove(0).unwrap()
    };
    let product = run("input_x_gradient", json!({}));
    for (method, parameters) in [
        ("integrated_gradients", json!({ "n_steps": 1 })),
        ("integrated_gradients", json!({ "n_steps": 7, "quadrature": "riemann_trapezoid" })),
        ("sequential_integrated_gradients", json!({ "n_steps": 2 })),
        ("gradient_shap", json!({})),
        ("deeplift", json!({})),
    ] {
        let off = difference(method, &product, &run(method, parameters));
        assert!(off < 1e-4, "{method}: {off}");
    }

    // The change when a token is removed, measured only with step scores.
    let whole = examined.step_scores(&text, "logit");
    let scores = product.scores.target.unwrap();
    let first = text.steps.start;
    for token in 0..text.target.len() {
        let changed = examined.step_scores(&without(&text, token), "logit");
        for step in text.steps.clone().filter(|&step| step > token) {
            let score: f32 = scores.at(token, step - first).iter().sum();
            let change = whole[step - first] - changed[step - first];
            assert!(
                (score - change).abs() < 1e-3 * whole[step - first].abs().max(1.0),
                "{token}, {step}: {score} {change}"
            );
            assert!(change.abs() > 1e-3, "token {token} does nothing");
        }
    }
}

static METHODS: LazyLock<Methods<B>> = LazyLock::new(Methods::default);

/// Every method, with parameters that make it fast. Methods that run other texts are held to the same in `stepfn-attribution`, by
/// `methods/players/tests.rs`.
fn methods() -> Vec<(&'static str, Value)> {
    let chosen = [
        ("integrated_gradients", json!({ "n_steps": 5 })),
        ("sequential_integrated_gradients", json!({ "n_steps": 3 })),
        ("gradient_shap", json!({ "n_samples": 2, "stdevs": 0.1 })),
        ("layer_integrated_gradients", json!({ "n_steps": 3 })),
        ("grad_x_attention", json!({})),
        ("grad_x_attention", json!({ "positive": true })),
        ("value_zeroing", json!({})),
        ("value_zeroing", json!({ "metric": "euclidean", "heads": [0] })),
    ];
    let others = METHODS.iter().map(|about| about.name.as_str()).filter(|name| {
        let runs_others = |name: &str| {
            name == "discretized_integrated_gradients" || METHODS.make(name, &Map::new()).unwrap().hides_tokens()
        };
        // `dummy` has no scores.
        *name != "dummy" && !runs_others(name) && chosen.iter().all(|(chosen, _)| chosen != name)
    });
    others.map(|name| (name, json!({}))).chain(chosen.clone()).collect()
}

#[test]
fn any_memory_budget_gives_the_same_scores() {
    for examined in Examined::all() {
        let function = examined.function("probability", json!({}));
        let texts = &examined.texts()[..1];
        for (method, parameters) in methods().into_iter().filter(|(method, _)| examined.has_rule_of(method)) {
            let run = |memory: usize| {
                let options = AttributionOptions { memory, ..raw() };
                examined.run(texts, (method, parameters.clone()), &function, &options).remove(0).unwrap()
            };
            let what = format!("{}: {method} {parameters}", examined.name);
            let whole = run(2 << 30);
            for memory in [1, 40_000, 300_000] {
                let off = difference(&what, &whole, &run(memory));
                assert!(off < 2e-4, "{what} in {memory} bytes: {off}");
            }
        }
    }
}

#[test]
fn a_text_has_the_same_scores_alone_and_in_a_batch() {
    for name in ["gpt2", "gemma2", "bloom", "marian", "t5", "gemma3_text", "falcon_new"] {
        let examined = Examined::new(name);
        for (function, parameters) in [("probability", json!({})), ("mc_dropout_prob_avg", json!({ "n_mcd_steps": 2 }))]
        {
            let function = examined.function(function, parameters);
            let texts = examined.texts();
            for method in methods() {
                if function.needs().noisy_samples > 0 && ["deeplift", "attn_lrp", "layer_deeplift"].contains(&method.0)
                {
                    continue;
                }
                let together = examined.run(&texts, method.clone(), &function, &raw());
                for (number, together) in together.into_iter().enumerate() {
                    let options = AttributionOptions { first_number: number as u32, ..raw() };
                    let alone = examined.run(&texts[number..=number], method.clone(), &function, &options).remove(0);
                    let off = difference(name, &alone.unwrap(), &together.unwrap());
                    assert!(off == 0.0, "{name}: {} of text {number}: {off}", method.0);
                }
            }
        }
    }
}

#[test]
fn a_step_has_scores_for_tokens_it_sees_and_nan_elsewhere() {
    for examined in Examined::all() {
        let text = examined.texts().remove(0);
        for method in methods().into_iter().filter(|(method, _)| examined.has_rule_of(method)) {
            let attributed = examined.first(method.clone(), "probability");
            assert!(sides(&attributed).count() >= 1, "{}", method.0);
            for scores in attributed.scores.source.iter() {
                assert_eq!(scores.shape()[0], text.source.as_ref().unwrap().len());
                assert!(scores.values().iter().all(|score| score.is_finite()), "{}: {}", examined.name, method.0);
            }
            for scores in attributed.scores.target.iter() {
                assert_eq!(scores.shape()[..2], [text.target.len(), text.steps.len()]);
                for token in 0..text.target.len() {
                    for step in text.steps.clone() {
                        let seen = scores.at(token, step - text.steps.start).iter().all(|score| score.is_finite());
                        let hidden = scores.at(token, step - text.steps.start).iter().all(|score| score.is_nan());
                        let right = if token < step { seen } else { hidden };
                        assert!(right, "{}: {}, token {token}, step {step}", examined.name, method.0);
                    }
                }
            }
        }
    }
}
