//! The program as a user runs it: every command and form, and what happens when something is wrong.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod fixture;

use std::ffi::OsStr;
use std::fs;
use std::process::Stdio;

use serde_json::{Value, json};

use self::fixture::{Done, Scratch, golden_ids, golden_log_probs, model, program, stepfn, stepfn_reading, words};

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|value| value.as_f64().unwrap_or(f64::NAN)).collect()
}

fn close(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len(), "{found:?} {expected:?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() <= 1e-4 * expected.abs().max(1.0), "{found} instead of {expected}");
    }
}

#[test]
fn scores_of_a_causal_text_are_those_of_transformers() {
    let gpt2 = model("gpt2", &[100]);
    let ids = golden_ids("gpt2", "input_ids");
    let log_probs = golden_log_probs("gpt2");
    let text = words(&ids);
    let prompt = words(&ids[..4]);
    let scored = stepfn([
        "score",
        "--model",
        gpt2.path(),
        "--source",
        &prompt,
        "--target",
        &text,
        "--step-fn",
        "probability,rank,surprisal",
        "--format",
        "json",
    ])
    .json();
    assert_eq!(scored["first"], 4);
    let tokens: Vec<u32> =
        scored["tokens"].as_array().unwrap().iter().map(|token| token["id"].as_u64().unwrap() as u32).collect();
    assert_eq!(tokens, ids);
    let token = &scored["tokens"][1];
    let (start, end) = (token["start"].as_u64().unwrap() as usize, token["end"].as_u64().unwrap() as usize);
    assert_eq!(token["token"], words(&ids[1..2]));
    assert_eq!(text[start..end], words(&ids[1..2]));
    assert_eq!(scored.as_object().unwrap().keys().collect::<Vec<_>>(), ["first", "scores", "sequence", "tokens"]);

    let own: Vec<f64> = (4..ids.len()).map(|position| log_probs[position - 1][ids[position] as usize]).collect();
    let probabilities: Vec<f64> = own.iter().map(|own| own.exp()).collect();
    close(&numbers(&scored["scores"]["probability"]), &probabilities);
    let surprisals: Vec<f64> = own.iter().map(|own| -own / core::f64::consts::LN_2).collect();
    close(&numbers(&scored["scores"]["surprisal"]), &surprisals);
    let rank = |position: usize| {
        let row = &log_probs[position - 1];
        1.0 + row.iter().filter(|other| **other > row[ids[position] as usize]).count() as f64
    };
    close(&numbers(&scored["scores"]["rank"]), &(4..ids.len()).map(rank).collect::<Vec<_>>());
    let logprob: f64 = own.iter().sum();
    let sequence = &scored["sequence"];
    close(&[sequence["logprob"].as_f64().unwrap()], &[logprob]);
    close(&[sequence["perplexity"].as_f64().unwrap().ln()], &[-logprob / own.len() as f64]);
    let entropy = |row: &Vec<f64>| -row.iter().map(|log_prob| log_prob.exp() * log_prob).sum::<f64>();
    let entropies: Vec<f64> = log_probs[3..ids.len() - 1].iter().map(entropy).collect();
    close(&[sequence["mean_entropy"].as_f64().unwrap()], &[entropies.iter().sum::<f64>() / own.len() as f64]);
}

#[test]
fn scores_of_a_pair_are_those_of_transformers() {
    let marian = model("marian", &[0, 97]);
    let source = golden_ids("marian", "input_ids");
    let target = golden_ids("marian", "decoder_input_ids");
    let log_probs = golden_log_probs("marian");
    // The start token is not written; the end token, 0, is there whether written or not.
    let scored = stepfn([
        "score",
        "-m",
        marian.path(),
        "--source",
        &words(&source),
        "--target",
        &words(&target[1..]),
        "--step-fn",
        "logit,crossentropy",
        "--format",
        "jsonl",
    ])
    .json();
    let expected: Vec<f64> =
        target[1..].iter().chain(&[0]).zip(&log_probs).map(|(&id, row)| -row[id as usize]).collect();
    close(&numbers(&scored["scores"]["crossentropy"]), &expected);
    assert_eq!(scored["first"], 1);
    assert_eq!(scored["tokens"][0], json!({ "token": "t97", "id": 97, "start": 0, "end": 0 }));
    assert_eq!(scored["tokens"].as_array().unwrap().len(), target.len() + 1);
}

