//! Models of masked tokens on the command line.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[allow(dead_code, reason = "the tests of other commands need more of it")]
mod fixture;

use serde_json::Value;

use self::fixture::{goldens, model, stepfn};

fn bert() -> String {
    goldens().join("../replicas/bert").display().to_string()
}

#[test]
fn masked_tokens_are_scored_and_attributed() {
    let score = |masking: &[&str]| -> Value {
        let done = stepfn(["score", "-m", &bert(), "the ship sails", "--format", "json"].iter().chain(masking));
        assert_eq!(done.code, 0, "{done:?}");
        serde_json::from_str(&done.out).unwrap()
    };
    let (plain, token, word) = (score(&[]), score(&["--masking", "token"]), score(&["--masking", "word"]));
    assert_eq!(plain["scores"], token["scores"]);
    assert_ne!(plain["sequence"], word["sequence"]);
    assert_eq!(word["about"]["parameters"]["masking"], "word");
    assert_eq!(plain["tokens"][0]["token"], "[CLS]");
    assert_eq!(plain["first"], 1);
    let done =
        stepfn(["attribute", "-m", &bert(), "the ship sails", "--method", "occlusion", "--from", "2", "--to", "3"]);
    assert_eq!(done.code, 0, "{done:?}");
    let families = stepfn(["list", "families"]);
    assert!(["bert", "roberta", "modernbert"].iter().all(|name| families.out.contains(name)), "{families:?}");
}

#[test]
fn what_such_a_model_can_not_do_is_said() {
    for (arguments, says) in [
        (&["generate", "the ship"][..], "can't write a text; give the whole text as the target"),
        (&["score", "--source", "the ship"], "can't write a text"),
        (&["score", "--chat", "the ship"], "can't answer a chat"),
    ] {
        let done = stepfn(arguments.iter().copied().chain(["-m", &bert()]));
        assert!(done.code != 0 && done.err.contains(says), "{done:?}");
    }
    for done in [stepfn(["bench", "-m", &bert()]), stepfn(["verify", &bert()])] {
        assert!(done.code == 2 && done.err.contains("predicts masked tokens"), "{done:?}");
    }
    let gpt2 = model("gpt2", &[100]);
    let done = stepfn(["score", "-m", gpt2.path(), "t5 t6", "--masking", "word"]);
    assert!(done.code != 0 && done.err.contains("masks nothing"), "{done:?}");
    stepfn(["score", "-m", &bert(), "x", "--masking", "sentence"]).fails(2, "sentence", "");
}
