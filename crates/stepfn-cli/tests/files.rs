//! Nothing is lost: what is read is never written, results are whole or absent, and each says which text it belongs to.

#![allow(clippy::unwrap_used, reason = "a test that can't continue should fail")]

#[allow(dead_code, reason = "the tests of other commands need more of it")]
mod fixture;

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use stepfn::writers::{ANSWERS, RECORDS};

use self::fixture::{COMMANDS, Done, Scratch, stepfn, stepfn_reading};

/// Words to pronounce.
const LINES: &str = "{\"source\": \"cat\"}\n{\"source\": \"dog\"}\n";

fn objects(done: &Done) -> Vec<Value> {
    done.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A saved attribution of a word.
fn save(folder: &Scratch, word: &str, name: &str) -> String {
    let path = folder.0.join(name).display().to_string();
    assert_eq!(stepfn(["attribute", word, "--format", "json", "-o", &path]).code, 0);
    path
}

#[test]
fn nothing_that_is_read_is_written() {
    let folder = Scratch::new();
    let input = folder.write("in.jsonl", LINES);
    let json = save(&folder, "cat", "saved.json");
    let mut calls: Vec<Vec<&str>> =
        COMMANDS.iter().map(|command| [command, &["--input", &input][..]].concat()).collect();
    calls.push(vec!["show", &json]);
    calls.push(vec!["bench", "--compare", &json, &input]);
    for call in calls {
        let read = *call.last().unwrap();
        let before = fs::read(read).unwrap();
        let [soft, hard] = ["soft", "hard"].map(|name| folder.0.join(name));
        symlink(read, &soft).unwrap();
        fs::hard_link(read, &hard).unwrap();
        let options: &[&str] =
            if ["attribute", "show"].contains(&call[0]) { &["-o", "--html", "--svg"] } else { &["-o"] };
        for option in options {
            for name in [read, soft.to_str().unwrap(), hard.to_str().unwrap()] {
                let done = stepfn(call.iter().chain(&[*option, name]));
                done.fails(2, "are the same file", "write to another file");
                assert_eq!(fs::read(read).unwrap(), before, "{call:?} {option}");
            }
        }
        fs::remove_file(soft).unwrap();
        fs::remove_file(hard).unwrap();
    }
    let gpt2 = fixture::model("gpt2", &[100]);
    let weights = gpt2.0.join("model.safetensors").display().to_string();
    stepfn(["score", "-m", gpt2.path(), "t1 t2", "-o", &weights]).fails(2, "--model", "write to another file");
    // An adapter names its model itself.
    let adapter = Scratch::new();
    let named = json!({ "base_model_name_or_path": gpt2.path() });
    let config = adapter.write("adapter_config.json", named.to_string());
    for written in [&weights, &config] {
        for option in ["-o", "--html", "--svg"] {
            let done = stepfn(["attribute", "-m", adapter.path(), "t1 t2", option, written]);
            done.fails(2, "are the same file", "write to another file");
        }
    }
    // What the shell opened for both.
    let appended = Command::new("sh")
        .args(["-c", "\"$0\" score --input \"$1\" >> \"$1\"", env!("CARGO_BIN_EXE_stepfn"), &input])
        .output()
        .unwrap();
    assert_eq!((appended.status.code(), fs::read_to_string(&input).unwrap()), (Some(2), LINES.to_owned()));
}

#[test]
fn results_have_a_place_each() {
    let folder = Scratch::new();
    let file = |name: &str| folder.0.join(name).display().to_string();
    for (call, what) in [
        (["-o", "x", "--html", "x"], "are the same file"),
        (["--html", "x", "--svg", "./x"], "are the same file"),
        (["--html", "-", "--svg", "y"], "standard output and --html - are the same file"),
    ] {
        let call = call.map(|part| if ["x", "./x", "y"].contains(&part) { file(part) } else { part.to_owned() });
        stepfn(["attribute", "cat"].map(str::to_owned).iter().chain(&call)).fails(2, what, "a file of its own");
    }
    for (format, _) in ANSWERS {
        let both = ["-o", &file("x"), "--html", &file("./x"), "--format", format].map(str::to_owned);
        stepfn(["attribute", "cat"].map(str::to_owned).iter().chain(&both)).fails(2, "are the same file", "of its own");
    }
    assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 0);
    let page = stepfn(["attribute", "cat", "-o", &file("map.txt"), "--html", "-"]);
    assert!(page.out.to_lowercase().starts_with("<!doctype html>"));
    assert_eq!(stepfn(["attribute", "cat", "-o", "-"]).out, fs::read_to_string(file("map.txt")).unwrap());
    assert!(!fs::exists("-").unwrap());
    // Found before anything is computed: nothing is printed.
    for option in ["-o", "--html", "--svg"] {
        for (path, says) in [("/no/such/folder/x", "No such file"), (folder.path(), "folder")] {
            stepfn(["attribute", "cat", option, path]).fails(1, says, "give a file that can be written");
        }
    }
}

