//! Converts text to token ids and back with published tokenizers, through the `tokenizers` crate: `tokenizer.json`, or the files that older
//! checkpoints have instead.
//!
//! This adds what attribution needs besides ids: every token has a span in the text (in bytes), a readable surface, and a flag for special
//! tokens. Truncation, padding and merge dropout are switched off even if a `tokenizer.json` enables them, because a text must always give
//! the same complete token sequence.

mod added;
mod blenderbot_small;
mod classes;
mod describe;
mod files;
mod frame;
mod languages;
mod merges;
mod pair;
mod published;
mod sentence_piece;
mod settings;
mod spelling;
mod templates;
mod vocabulary;
mod word_piece;
mod word_starts;

use core::ops::Range;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::ModelError;
use frame::Frame;
pub use pair::{Languages, TargetStart, Tokenizers};
use spelling::Spelling;
#[cfg(feature = "gguf")]
pub(crate) use templates::Templates;
use vocabulary::Vocabulary;

/// A token of a text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// The token's id in the vocabulary.
    pub id: u32,
    /// The token in readable form. If it alone covers its span, this is the span's text. If several tokens share a character, it is the
    /// token's own text, with spaces for the vocabulary's space markers and `\xF0\x9F` for bytes that are not a complete character. If the
    /// tokenizer's span leaves out the space before a word, the surface still includes it. The marker that some tokenizers put before a
    /// text shows as a space if it is a token of its own, and otherwise not at all. For special tokens: the name, such as `</s>`.
    pub surface: String,
    /// Its position as a byte range of the text, always on character boundaries. Tokens that share a character have overlapping spans;
    /// tokens added by the tokenizer have an empty span.
    pub span: Range<usize>,
    /// Whether it is a special token, either added by the tokenizer or written in the text.
    pub special: bool,
}

/// The longest text that is encoded, in bytes. Encoding takes some hundred times its memory, and no model here reads as many tokens.
pub const LONGEST_TEXT: usize = 1 << 20;

/// The tokenizer of a checkpoint.
///
/// ```
/// use stepfn_models::tokenizer::Tokenizer;
///
/// let tokenizer = Tokenizer::from_folder("../../tests/goldens/models/tokenizers/byte_bpe")?;
/// let tokens = tokenizer.encode("naïve of", true)?;
/// let surfaces: Vec<&str> = tokens.iter().map(|token| token.surface.as_str()).collect();
/// assert_eq!(surfaces, ["n", "a", r"\xC3", r"\xAF", "ve", " of"]);
/// assert_eq!(tokens[3].span, 2..4);
/// # Ok::<(), stepfn_models::ModelError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    path: PathBuf,
    spelling: Spelling,
    added: BTreeSet<u32>,
    special: BTreeSet<u32>,
    /// In the order of [`settings::NAMED`].
    named: [Option<String>; 4],
    /// The token that masks others, by its name.
    mask: Option<String>,
    chat_template: templates::Templates,
    /// Ids of the tokens, where they aren't those of `inner`.
    vocabulary: Option<Vocabulary>,
    /// What is put around a text, where that isn't left to `inner`.
    frame: Option<Frame>,
    /// The model has embeddings for ids below this.
    limit: Option<usize>,
}

impl Tokenizer {
    /// The same for a model with so many embeddings: a text with a token beyond them is an error. Published tokenizers may have such tokens, of
    /// which no text has any: `<mask>`, `[PAD]`.
    #[must_use]
    pub fn limited_to(self, vocab_size: usize) -> Self {
        Self { limit: Some(vocab_size), ..self }
    }

    /// Splits a text into tokens. With `add_special_tokens`, also adds the special tokens at the start and end of the model's inputs.
    /// Special tokens written in the text are always recognized.
    ///
    /// # Errors
    /// [`ModelError::LongText`] if the text is longer than [`LONGEST_TEXT`]; [`ModelError::TokenId`] if a token is beyond the model's
    /// embeddings; [`ModelError::File`], which names the tokenizer, if it can't encode the text.
    pub fn encode(&self, text: &str, add_special_tokens: bool) -> Result<Vec<Token>, ModelError> {
        Ok(self.encode_in_words(text, add_special_tokens)?.0)
    }

