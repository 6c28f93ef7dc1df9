//! `stepfn verify`, with a stand-in for the user's Python.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[allow(dead_code, reason = "the tests of other commands need more of it")]
mod fixture;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use self::fixture::{Scratch, model, stepfn};
use serde_json::{Value, json};

/// A program that reads what it is asked and says this.
fn python(scratch: &Scratch, says: &str) -> String {
    let path = scratch.write("python", format!("#!/bin/sh\ncat > /dev/null\ncat <<'END'\n{says}\nEND\n"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn what_differs_from_transformers_is_named() {
    let gpt2 = model("gpt2", &[100]);
    let text = "t1 t2 t3";
    let scored =
        stepfn(["score", "-m", gpt2.path(), text, "--set", "probability.logprob=true", "--format", "json"]).json();
    let log_probs = scored["scores"]["probability"].clone();
    let attributed = ["attribute", "-m", gpt2.path(), text, "--set", "logprob=true", "--format", "json"];
    let attributed = stepfn(attributed).json();
    let values: Vec<f64> = attributed["target_scores"]["values"]
        .as_array()
        .unwrap()
        .iter()
        .map(|value| value.as_f64().unwrap_or(0.0))
        .collect();
    // Of two steps, what the last one has for the first two tokens.
    let gradient = [values[1], values[3]];
    let ids = json!([1, 2, 3]);
    let scratch = Scratch::new();
    let verify = |ids: &Value, log_probs: &Value, gradient: &[f64]| {
        let texts = json!([{"ids": ids, "log_probs": log_probs, "gradient": gradient}]);
        let said = json!({"versions": {"transformers": "5.0", "torch": "2.0"}, "tokenizer": null, "texts": texts});
        let python = python(&scratch, &said.to_string());
        stepfn(["verify", gpt2.path(), "--python", &python, "--text", text])
    };
    let same = verify(&ids, &log_probs, &gradient);
    assert_eq!(same.code, 0, "{}", same.err);
    assert!(same.out.contains("transformers 5.0") && same.out.contains("equal"), "{}", same.out);
    // A constant factor of the gradient doesn't matter.
    assert_eq!(verify(&ids, &log_probs, &[7.0 * gradient[0], 7.0 * gradient[1]]).code, 0);
    // The table is written whatever it says.
    let differs = |done: fixture::Done, what: &str| {
        assert!(done.code == 1 && done.err.contains(&format!("differ in {what}")), "{done:?}");
        assert!(done.out.contains("t1 t2 t3") && done.err.contains("help: report it"), "{done:?}");
    };
    differs(verify(&json!([1, 9, 3]), &log_probs, &gradient), "token ids");
    differs(verify(&ids, &json!([-1.0, -2.0]), &gradient), "log-probabilities");
    differs(verify(&ids, &log_probs, &[gradient[1], gradient[0]]), "gradients");
    verify(&ids, &json!([-1.0]), &gradient).fails(1, "other numbers of steps or tokens", "report this");
}

#[test]
fn a_python_that_can_not_answer_says_why() {
    let gpt2 = model("gpt2", &[100]);
    let verify = |python: &str| stepfn(["verify", gpt2.path(), "--python", python, "--text", "t1 t2"]);
    verify("/nowhere/python").fails(1, "/nowhere/python: No such file", "--python");
    let scratch = Scratch::new();
    let said = python(&scratch, "{\"error\": \"ModuleNotFoundError: No module named 'torch'\"}");
    verify(&said).fails(1, "No module named 'torch'", "that has transformers and torch");
    verify(&python(&scratch, "Segmentation fault")).fails(1, "ended without an answer", "--python");
    let script = python(&scratch, "");
    let over = stepfn(["verify", gpt2.path(), "--python", &script, "-o", &script]);
    over.fails(2, "are the same file", "write to another file");
    let endless = scratch.write("endless", "#!/bin/sh\nexec yes\n");
    fs::set_permissions(&endless, fs::Permissions::from_mode(0o755)).unwrap();
    verify(&endless).fails(1, "no answer about these texts is as long", "--python");
    let loud = scratch
        .write("loud", "#!/bin/sh\ncat > /dev/null\nyes 'a warning of Python' | head -c 20000000 >&2\necho no\n");
    fs::set_permissions(&loud, fs::Permissions::from_mode(0o755)).unwrap();
    let loud = verify(&loud);
    assert!(loud.code == 1 && loud.err.contains("what else it reports is left out"), "{}", loud.err.len());
    assert!(loud.err.len() < 2 << 20 && loud.err.contains("ended without an answer"), "{}", loud.err.len());
    let long = python(&scratch, &json!({"error": format!("{}the end", "x".repeat(20_000))}).to_string());
    let long = verify(&long);
    assert!(long.err.len() < 4000 && long.err.contains("the end"), "{}", long.err.len());
    stepfn(["verify", "g2p"]).fails(2, "g2p is compiled in", "the folder of a model");
    stepfn(["verify"]).fails(2, "required arguments were not provided", "--help");
}