#[test]
fn a_contrast_is_aligned_as_asked() {
    let gpt2 = model("gpt2", &[100]);
    let score = |more: &[&str]| {
        let args = ["score", "-m", gpt2.path(), "--source", "t1", "--target", "t1 t2 t3 t4", "--format", "json"];
        stepfn(args.iter().chain(more)).json()
    };
    let plain = score(&["--step-fn", "surprisal"]);
    let other = stepfn([
        "score",
        "-m",
        gpt2.path(),
        "--source",
        "t9 t8",
        "--target",
        "t9 t8 t7 t6",
        "--step-fn",
        "surprisal",
        "--format",
        "json",
    ])
    .json();
    let contrast = ["--step-fn", "pcxmi", "--contrast-source", "t9 t8", "--contrast-target", "t9 t8 t7 t6"];
    let (own, theirs) = (numbers(&plain["scores"]["surprisal"]), numbers(&other["scores"]["surprisal"]));
    let scored = score(&contrast);
    close(&numbers(&scored["scores"]["pcxmi"])[..2], &[own[0] - theirs[0], own[1] - theirs[1]]);
    assert_eq!(scored["scores"]["pcxmi"][2], Value::Null);
    let scored = score(&[&contrast[..], &["--align", "0:1,2:0"]].concat());
    let values = numbers(&scored["scores"]["pcxmi"]);
    close(&[values[0], values[2]], &[own[0] - theirs[1], own[2] - theirs[0]]);
    assert_eq!(scored["scores"]["pcxmi"][1], Value::Null);
    // Without a target of its own, the contrast goes on as the text does.
    let scored = score(&["--step-fn", "in_context_pvi", "--contrast-source", "t9 t8"]);
    assert!(numbers(&scored["scores"]["in_context_pvi"]).iter().all(|value| value.is_finite()));

    let args = ["score", "-m", gpt2.path(), "t1 t2 t3", "--step-fn", "pcxmi"];
    stepfn(args).fails(1, "`pcxmi` needs a contrast", "--contrast-source");
    let outside = ["--contrast-target", "t1 t4", "--align", "0:0,1:1"];
    stepfn(args.iter().chain(&outside)).fails(1, "alignment pair 1:1 is out of range", "--align counts");
    stepfn(args.iter().chain(&["--align", "0-0"])).fails(2, "expected two numbers, as in 0:2", "see `stepfn");
}

#[test]
fn dropout_has_a_seed_and_a_rate() {
    let gpt2 = model("gpt2", &[100]);
    let args = [
        "score",
        "-m",
        gpt2.path(),
        "t1 t2 t3 t4 t5",
        "--step-fn",
        "probability,mc_dropout_prob_avg",
        "--set",
        "n_mcd_steps=3",
        "--format",
        "json",
    ];
    let score = |more: &[&str]| stepfn(args.iter().chain(more));
    let noisy = |more: &[&str]| numbers(&score(more).json()["scores"]["mc_dropout_prob_avg"]);
    assert_eq!(noisy(&[]), noisy(&["--seed", "0"]));
    assert_ne!(noisy(&[]), noisy(&["--seed", "1"]));
    assert_ne!(noisy(&[]), noisy(&["--dropout", "0.5"]));
    let none = score(&["--dropout", "0"]);
    assert!(none.err.starts_with("warning: `mc_dropout_prob_avg`") && none.err.contains("--dropout"), "{none:?}");
    let scores: Value = serde_json::from_str(&none.out).unwrap();
    close(&numbers(&scores["scores"]["mc_dropout_prob_avg"]), &numbers(&scores["scores"]["probability"]));
    assert_eq!(score(&["--dropout", "0", "--quiet"]).err, "");
    score(&["--dropout", "0", "--set", "statistic=zscore", "-q"]).fails(1, "is the dropout rate 0?", "--dropout");
    score(&["--dropout", "1"]).fails(2, "expected a number from 0 to below 1", "--help");
}

#[test]
fn a_table_is_for_people_and_csv_for_other_programs() {
    let gpt2 = model("gpt2", &[100]);
    let args = ["score", "-m", gpt2.path(), "t1 t2 t3", "--step-fn", "rank,probability"];
    let table = stepfn(args);
    assert_eq!((table.code, table.err.as_str()), (0, ""));
    let lines: Vec<&str> = table.out.lines().collect();
    assert_eq!(lines.len(), 4, "{}", table.out);
    assert!(lines[0].starts_with("#  token") && lines[0].ends_with("rank  probability"), "{}", table.out);
    assert!(lines[1].starts_with("1  t2") && lines[2].starts_with("2  t3"), "{}", table.out);
    assert!(lines[3].starts_with("logprob -"), "{}", table.out);
    assert!(!table.out.contains('\u{1B}'));

    let csv = stepfn(args.iter().chain(&["t4 t5", "--format", "csv"]));
    let lines: Vec<&str> = csv.out.lines().collect();
    assert_eq!(lines[0], "text,position,token,id,start,end,rank,probability");
    assert!(lines[1].starts_with("0,1,t2,2,3,5,") && lines[3].starts_with("1,1,t5,5,3,5,"), "{}", csv.out);
    assert_eq!(lines.len(), 4);
}

