//! `stepfn attribute` and `stepfn show` as a user runs them.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[allow(dead_code, reason = "the tests of other commands need more of it")]
mod fixture;

use std::fs;

use serde_json::{Value, json};

use self::fixture::{Done, Scratch, goldens, model, stepfn, words};

/// Ids of a golden text, its steps, and golden saliencies of `probability`, `[token][step]`: L2 norms over hidden units.
fn golden_saliency() -> (Vec<u32>, usize, Vec<Vec<Option<f64>>>) {
    let path = goldens().parent().unwrap().join("attribution/gpt2.json");
    let golden: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let text = &golden["texts"][0];
    let ids: Vec<u32> = text["target"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect();
    let first = text["steps"][0].as_u64().unwrap() as usize;
    let result = golden["results"].as_array().unwrap().iter().find(|result| {
        result["text"] == 0 && result["method"] == "saliency" && result["attributed_fn"] == "probability"
    });
    let scores = &result.unwrap()["target_scores"];
    let shape: Vec<usize> = scores["shape"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as usize).collect();
    let values: Vec<Option<f64>> = scores["values"].as_array().unwrap().iter().map(Value::as_f64).collect();
    let norm = |units: &[Option<f64>]| units.iter().map(|unit| unit.map(|unit| unit * unit)).sum::<Option<f64>>();
    let row = |row: &[Option<f64>]| row.chunks(shape[2]).map(|units| norm(units).map(f64::sqrt)).collect();
    (ids, first, values.chunks(shape[1] * shape[2]).map(row).collect())
}

fn attribute(rest: &[&str]) -> Done {
    stepfn(["attribute"].iter().chain(rest))
}

#[test]
fn without_a_model_a_word_is_pronounced_and_its_letters_are_looked_at() {
    let map = attribute(&["phonetics"]);
    assert_eq!((map.code, map.err.as_str()), (0, ""));
    let rows: Vec<&str> = map.out.lines().filter(|line| line.ends_with(|c: char| c.is_ascii_digit())).collect();
    let letters: String = rows.iter().filter_map(|row| row.split(' ').next()).filter(|row| row.len() == 1).collect();
    assert_eq!(letters, "phonetics", "{}", map.out);
}

#[test]
fn scores_are_those_of_inseq() {
    let gpt2 = model("gpt2", &[100]);
    let (ids, first, golden) = golden_saliency();
    let (prompt, text) = (words(&ids[..first]), words(&ids));
    let args = ["--model", gpt2.path(), "--source", &prompt, "--target", &text];
    let one = attribute(&[&args[..], &["--format", "json", "--step-scores", "entropy"]].concat()).json();
    assert_eq!((&one["steps"]["start"], &one["steps"]["end"]), (&json!(first), &json!(ids.len())));
    assert_eq!((&one["about"]["method"], &one["about"]["family"]), (&json!("saliency"), &json!("gpt2")));
    assert_eq!(one["step_scores"]["entropy"].as_array().unwrap().len(), ids.len() - first);
    assert_eq!(one["target_scores"]["axes"], json!(["token", "step"]));
    let values = one["target_scores"]["values"].as_array().unwrap();
    let expected: Vec<Option<f64>> = golden.concat();
    assert_eq!(values.len(), expected.len());
    for (value, expected) in values.iter().zip(expected) {
        match (value.as_f64(), expected) {
            (Some(value), Some(expected)) => assert!((value - expected).abs() < 1e-4, "{value} {expected}"),
            (value, expected) => assert_eq!(value, expected),
        }
    }
    let raw = attribute(&[&args[..], &["--format", "json", "--raw"]].concat()).json();
    assert_eq!(raw["target_scores"]["axes"], json!(["token", "step", "hidden"]));
    let narrow = attribute(&[&args[..], &["--format", "json", "--from", "2", "--to", "3"]].concat()).json();
    assert_eq!(narrow["steps"], json!({ "start": 2, "end": 3 }));
}

#[test]
fn what_is_saved_is_shown_again() {
    let folder = Scratch::new();
    let file = |name: &str| folder.0.join(name).display().to_string();
    let table = attribute(&["abc", "--step-scores", "probability"]).out;
    for format in ["json", "jsonl", "inseq"] {
        let path = file(format);
        let saved = attribute(&["abc", "--step-scores", "probability", "--format", format, "-o", &path]);
        assert_eq!((saved.code, saved.out.as_str()), (0, ""), "{saved:?}");
        let shown = stepfn(["show", &path]);
        assert_eq!((shown.code, shown.err.as_str()), (0, ""), "{format}: {shown:?}");
        let (shown, table) = (shown.out.lines().skip(1), table.lines().skip(1));
        if format != "inseq" {
            assert!(shown.eq(table), "{format}");
        } else {
            assert!(shown.count() > 5);
        }
    }
    let csv = stepfn(["show", &file("json"), "--format", "csv"]).out;
    assert!(csv.starts_with("id,kind,index,token,step,predicted,score\n1,source,0,a,"), "{csv}");
    let (page, drawing) = (file("page.html"), file("map.svg"));
    let pictured = stepfn(["show", &file("json"), "--html", &page, "--svg", &drawing, "--quiet"]);
    assert_eq!(pictured.code, 0);
    assert!(fs::read_to_string(&page).unwrap().to_lowercase().starts_with("<!doctype html>"));
    assert!(fs::read_to_string(&drawing).unwrap().contains("<svg"));
}

#[test]
fn several_texts_and_those_that_fail() {
    let folder = Scratch::new();
    let input = folder.write("in.jsonl", "{\"source\": \"abc\"}\n{\"target\": \"x\"}\n{\"source\": \"de\"}\n");
    let done = attribute(&["--input", &input, "--format", "jsonl"]);
    assert_eq!(done.code, 1);
    let lines: Vec<Value> = done.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    assert!(lines[1]["error"].is_string() && lines[0]["source"].is_array() && lines[2]["source"].is_array());
    assert!(done.err.contains("line 2"), "{}", done.err);
    let words = attribute(&["abc", "de", "--format", "json"]).json();
    assert_eq!(words.as_array().unwrap().len(), 2);
    let csv = attribute(&["abc", "de", "--format", "csv"]).out;
    assert_eq!(csv.matches("score\n").count(), 1);
    assert!(csv.contains("\n2,source,"), "{csv}");
}

#[test]
fn texts_have_the_same_ids_in_every_format_also_where_others_fail() {
    let folder = Scratch::new();
    let file = |name: &str| folder.0.join(name).display().to_string();
    let input = folder.write("in.jsonl", "{\"target\": \"x\"}\n{\"target\": \"x\"}\n{\"source\": \"de\"}\n");
    let (page, map) = (file("page.html"), file("map.svg"));
    let done = attribute(&["--input", &input, "--format", "csv", "--html", &page, "--svg", &map]);
    assert_eq!(done.code, 1);
    assert!(done.out.lines().skip(1).all(|line| line.starts_with("3,")), "{}", done.out);
    assert!(fs::read_to_string(&page).unwrap().contains("{\"id\":\"3\","));
    assert!(fs::exists(file("map.3.svg")).unwrap() && !fs::exists(&map).unwrap());
}

#[test]
fn the_most_likely_tokens_are_in_json_and_on_the_page() {
    let folder = Scratch::new();
    let page = folder.0.join("page.html").display().to_string();
    let done = attribute(&["abc", "--top", "4", "--format", "json", "--html", &page]).json();
    let steps = done["alternatives"].as_array().unwrap();
    assert!(!steps.is_empty() && steps.iter().all(|step| step.as_array().unwrap().len() == 4), "{done}");
    assert!(fs::read_to_string(&page).unwrap().contains("\"alternatives\":[[["));
    let scored = stepfn(["score", "abc", "--top", "2", "--format", "json"]).json();
    let best: Vec<&Value> = scored["alternatives"].as_array().unwrap().iter().map(|step| &step[0]["id"]).collect();
    assert_eq!(best, steps.iter().map(|step| &step[0]["id"]).collect::<Vec<_>>());
    let table = stepfn(["score", "abc", "--top", "2"]).out;
    assert!(table.lines().next().unwrap().ends_with("expected"), "{table}");
    assert_eq!(attribute(&["abc", "--top", "0"]).code, 2);
    assert_eq!(attribute(&["abc", "--top", "101"]).code, 2);
}

#[test]
fn parameters_pipelines_and_contrasts() {
    let steps = |n: &str| {
        let set = format!("n_steps={n}");
        attribute(&["abc", "--method", "integrated_gradients", "--set", &set, "--format", "json", "--quiet"]).json()
    };
    let [rough, fine] = [steps("2"), steps("40")].map(|done| {
        let deltas = done["deltas"].as_array().unwrap();
        deltas.iter().map(|delta| delta.as_f64().unwrap().abs()).fold(0.0, f64::max)
    });
    assert!(fine < rough, "{fine} {rough}");
    let merged = attribute(&["abc", "--aggregate", "vnorm,spans(source=0:2),normalize", "--format", "json"]).json();
    assert_eq!(merged["source"].as_array().unwrap().len(), 3);
    assert_eq!(merged["about"]["aggregation"].as_array().unwrap().len(), 3);

    let gpt2 = model("gpt2", &[100]);
    let contrast = [
        "--model",
        gpt2.path(),
        "--target",
        "t1 t2 t3",
        "--contrast-target",
        "t1 t2 t4",
        "--from",
        "2",
        "--attributed-fn",
        "contrast_prob_diff",
        "--format",
        "json",
    ];
    let contrast = attribute(&contrast).json();
    assert_eq!(contrast["contrast"][0]["surface"].as_str().unwrap().trim(), "t4");
    let forced = ["--source", "abc", "--target", "AE1 B", "--target-side", "--format", "json"];
    assert!(attribute(&forced).json()["target_scores"].is_object());
}

/// The scores of a side's tokens at one step.
fn scores_at(answer: &Value, side: &str, step: usize) -> Vec<Option<f64>> {
    let scores = &answer[format!("{side}_scores")];
    let values = scores["values"].as_array().unwrap();
    let steps = values.len() / answer[side].as_array().unwrap().len();
    values.iter().skip(step).step_by(steps).map(Value::as_f64).collect()
}

#[test]
fn words_and_spans_are_hidden_as_one() {
    let occlusion = ["--method", "occlusion", "--set", "abs=false", "--format", "json"];
    let words = attribute(&[&["abc", "--features", "words"], &occlusion[..]].concat()).json();
    assert_eq!(words["about"]["parameters"]["features"], "words");
    // A word of the pronouncing model's source is all of its letters.
    let shares = scores_at(&words, "source", 0);
    let letters: Vec<f64> = shares.iter().flatten().copied().filter(|&share| share != 0.0).collect();
    assert_eq!((letters.len(), letters[0]), (3, letters[2]), "{shares:?}");
    assert_eq!(letters[0], letters[1]);
    let tokens = attribute(&[&["abc"], &occlusion[..]].concat()).json();
    assert_ne!(scores_at(&tokens, "source", 0), shares);

    let folder = Scratch::new();
    let input = folder.write(
        "in.jsonl",
        concat!(
            "{\"source\": \"abc\", \"source_spans\": [[0, 3]]}\n",
            "{\"source\": \"abc\", \"source_spans\": [[1, 3]]}\n",
            "{\"source\": \"abc\", \"source_spans\": [[1, 4]]}\n",
            "{\"source\": \"abc\", \"source_spans\": [[0, 2], [1, 3]]}\n"
        ),
    );
    let done = stepfn(["attribute", "--input", &input].iter().chain(&occlusion[..4]).chain(&["--format", "jsonl"]));
    let lines: Vec<Value> = done.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((done.code, lines.len()), (1, 4), "{done:?}");
    assert_eq!(scores_at(&lines[0], "source", 0), shares);
    assert_eq!(lines[1]["about"]["parameters"]["source_spans"], json!([[1, 3]]));
    let pair = scores_at(&lines[1], "source", 0);
    let at = |letter: &str| {
        let tokens = lines[1]["source"].as_array().unwrap();
        pair[tokens.iter().position(|token| token["surface"] == letter).unwrap()].unwrap()
    };
    assert_eq!(at("b"), at("c"));
    assert_ne!(at("a"), at("b"));
    for (line, says) in [(2, "does not lie in the text"), (3, "share the token")] {
        assert!(lines[line]["error"].as_str().unwrap().contains(says), "{}", lines[line]);
        assert!(done.err.contains(&format!("line {}", line + 1)), "{}", done.err);
    }
}

#[test]
fn what_is_wrong_is_told() {
    attribute(&["abc", "--features", "words"]).fails(2, "saliency does not hide tokens", "occlusion");
    attribute(&["abc", "--features", "letters"]).fails(2, "letters", "--help");
    attribute(&["abc", "--method", "salience"]).fails(2, "did you mean `saliency`?", "stepfn list methods");
    attribute(&["abc", "--attributed-fn", "probabilty"]).fails(2, "did you mean `probability`?", "list step-functions");
    attribute(&["abc", "--attributed-fn", "rank"]).fails(2, "has no gradient", "");
    attribute(&["abc", "--set", "n_steps=3"]).fails(2, "no parameter `n_steps`", "stepfn list");
    attribute(&["abc", "--method", "integrated_gradients", "--set", "n_steps=0"]).fails(2, "n_steps", "stepfn list");
    attribute(&["abc", "--aggregate", "avg"]).fails(2, "--aggregate avg", "stepfn list aggregators");
    attribute(&["abc", "--aggregate", "pair"]).fails(2, "compares two files", "--pair OTHER");
    attribute(&["abc", "--from", "0"]).fails(2, "nothing predicts the first token, 0", "from 1 to");
    attribute(&["abc", "--from", "99"]).fails(2, "there is no token 99: the target has ", "from 1 to");
    attribute(&["abc", "--to", "99"]).fails(2, "there are no tokens up to 99", "from 1 to");
    attribute(&["abc", "--from", "3", "--to", "2"]).fails(2, "no token is from 3 on and before 2", "from 1 to");
    assert_eq!(attribute(&["abc", "--html", "/no/such/folder/page.html"]).code, 1);
    let folder = Scratch::new();
    let broken = folder.write("broken.json", "{\"format\": 1");
    stepfn(["show", &broken]).fails(1, "broken.json", "stepfn attribute --format json");
    stepfn(["show", folder.path()]).fails(1, "directory", "stepfn attribute --format json");
    stepfn(["show", "/no/such/file"]).fails(1, "/no/such/file", "stepfn attribute --format json");
}
