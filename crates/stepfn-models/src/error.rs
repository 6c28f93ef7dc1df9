//! What can go wrong with a checkpoint or its use, in words that help to fix it.

use std::path::PathBuf;

/// Why a model could not be loaded or run.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// A file could not be read.
    #[error("{}: {message}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system, or the file's reader, says.
        message: String,
    },
    /// A checkpoint could not be had by its name.
    #[error("{name} on the hub: {message}")]
    Hub {
        /// The name.
        name: String,
        /// What happened, and what to do.
        message: String,
    },
    /// A field of `config.json` is missing or has a value that can't be used.
    #[error("config.json, `{field}`: expected {expected}, found {found}")]
    Config {
        /// The field.
        field: String,
        /// What it may be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// The family is not one that is known here.
    #[error(
        "config.json, `model_type`: `{found}` is not supported{}; supported are: {}",
        nearest.as_ref().map_or_else(String::new, |nearest| format!(" (did you mean `{nearest}`?)")),
        supported.join(", ")
    )]
    UnknownFamily {
        /// The family of the checkpoint.
        found: String,
        /// The supported name most like it.
        nearest: Option<String>,
        /// All supported names.
        supported: Vec<&'static str>,
    },
    /// A tensor that the configuration calls for is not in the checkpoint.
    #[error("{}: no tensor `{tensor}`, which the configuration calls for", path.display())]
    MissingTensor {
        /// The checkpoint.
        path: PathBuf,
        /// The tensor's name.
        tensor: String,
    },
    /// A tensor of the checkpoint is used by nothing that the configuration calls for.
    #[error("{}: tensor `{tensor}` belongs to no part of a {family} model: do checkpoint and config.json belong together?", path.display())]
    UnusedTensor {
        /// The checkpoint.
        path: PathBuf,
        /// The tensor's name.
        tensor: String,
        /// The family.
        family: &'static str,
    },
    /// A tensor has another shape or element type than the configuration calls for.
    #[error("{}, tensor `{tensor}`: expected {expected}, found {found}", path.display())]
    Tensor {
        /// The checkpoint.
        path: PathBuf,
        /// The tensor's name.
        tensor: String,
        /// What the configuration calls for.
        expected: String,
        /// What the file has.
        found: String,
    },
    /// The input does not fit the model.
    #[error("the model's input: expected {expected}, found {found}")]
    Input {
        /// What the model takes.
        expected: String,
        /// What it was given.
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
    /// A token id that the vocabulary of the model or of the tokenizer does not have.
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
        /// What it may be.
        expected: String,
    },
    /// A setting of generation can't be used.
    #[error("generation settings, `{field}`: expected {expected}, found {found}")]
    Setting {
        /// The setting, or the field of `generation_config.json`.
        field: String,
        /// What it may be.
        expected: String,
        /// What it is.
        found: String,
    },
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
        Self::Setting { field: field.into(), expected: expected.into(), found: found.to_string() }
    }

    pub(crate) fn config(
        field: impl Into<String>,
        expected: impl Into<String>,
        found: impl core::fmt::Display,
    ) -> Self {
        Self::Config { field: field.into(), expected: expected.into(), found: found.to_string() }
    }
}
