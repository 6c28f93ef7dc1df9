//! Converts a GGUF file's tokenizer to a `tokenizer.json`: byte-level BPE (`gpt2`), SentencePiece's BPE (`llama`) and Unigram (`t5`).

mod byte_level;
mod sentence_piece;
mod splitting;
mod unigram;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use serde_json::{Value, json};

use super::reader::{Contents, Metadata};
use crate::ModelError;
use crate::tokenizer::Templates;

/// The tokenizer of a GGUF file.
#[derive(Debug)]
pub(crate) struct GgufTokenizer {
    /// The equivalent of `tokenizer.json`.
    pub(crate) json: Value,
    /// Names of the BOS, EOS, padding and unknown tokens.
    pub(crate) named: [Option<String>; 4],
    pub(crate) chat_template: Templates,
}

/// `tokenizer.ggml.token_type`.
mod kind {
    pub(super) const NORMAL: i64 = 1;
    pub(super) const UNKNOWN: i64 = 2;
    pub(super) const CONTROL: i64 = 3;
    pub(super) const USER_DEFINED: i64 = 4;
    pub(super) const BYTE: i64 = 6;
}

impl GgufTokenizer {
    /// Reads the tokenizer of a file.
    ///
    /// # Errors
    /// [`ModelError::File`] if it has no tokenizer, or an unsupported one.
    pub(crate) fn parse(path: &Path, bytes: &[u8]) -> Result<Self, ModelError> {
        let contents = Contents::parse(path, bytes)?;
        Vocabulary::new(path, &contents.metadata)?.read()
    }
}

/// A vocabulary as stored.
struct Vocabulary<'a> {
    path: &'a Path,
    metadata: &'a BTreeMap<String, Metadata>,
    tokens: Vec<String>,
    /// The kind of each token; all are normal if the file doesn't say it.
    kinds: Vec<i64>,
}

/// What a vocabulary is converted to.
struct Converted {
    /// The equivalent of `tokenizer.json`, without added tokens and post-processor.
    json: Value,
    /// Whether a text starts with the BOS token, and ends with the EOS token, if the file doesn't say it.
    around: (bool, bool),
}

impl<'a> Vocabulary<'a> {
    fn new(path: &'a Path, metadata: &'a BTreeMap<String, Metadata>) -> Result<Self, ModelError> {
        let mut vocabulary = Vocabulary { path, metadata, tokens: Vec::new(), kinds: Vec::new() };
        let Some(Metadata::Texts(tokens)) = vocabulary.get("tokens") else {
            return Err(vocabulary.error("tokens", "a list of strings"));
        };
        // Some files have several tokens without a name.
        let named = |(id, token): (usize, &String)| {
            if token.is_empty() { format!("[EMPTY_{id}]") } else { token.clone() }
        };
        let tokens: Vec<String> = tokens.iter().enumerate().map(named).collect();
        vocabulary.kinds = match vocabulary.get("token_type") {
            None => vec![kind::NORMAL; tokens.len()],
            Some(Metadata::Integers(kinds)) if kinds.len() == tokens.len() => kinds.clone(),
            Some(_) => return Err(vocabulary.error("token_type", "one whole number for each token")),
        };
        vocabulary.tokens = tokens;
        Ok(vocabulary)
    }