#[test]
fn several_texts_are_a_list_or_lines_in_their_order() {
    let gpt2 = model("gpt2", &[100]);
    let texts = ["t1 t2 t3 t4 t5 t6 t7", "t8 t9", "t10 t11 t12 t13"];
    let args = ["score", "-m", gpt2.path(), "--step-fn", "entropy", "--batch-tokens", "6"];
    let with = |format| stepfn(args.iter().chain(&texts).chain(&["--format", format]));
    let list = with("json").json();
    let lengths: Vec<usize> =
        list.as_array().unwrap().iter().map(|text| text["tokens"].as_array().unwrap().len()).collect();
    assert_eq!(lengths, [7, 2, 4]);
    let lines = with("jsonl");
    let objects: Vec<Value> = lines.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(Value::Array(objects), list);
    // One by one, and with little memory.
    for (index, text) in texts.iter().enumerate() {
        let alone =
            stepfn(["score", "-m", gpt2.path(), "--step-fn", "entropy", "--memory", "1KB", text, "--format", "json"]);
        close(&numbers(&alone.json()["scores"]["entropy"]), &numbers(&list[index]["scores"]["entropy"]));
    }
}

#[test]
fn lines_of_json_are_scored_and_those_that_fail_leave_the_others_alone() {
    let gpt2 = model("gpt2", &[100]);
    let folder = Scratch::new();
    let good = r#"{"source": "t1", "target": "t1 t2", "contrast_source": "t3 t4"}"#;
    let lines = [
        good.as_bytes(),
        b"{\"target\": \"\"}",
        b"{\"target\": \"t1 \xFF\"}",
        b"{\"targt\": \"t1 t2\"}",
        b"{\"source\": \"t1 t3\", \"target\": \"t1 t2 t3\"}",
        b"{\"target\": \"t1 what t2\"}",
        b"{\"target\": \"t1 t2\", \"target_spans\": [[0, 2]]}",
        good.as_bytes(),
    ];
    let input = lines.join(&b'\n');
    let file = folder.write("texts.jsonl", &input);
    let args = ["score", "-m", gpt2.path(), "--step-fn", "pcxmi,probability", "--format", "jsonl", "--input"];
    let done = stepfn(args.iter().copied().chain([file.as_str()]));
    assert_eq!(done.code, 1);
    let results: Vec<Value> = done.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(results.len(), 8);
    assert_eq!(results[0], results[7]);
    close(&numbers(&results[0]["scores"]["probability"]), &numbers(&results[7]["scores"]["probability"]));
    for (line, says) in [
        (2, "the target is empty"),
        (3, "not UTF-8, from byte 15 on"),
        (4, "unknown field `targt`, expected one of `source`, `target`"),
        (5, "after \"t1 t\" the prompt goes on with \"3\" and the target with \"2 t3\""),
        (6, "tokenizer.json"),
        (7, "only attribution hides anything"),
    ] {
        let error = results[line - 1]["error"].as_str().unwrap();
        assert!(error.contains(&format!("texts.jsonl, line {line}: ")) && error.contains(says), "{error}");
        assert!(done.err.contains(error), "{}", done.err);
    }
    assert!(done.err.contains("error: 6 of 8 texts failed"), "{}", done.err);

    let piped = stepfn_reading(&input, &[&args[..], &["-"]].concat());
    assert_eq!((piped.code, piped.out.lines().count()), (1, 8));
    assert_eq!(piped.out.lines().next(), done.out.lines().next());
    assert!(piped.err.contains("standard input, line 3: "), "{}", piped.err);

    // A list even of one, for there might be more.
    let one = stepfn_reading(good, &["score", "-m", gpt2.path(), "--format", "json", "--input", "-"]).json();
    assert_eq!(one.as_array().unwrap().len(), 1);
    let none = stepfn_reading("", &["score", "-m", gpt2.path(), "--format", "json", "--input", "-"]).json();
    assert_eq!(none, json!([]));
}

