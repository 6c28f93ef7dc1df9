//! How vocabularies write tokens: bytes as characters, markers for spaces.

use serde_json::Value;

/// How the vocabulary's tokens are written.
#[derive(Debug, Clone, Default)]
pub(super) struct Spelling {
    /// One character per byte, as in GPT-2.
    byte_level: bool,
    /// `<0x0A>` for a byte, as in Llama.
    byte_fallback: bool,
    /// Strings that stand for a space.
    markers: Vec<String>,
}

impl Spelling {
    pub(super) fn learn(&mut self, part: &Value) {
        match part.get("type").and_then(Value::as_str) {
            Some("ByteLevel") => self.byte_level = true,
            Some("ByteFallback") => self.byte_fallback = true,
            Some("Metaspace") => self.mark(part.get("replacement")),
            Some("Replace") if part.get("content").is_some_and(|content| content == " ") => {
                self.mark(part.pointer("/pattern/String"));
            }
            _ => {}
        }
        for list in ["pretokenizers", "decoders"] {
            part.get(list).and_then(Value::as_array).into_iter().flatten().for_each(|part| self.learn(part));
        }
    }

    fn mark(&mut self, marker: Option<&Value>) {
        if let Some(marker) = marker.and_then(Value::as_str)
            && !marker.is_empty()
        {
            self.markers.push(marker.to_owned());
        }
    }

    /// The readable form of a token, and whether it consists of complete characters.
    pub(super) fn read(&self, token: &str) -> (String, bool) {
        if self.byte_level
            && let Some(bytes) = token.chars().map(byte_of).collect::<Option<Vec<u8>>>()
        {
            return readable(&bytes);
        }
        let hex = token.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
        if self.byte_fallback
            && let Some(byte) = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok())
        {
            return readable(&[byte]);
        }
        (self.markers.iter().fold(token.to_owned(), |token, marker| token.replace(marker.as_str(), " ")), true)
    }
}

/// The byte for a character of a byte-level vocabulary. Printable Latin-1 characters stand for themselves, and characters from U+0100 on
/// for the other 68 bytes in order (Radford et al. 2019, `bytes_to_unicode`).
pub(super) fn byte_of(character: char) -> Option<u8> {
    let code = u32::from(character);
    let byte = match code {
        0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF => code,
        0x100..=0x120 => code - 0x100,
        0x121..=0x142 => code - 0x121 + 0x7F,
        0x143 => 0xAD,
        _ => return None,
    };
    u8::try_from(byte).ok()
}

/// The reverse of [`byte_of`].
pub(super) fn character_of(byte: u8) -> char {
    let code = u32::from(byte);
    let code = match code {
        0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF => code,
        0x00..=0x20 => code + 0x100,
        0x7F..=0xA0 => code - 0x7F + 0x121,
        _ => 0x143,
    };
    char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
}

fn readable(bytes: &[u8]) -> (String, bool) {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02X}")));
    }
    (text, core::str::from_utf8(bytes).is_ok())
}
