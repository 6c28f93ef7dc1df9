//! Which tokens depend on context, as inseq's attribute-context says of tiny models (`goldens/reliance/make.py`).

#![cfg(all(feature = "cpu", feature = "zoo"))]
#![allow(clippy::unwrap_used, reason = "a test that can't continue should fail")]

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use stepfn::{AttributeContextTask, Input, LanguageModel, LoadOptions, Map, RelianceAnswer, Selection, Value, json};

type Task = AttributeContextTask<stepfn::backend::DefaultBackend>;

/// Largest allowed difference, relative to the largest score.
const TOLERANCE: f32 = 2e-4;

#[derive(Deserialize)]
struct Golden {
    model: String,
    arguments: Map<String, Value>,
    /// Numbers of tokens whose cues are not compared.
    left_out: Vec<Value>,
    result: Map<String, Value>,
}

fn goldens() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens")
}

fn expected() -> Vec<Golden> {
    serde_json::from_str(&fs::read_to_string(goldens().join("reliance/expected.json")).unwrap()).unwrap()
}

/// A golden model, with the tokenizer of words that inseq was given.
fn model(name: &str, folder: &Path) -> LanguageModel {
    if name == "verse" {
        return LanguageModel::load(name).unwrap();
    }
    for file in ["config.json", "generation_config.json", "model.safetensors"] {
        fs::copy(goldens().join("models").join(name).join(file), folder.join(file)).unwrap();
    }
    fs::copy(goldens().join("reliance").join(name).join("tokenizer.json"), folder.join("tokenizer.json")).unwrap();
    let generation = [("max_new_tokens".to_owned(), json!(3))].into_iter().collect();
    LanguageModel::load_with(folder.to_str().unwrap(), &LoadOptions { generation, ..LoadOptions::default() }).unwrap()
}

fn text(arguments: &Map<String, Value>, name: &str) -> Option<String> {
    arguments.get(name)?.as_str().map(str::to_owned)
}