    fn read(&self) -> Result<GgufTokenizer, ModelError> {
        let ids = self.ids();
        if ids.len() != self.tokens.len() {
            return Err(self.error("tokens", "each token once"));
        }
        let named = ["bos_token_id", "eos_token_id", "padding_token_id", "unknown_token_id"];
        let mut named = named.map(|key| self.named(key));
        if named[3].is_none() {
            named[3] = self.kinds.iter().position(|kind| *kind == kind::UNKNOWN).map(|id| self.tokens[id].clone());
        }
        let [bos, eos, _, unknown] = &named;
        let Converted { mut json, around } = match self.text("model") {
            Some("gpt2") => self.byte_level(&ids)?,
            Some("llama") => self.sentence_piece(&ids, unknown.as_deref())?,
            Some("t5") => self.unigram()?,
            _ => {
                let expected = "gpt2, llama or t5; for any other one, put a tokenizer.json into a folder with the model in another format";
                return Err(self.error("model", expected));
            }
        };
        json["added_tokens"] = self.added();
        let begin = bos.as_deref().filter(|_| self.flag("add_bos_token").unwrap_or(around.0));
        let end = eos.as_deref().filter(|_| self.flag("add_eos_token").unwrap_or(around.1));
        json["post_processor"] = template(begin, end, &ids);
        let mut chat_template = Templates::default();
        for (key, template) in self.metadata {
            // The default one, or `tokenizer.chat_template.NAME`.
            let name = key.strip_prefix("tokenizer.chat_template").and_then(|rest| match rest.strip_prefix('.') {
                Some(name) => Some(Some(name)),
                None => rest.is_empty().then_some(None),
            });
            if let (Some(name), Metadata::Text(template)) = (name, template) {
                chat_template.add(name, template.clone());
            }
        }
        Ok(GgufTokenizer { json, named, chat_template })
    }

    /// Tokens with their ids.
    fn ids(&self) -> HashMap<&str, usize> {
        self.tokens.iter().enumerate().map(|(id, token)| (token.as_str(), id)).collect()
    }

    /// Tokens that are found in a text before it is split.
    fn added(&self) -> Value {
        let tokens = self.tokens.iter().zip(&self.kinds).enumerate();
        let added =
            tokens.filter(|(_, (_, kind))| matches!(**kind, kind::UNKNOWN | kind::CONTROL | kind::USER_DEFINED));
        let of_phi3 = self.general("architecture") == Some("phi3") && self.text("model") == Some("llama");
        let token = |(id, (token, kind)): (usize, (&String, &i64))| {
            // Phi-3 takes the spaces behind most of its special tokens into them, which files don't say.
            let takes_spaces =
                of_phi3 && *kind == kind::CONTROL && !["<s>", "<unk>", "<|endoftext|>"].contains(&token.as_str());
            json!({
                "id": id, "content": token, "special": *kind != kind::USER_DEFINED,
                "single_word": false, "lstrip": false, "rstrip": takes_spaces, "normalized": false,
            })
        };
        added.map(token).collect()
    }

    /// The value of a key of the tokenizer.
    fn get(&self, key: &str) -> Option<&'a Metadata> {
        self.metadata.get(&format!("tokenizer.ggml.{key}"))
    }

    fn general(&self, key: &str) -> Option<&'a str> {
        match self.metadata.get(&format!("general.{key}"))? {
            Metadata::Text(text) => Some(text),
            _ => None,
        }
    }

    fn text(&self, key: &str) -> Option<&'a str> {
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

    /// The scores of all tokens.
    fn scores(&self) -> Result<&'a [f32], ModelError> {
        match self.get("scores") {
            Some(Metadata::Floats(scores))
                if scores.len() == self.tokens.len() && scores.iter().all(|score| score.is_finite()) =>
            {
                Ok(scores)
            }
            _ => Err(self.error("scores", "one number for each token")),
        }
    }

    fn named(&self, key: &str) -> Option<String> {
        match self.get(key)? {
            Metadata::Integer(id) => self.tokens.get(usize::try_from(*id).ok()?).cloned(),
            _ => None,
        }
    }

    fn error(&self, key: &str, expected: impl AsRef<str>) -> ModelError {
        let found = self.get(key).map_or_else(|| "nothing".to_owned(), Metadata::shortened);
        let message = format!("metadata `tokenizer.ggml.{key}`: expected {}, found {found}", expected.as_ref());
        ModelError::File { path: self.path.to_owned(), message }
    }
}

/// The normalizer and the pre-tokenizer of a way to split texts.
#[cfg(test)]
pub(super) fn splitting_json(name: &str) -> [Value; 2] {
    splitting::Splitting::named(name).map(byte_level::words).unwrap_or_default()
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
