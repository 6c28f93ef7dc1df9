//! Rows of Parquet files.

use std::collections::BTreeSet;

use arrow_array::{Array, RecordBatch};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::errors::ParquetError;

use super::values::{kind, value};
use crate::reader::{Content, Mark, Row};
use crate::{Column, CorpusError, Result, Source};

/// Rows that are read at once.
const BATCH: usize = 256;

/// The rows of a file.
pub(crate) struct ParquetRows {
    reader: ParquetRecordBatchReader,
    batch: RecordBatch,
    /// The next row of the batch.
    next: usize,
    /// Rows so far, and rows in all.
    row: usize,
    rows: usize,
    /// The size of the file.
    bytes: u64,
    failed: Option<CorpusError>,
}

fn open(source: &Source) -> Result<ParquetRecordBatchReaderBuilder<std::fs::File>> {
    // Without it, types are those that Parquet has: dictionaries and views are what they stand for.
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let file = source.open_file()?;
    let builder = guarded(|| ParquetRecordBatchReaderBuilder::try_new_with_options(file, options))
        .map_err(|error| broken(source, &error))?;
    // The library takes offsets and sizes at their word, and panics at negative ones.
    let size = source.size().and_then(|size| i64::try_from(size).ok()).unwrap_or(i64::MAX);
    let mut chunks = builder.metadata().row_groups().iter().flat_map(|group| group.columns());
    let is_inside =
        |start: i64, length: i64| start >= 0 && length >= 0 && start.checked_add(length).is_some_and(|end| end <= size);
    let is_damaged = chunks.any(|chunk| {
        let start = chunk.dictionary_page_offset().unwrap_or_else(|| chunk.data_page_offset());
        !(is_inside(start, chunk.compressed_size()) && is_inside(chunk.data_page_offset(), 0))
    });
    match is_damaged {
        true => Err(broken(source, &ParquetError::General("columns are outside of the file".to_owned()))),
        false => Ok(builder),
    }
}

/// What the library finds in a file; where it panics, the file is damaged.
fn guarded<T>(read: impl FnOnce() -> core::result::Result<T, ParquetError>) -> core::result::Result<T, ParquetError> {
    let damaged = |_| Err(ParquetError::General("the file is damaged".to_owned()));
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(read)).unwrap_or_else(damaged)
}

fn broken(source: &Source, error: &ParquetError) -> CorpusError {
    let (what, hint) = said(&error.to_string());
    CorpusError::file(format!("{}: {what}", source.name), hint)
}

/// What is wrong with a file, and what to do.
fn said(error: &str) -> (String, &'static str) {
    match error.contains("Disabled feature") {
        true => {
            let what = "the file has a compression that can't be read here";
            (what.to_owned(), "write it with the compression zstd or snappy, or none")
        }
        false => (error.to_owned(), "write the file again: it is no Parquet, or it is damaged"),
    }
}

/// The number of rows of a file.
pub(crate) fn count(source: &Source) -> Result<usize> {
    let rows = open(source)?.metadata().file_metadata().num_rows();
    usize::try_from(rows).map_err(|_| {
        CorpusError::file(format!("{}: it says that it has {rows} rows", source.name), "write the file again")
    })
}

/// The columns of a file; of one that can't be read, its name and the name of its type.
pub(crate) fn columns(source: &Source) -> Result<Vec<core::result::Result<Column, String>>> {
    let builder = open(source)?;
    let column = |field: &arrow_schema::FieldRef| match kind(field.data_type()) {
        Ok(kind) => Ok(Column::new(field.name(), kind)),
        Err(kind) => Err(format!("`{}` has the type {kind}", field.name())),
    };
    Ok(builder.schema().fields().iter().map(column).collect())
}

impl ParquetRows {
    /// Opens a file, after some rows.
    pub(crate) fn open(source: &Source, wanted: Option<&BTreeSet<String>>, skip: usize) -> Result<Self> {
        let rows = count(source)?;
        let builder = open(source)?;
        let is_wanted = |field: &arrow_schema::FieldRef| {
            wanted.is_none_or(|wanted| wanted.contains(field.name())) && kind(field.data_type()).is_ok()
        };
        let fields = builder.schema().fields();
        let roots: Vec<usize> = (0..fields.len()).filter(|&index| is_wanted(&fields[index])).collect();
        let mask = ProjectionMask::roots(builder.parquet_schema(), roots);
        // Groups before the first row are not even looked at.
        let (mut passed, mut first) = (skip, 0);
        for group in builder.metadata().row_groups() {
            match usize::try_from(group.num_rows()) {
                Ok(rows) if rows <= passed => (passed, first) = (passed - rows, first + 1),
                _ => break,
            }
        }
        let groups = (first..builder.metadata().num_row_groups()).collect();
        let builder = builder.with_row_groups(groups).with_offset(passed);
        let reader = guarded(|| builder.with_projection(mask).with_batch_size(BATCH).build());
        let reader = reader.map_err(|error| broken(source, &error))?;
        let batch = RecordBatch::new_empty(std::sync::Arc::new(arrow_schema::Schema::empty()));
        let bytes = source.size().unwrap_or(0);
        Ok(Self { reader, batch, next: 0, row: skip, rows, bytes, failed: None })
    }
}

impl Iterator for ParquetRows {
    type Item = Row;

    fn next(&mut self) -> Option<Row> {
        if self.row >= self.rows {
            return None;
        }
        while self.next == self.batch.num_rows() && self.failed.is_none() {
            match guarded(|| self.reader.next().transpose().map_err(ParquetError::from)).transpose() {
                Some(Ok(batch)) => (self.batch, self.next) = (batch, 0),
                // The rows that the file says it has keep their numbers.
                other => {
                    let (what, hint) = match other {
                        Some(Err(error)) => said(&error.to_string()),
                        _ => ("the file has fewer rows than it says".to_owned(), "write the file again: it is damaged"),
                    };
                    self.failed = Some(CorpusError::record(what, hint));
                }
            }
        }
        let content = match &self.failed {
            Some(error) => Err(error.clone()),
            None => {
                let schema = self.batch.schema();
                let columns = schema.fields().iter().zip(self.batch.columns());
                let cell = |(field, column): (&arrow_schema::FieldRef, &std::sync::Arc<dyn Array>)| {
                    (field.name().clone(), value(column, self.next))
                };
                Ok(Content::Fields(columns.map(cell).collect()))
            }
        };
        self.next += usize::from(self.failed.is_none());
        self.row += 1;
        let end = (self.bytes as u128 * self.row as u128 / self.rows as u128) as u64;
        Some(Row { row: self.row, start: Mark::default(), end, content })
    }
}