    /// The same, with the number of the word that each token is a piece of: what the tokenizer cuts off before it looks for tokens, which is often a
    /// word, or a run of punctuation. Tokens that it adds are in no word.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_in_words(
        &self,
        text: &str,
        add_special_tokens: bool,
    ) -> Result<(Vec<Token>, Vec<Option<u32>>), ModelError> {
        if text.len() > LONGEST_TEXT {
            return Err(ModelError::LongText { bytes: text.len(), most: LONGEST_TEXT });
        }
        let (tokens, words) = match &self.frame {
            None => self.encode_inner(text, add_special_tokens)?,
            Some(frame) => {
                let code = frame.code_of(text, self.vocabulary.as_ref());
                let start = code.as_ref().map_or(0, |code| code.span.end);
                let (mut tokens, mut words) = self.encode_inner(text.get(start..).unwrap_or_default(), false)?;
                for token in &mut tokens {
                    token.span = token.span.start + start..token.span.end + start;
                }
                tokens.splice(0..0, code);
                let added = |ids: &[u32], at: usize| -> Vec<Token> {
                    let ids = ids.iter().filter(|_| add_special_tokens);
                    ids.map(|&id| Token { id, surface: self.name_of(id), span: at..at, special: true }).collect()
                };
                tokens.splice(0..0, added(&frame.before, 0));
                tokens.extend(added(&frame.after, text.len()));
                let before = tokens.len() - words.len() - added(&frame.after, 0).len();
                words.splice(0..0, core::iter::repeat_n(None, before));
                words.resize(tokens.len(), None);
                (tokens, words)
            }
        };
        match tokens.iter().find(|token| self.limit.is_some_and(|limit| token.id as usize >= limit)) {
            None => Ok((tokens, words)),
            Some(token) => Err(ModelError::TokenId {
                path: self.path.clone(),
                id: token.id,
                token: Some(token.surface.clone()),
                expected: format!(
                    "an id below {}, because the model has no embedding for others; leave it out of the text",
                    self.limit.unwrap_or_default()
                ),
            }),
        }
    }

    /// What `tokenizers` makes of a text, and the word of each token.
    fn encode_inner(&self, text: &str, add_special_tokens: bool) -> Result<(Vec<Token>, Vec<Option<u32>>), ModelError> {
        // `encode` returns offsets in bytes.
        let encoding = guarded(&self.path, || self.inner.encode(text, add_special_tokens))?;
        let from_text: Vec<bool> = encoding.get_special_tokens_mask().iter().map(|added| *added == 0).collect();
        let last = from_text.iter().rposition(|from_text| *from_text);
        let mut spans: Vec<Range<usize>> = Vec::with_capacity(encoding.len());
        for (i, &(start, end)) in encoding.get_offsets().iter().enumerate() {
            let before = spans.last().map_or(0, |span| span.end);
            spans.push(match last {
                Some(last) if i > last => text.len()..text.len(),
                _ if from_text[i] => {
                    let start = text.floor_char_boundary(start);
                    start..text.ceil_char_boundary(end).max(start)
                }
                _ => before..before,
            });
        }
        let tokens = encoding.get_ids().iter().zip(encoding.get_tokens()).enumerate();
        let tokens = tokens
            .map(|(i, (&id, token))| {
                let id = self.vocabulary.as_ref().map_or(id, |vocabulary| vocabulary.id_or_unknown(token));
                let special = self.special.contains(&id) || !from_text[i];
                let overlaps = |other: Option<&Range<usize>>| {
                    other.is_some_and(|other| other.start < spans[i].end && spans[i].start < other.end)
                };
                let shared = overlaps(i.checked_sub(1).and_then(|i| spans.get(i))) || overlaps(spans.get(i + 1));
                let surface = if special {
                    self.id_to_token(id).unwrap_or_else(|| token.clone())
                } else {
                    self.surface(id, token, text, &spans[i], shared)
                };
                Token { id, surface, span: spans[i].clone(), special }
            })
            .collect();
        Ok((tokens, encoding.get_word_ids().to_vec()))
    }

    fn surface(&self, id: u32, token: &str, text: &str, span: &Range<usize>, shared: bool) -> String {
        let (own, whole) = if self.added.contains(&id) { (token.to_owned(), true) } else { self.spelling.read(token) };
        let covered = &text[span.clone()];
        if shared || !whole || covered.is_empty() {
            return own;
        }
        let space_cut =
            own.starts_with(' ') && !covered.starts_with(char::is_whitespace) && text[..span.start].ends_with(' ');
        if space_cut { format!(" {covered}") } else { covered.to_owned() }
    }

    /// The text of the given ids, without special tokens if `skip_special_tokens`. Ids without a token have no text: models may have more
    /// embeddings than their tokenizers have tokens.
    ///
    /// # Errors
    /// [`ModelError::File`], which names the tokenizer, if it can't decode them.
    pub fn decode(&self, ids: &[u32], skip_special_tokens: bool) -> Result<String, ModelError> {
        // The library doesn't know special tokens by the form in which it finds them in normalized texts.
        let shown = |id: &u32| self.id_to_token(*id).is_some() && !(skip_special_tokens && self.special.contains(id));
        let ids = ids.iter().copied().filter(shown);
        if let Some(vocabulary) = &self.vocabulary {
            return Ok(vocabulary.join(ids));
        }
        let ids: Vec<u32> = ids.collect();
        guarded(&self.path, || self.inner.decode(&ids, skip_special_tokens))
    }

    /// Whether a token has no text of its own: a special one, or none at all.
    fn is_silent(&self, id: u32) -> bool {
        self.special.contains(&id) || self.id_to_token(id).is_none()
    }

    /// What a token is called that has no text of its own.
    fn name_of(&self, id: u32) -> String {
        self.id_to_token(id).unwrap_or_else(|| format!("<{id}>"))
    }

    /// The id of a token as the vocabulary writes it (`Ġof`, `▁of`, `</s>`).
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        match &self.vocabulary {
            Some(vocabulary) => vocabulary.id(token),
            None => self.inner.token_to_id(token),
        }
    }

    /// A token as the vocabulary writes it.
    pub fn id_to_token(&self, id: u32) -> Option<String> {
        match &self.vocabulary {
            Some(vocabulary) => vocabulary.token(id).map(str::to_owned),
            None => self.inner.id_to_token(id),
        }
    }

    /// Number of tokens, including added ones.
    pub fn vocab_size(&self) -> usize {
        match &self.vocabulary {
            Some(vocabulary) => vocabulary.len(),
            None => self.inner.get_vocab_size(true),
        }
    }

    /// Name and id of the BOS token, if the checkpoint names one that is in the vocabulary.
    pub fn bos(&self) -> Option<(&str, u32)> {
        self.named(0)
    }

    /// Name and id of the EOS token, if the checkpoint names one that is in the vocabulary.
    pub fn eos(&self) -> Option<(&str, u32)> {
        self.named(1)
    }

    /// Name and id of the padding token, if the checkpoint names one that is in the vocabulary.
    pub fn pad(&self) -> Option<(&str, u32)> {
        self.named(2)
    }

    /// Name and id of the unknown token, if the checkpoint names one that is in the vocabulary.
    pub fn unk(&self) -> Option<(&str, u32)> {
        self.named(3)
    }

    /// Name and id of the token that masks others, if the checkpoint names one that is in the vocabulary, or has one by a usual name.
    pub fn mask(&self) -> Option<(&str, u32)> {
        let usual = ["[MASK]", "<mask>"].into_iter().filter(|name| {
            let id = self.token_to_id(name);
            id.is_some_and(|id| self.special.contains(&id))
        });
        self.mask.as_deref().into_iter().chain(usual).find_map(|name| Some((name, self.token_to_id(name)?)))
    }

    /// The ids of special tokens.
    pub fn special(&self) -> impl Iterator<Item = u32> {
        self.special.iter().copied()
    }

    fn named(&self, index: usize) -> Option<(&str, u32)> {
        let name = self.named[index].as_deref()?;
        Some((name, self.token_to_id(name)?))
    }

    /// The source of the checkpoint's chat template (Jinja); of the default one if there are several.
    /// [`compiled_chat_template`](Self::compiled_chat_template) runs it.
    pub fn chat_template(&self) -> Option<&str> {
        self.chat_template.get(None)
    }
}

/// Calls into `tokenizers`, which panics on some malformed files (such as a truncated `precompiled_charsmap`).
fn guarded<T>(path: &Path, run: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, ModelError> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(result) => result.map_err(|error| file_error(path, error)),
        Err(_) => Err(file_error(path, "malformed; the `tokenizers` library failed on it")),
    }
}

fn file_error(path: &Path, message: impl ToString) -> ModelError {
    ModelError::File { path: path.to_owned(), message: crate::json_file::said(&message.to_string()) }
}

#[cfg(test)]
mod tests;