fn texts(arguments: &Map<String, Value>, name: &str) -> Vec<String> {
    let list = arguments.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    list.iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

/// The arguments of the reference as ours.
fn asked(model: &LanguageModel, arguments: &Map<String, Value>) -> (Input, Task) {
    let defaults = Task::default();
    let named = |name: &str, default: &str| text(arguments, name).unwrap_or_else(|| default.to_owned());
    let function = |name: &str, default: &str| model.function(&named(name, default), Value::Null).unwrap();
    let std_threshold = match arguments.get("context_sensitivity_std_threshold") {
        None => Some(1.0),
        Some(weight) => weight.as_f64(),
    };
    let topk = arguments.get("context_sensitivity_topk").and_then(Value::as_u64).map(|topk| topk as usize);
    let is_normalized = arguments.get("normalize_attributions") == Some(&json!(true));
    let task = Task {
        metric: function("context_sensitivity_metric", "kl_divergence"),
        method: model.method(&named("attribution_method", "saliency"), Value::Null).unwrap(),
        function: function("attributed_fn", "contrast_prob_diff"),
        input_template: text(arguments, "input_template"),
        output_template: text(arguments, "output_template"),
        contextless_input: named("contextless_input_current_text", "{current}"),
        contextless_output: named("contextless_output_current_text", "{current}"),
        special_tokens_to_keep: texts(arguments, "special_tokens_to_keep"),
        context_sensitivity: Selection { std_threshold, topk },
        aggregate: is_normalized.then(|| stepfn::pipeline("vnorm,normalize").unwrap()),
        ..defaults
    };
    let input = Input {
        source: text(arguments, "input_current_text"),
        target: text(arguments, "output_current_text"),
        input_context: text(arguments, "input_context_text"),
        output_context: text(arguments, "output_context_text"),
        contextless_output_next_tokens: texts(arguments, "contextless_output_next_tokens"),
        ..Input::default()
    };
    (input, task)
}

fn close(what: &str, found: &Value, expected: &Value) {
    let numbers = |value: &Value| -> Vec<f32> {
        value.as_array().unwrap().iter().map(|value| value.as_f64().map_or(f32::NAN, |value| value as f32)).collect()
    };
    if expected.is_null() {
        assert!(found.is_null(), "{what}: {found} instead of nothing");
        return;
    }
    let (found, expected) = (numbers(found), numbers(expected));
    assert_eq!(found.len(), expected.len(), "{what}: {found:?} instead of {expected:?}");
    let largest = expected.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
    let differs = |(found, expected): (&f32, &f32)| (found - expected).abs() > TOLERANCE * largest;
    assert!(!found.iter().zip(&expected).any(differs), "{what}: {found:?} instead of {expected:?}");
}

fn agrees(what: &str, found: &RelianceAnswer, golden: &Golden) {
    let expected = &golden.result;
    let found = serde_json::to_value(&found.0).unwrap();
    for field in [
        "input_context",
        "input_context_tokens",
        "output_context",
        "output_context_tokens",
        "output_current",
        "output_current_tokens",
    ] {
        let plain = |value: &Value| value.to_string().replace("\" ", "\"");
        assert_eq!(plain(&found[field]), plain(&expected[field]), "{what}: {field}");
    }
    close(what, &found["cti_scores"], &expected["cti_scores"]);
    let compared = |cues: &&Value| !golden.left_out.contains(&cues["cti_idx"]);
    let ours: Vec<&Value> = found["cci_scores"].as_array().unwrap().iter().filter(compared).collect();
    let theirs = expected["cci_scores"].as_array().unwrap();
    assert_eq!(ours.len(), theirs.len(), "{what}: tokens that depend on context");
    for (ours, theirs) in ours.iter().zip(theirs) {
        let what = format!("{what}, token {}", theirs["cti_idx"]);
        for field in ["cti_idx", "cti_token", "contrast_token", "contextual_output", "contextless_output"] {
            let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), |text| text.trim().to_owned());
            assert_eq!(plain(&ours[field]), plain(&theirs[field]), "{what}: {field}");
        }
        for field in ["input_context_scores", "output_context_scores"] {
            close(&format!("{what}, {field}"), &ours[field], &theirs[field]);
        }
    }
}

#[test]
fn reliance_is_that_of_the_reference() {
    let folder = tempfile::tempdir().unwrap();
    let mut compared = std::collections::BTreeMap::<String, usize>::new();
    for name in ["verse", "gpt2", "t5", "marian"] {
        let model = model(name, folder.path());
        for golden in expected().iter().filter(|golden| golden.model == name) {
            let (input, task) = asked(&model, &golden.arguments);
            let what = format!("{name} {}", Value::Object(golden.arguments.clone()));
            let found = model.attribute_context(input, &task).unwrap_or_else(|error| panic!("{what}: {error}"));
            agrees(&what, &found, golden);
            *compared.entry(golden.model.clone()).or_default() += golden.result["cci_scores"].as_array().unwrap().len();
        }
    }
    assert!(compared.len() == 4 && compared.values().all(|&tokens| tokens >= 8), "{compared:?}");
}

const CONTEXT: &str = "And the king said unto his servants, Bring me bread.";

fn asked_of_verse() -> Input {
    Input {
        input_context: Some(CONTEXT.to_owned()),
        target: Some("and he did eat of the bread.".to_owned()),
        ..Input::source("And they brought him")
    }
}

