//! The program as a user runs it: lists, help, files, and what happens when something is wrong.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[allow(dead_code, reason = "the tests of other commands need more of it")]
mod fixture;

use std::ffi::OsStr;
use std::fs;
use std::process::Stdio;

use serde_json::Value;

use self::fixture::{COMMANDS, Done, OTHERS, Scratch, commands, model, program, stepfn};

#[test]
fn lists_tell_what_there_is() {
    for what in ["models", "families", "methods", "step-functions", "aggregators", "backends", "formats"] {
        let table = stepfn(["list", what]);
        assert_eq!((table.code, table.err.as_str()), (0, ""), "{what}");
        let list = stepfn(["list", what, "--format", "json"]).json();
        for entry in list.as_array().unwrap() {
            assert!(table.out.contains(entry["name"].as_str().unwrap()), "{what}");
        }
    }
    let functions = stepfn(["list", "step-functions", "--format", "json"]).json();
    let all = stepfn::Registry::<stepfn::backend::DefaultBackend>::default();
    assert_eq!(functions.as_array().unwrap().len(), all.functions().count());
    let kl = functions.as_array().unwrap().iter().find(|function| function["name"] == "kl_divergence").unwrap();
    assert!(kl["parameters"].as_str().unwrap().contains("top_k=0"), "{kl}");
    assert!(stepfn(["list", "families"]).out.contains("m2m_100"));
    let backends = stepfn(["list", "backends", "--format", "csv"]).out;
    assert!(backends.starts_with("name,device\n") && backends.contains("cpu,\"0: CPU with"), "{backends}");
    stepfn(["list", "famlies"]).fails(2, "invalid value 'famlies'", "'families'");
}

#[test]
fn help_is_a_manual_and_completions_complete() {
    let help = stepfn(["help"]);
    assert_eq!((help.code, help.err.as_str()), (0, ""));
    for word in ["score", "generate", "list", "completions", "Exit codes", "step function"] {
        assert!(help.out.contains(word), "{word}: {}", help.out);
    }
    let score = stepfn(["help", "score"]).out;
    for option in ["--step-fn", "--contrast-source", "--align", "--dropout", "--memory", "--batch-tokens", "Examples:"]
    {
        assert!(score.contains(option), "{option}: {score}");
    }
    assert!(stepfn(["--version"]).out.starts_with("stepfn 0."));
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        assert!(stepfn(["completions", shell]).out.contains("step-fn"), "{shell}");
    }
}

#[test]
fn every_command_that_writes_results_is_tested() {
    let tested: Vec<&str> = COMMANDS.iter().map(|command| command[0]).chain(OTHERS).collect();
    for command in commands() {
        let writes = stepfn(["help", &command]).out.contains("--output <FILE>");
        assert!(
            !writes || tested.contains(&command.as_str()),
            "{command} is neither in COMMANDS nor in OTHERS of fixture/mod.rs"
        );
    }
}

#[test]
fn the_book_has_every_command_and_format() {
    let (cli, output) = (include_str!("../../../docs/src/cli.md"), include_str!("../../../docs/src/output.md"));
    for command in commands() {
        assert!(cli.contains(&format!("stepfn {command}")), "docs/src/cli.md says nothing of `stepfn {command}`");
    }
    for (format, _) in stepfn::writers::ANSWERS {
        assert!(cli.contains(&format!("`{format}`")), "docs/src/cli.md says nothing of the format `{format}`");
        // By its name, or as the ending of a file; what people read needs no explanation.
        let named = output.to_lowercase().contains(format) || format == "table";
        assert!(named, "docs/src/output.md says nothing of the format `{format}`");
    }
}

#[test]
fn results_go_to_a_file_if_asked() {
    let gpt2 = model("gpt2", &[100]);
    let folder = Scratch::new();
    let file = folder.write("out.json", "");
    let args = ["score", "-m", gpt2.path(), "t1 t2", "--format", "json"];
    let printed = stepfn(args);
    let done = stepfn(args.iter().chain(&["-o", &file]));
    assert_eq!((done.code, done.out.as_str()), (0, ""));
    assert_eq!(fs::read_to_string(&file).unwrap(), printed.out);
    stepfn(args.iter().chain(&["-o", folder.path()])).fails(1, "folder", "a file that can be written");
    let told = stepfn(args.iter().chain(&["-v"]));
    assert_eq!(told.out, printed.out);
    assert!(told.err.contains("(gpt2) on cpu f32: 0: CPU") && told.err.contains("loaded in"), "{}", told.err);
}

