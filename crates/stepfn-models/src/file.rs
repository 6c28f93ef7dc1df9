//! Reads files that may be anything: a device without an end, a pipe that nobody writes to.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

/// The largest file that is read as a whole. Tokenizers and indices have a few dozen MiB.
const MOST: u64 = 1 << 30;

/// Opens a file that has an end. A pipe would not even open before somebody writes to it.
///
/// # Errors
/// Those of the system, and one for whatever is no file: a folder, a device, a pipe.
pub(crate) fn open_file(path: &Path) -> io::Result<File> {
    check(path)?;
    File::open(path)
}

/// Whether there is a file. What is there and can't be one is no reason to take another in its place.
///
/// # Errors
/// Those of the system, and one for a folder, a device, a pipe, or a link to a file that is not there.
pub fn is_there(path: &Path) -> io::Result<bool> {
    match check(path) {
        Ok(()) => Ok(true),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Checks that there is a file.
fn check(path: &Path) -> io::Result<()> {
    let metadata =
        fs::metadata(path).map_err(|error| match error.kind() == io::ErrorKind::NotFound && path.is_symlink() {
            // What may be absent must not be absent by accident, as it is in a cache from which a file was removed.
            true => io::Error::other("this is a link to a file that is not there"),
            false => error,
        })?;
    match metadata.is_file() {
        true => Ok(()),
        false if metadata.is_dir() => Err(io::Error::other("this is a folder, and should be a file")),
        false => Err(io::Error::other("this is a device or a pipe, and should be a file")),
    }
}

/// The contents of a file of a model.
///
/// # Errors
/// Those of the system, and one for whatever is no file, or larger than anything that is read as a whole (1 GiB).
pub fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_file(path)?.take(MOST + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > MOST {
        true => Err(io::Error::other("the file is larger than 1 GiB, and no such file of a model is")),
        false => Ok(bytes),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_an_end_is_read() {
        let folder = std::env::temp_dir();
        for (path, says) in [(Path::new("/dev/zero"), "a device or a pipe"), (folder.as_path(), "a folder")] {
            assert!(read_file(path).unwrap_err().to_string().contains(says), "{path:?}");
            assert!(is_there(path).unwrap_err().to_string().contains(says), "{path:?}");
        }
        let scratch = tempfile::tempdir().unwrap();
        let link = scratch.path().join("link");
        std::os::unix::fs::symlink(scratch.path().join("removed"), &link).unwrap();
        assert!(read_file(&link).unwrap_err().to_string().contains("a link to a file that is not there"));
        assert!(is_there(&link).is_err());
        let own = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
        let there = [own, &own.join("in-a-file"), &folder.join("no-such-file")].map(|path| is_there(path).unwrap());
        assert_eq!(there, [true, false, false]);
        assert_eq!(read_file(&folder.join("no-such-file")).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(
            read_file(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))).is_ok_and(|text| !text.is_empty())
        );
    }
}
