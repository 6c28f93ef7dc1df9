//! Rows into Parquet files.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;

use super::arrays::{column, fields};
use crate::{Cell, Column, CorpusError, Result, RowOptions};

/// Rows that are collected before they are encoded, and about how many bytes.
const BATCH: usize = 512;
const BATCH_BYTES: usize = 64 << 20;

/// A file that is being written.
pub(crate) struct ParquetFile {
    columns: Vec<Column>,
    schema: SchemaRef,
    writer: ArrowWriter<Vec<u8>>,
    rows: Vec<Vec<Cell>>,
    bytes: usize,
}

impl ParquetFile {
    pub(crate) fn new(columns: &[Column], options: &RowOptions) -> Result<Self> {
        let schema = Arc::new(Schema::new(fields(columns)));
        let about = options.about.iter().map(|(name, value)| KeyValue::new(name.clone(), value.clone())).collect();
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_created_by(format!("stepfn {}", env!("CARGO_PKG_VERSION")))
            .set_max_row_group_row_count(Some(options.group_rows.max(1)))
            .set_key_value_metadata(Some(about))
            .build();
        let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
        let writer = ArrowWriter::try_new_with_options(Vec::new(), schema.clone(), options).map_err(unwritten)?;
        Ok(Self { columns: columns.to_vec(), schema, writer, rows: Vec::new(), bytes: 0 })
    }

    pub(crate) fn push(&mut self, row: Vec<Cell>) -> Result<()> {
        self.bytes += row.iter().map(Cell::bytes).sum::<usize>();
        self.rows.push(row);
        if self.rows.len() >= BATCH || self.bytes >= BATCH_BYTES { self.encode() } else { Ok(()) }
    }

    /// Encodes the rows that were collected.
    fn encode(&mut self) -> Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        self.bytes = 0;
        let mut rows: Vec<_> = self.rows.drain(..).map(Vec::into_iter).collect();
        let array = |of: &Column| {
            let cells = rows.iter_mut().map(|row| row.next().unwrap_or(Cell::Value(serde_json::Value::Null)));
            column(&of.kind, cells.collect())
        };
        let arrays = self.columns.iter().map(array).collect::<core::result::Result<Vec<ArrayRef>, _>>();
        let batch = arrays.and_then(|arrays| RecordBatch::try_new(self.schema.clone(), arrays));
        self.writer.write(&batch.map_err(unwritten)?).map_err(unwritten)
    }

    pub(crate) fn take(&mut self) -> Result<Vec<u8>> {
        self.writer.sync().map_err(unwritten)?;
        Ok(core::mem::take(self.writer.inner_mut()))
    }

    pub(crate) fn finish(mut self) -> Result<Vec<u8>> {
        self.encode()?;
        self.writer.into_inner().map_err(unwritten)
    }
}

fn unwritten(error: impl core::fmt::Display) -> CorpusError {
    CorpusError::file(format!("rows can't be written as Parquet: {error}"), "use the format jsonl")
}
