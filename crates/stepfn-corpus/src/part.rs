//! A file that is whole or absent: it is written beside its place, synced, and renamed.

use core::time::Duration;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use same_file::Handle;

use crate::failpoint;

/// A file on its way. It is `.x.part` until it is finished, and is removed if it never is. One that a killed program left is written anew.
#[derive(Debug)]
pub struct PartFile {
    file: BufWriter<File>,
    part: PathBuf,
    path: PathBuf,
    written: u64,
    is_finished: bool,
}

impl PartFile {
    /// Begins a file, unless it is there.
    ///
    /// # Errors
    /// Those of the system; [`io::ErrorKind::WouldBlock`] if another program is writing the file.
    pub fn create(path: &Path) -> io::Result<Option<Self>> {
        /// How often the lock is asked for, and what is waited in between: who only looks what can be removed gives it back at once.
        const TIMES: usize = 10;
        const BETWEEN: Duration = Duration::from_millis(20);
        Self::create_with(path, |file| {
            for _ in 0..TIMES {
                match file.try_lock() {
                    Err(TryLockError::WouldBlock) => std::thread::sleep(BETWEEN),
                    // Some file systems have no locks.
                    Err(TryLockError::Error(_)) | Ok(()) => return Ok(()),
                }
            }
            Err(io::ErrorKind::WouldBlock.into())
        })
    }

    /// The same, but waits for another program that is writing the file.
    pub(crate) fn create_after_others(path: &Path) -> io::Result<Option<Self>> {
        Self::create_with(path, |file| {
            // Some file systems have no locks.
            drop(file.lock());
            Ok(())
        })
    }

    fn create_with(path: &Path, lock: impl Fn(&File) -> io::Result<()>) -> io::Result<Option<Self>> {
        let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let part = path.with_file_name(format!(".{name}.part"));
        loop {
            if path.exists() {
                return Ok(None);
            }
            let file = OpenOptions::new().write(true).create(true).truncate(false).open(&part)?;
            lock(&file)?;
            // Another program may have finished or removed it between the two.
            if !is_at(&file, &part) {
                continue;
            }
            if path.exists() {
                fs::remove_file(&part)?;
                return Ok(None);
            }
            file.set_len(0)?;
            return Ok(Some(Self {
                file: BufWriter::new(file),
                part,
                path: path.to_owned(),
                written: 0,
                is_finished: false,
            }));
        }
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// Those of the system.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        failpoint::reach("write");
        self.written += bytes.len() as u64;
        self.file.write_all(bytes)
    }

    /// Gives the file its name, when all of it is on the disk. `note` is called with its length before.
    ///
    /// # Errors
    /// Those of the system.
    pub fn finish(mut self, note: impl FnOnce(u64) -> io::Result<()>) -> io::Result<()> {
        failpoint::reach("finish");
        self.file.flush()?;
        self.file.get_ref().sync_all()?;
        failpoint::reach("synced");
        note(self.written)?;
        fs::rename(&self.part, &self.path)?;
        self.is_finished = true;
        failpoint::reach("renamed");
        sync_folder(&self.path)?;
        failpoint::reach("folder-synced");
        Ok(())
    }
}

impl Drop for PartFile {
    fn drop(&mut self) {
        if !self.is_finished {
            // If it can't be removed, it stays until somebody writes it anew.
            drop(fs::remove_file(&self.part));
        }
    }
}

/// Removes what killed programs left in a folder. What another program is writing stays.
pub(crate) fn sweep(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let is_part = name.starts_with('.') && name.ends_with(".part");
        if !is_part || !entry.file_type()?.is_file() {
            continue;
        }
        let Ok(file) = OpenOptions::new().write(true).open(entry.path()) else { continue };
        if file.try_lock().is_ok() && is_at(&file, &entry.path()) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Whether an open file still has this name.
fn is_at(file: &File, path: &Path) -> bool {
    let same = || -> io::Result<bool> { Ok(Handle::from_file(file.try_clone()?)? == Handle::from_path(path)?) };
    same().unwrap_or(false)
}

/// Makes the new name of a file last.
fn sync_folder(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    if let Some(folder) = path.parent() {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        return File::open(folder)?.sync_all();
    }
    let _ = path;
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_whole_or_absent_and_written_by_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        fs::write(folder.path().join(".x.part"), "left by a killed program").unwrap();
        let mut file = PartFile::create(&path).unwrap().unwrap();
        file.write(b"new").unwrap();
        assert_eq!(PartFile::create(&path).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        sweep(folder.path()).unwrap();
        let mut noted = 0;
        file.finish(|length| {
            noted = length;
            Ok(())
        })
        .unwrap();
        assert_eq!((fs::read(&path).unwrap(), noted), (b"new".to_vec(), 3));
        assert!(PartFile::create(&path).unwrap().is_none());
        drop(PartFile::create(&folder.path().join("y")).unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        fs::write(folder.path().join(".z.part"), "left").unwrap();
        fs::write(folder.path().join("z.part"), "not ours").unwrap();
        sweep(folder.path()).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