#[test]
fn every_form_of_a_result_says_it_all() {
    let model = LanguageModel::load("verse").unwrap();
    let input = Input { output_context: Some("and water, and he drank,".to_owned()), ..asked_of_verse() };
    let task = Task { context_sensitivity: Selection { std_threshold: None, topk: Some(2) }, ..Task::default() };
    let found = model.attribute_context(input, &task).unwrap();
    assert_eq!(found.cci_scores.len(), 2);
    let table = found.to_string();
    for part in ["Generated output (CTI ≥", "Input context (CCI ≥", "Output context (CCI ≥", "#2.", CONTEXT] {
        assert!(table.contains(part), "{part}: {table}");
    }
    let folder = tempfile::tempdir().unwrap();
    for (name, part) in
        [("a.json", "\"cti_threshold\""), ("a.csv", "cti_idx,cti_token"), ("a.html", "<main"), ("a.txt", "#1.")]
    {
        let path = folder.path().join(name);
        found.save(&path).unwrap();
        assert!(fs::read_to_string(path).unwrap().contains(part), "{name}");
    }
    let lines = fs::read_to_string(folder.path().join("a.csv")).unwrap().lines().count();
    let tokens =
        [&found.input_context_tokens, &found.output_context_tokens].map(|tokens| tokens.as_ref().unwrap().len());
    assert_eq!(lines, 1 + 2 * (tokens[0] + tokens[1]));
    assert!(found.save("a.svg").unwrap_err().what().contains("no format `svg`"));
    let json = serde_json::to_value(&found.0).unwrap();
    assert_eq!(json["info"]["output_template"], "{context} {current}");
    assert_eq!(
        (&json["about"]["method"], &json["info"]["attributed_fn"]),
        (&json!("saliency"), &json!("contrast_prob_diff"))
    );
}

#[test]
fn scores_follow_words_and_methods_that_look_inside() {
    let model = LanguageModel::load("verse").unwrap();
    let words = Task { aggregate: Some(stepfn::pipeline("vnorm,subwords").unwrap()), ..Task::default() };
    let found = model.attribute_context(asked_of_verse(), &words).unwrap();
    let tokens: Vec<&str> = found.input_context_tokens.iter().flatten().map(|token| token.trim()).collect();
    assert_eq!(tokens.join(" "), CONTEXT, "a score for each word");
    assert_eq!(found.cci_scores[0].input_context_scores.as_ref().unwrap().len(), tokens.len());
    let attention = Task { method: model.method("attention", Value::Null).unwrap(), ..Task::default() };
    let found = model.attribute_context(asked_of_verse(), &attention).unwrap();
    assert_eq!((&found.info.attributed_fn, &found.cci_scores[0].contrast_token), (&None, &None));
    assert!(found.cci_scores[0].input_context_scores.as_ref().unwrap().iter().all(|score| *score > 0.0));
}

#[test]
fn the_model_writes_what_is_not_given() {
    let model = LanguageModel::load("verse").unwrap();
    let written = Input { target: None, ..asked_of_verse() };
    let found = model.attribute_context(written.clone(), &Task::default()).unwrap();
    let prompt = format!("{CONTEXT} And they brought him");
    let expected = model.ask_about(Input::source(prompt.as_str())).generate().unwrap().remove(0).text;
    assert_eq!(found.output_current, expected.trim());
    // Its context is told from what follows by a separator that is there once.
    let template = Some("{context}. {current}".to_owned());
    let task = Task { output_template: template.clone(), ..Task::default() };
    match expected.trim().split(". ").collect::<Vec<_>>().as_slice() {
        [context, current] => {
            let found = model.attribute_context(written.clone(), &task).unwrap();
            assert_eq!(found.output_context.as_deref(), Some(*context));
            assert_eq!(found.output_current, *current);
            assert!(found.about.warnings[0].contains("was taken to be"), "{:?}", found.about.warnings);
        }
        _ => {
            let error = model.attribute_context(written.clone(), &task).unwrap_err();
            assert!(error.what().contains("can't be told from what follows it"), "{error}");
        }
    }
    let pre = Task { output_template: template, output_context: stepfn::OutputContext::Pre, ..Task::default() };
    let error = model.attribute_context(written, &pre).unwrap_err();
    assert!(error.what().contains("no output context is given"), "{error}");
}

