//! From strings to results, as a program that depends on the crate would do it.

#![cfg(all(feature = "cpu", feature = "zoo"))]
#![allow(clippy::unwrap_used, reason = "a test that can't continue should fail")]

mod aligned;
mod contexts;
mod own;
mod units;
mod words;

use std::cell::{Cell, RefCell};
use std::iter;
use std::ops::ControlFlow;
use std::path::PathBuf;

use stepfn::functions::{ContrastProbDiff, Entropy, McDropoutProbAvg, Probability, Rank, Surprisal};
use stepfn::writers::ANSWERS;
use stepfn::{
    Answer, AttributeTask, ErrorKind, Input, IntegratedGradients, LanguageModel, LoadOptions, Occlusion, Result,
    Saliency, ScoreTask, Value, json, read,
};

const LIGHT: &str = "And God said, Let there be light";

fn verse() -> LanguageModel {
    LanguageModel::load("verse").unwrap()
}

fn g2p() -> LanguageModel {
    LanguageModel::load("g2p").unwrap()
}

/// What the answer's scores are, by side; NaN is equal to NaN.
fn values(answer: &Answer) -> Vec<Option<u32>> {
    let sides = [&answer.source_scores, &answer.target_scores];
    sides.into_iter().flatten().flat_map(|scores| scores.values()).map(|x| (!x.is_nan()).then(|| x.to_bits())).collect()
}

#[test]
fn a_text_is_scored_from_its_string() {
    let scores = verse().ask(LIGHT).score((Probability::default(), Surprisal::default())).unwrap();
    let (probabilities, bits) = (scores.values("probability").unwrap(), scores.values("surprisal").unwrap());
    assert_eq!(probabilities.len(), scores.tokens().len());
    for (probability, bits) in probabilities.iter().zip(bits) {
        assert!((bits + probability.log2()).abs() < 1e-3, "{probability} {bits}");
    }
    let surfaces: String = scores.tokens().iter().map(|token| token.surface.as_str()).collect();
    assert!(LIGHT.ends_with(surfaces.trim_start()), "{surfaces}");
    assert!(scores.to_string().contains("surprisal"));
    assert_eq!((scores.about.model.as_str(), scores.about.backend.as_str()), ("verse", "cpu f32"));
    assert!(scores.values("entropy").is_none());
}

#[test]
fn alternatives_are_the_most_likely_tokens_of_every_kind_of_result() {
    let model = verse();
    let scored = model.ask(LIGHT).alternatives(3).score((Probability::default(), Rank::default())).unwrap();
    let answer = model.ask(LIGHT).alternatives(3).attribute(Saliency::default()).unwrap();
    assert_eq!(answer.alternatives, scored.alternatives);
    assert_eq!(scored.alternatives.len(), scored.tokens().len());
    let (probabilities, ranks) = (scored.values("probability").unwrap(), scored.values("rank").unwrap());
    for (step, alternatives) in scored.alternatives.iter().enumerate() {
        assert!(alternatives.windows(2).all(|pair| pair[0].probability >= pair[1].probability), "{alternatives:?}");
        // A token of rank 1 to 3 is among the three.
        let own = alternatives.iter().find(|other| other.id == scored.tokens()[step].id);
        assert_eq!(own.is_some(), ranks[step] <= 3.0, "{step}");
        if let Some(own) = own {
            assert!((own.probability - probabilities[step]).abs() < 1e-5, "{own:?}");
        }
    }
    // They are in JSON, in the table, and on the page; words that are merged have none.
    let read = read(&serde_json::to_string(&answer.0).unwrap()).unwrap().remove(0).result.unwrap();
    assert_eq!(read.alternatives, answer.alternatives);
    assert!(scored.to_string().contains("expected") && answer.html().contains("\"alternatives\":[["));
    let words = answer.aggregate("subwords").unwrap();
    assert_eq!(words.alternatives.len(), words.steps.len());
    let none = model.ask(LIGHT).score([Probability::default()]).unwrap();
    assert!(none.alternatives.is_empty() && !none.to_string().contains("expected"));
    let too_many = model.ask(LIGHT).alternatives(101).score([Probability::default()]).unwrap_err();
    assert_eq!(too_many.kind(), ErrorKind::Option);
}

