//! Properties of methods that look inside the model.

#![allow(clippy::unwrap_used, reason = "a test that can't continue should fail")]

use burn::tensor::{Tensor, backend::Backend};
use serde_json::{Value, json};
use stepfn_attribution::{AttributionOptions, Methods, Scores, Text};
use stepfn_models::Model;
use stepfn_models::tape::{ModelInput, StackInput};
use stepfn_models::transformer::{AttentionKind, Dropout, PaddingSide, Pass, Removal, TokenBatch, Trace};
use stepfn_tests::axioms::{Examined, raw, sides, sums};

fn batch<B: Backend>(model: &Model<B>, ids: &[u32]) -> TokenBatch {
    TokenBatch::new(vec![ids.to_vec()], model.config().vocab_size, PaddingSide::Right).unwrap()
}

fn values<B: Backend, const D: usize>(x: Tensor<B, D>) -> Vec<f32> {
    x.into_data().iter::<f32>().collect()
}

/// Probabilities add up to 1, or to less where heads have sinks.
fn adds_up(examined: &Examined, sum: f32) {
    let has_sinks = examined.model.config().decoder.attention.sinks;
    let holds = if has_sinks { (1e-3..1.0 - 1e-4).contains(&sum) } else { (sum - 1.0).abs() < 1e-5 };
    assert!(holds, "{}: {sum}", examined.name);
}

/// The attention probability from a step's query to a token, in a map `[1, heads, queries, keys]`.
fn at(map: &[f32], [queries, keys]: [usize; 2], head: usize, query: usize, key: usize) -> f32 {
    map[(head * queries + query) * keys + key]
}

#[test]
fn attention_matches_the_forward_pass() {
    for examined in Examined::all() {
        let text = examined.texts().remove(0);
        let model = &examined.model;
        let read = batch(model, &text.target[..text.steps.end - 1]);
        let trace = Trace { attentions: true, ..Trace::default() };
        let source = text.source.as_ref().map(|source| batch(model, source));
        let memory = source.as_ref().map(|source| {
            let encoder = model.encoder().unwrap();
            encoder.forward(encoder.embed(source), Pass::new(source)).unwrap().last
        });
        let mut pass = Pass::new(&read).with_trace(trace);
        if let (Some(memory), Some(source)) = (&memory, &source) {
            pass = pass.with_memory(memory, source);
        }
        let output = model.decoder().forward(model.decoder().embed(&read), pass).unwrap();

        let attributed = examined.first(("attention", json!({})), "probability");
        let agrees = |scores: &Scores, maps: &[Tensor<stepfn_tests::axioms::B, 4>]| {
            assert_eq!(scores.shape()[2], maps.len(), "{}", examined.name);
            for (layer, map) in maps.iter().enumerate() {
                let [_, heads, queries, keys] = map.dims();
                let map = values(map.clone());
                assert_eq!(scores.shape()[3], heads, "{}", examined.name);
                for (index, step) in text.steps.clone().enumerate() {
                    for head in 0..heads {
                        let mut sum = 0.0;
                        for key in 0..keys {
                            let expected = at(&map, [queries, keys], head, step - 1, key);
                            let score = scores.at(key, index)[layer * heads + head];
                            // Tokens that a step doesn't see have no score.
                            let score = if score.is_nan() { 0.0 } else { score };
                            assert!((score - expected).abs() < 1e-6, "{}: {score} {expected}", examined.name);
                            sum += score;
                        }
                        adds_up(&examined, sum);
                    }
                }
            }
        };
        agrees(attributed.scores.target.as_ref().unwrap(), &output.self_attentions);
        if let Some(scores) = &attributed.scores.source {
            agrees(scores, &output.cross_attentions);
        }
    }
}

