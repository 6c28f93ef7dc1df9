//! Converts text to token ids and back with a published `tokenizer.json`, through the `tokenizers` crate.
//!
//! This adds what attribution needs besides ids: every token has a span in the text (in bytes), a readable surface, and a flag for special
//! tokens. Truncation, padding and merge dropout are switched off even if a `tokenizer.json` enables them, because a text must always give
//! the same complete token sequence.

use core::ops::Range;
use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokenizers::ModelWrapper;

use crate::ModelError;

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
    /// In the order of [`NAMED`].
    named: [Option<String>; 4],
    chat_template: Option<String>,
}

/// Fields of `tokenizer_config.json` and `special_tokens_map.json`.
const NAMED: [&str; 4] = ["bos_token", "eos_token", "pad_token", "unk_token"];

impl Tokenizer {
    /// Reads a checkpoint's tokenizer, from a folder (as [`from_folder`](Self::from_folder)) or from a GGUF file (feature `gguf`).
    ///
    /// A GGUF file is memory-mapped during the call; it must not be changed or truncated in that time.
    ///
    /// # Errors
    /// [`ModelError::File`], which names the file that is missing, unreadable or malformed.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, ModelError> {
        let path = path.as_ref();
        #[cfg(feature = "gguf")]
        if path.is_file() {
            // Mapped, because the file also contains the weights.
            return Self::from_gguf_bytes(path, crate::checkpoint::map(path)?.bytes());
        }
        Self::from_folder(path)
    }

    /// Reads the tokenizer of a GGUF file in memory. `path` identifies it in error messages.
    ///
    /// # Errors
    /// [`ModelError::File`] if it is not a GGUF file, or has no supported tokenizer.
    #[cfg(feature = "gguf")]
    pub fn from_gguf_bytes(path: &Path, bytes: &[u8]) -> Result<Self, ModelError> {
        let crate::gguf::GgufTokenizer { json, named, chat_template } = crate::gguf::GgufTokenizer::parse(path, bytes)?;
        let tokenizer = Self::parse(json.to_string().as_bytes(), path.to_owned())?;
        Ok(Self { named, chat_template, ..tokenizer })
    }

    /// Reads `tokenizer.json` from a folder. If they exist, also reads `tokenizer_config.json` and `special_tokens_map.json` (for names of
    /// special tokens; the former takes precedence) and `chat_template.jinja`.
    ///
    /// # Errors
    /// [`ModelError::File`], which names the file that is missing, unreadable or malformed.
    pub fn from_folder(folder: impl AsRef<Path>) -> Result<Self, ModelError> {
        let folder = folder.as_ref();
        let path = folder.join("tokenizer.json");
        let bytes = fs::read(&path).map_err(|error| file_error(&path, error))?;
        let mut tokenizer = Self::parse(&bytes, path)?;
        for name in ["tokenizer_config.json", "special_tokens_map.json"] {
            let path = folder.join(name);
            let Some(bytes) = read_if_there(&path)? else { continue };
            let json: Value = serde_json::from_slice(&bytes).map_err(|error| file_error(&path, error))?;
            let fields = json.as_object().ok_or_else(|| file_error(&path, "expected a JSON object"))?;
            for (field, slot) in NAMED.iter().zip(&mut tokenizer.named) {
                let value = fields.get(*field).unwrap_or(&Value::Null);
                let content = value.get("content").unwrap_or(value);
                if content.is_null() {
                    continue;
                }
                let content = content.as_str().ok_or_else(|| {
                    file_error(&path, format!("`{field}`: expected a name or an object with `content`, found {value}"))
                })?;
                slot.get_or_insert_with(|| content.to_owned());
            }
            if let Some(template) = fields.get("chat_template") {
                tokenizer.chat_template = default_template(template);
            }
        }
        let path = folder.join("chat_template.jinja");
        if let Some(bytes) = read_if_there(&path)? {
            tokenizer.chat_template = Some(String::from_utf8(bytes).map_err(|error| file_error(&path, error))?);
        }
        Ok(tokenizer)
    }

    /// Reads the contents of a `tokenizer.json`.
    ///
    /// # Errors
    /// [`ModelError::File`] if they are malformed.
    pub fn from_bytes(json: &[u8]) -> Result<Self, ModelError> {
        Self::parse(json, PathBuf::from("tokenizer.json"))
    }

    fn parse(json: &[u8], path: PathBuf) -> Result<Self, ModelError> {
        let parts: Parts = serde_json::from_slice(json).map_err(|error| file_error(&path, error))?;
        let mut inner = guarded(&path, || tokenizers::Tokenizer::from_bytes(json))?;
        inner.with_truncation(None).map_err(|error| file_error(&path, error))?;
        inner.with_padding(None);
        if let ModelWrapper::BPE(model) = inner.get_model()
            && model.dropout.is_some()
        {
            let mut model = model.clone();
            model.dropout = None;
            inner.with_model(model);
        }
        let mut spelling = Spelling::default();
        spelling.learn(&parts.pre_tokenizer);
        spelling.learn(&parts.decoder);
        let tokens = inner.get_added_tokens_decoder();
        let special = tokens.iter().filter(|(_, token)| token.special).map(|(id, _)| *id).collect();
        let added = tokens.keys().copied().collect();
        Ok(Self { inner, path, spelling, added, special, named: Default::default(), chat_template: None })
    }

    /// Checks that a model with `vocab_size` embeddings has one for each token. It may have more.
    ///
    /// # Errors
    /// [`ModelError::TokenId`], which names the token with the highest id, if that is too high.
    pub fn check_vocab(&self, vocab_size: usize) -> Result<(), ModelError> {
        let mut highest = self.inner.get_vocab(true).into_iter().map(|(token, id)| (id, token)).max();
        // A post-processor may add ids that are not in the vocabulary.
        for token in self.encode("", true)? {
            highest = highest.max(Some((token.id, token.surface)));
        }
        match highest {
            Some((id, token)) if id as usize >= vocab_size => Err(ModelError::TokenId {
                path: self.path.clone(),
                id,
                token: Some(token),
                expected: format!(
                    "ids below {vocab_size}, the model's vocabulary size; does the tokenizer belong to this model?"
                ),
            }),
            _ => Ok(()),
        }
    }

    /// Splits a text into tokens. With `add_special_tokens`, also adds the special tokens at the start and end of the model's inputs.
    /// Special tokens written in the text are always recognized.
    ///
    /// # Errors
    /// [`ModelError::File`], which names the tokenizer, if it can't encode the text.
    pub fn encode(&self, text: &str, add_special_tokens: bool) -> Result<Vec<Token>, ModelError> {
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
        Ok(tokens
            .map(|(i, (&id, token))| {
                let special = self.special.contains(&id) || !from_text[i];
                let overlaps = |other: Option<&Range<usize>>| {
                    other.is_some_and(|other| other.start < spans[i].end && spans[i].start < other.end)
                };
                let shared = overlaps(i.checked_sub(1).and_then(|i| spans.get(i))) || overlaps(spans.get(i + 1));
                let surface = if special {
                    self.inner.id_to_token(id).unwrap_or_else(|| token.clone())
                } else {
                    self.surface(id, token, text, &spans[i], shared)
                };
                Token { id, surface, span: spans[i].clone(), special }
            })
            .collect())
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

    /// The text of the given ids, without special tokens if `skip_special_tokens`.
    ///
    /// # Errors
    /// [`ModelError::TokenId`] for an id that the tokenizer doesn't have.
    pub fn decode(&self, ids: &[u32], skip_special_tokens: bool) -> Result<String, ModelError> {
        if let Some(&id) = ids.iter().find(|id| self.inner.id_to_token(**id).is_none()) {
            return Err(ModelError::TokenId {
                path: self.path.clone(),
                id,
                token: None,
                expected: format!("an id of one of its {} tokens", self.vocab_size()),
            });
        }
        guarded(&self.path, || self.inner.decode(ids, skip_special_tokens))
    }

    /// The text of ids that a model generated, without special tokens, and a token for each id, as [`encode`](Self::encode) returns for a
    /// given text.
    ///
    /// # Errors
    /// As for [`decode`](Self::decode).
    pub fn describe(&self, ids: &[u32]) -> Result<(String, Vec<Token>), ModelError> {
        let text = self.decode(ids, true)?;
        let mut tokens: Vec<Token> = Vec::with_capacity(ids.len());
        // How much text the tokens so far cover, and the first token whose last character is still incomplete.
        let (mut covered, mut waiting) = (0, None);
        for (i, &id) in ids.iter().enumerate() {
            let special = self.special.contains(&id);
            tokens.push(Token { id, surface: String::new(), span: covered..covered, special });
            if special {
                continue;
            }
            let so_far = self.decode(&ids[..=i], true)?;
            // Incomplete characters decode to replacement characters.
            let whole = so_far.trim_end_matches(char::REPLACEMENT_CHARACTER);
            let end = if i + 1 == ids.len() { text.len() } else { common(whole, &text) };
            let first = *waiting.get_or_insert(i);
            if end > covered {
                tokens[first..].iter_mut().filter(|token| !token.special).for_each(|token| token.span = covered..end);
                (covered, waiting) = (end, None);
            }
        }
        for i in 0..tokens.len() {
            let Token { id, span, special, .. } = tokens[i].clone();
            let token = self.inner.id_to_token(id).unwrap_or_default();
            let shared = |other: Option<&Token>| other.is_some_and(|other| !span.is_empty() && other.span == span);
            let shared = shared(i.checked_sub(1).and_then(|i| tokens.get(i))) || shared(tokens.get(i + 1));
            tokens[i].surface = if special { token } else { self.surface(id, &token, &text, &span, shared) };
        }
        Ok((text, tokens))
    }

    /// The id of a token as the vocabulary writes it (`Ġof`, `▁of`, `</s>`).
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// A token as the vocabulary writes it.
    pub fn id_to_token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// Number of tokens, including added ones.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
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

    fn named(&self, index: usize) -> Option<(&str, u32)> {
        let name = self.named[index].as_deref()?;
        Some((name, self.token_to_id(name)?))
    }

    /// The checkpoint's chat template (Jinja); the default one if there are several. It is not interpreted here.
    pub fn chat_template(&self) -> Option<&str> {
        self.chat_template.as_deref()
    }
}

