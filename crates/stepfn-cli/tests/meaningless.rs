//! What means nothing is not taken silently: arguments that nothing reads, lists with something twice, settings that leave no result.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[allow(dead_code, reason = "the tests of other commands need more of it")]
mod fixture;

use std::fs;

use serde_json::{Value, json};

use self::fixture::{Scratch, goldens, model, stepfn, stepfn_reading};

#[test]
fn lists_have_nothing_twice() {
    for (call, what) in [
        (&["score", "cat", "--step-fn", "rank,rank"][..], "--step-fn has `rank` twice"),
        (&["attribute", "cat", "--step-scores", "rank,rank"], "--step-scores has `rank` twice"),
        (&["score", "--input", "-", "--keep", "a,a"], "--keep has `a` twice"),
        (&["attribute", "--input", "-", "--keep", "a,a"], "--keep has `a` twice"),
        (&["generate", "--input", "-", "--keep", "a,a"], "--keep has `a` twice"),
        (&["bench", "--quick", "--work", "forward,forward"], "--work has `forward` twice"),
        (&["bench", "--quick", "--length", "16,16"], "--length has `16` twice"),
        (&["bench", "--quick", "--batch", "1,1"], "--batch has `1` twice"),
        (&["bench", "--quick", "--shape", "tiny,tiny"], "--shape has `tiny` twice"),
        (&["score", "cat", "--set", "probability.logprob=true", "--set", "probability.logprob=false"], "--set has"),
    ] {
        stepfn(call).fails(2, what, "each one once");
    }
}

#[test]
fn what_nothing_reads_is_refused() {
    for (call, what, help) in [
        (&["score", "cat", "--base", "gpt2"][..], "g2p is no adapter", "no base"),
        (
            &["attribute", "--source", "cat", "--target", "K AE1 T", "--generation", "num_beams=3"],
            "--generation num_beams: the target is given",
            "leave out --generation num_beams",
        ),
        (&["score", "-m", "verse", "And", "--max-new-tokens", "3"], "--max-new-tokens: a text alone", "--source"),
        (&["attribute", "-m", "verse", "And", "--generation", "num_beams=2"], "--generation num_beams", "--source"),
        (&["attribute", "cat", "--generation", "temperature=0.3"], "`temperature` must be left out", ""),
        (&["show", "-", "--pair", "-"], "standard input is the first file already", "in a file"),
        (&["attribute", "cat", "--raw"], "--raw: the format table", "--format json"),
        (&["attribute", "cat", "--raw", "--format", "html"], "--raw: the format html", "--format json"),
        (&["attribute", "cat", "--aggregate", ""], "--aggregate names no stage", "stepfn list aggregators"),
        (&["attribute", "cat", "dog", "--svg", "-"], "--svg -: there are several texts", "--svg map.svg"),
        (&["attribute", "cat", "dog", "--svg", "/dev/null"], "--svg /dev/null: there are several", "--svg map.svg"),
        (&["score", "-m", "verse", "And", "--target-lang", "en"], "continues a text", "leave it out"),
        (&["score", "cat", "--target-lang", "K"], "`K` is a token of this model, but no language", "leave it out"),
        (&["score", "cat", "--target-lang", "</s>"], "but no language", "leave it out"),
        (&["score", "cat", "--source-lang", "en"], "no language `en` for the source", "leave it out"),
    ] {
        stepfn(call).fails(2, what, help);
    }
    // These say what a given target begins with.
    let start = ["--source", "cat", "--target", "K AE1 T", "--generation", "decoder_start_token_id=2"];
    assert_eq!(stepfn(["score"].iter().chain(&start)).code, 0);
}

#[test]
fn texts_are_told_apart_and_what_none_has_is_named() {
    let lines = "{\"source\": \"cat\", \"item\": 1}\n{\"id\": \"\\u001b[31m\", \"source\": \"dog\"}\n{\"id\": 1, \"source\": \"ox\"}\n";
    let args = ["score", "--input", "-", "--step-fn", "rank", "--keep", "item,itme"];
    let done = stepfn_reading(lines, &args);
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(
        done.err,
        "warning: --keep itme: no text has this field\nwarning: the id 1 of line 3 is that of an earlier text, too\n"
    );
    let named: Vec<&str> = done.out.lines().filter(|line| line.starts_with("text ")).collect();
    assert_eq!(named, ["text 1", "text \\u{1b}[31m", "text 1"]);
    assert_eq!(stepfn_reading(lines, &[&args[..], &["-q"]].concat()).err, "");
    for call in [["score", "cat", "dog"], ["attribute", "cat", "dog"]] {
        let out = stepfn(call).out;
        assert!(out.starts_with("text 1\n") && out.contains("\n\ntext 2\n"), "{out}");
        assert!(!stepfn(&call[..2]).out.contains("text 1"));
    }
    // A line alone is a text that was written.
    assert_eq!(stepfn(["generate", "cat", "dog"]).out.lines().count(), 2);
}

#[test]
fn drawings_without_an_ending_have_names() {
    let folder = Scratch::new();
    let map = folder.0.join("map").display().to_string();
    assert_eq!(stepfn(["attribute", "cat", "dog", "--svg", &map]).code, 0);
    let mut names: Vec<_> = fs::read_dir(&folder.0).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["map.1", "map.2"]);
}

