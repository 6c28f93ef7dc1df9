//! Words, sentences and whole answers that are attributed as one.

use stepfn::backend::DefaultBackend;
use stepfn::functions::{Entropy, Probability};
use stepfn::{
    Answer, Attention, AttributeTask, ErrorKind, Input, InputXGradient, Occlusion, Saliency, TargetUnit, Unit,
};

use super::{g2p, values, verse};

const TEXT: &str = "And God said, Let there be light. And there was light. And it was so.";

fn column_texts(answer: &Answer) -> Vec<String> {
    (0..answer.columns()).map(|column| answer.column_text(column)).collect()
}

#[test]
fn units_are_columns_and_are_named_by_their_text() {
    let model = verse();
    let of = |unit| model.ask(TEXT).source("And God said,").unit(unit).attribute(Saliency::default()).unwrap();
    let sentences = of(TargetUnit::Sentence);
    assert_eq!(column_texts(&sentences), [" Let there be light.", " And there was light.", " And it was so."]);
    assert_eq!(sentences.target_scores.as_ref().unwrap().steps(), 3);
    assert_eq!(column_texts(&of(TargetUnit::Answer)), [&TEXT[13..]]);
    assert_eq!(of(TargetUnit::Word).columns(), 12);
    let tokens = of(TargetUnit::Token);
    assert!(tokens.spans.is_empty() && tokens.columns() == tokens.steps.len());
    assert!(sentences.check().is_ok());
}

#[test]
fn the_function_of_units_is_the_log_probability_unless_another_is_chosen() {
    let model = verse();
    let ask = || model.ask(TEXT).unit(TargetUnit::Answer).raw();
    let default = ask().attribute(InputXGradient::default()).unwrap();
    let log = ask().function(Probability { logprob: true }).attribute(InputXGradient::default()).unwrap();
    assert_eq!(values(&default), values(&log));
    assert_eq!(default.about.parameters["probability"]["logprob"], true);
    let entropy = ask().function(Entropy::default()).attribute(InputXGradient::default()).unwrap();
    assert_ne!(values(&entropy), values(&log));
}

#[test]
fn units_in_bytes_are_the_tokens_that_they_touch() {
    let model = verse();
    let answer = model.ask(TEXT).units([38..43, 14..17]).attribute(Occlusion::default()).unwrap();
    assert_eq!(column_texts(&answer).iter().map(|text| text.trim()).collect::<Vec<_>>(), ["Let", "there"]);
    let wrong = model
        .ask(TEXT)
        .source("And God said,")
        .units(std::iter::once(4..7))
        .attribute(Saliency::default())
        .unwrap_err();
    assert_eq!(wrong.kind(), ErrorKind::Text);
    assert!(wrong.what().contains("which is not asked about"), "{wrong}");
    let scored = model.ask(TEXT).units(std::iter::once(4..7)).score((Probability::default(),)).unwrap_err();
    assert!(scored.what().contains("nothing is attributed"), "{scored}");
}

#[test]
fn step_scores_of_units_are_joined_and_files_keep_units() {
    let model = verse();
    let answer = model
        .ask(TEXT)
        .unit(TargetUnit::Sentence)
        .step_scores((Probability { logprob: true },))
        .attribute(Saliency::default())
        .unwrap();
    let tokens = model.ask(TEXT).score((Probability { logprob: true },)).unwrap();
    let whole: f32 = tokens.values("probability").unwrap().iter().sum();
    let joined: f32 = answer.step_scores["probability"].iter().sum();
    assert!((whole - joined).abs() < 1e-3, "{joined} of {whole}");

    let json = serde_json::to_string(&answer.0).unwrap();
    let back = stepfn::read(&json).unwrap().remove(0).result.unwrap();
    assert_eq!((&back.spans, back.columns()), (&answer.spans, 3));
    let csv = answer.to_string();
    assert!(csv.lines().count() > 3);
    // Every view shows a token for each unit.
    for format in ["table", "html", "svg", "inseq", "csv", "jsonl"] {
        let folder = std::env::temp_dir().join(format!("stepfn-units-{}-{format}", std::process::id()));
        answer.save_as(format, &folder).unwrap();
        let text = std::fs::read_to_string(&folder).unwrap();
        assert!(text.contains("And it was so"), "{format}: {text}");
        std::fs::remove_file(folder).unwrap();
    }
}

#[test]
fn aggregation_merges_the_input_and_keeps_units() {
    let answer = verse().ask(TEXT).unit(TargetUnit::Sentence).attribute(Saliency::default()).unwrap();
    let words = answer.aggregate("subwords").unwrap();
    assert_eq!((words.columns(), column_texts(&words)), (3, column_texts(&answer)));
    assert!(words.target.len() < answer.target.len());
    let sentences = answer.aggregate("sentences,normalize").unwrap();
    assert_eq!(sentences.target.iter().filter(|token| !token.special).count(), 3);
}

#[test]
fn sentences_and_lines_are_hidden_as_one() {
    let model = verse();
    for unit in [Unit::Sentences, Unit::Lines] {
        let text = "And God said.\nLet there be light. And there was light.";
        let answer = model.ask(text).source("And God said.\nLet there be light.").features(unit);
        let answer = answer.attribute(Occlusion { abs: false, ..Occlusion::default() }).unwrap();
        let scores = answer.target_scores.as_ref().unwrap();
        let first = answer.target.iter().position(|token| token.surface.contains("God")).unwrap();
        assert_eq!(scores.at(first, 0), scores.at(first + 1, 0), "{}", unit.name());
    }
}

#[test]
fn what_has_no_function_takes_no_units() {
    let model = g2p();
    let task = AttributeTask::<DefaultBackend> { unit: TargetUnit::Answer, ..AttributeTask::new(Attention::default()) };
    assert_eq!(task.check().unwrap_err().kind(), ErrorKind::Option);
    let wrong =
        model.ask_about(Input::source("cat")).unit(TargetUnit::Word).attribute(Attention::default()).unwrap_err();
    assert!(wrong.what().contains("scores each step by itself"), "{wrong}");
}

#[test]
fn documents_are_hidden_as_one() {
    let model = verse();
    let text = "And God said, Let there be light.\n\nAnd there was light.\n\nAnd it was so.";
    let prompt = "And God said, Let there be light.\n\nAnd there was light.\n\n";
    let hide =
        |ask: stepfn::Ask<'_, _>| values(&ask.source(prompt).prompt_only().attribute(Occlusion::default()).unwrap());
    let by_mark = hide(model.ask(text).features(Unit::Documents));
    let given = hide(model.ask(text).documents(["And God said, Let there be light.", "And there was light."]));
    let second = text.find("And there").unwrap();
    let by_bytes = hide(model.ask(text).target_spans([0..33, second..second + 20]));
    assert_eq!(given, by_bytes);
    assert_eq!(given, by_mark);
    assert_ne!(given, hide(model.ask(text)));
    let missing = model.ask(text).documents(["And it was not"]).attribute(Occlusion::default()).unwrap_err();
    assert!(missing.what().contains("document 1 is not in the text"), "{missing}");
    let refused = model.ask(text).features(Unit::Documents).attribute(Saliency::default()).unwrap_err();
    assert!(refused.what().contains("cannot hide documents"), "{refused}");
    let unread =
        model.ask(text).documents(["And it"]).features(Unit::Words).attribute(Occlusion::default()).unwrap_err();
    assert!(unread.what().contains("documents are not what is hidden"), "{unread}");
}
