//! Messages name the right file and the right words, and nothing in them moves the cursor of a terminal.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[allow(dead_code, reason = "the tests of other commands need more of it")]
mod fixture;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use self::fixture::{Scratch, goldens, model, stepfn, stepfn_reading};

#[test]
fn the_file_that_is_wrong_is_named() {
    let gpt2 = model("gpt2", &[100]);
    fs::remove_file(gpt2.0.join("tokenizer.json")).unwrap();
    gpt2.write("vocab.json", json!({"a": 0, "b": 1, "ab": 2, "<|endoftext|>": 3}).to_string());
    let score = || stepfn(["score", "-m", gpt2.path(), "abab"]);
    for (merges, says) in [
        ("#version: 0.2\na\n", "merges.txt: line 2: expected two tokens"),
        ("a b\na c\n", "merges.txt: line 2: vocab.json has no \"c\""),
        ("b a\n", "merges.txt: line 1: vocab.json has no \"ba\""),
    ] {
        gpt2.write("merges.txt", merges);
        score().fails(1, says, "");
    }
    gpt2.write("merges.txt", "a b\n");
    assert_eq!(score().code, 0, "{:?}", score());
    let added = |token: Value| json!({ "added_tokens_decoder": { "3": token } }).to_string();
    gpt2.write("tokenizer_config.json", added(json!({ "content": "x", "special": "yes" })));
    score().fails(1, "tokenizer_config.json: the added tokens: ", "");
}

#[test]
fn types_of_the_program_have_no_names() {
    let folder = Scratch::new();
    let path = folder.0.join("x.json").display().to_string();
    assert_eq!(stepfn(["attribute", "cat", "--format", "json", "-o", &path]).code, 0);
    let saved: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    for field in ["about", "steps", "source", "source_scores", "step_scores", "target"] {
        for value in [json!(3), json!("x"), json!([[]]), json!([3])] {
            let mut wrong = saved.clone();
            wrong[field] = value;
            let done = stepfn(["show", &folder.write("wrong.json", wrong.to_string())]);
            let named =
                ["struct", "Provenance", "Unchecked", "Range", "Token", "usize", "u32", "enum", "a map", "a sequence"];
            let found = named.into_iter().find(|name| done.err.contains(name));
            assert!(done.code == 1 && found.is_none(), "{field}: {done:?}");
        }
    }
    let gpt2 = model("gpt2", &[100]);
    for header in
        ["{\"__metadata__\": 3}", "[]", "{\"t\": 3}", "{\"t\": {\"dtype\": 3, \"shape\": {}, \"data_offsets\": 1}}"]
    {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        gpt2.write("model.safetensors", bytes);
        let done = stepfn(["score", "-m", gpt2.path(), "t1"]);
        let named = ["HashMetadata", "struct", "usize", "enum", "TensorInfo"];
        assert!(done.code == 1 && !named.iter().any(|name| done.err.contains(name)), "{header}: {done:?}");
    }
    let gpt2 = model("gpt2", &[100]);
    for tokenizer in
        ["{\"model\": 3}", "[]", "{\"model\": {\"type\": \"X\"}}", "{\"version\": \"1.0\", \"added_tokens\": 3}"]
    {
        gpt2.write("tokenizer.json", tokenizer);
        let done = stepfn(["score", "-m", gpt2.path(), "t1"]);
        let named = ["Wrapper", "struct", "enum", "usize"];
        assert!(done.code == 1 && !named.iter().any(|name| done.err.contains(name)), "{tokenizer}: {done:?}");
    }
    let spm = model("gpt2", &[100]);
    fs::remove_file(spm.0.join("tokenizer.json")).unwrap();
    spm.write("tokenizer.model", "\u{8}nothing");
    stepfn(["score", "-m", spm.path(), "t1"]).fails(1, "no SentencePiece model, or not all of one", "");
}

