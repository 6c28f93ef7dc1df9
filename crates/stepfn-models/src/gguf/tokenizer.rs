//! Converts a GGUF file's tokenizer to a `tokenizer.json`: byte-level BPE (`gpt2`) directly, SentencePiece BPE (`llama`) with merges
//! reconstructed from its scores.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use serde_json::{Value, json};

use super::reader::{Contents, Metadata};
use crate::ModelError;

/// The tokenizer of a GGUF file.
#[derive(Debug)]
pub(crate) struct GgufTokenizer {
    /// The equivalent of `tokenizer.json`.
    pub(crate) json: Value,
    /// Names of the BOS, EOS, padding and unknown tokens.
    pub(crate) named: [Option<String>; 4],
    pub(crate) chat_template: Option<String>,
}

/// `tokenizer.ggml.token_type`.
const UNKNOWN: i64 = 2;
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;

/// Llama 3's pattern: words, numbers of up to three digits, punctuation and whitespace.
const LLAMA_3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

impl GgufTokenizer {
    /// Reads the tokenizer of a file.
    ///
    /// # Errors
    /// [`ModelError::File`] if it has no tokenizer, or an unsupported one.
    pub(crate) fn parse(path: &Path, bytes: &[u8]) -> Result<Self, ModelError> {
        let contents = Contents::parse(path, bytes)?;
        Vocabulary { path, metadata: &contents.metadata }.read()
    }
}

struct Vocabulary<'a> {
    path: &'a Path,
    metadata: &'a BTreeMap<String, Metadata>,
}

