#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::DType;
use serde_json::{Map, Value, json};

use super::*;

type B = stepfn_cpu::Backend;

/// A golden model with a tokenizer of its size: letters are tokens 10 to 35, the pairs `ab` and `_c` tokens 36 and 37 (`_` is a space), other
/// numbers special. Encoders' inputs end with their end token.
struct Fixture {
    model: Model<B>,
    tokenizers: Tokenizers,
    generation: GenerationOptions,
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens/models").join(name)
}

fn tokenizer_json(before: Option<u32>, after: &[u32]) -> Value {
    let mut vocab: Map<String, Value> = ('a'..='z').zip(10..).map(|(c, id)| (c.to_string(), json!(id))).collect();
    vocab.extend([
        ("ab".to_owned(), json!(36)),
        ("\u{2581}c".to_owned(), json!(37)),
        ("\u{2581}".to_owned(), json!(38)),
    ]);
    let special = |id: u32| {
        json!({ "id": id, "content": format!("<{id}>"), "single_word": false, "lstrip": false,
                                    "rstrip": false, "normalized": false, "special": true })
    };
    vocab.extend((0..10).map(|id| (format!("<{id}>"), json!(id))));
    let token = |id: &u32| json!({ "SpecialToken": { "id": format!("<{id}>"), "type_id": 0 } });
    let mut template: Vec<Value> = before.iter().map(token).collect();
    template.push(json!({ "Sequence": { "id": "A", "type_id": 0 } }));
    template.extend(after.iter().map(token));
    let mut used: Map<String, Value> = Map::new();
    for id in before.iter().chain(after) {
        let name = format!("<{id}>");
        used.insert(name.clone(), json!({ "id": name, "ids": [id], "tokens": [name] }));
    }
    json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null,
        "added_tokens": (0..10).map(special).collect::<Vec<_>>(),
        "pre_tokenizer": { "type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": "never", "split": false },
        "post_processor": { "type": "TemplateProcessing", "single": template, "pair": [
            { "Sequence": { "id": "A", "type_id": 0 } }, { "Sequence": { "id": "B", "type_id": 0 } }
        ], "special_tokens": used },
        "decoder": { "type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": "never", "split": false },
        "model": { "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                   "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
                   "vocab": vocab, "merges": [["a", "b"], ["\u{2581}", "c"]] },
    })
}

fn fixture(name: &str, before: Option<u32>, after: &[u32], changes: Value) -> Fixture {
    let model = Model::load(folder(name), DType::F32, &Default::default()).unwrap();
    let generation: Value =
        serde_json::from_slice(&fs::read(folder(name).join("generation_config.json")).unwrap()).unwrap();
    let generation = GenerationOptions::new(&generation, changes.as_object().unwrap(), model.config()).unwrap();
    let tokenizer = Tokenizer::from_bytes(tokenizer_json(before, after).to_string().as_bytes()).unwrap();
    Fixture { model, tokenizers: Tokenizers::same(tokenizer), generation }
}

impl Fixture {
    fn preparer(&self) -> Preparer<'_, B> {
        Preparer {
            model: &self.model,
            tokenizers: &self.tokenizers,
            generation: &self.generation,
            masking: Masking::default(),
            start_token: None,
        }
    }

    fn prepare(&self, request: &Request) -> Prepared {
        self.preparer().prepare(request).unwrap()
    }

    fn error(&self, request: &Request) -> String {
        self.preparer().prepare(request).unwrap_err().to_string()
    }
}

fn request(source: Option<&str>, target: Option<&str>) -> Request {
    Request { source: source.map(str::to_owned), target: target.map(str::to_owned), ..Request::default() }
}

fn surfaces(tokens: &[Token]) -> Vec<&str> {
    tokens.iter().map(|token| token.surface.as_str()).collect()
}

#[test]
fn a_causal_text_is_scored_behind_its_prompt_or_behind_its_first_token() {
    let gpt2 = fixture("gpt2", None, &[], json!({}));
    let prepared = gpt2.prepare(&request(Some("ab"), Some("ab cab")));
    assert_eq!(prepared.text, Text::causal(vec![36, 37, 36], 1));
    assert_eq!(surfaces(&prepared.target), ["ab", " c", "ab"]);
    assert_eq!(prepared.target[1].span, 2..4);
    assert_eq!(gpt2.prepare(&request(None, Some("abc"))).text, Text::causal(vec![36, 12], 1));
    // Where the tokenizer puts a token before a text, everything else is scored; what it puts behind a prompt is not there.
    let llama = fixture("llama", Some(1), &[2], json!({}));
    assert_eq!(llama.prepare(&request(None, Some("abc"))).text, Text::causal(vec![1, 36, 12, 2], 1));
    assert_eq!(llama.prepare(&request(Some("ab"), Some("abc"))).text, Text::causal(vec![1, 36, 12, 2], 2));
    assert_eq!(llama.prepare(&request(Some(""), Some("abc"))).text, Text::causal(vec![1, 36, 12, 2], 1));
}

