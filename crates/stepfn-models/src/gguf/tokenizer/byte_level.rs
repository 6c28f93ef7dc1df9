//! Byte-level BPE.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::splitting::{Splitting, Step};
use super::{Converted, Vocabulary};
use crate::ModelError;
use crate::gguf::reader::Metadata;

impl Vocabulary<'_> {
    pub(super) fn byte_level(&self, ids: &HashMap<&str, usize>) -> Result<Converted, ModelError> {
        let splitting = self.splitting()?;
        let Some(Metadata::Texts(merges)) = self.get("merges") else {
            return Err(self.error("merges", "a list of strings"));
        };
        let [normalizer, pre_tokenizer] = words(splitting);
        let json = json!({
            "version": "1.0", "truncation": null, "padding": null,
            "normalizer": normalizer,
            "pre_tokenizer": pre_tokenizer,
            "decoder": bytes(true),
            "model": {
                "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
                "ignore_merges": splitting.whole_words, "vocab": ids, "merges": merges,
            },
        });
        Ok(Converted { json, around: (splitting.begins, false) })
    }

    /// How texts are split into words. Files from before April 2024 don't say it, but some are of an architecture with one kind of tokenizer.
    fn splitting(&self) -> Result<&'static Splitting, ModelError> {
        let name = match self.text("pre") {
            Some("default") | None => match (self.general("architecture"), self.tokens.len()) {
                (Some("gpt2"), _) => Some("gpt-2"),
                (Some("gptneox"), _) => Some("olmo"),
                (Some("bloom"), _) => Some("bloom"),
                (Some("qwen2"), _) => Some("qwen2"),
                (Some("llama"), 128_256) => Some("llama-bpe"),
                _ => None,
            },
            name => name,
        };
        if let Some(splitting) = name.and_then(Splitting::named) {
            return Ok(splitting);
        }
        let expected = match name {
            None => "the name of a way to split texts; the file is from before April 2024, take a newer one".to_owned(),
            Some(_) => format!("one of {}", Splitting::names().collect::<Vec<_>>().join(", ")),
        };
        Err(self.error("pre", expected))
    }
}

/// The normalizer and the pre-tokenizer.
pub(super) fn words(splitting: &Splitting) -> [Value; 2] {
    [splitting.composes.then(|| json!({"type": "NFC"})).into(), pre_tokenizer(splitting.steps)]
}

fn bytes(words: bool) -> Value {
    json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": words})
}

fn pre_tokenizer(steps: &[Step]) -> Value {
    let words = steps.iter().any(|step| matches!(step, Step::Words));
    let mut parts: Vec<Value> = Vec::new();
    for step in steps {
        parts.push(match step {
            Step::Matches(regex) => {
                json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false})
            }
            Step::Digits => json!({"type": "Digits", "individual_digits": true}),
            Step::Punctuation => json!({"type": "Punctuation", "behavior": "Contiguous"}),
            Step::Words => bytes(true),
        });
    }
    if !words {
        parts.push(bytes(false));
    }
    match <[Value; 1]>::try_from(parts) {
        Ok([only]) => only,
        Err(parts) => json!({"type": "Sequence", "pretokenizers": parts}),
    }
}