#[test]
fn absurd_parameters_are_refused_and_nothing_but_zeros_is_told() {
    for (method, set, says) in [
        ("lime", "kernel_width=1e-300", "from 0.01 to 1000"),
        ("lime", "mask_prob=1e-12", "from 0.001 to 0.999"),
        ("lime", "alpha=1e300", "from 0 to 1000000"),
        ("lime", "n_samples=1", "from 2 to"),
        ("integrated_gradients", "n_steps=1000000000", "from 1 to"),
        ("integrated_gradients", "tolerance=1000", "at most 1"),
        ("gradient_shap", "stdevs=-1", "from 0 to"),
        ("occlusion", "window=0", "from 1 to"),
    ] {
        stepfn(["attribute", "cat", "--method", method, "--set", set]).fails(2, says, "stepfn list methods");
    }
    // Two samples, which hide nothing.
    let one = ["--set", "n_samples=2", "--set", "mask_prob=0.001"];
    let zeros = stepfn(["attribute", "cat", "--method", "lime"].iter().chain(&one));
    assert!(zeros.code == 0 && zeros.err.starts_with("warning: all scores are 0: "), "{zeros:?}");
}

#[test]
fn what_can_not_be_is_told_before_anything_is_computed() {
    let folder = Scratch::new();
    let gpt2 = model("gpt2", &[100]);
    let output = folder.0.join("x").display().to_string();
    for (stages, says) in [("layers=99", "99"), ("heads=0:99", "0:99"), ("slices(target=50:)", "50:")] {
        let args = ["attribute", "-m", gpt2.path(), "t1 t2", "--aggregate", stages, "-o", &output];
        stepfn(args).fails(2, says, "");
    }
    let lime = ["attribute", "-m", gpt2.path(), "t1 t2", "--method", "lime", "--set", "n_samples=100000"];
    stepfn(lime.iter().chain(&["--aggregate", "vnorm"])).fails(2, "vnorm", "");
    let long = vec!["t1"; 2000].join(" ");
    for command in [&["score"][..], &["attribute", "--method", "lime"], &["generate"]] {
        stepfn(command.iter().chain(&["-m", gpt2.path(), &long])).fails(1, "the model can read", "");
    }
}

#[test]
fn settings_of_models_are_checked_under_their_own_names() {
    let with = |family: &str, field: &str, value: Value| {
        let folder = model(family, &[]);
        let path = folder.0.join("config.json");
        let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        config["rope_parameters"] = Value::Null;
        config[field] = value;
        fs::write(path, config.to_string()).unwrap();
        stepfn(["score", "-m", folder.path(), "t1 t2"])
    };
    for value in [json!(0), json!(-1), json!(1e-300), json!(1e300)] {
        with("llama", "rms_norm_eps", value.clone()).fails(1, "config.json, `rms_norm_eps`", "correct config.json");
        with("llama", "rope_theta", value).fails(1, "config.json, `rope_theta`", "correct config.json");
    }
    with("llama", "head_dim", json!(1 << 20)).fails(1, "config.json, `head_dim`", "correct config.json");
    with("llama", "num_key_value_heads", json!(3)).fails(
        1,
        "config.json, `num_key_value_heads`",
        "correct config.json",
    );
    let adapter = Scratch::new();
    let golden = goldens().join("../checkpoints/adapters");
    let config = fs::read(golden.join("llama/adapter_config.json")).unwrap();
    let mut config: Value = serde_json::from_slice(&config).unwrap();
    config["base_model_name_or_path"] = golden.join("base_llama").display().to_string().into();
    config["r"] = 77.into();
    adapter.write("adapter_config.json", config.to_string());
    fs::copy(golden.join("llama/adapter_model.safetensors"), adapter.0.join("adapter_model.safetensors")).unwrap();
    stepfn(["score", "-m", adapter.path(), "t1 t2"]).fails(1, "adapter_config.json: `r`: says that changes have", "");
}

#[test]
fn a_text_that_is_too_long_to_mean_anything_is_told_before_it_runs() {
    let llama = model("llama", &[]);
    let path = llama.0.join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    config["max_position_embeddings"] = 4.into();
    fs::write(path, config.to_string()).unwrap();
    let lines = "{\"target\": \"t1 t2 t3 t4 t5 t6\"}\n{\"target\": \"t1 t2\"}\n";
    let prompts = lines.replace("target", "source");
    for (command, lines) in [("score", lines), ("attribute", lines), ("generate", &prompts)] {
        let limited = if command == "generate" { &["--max-new-tokens", "1"][..] } else { &[] };
        let args = [&[command, "-m", llama.path(), "--input", "-", "-v"], limited].concat();
        let done = stepfn_reading(lines, &args);
        let warnings: Vec<&str> = done.err.lines().filter(|line| line.starts_with("warning: ")).collect();
        assert_eq!(warnings.len(), 1, "{done:?}");
        assert!(warnings[0].starts_with("warning: text 1: ") && warnings[0].contains("was made for 4"), "{done:?}");
    }
    // Before anything fails that takes long.
    let early = stepfn([
        "attribute",
        "-m",
        llama.path(),
        "t1 t2 t3 t4 t5 t6",
        "--method",
        "occlusion",
        "--features",
        "messages",
    ]);
    assert!(early.code == 2 && early.err.starts_with("warning: 5 tokens of the target are read"), "{early:?}");
}
