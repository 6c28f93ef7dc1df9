//! The text and the spans of ids that a model generated.
//!
//! A tokenizer decodes ids together, not one by one: bytes become characters, markers become spaces, and some spaces disappear. What a token adds
//! to the text is found by decoding it behind a few tokens before it. That is as good as decoding all tokens before it where what
//! comes out is the same as in the whole text; where it is not, more tokens are decoded.

use core::ops::Range;

use super::{Token, Tokenizer};
use crate::ModelError;

/// How many tokens are decoded before one, and how many if that differs from the whole text. Then all are.
const TOKENS_BEFORE: [usize; 3] = [4, 16, 64];

/// Tokens without a complete character among them before bytes count as wrong and not as incomplete. A character has at most four bytes.
const MOST_INCOMPLETE: usize = 16;

impl Tokenizer {
    /// The text of ids that a model generated, without special tokens, and a token for each id, as [`encode`](Self::encode) returns for a
    /// given text.
    ///
    /// # Errors
    /// As for [`decode`](Self::decode).
    pub fn describe(&self, ids: &[u32]) -> Result<(String, Vec<Token>), ModelError> {
        let text = self.decode(ids, true)?;
        if let Some(tokens) = self.as_given(ids, &text) {
            return Ok((text, tokens));
        }
        let spans = self.spans(ids, &text, &TOKENS_BEFORE)?;
        let token = |(&id, span)| Token { id, surface: String::new(), span, special: self.is_silent(id) };
        let mut tokens: Vec<Token> = ids.iter().zip(spans).map(token).collect();
        for i in 0..tokens.len() {
            let Token { id, span, special, .. } = tokens[i].clone();
            let token = self.name_of(id);
            let shared = |other: Option<&Token>| other.is_some_and(|other| !span.is_empty() && other.span == span);
            let shared = shared(i.checked_sub(1).and_then(|i| tokens.get(i))) || shared(tokens.get(i + 1));
            tokens[i].surface = if special { token } else { self.surface(id, &token, &text, &span, shared) };
        }
        Ok((text, tokens))
    }

    /// The tokens as [`encode`](Self::encode) returns them, if the text has just these: a token is the same whether the text was written or given.
    fn as_given(&self, ids: &[u32], text: &str) -> Option<Vec<Token>> {
        // What stands for bytes that are no character has other tokens than these bytes.
        if text.contains(char::REPLACEMENT_CHARACTER) {
            return None;
        }
        let given = self.encode(text, false).ok()?;
        let own = || ids.iter().filter(|id| !self.is_silent(**id));
        if !own().eq(given.iter().map(|token| &token.id)) {
            return None;
        }
        let mut given = given.into_iter();
        let mut end = 0;
        let token = |&id: &u32| {
            if !self.is_silent(id) {
                let token = given.next()?;
                end = token.span.end;
                return Some(token);
            }
            Some(Token { id, surface: self.name_of(id), span: end..end, special: true })
        };
        ids.iter().map(token).collect()
    }

    /// The span of each id in the text of all. A special token has an empty one.
    fn spans(&self, ids: &[u32], text: &str, before: &[usize]) -> Result<Vec<Range<usize>>, ModelError> {
        let mut spans: Vec<Range<usize>> = Vec::with_capacity(ids.len());
        // How much text the tokens so far cover, and the first token whose last character is still incomplete.
        let (mut covered, mut waiting) = (0, None);
        for (i, &id) in ids.iter().enumerate() {
            spans.push(covered..covered);
            if self.is_silent(id) {
                continue;
            }
            let first = *waiting.get_or_insert(i);
            let end = match i + 1 == ids.len() {
                true => text.len(),
                false => self.end_of_last(&ids[..=i], &spans, first, text, before)?,
            };
            if end > covered {
                for (span, id) in spans[first..].iter_mut().zip(&ids[first..]) {
                    if !self.is_silent(*id) {
                        *span = covered..end;
                    }
                }
                (covered, waiting) = (end, None);
            }
        }
        Ok(spans)
    }