#[test]
fn old_results_stay_until_there_are_new_ones() {
    let folder = Scratch::new();
    for command in COMMANDS {
        for (format, _) in if command[0] == "attribute" { &ANSWERS[..] } else { &RECORDS } {
            let old = folder.write("old", "old");
            let failed = stepfn(command.iter().chain(&["", "--format", format, "-o", &old]));
            assert_eq!(failed.code, 1, "{failed:?}");
            let unloadable =
                stepfn(command.iter().chain(&["a", "-m", "no-such-model", "--format", format, "-o", &old]));
            assert_eq!(unloadable.code, 1, "{unloadable:?}");
            assert_eq!(fs::read_to_string(&old).unwrap(), "old", "{command:?} {format}");
            let new = folder.0.join("new").display().to_string();
            assert_eq!(stepfn(command.iter().chain(&["", "--format", format, "-o", &new])).code, 1);
            assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 1, "{command:?} {format}");
        }
    }
}

#[test]
fn where_all_fails_old_files_stay() {
    let folder = Scratch::new();
    let failing = folder.write("in.jsonl", "{\"source\": \"\"}\n{\"source\": 3}\n");
    let [old, page, map] = ["old", "page", "map"].map(|name| folder.write(name, "old"));
    let new = folder.0.join("new").display().to_string();
    for command in COMMANDS {
        // JSON says of each text why it failed.
        let formats = if command[0] == "attribute" { &ANSWERS[..] } else { &RECORDS };
        for (format, _) in formats.iter().filter(|(format, _)| !["json", "jsonl"].contains(format)) {
            for output in [&old, &new] {
                let done = stepfn(command.iter().chain(&["--input", &failing, "--format", format, "-o", output]));
                assert!(done.code == 1 && done.err.contains("2 of 2 texts failed"), "{command:?} {format}: {done:?}");
                assert_eq!(fs::read_to_string(&old).unwrap(), "old", "{command:?} {format}");
                assert!(!fs::exists(&new).unwrap(), "{command:?} {format}");
            }
        }
    }
    let args = ["attribute", "--input", &failing, "-o", &new, "--html", &page, "--svg", &map, "--format", "inseq"];
    assert_eq!(stepfn(args).out, "");
    assert!([&page, &map].iter().all(|path| fs::read_to_string(path).unwrap() == "old"));
    assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 4);
}

#[test]
fn links_to_files_that_are_not_there_are_written_through() {
    let folder = Scratch::new();
    let link = folder.0.join("link").display().to_string();
    for (format, name) in [("json", "whole"), ("csv", "records")] {
        symlink(name, &link).unwrap();
        assert_eq!(stepfn(["score", "cat", "--format", format, "-o", &link]).code, 0);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert!(fs::metadata(folder.0.join(name)).unwrap().len() > 0);
        fs::remove_file(&link).unwrap();
    }
    // What the system links to a pipe.
    for format in ["table", "csv"] {
        let piped = stepfn(["score", "cat", "--format", format, "-o", "/dev/stdout"]);
        assert_eq!((piped.code, piped.out), (0, stepfn(["score", "cat", "--format", format]).out), "{}", piped.err);
    }
    let long = folder.0.join("x".repeat(255)).display().to_string();
    assert_eq!(stepfn(["score", "cat", "-o", &long]).code, 0);
    symlink("no/such", &link).unwrap();
    stepfn(["score", "cat", "-o", &link]).fails(1, "No such file", "give a file that can be written");
}

