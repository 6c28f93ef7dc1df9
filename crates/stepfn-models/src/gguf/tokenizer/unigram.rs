//! SentencePiece's Unigram model.

use serde_json::{Value, json};

use super::{Converted, Vocabulary, kind};
use crate::ModelError;
use crate::gguf::reader::Metadata;

impl Vocabulary<'_> {
    pub(super) fn unigram(&self) -> Result<Converted, ModelError> {
        let scores = self.scores()?;
        let unknown = self.kinds.iter().position(|kind| *kind == kind::UNKNOWN);
        // The penalty of an unknown character follows from the lowest score. Unused tokens have a far lower one.
        let is_used = |id: usize| matches!(self.kinds.get(id), Some(&(kind::NORMAL | kind::USER_DEFINED)));
        let used = scores.iter().enumerate().filter(|(id, _)| is_used(*id)).map(|(_, score)| *score);
        let lowest = used.fold(0.0, f32::min);
        let pieces: Vec<Value> =
            self.tokens.iter().zip(scores).map(|(token, score)| json!([token, score.max(lowest)])).collect();
        let mut normalizers: Vec<Value> = Vec::new();
        if let Some(map) = self.character_map()? {
            normalizers.push(json!({"type": "Precompiled", "precompiled_charsmap": map}));
        }
        if self.flag("remove_extra_whitespaces").unwrap_or(true) {
            normalizers.push(json!({"type": "Strip", "strip_left": true, "strip_right": true}));
            normalizers.push(json!({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}));
        }
        let prefix = if self.flag("add_space_prefix").unwrap_or(true) { "always" } else { "never" };
        let spaces = json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": prefix, "split": true});
        let json = json!({
            "version": "1.0", "truncation": null, "padding": null,
            "normalizer": {"type": "Sequence", "normalizers": normalizers},
            "pre_tokenizer": spaces,
            "decoder": spaces,
            "model": {
                "type": "Unigram", "unk_id": unknown, "vocab": pieces, "byte_fallback": self.kinds.contains(&kind::BYTE),
            },
        });
        Ok(Converted { json, around: (false, true) })
    }

    /// SentencePiece's map of characters to normalized ones, in base64.
    fn character_map(&self) -> Result<Option<String>, ModelError> {
        let bytes = match self.get("precompiled_charsmap") {
            None => return Ok(None),
            // Written as signed or as unsigned bytes.
            Some(Metadata::Integers(bytes)) if bytes.iter().all(|byte| (-128..256).contains(byte)) => bytes,
            Some(_) => return Err(self.error("precompiled_charsmap", "a list of bytes")),
        };
        if bytes.is_empty() {
            return Ok(None);
        }
        Ok(Some(base64(bytes.iter().map(|byte| *byte as u8))))
    }
}

fn base64(bytes: impl Iterator<Item = u8>) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bytes: Vec<u8> = bytes.collect();
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let whole = group.iter().fold(0_u32, |whole, byte| whole << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for place in 0..4 {
            let digit = DIGITS[(whole >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= group.len() { char::from(digit) } else { '=' });
        }
    }
    text
}
