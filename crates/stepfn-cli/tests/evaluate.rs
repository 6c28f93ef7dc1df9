//! `stepfn evaluate`, as a user runs it.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[allow(dead_code, reason = "the tests of other commands need more of it")]
mod fixture;

use std::fs;

use serde_json::{Value, json};

use self::fixture::{Done, Scratch, stepfn, stepfn_reading};

const TEXTS: [&str; 2] = ["And God said, Let there be light.", "And the king said unto him"];

fn evaluate(rest: &[&str]) -> Done {
    let start = ["evaluate", "-m", "verse", "--random-orders", "2"];
    stepfn(start.iter().chain(&TEXTS).chain(rest))
}

#[test]
fn every_form_has_the_figures_of_all_methods_and_orders() {
    let folder = Scratch::new();
    let page = folder.0.join("page.html").display().to_string();
    let asked =
        ["--method", "saliency,occlusion", "--set", "occlusion.abs=false", "--metric", "comprehensiveness,insertion"];
    let found = evaluate(&[&asked[..], &["--format", "json", "--html", &page]].concat()).json();
    let rows = found["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 2 * 2 * 5);
    let names: Vec<&str> = rows[..5].iter().map(|row| row["method"].as_str().unwrap()).collect();
    assert_eq!(names, ["saliency", "occlusion", "random", "first_to_last", "last_to_first"]);
    assert_eq!(rows[0]["operator"], "baseline");
    assert_eq!((&rows[0]["texts"], &rows[0]["attributed_fn"]), (&json!(2), &json!("log_probability")));
    assert!(rows[0]["figures"]["insertion"]["low"].is_number());
    assert_eq!(found["about"]["parameters"]["occlusion"]["abs"], json!(false));
    let page = fs::read_to_string(page).unwrap();
    assert!(page.contains("<polyline") && page.contains("hidden by `remove`"));
    let csv = evaluate(&[&asked[..], &["--format", "csv"]].concat());
    assert_eq!(csv.out.lines().count(), 1 + 20 * 2, "{csv:?}");
    let table = evaluate(&[&asked[..], &["--operator", "remove", "--special", "without"]].concat());
    assert_eq!((table.code, table.err.as_str()), (0, ""));
    for text in ["hidden by `remove`, special tokens kept", "comprehensiveness ↑", "last_to_first", "2 texts"] {
        assert!(table.out.contains(text), "{text}: {}", table.out);
    }
    assert!(!table.out.contains("hidden by `baseline`"));
}

#[test]
fn a_text_that_fails_leaves_the_others() {
    let lines =
        format!("{}\n{}\n{}\n", json!({ "text": TEXTS[0] }), json!({ "text": "" }), json!({ "text": TEXTS[1] }));
    let args = ["evaluate", "-m", "verse", "--input", "-", "--method", "saliency", "--format", "json"];
    let done = stepfn_reading(&lines, &args);
    assert_eq!(done.code, 1, "{done:?}");
    assert!(done.err.contains("1 of 3 texts failed"), "{done:?}");
    let found: Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!(found["rows"][0]["texts"], 2);
    let none = stepfn_reading("{\"text\": \"\"}\n{\"text\": \"\"}\n", &args);
    assert!(none.code == 1 && none.out.is_empty() && none.err.contains("all 2 texts failed"), "{none:?}");
    let one = stepfn(["evaluate", "-m", "verse", "--method", "saliency", TEXTS[0], "--unit", "answer", "--from", "4"]);
    assert!(one.code == 0 && one.err.contains("there are no intervals"), "{one:?}");
}

#[test]
fn wrong_usage_is_told_before_a_model_is_loaded() {
    for (args, says) in [
        (&["--method", "salience"][..], "did you mean `saliency`"),
        (&["--method", "lime,lime"], "--method has `lime` twice"),
        (&["--metric", "faithfulness"], "--metric"),
        (&["--metric", "deletion", "--attributed-fn", "entropy"], "deletion is of probabilities"),
        (&["--attributed-fn", "pcxmi"], "compares with a contrast, and there is none"),
        (&["--contrast-target", "other"], "no step function asked for compares with a contrast"),
        (&["--attributed-fn", "mc_dropout_prob_avg"], "`mc_dropout_prob_avg` needs passes with dropout"),
        (&["--random-sets", "9"], "--random-sets: no metric asked for reads it"),
        (&["--metric", "soft_ns", "--soft-share", "1"], "soft metrics is 1"),
        (&["--unit", "answer", "--method", "attention"], "attention has no function"),
        (&["--keep", "x", "--input", "y"], "--input"),
        (&["--set", "n_steps=3", "--method", "saliency"], "no parameter `n_steps`"),
    ] {
        let done = stepfn(["evaluate", "-m", "no-such-model", "text"].iter().chain(args));
        assert_eq!(done.code, 2, "{done:?}");
        assert!(done.err.contains(says), "{says}: {}", done.err);
    }
    let folder = Scratch::new();
    let own = folder.write("own.jsonl", "{\"text\": \"And it was so.\"}");
    let onto = stepfn(["evaluate", "-m", "verse", "--input", &own, "--html", &own]);
    assert!(onto.code != 0 && fs::read_to_string(&own).unwrap().contains("And it was so."), "{onto:?}");
}

#[test]
fn what_people_marked_and_what_is_compared_with_are_read_from_lines() {
    let lines = format!(
        "{}\n{}\n",
        json!({ "text": TEXTS[0], "rationale": ["there"] }),
        json!({ "text": TEXTS[1], "rationale": [[0, 3]] })
    );
    let start =
        ["evaluate", "-m", "verse", "--input", "-", "--method", "saliency", "--format", "json", "--operator", "mask"];
    let asked = |metrics: &'static str| [&start[..], &["--metric", metrics]].concat();
    let found = stepfn_reading(&lines, &asked("auprc,mrr")).json();
    assert_eq!(found["rows"][0]["operator"], "mask");
    assert!(found["rows"][0]["figures"]["mrr"]["mean"].as_f64().unwrap() > 0.0, "{found}");
    let unmarked = stepfn_reading(format!("{}\n", json!({ "text": TEXTS[0] })), &asked("iou"));
    assert!(unmarked.code == 1 && unmarked.err.contains("has no `rationale`"), "{unmarked:?}");
    let other = TEXTS[0].replace("Let", "Here");
    let line = json!({ "text": TEXTS[0], "contrast_target": other });
    let compared = format!("{line}\n{line}\n");
    let found = stepfn_reading(&compared, &[&start[..], &["--attributed-fn", "contrast_prob_diff"]].concat()).json();
    assert_eq!(found["rows"][0]["attributed_fn"], "contrast_prob_diff");
}