#[test]
fn what_a_killed_program_leaves_is_removed_by_the_next() {
    let folder = Scratch::new();
    let output = folder.0.join("x.json").display().to_string();
    let mut waiting = fixture::program();
    waiting.args(["score", "--input", "-", "--format", "json", "-o", &output]).stdin(Stdio::piped());
    let mut waiting = waiting.spawn().unwrap();
    let left = folder.0.join(".x.json.part");
    while !fs::exists(&left).unwrap() {
        assert_eq!(waiting.try_wait().unwrap(), None);
        std::thread::sleep(core::time::Duration::from_millis(10));
    }
    waiting.kill().unwrap();
    waiting.wait().unwrap();
    assert!(fs::exists(&left).unwrap());
    assert_eq!(stepfn(["score", "cat", "--format", "json", "-o", &output]).code, 0);
    let names: Vec<_> = fs::read_dir(&folder.0).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["x.json"]);
}

#[test]
fn what_has_no_end_is_not_read_to_it() {
    let zero = "/dev/zero";
    stepfn(["show", zero]).fails(1, "/dev/zero: this is no text", "give a file that");
    stepfn(["bench", "--compare", zero, zero]).fails(1, "/dev/zero: this is no text", "give files that");
    let endless = Command::new("sh")
        .args(["-c", "cat /dev/zero | \"$0\" show -", env!("CARGO_BIN_EXE_stepfn")])
        .output()
        .unwrap();
    Done::from(endless).fails(1, "standard input: this is no text", "give a file that");
    stepfn(["score", "-m", zero, "x"]).fails(1, "/dev/zero: this is a device or a pipe", "a model is a folder");
    for file in ["config.json", "generation_config.json", "tokenizer_config.json", "model.safetensors"] {
        let gpt2 = fixture::model("gpt2", &[100]);
        let path = gpt2.0.join(file);
        drop(fs::remove_file(&path));
        symlink(zero, &path).unwrap();
        stepfn(["score", "-m", gpt2.path(), "t1 t2"]).fails(1, &format!("{file}: this is a device or a pipe"), "");
        fs::remove_file(&path).unwrap();
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        stepfn(["score", "-m", gpt2.path(), "t1 t2"]).fails(1, &format!("{file}: this is a device or a pipe"), "");
    }
}

#[test]
fn a_full_disk_leaves_old_results_or_complete_records() {
    let folder = Scratch::new();
    let input = folder.write("in.jsonl", "{\"source\": \"phonetics\"}\n".repeat(8));
    let written = ANSWERS.iter().map(|(format, _)| ("-o", *format)).filter(|(_, format)| *format != "table");
    for (option, format) in written.chain([("--html", "table")]) {
        let old = folder.write("old", "old");
        // Files end at 8 blocks of 512 bytes, or of 1024.
        let script = "ulimit -f 8; exec \"$@\"";
        let program = env!("CARGO_BIN_EXE_stepfn");
        let full = Command::new("sh")
            .args(["-c", script, "sh", program, "attribute", "--input", &input, option, &old, "--format", format])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let full = Done::from(full);
        assert!(full.code == 1 && full.err.contains("make room"), "{option} {format}: {full:?}");
        let left = fs::read_to_string(&old).unwrap();
        match format {
            "jsonl" => assert!(
                left.lines().count() >= 1 && left.lines().all(|line| serde_json::from_str::<Value>(line).is_ok())
            ),
            "csv" => assert!(left.ends_with('\n') && left.starts_with("id,")),
            _ => assert_eq!(left, "old", "{option} {format}"),
        }
        assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 2);
    }
    // The same where the shell opened the file.
    for (sign, format) in [(">", "jsonl"), (">>", "jsonl"), (">", "csv"), (">>", "json")] {
        let old = folder.write("old", "{}\n");
        let script = format!("ulimit -f 8; \"$0\" attribute --input \"$1\" --format {format} {sign} \"$2\"");
        let full =
            Command::new("sh").args(["-c", &script, env!("CARGO_BIN_EXE_stepfn"), &input, &old]).output().unwrap();
        let full = Done::from(full);
        assert!(full.code == 1 && full.err.contains("make room"), "{sign} {format}: {full:?}");
        let left = fs::read_to_string(&old).unwrap();
        assert_eq!(left.starts_with("{}\n"), sign == ">>", "{sign} {format}");
        match format {
            "jsonl" => assert!(
                left.lines().count() >= 1 && left.lines().all(|line| serde_json::from_str::<Value>(line).is_ok())
            ),
            "csv" => assert!(left.ends_with('\n') && left.starts_with("id,")),
            // A list without its end, after a whole object.
            _ => assert!(left.ends_with('}')),
        }
    }
}

