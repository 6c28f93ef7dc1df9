//! Reads tokenizers from folders, from bytes and from GGUF files.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;
use tokenizers::ModelWrapper;

use super::classes::{Class, tokenizer_json};
use super::sentence_piece::SentencePiece;
use super::settings::Settings;
use super::spelling::Spelling;
use super::{Tokenizer, file_error, guarded};
use crate::ModelError;
use crate::checkpoint::files::{LFS_POINTER, is_lfs_pointer};

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
            let path = &crate::gguf::first_part(path);
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
    /// special tokens; the former takes precedence) and the files of chat templates.
    ///
    /// # Errors
    /// [`ModelError::File`], which names the file that is missing, unreadable or malformed.
    pub fn from_folder(folder: impl AsRef<Path>) -> Result<Self, ModelError> {
        let folder = folder.as_ref();
        let path = folder.join("tokenizer.json");
        let bytes = crate::read_file(&path).map_err(|error| file_error(&path, error))?;
        let tokenizer = Self::parse(&bytes, path)?;
        let settings = Settings::read(folder)?;
        let mask = settings.mask();
        let Settings { named, chat_template, .. } = settings;
        Ok(Self { named, mask, chat_template, ..tokenizer })
    }

    /// Reads the contents of a `tokenizer.json`.
    ///
    /// # Errors
    /// [`ModelError::File`] if they are malformed.
    pub fn from_bytes(json: &[u8]) -> Result<Self, ModelError> {
        Self::parse(json, PathBuf::from("tokenizer.json"))
    }

    /// Reads the contents of a SentencePiece model. Ids are its own, and nothing is put around a text: what published models put there depends on
    /// their class, which [`Tokenizers::open`](super::Tokenizers::open) knows.
    ///
    /// # Errors
    /// [`ModelError::File`] if they are malformed.
    pub fn from_sentence_piece(bytes: &[u8]) -> Result<Self, ModelError> {
        let path = PathBuf::from("tokenizer.model");
        let model = SentencePiece::parse(bytes).map_err(|error| file_error(&path, error))?;
        let json = tokenizer_json(&model, Class::Plain, &Settings::default());
        let json = json.map_err(|error| file_error(&path, error))?;
        Self::parse(json.to_string().as_bytes(), path)
    }

    pub(super) fn parse(json: &[u8], path: PathBuf) -> Result<Self, ModelError> {
        if is_lfs_pointer(json) {
            return Err(file_error(&path, LFS_POINTER));
        }
        // Some editors put a byte order mark first.
        let json = json.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(json);
        let parts: Parts = crate::from_json(json).map_err(|error| file_error(&path, error))?;
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
        Ok(Self {
            inner,
            path,
            spelling,
            added,
            special,
            named: Default::default(),
            mask: None,
            chat_template: Default::default(),
            vocabulary: None,
            frame: None,
            limit: None,
        })
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
