//! Formats of files.

use std::path::Path;

use crate::compression::Compression;
use crate::{CorpusError, Result};

/// How records are written in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// A JSON object per line.
    JsonLines,
    /// Comma-separated values under a header (RFC 4180).
    Csv,
    /// The same, separated by tabs.
    Tsv,
    /// Apache Parquet.
    Parquet,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::JsonLines, Self::Csv, Self::Tsv, Self::Parquet];

    /// Its name, which is also the usual ending of its files.
    pub fn name(self) -> &'static str {
        match self {
            Self::JsonLines => "jsonl",
            Self::Csv => "csv",
            Self::Tsv => "tsv",
            Self::Parquet => "parquet",
        }
    }

    /// The format that a file's ending says, before that of its compression; JSON lines if it says nothing.
    pub fn of(path: &Path) -> Self {
        let inner = path.with_extension("");
        let path = if Compression::of(path).is_some() { &inner } else { path };
        let ending = path.extension().map(|ending| ending.to_ascii_lowercase().to_string_lossy().into_owned());
        match ending.as_deref() {
            Some("csv") => Self::Csv,
            Some("tsv" | "tab") => Self::Tsv,
            Some("parquet" | "pq") => Self::Parquet,
            _ => Self::JsonLines,
        }
    }

    /// Checks that this program was built with it.
    pub(crate) fn check(self) -> Result<()> {
        match self == Self::Parquet && !cfg!(feature = "parquet") {
            true => Err(CorpusError::option(
                "this program was built without Parquet",
                "build it with the feature `parquet`, or use JSON lines",
            )),
            false => Ok(()),
        }
    }

    /// What separates the cells of a row.
    pub(crate) fn delimiter(self) -> u8 {
        if self == Self::Tsv { b'\t' } else { b',' }
    }
}
