//! Compressed files: gzip and zstd.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::{CorpusError, Result};

/// How a file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    Gzip,
    Zstd,
}

impl Compression {
    /// As a file's ending says: `.gz` or `.zst`.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_ascii_lowercase().to_str()? {
            "gz" => Some(Self::Gzip),
            "zst" | "zstd" => Some(Self::Zstd),
            _ => None,
        }
    }

    /// Checks that this program was built with it.
    pub(crate) fn check(self) -> Result<()> {
        match cfg!(feature = "compression") {
            true => Ok(()),
            false => Err(CorpusError::option(
                "this program was built without compressed files",
                "build it with the feature `compression`, or decompress the file",
            )),
        }
    }

    /// What the file has in it. A file of several parts, as parallel compressors write them, is read to its end.
    #[cfg(feature = "compression")]
    pub(crate) fn reader(self, file: File) -> io::Result<Box<dyn Read + Send>> {
        Ok(match self {
            Self::Gzip => Box::new(flate2::read::MultiGzDecoder::new(io::BufReader::new(file))),
            Self::Zstd => Box::new(zstd::Decoder::new(file)?),
        })
    }

    #[cfg(not(feature = "compression"))]
    pub(crate) fn reader(self, _file: File) -> io::Result<Box<dyn Read + Send>> {
        Err(io::Error::from(io::ErrorKind::Unsupported))
    }
}

#[cfg(all(test, feature = "compression"))]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use std::io::Write;

    use flate2::write::GzEncoder;

    use crate::{Extent, Reader, Record, Source, count, sources};

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn compressed_files_have_the_records_of_their_originals() {
        let folder = tempfile::tempdir().unwrap();
        let lines: String = (0..3000).map(|n| format!("{{\"n\": {n}}}\n")).collect();
        let table = format!("n\n{}", (0..3000).map(|n| format!("{n}\n")).collect::<String>());
        let (lines, table) = (lines.as_bytes(), table.as_bytes());
        // Of several parts, one after the other.
        let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 1).unwrap();
        let files = [
            ("a.jsonl", lines.to_vec()),
            ("b.jsonl.gz", [gzip(&lines[..999]), gzip(&lines[999..])].concat()),
            ("c.jsonl.ZST", [zstd(&lines[..999]), zstd(&lines[999..])].concat()),
            ("d.csv.gz", gzip(table)),
            ("e.csv.zst", zstd(table)),
        ];
        let sources: Vec<Source> = files
            .iter()
            .map(|(name, bytes)| {
                let path = folder.path().join(name);
                std::fs::write(&path, bytes).unwrap();
                Source { name: "x".to_owned(), ..Source::new(&path, None) }
            })
            .collect();
        let records = |source: &Source, extents: &[Extent], from: usize| -> Vec<Record> {
            Reader::starting(vec![source.clone()], None, extents, from).unwrap().collect()
        };
        let original = records(&sources[0], &[], 0);
        assert_eq!(original.len(), 3000);
        for source in &sources[1..3] {
            assert_eq!(records(source, &[], 0), original);
        }
        for source in &sources {
            let all = records(source, &[], 0);
            let extent = count(source).unwrap();
            assert_eq!((all.len(), extent.records), (3000, 3000), "{source:?}");
            // From a mark in the middle.
            assert_eq!(records(source, &[extent], 2500), all[2500..], "{source:?}");
        }
    }

    #[test]
    fn a_damaged_file_is_read_as_far_as_it_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl.gz");
        let whole = gzip(&b"{}\n".repeat(100_000));
        for bytes in [&whole[..whole.len() / 2], b"this is no gzip"] {
            std::fs::write(&path, bytes).unwrap();
            let read: Vec<Record> = Reader::new(vec![Source::new(&path, None)], None).unwrap().collect();
            let (last, before) = read.split_last().unwrap();
            assert!(last.content.is_err() && before.iter().all(|record| record.content.is_ok()));
        }
        std::fs::write(folder.path().join("b.parquet.gz"), whole).unwrap();
        let error = sources(&[folder.path().join("b.parquet.gz")], None).unwrap_err();
        assert!(
            error.what.ends_with("b.parquet.gz: Parquet is compressed within, and not read from a compressed file")
        );
    }
}
