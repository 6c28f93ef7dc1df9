//! What is promised of subsets of sources: whatever is shared and batched, the model reads the text without the others.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::path::Path;

use burn::tensor::DType;
use proptest::prelude::*;
use stepfn_core::StepFunction;

use super::*;
use crate::{Baseline, Question, score};

type B = stepfn_cpu::flex::Backend;

fn load(name: &str) -> Model<B> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens/models").join(name);
    Model::load(folder, DType::F32, &Default::default()).unwrap()
}

/// Two tokens of instruction, four sources of 1 to 4 tokens, one token between, and an answer of two statements.
fn text(model: &Model<B>) -> ContextText {
    let ids: Vec<u32> = (0..13).map(|at| 5 + at * 11 % 60).collect();
    let answer = [61, 12, 50, 33, 9];
    let sources = vec![2..3, 3..7, 7..9, 9..12];
    let (text, side, first) = match model.encoder() {
        None => (Text::causal([&ids[..], &answer[..]].concat(), 13), Side::Target, 13),
        Some(_) => (Text::seq2seq(ids, [&[0][..], &answer[..]].concat()), Side::Source, 1),
    };
    ContextText {
        text,
        side,
        sources,
        groups: vec![0..2, 2..4],
        statements: vec![first..first + 2, first + 2..first + 5],
    }
}

/// The log-probabilities of statements, each subset in a pass of its own.
fn slowly(model: &Model<B>, text: &ContextText, kept: &[bool], operator: Operator) -> Vec<f64> {
    let hidden = |token: &usize| text.sources.iter().zip(kept).any(|(source, kept)| !kept && source.contains(token));
    let ids = text.text.ids(text.side);
    let ids: Vec<u32> = (0..ids.len())
        .filter(|token| operator == Operator::Baseline || !hidden(token))
        .map(|token| if hidden(&token) { 1 } else { ids[token] })
        .collect();
    let steps = text.text.steps.len();
    let alone = match text.side {
        Side::Target => Text::causal(ids.clone(), ids.len() - steps),
        Side::Source => Text { source: Some(ids), ..text.text.clone() },
    };
    let functions: [Box<dyn StepFunction<B>>; 1] = [Box::new(Probability { logprob: true })];
    let scored = score(model, &[alone], &functions, &Default::default()).unwrap().remove(0).unwrap();
    let values = &scored.scores[0].1;
    let first = text.text.steps.start;
    let of = |statement: &Range<usize>| {
        values[statement.start - first..statement.end - first].iter().map(|&x| f64::from(x)).sum()
    };
    text.statements.iter().map(of).collect()
}

fn values(
    model: &Model<B>,
    text: &ContextText,
    kept: &[Vec<bool>],
    operator: Operator,
    memory: usize,
) -> Vec<Vec<f64>> {
    let function = AttributedFn::new(Probability { logprob: true });
    let options = AttributionOptions { memory, ..AttributionOptions::new(Baseline::token(1)) };
    let question = Question::new(&text.text, &options, 0, 1).unwrap();
    let passes = Passes::new(question, model, &function).unwrap();
    let contexts = Contexts { perturbation: passes.perturb().unwrap(), text, question: passes.question(), operator };
    contexts.values(&function, kept).unwrap()
}