#[test]
fn rollout_sums_to_1_and_is_a_lower_bound_of_flow() {
    for examined in Examined::all() {
        let rollout = examined.first(("attention_rollout", json!({})), "probability");
        for sum in sums(&rollout, f64::from) {
            adds_up(&examined, sum as f32);
        }
        // The rollout to a token is a possible flow, but not always the largest.
        let flow = examined.first(("attention_flow", json!({})), "probability");
        for (rollout, flow) in sides(&rollout).zip(sides(&flow)) {
            let mut more = 0;
            for (rollout, flow) in rollout.values().iter().zip(flow.values()) {
                assert_eq!(rollout.is_nan(), flow.is_nan());
                let holds = rollout.is_nan() || (rollout - 1e-5..=1.0 + 1e-5).contains(flow);
                assert!(holds, "{}: {rollout}, and a flow of {flow}", examined.name);
                more += usize::from(*flow > rollout + 1e-3);
            }
            assert!(more > 0, "{}: flow is rollout", examined.name);
        }
    }
}

#[test]
fn a_first_step_gets_all_its_flow_from_the_only_token() {
    let examined = Examined::new("llama");
    let text = Text::causal(vec![5, 9], 1);
    let function = examined.function("probability", json!({}));
    let options = AttributionOptions::new(raw().baseline);
    for method in ["attention", "attention_rollout", "attention_flow", "value_zeroing"] {
        let attributed = examined.run(std::slice::from_ref(&text), (method, json!({})), &function, &options);
        let scores = attributed.into_iter().next().unwrap().unwrap().scores.target.unwrap();
        assert!((scores.at(0, 0)[0] - 1.0).abs() < 1e-6, "{method}: {:?}", scores.values());
        assert!(scores.at(1, 0)[0].is_nan());
    }
}

#[test]
fn rows_of_value_zeroing_sum_to_1_or_0() {
    for examined in Examined::all() {
        for parameters in
            [json!({}), json!({ "metric": "euclidean" }), json!({ "heads": [1], "after_final_norm": false })]
        {
            let attributed = examined.first(("value_zeroing", parameters), "probability");
            let mut some = false;
            for scores in sides(&attributed) {
                let [tokens, steps, layers] = scores.shape()[..] else { panic!("{:?}", scores.axes()) };
                for (step, layer) in (0..steps).flat_map(|step| (0..layers).map(move |layer| (step, layer))) {
                    let row: Vec<f32> = (0..tokens).map(|token| scores.at(token, step)[layer]).collect();
                    let sum: f32 = row.iter().filter(|score| !score.is_nan()).sum();
                    assert!(row.iter().all(|&score| score.is_nan() || score >= 0.0));
                    assert!((sum - 1.0).abs() < 1e-5 || sum == 0.0, "{}: {row:?}", examined.name);
                    some |= sum > 0.0;
                }
            }
            assert!(some, "{}: nothing moves", examined.name);
        }
    }
}

/// A block run again unchanged gives the same output; without a value that is read, the output changes, but only where that value is read.
#[test]
fn rerunning_a_block_reproduces_its_output() {
    for examined in Examined::all() {
        let model = &examined.model;
        let text = examined.texts().remove(0);
        let source = text.source.as_ref().map(|source| batch(model, source));
        let target = batch(model, &text.target);
        let input = ModelInput {
            source: source.as_ref().map(|source| StackInput::embedded(source, model.encoder().unwrap().embed(source))),
            target: StackInput::embedded(&target, model.decoder().embed(&target)),
            dropout: &Dropout::Off,
        };
        let mut shown = 0;
        let last = model.look_inside(input, &mut |inside| {
            for kind in [AttentionKind::Own, AttentionKind::Cross] {
                let removals = [(2, 0), (2, 1), (2, 2), (4, 1), (4, 4)].map(|(query, key)| Removal { query, key });
                let Some(again) = inside.without_values(kind, &removals, Some(&[])) else { continue };
                let without = inside.without_values(kind, &removals, None).unwrap();
                let size = inside.output().dims()[1];
                let (output, again, without) = (values(inside.output().clone()), values(again), values(without));
                for (index, removal) in removals.iter().enumerate() {
                    let row = &output[removal.query * size..(removal.query + 1) * size];
                    let greatest = row.iter().fold(0.0f32, |most, x| most.max(x.abs()));
                    let off = |other: &[f32]| {
                        let other = &other[index * size..(index + 1) * size];
                        row.iter().zip(other).fold(0.0f32, |most, (a, b)| most.max((a - b).abs())) / greatest
                    };
                    assert!(off(&again) < 1e-5, "{}: {removal:?} {}", examined.name, off(&again));
                    let sees = inside.seen(kind, 0, removal.query).contains(&removal.key);
                    assert_eq!(off(&without) > 1e-4, sees, "{}: {removal:?} {}", examined.name, off(&without));
                }
                shown += 1;
            }
        });
        assert_eq!(last.unwrap().dims()[0], text.target.len());
        assert!(shown >= 2, "{}", examined.name);
    }
}