#[test]
fn a_contrast_is_asked_about_from_the_token_that_differs() {
    let model = verse();
    let ask =
        || model.ask("And God said unto her").contrast("And God said unto him").function(ContrastProbDiff::default());
    let all = ask().attribute(IntegratedGradients::default()).unwrap();
    let last = all.target.len() - 1;
    let only = ask().from(last).attribute(IntegratedGradients::default()).unwrap();
    assert_eq!((only.steps.len(), only.about.attributed_fn.as_str()), (1, "contrast_prob_diff"));
    assert_eq!(all.steps.len(), last);
    // Before it, nothing can differ.
    assert_eq!(ask().to(last).attribute(Saliency::default()).unwrap_err().kind(), ErrorKind::SameContext);

    let missing = model.ask(LIGHT).function(ContrastProbDiff::default()).attribute(Saliency::default()).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::Contrast);
}

#[test]
fn a_text_without_a_target_is_written_first() {
    let model = g2p();
    let answer = model.ask("cat").attribute(Saliency::default()).unwrap();
    let written = model.ask("cat").generate().unwrap().remove(0);
    let target: Vec<u32> = answer.target.iter().map(|token| token.id).collect();
    assert!(target.windows(written.ids.len()).any(|ids| ids == written.ids), "{target:?} {:?}", written.ids);
    let given = model.ask("cat").target(written.text).attribute(Saliency::default()).unwrap();
    assert_eq!(values(&given), values(&answer));
    let both = model.ask("cat").target_side().attribute(Saliency::default()).unwrap();
    assert!(both.target_scores.is_some() && answer.target_scores.is_none());
}

#[test]
fn spans_and_words_are_hidden_as_one() {
    let model = verse();
    let spans = model.ask(LIGHT).target_spans(iter::once(0..7)).attribute(Occlusion::default()).unwrap();
    let scores = spans.target_scores.as_ref().unwrap();
    let last = spans.steps.len() - 1;
    let inside: Vec<usize> = (0..spans.target.len()).filter(|&token| spans.target[token].span.end <= 7).collect();
    let of_spans: Vec<f32> =
        inside.iter().map(|&token| scores.at(token, last)[0]).filter(|&score| score != 0.0).collect();
    assert!(of_spans.len() > 1 && of_spans.iter().all(|&score| score == of_spans[0]), "{of_spans:?}");
    let words = model.ask(LIGHT).words().attribute(Occlusion::default()).unwrap();
    assert_eq!(words.about.parameters["features"], "words");

    let error = model.ask(LIGHT).words().attribute(Saliency::default()).unwrap_err();
    assert_eq!(
        (error.kind(), error.what()),
        (ErrorKind::Option, "saliency does not hide tokens, so it cannot hide words")
    );
    let error = model.ask(LIGHT).target_spans(iter::once(0..7)).score([Entropy::default()]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Text);
}

#[test]
fn names_and_types_give_the_same() {
    let model = verse();
    let method = IntegratedGradients { n_steps: serde_json::from_value(json!(7)).unwrap(), ..Default::default() };
    let by_type = model.ask(LIGHT).function(Entropy::default()).attribute(method).unwrap();
    let function = model.function("entropy", Value::Null).unwrap();
    let method = model.method("integrated_gradients", json!({ "n_steps": 7 })).unwrap();
    let by_name = model.ask(LIGHT).function(function).attribute(method).unwrap();
    assert_eq!(values(&by_name), values(&by_type));
    assert_eq!(by_name.about.parameters, by_type.about.parameters);

    let unknown = model.method("integrated_gradient", Value::Null).err().unwrap();
    assert_eq!(unknown.kind(), ErrorKind::Name);
    assert!(unknown.what().contains("did you mean `integrated_gradients`?"), "{unknown}");
    for parameters in [json!({ "n_step": 7 }), json!({ "n_steps": -1 }), json!(7)] {
        assert_eq!(model.method("integrated_gradients", parameters).err().unwrap().kind(), ErrorKind::Parameter);
    }
    let rank = model.ask(LIGHT).function(Rank::default()).attribute(Saliency::default()).unwrap_err();
    assert_eq!(rank.kind(), ErrorKind::Parameter);
    assert!(model.ask(LIGHT).function(Rank::default()).attribute(Occlusion::default()).is_ok());
}

