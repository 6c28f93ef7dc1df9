//! Reads lines of files that may be anything: a device without an end, a line of gigabytes, a file with a byte order mark.

use std::io::{self, BufRead};

/// The longest line that is read. What a model can read of a text is far less.
pub const LONGEST: usize = 8 << 20;

/// How far the end of a longer line is looked for, so that the lines after it can be read.
const LOOKED_FOR: u64 = 1 << 30;

/// A byte order mark in UTF-8, which some editors put first in a file.
pub const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// Lines, none longer than [`LONGEST`].
pub(crate) struct BoundedLines {
    reader: Box<dyn BufRead + Send>,
    /// Bytes read so far.
    read: u64,
}

/// What a line was.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// Its bytes, with the line break.
    Whole(Vec<u8>),
    /// Longer than [`LONGEST`]; the next line can be read.
    TooLong,
    /// So long that its end was not found. There is no next line.
    Endless,
}

impl BoundedLines {
    /// The lines of a file.
    #[cfg(test)]
    pub(crate) fn new(reader: Box<dyn BufRead + Send>) -> Self {
        Self::after(reader, 0)
    }

    /// The lines of a file from this byte on, which the reader is at.
    pub(crate) fn after(reader: Box<dyn BufRead + Send>, read: u64) -> Self {
        Self { reader, read }
    }

    /// The number of bytes that were read so far.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.read
    }

    /// The next line, or `None` at the end of the file.
    ///
    /// # Errors
    /// Those of the reader. Nothing is read after one, because what follows can't be trusted.
    pub(crate) fn next(&mut self) -> io::Result<Option<Line>> {
        let line = self.line();
        if matches!(line, Err(_) | Ok(Some(Line::Endless))) {
            self.reader = Box::new(io::empty());
        }
        line
    }

    fn line(&mut self) -> io::Result<Option<Line>> {
        let is_first = self.read == 0;
        let mut line = Vec::new();
        loop {
            let buffer = match self.reader.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                buffer => buffer?,
            };
            let end = buffer.iter().position(|&byte| byte == b'\n').map_or(buffer.len(), |end| end + 1);
            let (part, is_whole) = (&buffer[..end], end == 0 || buffer[end - 1] == b'\n');
            if line.len() + part.len() > LONGEST {
                return self.rest().map(Some);
            }
            line.extend_from_slice(part);
            self.consume(end);
            if is_whole {
                break;
            }
        }
        if is_first && line.starts_with(BYTE_ORDER_MARK) {
            line.drain(..BYTE_ORDER_MARK.len());
            if line.is_empty() {
                return self.line();
            }
        }
        Ok((!line.is_empty()).then_some(Line::Whole(line)))
    }

    /// Passes over the rest of a line that is too long.
    fn rest(&mut self) -> io::Result<Line> {
        let start = self.read;
        while self.read - start < LOOKED_FOR {
            let buffer = self.reader.fill_buf()?;
            let end = buffer.iter().position(|&byte| byte == b'\n').map(|end| end + 1);
            let (passed, is_end) = (end.unwrap_or(buffer.len()), end.is_some() || buffer.is_empty());
            self.consume(passed);
            if is_end {
                return Ok(Line::TooLong);
            }
        }
        Ok(Line::Endless)
    }

    fn consume(&mut self, bytes: usize) {
        self.reader.consume(bytes);
        self.read += bytes as u64;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use std::io::{BufReader, Read};

    use super::*;

    fn lines(bytes: impl Read + Send + 'static) -> Vec<Line> {
        let mut lines = BoundedLines::new(Box::new(BufReader::new(bytes)));
        core::iter::from_fn(|| lines.next().unwrap()).collect()
    }

    fn whole(line: &str) -> Line {
        Line::Whole(line.into())
    }

    #[test]
    fn every_line_is_read_whatever_the_file_begins_or_ends_with() {
        assert_eq!(lines(&b"a\n\nb"[..]), [whole("a\n"), whole("\n"), whole("b")]);
        assert_eq!(lines(&b"\xEF\xBB\xBFa\n\xEF\xBB\xBFb\n"[..]), [whole("a\n"), whole("\u{FEFF}b\n")]);
        assert_eq!(lines(&b"\xEF\xBB\xBF"[..]), []);
        assert_eq!(lines(&b""[..]), []);
    }

    #[test]
    fn a_line_that_is_too_long_is_passed_over_and_one_without_an_end_ends_the_file() {
        let long = vec![b'x'; LONGEST + 1];
        let file = [b"a\n", &long[..], b"\nb\n"].concat();
        assert_eq!(lines(io::Cursor::new(file)), [whole("a\n"), Line::TooLong, whole("b\n")]);
        assert_eq!(lines(io::Cursor::new(long)), [Line::TooLong]);
        let longest = vec![b'x'; LONGEST];
        assert_eq!(lines(io::Cursor::new(longest.clone())), [Line::Whole(longest)]);
        assert_eq!(lines(io::repeat(0)), [Line::Endless]);
    }

    #[test]
    fn bytes_are_counted_as_they_are_read() {
        let mut lines = BoundedLines::new(Box::new(&b"ab\nc"[..]));
        lines.next().unwrap();
        assert_eq!(lines.bytes_read(), 3);
        lines.next().unwrap();
        assert_eq!(lines.bytes_read(), 4);
    }
}
