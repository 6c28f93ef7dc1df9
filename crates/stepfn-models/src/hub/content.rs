//! The content of one file: downloaded to a blob of the cache, from where an earlier attempt ended, checked, and linked to.

use core::time::Duration;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use sha2::{Digest, Sha256};

use super::client::{Answer, Client};
use super::failure::{Failure, of_disk};
use super::listing::Known;
use super::name::HubName;

/// A file to download.
pub(super) struct Source<'a> {
    pub(super) client: &'a Client<'a>,
    pub(super) name: &'a HubName,
    pub(super) commit: &'a str,
    pub(super) file: &'a str,
    pub(super) known: Known,
}

/// Where a repository's files go.
pub(super) struct Folders {
    /// The contents, by their etags.
    pub(super) blobs: PathBuf,
    /// Files that are locked while a content is written, the same that Hugging Face's tools use.
    pub(super) locks: PathBuf,
    /// The files of one commit.
    pub(super) snapshot: PathBuf,
}

/// Is told how many bytes there are, and of how many if that is known. An error ends the download.
pub(super) type Tell<'a> = &'a dyn Fn(u64, Option<u64>) -> Result<(), Failure>;

/// Attempts in a row that may bring nothing.
const FRUITLESS: u32 = 3;
const PAUSE: Duration = if cfg!(test) { Duration::ZERO } else { Duration::from_secs(1) };

impl Source<'_> {
    /// Downloads the file to the blobs, and links the snapshot's file to it.
    pub(super) fn download(&self, folders: &Folders, tell: Tell<'_>) -> Result<(), Failure> {
        let Folders { blobs, locks, snapshot } = folders;
        let target = snapshot.join(self.file);
        for folder in [Some(blobs.as_path()), Some(locks.as_path()), target.parent()].into_iter().flatten() {
            fs::create_dir_all(folder).map_err(|error| of_disk(&folder.join(self.file), None, &error))?;
        }
        let (etag, first) = match &self.known.etag {
            Some(etag) => (Some(etag.clone()), None),
            None => {
                let answer = self.ask(0)?;
                (answer.etag.clone(), Some(answer))
            }
        };
        let size = self.known.size.or_else(|| first.as_ref()?.size);
        let Some(etag) = etag else {
            // Without an etag to name the content, the file is stored directly.
            let temporary = Temporary::new(blobs);
            self.fill(&temporary.0, Wanted { size, etag: None }, first, tell)?;
            return fs::rename(&temporary.0, &target).map_err(|error| of_disk(&target, size, &error));
        };
        let blob = blobs.join(&etag);
        let lock_path = locks.join(format!("{etag}.lock"));
        let partial = blobs.join(format!("{etag}.incomplete"));
        let waiting = || tell(partial.metadata().map_or(0, |partial| partial.len()), size);
        let lock = lock(&lock_path, &waiting)?;
        if !is_whole(&blob, size) {
            let wanted = Wanted { size, etag: Some(&etag) };
            // Where files can't be locked, another process must not write to the same file.
            let temporary = lock.is_none().then(|| Temporary::new(blobs));
            let partial = temporary.as_ref().map_or(partial.as_path(), |temporary| &temporary.0);
            self.fill(partial, wanted, first, tell)?;
            fs::rename(partial, &blob).map_err(|error| of_disk(&blob, size, &error))?;
        }
        let depth = self.file.split('/').count();
        link(&blob, &etag, &target, depth).map_err(|error| of_disk(&target, size, &error))
    }

    fn ask(&self, from: u64) -> Result<Answer, Failure> {
        self.client.content(self.name, self.commit, self.file, from)
    }

    /// Brings a partial file to its end, in several attempts if some bring a bit more of it.
    fn fill(
        &self,
        partial: &Path,
        wanted: Wanted<'_>,
        mut first: Option<Answer>,
        tell: Tell<'_>,
    ) -> Result<(), Failure> {
        let (mut most, mut fruitless) = (0, 0);
        loop {
            let failure = match self.attempt(partial, wanted, first.take(), tell) {
                Err(failure @ (Failure::Interrupted(_) | Failure::Unreachable(_))) => failure,
                result => return result,
            };
            let reached = partial.metadata().map_or(0, |partial| partial.len());
            fruitless = if reached > most { 1 } else { fruitless + 1 };
            most = most.max(reached);
            if fruitless >= FRUITLESS {
                return Err(failure);
            }
            thread::sleep(PAUSE * fruitless);
            tell(reached, wanted.size)?;
        }
    }

    /// One attempt; afterwards the file is whole and is what the hub announces.
    fn attempt(
        &self,
        partial: &Path,
        wanted: Wanted<'_>,
        first: Option<Answer>,
        tell: Tell<'_>,
    ) -> Result<(), Failure> {
        let disk = |error: io::Error| of_disk(partial, wanted.size, &error);
        let mut file =
            File::options().read(true).write(true).create(true).truncate(false).open(partial).map_err(disk)?;
        let length = file.metadata().map_err(disk)?.len();
        let mut there = length;
        if wanted.size.is_some_and(|size| there > size) {
            there = 0;
        }
        let mut size = wanted.size;
        let mut rest = None;
        if there == 0 || size != Some(there) {
            let mut answer = match first {
                Some(answer) if there == 0 => answer,
                _ => self.ask(there)?,
            };
            // A hash is checked at the end. Another etag may stand for another content.
            let is_other = !wanted.has_hash() && answer.etag.as_deref() != wanted.etag;
            if answer.from != there || (there > 0 && is_other) {
                if answer.from != 0 {
                    answer = self.ask(0)?;
                }
                there = 0;
            }
            if answer.from != there {
                return Err(Failure::Interrupted("another part came than was asked for".to_owned()));
            }
            size = size.or(answer.size);
            rest = Some(answer);
        }
        if there != length {
            file.set_len(there).map_err(disk)?;
        }
        file.seek(SeekFrom::Start(0)).map_err(disk)?;
        let mut hash = wanted.has_hash().then(Sha256::new);
        tell(there, size)?;
        match &mut hash {
            Some(hash) => drop(io::copy(&mut (&mut file).take(there), &mut Hashing(hash)).map_err(disk)?),
            None => drop(file.seek(SeekFrom::Start(there)).map_err(disk)?),
        }
        if let Some(answer) = rest {
            there = copy(answer, &mut file, there, size, hash.as_mut(), tell).map_err(|failed| match failed {
                Failed::Disk(error) => disk(error),
                Failed::Other(failure) => failure,
            })?;
        }
        if let Some(size) = size.filter(|size| there < *size) {
            return Err(Failure::Interrupted(format!("received {there} of {size} bytes")));
        }
        let is_other = hash.is_some_and(|hash| {
            let found: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
            wanted.etag.is_some_and(|etag| !etag.eq_ignore_ascii_case(&found))
        });
        let is_longer = size.is_some_and(|size| there > size);
        if is_other || is_longer {
            drop(file);
            // If it can't be deleted, the next attempt finds the same.
            let _ = fs::remove_file(partial);
            return Err(Failure::Refused(format!(
                "what came is not what the hub announces (its {} differs), so it was deleted; try again, and if this repeats, \
                 something on the way changes it: check HF_ENDPOINT and HTTPS_PROXY",
                if is_longer { "length" } else { "SHA-256" }
            )));
        }
        file.sync_all().map_err(disk)
    }
}