/// The parts of a `tokenizer.json` that determine how its vocabulary is written.
#[derive(Deserialize)]
struct Parts {
    #[serde(default)]
    pre_tokenizer: Value,
    #[serde(default)]
    decoder: Value,
}

/// How the vocabulary's tokens are written.
#[derive(Debug, Clone, Default)]
struct Spelling {
    /// One character per byte, as in GPT-2.
    byte_level: bool,
    /// `<0x0A>` for a byte, as in Llama.
    byte_fallback: bool,
    /// Strings that stand for a space.
    markers: Vec<String>,
}

impl Spelling {
    fn learn(&mut self, part: &Value) {
        match part.get("type").and_then(Value::as_str) {
            Some("ByteLevel") => self.byte_level = true,
            Some("ByteFallback") => self.byte_fallback = true,
            Some("Metaspace") => self.mark(part.get("replacement")),
            Some("Replace") if part.get("content").is_some_and(|content| content == " ") => {
                self.mark(part.pointer("/pattern/String"));
            }
            _ => {}
        }
        for list in ["pretokenizers", "decoders"] {
            part.get(list).and_then(Value::as_array).into_iter().flatten().for_each(|part| self.learn(part));
        }
    }

    fn mark(&mut self, marker: Option<&Value>) {
        if let Some(marker) = marker.and_then(Value::as_str)
            && !marker.is_empty()
        {
            self.markers.push(marker.to_owned());
        }
    }