#[test]
fn results_of_many_texts_come_in_their_order_and_as_alone() {
    let model = verse();
    let texts = ["And it came to pass", "", "In the beginning", LIGHT, "Amen, and amen"];
    let task = ScoreTask::new((Surprisal::default(), McDropoutProbAvg { n_mcd_steps: 2, ..Default::default() }));
    let task = ScoreTask { options: stepfn::RunOptions { dropout: Some(0.1), ..task.options }, ..task };
    let inputs = texts.iter().zip(0..).map(|(&text, number)| match number {
        2 => Input::text(text),
        number => Input { place: Some(format!("line {number}")), ..Input::text(text).with_id(format!("t{number}")) },
    });
    let outcomes: Vec<_> = model.score_all(inputs, &task).collect();
    let ids: Vec<Value> = outcomes.iter().map(|outcome| outcome.id.clone()).collect();
    assert_eq!(ids, [json!("t0"), json!("t1"), json!(2), json!("t3"), json!("t4")]);
    assert_eq!(outcomes.iter().map(|outcome| outcome.number).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    let error = outcomes[1].result.as_ref().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Text);
    assert!(error.what().starts_with("line 1: "), "{error}");

    let few = ScoreTask::new([Surprisal::default()]);
    for (text, outcome) in texts.iter().zip(&outcomes).filter(|(_, outcome)| outcome.result.is_ok()) {
        let alone = model.score_all([*text], &few).next().unwrap().result.unwrap();
        assert_eq!(alone.values("surprisal"), outcome.result.as_ref().unwrap().values("surprisal"), "{text}");
    }
}

#[test]
fn texts_are_read_as_results_are_asked_for() {
    let model = g2p();
    let read = Cell::new(0);
    let texts = (0..10_000).map(|_| {
        read.set(read.get() + 1);
        "a"
    });
    let task = AttributeTask::new(Saliency::default());
    assert_eq!(model.attribute_all(texts, &task).take(3).count(), 3);
    assert_eq!(read.get(), 3);
}

#[test]
fn many_texts_are_written_and_scored_as_each_alone() {
    let model = g2p();
    let words = ["cat", "elephant", "a", "ship", "dictionary", "dog", "sea", "mountain", "sun", "house", "light"];
    let written: Vec<_> = model.generate_all(words).map(|outcome| outcome.result.unwrap().remove(0)).collect();
    let task = ScoreTask::new([Surprisal::default()]);
    let scored: Vec<_> = model.score_all(words, &task).map(|outcome| outcome.result.unwrap()).collect();
    assert_eq!((written.len(), scored.len()), (words.len(), words.len()));
    for ((word, written), scored) in words.into_iter().zip(written).zip(scored) {
        let alone = model.ask(word).generate().unwrap().remove(0);
        assert_eq!((&written.text, &written.ids, written.finished), (&alone.text, &alone.ids, alone.finished));
        assert!((written.score - alone.score).abs() < 1e-4, "{word}");
        let alone = model.ask(word).score([Surprisal::default()]).unwrap();
        assert_eq!(scored.target_text, alone.target_text, "{word}");
        assert!(scored.target.iter().skip(1).map(|token| token.id).eq(written.ids), "{word}");
    }
}

#[test]
fn a_bad_line_is_an_error_of_this_line_only() {
    let model = g2p();
    let bad = || stepfn::Error::new(ErrorKind::File, "the line is not UTF-8", "convert the file");
    let lines: Vec<Result<Input>> = vec![Ok(Input::text("cat")), Err(bad()), Ok(Input::text("dog"))];
    let written: Vec<_> = model.generate_all(lines).collect();
    assert_eq!(written[1].result, Err(bad()));
    assert_eq!(written[1].id, json!(1));
    assert!(written[0].result.is_ok() && written[2].result.is_ok());
}