/// What a file must be.
#[derive(Clone, Copy)]
struct Wanted<'a> {
    size: Option<u64>,
    etag: Option<&'a str>,
}

impl Wanted<'_> {
    /// Whether the etag is a SHA-256, as it is for large files.
    fn has_hash(&self) -> bool {
        self.etag.is_some_and(|etag| etag.len() == 64 && etag.bytes().all(|byte| byte.is_ascii_hexdigit()))
    }
}

struct Hashing<'a>(&'a mut Sha256);

impl Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

enum Failed {
    Disk(io::Error),
    Other(Failure),
}

/// Writes what is left of a file, and returns its length.
fn copy(
    answer: Answer,
    file: &mut File,
    mut there: u64,
    size: Option<u64>,
    mut hash: Option<&mut Sha256>,
    tell: Tell<'_>,
) -> Result<u64, Failed> {
    let mut body = answer.into_reader();
    let mut buffer = vec![0; 128 << 10];
    loop {
        let read = match body.read(&mut buffer) {
            Ok(0) => return Ok(there),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Failed::Other(Failure::Interrupted(error.to_string()))),
        };
        let bytes = buffer.get(..read).unwrap_or_default();
        file.write_all(bytes).map_err(Failed::Disk)?;
        if let Some(hash) = &mut hash {
            hash.update(bytes);
        }
        there += bytes.len() as u64;
        if size.is_some_and(|size| there > size) {
            return Ok(there);
        }
        tell(there, size).map_err(Failed::Other)?;
    }
}

/// Locks a file, which other processes and threads then wait for, until it is dropped. `None` where files can't be locked.
fn lock(path: &Path, waiting: &dyn Fn() -> Result<(), Failure>) -> Result<Option<File>, Failure> {
    const PAUSE: Duration = Duration::from_millis(100);
    let file = File::options().write(true).create(true).truncate(false).open(path);
    let file = file.map_err(|error| of_disk(path, None, &error))?;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::WouldBlock) => {
                waiting()?;
                thread::sleep(PAUSE);
            }
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(TryLockError::Error(_)) => return Ok(None),
        }
    }
}

/// Whether a file is there, with the right length if that is known.
pub(super) fn is_whole(path: &Path, size: Option<u64>) -> bool {
    path.metadata().is_ok_and(|found| found.is_file() && size.is_none_or(|size| found.len() == size))
}

/// A file that is deleted unless it is renamed.
pub(super) struct Temporary(pub(super) PathBuf);

impl Temporary {
    pub(super) fn new(folder: &Path) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Self(folder.join(format!("{}-{number}.incomplete", std::process::id())))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // Already gone if it was renamed.
        let _ = fs::remove_file(&self.0);
    }
}

/// Links a snapshot's file, `depth` folders below the commit's, to its blob; copies it where there are no links.
fn link(blob: &Path, etag: &str, target: &Path, depth: usize) -> io::Result<()> {
    let relative = Path::new(&"../".repeat(depth + 1)).join("blobs").join(etag);
    // Another process may be linking the same file, so the link appears at once.
    let temporary = Temporary::new(target.parent().unwrap_or(Path::new("")));
    symlink(&relative, &temporary.0)
        .or_else(|_| fs::hard_link(blob, &temporary.0))
        .or_else(|_| fs::copy(blob, &temporary.0).map(drop))?;
    fs::rename(&temporary.0, target)
}

#[cfg(unix)]
fn symlink(original: &Path, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(original, link)
}

#[cfg(windows)]
fn symlink(original: &Path, link: &Path) -> io::Result<()> {
    std::os::windows::fs::symlink_file(original, link)
}

#[cfg(not(any(unix, windows)))]
fn symlink(_: &Path, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