impl Vocabulary<'_> {
    fn read(&self) -> Result<GgufTokenizer, ModelError> {
        let Some(Metadata::Texts(tokens)) = self.get("tokens") else {
            return Err(self.error("tokens", "a list of strings"));
        };
        let types = match self.get("token_type") {
            None => vec![],
            Some(Metadata::Integers(types)) if types.len() == tokens.len() => types.clone(),
            Some(_) => return Err(self.error("token_type", "one whole number for each token")),
        };
        let ids: HashMap<&str, usize> = tokens.iter().enumerate().map(|(id, token)| (token.as_str(), id)).collect();
        if ids.len() != tokens.len() {
            return Err(self.error("tokens", "each token once"));
        }
        let named = ["bos_token_id", "eos_token_id", "padding_token_id", "unknown_token_id"];
        let named = named.map(|key| self.named(key, tokens));
        let [bos, eos, _, unknown] = &named;
        let (mut json, begins) = match self.text("model") {
            Some("gpt2") => self.byte_level(&ids)?,
            Some("llama") => self.sentence_piece(tokens, &ids, unknown.as_deref())?,
            _ => return Err(self.error("model", "gpt2 or llama")),
        };
        let added = types.iter().zip(tokens).enumerate();
        let added =
            added.filter(|(_, (kind, token))| matches!(**kind, UNKNOWN | CONTROL | USER_DEFINED) && !token.is_empty());
        json["added_tokens"] = added
            .map(|(id, (&kind, token))| {
                json!({
                    "id": id, "content": token, "special": kind != USER_DEFINED,
                    "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
                })
            })
            .collect();
        let begin = bos.as_deref().filter(|_| self.flag("add_bos_token").unwrap_or(begins));
        let end = eos.as_deref().filter(|_| self.flag("add_eos_token").unwrap_or(false));
        json["post_processor"] = template(begin, end, &ids);
        let chat_template = match self.metadata.get("tokenizer.chat_template") {
            Some(Metadata::Text(template)) => Some(template.clone()),
            _ => None,
        };
        Ok(GgufTokenizer { json, named, chat_template })
    }

    /// Also returns whether a text starts with the BOS token by default.
    fn byte_level(&self, ids: &HashMap<&str, usize>) -> Result<(Value, bool), ModelError> {
        let bytes = |words: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": words});
        let both = |first: Value, then: Value| json!({"type": "Sequence", "pretokenizers": [first, then]});
        let (pre_tokenizer, llama_3) = match self.text("pre") {
            Some("gpt-2" | "mpt" | "olmo" | "jais") => (bytes(true), false),
            Some("smollm" | "starcoder" | "refact" | "codeshell") => {
                (both(json!({"type": "Digits", "individual_digits": true}), bytes(true)), false)
            }
            Some("llama-bpe" | "llama3" | "llama-v3") => {
                let split =
                    json!({"type": "Split", "pattern": {"Regex": LLAMA_3}, "behavior": "Isolated", "invert": false});
                (both(split, bytes(false)), true)
            }
            _ => return Err(self.error("pre", "gpt-2, smollm or llama-bpe")),
        };
        let Some(Metadata::Texts(merges)) = self.get("merges") else {
            return Err(self.error("merges", "a list of strings"));
        };
        let json = json!({
            "version": "1.0", "truncation": null, "padding": null, "normalizer": null,
            "pre_tokenizer": pre_tokenizer,
            "decoder": bytes(true),
            "model": {
                "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": llama_3,
                "vocab": ids, "merges": merges,
            },
        });
        Ok((json, llama_3))
    }

    /// SentencePiece merges the pair whose token has the best score, the leftmost among ties.
    fn sentence_piece(
        &self,
        tokens: &[String],
        ids: &HashMap<&str, usize>,
        unknown: Option<&str>,
    ) -> Result<(Value, bool), ModelError> {
        let scores = match self.get("scores") {
            Some(Metadata::Floats(scores)) if scores.len() == tokens.len() => scores,
            _ => return Err(self.error("scores", "one number for each token")),
        };
        /// No vocabulary has longer words, and splitting takes time quadratic in their length.
        const LONGEST: usize = 4096;
        if tokens.iter().any(|token| token.len() > LONGEST) {
            return Err(self.error("tokens", "tokens of at most 4096 bytes"));
        }
        let splits = |(id, token): (usize, &String)| {
            let cut = |(at, _): (usize, char)| {
                let (left, right) = token.split_at(at);
                Some((id, *ids.get(left)?, *ids.get(right)?))
            };
            token.char_indices().skip(1).filter_map(cut).collect::<Vec<_>>()
        };
        let mut merges: Vec<(usize, usize, usize)> = tokens.iter().enumerate().flat_map(splits).collect();
        merges.sort_by(|a, b| scores[b.0].total_cmp(&scores[a.0]).then(a.cmp(b)));
        let merges: Vec<[&str; 2]> =
            merges.iter().map(|&(_, left, right)| [tokens[left].as_str(), tokens[right].as_str()]).collect();
        let spaces = json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"});
        let prefixed = self.flag("add_space_prefix").unwrap_or(true);
        let prepend = json!({"type": "Prepend", "prepend": "▁"});
        let mut decoders = vec![
            json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "}),
            json!({"type": "ByteFallback"}),
            json!({"type": "Fuse"}),
        ];
        if prefixed {
            decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
        }
        let json = json!({
            "version": "1.0", "truncation": null, "padding": null,
            "normalizer": {"type": "Sequence", "normalizers": if prefixed { vec![prepend, spaces] } else { vec![spaces] }},
            "pre_tokenizer": null,
            "decoder": {"type": "Sequence", "decoders": decoders},
            "model": {
                "type": "BPE", "dropout": null, "unk_token": unknown, "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
                "vocab": ids, "merges": merges,
            },
        });
        Ok((json, true))
    }

    fn get(&self, key: &str) -> Option<&Metadata> {
        self.metadata.get(&format!("tokenizer.ggml.{key}"))
    }

    fn text(&self, key: &str) -> Option<&str> {
        match self.get(key)? {
            Metadata::Text(text) => Some(text),
            _ => None,
        }
    }

    fn flag(&self, key: &str) -> Option<bool> {
        match self.get(key)? {
            Metadata::Bool(flag) => Some(*flag),
            _ => None,
        }
    }

    fn named(&self, key: &str, tokens: &[String]) -> Option<String> {
        match self.get(key)? {
            Metadata::Integer(id) => tokens.get(usize::try_from(*id).ok()?).cloned(),
            _ => None,
        }
    }

    fn error(&self, key: &str, expected: &str) -> ModelError {
        let found = match self.get(key) {
            None => "nothing".to_owned(),
            Some(Metadata::Text(text)) => format!("`{text}`"),
            Some(_) => "another value".to_owned(),
        };
        let message = format!("metadata `tokenizer.ggml.{key}`: expected {expected}, found {found}");
        ModelError::File { path: self.path.to_owned(), message }
    }
}

/// The post-processor that adds BOS and EOS to a text; adds nothing if there are none.
fn template(begin: Option<&str>, end: Option<&str>, ids: &HashMap<&str, usize>) -> Value {
    if begin.is_none() && end.is_none() {
        return Value::Null;
    }
    let special = |token: &str| json!({"SpecialToken": {"id": token, "type_id": 0}});
    let text = |name: &str| json!({"Sequence": {"id": name, "type_id": 0}});
    let around = |texts: &[&str]| -> Vec<Value> {
        let texts = texts.iter().map(|name| text(name));
        begin.map(special).into_iter().chain(texts).chain(end.map(special)).collect()
    };
    let of = |token: &str| (token.to_owned(), json!({"id": token, "ids": [ids.get(token)], "tokens": [token]}));
    json!({
        "type": "TemplateProcessing", "single": around(&["A"]), "pair": around(&["A", "B"]),
        "special_tokens": begin.into_iter().chain(end).map(of).collect::<serde_json::Map<_, _>>(),
    })
}
