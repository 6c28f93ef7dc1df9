//! Where results go: standard output, or a file that is whole or absent.
//!
//! | [`Way`] | until the end | if the work fails or is killed |
//! |---|---|---|
//! | [`Whole`](Way::Whole) | a file beside the destination grows; it takes the destination's name when it is finished | what was there before is still there |
//! | [`Records`](Way::Records) | each record is appended by itself, so that others can read along | the file ends with a complete record |
//!
//! A path `-` is standard output. A device or a pipe is written as it is. Work that fails without any result changes nothing; no
//! work at all, of no texts, leaves an [empty](Destination::empty) file.
//!
//! The file beside `x.json` is `.x.json.part`. A program that is killed leaves it there, and the next that writes `x.json` removes it. As long
//! as one program writes it, another has a file with more letters in its name.

mod places;

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use same_file::Handle;
use tempfile::NamedTempFile;

pub use self::places::Places;
use crate::{Error, ErrorKind, Result};

/// How a file grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// It appears when it is whole.
    Whole,
    /// Record by record.
    Records,
}

/// Where results go. Everything that can be known before the work is checked by [`open`](Self::open): whether the place is there, and can be
/// written.
#[derive(Debug)]
pub struct Destination {
    name: String,
    to: To,
    is_written: bool,
}

#[derive(Debug)]
enum To {
    /// Standard output, a device, a pipe.
    Stream(BufWriter<Output>),
    /// Standard output, where it is a file.
    #[cfg(unix)]
    Redirected(File),
    /// A file beside the destination, and the destination.
    Beside(BufWriter<NamedTempFile>, PathBuf),
    /// The destination itself.
    Records(Records),
}

/// What can't be taken back.
#[derive(Debug)]
enum Output {
    Standard(io::Stdout),
    Device(File),
}

impl Destination {
    /// Standard output.
    pub fn standard() -> Self {
        #[cfg(unix)]
        let redirected = redirected().map(To::Redirected);
        #[cfg(not(unix))]
        let redirected = None;
        let to = redirected.unwrap_or_else(|| To::Stream(BufWriter::new(Output::Standard(io::stdout()))));
        Self { name: STANDARD.to_owned(), to, is_written: false }
    }

    /// A file, or standard output if the path is `-`. What is in the file stays there until there is something to replace it.
    ///
    /// # Errors
    /// [`ErrorKind::File`] if the file can't be written, or another program is writing it.
    pub fn open(path: &Path, way: Way) -> Result<Self> {
        if path.as_os_str() == "-" {
            return Ok(Self::standard());
        }
        let name = path.display().to_string();
        let to = open(path, way).map_err(|error| failed(&name, &error))?;
        Ok(Self { name, to, is_written: false })
    }

    /// Whether there is something in it.
    pub fn is_written(&self) -> bool {
        self.is_written
    }

    /// Appends a record, whole: nobody reads half of it.
    ///
    /// # Errors
    /// [`ErrorKind::File`] if it can't be written, and [`ErrorKind::Closed`] if nobody reads standard output any more.
    pub fn write(&mut self, record: &str) -> Result<()> {
        self.write_bytes(record.as_bytes())
    }

    /// Appends part of a file that is no text, whole.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn write_bytes(&mut self, record: &[u8]) -> Result<()> {
        if record.is_empty() {
            return Ok(());
        }
        self.is_written = true;
        let done = match &mut self.to {
            To::Stream(output) => output.write_all(record).and_then(|()| output.flush()),
            #[cfg(unix)]
            To::Redirected(file) => append_whole(file, record),
            To::Beside(file, _) => file.write_all(record),
            To::Records(records) => records.append(record),
        };
        done.map_err(|error| failed(&self.name, &error))
    }

    /// Makes the file empty, unless something was written: the result of no text, which replaces older results as any other does.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn empty(&mut self) -> Result<()> {
        if self.is_written {
            return Ok(());
        }
        self.is_written = true;
        match &mut self.to {
            #[cfg(unix)]
            To::Redirected(_) => Ok(()),
            To::Stream(_) | To::Beside(..) => Ok(()),
            To::Records(records) => records.append(b"").map_err(|error| failed(&self.name, &error)),
        }
    }

    /// Ends the file. A file that is dropped without it stays what it was, or ends with the last record. A file that nothing was written to
    /// stays what it was in any case.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn finish(self) -> Result<()> {
        let done = match self.to {
            To::Stream(mut output) => output.flush(),
            To::Beside(file, path) if self.is_written => replace(file, &path),
            // Each record is there already.
            #[cfg(unix)]
            To::Redirected(_) => Ok(()),
            To::Beside(..) | To::Records(_) => Ok(()),
        };
        done.map_err(|error| failed(&self.name, &error))
    }
}

