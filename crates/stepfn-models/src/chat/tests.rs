//! Chats as transformers writes them (`tests/goldens/chats`), and where their messages stand.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

#[derive(Deserialize)]
struct Conversation {
    messages: Vec<Message>,
    #[serde(default)]
    tools: Json,
    #[serde(default)]
    variables: BTreeMap<String, Json>,
}

impl Conversation {
    fn options(&self, add_generation_prompt: bool) -> ChatOptions {
        let mut variables = self.variables.clone();
        variables.insert("tools".to_owned(), self.tools.clone());
        let now = SystemTime::UNIX_EPOCH + Duration::from_micros(1_772_373_909_001_000);
        ChatOptions { add_generation_prompt, variables, now: Some(now) }
    }
}

#[derive(Deserialize)]
struct Expected {
    text: Option<String>,
    #[serde(default)]
    generated: Vec<[usize; 2]>,
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens/chats")
}

fn special() -> BTreeMap<String, String> {
    [("bos_token", "<s>"), ("eos_token", "</s>"), ("unk_token", "<unk>")]
        .map(|(name, token)| (name.to_owned(), token.to_owned()))
        .into()
}

fn template(name: &str) -> ChatTemplate {
    let path = folder().join("templates").join(format!("{name}.jinja"));
    ChatTemplate::new(&fs::read_to_string(path).unwrap(), &special()).unwrap()
}

fn conversations() -> BTreeMap<String, Conversation> {
    serde_json::from_str(&fs::read_to_string(folder().join("conversations.json")).unwrap()).unwrap()
}

#[test]
fn chats_are_written_as_transformers_writes_them() {
    let expected = fs::read_to_string(folder().join("expected.json")).unwrap();
    let expected: BTreeMap<String, BTreeMap<String, [Expected; 2]>> = serde_json::from_str(&expected).unwrap();
    let conversations = conversations();
    let mut written = 0;
    for (name, chats) in expected {
        let template = template(&name);
        for (chat, both) in chats {
            let conversation = &conversations[&chat];
            for (expected, prompt) in both.iter().zip([false, true]) {
                let found = template.render(&conversation.messages, &conversation.options(prompt));
                let Some(text) = &expected.text else {
                    assert!(found.is_err(), "{name}, {chat}: {found:?}");
                    continue;
                };
                let found = found.unwrap_or_else(|error| panic!("{name}, {chat}: {error}"));
                assert_eq!(&found.text, text, "{name}, {chat}");
                let spans =
                    found.generated.iter().map(|span| [span.start, span.end].map(|end| text[..end].chars().count()));
                assert_eq!(spans.collect::<Vec<_>>(), expected.generated, "{name}, {chat}");
                check(&found, &conversation.messages);
                written += 1;
            }
        }
    }
    assert!(written > 200, "{written}");
}

/// Spans that can't be wrong: of contents, if they are what was said; in the order of the text, none within another.
fn check(chat: &Chat, messages: &[Message]) {
    assert_eq!(chat.messages.len(), messages.len());
    for (span, message) in chat.messages.iter().zip(messages) {
        assert_eq!(span.role, message.role);
        if let (Some(content), Content::Text(said)) = (&span.content, &message.content) {
            let found = &chat.text[content.clone()];
            let is_said = said.contains(found) || serde_json::to_string(said).unwrap().contains(found);
            assert!(is_said, "{found:?} of {said:?}");
            assert!(
                !found.is_empty()
                    || said.trim().is_empty()
                    || strings::strip(said, None, strings::Ends::BOTH).is_empty()
            );
        }
        if let (Some(content), Some(whole)) = (&span.content, &span.whole) {
            assert!(whole.start <= content.start && content.end <= whole.end);
        }
    }
    let wholes: Vec<_> = chat.messages.iter().filter_map(|span| span.whole.clone()).collect();
    assert!(wholes.iter().zip(wholes.iter().skip(1)).all(|(a, b)| a.end <= b.start), "{wholes:?}");
}

/// What the spans say, with the text in them.
fn shown(template: &ChatTemplate, messages: &[Message]) -> Vec<[String; 2]> {
    let chat = template.render(messages, &ChatOptions::default()).unwrap();
    let text = |span: &Option<Range<usize>>| span.clone().map_or("none".to_owned(), |span| chat.text[span].to_owned());
    chat.messages.iter().map(|span| [text(&span.content), text(&span.whole)]).collect()
}

