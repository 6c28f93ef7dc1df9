//! Models of masked tokens from strings, as a program that depends on the crate has them.

#![cfg(feature = "cpu")]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::path::Path;

use stepfn::functions::{ContrastProbDiff, Probability, Surprisal};
use stepfn::{
    AttributeTask, ErrorKind, Input, IntegratedGradients, LanguageModel, Masking, Message, Occlusion, Saliency,
    ScoreTask,
};

const TEXT: &str = "the ship sails at dawn";

fn bert() -> LanguageModel {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens/replicas/bert");
    LanguageModel::load(folder.to_str().unwrap()).unwrap()
}

#[test]
fn every_token_of_a_text_is_scored_and_nothing_around_it() {
    let model = bert();
    let scored = model.ask(TEXT).score((Probability { logprob: true }, Surprisal::default())).unwrap();
    assert!(scored.tokens().iter().all(|token| !token.special));
    assert_eq!((scored.scores.first, scored.target.len()), (1, scored.tokens().len() + 2));
    assert_eq!((scored.target[0].surface.as_str(), scored.target.last().unwrap().surface.as_str()), ("[CLS]", "[SEP]"));
    let sum: f32 = scored.values("probability").unwrap().iter().sum();
    assert!((scored.scores.sequence.logprob - f64::from(sum)).abs() < 1e-4);
    assert_eq!(scored.about.parameters["masking"], "token");
    let by_word = model.ask(TEXT).masking(Masking::Word).score([Probability { logprob: true }]).unwrap();
    assert_eq!(by_word.about.parameters["masking"], "word");
    assert_ne!(by_word.values("probability"), scored.values("probability"), "some word has several tokens");
    // The last token of each word is masked alone either way.
    assert_eq!(by_word.values("probability").unwrap().last(), scored.values("probability").unwrap().last());
}

#[test]
fn a_prompt_is_read_and_not_scored() {
    let model = bert();
    let score = |ask: stepfn::Ask<'_, _>| ask.score([Probability::default()]).unwrap();
    let (all, rest) = (score(model.ask(TEXT)), score(model.ask(TEXT).source("the ship")));
    let (all, rest) = (all.values("probability").unwrap(), rest.values("probability").unwrap());
    assert!(rest.len() < all.len());
    for (ours, whole) in rest.iter().zip(&all[all.len() - rest.len()..]) {
        assert!((ours - whole).abs() < 1e-6, "the whole text is read either way");
    }
    let error = model.ask(TEXT).source("a ship").score([Probability::default()]).unwrap_err();
    assert!(error.what().contains("must start with its prompt"), "{error}");
    let error = model.ask(TEXT).source(TEXT).score([Probability::default()]).unwrap_err();
    assert!(error.what().contains("ends where its prompt ends"), "{error}");
}

#[test]
fn a_mask_in_a_text_shows_what_is_expected_there() {
    let model = bert();
    let scored = model.ask("the [MASK] sails").alternatives(4).score([Probability::default()]).unwrap();
    let mask = scored.tokens().iter().position(|token| token.surface == "[MASK]").unwrap();
    let expected = &scored.alternatives[mask];
    assert_eq!(expected.len(), 4);
    assert!(expected.is_sorted_by(|one, next| one.probability >= next.probability), "{expected:?}");
    // What is there makes no difference where it is masked.
    let ship = model.ask("the a sails").alternatives(4).score([Probability::default()]).unwrap();
    assert_eq!(&ship.alternatives[mask], expected);
}

#[test]
fn tokens_on_both_sides_have_scores_and_the_masked_one_has_none() {
    let model = bert();
    let answer = model.ask(TEXT).masking(Masking::Word).words().attribute(Occlusion::default()).unwrap();
    let scores = answer.target_scores.as_ref().unwrap();
    for step in 0..scores.steps() {
        let own = answer.steps.start + step;
        assert!(scores.at(own, step)[0].is_nan());
        assert_eq!(scores.at(0, step)[0], 0.0, "[CLS] is never hidden");
        let after = (own + 1..answer.target.len()).any(|token| scores.at(token, step)[0] > 0.0);
        assert!(after || step + 1 == scores.steps() || scores.at(own + 1, step)[0].is_nan(), "step {step}");
    }
    assert!(answer.to_string().contains("the") && answer.html().contains("the") && answer.svg().contains("<svg"));
    let words = answer.aggregate("subwords").unwrap();
    assert_eq!(words.steps.len(), TEXT.split(' ').count());
    // One token alone, as among the others.
    let of = |ask: stepfn::Ask<'_, _>| ask.attribute(Saliency::default()).unwrap();
    let (all, one) = (of(model.ask(TEXT)), of(model.ask(TEXT).from(3).to(4)));
    assert_eq!((one.steps.clone(), one.target_scores.as_ref().unwrap().steps()), (3..4, 1));
    for token in 0..all.target.len() {
        let (a, b) = (
            &all.target_scores.as_ref().unwrap().at(token, 2)[0],
            &one.target_scores.as_ref().unwrap().at(token, 0)[0],
        );
        assert!(a.is_nan() && b.is_nan() || (a - b).abs() < 1e-6, "{a} {b}");
    }
    let error = model.ask(TEXT).to(all.target.len()).attribute(Saliency::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Option, "the end token is no step: {error}");
}

