//! A folder of shards, to which a run can return after whatever ended it.
//!
//! | file | what it is |
//! |---|---|
//! | `_manifest.json` | what the results are made of, written before the first of them |
//! | `scores-00003-of-00014.jsonl` | a shard: whole, because it takes this name when all of it is on the disk |
//! | `_lengths.txt` | the length of each shard in a line of its own, written before the shard takes its name |
//! | `.….part` | what is being written; removed at the next start if its writer was killed |
//!
//! A shard whose length is not the one in `_lengths.txt` is done again.

use std::collections::{BTreeSet, HashSet};
use std::fs::{self, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::part::sweep;
use crate::{CorpusError, Extent, Format, Job, Manifest, PartFile, Result, Shards, failpoint};

/// The shards that are finished.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Finished {
    /// Their numbers.
    pub shards: BTreeSet<usize>,
    /// Shards that have their name, but not their length. They are done again.
    pub damaged: BTreeSet<usize>,
}

/// A folder of shards.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    manifest: Manifest,
    shards: Shards,
    format: Format,
}

// Programs that read a folder as one table pass over files whose names begin so.
const MANIFEST: &str = "_manifest.json";
const LENGTHS: &str = "_lengths.txt";
/// Bytes of a line of lengths: twenty digits and a line break.
const LENGTH: usize = 21;

impl Folder {
    /// Opens a folder that was made with the same, or makes it. `count` says how many records each file has, and `divide` how they are divided;
    /// counting is only done for a new folder.
    ///
    /// # Errors
    /// [`ErrorKind::Option`](crate::ErrorKind::Option) if the folder was made with something else or has other files, and
    /// [`ErrorKind::File`](crate::ErrorKind::File) if it can't be read or written.
    pub fn open(
        path: &Path,
        format: Format,
        wanted: Manifest,
        count: impl FnOnce() -> Result<Vec<Extent>>,
        divide: impl FnOnce(Option<usize>) -> Result<Shards>,
    ) -> Result<Self> {
        let name = path.display().to_string();
        let failed = |error: io::Error| CorpusError::unwritten(&name, &error);
        fs::create_dir_all(path).map_err(failed)?;
        let at = path.join(MANIFEST);
        if !at.exists() {
            check_empty(path, &name).map_err(failed)??;
        }
        let manifest = match PartFile::create_after_others(&at).map_err(failed)? {
            Some(mut file) => {
                let manifest = Manifest { extents: count()?, ..wanted };
                let text = serde_json::to_string_pretty(&manifest).map_err(|error| failed(error.into()))? + "\n";
                file.write(text.as_bytes()).map_err(failed)?;
                failpoint::reach("manifest-written");
                file.finish(|_| Ok(())).map_err(failed)?;
                failpoint::reach("manifest-renamed");
                manifest
            }
            None => {
                let there = read_manifest(&at)?;
                check_same(&name, &there, &wanted)?;
                there
            }
        };
        // It is only to save room.
        drop(sweep(path));
        let records = manifest.extents.iter().map(|extent| extent.records).sum();
        let shards = divide((!manifest.extents.is_empty()).then_some(records))?;
        Ok(Self { path: path.to_owned(), manifest, shards, format })
    }

    /// What it was made with.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// How the records are divided.
    pub fn shards(&self) -> Shards {
        self.shards
    }

    /// The shards of a job that are there. Nothing is asked about the files of other jobs: of thousands, each would ask about all.
    ///
    /// # Errors
    /// [`ErrorKind::File`](crate::ErrorKind::File) if the folder can't be read.
    pub fn finished(&self, job: Job) -> Result<Finished> {
        let failed = |error: io::Error| CorpusError::unwritten(&self.path.display().to_string(), &error);
        let mut there: HashSet<String> = HashSet::new();
        let prefix = format!("{}-", self.manifest.name);
        for entry in fs::read_dir(&self.path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if let Some(name) = entry.file_name().to_str().filter(|name| name.starts_with(&prefix)) {
                there.insert(name.to_owned());
            }
        }
        let noted = match fs::read(self.path.join(LENGTHS)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            noted => noted.map_err(failed)?,
        };
        let noted: Vec<Option<u64>> = noted
            .chunks(LENGTH)
            .map(|line| core::str::from_utf8(line.strip_suffix(b"\n")?).ok()?.parse().ok())
            .collect();
        let mut finished = Finished::default();
        let most = self.shards.count().unwrap_or(noted.len().max(there.len()));
        for shard in (job.index..most).step_by(job.of) {
            let Some(name) = there.get(&self.file(shard)) else { continue };
            let length = fs::metadata(self.path.join(name)).map_err(failed)?.len();
            match noted.get(shard) == Some(&Some(length)) {
                true => finished.shards.insert(shard),
                false => finished.damaged.insert(shard),
            };
        }
        Ok(finished)
    }

