//! `stepfn context`, and units of `stepfn attribute`, as a user runs them.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[allow(dead_code, reason = "the tests of other commands need more of it")]
mod fixture;

use std::fs;

use serde_json::{Value, json};

use self::fixture::{Done, Scratch, stepfn, stepfn_reading};

const ANSWER: &str = "And God saw the light. And the king spake unto him";

fn context(rest: &[&str]) -> Done {
    stepfn(["context", "-m", "verse"].iter().chain(rest))
}

#[test]
fn files_are_sources_and_their_parts_are_rows() {
    let folder = Scratch::new();
    let (day, king) =
        (folder.write("day.txt", "Let there be light. It was so."), folder.write("king", "The king died."));
    let done = context(&[&day, &king, "--split", "sentences", "--answer", ANSWER, "--check", "6"]);
    assert_eq!((done.code, done.err.as_str()), (0, ""));
    for text in ["Let there be light.", "It was so.", "The king died.", "And God saw t…", "measured: drop_1", "lds"] {
        assert!(done.out.contains(text), "{text}: {}", done.out);
    }
    let page = folder.0.join("page.html").display().to_string();
    let one =
        context(&[&day, &king, "--answer", ANSWER, "--method", "leave_one_out", "--format", "json", "--html", &page]);
    let one = one.json();
    assert_eq!(one["source_scores"]["shape"], json!([2, 2]));
    assert_eq!(one["about"]["parameters"]["operator"], "remove");
    assert!(fs::read_to_string(page).unwrap().contains("The king died."));
    let again = context(&[&day, &king, "--answer", ANSWER, "--method", "leave_one_out", "--format", "json"]).json();
    assert_eq!(again["source_scores"], one["source_scores"]);
}

#[test]
fn lines_are_questions_and_one_that_fails_leaves_the_others() {
    let lines = format!(
        "{}\n{}\n{}\n",
        json!({ "id": "a", "sources": ["Let there be light.", "It was so."], "target": ANSWER, "item": 3 }),
        json!({ "id": "b", "target": ANSWER }),
        json!({ "id": "c", "sources": ["Let there be light."], "text": "and" }),
    );
    let args =
        ["context", "-m", "verse", "--input", "-", "--keep", "item", "--format", "jsonl", "--method", "gradient"];
    let done = stepfn_reading(&lines, &args);
    assert_eq!(done.code, 1);
    let found: Vec<Value> = done.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&found[0]["id"], &found[0]["fields"]["item"]), (&json!("a"), &json!(3)));
    assert_eq!(found[0]["source"].as_array().unwrap().len(), 2);
    assert!(found[1]["error"].as_str().unwrap().contains("there are no sources"), "{}", found[1]);
    assert!(found[2]["error"].as_str().unwrap().contains("were given too"), "{}", found[2]);
    let other =
        stepfn_reading(&lines, &["score", "-m", "verse", "--input", "-", "--keep", "item", "--format", "jsonl"]);
    assert!(other.out.lines().next().unwrap().contains("and this is other work"), "{}", other.out);
}

#[test]
fn wrong_usage_is_told_before_a_model_is_loaded() {
    let asked = ["--source", "a", "--answer", "b"];
    for (args, says) in [
        (&[][..], "there are no sources"),
        (
            &["--source", "a", "--ablations", "8", "--method", "leave_one_out"],
            "--ablations: leave_one_out does not read it",
        ),
        (&["--source", "a", "--prefilter", "2"], "--prefilter: context_cite does not read it"),
        (&["--source", "a", "--template", "no place"], "{sources} once"),
        (&["--source", "a", "--raw"], "--raw: a source has one number"),
        (&["--source", "a", "--check", "2"], "the number of subsets to check is 2"),
        (&["--source", "a", "--alpha", "-1"], "--alpha"),
        (&["--source", "a", "--input", "x"], "--input"),
    ] {
        let done = stepfn(["context", "-m", "no-such-model"].iter().chain(args));
        assert_eq!(done.code, 2, "{done:?}");
        assert!(done.err.contains(says), "{says}: {}", done.err);
    }
    let missing = context(&["no-such-file", "--answer", "b"]);
    assert!(missing.code == 1 && missing.err.contains("no-such-file"), "{missing:?}");
    let folder = Scratch::new();
    let own = folder.write("own", "And it was so.");
    let onto = context(&[&[own.as_str(), "-o", &own][..], &asked].concat());
    assert!(onto.code != 0 && fs::read_to_string(&own).unwrap() == "And it was so.", "{onto:?}");
}

#[test]
fn units_are_columns() {
    let text = "And God said, Let there be light. And there was light.";
    let of = |rest: &[&str]| stepfn(["attribute", "-m", "verse", text, "--format", "json"].iter().chain(rest));
    let sentences = of(&["--unit", "sentence", "--prompt-only", "--from", "5"]).json();
    assert_eq!(sentences["spans"].as_array().unwrap().len(), 2);
    assert_eq!(sentences["target_scores"]["shape"][1], 2);
    assert_eq!(sentences["about"]["parameters"]["unit"], "sentence");
    let answer = of(&["--unit", "answer", "--attributed-fn", "entropy", "--unit-mean"]).json();
    assert_eq!(
        (&answer["about"]["attributed_fn"], &answer["about"]["parameters"]["unit_mean"]),
        (&json!("entropy"), &json!(true))
    );
    let table = stepfn(["attribute", "-m", "verse", text, "--unit", "sentence"]);
    assert!(table.out.contains("And there was…") || table.out.contains("And there was l"), "{}", table.out);
    for (args, says) in [
        (&["--unit", "word", "--method", "attention"][..], "--unit word: attention attributes no step function"),
        (&["--unit-mean"], "--unit-mean: every token is a unit by itself"),
        (&["--unit", "chapter"], "--unit"),
    ] {
        let done = of(args);
        assert!(done.code == 2 && done.err.contains(says), "{done:?}");
    }
    let lines = json!({ "target": text, "units": [[0, 13], [34, 54]] }).to_string();
    let done =
        stepfn_reading(&lines, &["attribute", "-m", "verse", "--input", "-", "--format", "jsonl", "--from", "1"]);
    let found: Value = serde_json::from_str(done.out.lines().next().unwrap()).unwrap();
    assert_eq!(found["target_scores"]["shape"][1], 2, "{done:?}");
}
