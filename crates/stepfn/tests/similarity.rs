//! NMTScore's measures, against the package `nmtscore`.

#![cfg(feature = "cpu")]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::path::{Path, PathBuf};

use stepfn::{
    ErrorKind, Input, LanguageModel, LoadOptions, Map, Similarity, SimilarityMeasure, SimilarityTask, Value, json,
};

fn goldens() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens/similarity")
}

fn golden() -> Value {
    serde_json::from_slice(&std::fs::read(goldens().join("similarity.json")).unwrap()).unwrap()
}

/// The model of the goldens, which writes as they say.
fn model(golden: &Value) -> LanguageModel {
    let generation: Map<String, Value> = golden["writing"].as_object().unwrap().clone();
    let options = LoadOptions { generation, ..LoadOptions::default() };
    LanguageModel::load_with(goldens().join("model").to_str().unwrap(), &options).unwrap()
}

fn pairs(golden: &Value) -> Vec<Input> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    golden["pairs"].as_array().unwrap().iter().map(|pair| Input::pair(text(&pair[0]), text(&pair[1]))).collect()
}

#[test]
fn measures_are_those_of_the_package() {
    let golden = golden();
    let model = model(&golden);
    let mut seen = 0;
    for case in golden["cases"].as_array().unwrap() {
        let measure = SimilarityMeasure::ALL.into_iter().find(|measure| measure.name() == case["measure"]).unwrap();
        let language = |field: &str| case[field].as_str().unwrap();
        let task = SimilarityTask {
            measure,
            via: golden["via"].as_str().unwrap().to_owned(),
            normalize: case["normalize"].as_bool().unwrap(),
            both_directions: case["both_directions"].as_bool().unwrap(),
            base: 2.0,
            ..SimilarityTask::new(language("a_lang"), language("b_lang"))
        };
        let expected = case["scores"].as_array().unwrap().iter().map(|score| score.as_f64().unwrap());
        for (outcome, expected) in model.similarity_all(pairs(&golden), &task).zip(expected) {
            let found = outcome.result.unwrap();
            assert!((found.similarity / expected - 1.0).abs() < 1e-3, "{} and {expected}: {case}", found.similarity);
            assert_eq!(found.directions.len(), if task.both_directions { 2 } else { 1 });
            seen += 1;
        }
    }
    assert_eq!(seen, 3 * 2 * 2 * 2 * 4);
}

#[test]
fn translations_are_those_of_the_package() {
    let golden = golden();
    let model = model(&golden);
    for case in golden["translations"].as_array().unwrap() {
        let (language, via) = (case["language"].as_str().unwrap(), golden["via"].as_str().unwrap());
        let task = SimilarityTask { via: via.to_owned(), ..SimilarityTask::new(language, language) };
        let texts = case["texts"].as_array().unwrap().iter().map(|text| Input::pair("dawn", text.as_str().unwrap()));
        for (outcome, expected) in model.similarity_all(texts, &task).zip(case["translations"].as_array().unwrap()) {
            assert_eq!(outcome.result.unwrap().texts[1].translation.as_deref(), expected.as_str());
        }
    }
}

#[test]
fn a_base_is_raised_to_differences_of_cross_entropies() {
    let golden = golden();
    let model = model(&golden);
    let measured = |task: &SimilarityTask| -> Similarity {
        model.similarity(Input::pair("the ship sails at dawn", "a ship sails"), task).unwrap()
    };
    for measure in SimilarityMeasure::ALL {
        let task = SimilarityTask { measure, via: "fr".to_owned(), ..SimilarityTask::new("en", "de") };
        let found = measured(&task);
        let [a, b] = found.directions.as_slice() else { panic!("{found:?}") };
        assert_eq!((a.of.as_str(), b.of.as_str()), ("a", "b"));
        assert!((found.similarity - (a.score + b.score) / 2.0).abs() < 1e-12);
        assert!((a.score.ln() - (a.self_crossentropy.unwrap() - a.crossentropy)).abs() < 1e-9);
        // Texts are translated where that is needed.
        let translations =
            |found: &Similarity| found.texts.iter().map(|text| text.translation.is_some()).collect::<Vec<bool>>();
        assert_eq!(translations(&found), [measure != SimilarityMeasure::Direct; 2]);
        let one = measured(&SimilarityTask { both_directions: false, normalize: false, ..task.clone() });
        assert_eq!(translations(&one), [false, measure != SimilarityMeasure::Direct]);
        assert_eq!((one.directions.len(), one.directions[0].self_crossentropy), (1, None));
        assert!((one.similarity.ln() + a.crossentropy).abs() < 1e-4, "{one:?}");
        let itself = model
            .similarity(
                Input::pair("dawn", "dawn"),
                &SimilarityTask { languages: ["en".to_owned(), "en".to_owned()], ..task },
            )
            .unwrap();
        assert!((itself.similarity - 1.0).abs() < 1e-4, "{itself:?}");
    }
}

#[test]
fn what_cannot_be_measured_is_told() {
    let golden = golden();
    let model = model(&golden);
    let pair = || Input::pair("dawn", "dawn");
    let fails = |input: Input, task: &SimilarityTask, kind: ErrorKind, says: &str| {
        let error = model.similarity(input, task).unwrap_err();
        assert!(error.kind() == kind && error.what().contains(says), "{error}");
    };
    let task = SimilarityTask::new("en", "de");
    fails(pair(), &SimilarityTask::new("en", "xx"), ErrorKind::Option, "xx");
    fails(pair(), &SimilarityTask { via: "yy".to_owned(), ..task.clone() }, ErrorKind::Option, "yy");
    fails(pair(), &SimilarityTask { base: 1.0, ..task.clone() }, ErrorKind::Option, "base of 1");
    fails(Input::pair("", "dawn"), &task, ErrorKind::Text, "empty");
    fails(Input::text("dawn"), &task, ErrorKind::Text, "besides");
    fails(Input::default(), &task, ErrorKind::Text, "two texts");
    for other in ["verse", "g2p"] {
        let model: LanguageModel = LanguageModel::load(other).unwrap();
        let error = model.similarity(pair(), &task).unwrap_err();
        assert!(error.what().contains("does not translate between several languages"), "{error}");
    }
    // The languages that the model was loaded with don't matter, and stay as they are.
    let options = LoadOptions { target_lang: Some("fr".to_owned()), ..LoadOptions::default() };
    let french: LanguageModel = LanguageModel::load_with(goldens().join("model").to_str().unwrap(), &options).unwrap();
    let direct = SimilarityTask { measure: SimilarityMeasure::Direct, ..task };
    let values = [&model, &french].map(|model| model.similarity(pair(), &direct).unwrap().similarity);
    assert_eq!(values[0].to_bits(), values[1].to_bits());
    assert_eq!(json!(french.ask("the ship").generate().unwrap()[0].text), json!("ship the"));
}
