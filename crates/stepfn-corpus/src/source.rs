//! Which files are read, and how they are recognized later.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::compression::Compression;
use crate::{CorpusError, Format, Result};

/// A file of records, or standard input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Its path; `None` is standard input.
    pub path: Option<PathBuf>,
    /// What people call it.
    pub name: String,
    /// How its records are written.
    pub format: Format,
}

impl Source {
    /// A file, or standard input if the path is `-`. The format is that of its ending, unless one is given.
    pub fn new(path: &Path, format: Option<Format>) -> Self {
        let is_standard = path.as_os_str() == "-";
        Self {
            path: (!is_standard).then(|| path.to_owned()),
            name: if is_standard { "standard input".to_owned() } else { path.display().to_string() },
            format: format.unwrap_or_else(|| Format::of(path)),
        }
    }

    /// The size of what is in the file in bytes, if it is known before it is read: not of pipes, devices and compressed files.
    pub fn size(&self) -> Option<u64> {
        if self.compression().is_some() {
            return None;
        }
        let metadata = self.path.as_ref()?.metadata().ok()?;
        metadata.is_file().then_some(metadata.len())
    }

    /// How the file is compressed, if its records are not read from the file as it is.
    pub(crate) fn compression(&self) -> Option<Compression> {
        Compression::of(self.path.as_deref()?)
    }

    /// Opens the file, at this byte of what is in it.
    pub(crate) fn open(&self, byte: u64) -> Result<Box<dyn Read + Send>> {
        if self.path.is_none() {
            return Ok(Box::new(io::stdin()));
        }
        let mut file = self.open_file()?;
        let opened = match self.compression() {
            None => file.seek(SeekFrom::Start(byte)).map(|_| Box::new(file) as Box<dyn Read + Send>),
            Some(compression) => compression.reader(file).and_then(|mut reader| {
                io::copy(&mut (&mut reader).take(byte), &mut io::sink())?;
                Ok(reader)
            }),
        };
        opened.map_err(|error| self.unread(&error))
    }

    /// Opens the file as it is, which is not standard input.
    pub(crate) fn open_file(&self) -> Result<File> {
        let path = self.path.as_deref().unwrap_or(Path::new("-"));
        if path.is_dir() {
            let hint = "give a file of JSON lines, CSV, TSV or Parquet, a pattern such as 'folder/*.jsonl', or - for standard input";
            return Err(CorpusError::file(format!("{}: this is a folder", self.name), hint));
        }
        File::open(path).map_err(|error| self.unread(&error))
    }

    /// Why it can't be read.
    pub(crate) fn unread(&self, error: &io::Error) -> CorpusError {
        let hint = "give a file of JSON lines, CSV, TSV or Parquet, or - for standard input";
        CorpusError::file(format!("{}: {error}", self.name), hint)
    }
}

/// The files of these paths and patterns (`data/*.jsonl`, `data/**/*.parquet`), in the order of the patterns, and by name within each. Standard
/// input is `-`.
///
/// # Errors
/// [`ErrorKind::Option`](crate::ErrorKind::Option) if a pattern is none or has no file, a file is named twice, or the program was built without its format.
/// A single file that isn't there is found when it is opened.
pub fn sources(patterns: &[PathBuf], format: Option<Format>) -> Result<Vec<Source>> {
    let mut sources: Vec<Source> = Vec::new();
    for pattern in patterns {
        let text = pattern.to_string_lossy();
        let is_set = text.split_once('[').is_some_and(|(_, rest)| rest.contains(']'));
        let is_pattern = (is_set || text.contains(['*', '?'])) && !pattern.exists();
        if !is_pattern {
            sources.push(Source::new(pattern, format));
            continue;
        }
        let found = glob::glob(&text).map_err(|error| {
            CorpusError::option(
                format!("{text}: this is no pattern: {}", error.msg),
                "use * and ?, as in 'data/*.jsonl'",
            )
        })?;
        // `glob` gives them in the order of their names.
        let mut files = found
            .collect::<core::result::Result<Vec<PathBuf>, _>>()
            .map_err(|error| CorpusError::file(error.to_string(), "get the right to read this folder"))?;
        files.retain(|path| !path.is_dir());
        files.sort();
        if files.is_empty() {
            let hint = "check the pattern, and quote it so that the shell doesn't change it: 'data/*.jsonl'";
            return Err(CorpusError::option(format!("{text}: there is no such file"), hint));
        }
        sources.extend(files.iter().map(|path| Source::new(path, format)));
    }
    for (index, source) in sources.iter().enumerate() {
        source.format.check()?;
        source.compression().map_or(Ok(()), Compression::check)?;
        if source.compression().is_some() && source.format == Format::Parquet {
            let what = format!("{}: Parquet is compressed within, and not read from a compressed file", source.name);
            return Err(CorpusError::option(what, "decompress the file"));
        }
        if sources[..index].iter().any(|other| other.path == source.path) {
            let what = format!("{} is read twice", source.name);
            return Err(CorpusError::option(what, "name each file once, and let no two patterns have it"));
        }
        if source.path.is_none() && source.format == Format::Parquet {
            let what = "Parquet can't be read from standard input: it is read from its end";
            return Err(CorpusError::option(what, "give the name of a file"));
        }
    }
    Ok(sources)
}