    /// The name of a shard's file.
    pub fn file(&self, shard: usize) -> String {
        self.shards.file(&self.manifest.name, shard, self.format)
    }

    /// Begins a shard, unless another program has finished it. A damaged one is removed.
    ///
    /// # Errors
    /// [`ErrorKind::File`](crate::ErrorKind::File) if it can't be written, or another program is writing it.
    pub fn begin(&self, shard: usize, is_damaged: bool) -> Result<Option<PartFile>> {
        let path = self.path.join(self.file(shard));
        let begin = || {
            if is_damaged {
                fs::remove_file(&path)?;
            }
            PartFile::create(&path)
        };
        begin().map_err(|error| self.failed(shard, &error))
    }

    /// Adds to a shard.
    ///
    /// # Errors
    /// [`ErrorKind::File`](crate::ErrorKind::File) if it can't be written.
    pub fn write(&self, shard: usize, file: &mut PartFile, bytes: &[u8]) -> Result<()> {
        file.write(bytes).map_err(|error| self.failed(shard, &error))
    }

    /// Ends a shard: it is finished from now on.
    ///
    /// # Errors
    /// [`ErrorKind::File`](crate::ErrorKind::File) if it can't be written.
    pub fn finish(&self, shard: usize, file: PartFile) -> Result<()> {
        let note = |length: u64| {
            let mut lengths =
                OpenOptions::new().write(true).create(true).truncate(false).open(self.path.join(LENGTHS))?;
            lengths.seek(SeekFrom::Start((shard * LENGTH) as u64))?;
            lengths.write_all(format!("{length:020}\n").as_bytes())?;
            lengths.sync_all()?;
            failpoint::reach("length");
            Ok(())
        };
        file.finish(note).map_err(|error| self.failed(shard, &error))
    }

    fn failed(&self, shard: usize, error: &io::Error) -> CorpusError {
        CorpusError::unwritten(&self.path.join(self.file(shard)).display().to_string(), error)
    }
}

/// Checks that a folder without a manifest has nothing else that matters.
fn check_empty(path: &Path, name: &str) -> io::Result<Result<()>> {
    for entry in fs::read_dir(path)? {
        let file = entry?.file_name();
        let file = file.to_string_lossy();
        // Another program may have written its manifest just now.
        if !file.starts_with('.') && file != MANIFEST && !path.join(MANIFEST).exists() {
            let what =
                format!("{name}: this folder has files, such as {file}, and no _manifest.json that says what they are");
            return Ok(Err(CorpusError::option(what, "write to a new folder")));
        }
    }
    Ok(Ok(()))
}

fn read_manifest(path: &Path) -> Result<Manifest> {
    let failed = |what: String| {
        let hint = "if it is not of this version of stepfn, or was changed, write to a new folder";
        CorpusError::file(format!("{}: {what}", path.display()), hint)
    };
    let bytes = fs::read(path).map_err(|error| failed(error.to_string()))?;
    serde_json::from_slice(&bytes).map_err(|error| failed(format!("this is no manifest: {error}")))
}