#[test]
fn a_file_has_one_writer() {
    let folder = Scratch::new();
    let path = folder.write("x.jsonl", "theirs\n");
    let theirs = File::options().append(true).open(&path).unwrap();
    theirs.lock().unwrap();
    for format in ["jsonl", "csv"] {
        let ours = stepfn(["score", "cat", "--format", format, "-o", &path]);
        ours.fails(1, "another program is writing this file", "wait for it");
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), "theirs\n");
}

#[test]
fn every_result_says_which_text_it_belongs_to_and_how_it_was_made() {
    let lines = concat!(
        "\n{\"source\": \"cat\"}\n\n{\"id\": {\"doc\": [1, \"a\"]}, \"source\": \"dog\", \"item\": 7, \"note\": \"x, y\"}\n",
        "{\"id\": \"bad\", \"source\": \"\"}\n{\"id\": \"worse\", \"sauce\": \"cat\"}\n"
    );
    for command in COMMANDS {
        let args = [command, &["--keep", "item,note", "--input", "-", "--seed", "3", "--format"][..]].concat();
        let done = stepfn_reading(lines, &[&args[..], &["jsonl"]].concat());
        let records = objects(&done);
        let ids: Vec<&Value> = records.iter().map(|record| &record["id"]).collect();
        assert_eq!(json!(ids), json!([2, { "doc": [1, "a"] }, "bad", "worse"]), "{command:?}");
        assert_eq!(records[1]["fields"], json!({ "item": 7, "note": "x, y" }), "{command:?}");
        assert!(records[2]["error"].is_string() && records[2]["help"].is_string());
        for record in &records[..2] {
            let about = &record["about"];
            assert_eq!(
                (&about["model"], &about["family"], &about["seed"]),
                (&json!("g2p"), &json!("marian"), &json!(3))
            );
            assert!(about["version"].is_string() && about["parameters"].is_object(), "{record}");
            let source = if command[0] == "generate" { &record["source"] } else { &record["source_text"] };
            assert!(["cat", "dog"].contains(&source.as_str().unwrap()), "{record}");
            let target = if command[0] == "generate" { &record["text"] } else { &record["target_text"] };
            assert!(target.as_str().unwrap().len() > 2, "{record}");
        }
        let csv = stepfn_reading(lines, &[&args[..], &["csv"]].concat()).out;
        let rows: Vec<&str> = csv.lines().collect();
        assert!(rows[0].starts_with("id,") && rows[0].ends_with(",item,note"), "{csv}");
        assert!(rows[1].starts_with("2,") && rows[1].ends_with(",,"), "{csv}");
        let last = rows.last().unwrap();
        assert!(last.starts_with("\"{\"\"doc\"\":[1,\"\"a\"\"]}\",") && last.ends_with(",7,\"x, y\""), "{csv}");
    }
    let unnamed = stepfn_reading(lines, &["score", "--input", "-", "--format", "jsonl"]);
    let says = objects(&unnamed)[1]["error"].as_str().unwrap().to_owned();
    assert!(says.contains("line 4: unknown field `item`") && unnamed.err.contains("--keep item"), "{unnamed:?}");
    stepfn_reading(lines, &["score", "--input", "-", "--keep", "*", "--format", "csv"]).fails(
        2,
        "--keep '*'",
        "name the fields",
    );
    // On the command line, texts are counted from 1, in every form.
    let csv = stepfn(["score", "cat", "dog", "--format", "csv"]).out;
    assert!(csv.contains("\n1,1,") && csv.contains("\n2,1,") && !csv.contains("\n0,"), "{csv}");
}