#[test]
fn subsets_together_are_what_each_is_alone_in_every_family() {
    let all: Vec<Vec<bool>> = (0..16_u32).map(|set| (0..4).map(|source| set >> source & 1 == 1).collect()).collect();
    let families = stepfn_models::families::all().iter().map(|family| family.name.replace('-', "_"));
    // Positions of the last two depend on the length of the text.
    for name in families.chain(["llama_dynamic".to_owned(), "phi3_longrope".to_owned()]) {
        let model = load(&name);
        if model.config().is_masked() {
            continue;
        }
        let text = text(&model);
        // `mask` has tests of its own.
        for operator in [Operator::Remove, Operator::Baseline] {
            let found = values(&model, &text, &all, operator, 1 << 30);
            for (kept, found) in all.iter().zip(&found) {
                let expected = slowly(&model, &text, kept, operator);
                for (found, expected) in found.iter().zip(&expected) {
                    let close = (found - expected).abs() <= 1e-4 * expected.abs();
                    assert!(close, "{name}, {operator:?}, {kept:?}: {found} instead of {expected}");
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_subsets_in_any_memory(
        kept in prop::collection::vec(prop::collection::vec(any::<bool>(), 4), 1..12), memory in prop_oneof![Just(1usize), Just(1 << 30)],
    ) {
        for name in ["llama", "t5"] {
            let model = load(name);
            let text = text(&model);
            let found = values(&model, &text, &kept, Operator::Remove, memory);
            for (kept, found) in kept.iter().zip(&found) {
                for (found, expected) in found.iter().zip(slowly(&model, &text, kept, Operator::Remove)) {
                    prop_assert!((found - expected).abs() <= 1e-4 * expected.abs(), "{kept:?}: {found}, not {expected}");
                }
            }
        }
    }
}

#[test]
fn every_method_scores_every_statement() {
    for name in ["gpt2", "marian"] {
        let model = load(name);
        let text = text(&model);
        let options = AttributionOptions::new(Baseline::token(1));
        for operator in Operator::ALL {
            for method in ContextMethod::ALL {
                let found = context(&model, &text, (&method, operator), Some(8), &options).unwrap();
                assert_eq!((found.scores.len(), found.scores[0].len()), (4, 2), "{}", method.name());
                let expected = slowly(&model, &text, &[true; 4], Operator::Remove);
                assert!(found.log_probs.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-3));
                assert_eq!(found.checks.unwrap().drops.len(), 2);
            }
        }
        let leave_one_out =
            context(&model, &text, (&ContextMethod::LeaveOneOut, Operator::Remove), None, &options).unwrap();
        let all = slowly(&model, &text, &[true; 4], Operator::Remove);
        let without = slowly(&model, &text, &[true, true, false, true], Operator::Remove);
        assert!((leave_one_out.scores[2][1] - (all[1] - without[1])).abs() < 1e-4);
    }
}

#[test]
fn masked_sources_keep_their_places_and_are_not_read() {
    for name in ["gpt2", "marian"] {
        let model = load(name);
        let text = text(&model);
        let mut other = text.clone();
        let ids = match text.side {
            Side::Source => other.text.source.as_mut().unwrap(),
            Side::Target => &mut other.text.target,
        };
        [3, 5, 6, 10].into_iter().for_each(|token| ids[token] += 20);
        let kept = [vec![true, false, true, false], vec![true, true, true, false], vec![true; 4]];
        let [found, other] = [&text, &other].map(|text| values(&model, text, &kept, Operator::Mask, 1 << 30));
        let far = |one: &[f64], other: &[f64]| one.iter().zip(other).any(|(one, other)| (one - other).abs() > 1e-4);
        assert!(!far(&found[0], &other[0]), "{name}: a masked source is read");
        assert!(far(&found[1], &other[1]) && far(&found[2], &other[2]), "{name}: a source that is kept is not read");
        assert!(
            far(&found[0], &values(&model, &text, &kept[..1], Operator::Remove, 1 << 30)[0]),
            "{name}: places move"
        );
    }
}

#[test]
fn a_prompt_of_nothing_but_sources_can_not_lose_them_all() {
    let model = load("gpt2");
    let whole = ContextText { sources: vec![0..7, 7..13], groups: vec![0..1, 1..2], ..text(&model) };
    let options = AttributionOptions::new(Baseline::token(1));
    let found = |method| context(&model, &whole, (&method, Operator::Remove), None, &options);
    assert!(found(ContextMethod::LeaveOneOut).is_ok());
    let error = found(ContextMethod::KernelShap { n_samples: 10 }).unwrap_err().to_string();
    assert!(error.starts_with("nothing is left to predict the answer from"), "{error}");
}
