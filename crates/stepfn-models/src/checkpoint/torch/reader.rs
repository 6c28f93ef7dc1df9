//! Reads bytes, with every length checked.

/// A place in the bytes of a file.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// Bytes of the longest name in a line of a pickle.
const LONGEST_LINE: usize = 4096;

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bytes read.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// The bytes that are left.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], String> {
        let end = self.at.checked_add(len);
        let taken =
            end.and_then(|end| self.bytes.get(self.at..end)).ok_or("ends early; was the download interrupted?")?;
        self.at += len;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    pub(super) fn byte(&mut self) -> Result<u8, String> {
        self.array().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Result<u16, String> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, String> {
        self.array().map(u32::from_le_bytes)
    }

    /// A count of 8 bytes.
    pub(super) fn u64(&mut self) -> Result<usize, String> {
        let count = self.array().map(u64::from_le_bytes)?;
        usize::try_from(count).map_err(|_| "has a count that no file can have; is it damaged?".to_owned())
    }

    /// A line, without its end.
    pub(super) fn line(&mut self) -> Result<&'a str, String> {
        let rest = self.rest();
        let longest = rest.get(..LONGEST_LINE).unwrap_or(rest);
        let len = longest.iter().position(|&byte| byte == b'\n').ok_or("the pickle has a line without an end")?;
        let line = self.take(len)?;
        self.take(1)?;
        core::str::from_utf8(line).map_err(|_| "the pickle has a name that is no UTF-8".to_owned())
    }
}