    /// The readable form of a token, and whether it consists of complete characters.
    fn read(&self, token: &str) -> (String, bool) {
        if self.byte_level
            && let Some(bytes) = token.chars().map(byte_of).collect::<Option<Vec<u8>>>()
        {
            return readable(&bytes);
        }
        let hex = token.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
        if self.byte_fallback
            && let Some(byte) = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok())
        {
            return readable(&[byte]);
        }
        (self.markers.iter().fold(token.to_owned(), |token, marker| token.replace(marker.as_str(), " ")), true)
    }
}

/// The byte for a character of a byte-level vocabulary. Printable Latin-1 characters stand for themselves, and characters from U+0100 on
/// for the other 68 bytes in order (Radford et al. 2019, `bytes_to_unicode`).
fn byte_of(character: char) -> Option<u8> {
    let code = u32::from(character);
    let byte = match code {
        0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF => code,
        0x100..=0x120 => code - 0x100,
        0x121..=0x142 => code - 0x121 + 0x7F,
        0x143 => 0xAD,
        _ => return None,
    };
    u8::try_from(byte).ok()
}

fn readable(bytes: &[u8]) -> (String, bool) {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02X}")));
    }
    (text, core::str::from_utf8(bytes).is_ok())
}

/// Length in bytes of the common prefix of two texts, in complete characters.
fn common(a: &str, b: &str) -> usize {
    let differs = a.char_indices().zip(b.chars()).find(|((_, ours), theirs)| ours != theirs);
    differs.map_or(a.len().min(b.len()), |((at, _), _)| at)
}

fn default_template(template: &Value) -> Option<String> {
    let named = |name: &str| template.as_array()?.iter().find(|entry| entry["name"] == name)?["template"].as_str();
    template.as_str().or_else(|| named("default")).map(str::to_owned)
}

/// Calls into `tokenizers`, which panics on some malformed files (such as a truncated `precompiled_charsmap`).
fn guarded<T>(path: &Path, run: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, ModelError> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(result) => result.map_err(|error| file_error(path, error)),
        Err(_) => Err(file_error(path, "malformed; the `tokenizers` library failed on it")),
    }
}

fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, ModelError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(file_error(path, error)),
    }
}

fn file_error(path: &Path, message: impl ToString) -> ModelError {
    ModelError::File { path: path.to_owned(), message: message.to_string() }
}

#[cfg(test)]
mod tests;