fn check_same(name: &str, there: &Manifest, wanted: &Manifest) -> Result<()> {
    /// Differences that are said; of the others, there is the number.
    const MOST: usize = 5;
    let differences = there.differences(wanted);
    if differences.is_empty() {
        return Ok(());
    }
    let more = differences.len().saturating_sub(MOST);
    let more = if more == 0 { String::new() } else { format!("; and {more} more") };
    let shown = differences[..differences.len().min(MOST)].join("; ");
    let what =
        format!("{name}: this folder was made with something else, so its results can't be continued: {shown}{more}");
    Err(CorpusError::option(what, "run as it was made, or write to a new folder"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::Fingerprint;
    use crate::manifest::InputFile;

    fn wanted(batch: usize) -> Manifest {
        let fingerprint = Some(Fingerprint { bytes: 3, sample: "00".to_owned() });
        Manifest {
            name: "scores".to_owned(),
            format: "jsonl".to_owned(),
            division: "3 shards".to_owned(),
            columns: [("id".to_owned(), json!("int64"))].into_iter().collect(),
            run: json!({"batch_tokens": batch, "functions": {"surprisal": {"base": 2}}}).as_object().unwrap().clone(),
            input: vec![InputFile { name: "a".to_owned(), fingerprint }],
            extents: Vec::new(),
        }
    }

    fn open(path: &Path, wanted: Manifest, records: usize) -> Result<Folder> {
        let count = || Ok(vec![Extent { records, marks: Vec::new() }]);
        Folder::open(path, Format::JsonLines, wanted, count, |records| Shards::of(3, records.unwrap()))
    }

    fn write(folder: &Folder, shard: usize, is_damaged: bool) {
        let mut file = folder.begin(shard, is_damaged).unwrap().unwrap();
        folder.write(shard, &mut file, format!("{shard}\n").as_bytes()).unwrap();
        folder.finish(shard, file).unwrap();
    }

    #[test]
    fn a_shard_counts_when_it_has_its_name_and_its_length() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("out");
        let folder = open(&path, wanted(1), 7).unwrap();
        write(&folder, 2, false);
        write(&folder, 0, false);
        assert_eq!(folder.finished(Job::default()).unwrap().shards, [0, 2].into());
        fs::write(path.join(".scores-00001-of-00003.jsonl.part"), "half").unwrap();
        fs::write(path.join(folder.file(2)), "").unwrap();
        // The number of records is in the manifest.
        let folder = open(&path, wanted(1), 0).unwrap();
        assert!(!path.join(".scores-00001-of-00003.jsonl.part").exists());
        assert_eq!(folder.finished(Job::default()).unwrap(), Finished { shards: [0].into(), damaged: [2].into() });
        assert!(folder.begin(0, false).unwrap().is_none());
        write(&folder, 2, true);
        write(&folder, 1, false);
        assert_eq!(folder.finished(Job { index: 1, of: 2 }).unwrap().shards, [1].into());
        assert_eq!(folder.finished(Job::default()).unwrap().shards, [0, 1, 2].into());
        assert_eq!(fs::read_to_string(path.join(LENGTHS)).unwrap(), format!("{:020}\n", 2).repeat(3));
    }

    #[test]
    fn what_differs_is_said() {
        let scratch = tempfile::tempdir().unwrap();
        open(scratch.path(), wanted(1), 7).unwrap();
        let mut other = wanted(2);
        other.input[0].fingerprint = Some(Fingerprint { bytes: 4, sample: "00".to_owned() });
        other.run.insert("dtype".to_owned(), "f16".into());
        let error = open(scratch.path(), other, 7).unwrap_err();
        let says =
            "input.0.bytes was 3, and is 4; run.batch_tokens was 1, and is 2; run.dtype was nothing, and is \"f16\"";
        assert!(error.what.ends_with(says), "{error}");
        let strange = tempfile::tempdir().unwrap();
        fs::write(strange.path().join("thesis.tex"), "").unwrap();
        assert!(open(strange.path(), wanted(1), 7).unwrap_err().what.contains("such as thesis.tex"));
        fs::write(strange.path().join(MANIFEST), "{}").unwrap();
        assert!(open(strange.path(), wanted(1), 7).unwrap_err().what.contains("this is no manifest"));
    }

    #[test]
    fn ten_thousand_finished_shards_are_found_at_once() {
        let scratch = tempfile::tempdir().unwrap();
        let count = || Ok(vec![Extent { records: 10_000, marks: Vec::new() }]);
        let open = || {
            let divide = |records: Option<usize>| Shards::of(10_000, records.unwrap());
            Folder::open(scratch.path(), Format::JsonLines, wanted(1), count, divide).unwrap()
        };
        let folder = open();
        let shards = 0..10_000;
        shards.clone().for_each(|shard| fs::write(scratch.path().join(folder.file(shard)), "x").unwrap());
        fs::write(scratch.path().join(LENGTHS), format!("{:020}\n", 1).repeat(10_000)).unwrap();
        let started = std::time::Instant::now();
        assert_eq!(open().finished(Job::default()).unwrap().shards.len(), shards.len());
        assert!(started.elapsed() < core::time::Duration::from_secs(1), "{:?}", started.elapsed());
    }
}