#[test]
fn nothing_in_a_message_moves_the_cursor() {
    let gpt2 = model("gpt2", &[100]);
    let scratch = Scratch::new();
    let python =
        scratch.write("python", "#!/bin/sh\ncat > /dev/null\nprintf '{\"error\": \"\\\\u001b[31mred\\\\u0007\"}'\n");
    fs::set_permissions(&python, fs::Permissions::from_mode(0o755)).unwrap();
    let said = stepfn(["verify", gpt2.path(), "--python", &python, "--text", "t1 t2"]);
    said.fails(1, "\\u{1b}[31mred\\u{7}", "");
    let script = "#!/bin/sh\ncat > /dev/null\nprintf 'one\\033[31m\\ntwo\\007' >&2\n";
    let python = scratch.write("python", script);
    let reported = stepfn(["verify", gpt2.path(), "--python", &python, "--text", "t1 t2"]);
    assert!(reported.err.starts_with("one\\u{1b}[31m\ntwo\\u{7}"), "{reported:?}");
    for (call, code) in [
        (&["score", "-m", "\u{1b}[2J", "x"][..], 1),
        (&["score", "cat", "--step-fn", "\u{1b}[2J"], 2),
        (&["score", "cat", "--input", "\u{1b}[2J", "x"], 2),
        (&["score", "--input", "\u{1b}[2J\n"], 1),
        (&["\u{1b}[2J"], 2),
        (&["show", "\u{9b}31m\u{202e}"], 1),
    ] {
        let done = stepfn(call);
        assert_eq!(done.code, code, "{done:?}");
        assert!(!done.err.contains(['\u{1b}', '\u{9b}', '\u{202e}']), "{done:?}");
        assert!(done.err.lines().count() <= 2, "{done:?}");
    }
    // Nor in a table.
    let lines = scratch.write("in.jsonl", "{\"source\": \"\\u001b[31m\"}\n{\"source\": \"a\\u001b[31m\"}\n");
    for command in [&["score"][..], &["attribute"], &["generate"]] {
        let done = stepfn(command.iter().chain(&["--input", &lines]));
        assert!(!done.out.contains('\u{1b}') && !done.err.contains('\u{1b}'), "{done:?}");
    }
}

#[test]
fn exit_codes_tell_a_wrong_command_line_from_work_that_failed() {
    let contrast = ["score", "--source", "cat", "--target", "K AE1 T", "--contrast-target", "K AE1"];
    for pairs in ["0:9", "9:0", "0:0,0:1", "99999999999:0"] {
        let done = stepfn(contrast.iter().chain(&["--step-fn", "contrast_prob_diff", "--align", pairs]));
        done.fails(2, "alignment", "--align counts");
    }
    let unread = ["--attributed-fn", "contrast_prob_diff", "--contrast-source", "dog"];
    stepfn(["attribute", "cat"].iter().chain(&unread)).fails(2, "the text's own context", "--contrast-force-inputs");
    let empty = Scratch::new();
    stepfn(["score", "-m", empty.path(), "x"]).fails(1, "config.json: not found", "a model is a folder");
    stepfn(["verify", empty.path()]).fails(1, "this is none", "the folder of a model");
    let opus = goldens().join("../replicas/opus_mt").display().to_string();
    for option in ["--source-lang", "--target-lang"] {
        stepfn(["score", "-m", &opus, "x", option, "xx"]).fails(2, "no language `xx`", "");
    }
}

#[test]
fn two_files_are_compared_under_both_names() {
    let folder = Scratch::new();
    let [one, other] = ["saliency", "input_x_gradient"].map(|method| {
        let path = folder.0.join(method).display().to_string();
        assert_eq!(stepfn(["attribute", "cat", "--method", method, "--format", "json", "-o", &path]).code, 0);
        path
    });
    let shown = stepfn(["show", &one, "--pair", &other]);
    assert!(shown.out.starts_with("difference: saliency − input_x_gradient of probability, g2p\n"), "{shown:?}");
    let merged = stepfn(["show", &one, "--aggregate", "spans(source=0:2)", "--format", "json"]);
    assert!(!merged.out.contains("4294967295") && merged.json()["source"][0]["id"].is_null(), "{merged:?}");
    // What inseq's format has no place for is kept beside it.
    let spans = |file: &str| stepfn(["show", file, "--format", "json"]).json()["target"].clone();
    let theirs = folder.0.join("inseq").display().to_string();
    assert_eq!(stepfn(["show", &one, "--format", "inseq", "-o", &theirs]).code, 0);
    assert_eq!(spans(&theirs), spans(&one));
}

