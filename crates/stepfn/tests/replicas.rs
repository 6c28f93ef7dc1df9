//! Models in the layouts that people have on disk, against transformers: from the name of a folder to log-probabilities.

#![cfg(feature = "cpu")]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;
use std::path::{Path, PathBuf};

use stepfn::functions::Probability;
use stepfn::{ErrorKind, LanguageModel, LoadOptions, Masking, ScoredText, Value};

fn replicas() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens/replicas");
    let mut folders: Vec<PathBuf> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.retain(|path| path.join("expected.json").is_file());
    folders.sort();
    folders
}

fn expected(folder: &Path) -> Value {
    serde_json::from_slice(&fs::read(folder.join("expected.json")).unwrap()).unwrap()
}

fn load(folder: &Path, expected: &Value) -> LanguageModel {
    let language = |at: usize| expected["languages"][at].as_str().map(str::to_owned);
    let options = LoadOptions { source_lang: language(0), target_lang: language(1), ..LoadOptions::default() };
    LanguageModel::load_with(folder.to_str().unwrap(), &options)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().map_or_else(Vec::new, |ids| ids.iter().map(|id| id.as_u64().unwrap() as u32).collect())
}

#[test]
fn every_published_layout_opens_and_scores_as_in_transformers() {
    let folders = replicas();
    assert!(folders.len() >= 15, "{}", folders.len());
    for folder in folders {
        let expected = expected(&folder);
        let model = load(&folder, &expected);
        for case in expected["texts"].as_array().unwrap() {
            let text = case["text"].as_str().unwrap();
            let what = format!("{}, {text:?}", folder.display());
            let ask = || if model.is_encoder_decoder() { model.ask(text).target(text) } else { model.ask(text) };
            let scored = ask().score([Probability { logprob: true }]).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(scored.source.iter().map(|token| token.id).collect::<Vec<_>>(), ids(&case["source"]), "{what}");
            assert_eq!(scored.target.iter().map(|token| token.id).collect::<Vec<_>>(), ids(&case["target"]), "{what}");
            let agrees = |scored: &ScoredText, field: &str| {
                let log_probs = case[field].as_array().unwrap().iter().map(|value| value.as_f64().unwrap());
                let ours = scored.values("probability").unwrap();
                let theirs: Vec<f64> = log_probs.skip(scored.scores.first - 1).collect();
                assert_eq!(ours.len(), theirs.len(), "{what}");
                for (ours, theirs) in ours.iter().zip(theirs) {
                    assert!((f64::from(*ours) - theirs).abs() < 2e-4, "{what}: {ours} and {theirs}");
                }
            };
            agrees(&scored, "log_probs");
            let by_word = ask().masking(Masking::Word).score([Probability { logprob: true }]);
            if model.is_masked() {
                agrees(&by_word.unwrap(), "word_log_probs");
            } else {
                let error = by_word.unwrap_err();
                assert!(error.kind() == ErrorKind::Option && error.what().contains("masks nothing"), "{error}");
            }
        }
    }
}

#[test]
fn every_published_layout_writes() {
    for folder in replicas() {
        let expected = expected(&folder);
        let model = load(&folder, &expected);
        let written = model.ask("the ship sails at dawn").generate();
        if model.is_masked() {
            let error = written.unwrap_err();
            assert!(error.what().contains("can't write a text"), "{error}");
            continue;
        }
        let written = written.unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        assert!(!written[0].ids.is_empty(), "{}", folder.display());
    }
}

#[test]
fn a_model_for_several_languages_asks_which() {
    let folder = replicas().into_iter().find(|folder| folder.ends_with("m2m100")).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, scratch.path().join(path.file_name().unwrap())).unwrap();
    }
    let path = scratch.path().join("tokenizer_config.json");
    let mut settings: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    settings["src_lang"] = Value::Null;
    settings["tgt_lang"] = Value::Null;
    fs::write(&path, settings.to_string()).unwrap();
    let load = |source: Option<&str>| {
        let options = LoadOptions { source_lang: source.map(str::to_owned), ..LoadOptions::default() };
        LanguageModel::load_with(scratch.path().to_str().unwrap(), &options)
    };
    let error = load(None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Option);
    assert!(error.what().contains("the source's is not given") && error.hint().contains("source_lang"), "{error}");
    let error = load(Some("en")).unwrap().ask("the ship").generate().unwrap_err();
    assert!(error.what().contains("the target's is not given"), "{error}");
}

/// A token that the model has no embedding for is an error where a text has it, and not before.
#[test]
fn a_token_beyond_the_embeddings_is_an_error_in_a_text() {
    let folder = replicas().into_iter().find(|folder| folder.ends_with("bart_cnn")).unwrap();
    let model = load(&folder, &expected(&folder));
    let beyond = (326..).find_map(|id| model.tokenizer().id_to_token(id)).unwrap();
    let error = model.ask(format!("a {beyond} here")).target("a").score([Probability { logprob: true }]).unwrap_err();
    assert!(error.what().contains("an id below 326"), "{error}");
}
