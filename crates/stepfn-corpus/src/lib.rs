//! Corpora: records in from JSON lines, CSV, TSV and Parquet, compressed or not, and results out, in shards that can be resumed.
//!
//! | what | where |
//! |---|---|
//! | files by name or pattern, and their fingerprints | [`sources`], [`Fingerprint`] |
//! | records of several files, in bounded memory | [`Reader`] |
//! | columns with types | [`Column`], [`Type`], [`Guess`] |
//! | rows out | [`RowFile`] |
//! | which record is in which shard | [`Shards`] |
//! | a folder of shards: what is finished, and what it was made with | [`Folder`], [`Manifest`] |
//!
//! This crate knows nothing about models: it moves records.

pub mod failpoint;

mod column;
mod compression;
mod error;
mod folder;
mod format;
mod guess;
mod json_lines;
mod lines;
mod manifest;
#[cfg(feature = "parquet")]
mod parquet;
mod part;
mod reader;
mod row;
mod shards;
mod source;
mod table;

pub use column::{Column, Type, joined};
pub use error::{CorpusError, ErrorKind, Result};
pub use folder::{Finished, Folder};
pub use format::Format;
pub use guess::Guess;
pub use lines::{BYTE_ORDER_MARK, LONGEST};
pub use manifest::{InputFile, Manifest};
pub use part::PartFile;
pub use reader::{Content, Extent, Mark, Reader, Record, columns, count};
pub use row::{Cell, RowFile, RowOptions};
pub use shards::{Job, Shards};
pub use source::{Fingerprint, Source, sources};
pub use table::{cells, table_lines};
