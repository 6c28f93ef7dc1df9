//! Records of several files, one after the other, as if they were one.

use core::fmt;
use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::json_lines::LineRows;
use crate::table::TableRows;
use crate::{Column, CorpusError, Format, Result, Source, Type, failpoint};

/// A record.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Its number, from 0, over all files.
    pub number: usize,
    /// Its line in its file, or in Parquet its row, from 1.
    pub row: usize,
    /// Where it is: `data/a.csv, line 3`.
    pub place: String,
    /// The bytes of all files up to its end.
    pub end: u64,
    /// What it has, or why it can't be read.
    pub content: Result<Content>,
}

/// What a record has.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Content {
    /// A line of JSON, which nobody has looked into yet.
    Json(Vec<u8>),
    /// Fields by name. Those of CSV and TSV are all texts.
    Fields(Map<String, Value>),
}

/// A place in a file where a record begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(usize, u64, usize)", into = "(usize, u64, usize)")]
pub struct Mark {
    /// The number of records before it in the file.
    pub record: usize,
    /// The number of bytes before it. 0 is before the header, if there is one.
    pub byte: u64,
    /// The number of lines before it.
    pub line: usize,
}

impl From<(usize, u64, usize)> for Mark {
    fn from((record, byte, line): (usize, u64, usize)) -> Self {
        Self { record, byte, line }
    }
}

impl From<Mark> for (usize, u64, usize) {
    fn from(Mark { record, byte, line }: Mark) -> Self {
        (record, byte, line)
    }
}

/// How many records a file has, and where some of them begin, so that one in the middle is found soon.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extent {
    /// The number of records.
    pub records: usize,
    /// Some of their beginnings, in order.
    pub marks: Vec<Mark>,
}

/// A record of one file.
pub(crate) struct Row {
    pub(crate) row: usize,
    /// Where it begins.
    pub(crate) start: Mark,
    /// The bytes of the file up to its end, if that is known.
    pub(crate) end: u64,
    pub(crate) content: Result<Content>,
}

type Rows = Box<dyn Iterator<Item = Row> + Send>;

/// Opens a file `skip` records after its beginning.
fn open(source: &Source, wanted: Option<&BTreeSet<String>>, extent: Option<&Extent>, skip: usize) -> Result<Rows> {
    source.format.check()?;
    let marks = extent.map_or(&[][..], |extent| extent.marks.as_slice());
    let mark = marks.iter().rfind(|mark| mark.record <= skip).copied().unwrap_or_default();
    let passed = skip - mark.record;
    Ok(match source.format {
        Format::JsonLines => Box::new(LineRows::open(source, mark)?.skip(passed)),
        Format::Csv | Format::Tsv => {
            let wanted = wanted.cloned();
            let keep = move |mut row: Row| {
                if let (Ok(Content::Fields(fields)), Some(wanted)) = (&mut row.content, &wanted) {
                    fields.retain(|name, _| wanted.contains(name));
                }
                row
            };
            Box::new(TableRows::open(source, mark)?.skip(passed).map(keep))
        }
        #[cfg(feature = "parquet")]
        Format::Parquet => Box::new(crate::parquet::ParquetRows::open(source, wanted, skip)?),
        #[cfg(not(feature = "parquet"))]
        Format::Parquet => Box::new(core::iter::empty()),
    })
}

/// The columns of a file, if it says them before its records: JSON lines don't.
///
/// # Errors
/// [`ErrorKind::File`](crate::ErrorKind::File) if the file can't be read.
pub fn columns(source: &Source) -> Result<Option<Vec<core::result::Result<Column, String>>>> {
    source.format.check()?;
    Ok(match source.format {
        // What was read of standard input would be gone.
        _ if source.path.is_none() => None,
        Format::JsonLines => None,
        Format::Csv | Format::Tsv => {
            let rows = TableRows::open(source, Mark::default())?;
            Some(rows.header().iter().map(|name| Ok(Column::new(name, Type::Text))).collect())
        }
        #[cfg(feature = "parquet")]
        Format::Parquet => Some(crate::parquet::columns(source)?),
        #[cfg(not(feature = "parquet"))]
        Format::Parquet => None,
    })
}

