//! `stepfn similarity`, as a user runs it.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[allow(dead_code, reason = "the tests of other commands need more of it")]
mod fixture;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use self::fixture::{Done, stepfn, stepfn_reading};

fn goldens() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens/similarity")
}

fn args<'a>(model: &'a str, rest: &[&'a str]) -> Vec<&'a str> {
    let common = ["similarity", "-m", model, "--a-lang", "en", "--b-lang", "de", "--via", "fr"];
    common.iter().chain(rest).copied().collect()
}

#[test]
fn pairs_have_the_values_of_the_package() {
    let golden: Value = serde_json::from_slice(&fs::read(goldens().join("similarity.json")).unwrap()).unwrap();
    let model = goldens().join("model").display().to_string();
    let pairs = golden["pairs"].as_array().unwrap();
    let writing = ["--generation", "num_beams=3", "--generation", "max_length=40", "--exp-base", "2"];
    let is_asked = |case: &&Value| {
        (&case["measure"], &case["b_lang"], &case["normalize"], &case["both_directions"])
            == (&json!("cross_likelihood"), &json!("de"), &json!(true), &json!(true))
    };
    let expected = golden["cases"].as_array().unwrap().iter().find(is_asked).unwrap();
    let expected: Vec<f64> =
        expected["scores"].as_array().unwrap().iter().map(|score| score.as_f64().unwrap()).collect();
    let close = |found: f64, expected: f64| (found / expected - 1.0).abs() < 1e-3;
    // A pair, as JSON and as a table.
    let texts = [pairs[0][0].as_str().unwrap(), pairs[0][1].as_str().unwrap()];
    let one = stepfn(args(&model, &[&writing[..], &texts, &["--format", "json"]].concat())).json();
    assert!(close(one["similarity"].as_f64().unwrap(), expected[0]), "{one}");
    assert_eq!((&one["texts"][1]["name"], &one["texts"][1]["translation"]), (&json!("b"), &json!("sails ship a")));
    assert_eq!((&one["about"]["parameters"]["via"], &one["about"]["parameters"]["base"]), (&json!("fr"), &json!(2.0)));
    let table = stepfn(args(&model, &[&writing[..], &texts].concat())).out;
    assert!(
        table.contains("translation") && table.contains("sails ship a") && table.contains("similarity 0.271"),
        "{table}"
    );
    // Lines, whose fields may have any names, with what fails among them.
    let line = |pair: &Value| json!({ "source": pair[0], "target": pair[1], "year": 7 }).to_string() + "\n";
    let input = pairs.iter().map(line).collect::<String>() + "{\"source\": \"dawn\"}\n";
    let rest = ["--input", "-", "--columns", "source,target", "--keep", "year", "--format", "csv"];
    let done = stepfn_reading(&input, &args(&model, &[&writing[..], &rest].concat()));
    assert_eq!(done.code, 1);
    assert!(done.err.contains("line 5") && done.err.contains("no field `target`"), "{}", done.err);
    let mut lines = done.out.lines();
    let header = "id,source,target,translation_source,translation_target,score_source,score_target,similarity,year";
    assert_eq!(lines.next(), Some(header));
    let values: Vec<f64> = lines.map(|line| line.split(',').nth_back(1).unwrap().parse().unwrap()).collect();
    assert_eq!(values.len(), expected.len());
    assert!(values.iter().zip(&expected).all(|(&found, &expected)| close(found, expected)), "{values:?} {expected:?}");
}

#[test]
fn what_cannot_be_measured_is_told() {
    let model = goldens().join("model").display().to_string();
    let direct = |rest: &[&str]| -> Done {
        let common = ["similarity", "-m", &model, "--a-lang", "en", "--measure", "direct"];
        stepfn(common.iter().chain(rest))
    };
    assert_eq!(direct(&["dawn", "dawn", "--format", "json"]).json()["similarity"], 1.0);
    direct(&["dawn"]).fails(2, "2 values required", "--help");
    direct(&[]).fails(2, "there are no texts", "give two texts");
    direct(&["dawn", "dawn", "--via", "fr"]).fails(2, "--via: a direct measure translates nothing", "--measure");
    direct(&["dawn", "dawn", "--max-new-tokens", "3"]).fails(2, "--max-new-tokens", "--measure direct");
    direct(&["dawn", "dawn", "--b-lang", "xx"]).fails(2, "xx", "--a-lang and --b-lang");
    direct(&["--input", "x.jsonl", "--columns", "a"]).fails(
        2,
        "--columns: similarity is one of two texts",
        "two fields",
    );
    stepfn(args(&model, &["dawn", "dawn", "--exp-base", "1"])).fails(2, "greater than 1", "--help");
    stepfn(["similarity", "-m", &model, "dawn", "dawn"]).fails(2, "--a-lang", "--help");
    let other = ["similarity", "-m", "g2p", "--a-lang", "en", "dawn", "dawn"];
    stepfn(other).fails(2, "en", "leave it out");
}