#[test]
fn many_lines_stream_through_in_their_order_and_dropout_knows_their_numbers() {
    let gpt2 = model("gpt2", &[100]);
    let line = |number: usize| format!("{{\"target\": \"{}\"}}\n", words(&vec![7; 2 + number * 7 % 11]));
    let input: String = (0..40).map(line).collect();
    let args = [
        "score",
        "-m",
        gpt2.path(),
        "--step-fn",
        "mc_dropout_prob_avg",
        "--set",
        "n_mcd_steps=2",
        "--format",
        "jsonl",
        "--input",
        "-",
    ];
    let read =
        |done: Done| -> Vec<Value> { done.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect() };
    let all = read(stepfn_reading(&input, &args));
    for (number, text) in all.iter().enumerate() {
        assert_eq!(text["tokens"].as_array().unwrap().len(), 2 + number * 7 % 11);
    }
    // Texts of one kind, but not of one number.
    assert_ne!(all[0]["scores"], all[11]["scores"]);
    // A line that fails has a number too.
    let broken = read(stepfn_reading(input.replacen("t7", "x", 1), &args));
    assert!(broken[0]["error"].is_string());
    for (one, other) in all.iter().zip(&broken).skip(1) {
        close(&numbers(&one["scores"]["mc_dropout_prob_avg"]), &numbers(&other["scores"]["mc_dropout_prob_avg"]));
    }
}

#[test]
fn parameters_belong_to_functions_that_have_them() {
    let gpt2 = model("gpt2", &[100]);
    let args = ["score", "-m", gpt2.path(), "t1 t2 t3", "--format", "json", "--step-fn", "top_p_size,probability"];
    let score = |more: &[&str]| stepfn(args.iter().chain(more));
    let sizes = |more: &[&str]| numbers(&score(more).json()["scores"]["top_p_size"]);
    assert!(sizes(&["--set", "top_p=0.2"])[0] < sizes(&["--set", "top_p=0.99"])[0]);
    let logprob = score(&["--set", "probability.logprob=true"]).json();
    assert!(numbers(&logprob["scores"]["probability"])[0] < 0.0);
    score(&["--set", "topp=1"]).fails(
        2,
        "no parameter `topp` (did you mean `top_p`?) of top_p_size, probability",
        "list",
    );
    score(&["--set", "rank.k=1"]).fails(2, "`rank` is none of the step functions asked for", "--step-fn rank");
    score(&["--set", "top_p=7"]).fails(2, "`top_p` must be a number in (0, 1], not 7", "list step-functions");
    score(&["--set", "top_p"]).fails(2, "expected NAME=VALUE", "--set NAME=VALUE");
}

#[test]
fn a_model_writes_as_transformers_does() {
    for (name, special) in [("gpt2", [100, 100]), ("marian", [0, 97])] {
        let folder = model(name, &special);
        let source = words(&golden_ids(name, "input_ids"));
        let ids = golden_ids(name, "greedy.ids");
        let args = ["generate", "-m", folder.path(), &source, "--max-new-tokens", "12"];
        let written = stepfn(args.iter().chain(&["--format", "json"])).json();
        assert_eq!(numbers(&written["ids"]), ids.iter().map(|&id| f64::from(id)).collect::<Vec<_>>(), "{name}");
        assert_eq!(written["source"], source);
        assert_eq!(written["finished"], special.contains(ids.last().unwrap()));
        assert!(written["score"].as_f64().unwrap() < 0.0);
        let text: Vec<u32> = ids.iter().copied().filter(|id| !special.contains(id)).collect();
        let table = stepfn(args);
        assert_eq!((table.out.trim(), table.err.as_str()), (words(&text).as_str(), ""), "{name}");
        assert_eq!(written["text"].as_str().unwrap().trim(), words(&text));

        // Without a target, what it writes is what is scored.
        let scored =
            stepfn(["score", "-m", folder.path(), "--source", &source, "--max-new-tokens", "12", "--format", "json"]);
        let scored = scored.json();
        let tokens = scored["tokens"].as_array().unwrap();
        let first = scored["first"].as_u64().unwrap() as usize;
        let own: Vec<f64> = tokens[first..].iter().map(|token| token["id"].as_f64().unwrap()).collect();
        assert_eq!(own, numbers(&written["ids"]), "{name}");
        close(&[scored["sequence"]["logprob"].as_f64().unwrap()], &[written["score"].as_f64().unwrap()]);
    }
}

