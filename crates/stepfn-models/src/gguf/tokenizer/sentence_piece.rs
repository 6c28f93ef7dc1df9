//! SentencePiece's BPE, with merges reconstructed from its scores.

use std::collections::HashMap;

use serde_json::json;

use super::{Converted, Vocabulary, kind};
use crate::ModelError;

/// No vocabulary has longer words, and splitting takes time quadratic in their length.
const LONGEST: usize = 4096;

impl Vocabulary<'_> {
    /// SentencePiece merges the pair whose token has the best score, the leftmost among ties.
    pub(super) fn sentence_piece(
        &self,
        ids: &HashMap<&str, usize>,
        unknown: Option<&str>,
    ) -> Result<Converted, ModelError> {
        let scores = self.scores()?;
        if self.tokens.iter().any(|token| token.len() > LONGEST) {
            return Err(self.error("tokens", "tokens of at most 4096 bytes"));
        }
        let is_text = |id: usize| matches!(self.kinds.get(id), Some(&(kind::NORMAL | kind::USER_DEFINED)));
        let splits = |(id, token): (usize, &String)| {
            let cut = |(at, _): (usize, char)| {
                let (left, right) = token.split_at(at);
                let (left, right) = (*ids.get(left)?, *ids.get(right)?);
                (is_text(left) && is_text(right)).then_some((id, left, right))
            };
            token.char_indices().skip(1).filter_map(cut).collect::<Vec<_>>()
        };
        let tokens = self.tokens.iter().enumerate().filter(|(id, _)| is_text(*id));
        let mut merges: Vec<(usize, usize, usize)> = tokens.flat_map(splits).collect();
        merges.sort_by(|a, b| scores[b.0].total_cmp(&scores[a.0]).then(a.cmp(b)));
        let merges: Vec<[&str; 2]> =
            merges.iter().map(|&(_, left, right)| [self.tokens[left].as_str(), self.tokens[right].as_str()]).collect();
        let prefixed = self.flag("add_space_prefix").unwrap_or(true);
        let spaces = json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"});
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
                "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": self.kinds.contains(&kind::BYTE),
                "ignore_merges": false, "vocab": ids, "merges": merges,
            },
        });
        Ok(Converted { json, around: (true, false) })
    }
}