#[test]
fn models_that_are_not_there_or_broken_say_so() {
    let texts = ["t1 t2"];
    let score = |model: &str| stepfn(["score", "--model", model].iter().chain(&texts));
    score("/nowhere/gpt2").fails(1, "there is no model `/nowhere/gpt2`", "config.json, weights and a tokenizer");
    let folder = Scratch::new();
    score(folder.path()).fails(1, "config.json", "a model is a folder with");
    let file = folder.write("gpt2", "");
    score(&file).fails(1, "incomplete GGUF file", "a GGUF file");
    score("g2q").fails(1, "did you mean `g2p`?", "a name on a hub");
    // One word may be a name on a hub, as in the first example of the help.
    score("gpt2").fails(1, "gpt2 on the hub: ", "a name on a hub");
    score("nowhere.gguf").fails(1, "there is no model `nowhere.gguf`", "a GGUF file");
    let gpt2 = model("gpt2", &[100]);
    fs::remove_file(gpt2.0.join("tokenizer.json")).unwrap();
    score(gpt2.path()).fails(1, "tokenizer.json", "a model is a folder with");
    let gpt2 = model("gpt2", &[100]);
    gpt2.write("generation_config.json", "{");
    score(gpt2.path()).fails(1, "generation_config.json: not all is there: the text ends at line 1", "repair the file");
    let gpt2 = model("gpt2", &[100]);
    let weights = fs::read(gpt2.0.join("model.safetensors")).unwrap();
    gpt2.write("model.safetensors", &weights[..weights.len() / 2]);
    score(gpt2.path()).fails(1, "incomplete safetensors file", "a model is a folder with");
    let gpt2 = model("gpt2", &[100]);
    fs::copy(fixture::goldens().join("tokenizers/byte_bpe/tokenizer.json"), gpt2.0.join("tokenizer.json")).unwrap();
    score(gpt2.path()).fails(1, "an id below 101, because the model has no embedding", "leave it out");
    let gpt2 = model("gpt2", &[100]);
    gpt2.write("config.json", "{\"model_type\": \"gpt-2\"}");
    score(gpt2.path()).fails(1, "did you mean `gpt2`?", "stepfn list families");
    gpt2.write("config.json", "{\"model_type\": \"mamba\"}");
    let done = score(gpt2.path());
    done.fails(1, "`mamba` is not supported; supported: ", "stepfn list families");
    let mut config: Value =
        serde_json::from_slice(&fs::read(fixture::goldens().join("gpt2/config.json")).unwrap()).unwrap();
    config["n_layer"] = (-1).into();
    gpt2.write("config.json", config.to_string());
    score(gpt2.path()).fails(1, "`n_layer`", "correct config.json if the value is a mistake");
}

