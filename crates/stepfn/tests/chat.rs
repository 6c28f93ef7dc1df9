//! Conversations: rendered by the model's own template, then a prompt like any other.

#![cfg(feature = "cpu")]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;
use std::path::Path;

use stepfn::functions::Probability;
use stepfn::{ErrorKind, Input, LanguageModel, Message, ScoredText, Value};

const TEMPLATE: &str = "{{ bos_token }}{% for message in messages %}[{{ message['role'] }}] {{ message['content'] | trim }}\n{% endfor %}\
                        {% if messages[0]['role'] == 'tool' %}{{ raise_exception('a tool speaks first') }}{% endif %}\
                        {% if add_generation_prompt %}[assistant]>{% endif %}";

/// A small model of two layers that has a template.
fn chat_model(folder: &Path) -> LanguageModel {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens/replicas/vicuna");
    for entry in fs::read_dir(golden).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, folder.join(path.file_name().unwrap())).unwrap();
    }
    let path = folder.join("tokenizer_config.json");
    let mut settings: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    settings["chat_template"] = TEMPLATE.into();
    fs::write(path, settings.to_string()).unwrap();
    LanguageModel::load(folder.to_str().unwrap()).unwrap()
}

#[test]
fn a_conversation_is_the_prompt_that_its_template_makes_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let model = chat_model(folder.path());
    let messages = [Message::new("system", "be brief"), Message::new("user", " the ship? ")];
    let prompt = "<s>[system] be brief\n[user] the ship?\n[assistant]>";
    let function = || [Probability { logprob: true }];
    let answered = |answer: &str| -> ScoredText {
        let rendered = Input {
            source: Some(prompt.to_owned()),
            target: Some(format!("{prompt}{answer}")),
            rendered: true,
            ..Input::default()
        };
        model.ask_about(rendered).score(function()).unwrap()
    };
    let given = model.chat(messages.clone()).target("it sails").score(function()).unwrap();
    let expected = answered("it sails");
    assert_eq!((&given.target_text, &given.scores), (&expected.target_text, &expected.scores));
    // The template wrote the start token, and the tokenizer doesn't add another.
    assert_eq!(given.target.iter().filter(|token| token.surface == "<s>").count(), 1);
    assert_eq!(given.tokens().iter().map(|token| token.surface.as_str()).collect::<String>().trim(), "it sails");
    let last = messages.iter().cloned().chain([Message::new("assistant", "it sails")]);
    assert_eq!(model.chat(last).score(function()).unwrap().scores, expected.scores);
    let written = model.chat(messages).generate().unwrap();
    assert_eq!(written[0].source, prompt);
}

#[test]
fn conversations_that_can_not_be_prompts_say_why() {
    let folder = tempfile::tempdir().unwrap();
    let model = chat_model(folder.path());
    let user = || Message::new("user", "the ship?");
    let error = |input: Input| model.ask_about(input).generate().unwrap_err();
    let refused = error(Input::chat([Message::new("tool", "x")]));
    assert_eq!(refused.kind(), ErrorKind::Text);
    assert!(refused.what().contains("a tool speaks first"), "{refused}");
    let twice = error(Input { source: Some("a".to_owned()), ..Input::chat([user()]) });
    assert!(twice.what().contains("there is another one"), "{twice}");
    let answered = [user(), Message::new("assistant", "a")];
    let twice = model.chat(answered).target("b").score([Probability::default()]).unwrap_err();
    assert!(twice.what().contains("a target was given, too"), "{twice}");
    let verse = LanguageModel::load("verse").unwrap();
    assert!(verse.chat([user()]).generate().unwrap_err().what().contains("no chat template"));
    let g2p = LanguageModel::load("g2p").unwrap();
    assert!(g2p.chat([user()]).generate().unwrap_err().what().contains("has an encoder"));
}
