//! Where there is nothing: no texts, no result of a text, no standard output, no file behind a link.

#![allow(clippy::unwrap_used, reason = "a test that can't continue should fail")]

#[allow(dead_code, reason = "the tests of other commands need more of it")]
mod fixture;

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use serde_json::json;
use stepfn::writers::{ANSWERS, RECORDS};

use self::fixture::{COMMANDS, Done, Scratch, goldens, model, stepfn, stepfn_reading};

#[test]
fn no_texts_have_empty_results_in_place_of_old_ones() {
    let folder = Scratch::new();
    let empty = folder.write("empty.jsonl", "\n");
    let new = folder.0.join("new").display().to_string();
    let warning = "warning: there is no text, so the results are empty\n";
    for command in COMMANDS {
        // Pages and drawings are below.
        let formats = if command[0] == "attribute" { &ANSWERS[..] } else { &RECORDS };
        for (format, _) in formats.iter().filter(|(format, _)| !["html", "svg"].contains(format)) {
            let left = if *format == "json" { "[]\n" } else { "" };
            let old = folder.write("old", "old");
            for (output, quiet) in [(&old, &["-q"][..]), (&new, &[])] {
                let args = ["--input", &empty, "--format", format, "-o", output];
                let done = stepfn(command.iter().chain(&args).chain(quiet));
                assert_eq!(
                    (done.code, done.err.as_str()),
                    (0, if quiet.is_empty() { warning } else { "" }),
                    "{format}"
                );
                assert_eq!(fs::read_to_string(output).unwrap(), left, "{command:?} {format}");
                fs::remove_file(output).unwrap();
            }
        }
    }
    let [page, map] = ["page", "map"].map(|name| folder.write(name, "old"));
    let args = ["attribute", "--input", &empty, "-o", &new, "--html", &page, "--svg", &map, "--format", "inseq"];
    assert_eq!((stepfn(args).code, stepfn(args).err.as_str()), (0, warning));
    assert!(fs::read_to_string(&page).unwrap().contains("There is no text."));
    assert_eq!([&map, &new].map(|path| fs::read_to_string(path).unwrap()), ["", ""]);
}

#[test]
fn results_that_nobody_can_read_are_a_failure() {
    let closed = |args: &str| -> Done {
        let script = format!("\"$0\" {args} >&-");
        Command::new("sh").args(["-c", &script, env!("CARGO_BIN_EXE_stepfn")]).output().unwrap().into()
    };
    for args in
        ["score cat", "attribute cat --format csv", "generate cat", "list methods", "--help", "completions bash"]
    {
        closed(args).fails(1, "standard output: it is closed", "-o");
    }
    closed("attribute cat -o /dev/null --html -").fails(1, "standard output: it is closed", "-o");
    assert_eq!(closed("score cat -o /dev/null").code, 0);
}

#[test]
fn a_page_says_which_texts_failed() {
    let folder = Scratch::new();
    let lines = folder.write("in.jsonl", "{\"source\": \"cat\"}\n{\"id\": \"second\", \"source\": \"\"}\n");
    let page = folder.0.join("page").display().to_string();
    assert_eq!(stepfn(["attribute", "--input", &lines, "-o", "/dev/null", "--html", &page]).code, 1);
    let page = fs::read_to_string(page).unwrap();
    assert!(page.contains("1 of 2 texts failed</summary>") && page.contains("<bdi>second</bdi>: "));
    assert!(page.contains("the source is empty"));
}

/// A copy of a folder of files.
fn copied(folder: &str) -> Scratch {
    let scratch = Scratch::new();
    for entry in fs::read_dir(goldens().join("..").join(folder)).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::copy(&path, scratch.0.join(path.file_name().unwrap())).unwrap();
        }
    }
    scratch
}