#[test]
fn what_is_typed_wrong_is_answered_with_what_is_right() {
    let gpt2 = model("gpt2", &[100]);
    let score = |more: &[&str]| stepfn(["score", "-m", gpt2.path()].iter().chain(more));
    score(&["t1 t2", "--step-fn", "entrpy"]).fails(2, "did you mean `entropy`?", "stepfn list step-functions");
    score(&["t1 t2", "--step-fn", "kl"]).fails(2, "did you mean `kl_divergence`?", "stepfn list step-functions");
    assert_eq!(score(&["t1 t2", "--step-fn", "rank, entropy"]).code, 0);
    assert!(!score(&["--target", "- t1"]).err.contains("unexpected argument"));
    score(&["--target", "--step-fn", "rank"]).fails(2, "this is an option", "stepfn score --help");
    score(&["t1 t2", "--generation", "num_beams=0"]).fails(
        2,
        "`num_beams` must be a whole number from 1",
        "change this",
    );
    score(&["t1 t2", "--step-fn", "rank,rank"]).fails(2, "has `rank` twice", "once");
    score(&["t1 t2", "--backend", "cuba"]).fails(2, "invalid value 'cuba'", "'cuda'");
    score(&["t1 t2", "--formt", "json"]).fails(2, "unexpected argument '--formt'", "'--format'");
    score(&["t1 t2", "--device", "7"]).fails(2, "no CPU device `7`", "stepfn list backends");
    for option in ["--seed", "--max-new-tokens"] {
        score(&["t1 t2", option, "x"]).fails(2, "expected a whole number, 0 or greater", "stepfn score --help");
    }
    score(&["t1 t2", "--memory", "lots"]).fails(2, "800MB or 8GiB", "stepfn score --help");
    score(&["t1 t2", "--batch-tokens", "0"]).fails(2, "expected a whole number from 1 to", "stepfn score --help");
    score(&["t1 t2", "--target", "t1 t3"]).fails(2, "a text alone is the target of this model", "leave out one");
    score(&[]).fails(2, "there is no text", "--input FILE");
    stepfn(["generate", "-m", gpt2.path()]).fails(2, "there is no text", "--input FILE");
    let missing = score(&["--input", "/nowhere/x.jsonl"]);
    missing.fails(1, "/nowhere/x.jsonl: No such file", "- for standard input");
    score(&["--input", gpt2.path()]).fails(1, "this is a folder", "JSON lines");
    let backend = if cfg!(feature = "wgpu") { None } else { Some("wgpu") };
    if let Some(backend) = backend {
        score(&["t1 t2", "--backend", backend]).fails(2, "this program has no backend `wgpu`", "feature `wgpu`");
    }
    let none = stepfn([] as [&str; 0]);
    assert_eq!((none.code, none.out.as_str()), (2, ""));
    assert!(none.err.contains("Usage: stepfn <COMMAND>") && !none.err.contains("error:"), "{}", none.err);
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        let arguments = [OsStr::new("score"), OsStr::new("-m"), gpt2.0.as_os_str(), OsStr::from_bytes(b"t1 \xFF")];
        stepfn(arguments).fails(2, "invalid UTF-8", "--help");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error() {
    let gpt2 = model("gpt2", &[100]);
    for format in ["table", "json", "jsonl", "csv"] {
        let full = || fs::File::options().write(true).open("/dev/full").unwrap();
        let args = ["score", "-m", gpt2.path(), "t1 t2", "t3 t4", "--format", format];
        let done: Done = program().args(args).stdout(full()).output().unwrap().into();
        done.fails(1, "standard output: No space left on device", "make room");
        stepfn(args.iter().chain(&["-o", "/dev/full"])).fails(1, "/dev/full: No space left on device", "make room");
    }
    let done: Done = program()
        .args(["completions", "bash"])
        .stdout(fs::File::options().write(true).open("/dev/full").unwrap())
        .output()
        .unwrap()
        .into();
    done.fails(1, "No space left on device", "make room");
}

#[test]
fn a_reader_that_goes_away_ends_the_program_in_silence() {
    use std::io::Write;
    let gpt2 = model("gpt2", &[100]);
    let mut child = program()
        .args(["score", "-m", gpt2.path(), "--format", "jsonl", "--input", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut input = child.stdin.take().unwrap();
    // The program may be gone before it has read all.
    drop(input.write_all("{\"target\": \"t1 t2\"}\n".repeat(100).as_bytes()));
    drop(input);
    let done: Done = child.wait_with_output().unwrap().into();
    assert_eq!((done.code, done.err.as_str()), (0, ""));
}

#[cfg(unix)]
#[test]
fn a_program_that_is_ended_leaves_complete_lines() {
    use std::io::{BufRead, BufReader, Write};
    let gpt2 = model("gpt2", &[100]);
    let mut child = program()
        .args(["score", "-m", gpt2.path(), "--format", "jsonl", "--input", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // The first window is out while the program waits for more.
    let mut input = child.stdin.take().unwrap();
    input.write_all("{\"target\": \"t1 t2\"}\n".repeat(8).as_bytes()).unwrap();
    input.flush().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for _ in 0..8 {
        let line: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        assert_eq!(line["first"], 1);
    }
    let interrupt = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(interrupt.success());
    assert_eq!(child.wait().unwrap().code(), None);
    assert!(lines.next().is_none());
}

#[test]
fn input_without_an_end_is_an_error_and_a_byte_order_mark_is_not() {
    let gpt2 = model("gpt2", &[100]);
    let folder = Scratch::new();
    let score = |file: &str| stepfn(["score", "-m", gpt2.path(), "--format", "jsonl", "--input", file]);
    let line = "{\"target\": \"t1 t2\"}\n";
    let marked = folder.write("marked.jsonl", format!("\u{FEFF}{line}"));
    assert_eq!((score(&marked).code, score(&marked).out.lines().count()), (0, 1));
    let of_bytes = |bytes: usize| format!("{{\"target\": \"{}\"}}\n{line}", "t1 ".repeat(bytes / 3));
    for (bytes, says) in [(9 << 20, "line 1: the line is longer than 8 MiB"), (2 << 20, "at most 1048576 are read")] {
        let done = score(&folder.write("long.jsonl", of_bytes(bytes)));
        assert!(done.err.contains(says) && done.err.contains("help: split the text"), "{}", done.err);
        let results: Vec<Value> = done.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!((done.code, results.len()), (1, 2), "{}", done.err);
        assert!(results[0]["error"].is_string() && results[1]["error"].is_null(), "{}", done.out);
    }
    if cfg!(target_os = "linux") {
        let done = score("/dev/zero");
        assert!(
            done.code == 1 && done.err.contains("/dev/zero, line 1: the line is longer than 8 MiB"),
            "{}",
            done.err
        );
    }
}