/// Standard output, if it is a file.
#[cfg(unix)]
fn redirected() -> Option<File> {
    use std::os::fd::AsFd;
    let file = File::from(io::stdout().as_fd().try_clone_to_owned().ok()?);
    file.metadata().is_ok_and(|metadata| metadata.is_file()).then_some(file)
}

/// Writes a record to the end of a file, or leaves the file as it was.
#[cfg(unix)]
fn append_whole(file: &mut File, record: &[u8]) -> io::Result<()> {
    let (length, at) = (file.metadata()?.len(), file.stream_position()?);
    let written = file.write_all(record);
    if written.is_err() && file.metadata()?.len() > length {
        file.set_len(length)?;
        file.seek(SeekFrom::Start(at))?;
    }
    written
}

const STANDARD: &str = "standard output";

/// Writes a file at once.
///
/// # Errors
/// As [`Destination::open`].
pub fn write(path: &Path, text: &str) -> Result<()> {
    let mut destination = Destination::open(path, Way::Whole)?;
    destination.write(text)?;
    destination.finish()
}

fn failed(name: &str, error: &io::Error) -> Error {
    let (kind, hint) = match error.kind() {
        io::ErrorKind::BrokenPipe => (ErrorKind::Closed, "nobody reads this any more"),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            (ErrorKind::File, "make room, or write elsewhere")
        }
        io::ErrorKind::WouldBlock => {
            return Error::new(
                ErrorKind::File,
                format!("{name}: another program is writing this file"),
                "wait for it, or write to another file",
            );
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            (ErrorKind::File, "write to another folder, or get the right to write this file and in its folder")
        }
        _ => (ErrorKind::File, "give a file that can be written, in a folder that exists"),
    };
    Error::new(kind, format!("{name}: {error}"), hint)
}