#[test]
fn progress_is_told_and_breaking_it_off_ends_the_results() {
    let model = g2p();
    let seen = RefCell::new(Vec::new());
    let task = AttributeTask::new(Occlusion::default());
    let all = model.attribute_all(["cat", "dog"], &task).on_progress(|progress| {
        seen.borrow_mut().push((progress.texts_done, progress.texts));
        ControlFlow::Continue(())
    });
    assert_eq!(all.filter(|outcome| outcome.result.is_ok()).count(), 2);
    assert_eq!(seen.borrow().last(), Some(&(2, 2)));

    let cancelled = model.attribute_all(["cat", "dog", "cow"], &task).on_progress(|progress| match progress.texts {
        2 => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    let results: Vec<_> = cancelled.map(|outcome| outcome.result.map_err(|error| error.kind())).collect();
    assert_eq!(results.len(), 2);
    assert_eq!(results[1].as_ref().unwrap_err(), &ErrorKind::Cancelled);
}

#[test]
fn answers_are_saved_in_every_form_and_read_back() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("answers");
    std::fs::create_dir_all(&folder).unwrap();
    let answer = verse().ask(LIGHT).step_scores([Entropy::default()]).attribute(Saliency::default()).unwrap();
    for (format, _) in ANSWERS {
        let path = folder.join(format!("answer.{format}"));
        answer.save_as(format, &path).unwrap();
        let text = std::fs::read_to_string(path).unwrap();
        assert!(text.contains("light"), "{format}: {text}");
        match format {
            "json" | "jsonl" => assert_eq!(read(&text).unwrap().len(), 1),
            "inseq" => {
                let again = read(&text).unwrap().remove(0).result.unwrap();
                assert_eq!(values(&again).len(), values(&answer).len());
            }
            _ => assert_eq!(read(&text).unwrap_err().kind(), ErrorKind::File),
        }
    }
    answer.save(folder.join("map.txt")).unwrap();
    assert_eq!(std::fs::read_to_string(folder.join("map.txt")).unwrap().trim_end(), answer.to_string());
    answer.save(folder.join("map.json")).unwrap();
    let again = read(&std::fs::read_to_string(folder.join("map.json")).unwrap()).unwrap().remove(0).result.unwrap();
    assert_eq!(values(&again), values(&answer));
    assert_eq!(again.about, answer.about);

    assert_eq!(answer.save(folder.join("map.jpeg")).unwrap_err().kind(), ErrorKind::Format);
    assert_eq!(answer.save("/no/such/folder/map.json").unwrap_err().kind(), ErrorKind::File);
}

#[test]
fn answers_are_aggregated_and_compared() {
    let model = verse();
    let answer = model.ask(LIGHT).attribute(Saliency::default()).unwrap();
    let words = answer.aggregate("subwords,normalize").unwrap();
    assert!(words.target.len() < answer.target.len());
    assert_eq!(words.about.aggregation, ["subwords", "normalize"]);
    let nothing = words.minus(&answer.aggregate("subwords,normalize").unwrap(), "pair").unwrap();
    assert!(nothing.target_scores.as_ref().unwrap().values().iter().all(|x| x.is_nan() || *x == 0.0));
    let error = answer.aggregate("subword").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Name);
}

#[test]
fn what_is_loaded_is_what_was_asked_for_or_an_error_that_helps() {
    let unknown = LanguageModel::load("vers").unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::Model);
    assert!(unknown.what().starts_with("there is no model `vers` (did you mean `verse`?)"), "{unknown}");
    let with = |options: LoadOptions| LanguageModel::load_with("g2p", &options).map(|model| model.backend());
    assert_eq!(with(LoadOptions::default()).unwrap(), "cpu f32");
    let device = with(LoadOptions { device: "7".to_owned(), ..Default::default() }).unwrap_err();
    assert_eq!(device.kind(), ErrorKind::Device);
    let generation = json!({ "num_beam": 3 }).as_object().unwrap().clone();
    assert_eq!(with(LoadOptions { generation, ..Default::default() }).unwrap_err().kind(), ErrorKind::Option);
    let language = with(LoadOptions { target_lang: Some("__de__".to_owned()), ..Default::default() }).unwrap_err();
    assert_eq!(language.kind(), ErrorKind::Option);
    // A message is one line: what is wrong, and what to do.
    assert_eq!(unknown.to_string().lines().count(), 1);
}
