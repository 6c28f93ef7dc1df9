//! `stepfn compare`, and scores by word, as a user runs them.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[allow(dead_code, reason = "the tests of other commands need more of it")]
mod fixture;

use serde_json::{Value, json};

use self::fixture::{Done, golden_ids, model, stepfn, stepfn_reading, words};

fn compare(rest: &[&str]) -> Done {
    stepfn(["compare", "-m", "verse"].iter().chain(rest))
}

fn lines(lines: &[Value]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// What the program said of each line.
fn each(done: &Done) -> Vec<Value> {
    done.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn two_texts_are_compared() {
    let (good, bad) = ("And God said, Let there be light", "And God said, Let there be lights");
    let one = compare(&[good, bad, "--format", "json"]).json();
    let scores = stepfn(["score", "-m", "verse", good, bad, "--format", "json"]).json();
    for (text, scored) in one["texts"].as_array().unwrap().iter().zip(scores.as_array().unwrap()) {
        let [ours, theirs] = [&text["score"], &scored["sequence"]["logprob"]].map(|number| number.as_f64().unwrap());
        assert!((ours - theirs).abs() < 1e-4, "{ours} {theirs}");
    }
    assert_eq!(one["prefers"], true);
    let difference = one["texts"][0]["score"].as_f64().unwrap() - one["texts"][1]["score"].as_f64().unwrap();
    assert!((one["difference"].as_f64().unwrap() - difference).abs() < 1e-9);
    let table = compare(&[bad, good]);
    assert!(table.out.contains("not as expected, difference"), "{}", table.out);
    let tie = compare(&[good, good, "--format", "json"]).json();
    assert_eq!((&tie["prefers"], tie["difference"].as_f64()), (&json!(false), Some(0.0)), "a tie is not preferred");
    let per_token = compare(&[good, bad, "--criterion", "token", "--format", "json"]).json();
    let text = &per_token["texts"][0];
    assert!(
        (text["score"].as_f64().unwrap() * text["tokens"].as_f64().unwrap() - text["logprob"].as_f64().unwrap()).abs()
            < 1e-9
    );
    // What they all follow.
    let prompted = compare(&["light", "lights", "--source", "And God said, Let there be", "--format", "json"]).json();
    let [first, whole] = [&prompted["texts"][0]["logprob"], &one["texts"][0]["logprob"]].map(|x| x.as_f64().unwrap());
    assert!(first > whole && prompted["texts"][0]["tokens"] == 1);
}

#[test]
fn lines_are_counted_by_group() {
    let pair = |good: &str, bad: &str, group: &str| json!({ "sentence_good": good, "sentence_bad": bad, "UID": group, "pairID": 3 });
    let input = lines(&[
        pair("And God said", "And God say", "verbs"),
        pair("And God say", "And God said", "verbs"),
        pair("the king of Egypt", "the king Egypt of", "order"),
    ]);
    let args = ["compare", "-m", "verse", "--input", "-", "--group-by", "UID", "--format"];
    let with = |rest: &[&str]| stepfn_reading(&input, &[&args[..], rest].concat());
    let pairs = each(&with(&["jsonl"]));
    assert_eq!(pairs.iter().map(|pair| pair["prefers"].as_bool().unwrap()).collect::<Vec<_>>(), [true, false, true]);
    assert_eq!((&pairs[0]["group"], &pairs[2]["group"]), (&json!("verbs"), &json!("order")));
    let summary = with(&["json", "--summary"]).json();
    assert_eq!(summary[0]["group"], "verbs");
    assert_eq!((summary[0]["n"].as_u64(), summary[0]["accuracy"].as_f64()), (Some(2), Some(0.5)));
    assert_eq!((summary[1]["n"].as_u64(), summary[1]["low"].is_null()), (Some(1), true));
    let all = &summary[2];
    assert_eq!((&all["group"], all["n"].as_u64()), (&Value::Null, Some(3)));
    assert!(all["low"].as_f64().unwrap() < all["accuracy"].as_f64().unwrap());
    let csv = with(&["csv", "--summary"]).out;
    assert!(csv.starts_with("group,n,accuracy,low,high\nverbs,2,0.5,0,1\norder,1,1,,\nall,3,"), "{csv}");
    let csv = with(&["csv"]).out;
    assert!(csv.starts_with("id,group,score_sentence_good,score_sentence_bad,logprob_sentence_good,"), "{csv}");
    let table = with(&["table"]).out;
    assert!(table.contains("text 1") && table.contains("accuracy") && table.contains("order"), "{table}");
}

#[test]
fn regions_and_formulas_decide() {
    let regions = |verb: &str| json!([{ "name": "subject", "content": "And God" }, { "name": "verb", "content": verb }, "unto them"]);
    let input = lines(&[json!({ "id": "a", "plural": regions("said"), "singular": regions("say") })]);
    let args = ["compare", "-m", "verse", "--input", "-", "--columns", "plural,singular", "--format", "jsonl"];
    let with = |rest: &[&str]| stepfn_reading(&input, &[&args[..], rest].concat());
    let by_region = each(&with(&["--region", "verb"])).remove(0);
    assert_eq!(by_region["prefers"], true);
    assert_eq!(by_region["texts"][0]["text"], "And God said unto them");
    let bits = |text: usize, region: usize| by_region["texts"][text]["regions"][region][1].as_f64().unwrap();
    assert!((by_region["texts"][0]["score"].as_f64().unwrap() + bits(0, 1) * std::f64::consts::LN_2).abs() < 1e-6);
    let sum: f64 = (0..3).map(|region| bits(0, region)).sum();
    let logprob = by_region["texts"][0]["logprob"].as_f64().unwrap();
    assert!((sum * std::f64::consts::LN_2 + logprob).abs() < 1e-3, "regions that are all of a text add up to it");
    assert_eq!(each(&with(&["--region", "2"]))[0]["difference"], by_region["difference"]);
    for (formula, holds) in
        [("singular[verb] > plural[verb]", true), ("(singular[2] - plural[2] > 0) & (plural > singular)", false)]
    {
        let found = each(&with(&["--formula", formula])).remove(0);
        assert_eq!((found["prefers"].as_bool(), found["difference"].is_null()), (Some(holds), true), "{formula}");
        assert_eq!(found["about"]["parameters"]["criterion"], formula);
    }
    let failed = with(&["--region", "object"]);
    assert_eq!(failed.code, 1);
    assert!(each(&failed)[0]["error"].as_str().unwrap().contains("`plural` has no region `object`"), "{}", failed.out);
}

#[test]
fn step_functions_have_values_of_each_text() {
    let (good, bad) = ("And God said unto them", "And God say unto them");
    let functions = ["--step-fn", "entropy,renyi_entropy,surprisal", "--set", "alpha=2"];
    let one = compare(&[&[good, bad, "--format", "json"], &functions[..]].concat()).json();
    for text in one["texts"].as_array().unwrap() {
        let alone = ["score", "-m", "verse", text["text"].as_str().unwrap(), "--by", "text", "--format", "json"];
        let scored = stepfn(alone.iter().chain(&functions)).json();
        let own = text["scores"].as_object().unwrap();
        assert_eq!(own.len(), 3);
        for (name, value) in own {
            let theirs = scored["units"][0]["scores"][name].as_f64().unwrap();
            assert!((value.as_f64().unwrap() / theirs - 1.0).abs() < 1e-4, "{name}: {value} {theirs}");
        }
    }
    assert_eq!(one["about"]["parameters"]["renyi_entropy"]["alpha"], 2.0);
    let table = compare(&[&[good, bad], &functions[..]].concat()).out;
    assert!(table.lines().next().unwrap().ends_with("surprisal"), "{table}");
    let csv = compare(&[&[good, bad, "--format", "csv"], &functions[..]].concat()).out;
    assert!(csv.contains(",entropy_1,entropy_2,renyi_entropy_1,"), "{csv}");
    assert_eq!(csv.lines().nth(1).unwrap().split(',').count(), 1 + 1 + 4 + 6 + 2);
    let noisy =
        compare(&[good, bad, "--step-fn", "mc_dropout_prob_avg", "--dropout", "0.1", "--format", "json"]).json();
    assert!(noisy["texts"][1]["scores"]["mc_dropout_prob_avg"].is_number());
    compare(&[good, bad, "--step-fn", "kl_divergence"]).fails(2, "compares with a contrast", "leave it out");
    compare(&[good, bad, "--dropout", "0.1"]).fails(2, "--dropout", "mc_dropout_prob_avg");
}

#[test]
fn items_of_syntax_gym_are_compared() {
    let condition = |name: &str, verb: &str| json!({ "condition_name": name, "regions": [{ "region_number": 1, "content": "And God" }, { "region_number": 2, "content": verb }] });
    let input =
        lines(&[json!({ "item_number": 1, "conditions": [condition("match", "said"), condition("mismatch", "say")] })]);
    let args = ["compare", "-m", "verse", "--input", "-", "--columns", "match,mismatch", "--format", "jsonl"];
    let found =
        each(&stepfn_reading(&input, &[&args[..], &["--formula", "mismatch[2] > match[2]"]].concat())).remove(0);
    assert_eq!((&found["prefers"], &found["texts"][0]["text"]), (&json!(true), &json!("And God said")));
}

#[test]
fn wrong_usage_of_compare_is_told_before_a_model_is_loaded() {
    for (args, says) in [
        (&["a"][..], "fewer than two texts"),
        (&["a", "b", "--columns", "x,y"], "--columns"),
        (&["a", "b", "--group-by", "x"], "--group-by"),
        (&["--columns", "x,y"], "--input"),
        (&["--input", "-", "--columns", "x"], "--columns: one text"),
        (&["--input", "-", "--formula", "x +"], "the formula `x +` has its end"),
        (&["--input", "-", "--region", "x", "--criterion", "word"], "--region"),
        (&["a", "b", "--long", "half"], "--long"),
    ] {
        let done = stepfn(["compare", "-m", "no-such-model"].iter().chain(args));
        assert_eq!((done.code, done.err.contains(says)), (2, true), "{says}: {done:?}");
    }
}

#[test]
fn scores_by_word_have_a_row_for_each_word() {
    let text = "And God said, Let there be light.";
    let run = |rest: &[&str]| stepfn(["score", "-m", "verse", "--step-fn", "surprisal,probability"].iter().chain(rest));
    let csv = run(&[text, "--by", "word", "--format", "csv"]).out;
    let rows: Vec<&str> = csv.lines().collect();
    assert_eq!(rows[0], "id,position,word,name,start,end,tokens,surprisal,probability");
    assert_eq!(rows.len(), 8);
    assert!(rows[3].starts_with("1,2,\"said,\",,8,13,2,"), "{}", rows[3]);
    let json = run(&[text, "--by", "word", "--bow-correction", "--format", "json"]).json();
    assert_eq!((&json["by"], json["units"].as_array().unwrap().len()), (&json!("word"), 7));
    assert_eq!(json["about"]["parameters"]["bow_correction"], "published");
    let minicons = run(&[text, "--by", "word", "--bow-correction=minicons", "--format", "json"]).json();
    assert_ne!(minicons["units"][6]["scores"], json["units"][6]["scores"]);
    assert!(run(&[text, "--by", "sentence"]).out.lines().nth(1).unwrap().contains("And·God·said,·Let·there·be·light."));
    // Words and regions of one's own.
    let input = lines(&[
        json!({ "id": 1, "text": "Don't go.", "words": ["Do", "n't", "go."] }),
        json!({ "id": 2, "text": "Don't go.", "words": ["Don't", "stay"] }),
    ]);
    let done = stepfn_reading(&input, &["score", "-m", "verse", "--input", "-", "--by", "word", "--format", "jsonl"]);
    let found = each(&done);
    assert_eq!(found[0]["units"].as_array().unwrap().len(), 3);
    assert!(found[1]["error"].as_str().unwrap().contains("word 2 of `words`"), "{}", found[1]);
    let regions = lines(&[json!({ "text": "And God said", "regions": ["And", { "name": "who", "text": "God" }] })]);
    let done = stepfn_reading(&regions, &["score", "-m", "verse", "--input", "-", "--by", "region", "--format", "csv"]);
    assert!(done.out.lines().nth(2).unwrap().contains(",1,God,who,4,7,1,"), "{}", done.out);
    let other = stepfn_reading(&regions, &["attribute", "-m", "verse", "--input", "-", "--format", "jsonl"]);
    assert!(other.out.contains("and this is other work"), "{}", other.out);
    for (args, says) in [
        (&["--by", "sentence", "--bow-correction"][..], "the correction for where words begin is one of words"),
        (&["--by", "word", "--top", "3"], "--top: a table by word"),
        (&["--words", "unicode"], "words alone"),
    ] {
        let done = run(&[&[text][..], args].concat());
        assert!(done.code != 0 && done.err.contains(says), "{says}: {done:?}");
    }
}

#[test]
fn long_texts_are_an_error_unless_windows_are_asked_for() {
    let gpt2 = model("gpt2", &[100]);
    let ids = golden_ids("gpt2", "input_ids");
    let long: Vec<u32> = ids.iter().copied().filter(|&id| id != 100).cycle().take(150).collect();
    let run = |rest: &[&str]| {
        let text = words(&long);
        stepfn(
            ["score", "-m", gpt2.path(), &text, "--step-fn", "surprisal", "--format", "json"]
                .iter()
                .copied()
                .chain(rest.iter().copied()),
        )
    };
    assert!(run(&[]).err.contains("the model can read 64"));
    let windows = run(&["--long", "windows:16", "--by", "text"]).json();
    assert_eq!(windows["scores"]["surprisal"].as_array().unwrap().len(), 149);
    assert!(windows["scores"]["surprisal"].as_array().unwrap().iter().all(Value::is_f64));
    assert_eq!(windows["about"]["parameters"]["long"]["windows"], 16);
    let cut = run(&["--long", "truncate", "--by", "word"]).json();
    let scored = |unit: &Value| unit["scores"]["surprisal"].is_f64();
    let units = cut["units"].as_array().unwrap();
    assert_eq!((units.len(), units.iter().filter(|unit| scored(unit)).count()), (150, 64));
    let same = |at: usize| {
        cut["scores"]["surprisal"][at].as_f64().unwrap() - windows["scores"]["surprisal"][at].as_f64().unwrap()
    };
    assert!((0..64).all(|at| same(at).abs() < 1e-4));
}
