//! Errors when loading or running a model, worded so that the user can fix them.

use std::path::PathBuf;

use burn::tensor::DType;

/// Why a model could not be loaded or run.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// A file could not be read.
    #[error("{}: {message}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The message of the system or of the file's parser.
        message: String,
    },
    /// A checkpoint could not be loaded from a hub.
    #[error("{name} on the hub: {message}")]
    Hub {
        /// The name.
        name: String,
        /// What happened and what to do.
        message: String,
    },
    /// A field of `config.json` is missing or has an unsupported value.
    #[error("config.json, `{field}`: expected {expected}, found {found}")]
    Config {
        /// The field.
        field: String,
        /// The values that it may have.
        expected: String,
        /// Its value.
        found: String,
    },
    /// The model family is not supported.
    #[error(
        "config.json, `model_type`: `{found}` is not supported{}{}; supported: {}",
        nearest.as_ref().map_or_else(String::new, |nearest| format!(" (did you mean `{nearest}`?)")),
        reason.map_or_else(String::new, |reason| format!(": {reason}")),
        supported.join(", ")
    )]
    UnknownFamily {
        /// The family of the checkpoint.
        found: String,
        /// A supported name that differs in spelling only.
        nearest: Option<String>,
        /// Why it isn't, and what to take instead, where that is known.
        reason: Option<&'static str>,
        /// All supported names.
        supported: Vec<&'static str>,
    },
    /// The checkpoint lacks a tensor that the configuration needs.
    #[error("{}: tensor `{tensor}` is missing, but the configuration needs it", path.display())]
    MissingTensor {
        /// The checkpoint.
        path: PathBuf,
        /// The tensor's name.
        tensor: String,
    },
    /// The checkpoint has a tensor that the configuration does not use.
    #[error("{}: tensor `{tensor}` is not part of a {family} model; does the checkpoint belong to this config.json?", path.display())]
    UnusedTensor {
        /// The checkpoint.
        path: PathBuf,
        /// The tensor's name.
        tensor: String,
        /// The family.
        family: &'static str,
    },
    /// A tensor does not have the shape or element type that the configuration needs.
    #[error("{}, tensor `{tensor}`: expected {expected}, found {found}", path.display())]
    Tensor {
        /// The checkpoint.
        path: PathBuf,
        /// The tensor's name.
        tensor: String,
        /// What the configuration needs.
        expected: String,
        /// What the file has.
        found: String,
    },
    /// The input does not match the model.
    #[error("the model's input: expected {expected}, found {found}")]
    Input {
        /// What the model accepts.
        expected: String,
        /// What was found.
        found: String,
    },
    /// A part of the model can't be pulled back through by some rule.
    #[error(
        "the part `{part}` has no rule for {rule}: choose a method that uses plain gradients, or give the part a backward with this rule"
    )]
    NoRule {
        /// The part.
        part: &'static str,
        /// The rule, as papers call it.
        rule: &'static str,
    },
    /// Whoever runs the model wants no more of it; see [`interruptible`](crate::interruptible).
    #[error("cancelled")]
    Cancelled,
    /// Derivatives of a model in half precision have left the range of its numbers.
    #[error(
        "the gradient has numbers that are larger than {} can hold",
        format!("{dtype:?}").to_lowercase()
    )]
    Overflow {
        /// The model's element type.
        dtype: DType,
    },
    /// A token id is not in the vocabulary of the model or of the tokenizer.
    #[error(
        "{}, token {}{id}: expected {expected}",
        path.display(),
        token.as_ref().map_or_else(String::new, |token| format!("`{token}` with id "))
    )]
    TokenId {
        /// The tokenizer.
        path: PathBuf,
        /// The id.
        id: u32,
        /// Its token, if it has one.
        token: Option<String>,
        /// The ids that it may be.
        expected: String,
    },
    /// A language is missing, or the model doesn't have it.
    #[error("{}", of_language(side, found.as_deref(), available))]
    Language {
        /// Whether it is the language of the source or of the target.
        side: &'static str,
        /// What was given.
        found: Option<String>,
        /// The codes of the languages that the model has.
        available: Vec<String>,
    },
    /// A chat could not be written with the model's chat template.
    #[error("chat: {message}")]
    Chat {
        /// What is wrong, with the messages or with the template.
        message: String,
    },
    /// A text is too long to be read.
    #[error("the text has {bytes} bytes, and at most {most} are read")]
    LongText {
        /// Bytes of the text.
        bytes: usize,
        /// Bytes that a text may have.
        most: usize,
    },
    /// A prediction is not a number, so no token can be chosen.
    #[error(
        "the prediction of new token {position} contains NaN or infinity: a broken checkpoint, or an overflow in half precision"
    )]
    NonFinite {
        /// The new token, counted from 1.
        position: usize,
    },
    /// No token may follow.
    #[error("the generation settings allow none of the {vocabulary} tokens as new token {position}")]
    NothingAllowed {
        /// The new token, counted from 1.
        position: usize,
        /// Tokens in the vocabulary.
        vocabulary: usize,
    },
    /// A generation setting is invalid.
    #[error("generation: `{field}` must be {expected}, not {found}")]
    Setting {
        /// The setting, or the field of `generation_config.json`.
        field: String,
        /// The values that it may have.
        expected: String,
        /// Its value.
        found: String,
    },
}

/// What is wrong with a language.
fn of_language(side: &str, found: Option<&str>, available: &[String]) -> String {
    const MOST: usize = 6;
    let more = if available.len() > MOST { ", …" } else { "" };
    let codes = format!("{}{more}", available.iter().take(MOST).map(String::as_str).collect::<Vec<_>>().join(", "));
    let has = if available.is_empty() { String::new() } else { format!("; it has {codes}") };
    match found {
        None => format!("this model translates between several languages, and the {side}'s is not given{has}"),
        Some(name) => format!("this model has no language `{name}` for the {side}{has}"),
    }
}

impl ModelError {
    pub(crate) fn input(expected: impl Into<String>, found: impl core::fmt::Display) -> Self {
        Self::Input { expected: expected.into(), found: found.to_string() }
    }

    pub(crate) fn setting(
        field: impl Into<String>,
        expected: impl Into<String>,
        found: impl core::fmt::Display,
    ) -> Self {
        Self::Setting { field: field.into(), expected: expected.into(), found: crate::json::shortened(&found) }
    }

    pub(crate) fn config(
        field: impl Into<String>,
        expected: impl Into<String>,
        found: impl core::fmt::Display,
    ) -> Self {
        Self::Config { field: field.into(), expected: expected.into(), found: found.to_string() }
    }
}