#[test]
fn several_results_and_several_sources_are_lists() {
    let marian = model("marian", &[0, 97]);
    let beams = ["--generation", "num_beams=4", "--generation", "num_return_sequences=3", "--max-new-tokens", "12"];
    let early = ["--generation", "length_penalty=0.6", "--generation", "early_stopping=true"];
    let source = words(&golden_ids("marian", "input_ids"));
    let args = ["generate", "-m", marian.path(), &source, "--format"];
    let list = stepfn(args.iter().chain(&["json"]).chain(&beams).chain(&early)).json();
    let scores: Vec<f64> = list.as_array().unwrap().iter().map(|one| one["score"].as_f64().unwrap()).collect();
    assert_eq!(scores.len(), 3);
    assert!(scores.is_sorted_by(|a, b| a >= b), "{scores:?}");
    let csv = stepfn(args.iter().chain(&["csv"]).chain(&beams));
    assert_eq!(csv.out.lines().next(), Some("source,text,score,finished"));
    assert_eq!(csv.out.lines().count(), 4);

    let input = "{\"source\": \"t5 t6\"}\n{\"target\": \"t5\"}\n{\"source\": \"t7\"}\n";
    let args = ["generate", "-m", marian.path(), "--format", "jsonl", "--input", "-"];
    let done = stepfn_reading(input, &args);
    let lines: Vec<Value> = done.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((done.code, lines.len()), (1, 3));
    assert_eq!(lines[2]["source"], "t7");
    assert!(lines[1]["error"].as_str().unwrap().contains("line 2: there is no source or prompt to write after"));

    // Sampling has a seed.
    let sampled = |seed: &str| {
        let sampling = ["--generation", "do_sample=true", "--seed", seed];
        stepfn(["generate", "-m", marian.path(), "t5 t6 t7"].iter().chain(&sampling)).out
    };
    assert_eq!(sampled("1"), sampled("1"));
    assert_ne!(sampled("1"), sampled("2"));
    // A translation starts with its language.
    let tagged = stepfn(["generate", "-m", marian.path(), "t5", "--target-lang", "t9", "--format", "json"]).json();
    assert_eq!(tagged["ids"][0], 9);
    let args = ["generate", "-m", marian.path(), "t5"];
    stepfn(args.iter().chain(&["--target-lang", "deu"])).fails(2, "no token `deu`", "tokenizer.json");
    stepfn(args.iter().chain(&["--generation", "max_tokens=1"])).fails(
        2,
        "generation has no parameter `max_tokens`",
        "spelling",
    );
    stepfn(args.iter().chain(&["--generation", "num_beams=0"])).fails(1, "num_beams", "--generation");
}

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
    assert_eq!(functions.as_array().unwrap().len(), 23);
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
fn results_go_to_a_file_if_asked() {
    let gpt2 = model("gpt2", &[100]);
    let folder = Scratch::new();
    let file = folder.write("out.json", "");
    let args = ["score", "-m", gpt2.path(), "t1 t2", "--format", "json"];
    let printed = stepfn(args);
    let done = stepfn(args.iter().chain(&["-o", &file]));
    assert_eq!((done.code, done.out.as_str()), (0, ""));
    assert_eq!(fs::read_to_string(&file).unwrap(), printed.out);
    stepfn(args.iter().chain(&["-o", folder.path()])).fails(1, "directory", "a file that can be written");
    let told = stepfn(args.iter().chain(&["-v"]));
    assert_eq!(told.out, printed.out);
    assert!(told.err.contains("(gpt2) on cpu f32: 0: CPU") && told.err.contains("loaded in"), "{}", told.err);
}