#[test]
fn a_complete_text_gets_no_special_tokens() {
    let llama = fixture("llama", Some(1), &[2], json!({}));
    let complete = |target: Option<&str>| Request { is_complete: true, ..request(Some("<1>ab<3>"), target) };
    let given = llama.prepare(&complete(Some("<1>ab<3>c")));
    assert_eq!(given.text, Text::causal(vec![1, 36, 3, 12], 3));
    // What the model writes follows the prompt as it was given, and so do the spans.
    let written = llama.prepare(&complete(None));
    assert_eq!((&written.text.target[..3], written.text.steps.start), (&[1, 36, 3][..], 3));
    assert!(written.target_text.starts_with("<1>ab<3>"));
    assert_eq!(written.target[2].span, 5..8);
    for token in &written.target[3..] {
        assert!(token.span.start >= 8 && written.target_text.get(token.span.clone()).is_some(), "{token:?}");
    }
    let alone = llama.preparer().generate("<1>ab<3>", true).unwrap();
    assert_eq!(alone[0].hypothesis.ids, written.text.target[3..]);
}

#[test]
fn a_target_that_does_not_start_with_its_prompt_shows_where_they_part() {
    let gpt2 = fixture("gpt2", None, &[], json!({}));
    let error = gpt2.error(&request(Some("the cat"), Some("the dog sat")));
    let expected = "the target must start with its prompt, but after \"the \" the prompt goes on with \
                    \"cat\" and the target with \"dog sat\"";
    assert_eq!(error, expected);
    let long = format!("{} x", "y".repeat(40));
    let error = gpt2.error(&request(Some(&format!("{} z", "y".repeat(40))), Some(&long)));
    assert!(error.contains("after …\"yyyyyyyyyyyyyyyyyyyyyyy \" the prompt goes on with \"z\""), "{error}");
    // The same letters, other tokens.
    let error = gpt2.error(&request(Some("za"), Some("zab")));
    assert!(
        error.contains("token 1 is \"a\" in the prompt and \"ab\" in the target; end the prompt where a token"),
        "{error}"
    );
    let error = gpt2.error(&request(Some("z "), Some("z c")));
    assert!(error.contains("token 1 is \" \" in the prompt and \" c\" in the target"), "{error}");
}

/// What a checkpoint says of writing matters only where something is written.
#[test]
fn a_checkpoint_that_can_not_write_as_it_says_scores_given_targets() {
    let published =
        json!({ "penalty_alpha": 0.6, "forced_bos_token_id": 5, "decoder_start_token_id": 97, "eos_token_id": 0 });
    let marian = fixture("marian", None, &[0], json!({}));
    let generation = GenerationOptions::new(&published, &Map::new(), marian.model.config()).unwrap();
    let marian = Fixture { generation, ..marian };
    let given = marian.prepare(&request(Some("ab"), Some("abc")));
    assert_eq!(given.text.target, [97, 5, 36, 12, 0]);
    let error = marian.error(&request(Some("ab"), None));
    assert!(error.contains("`penalty_alpha` must be null or 0"), "{error}");
    let changes = json!({ "penalty_alpha": 0.6 });
    assert!(GenerationOptions::new(&json!({}), changes.as_object().unwrap(), marian.model.config()).is_err());
}

