//! What can go wrong with a corpus.

use core::fmt;
use std::io;

/// A result with a [`CorpusError`].
pub type Result<T> = core::result::Result<T, CorpusError>;

/// What an error is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// What was asked for: a pattern, a column, a number of shards, a folder that was made with something else.
    Option,
    /// A file or folder: it can't be read, written or understood.
    File,
    /// One record.
    Record,
}

/// What is wrong, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CorpusError {
    /// What it is about.
    pub kind: ErrorKind,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub hint: String,
}

impl CorpusError {
    pub(crate) fn new(kind: ErrorKind, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { kind, what: what.into(), hint: hint.into() }
    }

    pub(crate) fn option(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(ErrorKind::Option, what, hint)
    }

    pub(crate) fn file(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(ErrorKind::File, what, hint)
    }

    pub(crate) fn record(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(ErrorKind::Record, what, hint)
    }

    /// A file that could not be written.
    pub(crate) fn unwritten(name: &str, error: &io::Error) -> Self {
        let hint = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                "make room and start again: what is finished stays, and the rest follows"
            }
            io::ErrorKind::WouldBlock => "wait for it, or give each program its own part with --shard I/N",
            _ => "write to a folder that exists and can be written",
        };
        let what = match error.kind() {
            io::ErrorKind::WouldBlock => "another program is writing this file".to_owned(),
            _ => error.to_string(),
        };
        Self::file(format!("{name}: {what}"), hint)
    }
}

impl fmt::Display for CorpusError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.what, self.hint)
    }
}

impl core::error::Error for CorpusError {}
