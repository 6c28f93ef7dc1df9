//! `stepfn score`: from texts and lines to numbers.

#![allow(clippy::unwrap_used, reason = "a test that can't continue should fail")]

#[allow(dead_code, reason = "the tests of other commands need more of it")]
mod fixture;

use serde_json::{Value, json};

use self::fixture::{
    Done, Scratch, close, golden_ids, golden_log_probs, model, numbers, stepfn, stepfn_reading, words,
};

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
    assert_eq!(
        scored.as_object().unwrap().keys().collect::<Vec<_>>(),
        ["about", "first", "id", "scores", "sequence", "source_text", "target_text", "tokens"]
    );

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
    stepfn(args).fails(2, "compares with a contrast, and there is none", "--contrast-source");
    let outside = ["--contrast-target", "t1 t4", "--align", "0:0,1:1"];
    stepfn(args.iter().chain(&outside)).fails(2, "alignment pair 1:1 is out of range", "--align counts");
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
    assert_eq!(lines[0], "id,position,token,token_id,start,end,rank,probability");
    assert!(lines[1].starts_with("1,1,t2,2,3,5,") && lines[3].starts_with("2,1,t5,5,3,5,"), "{}", csv.out);
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
            stepfn(["score", "-m", gpt2.path(), "--step-fn", "entropy", "--memory", "1MiB", text, "--format", "json"]);
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
    assert_eq!(results[0]["scores"], results[7]["scores"]);
    assert_eq!((&results[0]["id"], &results[7]["id"]), (&json!(1), &json!(8)));
    close(&numbers(&results[0]["scores"]["probability"]), &numbers(&results[7]["scores"]["probability"]));
    for (line, says) in [
        (2, "the target is empty"),
        (3, "not UTF-8, from byte 15 on"),
        (4, "unknown field `targt` (did you mean `target`?)"),
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
    let args = ["score", "-m", gpt2.path(), "--format", "json", "-q", "--input", "-"];
    let one = stepfn_reading(good, &args).json();
    assert_eq!(one.as_array().unwrap().len(), 1);
    let none = stepfn_reading("", &args).json();
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
fn nothing_that_is_given_is_ignored() {
    for command in ["score", "attribute"] {
        let asked = |more: &[&str]| stepfn([command, "cat"].iter().chain(more));
        for option in ["--contrast-source", "--contrast-target"] {
            asked(&[option, "dog"]).fails(2, "no step function asked for compares", "contrast_prob_diff");
        }
        asked(&["--align", "0:0"]).fails(2, "no step function asked for compares", "contrast_prob_diff");
        asked(&["--dropout", "0.1"]).fails(2, "no step function asked for runs the model with dropout", "mc_dropout");
        asked(&["dog", "--target", "K"]).fails(2, "--target: one for 2 texts", "--input");
        asked(&["--memory", "1KiB"]).fails(2, "1MiB or more", "--help");
        asked(&["--memory", "1e30"]).fails(2, "a size that a machine may have", "--help");
        asked(&["--keep", "item"]).fails(2, "--keep: texts on the command line", "--input FILE");
        asked(&["--input", "-", "--keep", ""]).fails(2, "'--keep <FIELDS>'", "--help");
        asked(&["--target", "K", "--max-new-tokens", "3"]).fails(2, "so the model writes nothing", "--target");
        for option in ["--top", "--seed", "--memory", "--max-new-tokens", "--dropout"] {
            asked(&[option, "-1"]).fails(2, "expected a", "--help");
        }
    }
    stepfn(["attribute", "cat", "--batch-tokens", "9"]).fails(2, "unexpected argument '--batch-tokens'", "");
    stepfn(["attribute", "cat", "--contrast-force-inputs"]).fails(2, "--contrast-force-inputs: no step", "pcxmi");
    stepfn(["attribute", "cat", "--raw", "--aggregate", "vnorm"]).fails(2, "'--raw'", "");
    let twice =
        ["score", "--source", "cat", "--target", "K AE1 T", "--contrast-target", "K AH0 T", "--step-fn", "pcxmi"];
    stepfn(twice.iter().chain(&["--align", "0:0,0:1"])).fails(2, "pairs step 0 twice", "--align counts");
}

#[test]
fn texts_that_can_not_be_scored_say_why() {
    let gpt2 = model("gpt2", &[100]);
    let score = |more: &[&str]| stepfn(["score", "-m", gpt2.path()].iter().chain(more));
    score(&[""]).fails(1, "the target is empty", "change the text");
    score(&["t1"]).fails(1, "the target has 1 token; it needs two or more", "change the text");
    score(&[&words(&[1; 66])]).fails(1, "the target has 65 tokens, and the model can read 64", "text");
    score(&["--source", "t1 t2", "--target", "t1 t3"]).fails(
        1,
        "after \"t1 t\" the prompt goes on with",
        "change the text",
    );
    score(&["--source", &words(&[1; 65])]).fails(1, "the model can read 64", "change the text");
    score(&["t1 unknown"]).fails(1, "tokenizer.json", "");
    let marian = model("marian", &[0, 97]);
    let pair = |more: &[&str]| stepfn(["score", "-m", marian.path()].iter().chain(more));
    pair(&["--target", "t1"]).fails(1, "there is no source for it to read", "change the text");
    pair(&["t1", "--source", "t2"]).fails(2, "a text alone is the source of this model", "leave out one");
    pair(&["--source", "t1", "--target", ""]).fails(1, "the target is empty", "text");
}

#[test]
fn a_chat_is_scored_as_the_text_that_its_template_makes() {
    let folder = model("gpt2", &[]);
    let chat = ["score", "-m", folder.path(), "--format", "json", "--chat", "t7"];
    stepfn(chat).fails(1, "the model has no chat template", "give the whole prompt as a text");
    let template = "{% for m in messages %}{{ 't5 ' if m.role == 'user' else 't6 ' }}{{ m.content }} {% endfor %}{% if add_generation_prompt %}t6 {% endif %}";
    folder.write("chat_template.jinja", template);

    let text = ["--source", "t5 t7 t6", "--target", "t5 t7 t6 t8"];
    let as_text = stepfn(["score", "-m", folder.path(), "--format", "json"].iter().chain(&text)).json();
    let answered = stepfn(chat.iter().chain(&["--target", "t8"])).json();
    let line = r#"{"messages": [{"role": "user", "content": "t7"}, {"role": "assistant", "content": "t8"}]}"#;
    let from_line = stepfn_reading(line, &["score", "-m", folder.path(), "--format", "jsonl", "--input", "-"]).json();
    for found in [&answered, &from_line] {
        assert_eq!((&found["scores"], &found["first"]), (&as_text["scores"], &as_text["first"]));
        assert_eq!(found["target_text"], "t5 t7 t6 t8");
    }
    let user = json!({
        "role": "user", "content": { "start": 3, "end": 5 }, "whole": { "start": 0, "end": 6 },
    });
    assert_eq!(answered["messages"], json!([user]));
    assert_eq!(from_line["messages"][1]["content"], json!({ "start": 9, "end": 11 }));

    let args = ["generate", "-m", folder.path(), "--max-new-tokens", "3", "--format", "json"];
    let prompt = stepfn(args.iter().chain(&["t5 t7 t6 "])).json();
    let chat = stepfn(args.iter().chain(&["--chat", "t7"])).json();
    assert_eq!((&chat["ids"], &chat["source"]), (&prompt["ids"], &prompt["source"]));
    stepfn(args.iter().chain(&["--chat-template", "x", "t5"])).fails(2, "--chat-template: there is no chat", "--chat");
    let named = stepfn(args.iter().chain(&["--chat", "t7", "--chat-template", "x"]));
    named.fails(1, "the model has no chat template `x`, but `default`", "give the whole prompt");
}
