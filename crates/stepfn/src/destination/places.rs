//! Which files are read and written.

use std::fs;
use std::path::{Path, PathBuf};

use same_file::Handle;

use super::{STANDARD, behind_links, folder, part_of};
use crate::{Error, ErrorKind, Result};

/// The files that are read and written, to keep them apart: whatever their names, no file is written that is read, and none is written twice.
#[derive(Debug, Default)]
pub struct Places {
    claimed: Vec<Place>,
}

#[derive(Debug)]
struct Place {
    /// As its user named it: `--input t.jsonl`.
    name: String,
    is_read: bool,
    identity: Identity,
    /// Its name without links: a file that was not there when the first was claimed may be there now.
    path: PathBuf,
}

/// What makes two places one.
#[derive(Debug)]
enum Identity {
    /// A file, which may have several names.
    File(Handle),
    /// A file that is not there yet, and has one name.
    New,
    /// Standard output, where it is not a file.
    Standard,
    /// A terminal, a pipe, a device: can be read and written by many at once.
    Shared,
}

impl Places {
    /// Says that a file is read; a path `-` is standard input.
    pub fn read(&mut self, option: &str, path: &Path) {
        self.claimed.push(Place::new(option, path, true));
    }

    /// Says that a file is written; a path `-` is standard output.
    ///
    /// # Errors
    /// [`ErrorKind::Option`] if it is read, or written already.
    pub fn write(&mut self, option: &str, path: &Path) -> Result<()> {
        let place = Place::new(option, path, false);
        // What was left there would be removed.
        let part = Place::new(option, &part_of(&place.path), false);
        let is_same = |other: &&Place| other.is_same(&place) || (other.is_read && other.is_same(&part));
        if let Some(other) = self.claimed.iter().find(is_same) {
            let relation =
                if other.is_same(&place) { "are the same file" } else { "use the same file until it is finished" };
            let what = format!("{} and {} {relation}", other.name, place.name);
            let hint = match other.is_read {
                true => "write to another file: this one is still being read",
                false => "give each result a file of its own",
            };
            return Err(Error::new(ErrorKind::Option, what, hint));
        }
        self.claimed.push(place);
        Ok(())
    }
}

impl Place {
    fn new(option: &str, path: &Path, is_read: bool) -> Self {
        let standard = path.as_os_str() == "-";
        let name = match (option, standard) {
            ("", true) => STANDARD.to_owned(),
            ("", false) => path.display().to_string(),
            _ => format!("{option} {}", path.display()),
        };
        Self { name, is_read, identity: Identity::new(path, standard, is_read), path: only_name(path) }
    }

    fn is_same(&self, other: &Self) -> bool {
        match (&self.identity, &other.identity) {
            (Identity::File(one), Identity::File(other)) => one == other,
            (Identity::New, Identity::New | Identity::File(_)) | (Identity::File(_), Identity::New) => {
                self.path == other.path
            }
            (Identity::Standard, Identity::Standard) => true,
            _ => false,
        }
    }
}

impl Identity {
    fn new(path: &Path, standard: bool, is_read: bool) -> Self {
        let handle = match (standard, is_read) {
            (true, true) => Handle::stdin(),
            (true, false) => Handle::stdout(),
            (false, _) => match fs::metadata(path) {
                // Opening a pipe waits for whoever is at its other end.
                Ok(metadata) if !metadata.is_file() => return Self::Shared,
                Ok(_) => Handle::from_path(path),
                Err(error) => Err(error),
            },
        };
        match handle {
            Ok(handle) if handle.as_file().metadata().is_ok_and(|metadata| metadata.is_file()) => Self::File(handle),
            _ if standard && !is_read => Self::Standard,
            Err(_) if !standard => Self::New,
            _ => Self::Shared,
        }
    }
}

/// The name without links, of a file that may not be there yet.
fn only_name(path: &Path) -> PathBuf {
    let path = behind_links(path);
    let in_folder = || Some(fs::canonicalize(folder(&path)).ok()?.join(path.file_name()?));
    in_folder().unwrap_or(path)
}