/// Counts the records of a file. Parquet says their number; other files are read once.
///
/// # Errors
/// [`ErrorKind::File`](crate::ErrorKind::File) if the file can't be opened.
pub fn count(source: &Source) -> Result<Extent> {
    /// Records from one mark to the next, and the most marks: with more records, marks are further apart.
    const STRIDE: usize = 1024;
    const MOST: usize = 4096;
    #[cfg(feature = "parquet")]
    if source.format == Format::Parquet {
        return Ok(Extent { records: crate::parquet::count(source)?, marks: Vec::new() });
    }
    let mut extent = Extent::default();
    let mut stride = STRIDE;
    for row in open(source, None, None, 0)? {
        if extent.records.is_multiple_of(stride) && extent.records > 0 {
            failpoint::reach("count");
            extent.marks.push(Mark { record: extent.records, ..row.start });
            if extent.marks.len() == MOST {
                stride *= 2;
                extent.marks.retain(|mark| mark.record.is_multiple_of(stride));
            }
        }
        extent.records += 1;
    }
    failpoint::reach("count");
    Ok(extent)
}

/// The records of files, one after the other. A record that can't be read is one with an error, and the next is read.
pub struct Reader {
    sources: std::vec::IntoIter<Source>,
    wanted: Option<BTreeSet<String>>,
    open: Option<(Source, Rows)>,
    number: usize,
    /// Bytes of the files before the open one.
    before: u64,
}

impl Reader {
    /// All records of these files; of tables only the wanted columns, if they are named.
    ///
    /// # Errors
    /// [`ErrorKind::File`](crate::ErrorKind::File) if the first file can't be opened.
    pub fn new(sources: Vec<Source>, wanted: Option<BTreeSet<String>>) -> Result<Self> {
        Self::starting(sources, wanted, &[], 0)
    }

    /// The records from this number on. Extents, where there are some, say how many records each file has.
    ///
    /// # Errors
    /// As [`new`](Self::new), of the file that has the first of these records.
    pub fn starting(
        sources: Vec<Source>,
        wanted: Option<BTreeSet<String>>,
        extents: &[Extent],
        number: usize,
    ) -> Result<Self> {
        let (mut skip, mut before, mut index) = (number, 0, 0);
        while let Some(extent) = extents.get(index).filter(|extent| extent.records <= skip)
            && index + 1 < sources.len()
        {
            skip -= extent.records;
            before += sources[index].size().unwrap_or(0);
            index += 1;
        }
        let mut sources = sources.into_iter();
        let first = sources.by_ref().nth(index);
        let open = match first {
            Some(source) => {
                let rows = open(&source, wanted.as_ref(), extents.get(index), skip)?;
                Some((source, rows))
            }
            None => None,
        };
        Ok(Self { sources, wanted, open, number, before })
    }
}

