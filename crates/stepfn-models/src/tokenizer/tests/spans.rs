//! Spans of tokens, with every normalizer and pre-tokenizer that a `tokenizer.json` may name.

use super::*;

/// Normalizers, and whether they keep every character that is not white space, in some form.
fn normalizers() -> Vec<(Value, bool)> {
    let bert = |clean_text: bool, strip_accents: bool| {
        json!({"type": "BertNormalizer", "clean_text": clean_text, "handle_chinese_chars": true,
            "strip_accents": strip_accents, "lowercase": true})
    };
    vec![
        (Value::Null, true),
        (bert(false, false), true),
        (bert(true, true), false),
        (json!({"type": "Strip", "strip_left": true, "strip_right": true}), true),
        (json!({"type": "StripAccents"}), false),
        (json!({"type": "NFC"}), true),
        (json!({"type": "NFD"}), true),
        (json!({"type": "NFKC"}), true),
        (json!({"type": "NFKD"}), true),
        (json!({"type": "Lowercase"}), true),
        (json!({"type": "Nmt"}), false),
        (json!({"type": "Prepend", "prepend": "▁"}), true),
        (json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"}), true),
        (json!({"type": "ByteLevel"}), true),
        (
            json!({"type": "Sequence", "normalizers": [{"type": "NFKD"}, {"type": "StripAccents"}, {"type": "Lowercase"}]}),
            false,
        ),
        (
            json!({"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]}),
            true,
        ),
    ]
}

/// Pre-tokenizers, and whether they keep every character that is not white space.
fn pre_tokenizers() -> Vec<(Value, bool)> {
    let split = |behavior: &str| json!({"type": "Split", "pattern": {"Regex": "\\p{L}+|\\p{N}"}, "behavior": behavior, "invert": false});
    vec![
        (Value::Null, true),
        (json!({"type": "BertPreTokenizer"}), true),
        (json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": true}), true),
        (json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true}), true),
        (json!({"type": "CharDelimiterSplit", "delimiter": "e"}), false),
        (json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true}), true),
        (json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": false}), true),
        (json!({"type": "Whitespace"}), true),
        (json!({"type": "WhitespaceSplit"}), true),
        (split("Isolated"), true),
        (split("MergedWithPrevious"), true),
        (split("MergedWithNext"), true),
        (split("Contiguous"), true),
        (split("Removed"), false),
        (json!({"type": "Punctuation", "behavior": "Isolated"}), true),
        (json!({"type": "Digits", "individual_digits": true}), true),
        // It drops characters of scripts that it does not know.
        (json!({"type": "UnicodeScripts"}), false),
        (json!({"type": "FixedLength", "length": 3}), true),
        (
            json!({"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, {"type": "Punctuation", "behavior": "Isolated"}]}),
            true,
        ),
    ]
}

/// Every piece that a pre-tokenizer makes is one token.
fn tokenizer(normalizer: &Value, pre_tokenizer: &Value) -> Tokenizer {
    let json = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
        "normalizer": normalizer, "pre_tokenizer": pre_tokenizer, "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "vocab": {"<unk>": 0}, "unk_token": "<unk>"},
    });
    Tokenizer::from_bytes(json.to_string().as_bytes()).unwrap_or_else(|error| panic!("{error}: {json}"))
}

proptest! {
    #![proptest_config(config(48))]

    #[test]
    fn spans_are_in_order_on_characters_and_cover_what_tokens_were_made_of(text in any_text()) {
        for (normalizer, normalizer_keeps) in normalizers() {
            for (pre_tokenizer, pre_tokenizer_keeps) in pre_tokenizers() {
                let tokens = tokenizer(&normalizer, &pre_tokenizer).encode(&text, false).unwrap();
                let spans: Vec<Range<usize>> = tokens.iter().map(|token| token.span.clone()).collect();
                let case = format!("{text:?}, {normalizer}, {pre_tokenizer}: {spans:?}");
                prop_assert!(spans.iter().all(|span| text.get(span.clone()).is_some()), "{}", case);
                prop_assert!(spans.is_sorted_by_key(|span| span.start), "{}", case);
                prop_assert!(spans.is_sorted_by_key(|span| span.end), "{}", case);
                let is_covered = |at: usize| spans.iter().any(|span| span.contains(&at));
                let lost = text.char_indices().find(|&(at, c)| !c.is_whitespace() && !is_covered(at));
                prop_assert!(lost.is_none() || !(normalizer_keeps && pre_tokenizer_keeps), "{:?} in {}", lost, case);
            }
        }
    }
}
