//! No number that means nothing: what can have no score has none, and what can't depend on the input is an error. Of every method that there is.

#![cfg(all(feature = "cpu", feature = "zoo"))]
#![allow(clippy::unwrap_used, reason = "a test that can't continue should fail")]

use stepfn::extend::AttributionMethod;
use stepfn::functions::Surprisal;
use stepfn::{Answer, AttributedFn, Error, ErrorKind, LanguageModel, Result, Value, json};

type B = stepfn::backend::DefaultBackend;

fn g2p() -> LanguageModel {
    LanguageModel::load("g2p").unwrap()
}

/// Every method, with its default parameters.
fn methods(model: &LanguageModel) -> Vec<Box<dyn AttributionMethod<B>>> {
    let names: Vec<String> = model.registry().methods().map(|method| method.name.clone()).collect();
    names.iter().map(|name| model.method(name, Value::Null).unwrap()).collect()
}

fn function(model: &LanguageModel, name: &str) -> AttributedFn<B> {
    model.function(name, json!({})).unwrap()
}

/// The names of step functions that need something to compare with.
fn contrastive(model: &LanguageModel) -> Vec<String> {
    let names = model.registry().functions().map(|function| function.name.clone());
    names.filter(|name| ask(model, name, None, false).is_err_and(|error| error.kind() == ErrorKind::Contrast)).collect()
}

/// Saliency of the second sound of "cat".
fn ask(model: &LanguageModel, name: &str, contrast: Option<&str>, force_inputs: bool) -> Result<Answer> {
    let saliency = model.method("saliency", Value::Null)?;
    let asked = model.ask("cat").target("K AE1 T").from(2).to(3).function(function(model, name));
    let asked = contrast.into_iter().fold(asked, |asked, contrast| asked.contrast(contrast));
    if force_inputs { asked.contrast_force_inputs() } else { asked }.attribute(saliency)
}

#[test]
fn every_method_has_scores_by_default() {
    let model = g2p();
    // `dummy` is there to have none.
    for method in methods(&model).into_iter().filter(|method| method.name() != "dummy") {
        let name = method.name().to_owned();
        let answer = model.ask("ab").target("AE1 B").from(1).to(2).attribute(method).unwrap();
        let scores = answer.source_scores.as_ref().unwrap_or_else(|| panic!("{name} has no scores"));
        assert!(scores.values().iter().any(|score| score.is_finite()), "{name}");
    }
    let decoder = model.method("layer_deeplift", json!({ "stack": "decoder" })).unwrap();
    let error = model.ask("ab").target("AE1 B").attribute(decoder).unwrap_err();
    assert!(error.what().contains("score the target side too"), "{error}");
}

#[test]
fn a_step_without_a_partner_has_no_score_by_any_method() {
    let model = g2p();
    for method in methods(&model).into_iter().filter(|method| method.is_of_function()) {
        let name = method.name().to_owned();
        let asked = model.ask("cat").target("K AE1 T").contrast("K AH0 T").align([(1, 1)]);
        let answer = asked.function(function(&model, "contrast_prob_diff")).attribute(method);
        let answer = answer.unwrap_or_else(|error| panic!("{name}: {error}"));
        let scores = answer.source_scores.as_ref().unwrap();
        for step in 0..scores.steps() {
            let some = (0..scores.tokens()).any(|token| scores.at(token, step).iter().any(|score| !score.is_nan()));
            assert_eq!(some, step == 1, "{name}, step {step}");
        }
        assert!(
            answer.deltas.iter().flatten().enumerate().all(|(step, delta)| delta.is_nan() == (step != 1)),
            "{name}"
        );
    }
}

#[test]
fn a_contrast_that_can_make_no_difference_is_an_error() {
    let model = g2p();
    let names = contrastive(&model);
    assert!(names.len() >= 5, "{names:?}");
    let says_how =
        |error: &Error| error.kind() == ErrorKind::SameContext && error.hint().contains("contrast_force_inputs");
    for name in &names {
        // The same token in the same context.
        let error = ask(&model, name, Some("K AE1 T"), false).unwrap_err();
        assert!(says_how(&error), "{name}: {error}");
        // Another token, or another context.
        let other = ask(&model, name, Some("G AH0 T"), false);
        match name.ends_with("_divergence") {
            true => assert!(says_how(&other.unwrap_err()), "{name}"),
            false => assert!(other.is_ok(), "{name}: {other:?}"),
        }
        let forced = ask(&model, name, Some("G AE1 T"), true).unwrap();
        assert!(forced.source_scores.as_ref().unwrap().values().iter().any(|score| score.abs() > 1e-7), "{name}");
    }
    // A source to compare with that nothing reads.
    for name in ["contrast_prob_diff", "probability"] {
        let asked = model.ask("phonetics").contrast_source("phonemics").function(function(&model, name));
        let error = asked.attribute(model.method("saliency", Value::Null).unwrap()).unwrap_err();
        assert!(says_how(&error), "{name}: {error}");
    }
}

#[test]
fn scores_that_miss_what_they_should_add_up_to_carry_a_warning() {
    let model = g2p();
    let warnings = |n_steps: usize| {
        let method = model.method("integrated_gradients", json!({ "n_steps": n_steps })).unwrap();
        let answer = model.ask("phonetics").attribute(method).unwrap();
        let (deltas, changes) = (answer.deltas.clone().unwrap(), answer.changes.clone().unwrap());
        let off = deltas.iter().zip(&changes).filter(|(delta, change)| delta.abs() > 0.05 * change.abs()).count();
        (off, answer.about.warnings.clone())
    };
    let (off, rough) = warnings(2);
    assert!(rough.len() == 1 && rough[0].starts_with(&format!("at {off} of ")), "{off} {rough:?}");
    let (off, fine) = warnings(600);
    assert_eq!((off, fine.len()), (0, 0), "{fine:?}");
}

#[test]
fn a_text_longer_than_the_model_was_made_for_carries_a_warning() {
    // "verse" was trained on 128 tokens, and its positions have no end.
    let model = LanguageModel::load("verse").unwrap();
    let of = |words: usize| "light ".repeat(words);
    let short = model.ask(of(20)).score([Surprisal::default()]).unwrap();
    let long = model.ask(of(200)).score([Surprisal::default()]).unwrap();
    assert!(short.about.warnings.is_empty());
    assert!(long.about.warnings[0].contains("the model was made for 128"), "{:?}", long.about.warnings);
    let answer =
        model.ask(of(200)).from(140).to(141).attribute(model.method("saliency", Value::Null).unwrap()).unwrap();
    assert_eq!(answer.about.warnings, long.about.warnings);
    assert!(model.ask(of(20)).generate().unwrap()[0].about.warnings.is_empty());
    assert!(model.ask(of(200)).generate().unwrap()[0].about.warnings[0].contains("the model was made for 128"));
}