#[test]
fn models_that_are_not_there_or_broken_say_so() {
    let texts = ["t1 t2"];
    let score = |model: &str| stepfn(["score", "--model", model].iter().chain(&texts));
    score("/nowhere/gpt2").fails(1, "there is no model `/nowhere/gpt2`", "config.json, model.safetensors");
    let folder = Scratch::new();
    score(folder.path()).fails(1, "config.json", "a model is a folder with");
    let file = folder.write("gpt2", "");
    score(&file).fails(1, "incomplete GGUF file", "a GGUF file");
    score("g2q").fails(1, "did you mean `g2p`?", "a hub's org/name");
    let gpt2 = model("gpt2", &[100]);
    fs::remove_file(gpt2.0.join("tokenizer.json")).unwrap();
    score(gpt2.path()).fails(1, "tokenizer.json", "a model is a folder with");
    let gpt2 = model("gpt2", &[100]);
    gpt2.write("generation_config.json", "{");
    score(gpt2.path()).fails(1, "generation_config.json: EOF", "repair the file");
    let gpt2 = model("gpt2", &[100]);
    let weights = fs::read(gpt2.0.join("model.safetensors")).unwrap();
    gpt2.write("model.safetensors", &weights[..weights.len() / 2]);
    score(gpt2.path()).fails(1, "incomplete safetensors file", "a model is a folder with");
    let gpt2 = model("gpt2", &[100]);
    fs::copy(fixture::goldens().join("tokenizers/byte_bpe/tokenizer.json"), gpt2.0.join("tokenizer.json")).unwrap();
    score(gpt2.path()).fails(1, "ids below 101", "tokenizer.json belongs to this model");
    let gpt2 = model("gpt2", &[100]);
    gpt2.write("config.json", "{\"model_type\": \"gtp2\"}");
    score(gpt2.path()).fails(1, "did you mean `gpt2`?", "stepfn list families");
}

#[test]
fn what_is_typed_wrong_is_answered_with_what_is_right() {
    let gpt2 = model("gpt2", &[100]);
    let score = |more: &[&str]| stepfn(["score", "-m", gpt2.path()].iter().chain(more));
    score(&["t1 t2", "--step-fn", "entrpy"]).fails(2, "did you mean `entropy`?", "stepfn list step-functions");
    score(&["t1 t2", "--step-fn", "rank,rank"]).fails(2, "names `rank` twice", "once");
    score(&["t1 t2", "--backend", "cuba"]).fails(2, "invalid value 'cuba'", "'cuda'");
    score(&["t1 t2", "--formt", "json"]).fails(2, "unexpected argument '--formt'", "'--format'");
    score(&["t1 t2", "--device", "7"]).fails(2, "no CPU device `7`", "stepfn list backends");
    score(&["t1 t2", "--memory", "lots"]).fails(2, "800MB or 8GiB", "stepfn score --help");
    score(&["t1 t2", "--batch-tokens", "0"]).fails(2, "`batch_tokens` must be 1 or more, not 0", "change this option");
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
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        let arguments = [OsStr::new("score"), OsStr::new("-m"), gpt2.0.as_os_str(), OsStr::from_bytes(b"t1 \xFF")];
        stepfn(arguments).fails(2, "invalid UTF-8", "--help");
    }
}

#[test]
fn texts_that_can_not_be_scored_say_why() {
    let gpt2 = model("gpt2", &[100]);
    let score = |more: &[&str]| stepfn(["score", "-m", gpt2.path()].iter().chain(more));
    score(&[""]).fails(1, "the target is empty", "change the text");
    score(&["t1"]).fails(1, "the target has 1 token; it needs two or more", "change the text");
    score(&[&words(&[1; 66])]).fails(1, "the target has 65 tokens, and the model has positions for 64", "text");
    score(&["--source", "t1 t2", "--target", "t1 t3"]).fails(
        1,
        "after \"t1 t\" the prompt goes on with",
        "change the text",
    );
    score(&["--source", &words(&[1; 65])]).fails(1, "the model has positions for 64", "change the text");
    score(&["t1 unknown"]).fails(1, "tokenizer.json", "");
    let marian = model("marian", &[0, 97]);
    let pair = |more: &[&str]| stepfn(["score", "-m", marian.path()].iter().chain(more));
    pair(&["--target", "t1"]).fails(1, "there is no source for it to read", "change the text");
    pair(&["t1", "--source", "t2"]).fails(2, "a text alone is the source of this model", "leave out one");
    pair(&["--source", "t1", "--target", ""]).fails(1, "the target is empty", "text");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error() {
    let gpt2 = model("gpt2", &[100]);
    for format in ["table", "json", "jsonl", "csv"] {
        let full = || fs::File::options().write(true).open("/dev/full").unwrap();
        let args = ["score", "-m", gpt2.path(), "t1 t2", "t3 t4", "--format", format];
        let done: Done = program().args(args).stdout(full()).output().unwrap().into();
        done.fails(1, "standard output: No space left on device", "free some space");
        stepfn(args.iter().chain(&["-o", "/dev/full"])).fails(1, "/dev/full: No space left on device", "-o");
    }
    let done: Done = program()
        .args(["completions", "bash"])
        .stdout(fs::File::options().write(true).open("/dev/full").unwrap())
        .output()
        .unwrap()
        .into();
    done.fails(1, "No space left on device", "free some space");
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
