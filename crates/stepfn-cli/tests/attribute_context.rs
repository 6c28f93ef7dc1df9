//! `stepfn attribute-context`, as a user runs it.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[allow(dead_code, reason = "the tests of other commands need more of it")]
mod fixture;

use std::fs;

use serde_json::{Value, json};

use self::fixture::{Done, Scratch, numbers, stepfn, stepfn_reading};

const CONTEXT: &str = "And the king said unto his servants, Bring me bread.";
const INPUT: &str = "And they brought him";
const OUTPUT: &str = "and he did eat of the bread.";
const ASKED: [&str; 6] =
    ["--input-context-text", CONTEXT, "--input-current-text", INPUT, "--output-current-text", OUTPUT];

fn reliance(rest: &[&str]) -> Done {
    stepfn(["attribute-context", "-m", "verse"].iter().chain(rest))
}

#[test]
fn tokens_and_their_cues_are_shown() {
    let folder = Scratch::new();
    let page = folder.0.join("page.html").display().to_string();
    let done = reliance(&[&ASKED[..], &["--html", &page]].concat());
    assert_eq!((done.code, done.err.as_str()), (0, ""));
    for part in [
        "CTI = kl_divergence, CCI = saliency of contrast_prob_diff",
        "of the [bread](0.45).  (instead of flesh)",
        "Input context (CCI ≥",
    ] {
        assert!(done.out.contains(part), "{part}: {}", done.out);
    }
    assert!(fs::read_to_string(page).unwrap().contains("kl_divergence"));
    let json = reliance(&[&ASKED[..], &["--format", "json"]].concat()).json();
    assert_eq!((&json["output_current"], &json["cci_scores"][0]["contrast_token"]), (&json!(OUTPUT), &json!(" flesh")));
    assert_eq!(json["info"]["context_sensitivity_std_threshold"], 1.0);
    assert_eq!(numbers(&json["cti_scores"]).len(), json["output_current_tokens"].as_array().unwrap().len());
}

#[test]
fn options_are_those_of_the_reference() {
    let ours = reliance(
        &[
            &ASKED[..],
            &["--context-sensitivity-topk", "2", "--context-sensitivity-std-threshold", "none", "--format", "csv"],
        ]
        .concat(),
    );
    let theirs: Vec<String> = ASKED
        .iter()
        .map(
            |arg| if arg.starts_with("--") { arg.replace('-', "_").replacen("__", "--", 1) } else { (*arg).to_owned() },
        )
        .collect();
    let mut theirs: Vec<&str> = theirs.iter().map(String::as_str).collect();
    theirs.extend([
        "--context_sensitivity_topk",
        "2",
        "--context_sensitivity_std_threshold",
        "none",
        "--format",
        "csv",
    ]);
    theirs.extend(["--model_name_or_path", "verse"]);
    let theirs = stepfn(["attribute-context"].iter().chain(&theirs));
    assert_eq!((theirs.code, &theirs.out), (0, &ours.out), "{}", theirs.err);
    assert_eq!(ours.out.lines().filter(|line| line.contains(",input,0,")).count(), 2);
}

#[test]
fn lines_are_texts_and_one_that_fails_leaves_the_others() {
    let lines = format!(
        "{}\n{}\n",
        json!({ "id": "a", "source": INPUT, "target": OUTPUT, "input_context": CONTEXT, "item": 3 }),
        json!({ "id": "b", "source": INPUT, "target": OUTPUT }),
    );
    let args = ["attribute-context", "-m", "verse", "--input", "-", "--keep", "item", "--format", "jsonl"];
    let done = stepfn_reading(&lines, &args);
    assert_eq!(done.code, 1);
    let found: Vec<Value> = done.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&found[0]["id"], &found[0]["fields"]["item"]), (&json!("a"), &json!(3)));
    assert!(found[1]["error"].as_str().unwrap().contains("there is no context"), "{}", found[1]);
}

#[test]
fn wrong_usage_is_told_before_a_model_is_loaded() {
    for (args, says) in [
        (&["--input-context-text", "a"][..], "there is no current input"),
        (&["--input-current-text", "a", "--context-sensitivity-metric", "entropy"], "entropy: it compares no two runs"),
        (&["--input-current-text", "a", "--context-sensitivity-metric", "kl"], "kl"),
        (&["--input-current-text", "a", "--input-template", "{context}"], "{current} once"),
        (
            &["--input-current-text", "a", "--attribution-method", "attention", "--attributed-fn", "logit"],
            "looks inside the model",
        ),
        (&["--input-current-text", "a", "--attribution-topk", "0"], "--attribution-topk"),
        (&["--input-current-text", "a", "--attribution-std-threshold", "much"], "--attribution-std-threshold"),
        (
            &["--input-current-text", "a", "--output-current-text", "b", "--max-new-tokens", "3"],
            "so the model writes nothing",
        ),
        (&["--input-current-text", "a", "--set", "top_p=0.9", "--set", "n_steps=3"], "n_steps"),
        (&["--input-current-text", "a", "--input", "x"], "--input"),
    ] {
        let done = stepfn(["attribute-context", "-m", "no-such-model"].iter().chain(args));
        assert_eq!(done.code, 2, "{done:?}");
        assert!(done.err.contains(says), "{says}: {}", done.err);
    }
    reliance(&["--input-current-text", "a", "--output-current-text", "b"]).fails(
        1,
        "there is no context",
        "give `input_context`",
    );
    let own = Scratch::new();
    let file = own.write("own.jsonl", "{\"source\": \"a\"}\n");
    let onto = reliance(&["--input", &file, "-o", &file]);
    assert!(onto.code != 0 && fs::read_to_string(&file).unwrap().contains("source"), "{onto:?}");
}

#[test]
fn contrasts_of_another_length_are_aligned() {
    let texts = ["--target", "And he did eat of the bread.", "--contrast-target", "And the king did eat of the bread."];
    let score = |rest: &[&str]| {
        let common = ["score", "-m", "verse", "--step-fn", "contrast_prob", "--format", "json"];
        stepfn(common.iter().chain(&texts).chain(rest))
    };
    let aligned = score(&["--align", "auto"]).json();
    let found = numbers(&aligned["scores"]["contrast_prob"]);
    assert!(found.iter().filter(|value| !value.is_nan()).count() >= 4, "{found:?}");
    assert_eq!(score(&["--align", "auto", "--align-model", "verse"]).json()["scores"], aligned["scores"]);
    score(&["--align", "auto,0:1"]).fails(2, "--align has pairs and `auto`", "`auto` alone");
    score(&["--align-layer", "2"]).fails(2, "--align-layer: nothing is aligned", "--align auto");
    let deep = score(&["--align", "auto", "--align-layer", "99"]);
    assert!(deep.code != 0 && deep.err.contains("the model that aligns has 4"), "{deep:?}");
    let missing = score(&["--align", "auto", "--align-model", "no-such-model"]);
    assert!(missing.code == 1 && missing.err.contains("--align-model no-such-model"), "{missing:?}");
}