#[test]
fn what_is_there_and_can_not_be_read_is_not_taken_for_absent() {
    let zero = "/dev/zero";
    let score = |folder: &Scratch| stepfn(["score", "-m", folder.path(), "t1 t2"]);
    let says = |folder: &Scratch, file: &str| {
        let path = folder.0.join(file);
        drop(fs::remove_file(&path));
        symlink("removed", &path).unwrap();
        score(folder).fails(1, &format!("{file}: this is a link to a file that is not there"), "");
        fs::remove_file(&path).unwrap();
        symlink(zero, &path).unwrap();
        score(folder).fails(1, &format!("{file}: this is a device or a pipe"), "");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        score(folder).fails(1, &format!("{file}: this is a folder"), "");
        fs::remove_dir(&path).unwrap();
    };
    for file in [
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "quantize_config.json",
        "model.safetensors",
    ] {
        says(&model("gpt2", &[100]), file);
    }
    // Other files could be taken in their place.
    let with_vocabulary = copied("replicas/gpt2_value_head");
    assert_eq!(score(&with_vocabulary).code, 0, "{:?}", score(&with_vocabulary));
    says(&with_vocabulary, "tokenizer.json");
    let sharded = model("gpt2", &[100]);
    fs::rename(sharded.0.join("model.safetensors"), sharded.0.join("pytorch_model.bin")).unwrap();
    says(&sharded, "model.safetensors.index.json");
    // Nor another model in its folder.
    let beside = model("gpt2", &[100]);
    beside.write("other.gguf", "");
    says(&beside, "config.json");
    let separate = copied("replicas/opus_mt_separate");
    says(&separate, "target_vocab.json");
    let adapter = copied("checkpoints/adapters/llama");
    says(&adapter, "adapter_config.json");
}

#[test]
fn merges_that_are_not_all_there_are_not_read_as_if_they_were() {
    for folder in ["replicas/gpt2_value_head", "replicas/bart_cnn", "replicas/opt"] {
        let whole = copied(folder);
        drop(fs::remove_file(whole.0.join("tokenizer.json")));
        let score =
            |whole: &Scratch| stepfn(["score", "-m", whole.path(), "--source", "The", "--target", "The people"]);
        let read = score(&whole);
        assert!(!read.err.contains("merges.txt"), "{folder}: {read:?}");
        let merges = fs::read_to_string(whole.0.join("merges.txt")).unwrap();
        let lines: Vec<&str> = merges.lines().collect();
        let cut = [String::new(), lines[..1].join("\n"), lines[..lines.len() / 2].join("\n") + "\n"];
        for cut in cut {
            whole.write("merges.txt", &cut);
            score(&whole).fails(1, "merges.txt: not all is there", "");
        }
        // Some editors put a byte order mark first.
        whole.write("merges.txt", format!("\u{FEFF}{merges}"));
        assert_eq!(score(&whole).err, read.err, "{folder}");
    }
}

#[test]
fn nothing_that_a_model_is_or_would_be_read_from_is_written() {
    let gpt2 = model("gpt2", &[100]);
    for file in ["generation_config.json", "tokenizer_config.json", "chat_template.jinja", "config.json"] {
        for is_there in [true, false] {
            let path = gpt2.0.join(file).display().to_string();
            if !is_there && file != "config.json" {
                drop(fs::remove_file(&path));
            }
            stepfn(["score", "-m", gpt2.path(), "t1 t2", "-o", &path]).fails(2, "are the same file", "another file");
        }
    }
    // Models that earlier downloads left, by name and as the one that an adapter names.
    let cache = Scratch::new();
    let snapshot = "models--org--base/snapshots/0123456789012345678901234567890123456789";
    fs::create_dir_all(cache.0.join(snapshot)).unwrap();
    fs::create_dir_all(cache.0.join("models--org--base/refs")).unwrap();
    cache.write("models--org--base/refs/main", "0123456789012345678901234567890123456789");
    let gpt2 = model("gpt2", &[100]);
    for entry in fs::read_dir(&gpt2.0).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, cache.0.join(snapshot).join(path.file_name().unwrap())).unwrap();
    }
    let adapter = Scratch::new();
    adapter.write("adapter_config.json", json!({ "base_model_name_or_path": "org/base" }).to_string());
    let weights = cache.0.join(snapshot).join("model.safetensors").display().to_string();
    for name in ["org/base", adapter.path()] {
        let mut program = fixture::program();
        program.env("HF_HUB_CACHE", &cache.0).args(["score", "-m", name, "t1 t2", "-o", &weights]);
        Done::from(program.output().unwrap()).fails(2, "are the same file", "write to another file");
    }
}