#[test]
fn what_is_wrong_with_a_file_is_said_in_words_of_the_file() {
    let theirs = ["expected value", "EOF", "variant", "struct", "sequence", "untagged", " at line 1 column"];
    let score = |folder: &Scratch| stepfn(["score", "-m", folder.path(), "t1 t2"]);
    let says = |file: &str, content: &[u8], says: &str| {
        let gpt2 = model("gpt2", &[100]);
        gpt2.write(file, content);
        let done = score(&gpt2);
        done.fails(1, says, "");
        assert!(done.err.contains(file) && !theirs.iter().any(|word| done.err.contains(word)), "{done:?}");
    };
    for file in
        ["config.json", "generation_config.json", "tokenizer_config.json", "tokenizer.json", "special_tokens_map.json"]
    {
        says(file, b"", "the file is empty");
        says(file, b"<html>", "not JSON from line 1, column 1 on: expected an object, a list, a text");
        says(
            file,
            b"{\"a\": 1,\n \"b\": tru}",
            "not JSON from line 2, column 10 on: expected true, false or null, found `}`",
        );
        says(file, b"{\"a\": 1", "the text ends at line 1, column 7");
        says(file, b"{\"\xFF\": 1}", "no text in UTF-8, from byte 2 on");
        says(file, b"\xFF\xFE{\0}\0", "UTF-16");
    }
    says("generation_config.json", b"[1]", "expected an object, found a list");
    says("tokenizer_config.json", b"{\"chat_template\": 5}", "`chat_template` should be a text, or a list of objects");
    says("tokenizer.json", b"{\"version\": \"2.0\"}", "");
    says("model.safetensors", b"\x08\0\0\0\0\0\0\0{\"a\": 1 ", "damaged safetensors file: its header is not JSON");
    says("model.safetensors", b"<html>nothing</html>", "this is no safetensors file");
    // A byte order mark is no mistake.
    let gpt2 = model("gpt2", &[100]);
    for file in ["config.json", "generation_config.json", "tokenizer.json"] {
        let path = gpt2.0.join(file);
        fs::write(&path, [b"\xEF\xBB\xBF", &fs::read(&path).unwrap()[..]].concat()).unwrap();
    }
    assert_eq!(score(&gpt2), score(&model("gpt2", &[100])));
    stepfn_reading("{\"format\": 1, \"id\": }", &["show", "-"]).fails(1, "not JSON from line 1, column 21 on", "");
    stepfn_reading("[{\"format\": 1}]", &["show", "-"]).fails(1, "text 1 of the file", "give a file that");
}

#[test]
fn names_are_suggested_where_they_are_alike() {
    for (call, silly) in [
        (&["nosuch"][..], "bench"),
        (&["generate", "cat", "--generation", "foo=1"], "did you mean"),
        (&["score", "cat", "--step-fn", "foo"], "did you mean"),
        (&["attribute", "cat", "--method", "xyz"], "did you mean"),
    ] {
        let done = stepfn(call);
        assert!(done.code == 2 && !done.err.contains(silly), "{done:?}");
    }
    for (call, meant) in [
        (&["scor", "cat"][..], "score"),
        (&["atribute", "cat"], "attribute"),
        (&["generate", "cat", "--generation", "num_beam=2"], "did you mean `num_beams`?"),
        (&["score", "cat", "--setp-fn", "rank"], "--step-fn"),
    ] {
        let done = stepfn(call);
        assert!(done.code == 2 && done.err.contains(meant), "{done:?}");
    }
}

#[test]
fn settings_are_named_as_they_were_typed() {
    for (setting, says) in [
        ("min_length=99", "`min_length` must be at most"),
        ("max_length=1", "`max_length` must be"),
        ("eos_token_id=\"x\"", "`eos_token_id` must be"),
        ("forced_eos_token_id=[1]", "`forced_eos_token_id` must be"),
    ] {
        stepfn(["generate", "cat", "--generation", setting]).fails(2, says, "");
    }
    let stage = stepfn(["attribute", "cat", "--aggregate", "layers"]);
    stage.fails(2, "aggregation, `layers`: expected positions, such as layers=0:4", "stepfn list aggregators");
}

#[test]
fn finer_numbers_are_advised_where_there_are_finer_ones() {
    let gpt2 = model("gpt2", &[100]);
    let path = gpt2.0.join("model.safetensors");
    let mut weights = fs::read(&path).unwrap();
    let start = 8 + u64::from_le_bytes(*weights.first_chunk::<8>().unwrap()) as usize;
    weights[start..].as_chunks_mut::<4>().0.iter_mut().for_each(|value| *value = f32::NAN.to_le_bytes());
    fs::write(&path, weights).unwrap();
    for command in ["score", "attribute"] {
        let done = stepfn([command, "-m", gpt2.path(), "t1 t2"]);
        assert!(done.code == 1 && done.err.contains("in single precision (f32) already"), "{done:?}");
        let half = stepfn([command, "-m", gpt2.path(), "t1 t2", "--dtype", "bf16"]);
        assert!(half.code == 1 && half.err.contains("try --dtype f32"), "{half:?}");
    }
}
