//! Chat templates, against what the Python library renders (`goldens/chats`), and where they leave the messages.

#![allow(clippy::unwrap_used, reason = "a test that can't continue should fail")]

use std::collections::BTreeMap;
use std::fs;

use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use stepfn_models::chat::{Chat, ChatOptions, ChatTemplate, LONGEST_CHAT, LONGEST_TEMPLATE, Message};
use stepfn_tests::golden::folder;

#[derive(Deserialize)]
struct Conversation {
    messages: Vec<Map<String, Value>>,
    add_generation_prompt: bool,
    variables: Map<String, Value>,
}

#[derive(Deserialize)]
struct Expected {
    special: BTreeMap<String, String>,
    now: String,
    texts: BTreeMap<String, BTreeMap<String, Option<String>>>,
}

fn read(name: &str) -> String {
    fs::read_to_string(folder().join("chats").join(name)).unwrap()
}

fn conversations() -> BTreeMap<String, Conversation> {
    serde_json::from_str(&read("conversations.json")).unwrap()
}

fn expected() -> Expected {
    serde_json::from_str(&read("expected.json")).unwrap()
}

fn template(name: &str) -> ChatTemplate {
    ChatTemplate::new(&read(&format!("templates/{name}.jinja")), expected().special).unwrap()
}

fn message(fields: &Map<String, Value>) -> Message {
    let mut other = fields.clone();
    let role = other.remove("role").unwrap().as_str().unwrap().to_owned();
    let content = match &fields["content"] {
        Value::String(content) => {
            other.remove("content");
            content.clone()
        }
        _ => String::new(),
    };
    Message { role, content, other }
}

fn one(source: &str, content: &str) -> Result<Chat, String> {
    let template = ChatTemplate::new(source, []).map_err(|problem| problem.to_string())?;
    template.render(&[Message::new("user", content)], &ChatOptions::default()).map_err(|problem| problem.to_string())
}

