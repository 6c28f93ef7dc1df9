//! `stepfn bench` as a user runs it. How long anything takes is no test's business.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[allow(dead_code, reason = "the tests of other commands need more of it")]
mod fixture;

use std::fs;

use serde_json::Value;

use self::fixture::{Done, Scratch, model, stepfn};

fn bench(rest: &[&str]) -> Done {
    stepfn(["bench"].iter().chain(rest))
}

/// A quick run of little work, in a file.
fn report(folder: &Scratch, name: &str, more: &[&str]) -> String {
    let file = folder.path().to_owned() + "/" + name;
    let args = ["--quick", "--format", "json", "-o", &file, "--batch", "1", "--repeats", "1"];
    let done = bench(&[&args[..], more].concat());
    assert_eq!((done.code, done.out.as_str(), done.err.as_str()), (0, "", ""));
    file
}

#[test]
fn a_quick_run_measures_everything_that_it_promises() {
    let report = bench(&["--quick", "--format", "json"]).json();
    assert_eq!((&report["format"], &report["version"]), (&Value::from("stepfn-bench"), &Value::from(1)));
    for field in ["stepfn", "burn", "build", "system", "backend", "device", "dtype"] {
        assert!(report["machine"][field].as_str().is_some_and(|text| !text.is_empty()), "{field}: {report}");
    }
    assert!(report["machine"]["threads"].as_u64().unwrap() > 0);
    assert!(report["machine"].as_object().unwrap().contains_key("driver"));
    let positive = |object: &Value, field: &str| {
        assert!(object[field].as_f64().is_some_and(|number| number > 0.0), "{field}: {object}");
    };
    for field in ["gflop_per_second", "gigabytes_per_second"] {
        positive(&report["peak"], field);
    }
    let rows = report["rows"].as_array().unwrap();
    let works =
        ["forward", "step_scores", "mc_dropout_prob_avg", "saliency", "integrated_gradients", "occlusion", "generate"];
    let named: Vec<&str> = rows.iter().map(|row| row["work"].as_str().unwrap()).collect();
    assert_eq!(named, works.iter().flat_map(|work| [*work, *work]).collect::<Vec<_>>());
    for row in rows {
        assert_eq!((&row["model"], &row["prompt"], &row["target"]), (&"tiny".into(), &8.into(), &8.into()));
        let fields = ["warm_up", "repeats", "tokens_per_second", "texts_per_second", "gflop_per_second"];
        for field in fields.into_iter().chain(["gigabytes_per_second", "share_of_peak"]) {
            positive(row, field);
        }
        for field in ["median", "least", "most"] {
            positive(&row["seconds"], field);
        }
        if cfg!(target_os = "linux") {
            positive(row, "peak_memory");
        }
    }
}

#[test]
fn the_table_has_a_line_per_row_below_what_the_machine_is() {
    let table = bench(&["--quick", "--work", "forward,attention", "--length", "8,500", "--batch", "2"]);
    assert_eq!((table.code, table.err.as_str()), (0, ""));
    let lines: Vec<&str> = table.out.lines().collect();
    assert!(lines[0].contains("CPU with") && lines[0].contains("GFLOP/s") && lines[0].contains("burn 0.21"));
    assert!(lines[2].starts_with("model  work") && lines[2].ends_with("MiB"), "{}", table.out);
    assert_eq!(lines.len(), 3 + 4, "{}", table.out);
    assert!(lines[3].starts_with("tiny   forward    4+4 ×2"), "{}", table.out);
    assert!(lines[3].contains('%') && lines[6].starts_with("tiny   attention  250+250 ×2"), "{}", table.out);
}

#[test]
fn a_model_is_measured_and_what_it_has_no_positions_for_is_left_out() {
    let gpt2 = model("gpt2", &[100]);
    let args = ["--quick", "--model", gpt2.path(), "--work", "saliency", "--length", "8,80", "--batch", "1"];
    let report = bench(&[&args[..], &["--format", "json"]].concat()).json();
    // The same model may lie elsewhere on another machine.
    assert_eq!(report["rows"][0]["model"], *gpt2.0.file_name().unwrap().to_str().unwrap());
    assert!(report["rows"][0]["texts_per_second"].as_f64().unwrap() > 0.0);
    assert_eq!(report["rows"][1]["left_out"], "the model has 64 positions");
    assert!(bench(&args).out.contains("left out: the model has 64 positions"));
    let embedded = bench(&["--quick", "-m", "g2p", "--work", "step_scores", "--format", "json"]).json();
    assert_eq!(embedded["rows"][0]["model"], "g2p");
    bench(&["--quick", "-m", "/nowhere/x"]).fails(1, "there is no model `/nowhere/x`", "config.json");
}

#[test]
fn a_row_that_fails_leaves_the_others() {
    let gpt2 = model("gpt2", &[100]);
    // All weights become NaN: a plain pass does not mind, and step functions do.
    let mut weights = fs::read(gpt2.0.join("model.safetensors")).unwrap();
    let header = u64::from_le_bytes(*weights.first_chunk().unwrap()) as usize;
    weights[8 + header..].fill(0xff);
    gpt2.write("model.safetensors", weights);
    let args = ["--quick", "--model", gpt2.path(), "--work", "step_scores,forward", "--length", "8", "--batch", "1"];
    let done = bench(&[&args[..], &["--format", "json"]].concat());
    let report: Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!(done.code, 1);
    let error = report["rows"][0]["error"].as_str().unwrap();
    assert!(done.err.contains(error) && done.err.contains("step_scores 4+4 ×1: "), "{}", done.err);
    assert!(done.err.contains("1 of 2 rows failed, as reported above"), "{}", done.err);
    assert!(report["rows"][1]["texts_per_second"].as_f64().unwrap() > 0.0);
}