    /// Where the complete characters of these ids end in the text. Tokens from `first` on have no span yet.
    fn end_of_last(
        &self,
        ids: &[u32],
        spans: &[Range<usize>],
        first: usize,
        text: &str,
        before: &[usize],
    ) -> Result<usize, ModelError> {
        let incomplete = ids.len() - first;
        let starts = before.iter().map(|before| first.saturating_sub(*before)).chain([0]);
        for (attempt, start) in starts.enumerate() {
            let from = spans[start].start;
            let decoded = self.decode(&ids[start..], true)?;
            let settled = settled(&decoded, incomplete);
            // Some decoders drop the space before what is first.
            let space = usize::from(start > 0 && text[from..].starts_with(' ') && !settled.starts_with(' '));
            let same = common(settled, &text[from + space..]);
            let end = from + space + same;
            let (known, matches) = (spans[first].start, same == settled.len());
            if start == 0 || (end >= known && (matches || attempt + 1 == before.len())) {
                return Ok(end);
            }
            // Bytes that are no characters, behind many of their kind: nothing is complete yet.
            let is_rubbish = || text[from..known].chars().all(|c| c == char::REPLACEMENT_CHARACTER);
            if attempt + 1 == before.len() && settled.is_empty() && is_rubbish() {
                return Ok(known);
            }
        }
        Ok(spans[first].start)
    }
}

/// What will not change when more tokens follow: incomplete characters decode to replacement characters.
fn settled(decoded: &str, incomplete: usize) -> &str {
    let whole = decoded.trim_end_matches(char::REPLACEMENT_CHARACTER);
    if incomplete < MOST_INCOMPLETE {
        return whole;
    }
    // Only the last three bytes can still become part of a character.
    let last = decoded.char_indices().rev().nth(2).map_or(0, |(at, _)| at);
    &decoded[..last.max(whole.len())]
}

/// Length in bytes of the common prefix of two texts, in complete characters.
fn common(a: &str, b: &str) -> usize {
    let differs = a.char_indices().zip(b.chars()).find(|((_, ours), theirs)| ours != theirs);
    differs.map_or(a.len().min(b.len()), |((at, _), _)| at)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::super::tests::{GOLDENS, config, golden};

    fn ids_of_all() -> impl Strategy<Value = (&'static str, Vec<u32>)> {
        prop::sample::select(GOLDENS.to_vec()).prop_flat_map(|name| {
            let vocab = golden(name).vocab_size() as u32;
            let known = golden(name);
            let ids = prop::collection::vec(0..vocab, 0..150);
            (
                Just(name),
                ids.prop_map(move |ids| ids.into_iter().filter(|id| known.id_to_token(*id).is_some()).collect()),
            )
        })
    }

    proptest! {
        #![proptest_config(config(96))]

        #[test]
        fn a_few_tokens_before_each_are_as_good_as_all((name, ids) in ids_of_all()) {
            let tokenizer = golden(name);
            let text = tokenizer.decode(&ids, true).unwrap();
            let spans = tokenizer.spans(&ids, &text, &super::TOKENS_BEFORE).unwrap();
            let all_before = tokenizer.spans(&ids, &text, &[]).unwrap();
            prop_assert_eq!(&spans, &all_before, "{:?}", text);
            prop_assert!(spans.is_sorted_by_key(|span| span.start), "{:?}", spans);
            let of_text = spans.iter().zip(&ids).filter(|(_, id)| !tokenizer.special.contains(id));
            prop_assert!(of_text.is_sorted_by_key(|(span, _)| span.end), "{:?}", spans);
            prop_assert!(spans.iter().all(|span| text.get(span.clone()).is_some()), "{:?} {:?}", text, spans);
        }
    }

    /// Decoding all tokens before each takes minutes for so many.
    #[test]
    fn long_texts_and_long_rubbish_are_described_in_linear_time() {
        for name in GOLDENS {
            let tokenizer = golden(name);
            let sentence = tokenizer.encode("The naïve 東 can't 🦀 of the and in. ", false).unwrap();
            let sentence: Vec<u32> = sentence.iter().map(|token| token.id).collect();
            let bytes: Vec<u32> = ["<0xF0>", "ð"].iter().filter_map(|byte| tokenizer.token_to_id(byte)).collect();
            for ids in [sentence.repeat(20_000 / sentence.len()), bytes.repeat(20_000)] {
                let start = Instant::now();
                let (text, tokens) = tokenizer.describe(&ids).unwrap();
                assert!(start.elapsed() < Duration::from_secs(10), "{name}: {:?}", start.elapsed());
                let read: String = tokens.iter().map(|token| &text[token.span.clone()]).collect();
                assert!(read.len() >= text.len(), "{name}");
            }
        }
    }
}