#[test]
fn selected_layers_and_heads_match_the_full_result() {
    let examined = Examined::new("t5");
    for method in ["attention", "grad_x_attention"] {
        let all = examined.first((method, json!({})), "probability");
        let some = examined.first((method, json!({ "layers": [1], "heads": [3, 1] })), "probability");
        for (all, some) in sides(&all).zip(sides(&some)) {
            assert_eq!(some.shape()[2..], [1, 2]);
            let heads = all.shape()[3];
            for (token, step) in
                (0..all.shape()[0]).flat_map(|token| (0..all.shape()[1]).map(move |step| (token, step)))
            {
                let expected = [1, 3].map(|head| all.at(token, step)[heads + head]);
                let same = some.at(token, step).iter().zip(expected).all(|(a, b)| *a == b || a.is_nan() && b.is_nan());
                assert!(same, "{method}: {:?} {expected:?}", some.at(token, step));
            }
        }
    }
    let zeroing = |parameters: Value| examined.first(("value_zeroing", parameters), "probability");
    let (all, one) = (zeroing(json!({})), zeroing(json!({ "layers": [0] })));
    let (all, one) = (all.scores.source.unwrap(), one.scores.source.unwrap());
    assert_eq!(one.at(2, 1), &all.at(2, 1)[..1]);
}

#[test]
fn missing_layers_and_heads_are_errors() {
    let examined = Examined::new("gpt2");
    let function = examined.function("probability", json!({}));
    let options = AttributionOptions::new(raw().baseline);
    for (method, parameters) in [
        ("attention", json!({ "layers": [2] })),
        ("attention", json!({ "heads": [] })),
        ("grad_x_attention", json!({ "heads": [0, 3] })),
        ("value_zeroing", json!({ "heads": [9] })),
    ] {
        let found = examined.run(&examined.texts()[..1], (method, parameters.clone()), &function, &options);
        let error = found.into_iter().next().unwrap().unwrap_err().to_string();
        let name = parameters.as_object().unwrap().keys().next().unwrap();
        assert!(error.contains(method) && error.contains(name.as_str()) && error.contains("numbers 0 to"), "{error}");
    }
    assert!(
        Methods::<stepfn_cpu::flex::Backend>::default()
            .make("value_zeroing", json!({ "metric": "manhattan" }).as_object().unwrap())
            .is_err()
    );
}

#[test]
fn positive_derivatives_give_a_larger_sum() {
    for examined in Examined::all() {
        let [plain, positive] = [false, true]
            .map(|positive| examined.first(("grad_x_attention", json!({ "positive": positive })), "logit"));
        for (plain, positive) in sides(&plain).zip(sides(&positive)) {
            for (plain, positive) in plain.values().iter().zip(positive.values()) {
                let holds = plain.is_nan() || *positive >= plain.max(0.0) - 1e-6;
                assert!(holds, "{}: {positive} of {plain}", examined.name);
            }
        }
    }
}