#[test]
fn work_that_would_take_too_long_says_how_long() {
    let args = ["--quick", "--work", "integrated_gradients", "--length", "128", "--batch", "32", "--seconds", "1e-4"];
    let report = bench(&[&args[..], &["--format", "json"]].concat()).json();
    let left_out = report["rows"][0]["left_out"].as_str().unwrap();
    assert!(left_out.starts_with("a call takes ") && left_out.contains("--seconds"), "{left_out}");
}

#[test]
fn reports_are_compared_by_their_ratios() {
    let folder = Scratch::new();
    let [a, b] = [
        report(&folder, "a.json", &["--work", "forward,attention"]),
        report(&folder, "b.json", &["--work", "forward"]),
    ];
    // Four times as fast.
    let mut faster: Value = serde_json::from_str(&fs::read_to_string(&a).unwrap()).unwrap();
    let first = faster["rows"][0]["seconds"]["median"].as_f64().unwrap();
    faster["rows"][0]["seconds"]["median"] = (first / 4.0).into();
    let c = folder.write("c.json", faster.to_string());

    let table = bench(&["--compare", &a, &b, &c]);
    assert_eq!((table.code, table.err.as_str()), (0, ""));
    let lines: Vec<&str> = table.out.lines().collect();
    assert!(lines[0].starts_with("a: CPU with") && lines[2].starts_with("c: CPU with"), "{}", table.out);
    let columns: Vec<&str> = lines[5].split("  ").map(str::trim).filter(|column| !column.is_empty()).collect();
    assert_eq!(columns, ["model", "work", "texts", "a ms", "b ms", "c ms", "b ×", "c ×"]);
    assert!(lines[6].ends_with("4.000"), "{}", table.out);
    let cells: Vec<&str> = lines[7].split_whitespace().collect();
    assert_eq!((cells[1], cells[5], cells[7], cells[8]), ("attention", "-", "-", "1.000"), "{}", table.out);

    let json = bench(&["--compare", &a, &b, "--format", "json"]).json();
    assert_eq!(json["reports"][1]["name"], b.as_str());
    assert_eq!(json["rows"][0]["times_as_fast"][0], 1.0);
    assert_eq!(json["rows"][1]["times_as_fast"][1], Value::Null);
}

#[test]
fn a_run_that_was_ended_leaves_rows_that_compare() {
    let folder = Scratch::new();
    let whole = report(&folder, "whole.json", &["--work", "forward,attention"]);
    let text = fs::read_to_string(&whole).unwrap();
    let cut = folder.write("cut.json", &text[..text.len() - 20]);
    let table = bench(&["--compare", &whole, &cut]);
    assert_eq!((table.code, table.err.as_str()), (0, ""));
    let rows: Vec<&str> = table.out.lines().rev().take(2).collect();
    assert!(rows[1].ends_with("1.000") && rows[0].ends_with('-'), "{}", table.out);
}

#[test]
fn files_that_are_no_reports_say_so() {
    let folder = Scratch::new();
    let good = report(&folder, "good.json", &["--work", "forward"]);
    let compare = |other: &str| bench(&["--compare", &good, other]);
    compare("/nowhere/x.json").fails(1, "/nowhere/x.json: No such file", "stepfn bench --format json");
    compare(&folder.write("list.json", "[]")).fails(
        1,
        "list.json: expected a report of `stepfn bench`",
        "--format json",
    );
    compare(&folder.write("empty.json", "")).fails(1, "empty.json: expected a report", "--format json");
    let newer = fs::read_to_string(&good).unwrap().replace("\"version\":1", "\"version\":2");
    compare(&folder.write("newer.json", newer)).fails(
        1,
        "newer.json: expected a report in format version 1, found version 2",
        "measure again",
    );
}

#[test]
fn what_is_typed_wrong_is_answered_with_what_is_right() {
    bench(&["--shape", "gpt2-smal"]).fails(2, "did you mean `gpt2-small`?", "opus-mt-base");
    bench(&["--work", "salience"]).fails(2, "did you mean `saliency`?", "occlusion");
    bench(&["--length", "1"]).fails(2, "a whole number from 2", "stepfn bench --help");
    bench(&["--batch", "0"]).fails(2, "a whole number from 1", "--help");
    bench(&["--seconds", "-1"]).fails(2, "expected a number of seconds", "--help");
    bench(&["--format", "csv"]).fails(2, "invalid value 'csv'", "--help");
    bench(&["--compare", "a.json"]).fails(2, "2", "--help");
    bench(&["--compare", "a.json", "b.json", "--quick"]).fails(2, "cannot be used with", "--help");
    bench(&["--compare", "a.json", "b.json", "--dtype", "f16"]).fails(2, "cannot be used with", "--help");
    bench(&["--shape", "tiny", "--model", "g2p"]).fails(2, "cannot be used with", "--help");
    bench(&["--quick", "-o", "/nowhere/x.json"]).fails(1, "/nowhere/x.json", "a file that can be written");
}

#[test]
fn help_says_what_is_measured() {
    let help = stepfn(["help", "bench"]);
    assert_eq!((help.code, help.err.as_str()), (0, ""));
    for word in ["--shape", "--compare", "gpt2-small", "--seconds", "of peak", "Measure this model", "Examples:"] {
        assert!(help.out.contains(word), "{word}: {}", help.out);
    }
}
