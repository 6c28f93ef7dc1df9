//! Records of JSON lines.

use std::io::BufReader;

use crate::lines::{BoundedLines, LONGEST, Line};
use crate::reader::{Content, Mark, Row};
use crate::{CorpusError, Result, Source};

/// The lines of a file that are not empty.
pub(crate) struct LineRows {
    lines: BoundedLines,
    line: usize,
}

impl LineRows {
    /// Opens a file, at a mark.
    pub(crate) fn open(source: &Source, mark: Mark) -> Result<Self> {
        let lines = BoundedLines::after(Box::new(BufReader::new(source.open(mark.byte)?)), mark.byte);
        Ok(Self { lines, line: mark.line })
    }
}

impl Iterator for LineRows {
    type Item = Row;

    fn next(&mut self) -> Option<Row> {
        loop {
            let start = Mark { record: 0, byte: self.lines.bytes_read(), line: self.line };
            let read = self.lines.next();
            self.line += 1;
            let too_long =
                |hint: &str| CorpusError::record(format!("the line is longer than {} MiB", LONGEST >> 20), hint);
            let content = match read {
                Ok(None) => return None,
                Ok(Some(Line::Whole(bytes))) if bytes.trim_ascii().is_empty() => continue,
                Ok(Some(Line::Whole(bytes))) => Ok(Content::Json(bytes)),
                Ok(Some(Line::TooLong)) => Err(too_long("split the text")),
                Ok(Some(Line::Endless)) => Err(too_long("give a file of lines; nothing after this one was read")),
                Err(error) => Err(CorpusError::record(error.to_string(), "check the file")),
            };
            return Some(Row { row: self.line, start, end: self.lines.bytes_read(), content });
        }
    }
}
