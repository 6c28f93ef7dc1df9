//! Conversations: rendered by the model's own template, then a prompt like any other.

#![cfg(feature = "cpu")]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;
use std::path::Path;

use stepfn::functions::Probability;
use stepfn::{ErrorKind, Input, LanguageModel, Message, Occlusion, Value};

const TEMPLATE: &str = "{{ bos_token }}{% for message in messages %}[{{ message['role'] }}] {{ message['content'] | trim }}\n{% endfor %}\
                        {% if messages[0]['role'] == 'tool' %}{{ raise_exception('a tool speaks first') }}{% endif %}\
                        {% if add_generation_prompt %}[assistant]{% endif %}";

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
    let prompt = "<s>[system] be brief\n[user] the ship?\n[assistant]";
    let function = || [Probability { logprob: true }];
    let given = model.chat(messages.clone()).target(" it sails").score(function()).unwrap();
    assert_eq!(given.target_text, format!("{prompt} it sails"));
    // The template wrote the start token, and the tokenizer doesn't add another.
    assert_eq!(given.target.iter().filter(|token| token.surface == "<s>").count(), 1);
    assert_eq!(given.tokens().iter().map(|token| token.surface.as_str()).collect::<String>().trim(), "it sails");
    let last = messages.iter().cloned().chain([Message::new("assistant", "it sails")]);
    assert_eq!(model.chat(last).score(function()).unwrap().scores, given.scores);
    // Messages are found in the text, without the white space that the template cuts off.
    let contents: Vec<&str> =
        given.messages.iter().map(|span| &given.target_text[span.content.clone().unwrap()]).collect();
    assert_eq!(contents, ["be brief", "the ship?"]);
    // A message is one feature: its tokens share a score.
    let hidden = model.chat(messages.clone()).target(" it sails").messages().attribute(Occlusion::default()).unwrap();
    let last = &given.messages[1].content.clone().unwrap();
    let rows: Vec<usize> =
        (0..hidden.target.len()).filter(|&at| last.contains(&hidden.target[at].span.start)).collect();
    let scores = hidden.target_scores.as_ref().unwrap();
    let of_row = |row: usize| scores.values().chunks(scores.shape()[1]).nth(row).unwrap().to_vec();
    assert!(rows.len() > 1 && rows.iter().all(|&row| of_row(row) == of_row(rows[0])));
    let error = model.ask("the ship").messages().attribute(Occlusion::default()).unwrap_err();
    assert!(error.what().contains("no chat"), "{error}");
    let written = model.chat(messages).generate().unwrap();
    assert_eq!(written[0].source, prompt);
}

#[test]
fn messages_that_a_template_leaves_out_are_told() {
    let folder = tempfile::tempdir().unwrap();
    chat_model(folder.path());
    let settings = folder.path().join("tokenizer_config.json");
    let mut changed: Value = serde_json::from_slice(&fs::read(&settings).unwrap()).unwrap();
    changed["chat_template"] = "{{ bos_token }}{{ messages[-1]['content'] }}".into();
    fs::write(&settings, changed.to_string()).unwrap();
    let model = LanguageModel::load(folder.path().to_str().unwrap()).unwrap();
    let chat = || model.chat([Message::system("be brief"), Message::user("the ship")]).target(" sails");
    let warnings = chat().score([Probability::default()]).unwrap().about.warnings;
    assert!(warnings.iter().any(|warning| warning.ends_with("not found in its text: 1 (system)")), "{warnings:?}");
    changed["chat_template"] = "{{ bos_token }}a ship".into();
    fs::write(&settings, changed.to_string()).unwrap();
    let model = LanguageModel::load(folder.path().to_str().unwrap()).unwrap();
    let nothing = model.chat([Message::user("the king")]).target(" sails").messages();
    let error = nothing.attribute(Occlusion::default()).unwrap_err();
    assert!(error.what().contains("none is found"), "{error}");
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
    assert!(twice.what().contains("another source was given too"), "{twice}");
    let answered = [user(), Message::new("assistant", "a")];
    let twice = model.chat(answered).target("b").score([Probability::default()]).unwrap_err();
    assert!(twice.what().contains("a target was given too"), "{twice}");
    let verse = LanguageModel::load("verse").unwrap();
    assert!(verse.chat([user()]).generate().unwrap_err().what().contains("no chat template"));
    let g2p = LanguageModel::load("g2p").unwrap();
    assert!(g2p.chat([user()]).generate().unwrap_err().what().contains("can't answer a chat"));
}
