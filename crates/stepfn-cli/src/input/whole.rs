//! Reads files of results, which may be a device or a pipe without an end.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use stepfn_corpus::BYTE_ORDER_MARK;

/// The largest file that is read. Its attributions take several times as much memory.
const MOST: u64 = 1 << 30;

/// How much is looked at before more is read: what has no end often begins with what is no text.
const FIRST: u64 = 1 << 16;

/// The text in a file, or on standard input.
///
/// # Errors
/// Those of the system, and what is no text or larger than [`MOST`].
pub(crate) fn read_whole(path: &Path) -> io::Result<String> {
    match path.as_os_str() == "-" {
        true => read(io::stdin(), MOST),
        false => read(File::open(path)?, MOST),
    }
}

fn read(mut reader: impl Read, most: u64) -> io::Result<String> {
    let mut bytes = Vec::new();
    (&mut reader).take(FIRST).read_to_end(&mut bytes)?;
    if bytes.contains(&0) {
        return Err(io::Error::other("this is no text: it has bytes that are 0"));
    }
    let rest = (most + 1).saturating_sub(bytes.len() as u64);
    reader.take(rest).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::other(format!("this is longer than {} MiB", most >> 20)));
    }
    if bytes.starts_with(BYTE_ORDER_MARK) {
        bytes.drain(..BYTE_ORDER_MARK.len());
    }
    String::from_utf8(bytes).map_err(|error| {
        io::Error::other(format!("this is not UTF-8, from byte {} on", error.utf8_error().valid_up_to()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_end_is_not_read_to_it() {
        let says = |result: io::Result<String>| result.unwrap_err().to_string();
        assert!(says(read(io::repeat(0), MOST)).contains("no text"));
        assert_eq!(says(read(io::repeat(b'y'), 3 << 20)), "this is longer than 3 MiB");
        assert_eq!(read(&b"\xEF\xBB\xBFa\xEF\xBB\xBF"[..], MOST).unwrap(), "a\u{FEFF}");
        assert_eq!(says(read(&b"a\xFF"[..], MOST)), "this is not UTF-8, from byte 1 on");
        let longest = "y".repeat(1 << 20);
        assert_eq!(read(longest.as_bytes(), 1 << 20).unwrap(), longest);
        assert!(read(format!("{longest}y").as_bytes(), 1 << 20).is_err());
    }
}
