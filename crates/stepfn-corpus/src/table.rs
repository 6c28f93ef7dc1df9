//! Tables: CSV and TSV. Values with separators, quotes or line breaks are quoted, in both.

use core::sync::atomic::{AtomicUsize, Ordering};
use std::io::{self, Read};
use std::sync::Arc;

use csv::{ByteRecord, ReaderBuilder, Terminator, WriterBuilder};
use serde_json::{Map, Value};

use crate::lines::{BYTE_ORDER_MARK, LONGEST};
use crate::reader::{Content, Mark, Row};
use crate::{CorpusError, Format, Result, Source};

/// The rows of a table, without its header.
pub(crate) struct TableRows {
    reader: csv::Reader<Bounded>,
    budget: Arc<AtomicUsize>,
    header: Vec<String>,
    /// Where the reader began.
    began: Mark,
    record: ByteRecord,
    has_ended: bool,
}

/// A file of which no more is read than its budget: a row without an end, such as one whose quote is never closed, must not fill the memory.
struct Bounded {
    file: Box<dyn Read + Send>,
    budget: Arc<AtomicUsize>,
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.budget.load(Ordering::Relaxed) == 0 {
            return Err(io::Error::other(format!("the row is longer than {} MiB", LONGEST >> 20)));
        }
        let read = self.file.read(buffer)?;
        self.budget.store(self.budget.load(Ordering::Relaxed).saturating_sub(read), Ordering::Relaxed);
        Ok(read)
    }
}

fn reader(file: Box<dyn Read + Send>, format: Format) -> (csv::Reader<Bounded>, Arc<AtomicUsize>) {
    let budget = Arc::new(AtomicUsize::new(LONGEST));
    let file = Bounded { file, budget: budget.clone() };
    let mut builder = ReaderBuilder::new();
    builder.delimiter(format.delimiter()).has_headers(false).flexible(true);
    (builder.from_reader(file), budget)
}

impl TableRows {
    /// Opens a table, at a mark.
    pub(crate) fn open(source: &Source, mark: Mark) -> Result<Self> {
        let (mut reader, budget) = self::reader(source.open(0)?, source.format);
        let header = read_header(&mut reader, source)?;
        let began = Mark::default();
        let (record, has_ended) = (ByteRecord::new(), false);
        if mark.byte == 0 {
            return Ok(Self { reader, budget, header, began, record, has_ended });
        }
        let (reader, budget) = self::reader(source.open(mark.byte)?, source.format);
        Ok(Self { reader, budget, header, began: mark, record, has_ended })
    }

    /// The names of its columns.
    pub(crate) fn header(&self) -> &[String] {
        &self.header
    }

    /// Where the reader is.
    fn mark(&self) -> Mark {
        let position = self.reader.position();
        let line = self.began.line + usize::try_from(position.line()).unwrap_or(usize::MAX).saturating_sub(1);
        Mark { record: 0, byte: self.began.byte + position.byte(), line }
    }

    fn fields(&self) -> Result<Map<String, Value>> {
        let (found, expected) = (self.record.len(), self.header.len());
        if found != expected {
            let what = format!("the row has {found} cells, and the header has {expected}");
            return Err(CorpusError::record(what, "put cells with separators or line breaks into quotes"));
        }
        let cell = |(name, bytes): (&String, &[u8])| {
            let text = core::str::from_utf8(bytes).map_err(|error| {
                let what = format!("`{name}` is not UTF-8, from byte {} on", error.valid_up_to());
                CorpusError::record(what, "save the file as UTF-8")
            })?;
            Ok((name.clone(), Value::from(text)))
        };
        self.header.iter().zip(self.record.iter()).map(cell).collect()
    }
}

fn read_header(reader: &mut csv::Reader<Bounded>, source: &Source) -> Result<Vec<String>> {
    let failed = |what: &str| {
        let hint = "the first line of a table has the names of its columns; for JSON lines, use --input-format jsonl";
        CorpusError::file(format!("{}: {what}", source.name), hint)
    };
    let mut record = ByteRecord::new();
    match reader.read_byte_record(&mut record) {
        Err(error) => return Err(failed(&error.to_string())),
        Ok(false) => return Err(failed("the table is empty, and has not even a header")),
        Ok(true) => {}
    }
    let mut header: Vec<String> = Vec::new();
    for cell in &record {
        let cell = cell.strip_prefix(BYTE_ORDER_MARK).filter(|_| header.is_empty()).unwrap_or(cell);
        let name = core::str::from_utf8(cell).map_err(|_| failed("the header is not UTF-8"))?.to_owned();
        if header.contains(&name) {
            return Err(failed(&format!("the column `{name}` is there twice")));
        }
        header.push(name);
    }
    Ok(header)
}

impl Iterator for TableRows {
    type Item = Row;

    fn next(&mut self) -> Option<Row> {
        if self.has_ended {
            return None;
        }
        self.budget.store(LONGEST, Ordering::Relaxed);
        let start = self.mark();
        let read = self.reader.read_byte_record(&mut self.record);
        let content = match read {
            Ok(false) => return None,
            Ok(true) => self.fields().map(Content::Fields),
            Err(error) => {
                self.has_ended = true;
                Err(CorpusError::record(error.to_string(), "check the quotes; nothing after this row was read"))
            }
        };
        // Where the row begins, which may be after empty lines.
        let line = self.record.position().map_or(0, |position| usize::try_from(position.line()).unwrap_or(0));
        let row = if line == 0 { start.line + 1 } else { self.began.line + line };
        Some(Row { row, start, end: self.mark().byte, content })
    }
}

/// Rows as lines of a CSV or TSV file. Each ends with a line break.
///
/// # Errors
/// Those of the `csv` crate; none is known.
pub fn table_lines(format: Format, rows: impl IntoIterator<Item = Vec<String>>) -> io::Result<Vec<u8>> {
    let mut builder = WriterBuilder::new();
    builder.delimiter(format.delimiter()).terminator(Terminator::Any(b'\n')).flexible(true);
    let mut writer = builder.from_writer(Vec::new());
    for row in rows {
        writer.write_record(&row)?;
    }
    writer.into_inner().map_err(|error| io::Error::other(error.to_string()))
}

/// The cells of the lines of a CSV or TSV file.
///
/// # Errors
/// If they are no UTF-8.
pub fn cells(format: Format, bytes: &[u8]) -> io::Result<Vec<Vec<String>>> {
    let mut builder = ReaderBuilder::new();
    builder.delimiter(format.delimiter()).has_headers(false).flexible(true);
    let rows = builder.from_reader(bytes).into_records();
    rows.map(|row| Ok(row?.iter().map(str::to_owned).collect())).collect()
}

/// A value as a cell: a text as it is, nothing for `null`, and everything else as JSON.
pub(crate) fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