#[test]
fn fields_and_options_that_nothing_reads_are_told() {
    let line = "{\"source\": \"cat\", \"target\": \"K AE1 T\", \"contrast_source\": \"dog\"}\n";
    for (command, warnings) in [
        (&["score"][..], &["2 texts have the field `contrast_source`, which nothing reads: no step function"][..]),
        (&["attribute"], &["2 texts have the field `contrast_source`"]),
        (&["attribute", "--method", "attention"], &["2 texts have the field `contrast_source`"]),
        (&["generate"], &["2 texts have the field `target`", "2 texts have the field `contrast_source`"]),
        (&["score", "--step-fn", "pcxmi"], &[]),
        (&["score", "--chat-set", "a=1"], &["2 texts have the field", "--chat-set: no text has `messages`"]),
    ] {
        let done = stepfn_reading(line.repeat(2), &[command, &["--input", "-"]].concat());
        assert_eq!((done.code, done.err.lines().count()), (0, warnings.len()), "{done:?}");
        for (said, warning) in done.err.lines().zip(warnings) {
            assert!(said.starts_with("warning: ") && said.contains(warning), "{warning}: {said}");
        }
    }
    for method in ["attention", "attention_rollout", "value_zeroing", "dummy"] {
        let args = ["attribute", "cat", "--method", method, "--attributed-fn", "rank"];
        stepfn(args).fails(2, "--attributed-fn rank: ", "--step-scores rank");
        let args = ["attribute", "cat", "--method", method, "--set", "logprob=true"];
        stepfn(args).fails(2, "no parameter `logprob`", "");
        assert_eq!(stepfn(&args[..4]).code, 0, "{method}");
    }
}

#[test]
fn a_text_without_messages_has_none_to_aggregate_or_to_hide() {
    let aggregated = stepfn(["attribute", "cat", "--aggregate", "messages"]);
    aggregated.fails(
        2,
        "aggregation, `messages`: expected a chat, whose messages",
        "give a chat, or leave this stage out",
    );
    let hidden = stepfn(["attribute", "cat", "--method", "occlusion", "--features", "messages"]);
    hidden.fails(2, "the text is no chat, so it has no messages to hide", "ask about a chat");
    let lines = "{\"source\": \"cat\"}\n{\"source\": \"dog\"}\n";
    let several = stepfn_reading(lines, &["attribute", "--input", "-", "--aggregate", "messages"]);
    assert!(several.code == 1 && several.err.contains("line 2: aggregation, `messages`"), "{several:?}");
}

#[test]
fn a_file_and_itself_differ_in_nothing_and_that_is_told() {
    let folder = Scratch::new();
    let path = folder.0.join("a").display().to_string();
    assert_eq!(stepfn(["attribute", "cat", "--format", "json", "-o", &path]).code, 0);
    let shown = stepfn(["show", &path, "--pair", &path]);
    assert!(shown.code == 0 && shown.err.starts_with("warning: --pair: both files say the same"), "{shown:?}");
    // A byte order mark is no part of either.
    let marked = folder.write("b", format!("\u{FEFF}{}", fs::read_to_string(&path).unwrap()));
    assert_eq!(stepfn(["show", &path, "--pair", &marked]), shown);
}