#[test]
fn two_tokens_are_compared_at_one_mask() {
    let model = bert();
    let ask = || model.ask("x a y").contrast("x b y").function(ContrastProbDiff::default());
    let answer = ask().attribute(IntegratedGradients::default()).unwrap();
    let (changes, step) = (answer.changes.clone().unwrap(), 1);
    assert!(changes[0] == 0.0 && changes[step] != 0.0, "{changes:?}");
    assert_eq!(answer.contrast[step].as_ref().unwrap().surface, "b");
    let probability = |text: &str| {
        let scored = model.ask(text).score([Probability::default()]).unwrap();
        scored.values("probability").unwrap()[step]
    };
    let scored = model.ask("x a y").contrast("x b y").score([ContrastProbDiff::default()]).unwrap();
    let difference = scored.values("contrast_prob_diff").unwrap()[step];
    assert!((difference - (probability("x a y") - probability("x b y"))).abs() < 1e-6);
    // Another prompt keeps what follows.
    let by_prompt = model.ask("x a y").source("x").contrast_source("z").score([ContrastProbDiff::default()]).unwrap();
    assert_eq!(by_prompt.values("contrast_prob_diff").unwrap().len(), 2);
    let same = model.ask("x a y").contrast("x a y").function(ContrastProbDiff::default());
    assert_eq!(same.attribute(Saliency::default()).unwrap_err().kind(), ErrorKind::SameContext);
}

#[test]
fn many_texts_have_the_scores_of_each_and_fail_alone() {
    let model = bert();
    let task = ScoreTask::new([Probability::default()]);
    let texts = [TEXT, "", "she counts the stars", "x"];
    let scored: Vec<_> = model.score_all(texts, &task).map(|outcome| outcome.result).collect();
    assert!(scored[1].as_ref().unwrap_err().what().contains("the target is empty"));
    for (text, result) in texts.iter().zip(&scored).filter(|(text, _)| !text.is_empty()) {
        let alone = model.ask(*text).score([Probability::default()]).unwrap();
        let values = result.as_ref().unwrap().values("probability").unwrap();
        for (ours, alone) in values.iter().zip(alone.values("probability").unwrap()) {
            assert!((ours - alone).abs() < 1e-6);
        }
    }
    let task = AttributeTask::new(Saliency::default());
    assert_eq!(model.attribute_all([TEXT, "x"], &task).filter(|outcome| outcome.result.is_ok()).count(), 2);
}

#[test]
fn such_a_model_writes_nothing() {
    let model = bert();
    assert!(model.is_masked() && !model.is_encoder_decoder());
    for error in [
        model.ask(TEXT).generate().unwrap_err(),
        model.ask_about(Input::source(TEXT)).score([Probability::default()]).unwrap_err(),
    ] {
        assert!(error.what().contains("predicts masked tokens and can't write a text"), "{error}");
    }
    let error =
        model.ask_about(Input::chat([Message::new("user", "Hello")])).score([Probability::default()]).unwrap_err();
    assert!(error.what().contains("predicts masked tokens, so it can't answer a chat"), "{error}");
}

#[test]
fn methods_are_evaluated_on_all_other_tokens() {
    let model = bert();
    let methods = ["occlusion", "saliency"].map(|name| model.method(name, stepfn::Value::Null).unwrap());
    let measures = stepfn::Measures { operators: stepfn::Operator::ALL.to_vec(), ..stepfn::Measures::default() };
    let task = stepfn::EvaluateTask { measures, ..stepfn::EvaluateTask::new(methods) };
    let found = model.evaluate([TEXT, "the big ship"], &task).unwrap();
    let rows = &found.functions[0].1.rows;
    assert_eq!(rows.len(), 3 * 2 * 5);
    assert!(
        rows.iter().all(|row| row.texts == 2 && row.figures.iter().all(|figure| figure.mean.is_finite())),
        "{rows:?}"
    );
    let tokens: usize = [TEXT, "the big ship"]
        .map(|text| model.ask(text).score((Probability::default(),)).unwrap().tokens().len())
        .into_iter()
        .sum();
    assert_eq!(rows[0].columns, tokens);
    let words = stepfn::EvaluateTask { unit: stepfn::TargetUnit::Word, ..task };
    let error = model.evaluate([TEXT], &words).unwrap_err();
    assert!(error.what().contains("masked tokens predicts each token from a copy of its own"), "{error}");
}

#[test]
fn pseudo_log_likelihoods_are_those_of_minicons() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens/words/masked.json");
    let golden: stepfn::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let model = bert();
    for (metric, masking) in [("original", Masking::Token), ("within_word_l2r", Masking::Word)] {
        let golden_of = &golden[metric];
        for (number, text) in golden["texts"].as_array().unwrap().iter().enumerate() {
            let ask = model.ask(text.as_str().unwrap()).masking(masking);
            let scored = ask.score([Probability { logprob: true }]).unwrap();
            let expected = golden_of["log_probs"][number].as_array().unwrap();
            let values = scored.values("probability").unwrap();
            assert_eq!(values.len(), expected.len());
            for (ours, theirs) in values.iter().zip(expected) {
                assert!(
                    (f64::from(*ours) - theirs.as_f64().unwrap()).abs() < 2e-4,
                    "{metric} {number}: {ours} {theirs}"
                );
            }
            let sum = golden_of["sums"][number].as_f64().unwrap();
            assert!((scored.scores.sequence.logprob - sum).abs() < 1e-3);
        }
    }
}