#[test]
fn what_makes_no_sense_is_said() {
    let model = LanguageModel::load("verse").unwrap();
    let wrong = |input: Input, task: Task| model.attribute_context(input, &task).unwrap_err().what().to_owned();
    let plain = Task::default;
    assert!(wrong(Input::source("And"), plain()).contains("there is no context that the output could depend on"));
    assert_eq!(wrong(Input { source: None, ..asked_of_verse() }, plain()), "the current input is empty");
    assert_eq!(
        wrong(Input { target: Some(" ".to_owned()), ..asked_of_verse() }, plain()),
        "the current output is empty"
    );
    assert_eq!(
        wrong(Input { input_context: Some(String::new()), ..asked_of_verse() }, plain()),
        "the input context is empty"
    );
    let bare = || Task { input_template: Some("{current}".to_owned()), ..Task::default() };
    assert!(wrong(asked_of_verse(), bare()).contains("has no {context} for it"));
    let without = Input { input_context: None, output_context: Some("and".to_owned()), ..asked_of_verse() };
    let both = Task { input_template: Some("{context} {current}".to_owned()), ..Task::default() };
    assert!(wrong(without, both).contains("the input template has {context}, and there is none"));
    let forced = Input { contextless_output_next_tokens: vec![" a".to_owned(); 9], ..asked_of_verse() };
    assert!(
        wrong(forced, plain())
            .starts_with("9 tokens to compare with are given, and the number of those that depend on context is 1")
    );
    let other = Input { sources: vec!["a".to_owned()], ..asked_of_verse() };
    assert!(wrong(other, plain()).contains("`sources` and `question` are other work"));
    let scored = model.ask_about(asked_of_verse()).score((stepfn::functions::Entropy::default(),)).unwrap_err();
    assert!(scored.what().contains("and this is other work"), "{scored}");
    let contrast = Input { contrast_target: Some("a".to_owned()), ..asked_of_verse() };
    assert!(wrong(contrast, plain()).contains("messages or a contrast were given too"));
}

#[test]
fn a_forced_token_is_compared_with() {
    let model = LanguageModel::load("verse").unwrap();
    let forced = Input { contextless_output_next_tokens: vec![" wine".to_owned()], ..asked_of_verse() };
    let found = model.attribute_context(forced, &Task::default()).unwrap();
    let [cues] = found.cci_scores.as_slice() else { panic!("{found}") };
    assert_eq!(
        cues.contextless_output.as_deref().map(|text| text.starts_with("And they brought him and he did eat of the w")),
        Some(true)
    );
    assert_eq!(cues.contrast_token.as_deref().map(|token| token.starts_with(" w")), Some(true));
}

#[test]
fn the_model_writes_on_after_an_output_context() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["gpt2", "marian"] {
        let model = model(name, folder.path());
        let input = Input {
            input_context: Some("<27> <82>".to_owned()),
            output_context: Some("<40> <48> <23>".to_owned()),
            ..Input::source("<17> <21>")
        };
        let found = model.attribute_context(input, &Task::default()).unwrap();
        let written: Vec<&str> = found.output_current.split(' ').collect();
        assert!((1..=3).contains(&written.len()), "{name}: {}", found.output_current);
        // Each token that it wrote is the likeliest behind the context.
        let (source, output) = ("<27> <82> <17> <21>", format!("<40> <48> <23> {}", found.output_current));
        let target = if model.is_encoder_decoder() { output } else { format!("{source} {output}") };
        let asked = Input { target: Some(target), ..Input::source(source) };
        let scored = model.ask_about(asked).score((stepfn::functions::Rank::default(),)).unwrap();
        let ranks = &scored.values("rank").unwrap()[3..3 + written.len()];
        assert!(ranks.iter().all(|rank| *rank == 1.0), "{name}: {ranks:?}");
        assert_eq!(found.output_context_tokens.as_ref().map(Vec::len), Some(3));
    }
}