#[test]
fn drawings_are_named_after_their_texts() {
    let folder = Scratch::new();
    let lines = "{\"id\": \"a b\", \"source\": \"cat\"}\n{\"source\": \"dog\"}\n{\"id\": \"c\", \"source\": \"ox\"}\n\n{\"id\": \"c\", \"source\": \"ox\"}\n";
    let map = folder.write("map.svg", "old");
    let done = stepfn_reading(lines, &["attribute", "--input", "-", "--svg", &map]);
    assert!(done.code == 0 && done.err.contains("map.svg is older than these results"), "{done:?}");
    assert_eq!(fs::read_to_string(&map).unwrap(), "old");
    fs::remove_file(map).unwrap();
    let mut names: Vec<String> =
        fs::read_dir(&folder.0).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["map.2.svg", "map.c.svg", "map.text-0.svg", "map.text-3.svg"]);
}

#[test]
fn saved_files_are_read_whatever_is_in_them() {
    let folder = Scratch::new();
    let lines = "{\"id\": \"c\", \"source\": \"cat\", \"item\": 7}\n{\"id\": \"none\", \"source\": \"\"}\n";
    for format in ["json", "jsonl"] {
        let path = folder.0.join(format).display().to_string();
        let made =
            stepfn_reading(lines, &["attribute", "--keep", "*", "--input", "-", "--format", format, "-o", &path]);
        assert_eq!(made.code, 1, "{made:?}");
        let shown = stepfn(["show", &path, "--format", "jsonl"]);
        assert_eq!(shown.code, 0, "{shown:?}");
        assert!(shown.err.starts_with("warning: text none has no scores: "), "{shown:?}");
        let shown = objects(&shown);
        assert_eq!((&shown[0]["id"], &shown[0]["fields"]), (&json!("c"), &json!({ "item": 7 })));
        assert_eq!(shown[1]["id"], "none");
        assert!(shown[1]["error"].as_str().unwrap().ends_with("the source is empty"));
    }
    // A list of one, as one line makes it.
    let one = folder.0.join("one").display().to_string();
    assert_eq!(
        stepfn_reading("{\"source\": \"cat\"}", &["attribute", "--input", "-", "--format", "json", "-o", &one]).code,
        0
    );
    assert_eq!(stepfn(["show", &one]).code, 0);
}

#[test]
fn two_files_are_compared() {
    let folder = Scratch::new();
    let [cat, word] = ["cat", "word"].map(|name| folder.0.join(name).display().to_string());
    for (method, path) in [("saliency", &cat), ("input_x_gradient", &word)] {
        assert_eq!(stepfn(["attribute", "cat", "--method", method, "--format", "json", "-o", path]).code, 0);
    }
    let value = |done: Done| done.json()["source_scores"]["values"][0].as_f64().unwrap();
    let difference = value(stepfn(["show", &cat, "--pair", &word, "--format", "json"]));
    let [one, other] = [&cat, &word].map(|path| value(stepfn(["show", path, "--format", "json"])));
    assert!((difference - (one - other)).abs() < 1e-6, "{difference} {one} {other}");
    let normalized = stepfn(["show", &cat, "--pair", &word, "--aggregate", "normalize,pair", "--format", "json"]);
    assert_eq!(normalized.json()["about"]["aggregation"], json!(["normalize", "pair"]));
    stepfn(["show", &cat, "--pair", &word, "--aggregate", "normalize"]).fails(
        2,
        "takes no difference",
        "normalize,pair",
    );
    stepfn(["show", &cat, "--aggregate", "pair"]).fails(2, "compares two files", "--pair OTHER");
    // What can't be shown is a failure, whatever could be saved.
    let longer = save(&folder, "phonetics", "longer");
    let unequal = stepfn(["show", &cat, "--pair", &longer, "-q"]);
    unequal.fails(1, "so that the two match", "");
    let no_layers = stepfn(["show", &cat, "--aggregate", "layers=99", "--format", "json"]);
    assert!(no_layers.code != 0 && no_layers.out.is_empty(), "{no_layers:?}");
}

#[test]
fn lists_are_lines_too() {
    let lines = objects(&stepfn(["list", "methods", "--format", "jsonl"]));
    assert!(lines.len() > 10 && lines.iter().all(|method| method["name"].is_string()));
}