#[test]
fn every_chat_is_rendered_as_in_python() {
    let expected = expected();
    let mut wrong = Vec::new();
    for (name, texts) in &expected.texts {
        let template = template(name);
        for (conversation, given) in conversations() {
            let messages: Vec<_> = given.messages.iter().map(message).collect();
            let options = ChatOptions {
                add_generation_prompt: given.add_generation_prompt,
                variables: given.variables,
                now: Some(expected.now.clone()),
            };
            match (template.render(&messages, &options), &texts[&conversation]) {
                (Ok(chat), Some(text)) => {
                    assert_eq!(chat.messages.len(), messages.len());
                    let lines = chat.text.split('\n').zip(text.split('\n')).find(|(ours, theirs)| ours != theirs);
                    match lines {
                        Some((ours, theirs)) => wrong.push(format!("{name}, {conversation}:\n{ours}\n{theirs}")),
                        None if chat.text != *text => wrong.push(format!("{name}, {conversation}: length")),
                        None => {}
                    }
                }
                (Err(_), None) => {}
                (Ok(_), None) => wrong.push(format!("{name}, {conversation}: Python refuses it")),
                (Err(problem), Some(_)) => wrong.push(format!("{name}, {conversation}: {problem}")),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn messages_are_found_in_their_chat() {
    let conversations = conversations();
    for (name, conversation, found) in [
        ("plain", "three", vec![Some("Hello."), Some("Good day!"), Some("Is it?")]),
        ("turns", "system", vec![Some("You answer briefly."), Some("Name a colour."), Some("Blue.")]),
        ("header", "system", vec![Some("You answer briefly."), Some("Name a colour."), Some("Blue.")]),
        ("header", "empty", vec![None, Some("a"), None, Some("b")]),
        // Thoughts are cut out of the second message, and the last is as it is.
        ("thinking", "thoughts", vec![Some("2+2?"), None, Some("And 3+3?"), Some("6")]),
        // The last question is there twice, in the same words, and each is found in its own place.
        ("thinking", "thinking_on", vec![Some("Think."), Some("Why?"), None, Some("Why?")]),
        ("parts", "parts", vec![Some("Look closely."), Some("Whatis this?"), Some("A crab.")]),
        ("generation", "three", vec![Some("Hello."), Some("Good day!"), Some("Is it?")]),
        ("generation", "odd", vec![Some("a"), None, Some("c")]),
        ("text", "one", vec![None]),
    ] {
        let given = &conversations[conversation];
        let messages: Vec<_> = given.messages.iter().map(message).collect();
        let options = ChatOptions { variables: given.variables.clone(), ..ChatOptions::default() };
        let chat = template(name).render(&messages, &options).unwrap();
        let spans: Vec<_> =
            chat.messages.iter().map(|span| span.content.clone().map(|span| &chat.text[span])).collect();
        assert_eq!(spans, found, "{name}, {conversation}");
        let starts: Vec<_> = chat.messages.iter().filter_map(|span| Some(span.content.as_ref()?.start)).collect();
        assert!(starts.is_sorted_by(|a, b| a < b), "{name}, {conversation}");
    }
}

#[test]
fn what_a_template_changes_is_not_found() {
    for source in [
        "{{ messages[0].content[:3] }}",
        "{{ messages[0].content }}{{ messages[0].content }}",
        "{{ messages[0].content|upper }}",
        "{{ messages[0].content|length }}{{ messages[0].content }}",
        "{{ messages[0].content|tojson }}",
        "{% if 'say' in messages[0].content %}never{% else %}{{ messages[0].content }}{% endif %}",
        "constant",
    ] {
        assert_eq!(one(source, "I \"say\" it.").unwrap().messages[0].content, None, "{source}");
    }
}

#[test]
fn errors_say_what_is_wrong() {
    for (source, part) in [
        ("a\n{% if %}", "the chat template: line 2: "),
        ("{{ raise_exception('Only users speak.') }}", "it refuses this conversation: Only users speak."),
        ("{{ strftime_now('%Q') }}", "`%Q`"),
        ("{% include 'x' %}", "include"),
        ("{{ messages|nope }}", "nope"),
        ("{{ messages[0].no.no }}", "line 1: "),
        ("{{ 'a'|tojson(indent=1000) }}", "indent"),
    ] {
        let message = one(source, "x").unwrap_err();
        assert!(message.contains(part), "{source}: {message}");
    }
    let long = " ".repeat(LONGEST_TEMPLATE + 1);
    assert!(one(&long, "x").unwrap_err().contains("bytes"));
    let options = ChatOptions { now: Some("yesterday".to_owned()), ..ChatOptions::default() };
    let problem = ChatTemplate::new("", []).unwrap().render(&[], &options).unwrap_err();
    assert!(problem.to_string().contains("`yesterday`"), "{problem}");
    let mut deep = json!(1);
    for _ in 0..100 {
        deep = json!([deep]);
    }
    let options = ChatOptions { variables: [("x".to_owned(), deep)].into_iter().collect(), ..ChatOptions::default() };
    let problem = ChatTemplate::new("", []).unwrap().render(&[], &options).unwrap_err();
    assert!(problem.to_string().contains("nested"), "{problem}");
}

#[test]
fn templates_are_bounded() {
    let nested = format!("{}ns.x{}", "[".repeat(20), "]".repeat(20));
    let nest = format!(
        "{{% set ns = namespace(x=[]) %}}{{% for i in range(9000) %}}{{% set ns.x = {nested} %}}{{% endfor %}}"
    );
    for source in [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% set ns = namespace(x='abc') %}{% for i in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
        "{% set a = 'a' * 99999999 %}",
        "{{ 'a\na'|indent(999999999) }}",
        "{{ '{:>999999999}'.format(1) }}",
        "{{ '{:{}}'.format(1, 999999999) }}",
        "{{ '%999999999d'|format(1) }}",
        "{{ [[1] * 999] * 999 }}",
        "{{ ([[1] * 999] * 999)|tojson }}",
        "{% for i in range(2) %}{{ 'a' * 800000 }}{% endfor %}",
        &(nest.clone() + "{{ ns.x }}"),
        &(nest.clone() + "{{ ns.x|tojson }}"),
        &(nest + "{{ (ns.x ~ 'a')|length }}{{ ns.x == [ns.x] }}{{ raise_exception('done') }}"),
        &format!("{{{{ a{} }}}}", " and a".repeat(9999)),
        &"{% if a %}".repeat(9999),
        &format!("{{{{ {}1{} }}}}", "(".repeat(2000), ")".repeat(2000)),
    ] {
        let result = one(source, "x");
        assert!(result.is_err(), "{}: {} bytes", &source[..60.min(source.len())], result.unwrap().text.len());
    }
    let whole = one("{{ 'a' * 1048576 }}", "x").unwrap();
    assert_eq!(whole.text.len(), LONGEST_CHAT);
}

#[test]
fn long_conversations_are_rendered() {
    for name in ["plain", "turns", "thinking", "header", "parts", "generation"] {
        let roles = ["user", "assistant"].into_iter().cycle().take(1001);
        let messages: Vec<_> = roles.map(|role| Message::new(role, format!("{role} says… ").repeat(30))).collect();
        let chat = template(name).render(&messages, &ChatOptions::default()).unwrap();
        assert!(chat.messages.iter().all(|span| span.content.is_some()), "{name}");
    }
}

fn contents() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ -~\n\u{e000}-\u{e003}é🦀]{0,12}",
        r#"[ \n\t\u{1f}\u{a0}]{0,3}[<>/thinka'"{}%]{0,12}[ \n]{0,3}"#,
        "\\PC{0,8}"
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A message's bytes are its content without the white space around it, and lie between those of its neighbours.
    #[test]
    fn spans_hold_the_contents(contents in prop::collection::vec(contents(), 1..7), name in prop::sample::select(&["plain", "turns", "thinking", "header", "generation", "printing", "text", "parts"][..]), parts in any::<bool>()) {
        let messages: Vec<_> = contents.iter().enumerate().map(|(i, content)| {
            let mut message = Message::new(["user", "assistant"][i % 2], content.as_str());
            if parts && name == "parts" {
                message.other.insert("content".to_owned(), json!([{"type": "text", "text": content}]));
            }
            message
        }).collect();
        let chat = template(name).render(&messages, &ChatOptions::default()).unwrap();
        prop_assert_eq!(chat.messages.len(), messages.len());
        let mut end = 0;
        for (span, content) in chat.messages.iter().zip(&contents) {
            let content = content.trim_matches(|c: char| c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c));
            if let Some(span) = &span.content {
                prop_assert_eq!(&chat.text[span.clone()], content);
                prop_assert!(span.start >= end);
                end = span.end;
            } else if matches!(name, "plain" | "turns" | "header" | "parts") {
                prop_assert!(content.is_empty(), "{:?} of {:?}", content, chat.text);
            }
        }
    }

    /// Whatever a template holds, the result is a text or an error.
    #[test]
    fn no_template_ends_the_program(pieces in prop::collection::vec(prop_oneof![
        prop::sample::select(&["{{", "}}", "{%", "%}", "{#", "#}", " for x in messages ", "endfor", " if ", "endif", " else ", "set x = ", "messages", "[0]", ".content", "|trim", "|tojson", "generation", "endgeneration", "raw", "endraw", "'", "\"", "\\", "-", "(", ")", "[", "1", " ", "\n", "x"][..]).prop_map(str::to_owned),
        "\\PC{0,3}",
    ], 0..24)) {
        let _ = one(&pieces.concat(), "some \u{e000} text");
    }
}
