//! `stepfn generate`: what models write.

#![allow(clippy::unwrap_used, reason = "a test that can't continue should fail")]

#[allow(dead_code, reason = "the tests of other commands need more of it")]
mod fixture;

use serde_json::Value;

use self::fixture::{close, golden_ids, model, numbers, stepfn, stepfn_reading, words};

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
    assert_eq!(csv.out.lines().next(), Some("id,source,text,score,finished"));
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
    let with_codes = model("marian", &[9]);
    let tagged = stepfn(["generate", "-m", with_codes.path(), "t5", "--target-lang", "t9", "--format", "json"]).json();
    assert_eq!(tagged["ids"][0], 9);
    let args = ["generate", "-m", marian.path(), "t5"];
    stepfn(args.iter().chain(&["--target-lang", "deu"])).fails(2, "no language `deu` for the target", "leave it out");
    stepfn(args.iter().chain(&["--target-lang", "t9"])).fails(2, "`t9` is a token of this model", "code of a language");
    let gpt2 = model("gpt2", &[100]);
    stepfn(["generate", "-m", gpt2.path(), "t5", "--target-lang", "t9"]).fails(2, "continues a text", "leave it out");
    // What is not read is not taken.
    let unused = |setting: &str| stepfn(args.iter().chain(&["--generation", setting]));
    unused("temperature=0.3").fails(2, "`temperature` must be left out, or do_sample=true with it", "");
    unused("top_k=3").fails(2, "`top_k` must be left out", "");
    let greedy = ["--generation", "num_beams=1", "--generation", "length_penalty=2"];
    stepfn(args.iter().chain(&greedy)).fails(2, "`length_penalty` must be left out, or num_beams=2", "");
    unused("eos_token_id=[0, 99999999]").fails(2, "`eos_token_id` must be a token id below", "");
    unused("decoder_start_token_id=99999999").fails(2, "`decoder_start_token_id` must be a token id below", "");
    let twice = ["--generation", "num_beams=2", "--generation", "num_beams=3"];
    stepfn(args.iter().chain(&twice)).fails(2, "--generation has `num_beams` twice", "once");
    let both = ["--generation", "max_new_tokens=2", "--max-new-tokens", "3"];
    stepfn(args.iter().chain(&both)).fails(2, "the same setting", "one of them");
    stepfn(args.iter().chain(&["--generation", "max_tokens=1"])).fails(
        2,
        "generation has no parameter `max_tokens`",
        "spelling",
    );
    stepfn(args.iter().chain(&["--generation", "num_beams=0"])).fails(2, "num_beams", "change this generation setting");
}

#[test]
fn a_conversation_needs_a_template() {
    let template = "{% for message in messages %}{{ message['content'] }} {% endfor %}";
    let gpt2 = model("gpt2", &[100]);
    stepfn(["generate", "-m", gpt2.path(), "--chat", "t1 t2"]).fails(1, "no chat template", "the whole prompt");
    gpt2.write("chat_template.jinja", template);
    let asked = |more: &[&str]| stepfn(["generate", "-m", gpt2.path(), "--format", "json"].iter().chain(more));
    let prompt = asked(&["t3 t1 t2"]).json();
    let chat = asked(&["--chat", "t1 t2", "--system", "t3"]).json();
    assert_eq!(chat["ids"], prompt["ids"]);
    let scratch = fixture::Scratch::new();
    let line =
        r#"{"id": "a", "messages": [{"role": "system", "content": "t3"}, {"role": "user", "content": "t1 t2"}]}"#;
    let lines = asked(&["--input", &scratch.write("lines", line)]).json();
    assert_eq!((&lines[0]["ids"], &lines[0]["id"]), (&prompt["ids"], &Value::from("a")));
    let wrong = scratch.write("wrong", r#"{"messages": [{"role": "user"}]}"#);
    let wrong = asked(&["--input", &wrong]);
    assert!(wrong.code == 1 && wrong.err.contains("`messages`, number 1: a message needs a `content`"), "{wrong:?}");
    asked(&["--system", "t3"]).fails(2, "--chat", "");
}
