//! Which of its sources an answer came from.

use stepfn::functions::Probability;
use stepfn::{ContextMethod, ContextTask, ErrorKind, Input, LanguageModel, Operator, Split, TargetUnit};

use super::{g2p, verse};

const SOURCES: [&str; 3] = ["And God said, Let there be light.", "And it was so.", "The king died. The people wept."];
const ANSWER: &str = "And God saw the light. And the people said unto him";

fn input() -> Input {
    Input { sources: SOURCES.map(str::to_owned).to_vec(), target: Some(ANSWER.to_owned()), ..Input::default() }
}

fn task(method: ContextMethod) -> ContextTask {
    ContextTask { method, ..ContextTask::default() }
}

/// The log-probability of the answer after a prompt.
fn log_prob(model: &LanguageModel, prompt: &str) -> f64 {
    let scored =
        model.ask(format!("{prompt} {ANSWER}")).source(prompt).score((Probability { logprob: true },)).unwrap();
    scored.values("probability").unwrap().iter().map(|&value| f64::from(value)).sum()
}

#[test]
fn leaving_a_source_out_is_what_it_says() {
    let model = verse();
    let answer = model.context(input(), &task(ContextMethod::LeaveOneOut)).unwrap();
    assert_eq!(answer.source.iter().map(|token| token.surface.as_str()).collect::<Vec<_>>(), SOURCES);
    let statements: Vec<&str> = answer.target.iter().map(|token| token.surface.trim()).collect();
    assert_eq!(statements, ["And God saw the light.", "And the people said unto him"]);
    let scores = answer.source_scores.as_ref().unwrap();
    let all = log_prob(&model, &SOURCES.join("\n\n"));
    for left_out in 0..3 {
        let mut rest = SOURCES.to_vec();
        rest.remove(left_out);
        // Without the last source, what is between it and the one before stays.
        let without = rest.join("\n\n") + if left_out == 2 { "\n\n" } else { "" };
        if left_out == 2 {
            continue;
        }
        let expected = all - log_prob(&model, &without);
        let found = f64::from(scores.at(left_out, 0)[0] + scores.at(left_out, 1)[0]);
        assert!((found - expected).abs() < 1e-3, "{left_out}: {found} instead of {expected}");
    }
    let total: f32 = answer.step_scores["log_probability"].iter().sum();
    assert!((f64::from(total) - all).abs() < 1e-3);
    assert_eq!(answer.about.parameters["operator"], "remove");
}

#[test]
fn every_method_operator_and_kind_of_model_is_shown_in_every_format() {
    for model in [verse(), g2p()] {
        let (sources, answer) = match model.is_encoder_decoder() {
            true => (vec!["cat", "dog"], None),
            false => (SOURCES.to_vec(), Some(ANSWER.to_owned())),
        };
        let asked = || Input {
            sources: sources.iter().map(|&source| source.to_owned()).collect(),
            target: answer.clone(),
            ..Input::default()
        };
        for operator in Operator::ALL {
            for method in ContextMethod::ALL {
                let method = match method {
                    ContextMethod::ContextCite { alpha, .. } => ContextMethod::ContextCite { n_ablations: 8, alpha },
                    other => other,
                };
                let separator = if model.is_encoder_decoder() { "-".to_owned() } else { "\n\n".to_owned() };
                let template = model.is_encoder_decoder().then(|| "a{sources}".to_owned());
                let task = ContextTask { operator, checks: Some(4), separator, template, ..task(method) };
                let answer = match model.context(asked(), &task) {
                    Ok(answer) => answer,
                    Err(error) if error.what().starts_with("nothing is left") => continue,
                    Err(error) => panic!("{}: {error}", task.method.name()),
                };
                assert!(answer.measured.contains_key("drop_1"), "{}", task.method.name());
                assert!(answer.check().is_ok() && answer.to_string().contains("measured: drop_1"));
                let back = stepfn::read(&serde_json::to_string(&answer.0).unwrap()).unwrap().remove(0).result.unwrap();
                assert_eq!(back.measured, answer.measured);
                assert!(answer.html().contains(sources[0]));
            }
        }
    }
}

#[test]
fn sources_are_divided_and_documents_are_left_out_before_their_sentences() {
    let method = ContextMethod::Hierarchical { expand: 1 };
    let task = ContextTask { split: Split::Sentences, statement: TargetUnit::Answer, ..task(method) };
    let answer = verse().context(input(), &task).unwrap();
    let sources: Vec<&str> = answer.source.iter().map(|token| token.surface.as_str()).collect();
    assert_eq!(sources, [SOURCES[0], SOURCES[1], "The king died.", "The people wept."]);
    assert_eq!(answer.columns(), 1);
    let text = answer.source_text.as_ref().unwrap();
    assert!(answer.source.iter().all(|token| text[token.span.clone()].contains(&token.surface)));
}

#[test]
fn an_answer_is_written_if_there_is_none() {
    let model = verse();
    let answer = model.context(Input { target: None, ..input() }, &task(ContextMethod::LeaveOneOut)).unwrap();
    let written = model.ask_about(Input::source(SOURCES.join("\n\n"))).generate().unwrap();
    assert!(written[0].text.trim().starts_with(answer.target_text.as_ref().unwrap().trim()));
}

#[test]
fn what_can_not_be_is_said() {
    let model = verse();
    let error = |input: Input, task: ContextTask| model.context(input, &task).unwrap_err();
    let default = ContextTask::default;
    for (input, task, says) in [
        (Input::text("a"), default(), "there are no sources"),
        (Input { source: Some("b".to_owned()), ..input() }, default(), "a text, a source or messages were given too"),
        (Input { sources: vec!["a".to_owned(), " ".to_owned()], ..input() }, default(), "source 2 is empty"),
        (Input { target: Some(String::new()), ..input() }, default(), "is empty"),
        (
            Input { question: Some("Who?".to_owned()), ..input() },
            ContextTask { template: Some("{sources}".to_owned()), ..default() },
            "the template has no {question}",
        ),
        (Input { chat_template: Some("tool".to_owned()), ..input() }, default(), "no chat template"),
    ] {
        let found = error(input, task);
        assert!(found.what().contains(says), "{found}");
        assert!(!found.hint().is_empty());
    }
    let scored = model.ask_about(Input { text: Some("a b".to_owned()), target: None, ..input() });
    assert_eq!(scored.score((Probability::default(),)).unwrap_err().kind(), ErrorKind::Text);
}
