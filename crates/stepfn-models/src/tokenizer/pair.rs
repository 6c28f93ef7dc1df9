//! The tokenizers of a checkpoint: encoder–decoders may read with one and write with another, or put other tokens around what they read and
//! what they write.

use std::path::Path;

use serde_json::Value;

use super::Tokenizer;
use super::languages::Multilingual;
use super::published::{self, Build};
use super::settings::Settings;
use crate::ModelError;

/// The languages of a model that translates between several, by their codes (`__fr__`, `fr_XX`, `fra_Latn`, `>>fra<<`) or their names in these
/// codes where they are unambiguous (`fr`, `fra`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Languages {
    /// The language of what is read.
    pub source: Option<String>,
    /// The language of what is written.
    pub target: Option<String>,
}

/// The token that a language gives to what is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetStart {
    /// It is the first after the start token: `forced_bos_token_id`.
    Forced(u32),
    /// It is the start token: `decoder_start_token_id`.
    Start(u32),
}

/// The tokenizers of a checkpoint: of what it reads and of what it writes.
#[derive(Debug, Clone)]
pub struct Tokenizers {
    source: Tokenizer,
    /// Of what is written, where that is another one.
    target: Option<Tokenizer>,
    start: Option<TargetStart>,
    /// Why nothing can be written, where the language isn't said.
    missing: Option<ModelError>,
    /// What other languages are found by, where there are several.
    multilingual: Option<(Multilingual, Box<Settings>)>,
}

impl Tokenizers {
    /// One tokenizer for both.
    pub fn same(tokenizer: Tokenizer) -> Self {
        Self { source: tokenizer, target: None, start: None, missing: None, multilingual: None }
    }

    /// Reads the tokenizers of a folder, or of a GGUF file (feature `gguf`): from `tokenizer.json`, or from what older checkpoints have instead.
    ///
    /// A GGUF file is memory-mapped during the call; it must not be changed or truncated in that time.
    ///
    /// # Errors
    /// [`ModelError::File`], which names the file that is missing, unreadable or malformed; [`ModelError::Language`] for a language that the
    /// model doesn't have, or if it needs the source's and neither `languages` nor the folder say it.
    pub fn open(path: &Path, config_json: &Value, languages: &Languages) -> Result<Self, ModelError> {
        if path.is_file() {
            return Self::of(Tokenizer::open(path)?, languages);
        }
        let settings = Settings::read(path)?;
        match published::build(path, &settings, config_json)? {
            Build::One(tokenizer) => match settings.class.as_deref().and_then(Multilingual::of_class) {
                Some(kind) => Self::multilingual(kind, tokenizer, &settings, languages),
                None => Self::of(tokenizer, languages),
            },
            Build::Multilingual(kind, tokenizer) => Self::multilingual(kind, tokenizer, &settings, languages),
            Build::Two(both) => Self::two(*both, languages),
        }
    }

    /// One tokenizer for both that has no languages of its own: the target's may be any token, which is then forced.
    ///
    /// # Errors
    /// [`ModelError::Language`] if there is no such token, or for a language of the source.
    pub fn of(tokenizer: Tokenizer, languages: &Languages) -> Result<Self, ModelError> {
        let unknown =
            |side, name: &String| ModelError::Language { side, found: Some(name.clone()), available: Vec::new() };
        if let Some(name) = &languages.source {
            return Err(unknown("source", name));
        }
        let forced = |name: &String| tokenizer.token_to_id(name).ok_or_else(|| unknown("target", name));
        let start = languages.target.as_ref().map(forced).transpose()?.map(TargetStart::Forced);
        Ok(Self { start, ..Self::same(tokenizer) })
    }

    fn multilingual(
        kind: Multilingual,
        tokenizer: Tokenizer,
        settings: &Settings,
        languages: &Languages,
    ) -> Result<Self, ModelError> {
        let given =
            |given: &Option<String>, field: &str| given.clone().or_else(|| settings.text(field).map(str::to_owned));
        let find = |side, name: Option<String>| name.map(|name| kind.find(&tokenizer, side, &name)).transpose();
        let source = find("source", given(&languages.source, "src_lang"))?;
        let source = source.map_or_else(|| kind.usual(&tokenizer, settings), |code| Ok(Some(code)))?;
        let target = find("target", given(&languages.target, "tgt_lang"))?;
        let end = tokenizer.eos().map(|(_, id)| id);
        let framed = |code| Tokenizer { frame: Some(kind.frame(code, end, settings)), ..tokenizer.clone() };
        let start = if kind.is_forced() { TargetStart::Forced } else { TargetStart::Start };
        Ok(Self {
            source: framed(source),
            target: Some(framed(target)),
            start: target.map(start),
            missing: (target.is_none() && kind.needs_target()).then(|| kind.missing(&tokenizer, "target")),
            multilingual: Some((kind, Box::new(settings.clone()))),
        })
    }

    /// The same for other languages, of a model that translates between several; `None` for other models. A language that isn't given is that of the folder.
    ///
    /// # Errors
    /// [`ModelError::Language`] for a language that the model doesn't have.
    pub fn with_languages(&self, languages: &Languages) -> Result<Option<Self>, ModelError> {
        let Some((kind, settings)) = &self.multilingual else { return Ok(None) };
        let made = Self::multilingual(*kind, self.source.clone(), settings, languages)?;
        // Both sides may have limits of their own.
        let limit = self.target().limit;
        let target = made.target.map(|tokenizer| Tokenizer { limit, ..tokenizer });
        Ok(Some(Self { target, ..made }))
    }

    /// A tokenizer for each side, whose sources may start with the code of the target's language.
    fn two([source, target]: [Tokenizer; 2], languages: &Languages) -> Result<Self, ModelError> {
        if let Some(name) = languages.source.clone() {
            return Err(ModelError::Language { side: "source", found: Some(name), available: Vec::new() });
        }
        let mut source = source;
        if let Some(name) = &languages.target {
            let codes = source.language_codes();
            let code = if name.starts_with(">>") { name.clone() } else { format!(">>{name}<<") };
            let id = Some(&code).filter(|code| codes.contains(code)).and_then(|code| source.token_to_id(code));
            let unknown = ModelError::Language { side: "target", found: Some(name.clone()), available: codes };
            let id = id.ok_or(unknown)?;
            source.frame.get_or_insert_default().before.push(id);
        }
        Ok(Self { target: Some(target), ..Self::same(source) })
    }

    /// The same for a model with so many embeddings on either side; see [`Tokenizer::limited_to`].
    #[must_use]
    pub fn limited_to(self, [source, target]: [usize; 2]) -> Self {
        Self {
            target: self.target.map(|tokenizer| tokenizer.limited_to(target)),
            source: self.source.limited_to(source),
            ..self
        }
    }

    /// The tokenizer of what is read: sources, and the texts of causal models.
    pub fn source(&self) -> &Tokenizer {
        &self.source
    }

    /// The tokenizer of what is written: targets, and the texts of causal models.
    pub fn target(&self) -> &Tokenizer {
        self.target.as_ref().unwrap_or(&self.source)
    }

    /// What the target's language is to what is written, where a language is given.
    pub fn target_start(&self) -> Option<TargetStart> {
        self.start
    }

    /// Checks that the language of what is written is known, where it has to be.
    ///
    /// # Errors
    /// [`ModelError::Language`] if it isn't.
    pub fn check_target(&self) -> Result<(), ModelError> {
        self.missing.clone().map_or(Ok(()), Err)
    }
}