#[test]
fn messages_are_found_with_their_markup() {
    let messages =
        [Message::system(" Be brief.\n"), Message::user("Hi "), Message::assistant("Hello"), Message::user("Hi ")];
    let head = |role: &str| format!("<|head|>{role}<|body|>\n\n");
    let found = shown(&template("headers"), &messages);
    // The first token of the text belongs to no message.
    assert_eq!(found[0], ["Be brief.".to_owned(), head("system") + "Be brief.<|end|>"]);
    assert_eq!(found[1], ["Hi".to_owned(), head("user") + "Hi<|end|>"]);
    assert_eq!(found[3], found[1]);
    // Neither does a system's message that the template brings.
    let found = shown(&template("marks"), &messages[1..]);
    assert_eq!(found[0], ["Hi ", "<|from|>user\nHi <|to|>\n"]);
    assert_eq!(found[1], ["Hello", "<|from|>assistant\nHello<|to|>\n"]);
    // The system's message stands within the user's.
    let found = shown(&template("turns"), &messages);
    assert_eq!(found[0], [" Be brief.\n", "none"]);
    assert_eq!(found[1], ["Hi", "none"]);
    assert_eq!(found[2], ["Hello", "<turn>model\nHello</turn>\n"]);
    let found = shown(&template("brackets"), &messages);
    assert_eq!([&found[0][0], &found[1][0], &found[3][0]], [" Be brief.\n", "Hi ", "Hi "]);
}

#[test]
fn what_a_template_cuts_off_is_not_in_the_span() {
    let chat = [Message::user("2 + 2?"), Message::assistant("<think>\nEasy.\n</think>\n\n4."), Message::user("So?")];
    let found = shown(&template("thoughts"), &chat);
    assert_eq!(found[1], ["4.", "none"]);
    // What is left out, or written twice, is nowhere.
    let notes = [Message::new("note", "Aside"), Message::user("Hi")];
    assert_eq!(shown(&template("spoken"), &notes)[0][0], "none");
    let twice =
        ChatTemplate::new("{% for m in messages %}{{ m.content }},{{ m.content }};{% endfor %}", &special()).unwrap();
    assert_eq!(shown(&twice, &notes), [["none", "Aside,Aside;"], ["none", "Hi,Hi;"]]);
}

#[test]
fn an_answer_is_told_from_its_prompt() {
    let chat = [Message::user("Hi"), Message::assistant("Hello ")];
    for (name, prompt, answer) in [
        ("headers", "<s><|head|>user<|body|>\n\nHi<|end|><|head|>assistant<|body|>\n\n", "Hello"),
        ("brackets", "<s>[INST] Hi[/INST]", " Hello"),
        ("turns", "<s><turn>user\nHi</turn>\n<turn>model\n", "Hello"),
        ("thoughts", "<|from|>user\nHi<|to|>\n<|from|>assistant\n", "<think>\n\n</think>\n\nHello "),
    ] {
        let found = template(name).question(&chat, &ChatOptions::default()).unwrap();
        assert_eq!((found.prompt(), &found.text[found.answer.clone().unwrap()]), (prompt, answer), "{name}");
        assert_eq!(found.text.len(), found.answer.as_ref().unwrap().end);
        let alone = template(name).question(&chat[..1], &ChatOptions::default()).unwrap();
        assert_eq!((alone.text.as_str(), alone.answer), (prompt, None), "{name}");
    }
}

#[test]
fn templates_that_mean_harm_end_with_an_error() {
    let grow = |value: &str| {
        format!(
            "{{% set n = namespace(x=[1]) %}}{{% for i in range(99999) %}}{{% set n.x = {value} %}}{{% endfor %}}{{{{ n.x == n.x }}}}{{{{ n.x }}}}"
        )
    };
    let mut harmful: Vec<String> =
        ["[n.x]", "{'a': n.x}", "n", "[n]", "n.x ~ n.x", "n.x + n.x", "(n.x, n.x)", "dict(a=n.x)"].map(grow).into();
    harmful.extend(
        [
            "{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}",
            "{% for i in [1] recursive %}{{ loop([1]) }}{% endfor %}",
            "{{ 'a' * 100000000 }}",
            "{{ 'a'.center(1000000000) }}",
            "{{ '%999999999d' | format(3) }}",
            "{{ ' ' | indent(999999999) }}",
            "{{ 'aaaa'.replace('', 'x' * 10000000) }}",
            "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
            "{{ range(99999) | list | map('string') | join('x' * 10000) }}",
            "{{ [1] | tojson(indent=999999999) }}",
            "{{ messages | zip(messages) }}",
            "{% include 'a' %}",
            "{{ raise_exception('no') }}",
            "{{ nothing.at.all }}",
            "{{ messages.append(1) }}",
            "{{ 'a'.format.__globals__ }}",
            "{% set %}",
            "{{",
            "{%東",
            "{% raw %}",
            "{% set a = 'a' * 99999999 %}",
            "{{ '{:>999999999}'.format(1) }}",
            "{{ '{:{}}'.format(1, 999999999) }}",
            "{{ '{:99999999999999999999}'.format(1) }}",
            "{{ '{:.4000000000}'.format(1.5) }}",
            "{{ [[1] * 9999] * 9999 }}",
            "{{ ([[1] * 9999] * 9999) | tojson }}",
            "{{ strftime_now('%Q') }}",
        ]
        .map(str::to_owned),
    );
    harmful.push(format!("{{{{ a{} }}}}", " and a".repeat(99_999)));
    harmful.push("{% if a %}".repeat(9999));
    harmful.push(format!("{{{{ {}1{} }}}}", "(".repeat(2000), ")".repeat(2000)));
    for source in harmful {
        let chat = ChatTemplate::new(&source, &special())
            .and_then(|template| template.render(&[Message::user("a")], &ChatOptions::default()));
        assert!(
            matches!(chat, Err(ModelError::Chat { .. })),
            "{}: {:?}",
            source.chars().take(60).collect::<String>(),
            chat.map(|chat| chat.text.len())
        );
    }
    // Slices of slices are computed as they are kept.
    for value in ["n.x[1:]", "n.x | reverse", "n.x | map('string')", "n.x * 1"] {
        let template = ChatTemplate::new(&grow(value), &special()).unwrap();
        let _ = template.render(&[], &ChatOptions::default());
    }
}