impl Iterator for Reader {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        loop {
            let (source, rows) = self.open.as_mut()?;
            if let Some(Row { row, end, content, .. }) = rows.next() {
                failpoint::reach("read");
                let unit = if source.format == Format::Parquet { "row" } else { "line" };
                let place = format!("{}, {unit} {row}", source.name);
                self.number += 1;
                return Some(Record { number: self.number - 1, row, place, end: self.before + end, content });
            }
            self.before += source.size().unwrap_or(0);
            let next = self.sources.next()?;
            let rows = open(&next, self.wanted.as_ref(), None, 0).unwrap_or_else(|error| {
                // As a record, so that the others are read.
                let content = Err(CorpusError::record(error.what, error.hint));
                Box::new(core::iter::once(Row { row: 0, start: Mark::default(), end: 0, content }))
            });
            self.open = Some((next, rows));
        }
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("number", &self.number).field("left", &self.sources).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sources(folder: &tempfile::TempDir, files: &[(&str, &[u8])]) -> Vec<Source> {
        let written = files.iter().map(|(name, bytes)| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            Source { name: (*name).to_owned(), ..Source::new(&path, None) }
        });
        written.collect()
    }

    #[test]
    fn files_are_read_one_after_the_other_and_say_where_what_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let files: [(&str, &[u8]); 4] = [
            ("a.jsonl", b"\n{\"a\": 1}\n"),
            ("b.csv", b"\xEF\xBB\xBFx,y\n1,\"2\n3\"\n4\nz,\xFF\n5,6\n"),
            ("c.tsv", b""),
            ("d.tsv", b"x\ty\na\t\"b"),
        ];
        let sources = sources(&folder, &files);
        let shown = |record: Record| match record.content {
            Ok(Content::Json(line)) => format!("{}: {}", record.place, String::from_utf8(line).unwrap().trim()),
            Ok(Content::Fields(fields)) => format!("{}: {}", record.place, Value::from(fields)),
            Err(error) => format!("{}: {}", record.place, error.what),
        };
        let read: Vec<String> = Reader::new(sources.clone(), None).unwrap().map(shown).collect();
        assert_eq!(
            read,
            [
                "a.jsonl, line 2: {\"a\": 1}",
                "b.csv, line 2: {\"x\":\"1\",\"y\":\"2\\n3\"}",
                "b.csv, line 4: the row has 1 cells, and the header has 2",
                "b.csv, line 5: `y` is not UTF-8, from byte 0 on",
                "b.csv, line 6: {\"x\":\"5\",\"y\":\"6\"}",
                "c.tsv, line 0: c.tsv: the table is empty, and has not even a header",
                "d.tsv, line 2: {\"x\":\"a\",\"y\":\"b\"}",
            ]
        );
        let wanted = Some(["y".to_owned()].into());
        let last = Reader::new(sources.clone(), wanted).unwrap().last().map(shown);
        assert_eq!(last.unwrap(), "d.tsv, line 2: {\"y\":\"b\"}");
        let last = Reader::new(sources.clone(), None).unwrap().last().unwrap();
        assert_eq!((last.number, last.end), (6, files.iter().map(|(_, bytes)| bytes.len() as u64).sum()));
        assert!(columns(&sources[2]).unwrap_err().what.contains("the table is empty"));
    }

    #[test]
    fn a_row_without_an_end_does_not_fill_the_memory() {
        let folder = tempfile::tempdir().unwrap();
        let long = ["x\n\"".as_bytes(), &vec![b'a'; 3 * crate::LONGEST], b"\nb\n"].concat();
        let read: Vec<Record> = Reader::new(sources(&folder, &[("a.csv", &long)]), None).unwrap().collect();
        assert_eq!(read.len(), 1);
        assert_eq!(read[0].content.as_ref().unwrap_err().what, "the row is longer than 8 MiB");
    }

    #[test]
    fn a_record_in_the_middle_is_the_one_that_comes_there() {
        let folder = tempfile::tempdir().unwrap();
        let lines: Vec<String> = (0..3000).map(|n| format!("{{\"n\": {n}}}\n\n")).collect();
        let all_lines = lines.concat();
        let rows: Vec<String> = (0..5000).map(|n| format!("{n},\"a\nb\"\n")).collect();
        let table = format!("n,t\n{}", rows.concat());
        let files: [(&str, &[u8]); 3] =
            [("a.jsonl", all_lines.as_bytes()), ("e.jsonl", b"\n"), ("b.csv", table.as_bytes())];
        let sources = sources(&folder, &files);
        let extents: Vec<Extent> = sources.iter().map(|source| count(source).unwrap()).collect();
        assert_eq!(extents.iter().map(|extent| extent.records).collect::<Vec<_>>(), [3000, 0, 5000]);
        assert_eq!(extents[0].marks[0], Mark { record: 1024, byte: lines[..1024].concat().len() as u64, line: 2048 });
        let all: Vec<Record> = Reader::new(sources.clone(), None).unwrap().collect();
        for number in [0, 1, 1023, 1024, 2999, 3000, 3001, 5000, 7999] {
            let from = Reader::starting(sources.clone(), None, &extents, number).unwrap();
            assert_eq!(from.take(2).collect::<Vec<_>>(), all[number..all.len().min(number + 2)], "{number}");
            let without = Reader::starting(sources.clone(), None, &[], 0).unwrap().nth(number);
            assert_eq!(without.as_ref(), all.get(number));
        }
        assert_eq!(Reader::starting(sources, None, &extents, 8000).unwrap().count(), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_bytes_are_read_to_their_end(bytes in prop::collection::vec(any::<u8>(), 0..200), csv in "[a\",\n\r\t]{0,60}") {
            let folder = tempfile::tempdir().unwrap();
            for bytes in [&bytes[..], csv.as_bytes()] {
                for format in Format::ALL {
                    let source = Source { format, ..sources(&folder, &[("x", bytes)]).remove(0) };
                    let read = Reader::new(vec![source.clone()], None);
                    let counted = count(&source);
                    prop_assert_eq!(read.is_ok(), counted.is_ok());
                    if let (Ok(read), Ok(counted)) = (read, counted) {
                        prop_assert_eq!(read.count(), counted.records);
                    }
                }
            }
        }
    }
}
