//! Files that the real inseq saved are read, and the real inseq reads ours.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that can't go on says so and fails")]

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use stepfn_attribution::formats::{inseq, read};
use stepfn_attribution::{Attribution, Axis, MERGED, Scores};
use stepfn_models::tokenizer::Token;

fn saved(name: &str) -> Attribution {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut outputs = read(&text).unwrap();
    assert_eq!(outputs.len(), 1);
    outputs.remove(0).unwrap()
}

fn surfaces(tokens: &[Token]) -> Vec<&str> {
    tokens.iter().map(|token| token.surface.as_str()).collect()
}

fn ramp(values: usize) -> Vec<f32> {
    (0..values).map(|value| value as f32 / 4.0 - 1.0).collect()
}

#[test]
fn granular_scores_are_read() {
    let output = saved("granular_float32.json");
    assert_eq!(surfaces(&output.source), ["Hi", " there", "</s>"]);
    assert_eq!(surfaces(&output.target), ["<pad>", "Hal", "lo", "</s>"]);
    assert_eq!(output.target.iter().map(|token| token.special).collect::<Vec<_>>(), [true, false, false, true]);
    assert_eq!((output.source[1].span.clone(), output.target[2].span.clone()), (2..8, 3..5));
    assert_eq!(output.steps, 1..4);
    let source = output.source_scores.as_ref().unwrap();
    assert_eq!((source.axes()[2], source.shape(), source.values()), (Axis::Hidden, &[3, 3, 2][..], &ramp(18)[..]));
    assert_eq!(output.target_scores.as_ref().unwrap().values(), ramp(24));
    assert_eq!(output.step_scores["probability"][..2], [0.5, 0.25]);
    assert!(output.step_scores["probability"][2].is_nan());
    assert_eq!(output.deltas.as_deref(), Some(&[0.0, 0.5, -0.5][..]));
    assert_eq!((output.about.method.as_str(), output.about.model.as_str()), ("integrated_gradients", "tiny"));
    assert_eq!((output.about.attributed_fn.as_str(), output.about.seconds), ("probability", 0.25));
    assert_eq!(
        Value::Object(output.about.parameters.clone()).to_string(),
        r#"{"attributed_fn":{"logprob":true},"n_steps":3}"#
    );
}

#[test]
fn causal_scores_are_read() {
    let output = saved("coarse_float16.json");
    assert!(output.source.is_empty(), "the prompt is not repeated");
    assert_eq!(surfaces(&output.target), ["The", " caf", "é", " is", "\n"]);
    assert_eq!((output.target[2].span.clone(), output.steps.clone()), (7..9, 3..5));
    assert_eq!(output.target_scores.as_ref().unwrap().values(), ramp(10));
}

#[test]
fn layers_and_heads_are_read() {
    let output = saved("multidimensional_float8.json");
    let scores = output.source_scores.as_ref().unwrap();
    assert_eq!(scores.axes(), [Axis::Token, Axis::Step, Axis::Layer, Axis::Head]);
    assert_eq!(scores.shape(), [2, 2, 3, 2]);
    // Three bits of mantissa.
    let close = |(one, other): (&f32, &f32)| (one - other).abs() <= 0.0625 * other.abs();
    assert!(scores.values().iter().zip(&ramp(24)).all(close), "{scores:?}");
}

/// The Python of an environment with inseq, if this machine was told of one.
fn python() -> Option<PathBuf> {
    let python = env::var_os("STEPFN_INSEQ_PYTHON").map(PathBuf::from);
    if python.is_none() {
        println!("SKIPPED: no Python with inseq; set STEPFN_INSEQ_PYTHON to one to run this test");
    }
    python
}

/// What the real inseq finds in a file of ours.
fn found_by_inseq(python: &Path, name: &str, outputs: &[Attribution]) -> Value {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let file = folder.join(name);
    fs::write(&file, inseq::write(outputs).unwrap()).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens/attribution/load_with_inseq.py");
    let run = Command::new(python).arg(script).arg(&file).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success(), "{err}");
    let last = out.lines().last().unwrap_or_default();
    // Python writes NaN, which JSON does not have.
    serde_json::from_str(&last.replace("NaN", "null")).unwrap_or_else(|error| panic!("{error}: {out}\n{err}"))
}

#[test]
fn the_real_inseq_reads_ours() {
    let Some(python) = python() else { return };
    let translation = saved("granular_float32.json");
    let words = "vnorm,subwords,normalize".parse::<stepfn_attribution::aggregation::Pipeline>().unwrap();
    let words = words.apply(&translation).unwrap();
    assert_eq!(words.target[1].id, MERGED);
    let mut causal = saved("coarse_float16.json");
    causal.about.method = "occlusion".to_owned();
    let found = found_by_inseq(&python, "ours.json", &[translation.clone(), words.clone(), causal.clone()]);
    assert_eq!(found["method"], "integrated_gradients");
    let sequences = found["sequences"].as_array().unwrap();
    let sum =
        |scores: &Scores| scores.values().iter().filter(|value| !value.is_nan()).map(|&v| f64::from(v)).sum::<f64>();
    for (sequence, ours) in sequences.iter().zip([&translation, &words, &causal]) {
        assert_eq!(sequence["steps"], serde_json::json!([ours.steps.start, ours.steps.end]));
        for (field, scores) in
            [("source_attributions", &ours.source_scores), ("target_attributions", &ours.target_scores)]
        {
            let Some(scores) = scores else { continue };
            assert_eq!(sequence["shapes"][field], serde_json::json!(scores.shape()));
            let theirs = sequence["sums"][field].as_f64().unwrap();
            assert!((theirs - sum(scores)).abs() < 1e-4, "{theirs} {}", sum(scores));
        }
        assert!(sequence["shown"].as_u64().unwrap() > 500, "{sequence}");
    }
    assert_eq!(sequences[0]["class"], "GranularFeatureAttributionSequenceOutput");
    assert_eq!(sequences[0]["source"], serde_json::json!(["Hi", "▁there", "</s>"]));
    assert_eq!(sequences[0]["step_scores"]["deltas"], serde_json::json!([0.0, 0.5, -0.5]));
    assert_eq!(sequences[1]["target"], serde_json::json!(["<pad>", "Hallo", "</s>"]));
    assert_eq!(sequences[1]["target_ids"], serde_json::json!([10, -1, 13]));
    // For a causal text, inseq repeats the prompt as source.
    assert_eq!(sequences[2]["source"], serde_json::json!(["The", "▁caf", "é"]));

    let attention = saved("multidimensional_float8.json");
    let found = found_by_inseq(&python, "attention.json", &[attention]);
    assert_eq!(found["sequences"][0]["shapes"]["source_attributions"], serde_json::json!([2, 2, 3, 2]));
}