#[test]
fn errors_say_what_is_wrong_and_where() {
    for (source, says) in [
        ("\n{{ raise_exception('Only users!') }}", "the template can't write these messages: Only users! (line 2)"),
        ("{% for %}", "the template can't be used: syntax error"),
        ("{{ 1 | wordcount }}", "unknown filter"),
        ("{% for i in range(9999999) %}{% endfor %}", "range has too many elements"),
    ] {
        let error = ChatTemplate::new(source, &special())
            .and_then(|template| template.render(&[], &ChatOptions::default()))
            .unwrap_err()
            .to_string();
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn messages_are_read_from_json() {
    let message = r#"{"role":"assistant","content":null,"tool_calls":[{"b":1,"a":2.5}]}"#;
    let read: Message = serde_json::from_str(message).unwrap();
    assert_eq!(serde_json::to_string(&read).unwrap(), message);
    for (json, says) in [
        ("3", "must be an object"),
        ("{}", "needs a `role`"),
        (r#"{"role": 3}"#, "`role` of a message must be a string"),
        (r#"{"role": "user"}"#, "needs a `content`"),
        (r#"{"role": "user", "content": 3}"#, "`content` of a message must be"),
    ] {
        assert!(serde_json::from_str::<Message>(json).unwrap_err().to_string().contains(says), "{json}");
    }
}

fn said() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        Just(" "),
        Just("\n"),
        Just("a"),
        Just("Hi"),
        Just("é🦀"),
        Just("{{ x }}"),
        Just("<|to|>"),
        Just("<|head|>user<|body|>\n\n"),
        Just("</think>"),
        Just("</turn>"),
        Just("[/INST]"),
        Just("\u{f0000}"),
    ];
    prop::collection::vec(part, 0..6).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn spans_are_right_whatever_is_said(said in prop::collection::vec(said(), 1..6), system: bool, prompt: bool) {
        let roles = ["user", "assistant"].iter().cycle();
        let mut messages: Vec<Message> = roles.zip(&said).map(|(role, said)| Message::new(*role, said)).collect();
        if system {
            messages.insert(0, Message::system(said[0].clone()));
        }
        let options = ChatOptions { add_generation_prompt: prompt, ..ChatOptions::default() };
        for (name, trims) in [("headers", true), ("marks", false), ("turns", true), ("brackets", false), ("pipes", false)] {
            let chat = template(name).render(&messages, &options).unwrap();
            check(&chat, &messages);
            // Without special cases for roles and contents, everything is found where it was put.
            let mut from = 0;
            // This one leaves the system's message out unless the user has the last word.
            let skipped = usize::from(name == "brackets" && system);
            for (span, said) in chat.messages.iter().zip(&messages).skip(skipped) {
                let Content::Text(said) = &said.content else { unreachable!() };
                let said = said.as_str();
                let trimmed = strings::strip(said, None, strings::Ends::BOTH);
                let Some(content) = span.content.clone() else {
                    prop_assert!(trimmed.is_empty(), "{name}: {said:?} in {:?}", chat.text);
                    continue;
                };
                let found = &chat.text[content.clone()];
                prop_assert!(found == said || found == trimmed, "{name}: {found:?} for {said:?}");
                if trims && name == "headers" {
                    prop_assert_eq!(found, trimmed);
                }
                if name != "brackets" {
                    prop_assert!(content.start >= from, "{name}: {:?}", chat.text);
                    from = content.end;
                }
            }
        }
    }

    #[test]
    fn any_template_ends_with_a_text_or_an_error(
        parts in prop::collection::vec(prop_oneof![
            Just("{{"), Just("}}"), Just("{%"), Just("%}"), Just("-%}"), Just("{#"), Just("#}"), Just(" set x ="), Just(" x "),
            Just(" for x in messages "), Just(" endfor "), Just(" if "), Just(" endif "), Just(" raw "), Just(" endraw "), Just("messages"),
            Just("[-1]"), Just("[1:]"), Just(".content"), Just("|tojson"), Just("|trim"), Just("~"), Just("("), Just(")"), Just("'é"), Just("'"),
            Just(" generation "), Just(" endgeneration "), Just("=="), Just("\n"), Just("namespace()"), Just("\\"), Just(" elif "), Just("{"), Just("}"),
        ], 0..30),
    ) {
        if let Ok(template) = ChatTemplate::new(&parts.concat(), &special()) {
            let messages = [Message::user("a"), Message::assistant("b")];
            if let Ok(chat) = template.render(&messages, &ChatOptions::default()) {
                check(&chat, &messages);
            }
        }
    }
}