/// By what a file is recognized: its size and three samples of it. Reading all of a corpus at every start would take too long, so a change
/// that keeps the size and misses the samples is not seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of the first, the middle and the last 64 KiB.
    pub sample: String,
}

impl Fingerprint {
    /// The bytes of each of the three samples.
    const SAMPLE: u64 = 64 << 10;

    /// Of a file.
    ///
    /// # Errors
    /// [`ErrorKind::File`](crate::ErrorKind::File) if it can't be read.
    pub fn of(path: &Path) -> Result<Self> {
        let source = Source::new(path, None);
        let read = || -> io::Result<Self> {
            let mut file = File::open(path)?;
            let bytes = file.metadata()?.len();
            let last = bytes.saturating_sub(Self::SAMPLE);
            let mut hash = Sha256::new();
            for start in [0, last / 2, last] {
                let mut sample = Vec::new();
                file.seek(SeekFrom::Start(start))?;
                (&mut file).take(Self::SAMPLE).read_to_end(&mut sample)?;
                hash.update(sample);
            }
            let sample = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
            Ok(Self { bytes, sample })
        };
        read().map_err(|error| source.unread(&error))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;

    #[test]
    fn patterns_have_their_files_in_order_and_each_once() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.jsonl", "a.jsonl", "c.csv", "[x].tsv"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        std::fs::create_dir(folder.path().join("d.jsonl")).unwrap();
        let of = |names: &[&str]| sources(&names.iter().map(|name| folder.path().join(name)).collect::<Vec<_>>(), None);
        let names = |names: &[&str]| -> Vec<(String, Format)> {
            let name = |source: Source| source.path.unwrap().file_name().unwrap().to_string_lossy().into_owned();
            of(names).unwrap().into_iter().map(|source| (name(source.clone()), source.format)).collect()
        };
        let (a, b) = (("a.jsonl".to_owned(), Format::JsonLines), ("b.jsonl".to_owned(), Format::JsonLines));
        assert_eq!(names(&["c.csv", "*.jsonl"]), [("c.csv".to_owned(), Format::Csv), a, b]);
        assert_eq!(names(&["[x].tsv"])[0].1, Format::Tsv, "a file of that name is no pattern");
        assert!(of(&["[2J"]).unwrap()[0].name.ends_with("[2J"), "neither is this");
        assert!(of(&["*.pq"]).unwrap_err().what.ends_with("*.pq: there is no such file"));
        assert!(of(&["a.jsonl", "a*"]).unwrap_err().what.ends_with("a.jsonl is read twice"));
        assert!(of(&["a***"]).unwrap_err().what.contains("this is no pattern"));
    }

    #[test]
    fn a_file_that_changed_has_another_fingerprint() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let of = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            Fingerprint::of(&path).unwrap()
        };
        let mut bytes = vec![0; 1 << 20];
        let first = of(&bytes);
        assert_eq!(first, of(&bytes));
        for at in [0, (1 << 19) - 100, (1 << 20) - 1] {
            bytes[at] = 1;
            assert_ne!(of(&bytes), first, "{at}");
            bytes[at] = 0;
        }
        assert_ne!(of(&bytes[1..]), first);
        assert_eq!(of(b"").bytes, 0);
    }
}