fn open(path: &Path, way: Way) -> io::Result<To> {
    // A link stays a link: what it points to is replaced, or made.
    let path = behind_links(path);
    let before = match fs::metadata(&path) {
        Ok(metadata) if metadata.is_dir() => return Err(io::Error::other("this is a folder")),
        Ok(metadata) => Some(metadata),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    if before.as_ref().is_some_and(|metadata| !metadata.is_file()) {
        let device = OpenOptions::new().write(true).open(&path)?;
        return Ok(To::Stream(BufWriter::new(Output::Device(device))));
    }
    match way {
        Way::Records => Ok(To::Records(Records::open(&path, before.is_none())?)),
        Way::Whole => {
            if before.is_some() {
                // Replacing a file takes no right to write it, but its owner may have taken this right away to keep it.
                OpenOptions::new().write(true).open(&path)?;
            }
            let file = beside(&path)?;
            if let Some(before) = before {
                file.as_file().set_permissions(before.permissions())?;
            }
            Ok(To::Beside(BufWriter::new(file), path))
        }
    }
}

/// An empty file in the same folder, so that it can take the other's name. It is removed if it never does.
fn beside(path: &Path) -> io::Result<NamedTempFile> {
    // Otherwise an error would name a file that nobody asked for.
    fs::metadata(folder(path))?;
    let name = part_of(path).file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let usual = tempfile::Builder::new().prefix(&name).rand_bytes(0).make_in(folder(path), of_one_writer);
    if let Ok(usual) = usual {
        return Ok(usual);
    }
    let mut builder = tempfile::Builder::new();
    let prefix = format!("{}.", name.trim_end_matches(".part"));
    builder.prefix(&prefix).suffix(".part");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // Those of any new file: what the user's mask leaves of it.
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(folder(path)).map_err(|error| {
        // Without the name of that file, which nobody asked for.
        let message = error.to_string();
        io::Error::new(error.kind(), message.split(" at path ").next().unwrap_or_default().to_owned())
    })
}

/// What the file beside another is usually called.
fn part_of(path: &Path) -> PathBuf {
    /// File systems take names of at most 255 bytes.
    const LONGEST: usize = 230;
    let mut name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    name.truncate(name.floor_char_boundary(LONGEST));
    path.with_file_name(format!(".{name}.part"))
}

/// A new file that is locked as long as it is written. One that a killed program left there is removed.
///
/// # Errors
/// If another program is writing it.
fn of_one_writer(path: &Path) -> io::Result<File> {
    // Not a link, which would remove or lock what it points to.
    if fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file()) {
        let left = OpenOptions::new().write(true).open(path)?;
        left.try_lock()?;
        if is_at(&left, path)? {
            fs::remove_file(path)?;
        }
    }
    let file = OpenOptions::new().write(true).create_new(true).open(path)?;
    match file.try_lock() {
        // Some file systems have no locks. There, what is left behind can't be told from what is written.
        Err(fs::TryLockError::Error(_)) => Ok(file),
        Ok(()) if is_at(&file, path)? => Ok(file),
        // Another program took it for one that was left behind.
        Ok(()) | Err(fs::TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
    }
}

/// Whether an open file still has this name.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    Ok(Handle::from_file(file.try_clone()?)? == Handle::from_path(path)?)
}

fn replace(file: BufWriter<NamedTempFile>, path: &Path) -> io::Result<()> {
    let file = file.into_inner().map_err(|error| error.into_error())?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// A file that grows by complete records.
#[derive(Debug)]
struct Records {
    file: File,
    path: PathBuf,
    /// Bytes of complete records; `None` as long as the file holds what it held before.
    complete: Option<u64>,
    is_new: bool,
}

impl Records {
    fn open(path: &Path, is_new: bool) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Err(fs::TryLockError::WouldBlock) => return Err(io::ErrorKind::WouldBlock.into()),
            // Some file systems have no locks.
            Err(fs::TryLockError::Error(_)) | Ok(()) => {}
        }
        Ok(Self { file, path: path.to_owned(), complete: None, is_new })
    }

    fn append(&mut self, record: &[u8]) -> io::Result<()> {
        let complete = match self.complete {
            Some(complete) => complete,
            None => {
                self.file.set_len(0)?;
                *self.complete.insert(0)
            }
        };
        if let Err(error) = self.file.write_all(record) {
            self.file.set_len(complete)?;
            self.file.seek(SeekFrom::Start(complete))?;
            return Err(error);
        }
        self.complete = Some(complete + record.len() as u64);
        Ok(())
    }
}

impl Drop for Records {
    fn drop(&mut self) {
        if self.is_new && self.complete.is_none() {
            // Nothing came of it. If the empty file can't be removed, it stays.
            drop(fs::remove_file(&self.path));
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Standard(output) => output.write(bytes),
            Self::Device(device) => device.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Standard(output) => output.flush(),
            Self::Device(device) => device.flush(),
        }
    }
}

/// Where a link leads, even if nothing is there yet.
fn behind_links(path: &Path) -> PathBuf {
    /// As many as Linux follows. Then it is a circle, which can't be opened.
    const MOST: usize = 40;
    match fs::canonicalize(path) {
        Ok(path) => return path,
        // What a link of the system stands for, such as a pipe, has no other name.
        Err(_) if fs::metadata(path).is_ok() => return path.to_owned(),
        Err(_) => {}
    }
    let mut path = path.to_owned();
    for _ in 0..MOST {
        let Ok(target) = fs::read_link(&path) else { break };
        path = folder(&path).join(target);
    }
    path
}

/// The folder that a file is in.
fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
}

#[cfg(all(test, unix))]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests;
