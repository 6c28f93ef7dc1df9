#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod published;
mod spans;

use std::fs;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::spelling::{byte_of, character_of};
use super::*;

pub(super) const GOLDENS: [&str; 3] = ["byte_bpe", "byte_fallback", "unigram"];

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens/models/tokenizers").join(name)
}

pub(super) fn golden(name: &str) -> Tokenizer {
    Tokenizer::from_folder(folder(name)).unwrap()
}

fn golden_json(name: &str) -> Value {
    serde_json::from_slice(&fs::read(folder(name).join("tokenizer.json")).unwrap()).unwrap()
}

fn cases(name: &str) -> Vec<Value> {
    let expected: Value = serde_json::from_slice(&fs::read(folder(name).join("expected.json")).unwrap()).unwrap();
    expected["cases"].as_array().unwrap().clone()
}

fn surfaces(name: &str, text: &str) -> Vec<String> {
    golden(name).encode(text, true).unwrap().into_iter().map(|token| token.surface).collect()
}

fn ids(tokens: &[Token]) -> Vec<u32> {
    tokens.iter().map(|token| token.id).collect()
}

pub(super) fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// A temporary folder, removed after the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("stepfn-tokenizer-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn with_golden(name: &str) -> Self {
        let scratch = Self::new(name);
        fs::copy(folder("unigram").join("tokenizer.json"), scratch.0.join("tokenizer.json")).unwrap();
        scratch
    }

    fn error_file(&self) -> PathBuf {
        match Tokenizer::from_folder(&self.0).unwrap_err() {
            ModelError::File { path, .. } => path.strip_prefix(&self.0).unwrap().to_owned(),
            other => panic!("{other}"),
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn agrees_with_the_published_package() {
    for name in GOLDENS {
        let tokenizer = golden(name);
        for case in cases(name) {
            let text = case["text"].as_str().unwrap();
            let tokens = tokenizer.encode(text, true).unwrap();
            assert_eq!(json!(ids(&tokens)), case["ids"], "{name}: {text:?}");
            assert_eq!(json!(ids(&tokenizer.encode(text, false).unwrap())), case["ids_without_special"]);
            for (i, token) in tokens.iter().enumerate() {
                let in_chars = |byte: usize| text[..byte].chars().count();
                if case["special"][i] == 1 {
                    let place = if i == 0 && name != "unigram" { 0 } else { text.len() };
                    assert_eq!(token.span, place..place, "{name}: {text:?}, token {i}");
                    assert!(token.special);
                } else {
                    let span = json!([in_chars(token.span.start), in_chars(token.span.end)]);
                    assert_eq!(span, case["offsets"][i], "{name}: {text:?}, token {i}");
                }
                assert_eq!(token.special, ["<|endoftext|>", "<s>", "</s>", "<unk>"].contains(&token.surface.as_str()));
                let unreadable = |surface: &str| surface.contains(['Ġ', 'Ċ', 'Ã', '▁']) || surface.contains("<0x");
                assert!(!unreadable(&token.surface), "{name}: {text:?}, {:?}", token.surface);
            }
            assert_eq!(tokenizer.decode(&ids(&tokens), true).unwrap(), case["decoded"]);
            assert_eq!(tokenizer.decode(&ids(&tokens), false).unwrap(), case["decoded_with_special"]);
        }
    }
}

#[test]
fn surfaces_are_readable() {
    assert_eq!(
        surfaces("byte_bpe", "Größe, à la 東\n"),
        ["Gr\\xC3", "\\xB6", "ße", ",", " \\xC3", "\\xA0", " l", "a", " ", "\\xE6", "\\x9D", "\\xB1", "\n"]
    );
    assert_eq!(surfaces("byte_bpe", "a<|endoftext|>b"), ["a", "<|endoftext|>", "b"]);
    assert_eq!(surfaces("byte_fallback", "I can't ö\n"), ["<s>", "I", " ca", "n", "'t", " ", "\\xC3", "\\xB6", "\n"]);
    assert_eq!(surfaces("byte_fallback", "The"), ["<s>", " ", "T", "he"]);
    // NFKC: a token with its own span shows the text as written; with a shared span, the token's own text.
    assert_eq!(surfaces("unigram", "ﬁne ½ ① Ａ"), [" f", "in", "e", " 1", "<unk>", "2", " ①", " ", "Ａ", "</s>"]);
    assert_eq!(surfaces("unigram", "a</s>b 한"), ["a", "</s>", "b", " ", "<unk>", "</s>"]);
}

#[test]
fn a_space_left_out_of_the_span_is_in_the_surface() {
    let mut json = golden_json("byte_bpe");
    json["post_processor"]["trim_offsets"] = json!(true);
    let tokenizer = Tokenizer::from_bytes(json.to_string().as_bytes()).unwrap();
    let tokens = tokenizer.encode("The capital of", true).unwrap();
    let found: Vec<_> = tokens.iter().map(|token| (token.surface.as_str(), token.span.clone())).collect();
    assert_eq!(found, [("The", 0..3), (" capital", 4..11), (" of", 12..14)]);
}

#[test]
fn truncation_padding_and_dropout_are_switched_off() {
    let mut json = golden_json("byte_bpe");
    json["truncation"] = json!({"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0});
    json["padding"] = json!({
        "strategy": {"Fixed": 64}, "direction": "Right", "pad_to_multiple_of": null,
        "pad_id": 0, "pad_type_id": 0, "pad_token": "<|endoftext|>"
    });
    json["model"]["dropout"] = json!(0.9);
    let tokenizer = Tokenizer::from_bytes(json.to_string().as_bytes()).unwrap();
    let text = "The capital of France is Paris.";
    assert_eq!(tokenizer.encode(text, true).unwrap(), golden("byte_bpe").encode(text, true).unwrap());
}

#[test]
fn errors_name_ids_outside_the_vocabulary() {
    let tokenizer = golden("byte_bpe");
    assert_eq!(tokenizer.vocab_size(), 400);
    let text = tokenizer.id_to_token(399).unwrap().replace('\u{120}', " ");
    assert!(tokenizer.clone().limited_to(400).encode(&text, true).is_ok());
    let limited = tokenizer.clone().limited_to(390);
    let message = limited.encode(&text, true).unwrap_err().to_string();
    assert!(message.contains("id below 390"), "{message}");
    assert!(limited.encode("a", true).is_ok());
    // Models may have more embeddings than their tokenizers have tokens.
    assert_eq!(tokenizer.decode(&[1, 400, 2], true).unwrap(), tokenizer.decode(&[1, 2], true).unwrap());
    let (text, tokens) = tokenizer.describe(&[65, 400, 66]).unwrap();
    assert_eq!((tokens[1].surface.as_str(), tokens[1].span.len(), tokens[1].special), ("<400>", 0, true), "{text}");
}

#[test]
fn special_tokens_and_chat_template_come_from_the_other_files() {
    let scratch = Scratch::with_golden("names");
    let tokenizer = Tokenizer::from_folder(&scratch.0).unwrap();
    assert_eq!((tokenizer.eos(), tokenizer.chat_template()), (None, None));
    let config = json!({
        "bos_token": null, "eos_token": "</s>", "unk_token": {"content": "<unk>", "lstrip": false},
        "chat_template": [{"name": "tool_use", "template": "A"}, {"name": "default", "template": "B"}]
    });
    fs::write(scratch.0.join("tokenizer_config.json"), config.to_string()).unwrap();
    let map = json!({"bos_token": "<missing>", "eos_token": "<unk>", "pad_token": "<pad>"});
    fs::write(scratch.0.join("special_tokens_map.json"), map.to_string()).unwrap();
    let tokenizer = Tokenizer::from_folder(&scratch.0).unwrap();
    assert_eq!(tokenizer.bos(), None);
    assert_eq!(tokenizer.eos(), Some(("</s>", 1)));
    assert_eq!(tokenizer.pad(), Some(("<pad>", 0)));
    assert_eq!(tokenizer.unk(), Some(("<unk>", 2)));
    assert_eq!(tokenizer.chat_template(), Some("B"));
    fs::write(scratch.0.join("chat_template.jinja"), "C").unwrap();
    assert_eq!(Tokenizer::from_folder(&scratch.0).unwrap().chat_template(), Some("C"));
}

#[test]
fn broken_folders_name_the_file() {
    let scratch = Scratch::new("broken");
    assert_eq!(scratch.error_file(), Path::new("tokenizer.json"));
    fs::create_dir(scratch.0.join("tokenizer.json")).unwrap();
    assert_eq!(scratch.error_file(), Path::new("tokenizer.json"));

    let scratch = Scratch::with_golden("broken-config");
    for content in ["{", "[]", "{\"eos_token\": 3}", "{\"eos_token\": {\"content\": [1]}}"] {
        fs::write(scratch.0.join("tokenizer_config.json"), content).unwrap();
        assert_eq!(scratch.error_file(), Path::new("tokenizer_config.json"), "{content}");
    }
    fs::remove_file(scratch.0.join("tokenizer_config.json")).unwrap();
    fs::create_dir(scratch.0.join("special_tokens_map.json")).unwrap();
    assert_eq!(scratch.error_file(), Path::new("special_tokens_map.json"));
}

#[test]
fn malformed_parts_are_errors() {
    let bad = [
        ("normalizer", json!({"type": "Precompiled", "precompiled_charsmap": "AAAA"})),
        ("normalizer", json!({"type": "Precompiled", "precompiled_charsmap": "/////w=="})),
        ("normalizer", json!({"type": "Replace", "pattern": {"Regex": "("}, "content": ""})),
        (
            "post_processor",
            json!({"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "x", "type_id": 0}}],
            "pair": [], "special_tokens": {}}),
        ),
        ("model", json!({"type": "BPE", "vocab": {"a": 0}, "merges": ["a b"]})),
        ("model", json!({"type": "Unigram", "unk_id": 7, "vocab": [["a", 0.0]]})),
    ];
    for (part, value) in bad {
        let mut json = golden_json("unigram");
        json[part] = value.clone();
        let tokenizer = Tokenizer::from_bytes(json.to_string().as_bytes());
        let result = tokenizer.and_then(|tokenizer| tokenizer.encode("ab", true));
        assert!(matches!(result, Err(ModelError::File { .. })), "{part}: {value} {result:?}");
    }
}

#[test]
fn every_byte_has_a_character() {
    let alphabet: BTreeSet<u8> = (0..=0x200).filter_map(char::from_u32).filter_map(byte_of).collect();
    assert_eq!(alphabet.len(), 256);
    assert_eq!(
        [byte_of('Ġ'), byte_of('Ċ'), byte_of('Ń'), byte_of('ł')],
        [Some(b' '), Some(b'\n'), Some(0xAD), Some(0xA0)]
    );
    assert_eq!(byte_of(' '), None);
    assert!((0..=u8::MAX).all(|byte| byte_of(character_of(byte)) == Some(byte)));
}

fn any_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        any::<char>().prop_map(String::from),
        "[ a-zé\n]{1,5}",
        Just("<|endoftext|>".to_owned()),
        Just("👩\u{200D}👧".to_owned()),
    ];
    prop::collection::vec(piece, 0..20).prop_map(|pieces| pieces.concat())
}

/// The bytes of a surface that contains no literal backslashes.
fn bytes_of(surface: &str) -> Vec<u8> {
    let mut parts = surface.split("\\x");
    let mut bytes = parts.next().unwrap().as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(&part[..2], 16).unwrap());
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    bytes
}

proptest! {
    #![proptest_config(config(256))]

    #[test]
    fn byte_level_tokens_cover_and_reproduce_the_text(text in any_text()) {
        let text = text.replace('\\', "/");
        let tokenizer = golden("byte_bpe");
        let tokens = tokenizer.encode(&text, true).unwrap();
        prop_assert_eq!(tokenizer.decode(&ids(&tokens), false).unwrap(), text.as_str());
        let surfaces: Vec<u8> = tokens.iter().flat_map(|token| bytes_of(&token.surface)).collect();
        prop_assert_eq!(surfaces, text.as_bytes());
        let mut covered = 0;
        for token in &tokens {
            prop_assert!(token.span.start <= covered && covered <= token.span.end);
            covered = token.span.end;
        }
        prop_assert_eq!(covered, text.len());
    }

    #[test]
    fn spans_are_on_character_boundaries(text in any_text(), name in prop::sample::select(&GOLDENS[..])) {
        let tokens = golden(name).encode(&text, true).unwrap();
        for token in &tokens {
            prop_assert!(text.get(token.span.clone()).is_some());
            prop_assert!(!token.surface.is_empty());
        }
        prop_assert!(tokens.iter().filter(|token| !token.special).is_sorted_by_key(|token| token.span.start));
    }

    #[test]
    fn damaged_files_never_panic(
        name in prop::sample::select(&GOLDENS[..]),
        cut in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut json = fs::read(folder(name).join("tokenizer.json")).unwrap();
        let cut = cut.index(json.trim_ascii_end().len());
        let truncated = Tokenizer::from_bytes(&json[..cut]);
        prop_assert!(matches!(truncated, Err(ModelError::File { .. })), "{truncated:?}");
        json[cut] = byte;
        if let Ok(tokenizer) = Tokenizer::from_bytes(&json) {
            let _ = tokenizer.clone().limited_to(300).encode("a", true);
            let _ = tokenizer.encode("The é 東 </s>", true);
            let _ = tokenizer.decode(&[3, 5, 7], false);
        }
    }
}

#[test]
fn describe_agrees_with_encode() {
    for name in GOLDENS {
        let tokenizer = golden(name);
        for text in ["The capital of France is Paris.", "naïve 🙂 of", "a"] {
            let encoded = tokenizer.encode(text, false).unwrap();
            let (decoded, described) = tokenizer.describe(&ids(&encoded)).unwrap();
            assert_eq!(ids(&described), ids(&encoded), "{name}");
            // A text that the model wrote has the tokens of the same text if it is given.
            let given = tokenizer.encode(&decoded, false).unwrap();
            if ids(&given) == ids(&described) {
                assert_eq!(described, given, "{name}");
            }
        }
    }
    let (text, tokens) =
        golden("byte_bpe").describe(&ids(&golden("byte_bpe").encode("naïve of", true).unwrap())).unwrap();
    let surfaces: Vec<&str> = tokens.iter().map(|token| token.surface.as_str()).collect();
    assert_eq!((text.as_str(), surfaces), ("naïve of", vec!["n", "a", r"\xC3", r"\xAF", "ve", " of"]));
    assert_eq!((tokens[2].span.clone(), tokens[3].span.clone()), (2..4, 2..4));
}

#[test]
fn special_tokens_are_described_outside_the_text() {
    let tokenizer = golden("unigram");
    let mut written = ids(&tokenizer.encode("of", false).unwrap());
    written.insert(0, 0);
    written.push(1);
    let (text, tokens) = tokenizer.describe(&written).unwrap();
    assert_eq!(text, "of");
    let last = tokens.last().unwrap();
    assert_eq!((last.surface.as_str(), last.span.clone(), last.special), ("</s>", 2..2, true));
    assert_eq!((tokens[0].surface.as_str(), tokens[0].span.clone(), tokens[0].special), ("<pad>", 0..0, true));
    assert_eq!(tokenizer.describe(&[4000]).unwrap().1[0].surface, "<4000>");
}