#[test]
fn texts_without_anything_to_score_are_refused() {
    let gpt2 = fixture("gpt2", None, &[], json!({}));
    for (request, says) in [
        (request(None, None), "there is neither a prompt nor a text"),
        (request(None, Some("")), "the target is empty"),
        (request(None, Some("ab")), "the target has 1 token; it needs two or more, because nothing predicts the first"),
        (request(Some("ab"), Some("ab")), "the target (1 token) ends where its prompt ends"),
        (request(Some(&"z".repeat(65)), None), "the model can read 64"),
    ] {
        let error = gpt2.error(&request);
        assert!(error.contains(says), "{error}");
    }
    let marian = fixture("marian", None, &[0], json!({}));
    for (request, says) in [
        (request(None, Some("ab")), "there is no source for it to read"),
        (request(Some(""), Some("ab")), "the source is empty"),
        (request(Some("ab"), Some("")), "the target is empty"),
    ] {
        let error = marian.error(&request);
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn a_target_has_start_and_end_token_and_a_forced_one_where_there_is_one() {
    let marian = fixture("marian", None, &[0], json!({}));
    let prepared = marian.prepare(&request(Some("ab"), Some("cd")));
    assert_eq!(prepared.text, Text { steps: 1..4, ..Text::seq2seq(vec![36, 0], vec![97, 12, 13, 0]) });
    assert_eq!(surfaces(&prepared.source), ["ab", "<0>"]);
    assert_eq!(surfaces(&prepared.target), ["<97>", "c", "d", "<0>"]);
    // A tokenizer that adds nothing: a target ends all the same.
    let bare = fixture("marian", None, &[], json!({}));
    assert_eq!(bare.prepare(&request(Some("ab"), Some("cd"))).text.target, [97, 12, 13, 0]);
    // Sources start with their language, or end with it, and so do not targets.
    for (before, after) in [(Some(7), vec![2]), (None, vec![2, 7])] {
        let mbart = fixture("mbart", before, &after, json!({ "forced_bos_token_id": 8 }));
        let prepared = mbart.prepare(&request(Some("ab"), Some("cd")));
        assert_eq!(prepared.text.target, [2, 8, 12, 13, 2]);
        assert_eq!(prepared.text.steps, 2..5);
        assert!(prepared.text.source.unwrap().contains(&7));
    }
}

#[test]
fn without_a_target_the_model_writes_one() {
    // The model's other tokens are none of this tokenizer's.
    let bad_words: Vec<_> = (39..101).map(|id| vec![id]).collect();
    let gpt2 = fixture("gpt2", None, &[], json!({ "max_new_tokens": 4, "bad_words_ids": bad_words }));
    let expected = gpt2.model.generate(None, &[36, 12], &gpt2.generation.settings).unwrap()[0].ids.clone();
    let prepared = gpt2.prepare(&request(Some("abc"), None));
    assert_eq!(prepared.text, Text::causal([&[36, 12], expected.as_slice()].concat(), 2));
    assert_eq!(surfaces(&prepared.target)[..2], ["ab", "c"]);
    let marian = fixture(
        "marian",
        None,
        &[0],
        json!({ "max_new_tokens": 1, "bad_words_ids": (39..98).map(|id| vec![id])
        .collect::<Vec<_>>(), "forced_eos_token_id": null }),
    );
    let prepared = marian.prepare(&request(Some("abc"), None));
    let expected = marian.model.generate(Some(&[36, 12, 0]), &[97], &marian.generation.settings).unwrap();
    assert_eq!(prepared.text.target, [&[97], expected[0].ids.as_slice()].concat());
    let generated = marian.preparer().generate("abc", false).unwrap();
    assert_eq!(generated[0].hypothesis, expected[0]);
    assert_eq!(generated[0].text, marian.tokenizers.target().decode(&expected[0].ids, true).unwrap());
}

/// With memory for one text at a time, or for all.
#[test]
fn what_is_written_together_is_what_is_written_alone() {
    // The models' other tokens are none of this tokenizer's.
    let changes = |vocab: u32| {
        let bad_words: Vec<_> = (39..vocab).map(|id| vec![id]).collect();
        json!({ "max_new_tokens": 5, "bad_words_ids": bad_words })
    };
    let gpt2 = fixture("gpt2", None, &[], changes(101));
    let marian = fixture("marian", None, &[0], changes(98));
    let sources = ["abc", "c", "", "ab cab", "a", "b abc cab ab"];
    for model in [gpt2, marian] {
        let preparer = model.preparer();
        let alone = sources.map(|source| preparer.generate(source, false));
        assert!(alone[0].is_ok(), "{alone:?}");
        let requests = sources.map(|source| request(Some(source), None));
        // Scores are the same to rounding.
        let parts = |text: &Result<Vec<Generated>, AttributionError>| {
            let best = |texts: &Vec<Generated>| (texts[0].text.clone(), texts[0].hypothesis.ids.clone());
            text.as_ref().map(best).map_err(Clone::clone)
        };
        for memory in [0, 1 << 30] {
            let together = preparer.generate_all(&sources.map(|source| (source, false)), memory);
            assert!(together.iter().map(parts).eq(alone.iter().map(parts)), "{together:?}");
            let drafts = preparer.drafts(&requests, memory);
            for request in &requests {
                assert_eq!(preparer.prepare_with(request, &drafts), preparer.prepare(request));
            }
        }
    }
}

#[test]
fn what_is_written_fits_the_model_whatever_the_settings() {
    let bad_words: Vec<_> = (0..101).filter(|id| !(10..36).contains(id)).map(|id| vec![id]).collect();
    let gpt2 =
        fixture("gpt2", None, &[], json!({ "max_new_tokens": 500, "min_new_tokens": 500, "bad_words_ids": bad_words }));
    let prepared = gpt2.prepare(&request(Some("abc"), None));
    assert_eq!(prepared.text.target.len(), 65);
    let generated = gpt2.preparer().generate("abc", false).unwrap();
    assert_eq!(generated[0].text.chars().count(), 63, "{}", generated[0].text);
    // `max_length` counts the prompt.
    let gpt2 = fixture("gpt2", None, &[], json!({ "max_length": 6, "bad_words_ids": bad_words }));
    assert_eq!(gpt2.prepare(&request(Some("abc"), None)).text.target.len(), 6);
}

#[test]
fn a_contrast_has_its_own_prompt_and_target_or_shares_them() {
    let gpt2 = fixture("gpt2", None, &[], json!({}));
    let text = |source: Option<&str>, target: Option<&str>| Request {
        contrast_source: source.map(str::to_owned),
        contrast_target: target.map(str::to_owned),
        ..request(Some("ab"), Some("ab cd"))
    };
    let contrast = |request: &Request| gpt2.prepare(request).text.contrast.unwrap();
    let made = contrast(&text(Some("zz"), None));
    assert_eq!((made.target, made.first), (vec![35, 35, 37, 13], 2));
    let made = contrast(&text(None, Some("abx")));
    assert_eq!((made.target, made.first), (vec![36, 33], 1));
    let made = contrast(&text(Some("z"), Some("zxy")));
    assert_eq!((made.target, made.first), (vec![35, 33, 34], 1));
    let error = gpt2.error(&text(Some("z"), Some("ab")));
    assert!(error.contains("the contrast target must start with its prompt"), "{error}");

    let marian = fixture("marian", None, &[0], json!({}));
    let made = marian.prepare(&Request { contrast_source: Some("x".into()), ..request(Some("ab"), Some("c")) });
    let expected = ContrastText {
        source: Some(vec![33, 0]),
        target: vec![97, 12, 0],
        first: 1,
        alignment: Alignment::OneToOne,
        masked: None,
    };
    assert_eq!(made.text.contrast, Some(expected));
    let made = marian.prepare(&Request { contrast_target: Some("x".into()), ..request(Some("ab"), Some("c")) });
    let contrast = made.text.contrast.unwrap();
    assert_eq!((contrast.source.unwrap(), contrast.target), (vec![36, 0], vec![97, 33, 0]));
}

#[test]
fn changes_of_the_settings_are_checked() {
    let model = Model::<B>::load(folder("gpt2"), DType::F32, &Default::default()).unwrap();
    let options =
        |file: Value, changes: Value| GenerationOptions::new(&file, changes.as_object().unwrap(), model.config());
    let error = options(Value::Null, json!({ "max_tokens": 3 })).unwrap_err().to_string();
    assert!(error.contains("generation has no parameter `max_tokens`") && error.contains("max_new_tokens"), "{error}");
    let error = options(Value::Null, json!({ "num_beams": "two" })).unwrap_err().to_string();
    assert!(error.contains("num_beams"), "{error}");
    let made = options(Value::Null, json!({})).unwrap();
    assert_eq!((made.settings.eos, made.decoder_start), (vec![100], Some(100)));
    let made = options(json!({ "max_new_tokens": 9, "eos_token_id": 5 }), json!({ "max_length": 20 })).unwrap();
    assert_eq!((made.max_length, made.settings.eos), (Some(20), vec![5]));
    let made = options(json!({ "max_length": 20 }), json!({ "max_new_tokens": 9 })).unwrap();
    assert_eq!((made.max_length, made.settings.max_new_tokens), (None, 9));
}
