//! Tokenizers of folders without a `tokenizer.json`, against transformers.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::Value;

use super::config;
use crate::tokenizer::{Languages, TargetStart, Token, Tokenizer, Tokenizers};

fn goldens() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens/tokenizers");
    let mut folders: Vec<PathBuf> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.retain(|path| path.join("expected.json").is_file());
    folders.sort();
    folders
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// The tokenizers of a golden folder, and what transformers says of them.
fn opened(folder: &Path) -> (Tokenizers, Value) {
    let expected = json(&folder.join("expected.json"));
    let language = |at: usize| expected["languages"][at].as_str().map(str::to_owned);
    let languages = Languages { source: language(0), target: language(1) };
    let tokenizers = Tokenizers::open(folder, &json(&folder.join("config.json")), &languages);
    (tokenizers.unwrap_or_else(|error| panic!("{}: {error}", folder.display())), expected)
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| u32::try_from(id.as_u64().unwrap()).unwrap()).collect()
}

fn of(tokens: &[Token]) -> Vec<u32> {
    tokens.iter().map(|token| token.id).collect()
}

#[test]
fn every_published_class_has_the_ids_of_transformers() {
    let mut wrong = Vec::new();
    for folder in goldens() {
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let (tokenizers, expected) = opened(&folder);
        for case in expected["cases"].as_array().unwrap() {
            let text = case["text"].as_str().unwrap();
            let expected = ids(case.get("fast_ids").unwrap_or(&case["ids"]));
            let found = of(&tokenizers.source().encode(text, true).unwrap());
            if found != expected {
                wrong.push(format!("{name} {text:?}: {found:?} instead of {expected:?}"));
            }
            if let Some(target) = case.get("target_ids") {
                let found = of(&tokenizers.target().encode(text, true).unwrap());
                if found != ids(target) {
                    wrong.push(format!("{name} target {text:?}: {found:?} instead of {:?}", ids(target)));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} differ\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn texts_are_decoded_as_by_transformers() {
    let mut wrong = Vec::new();
    for folder in goldens() {
        let (tokenizers, expected) = opened(&folder);
        for case in expected["cases"].as_array().unwrap() {
            let Some(expected) = case["decoded"].as_str() else { continue };
            let written = ids(case.get("target_ids").unwrap_or(&case["ids"]));
            let found = tokenizers.target().decode(&written, true).unwrap();
            // Whether a text ends or begins with spaces, classes disagree among themselves.
            if found.trim() != expected.trim() {
                wrong.push(format!("{}: {found:?} instead of {expected:?}", folder.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{} differ\n{}", wrong.len(), wrong.join("\n"));
}

proptest! {
    #![proptest_config(config(48))]

    /// Spans lie on character boundaries, in order, and cover what the tokenizer made tokens of.
    #[test]
    fn spans_of_every_class_are_in_the_text(text in "\\PC{0,24}|[a-z \u{a0}\u{300}\u{fb01}\u{1f600}\u{65e5}<>/s]{0,24}") {
        for folder in goldens() {
            let (tokenizers, _) = opened(&folder);
            for tokenizer in [tokenizers.source(), tokenizers.target()] {
                let tokens = tokenizer.encode(&text, true).unwrap();
                let spans: Vec<_> = tokens.iter().map(|token| token.span.clone()).collect();
                prop_assert!(spans.iter().all(|span| text.get(span.clone()).is_some()), "{} {spans:?}", folder.display());
                prop_assert!(spans.is_sorted_by_key(|span| span.start), "{} {spans:?}", folder.display());
            }
        }
    }
}

#[test]
fn languages_are_required_found_by_their_names_and_refused_with_those_that_there_are() {
    let open = |name: &str, source: Option<&str>, target: Option<&str>| {
        let folder = goldens().into_iter().find(|folder| folder.ends_with(name)).unwrap();
        let mut settings = json(&folder.join("tokenizer_config.json"));
        settings["src_lang"] = Value::Null;
        settings["tgt_lang"] = Value::Null;
        let scratch = tempfile::tempdir().unwrap();
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, scratch.path().join(path.file_name().unwrap())).unwrap();
        }
        fs::write(scratch.path().join("tokenizer_config.json"), settings.to_string()).unwrap();
        let languages = Languages { source: source.map(str::to_owned), target: target.map(str::to_owned) };
        Tokenizers::open(scratch.path(), &json(&folder.join("config.json")), &languages)
    };
    for (name, code, short) in
        [("m2m_100", "__en__", "en"), ("mbart", "en_XX", "en"), ("mbart50", "en_XX", "en"), ("nllb", "eng_Latn", "eng")]
    {
        let missing = open(name, None, None).unwrap_err().to_string();
        assert!(missing.contains("the source's is not given; it has"), "{missing}");
        let wrong = open(name, Some("xx"), None).unwrap_err().to_string();
        assert!(wrong.contains("no language `xx` for the source; it has"), "{wrong}");
        let (full, short) = (open(name, Some(code), None).unwrap(), open(name, Some(short), None).unwrap());
        let tokens = |tokenizers: &Tokenizers| of(&tokenizers.source().encode("the ship", true).unwrap());
        assert_eq!(tokens(&full), tokens(&short), "{name}");
        assert!(full.check_target().is_err() && open(name, Some(code), Some(code)).unwrap().check_target().is_ok());
    }
    let (none, java) = (open("plbart", None, None).unwrap(), open("plbart", Some("java"), Some("en")).unwrap());
    let tokens = |tokenizers: &Tokenizers| of(&tokenizers.source().encode("the ship", true).unwrap());
    assert_eq!(tokens(&java)[..tokens(&java).len() - 1], tokens(&none), "plbart");
    assert!(none.check_target().is_ok() && none.target_start().is_none());
    let english = java.source().token_to_id("__en_XX__").unwrap();
    assert_eq!(java.target_start(), Some(TargetStart::Start(english)));
    assert_eq!(tokens(&open("plbart_multi", None, None).unwrap()).last(), Some(&english));
    let wrong = open("plbart", Some("cobol"), None).unwrap_err().to_string();
    assert!(wrong.contains("no language `cobol`") && wrong.contains("__java__"), "{wrong}");
    let marian = open("marian", None, Some("deu")).unwrap();
    let given = open("marian", None, None).unwrap().source().encode(">>deu<< the ship", true).unwrap();
    assert_eq!(of(&marian.source().encode("the ship", true).unwrap()), of(&given));
    assert!(open("marian", None, Some("fra")).unwrap_err().to_string().contains(">>deu<<"));
}

/// A field of a protocol buffer that holds bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut length = bytes.len();
    let mut field = vec![(number << 3) | 2];
    while length > 0x7f {
        field.push(length as u8 | 0x80);
        length >>= 7;
    }
    field.push(length as u8);
    field.extend(bytes);
    field
}

/// A BPE model of these pieces, all of one kind.
fn bpe_of(pieces: impl IntoIterator<Item = String>, kind: u8) -> Vec<u8> {
    let piece = |text: &str, kind: u8| field(1, &[field(1, text.as_bytes()), vec![3 << 3, kind]].concat());
    let pieces = pieces.into_iter().flat_map(|text| piece(&text, kind));
    piece("<unk>", 2).into_iter().chain(pieces).chain(field(2, &[3 << 3, 2])).collect()
}

#[test]
fn hostile_models_take_neither_long_nor_much_memory() {
    let error = |bytes: &[u8]| Tokenizer::from_sentence_piece(bytes).unwrap_err().to_string();
    let long = error(&bpe_of(["a".repeat(1 << 22)], 1));
    assert!(long.contains("a piece has 4194304 bytes, and at most 1024 are read"), "{long}");
    let many = error(&bpe_of((1..1000).map(|length| "a".repeat(length)), 1));
    assert!(many.contains("1000 pieces have more than 64000 merges"), "{many}");
    let control = bpe_of((0..50_000).map(|id| format!("<{id}>")), 3);
    let tokenizer = Tokenizer::from_sentence_piece(&control).unwrap();
    assert_eq!(tokenizer.vocab_size(), 50_001);
}

/// The library finds such tokens by another form, and must not show them in this form.
#[test]
fn special_tokens_of_normalized_texts_are_not_shown() {
    let json = serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null, "pre_tokenizer": null, "post_processor": null,
        "added_tokens": [{"id": 1, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": true, "special": true}],
        "normalizer": {"type": "Prepend", "prepend": "\u{2581}"},
        "decoder": {"type": "Replace", "pattern": {"String": "\u{2581}"}, "content": " "},
        "model": {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0], ["<s>", 0.0], ["a", -1.0]]},
    });
    let tokenizer = Tokenizer::from_bytes(json.to_string().as_bytes()).unwrap();
    assert_eq!(tokenizer.decode(&[1, 2, 1], true).unwrap(), "a");
    assert_eq!(tokenizer.decode(&[1, 2], false).unwrap().trim(), "<s>a");
}

#[test]
fn classes_of_one_file_differ_in_what_they_put_around_a_text() {
    let with = |class: &str, family: &str| {
        let folder = goldens().into_iter().find(|folder| folder.ends_with("bart")).unwrap();
        let scratch = tempfile::tempdir().unwrap();
        for file in ["vocab.json", "merges.txt"] {
            fs::copy(folder.join(file), scratch.path().join(file)).unwrap();
        }
        let settings = serde_json::json!({ "tokenizer_class": class });
        fs::write(scratch.path().join("tokenizer_config.json"), settings.to_string()).unwrap();
        let config = serde_json::json!({ "model_type": family });
        Tokenizers::open(scratch.path(), &config, &Languages::default())
    };
    let ids = |class: &str, family: &str| of(&with(class, family).unwrap().source().encode("the ship", true).unwrap());
    let bart = ids("BartTokenizer", "bart");
    assert_eq!(ids("MvpTokenizerFast", "mvp"), bart);
    assert_eq!(ids("LEDTokenizer", "led"), bart);
    assert_eq!(ids("BlenderbotTokenizer", "blenderbot"), bart[1..]);
    let refused = with("FSMTTokenizer", "fsmt").unwrap_err().to_string();
    assert!(refused.contains("the tokenizer of FSMT models, with Moses' rules, is not supported"), "{refused}");
}

proptest! {
    #![proptest_config(config(96))]

    /// Damaged files are errors, or tokenizers that work.
    #[test]
    fn damaged_models_never_panic(at in any::<prop::sample::Index>(), byte: u8, cut in any::<bool>()) {
        for (name, file) in [("marian", "source.spm"), ("llama", "tokenizer.model")] {
            let folder = goldens().into_iter().find(|folder| folder.ends_with(name)).unwrap();
            let mut bytes = fs::read(folder.join(file)).unwrap();
            let at = at.index(bytes.len());
            match cut {
                true => bytes.truncate(at),
                false => bytes[at] = byte,
            }
            if let Ok(tokenizer) = Tokenizer::from_sentence_piece(&bytes) {
                let _ = tokenizer.encode("the na\u{ef}ve \u{65e5} </s>", true);
                let _ = tokenizer.decode(&[3, 5, 7], false);
            }
        }
    }
}
