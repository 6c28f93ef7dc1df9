//! Reads JSON that people write or download, and says what is wrong with it in their words: where, what is there, and what could be.

use serde::de::DeserializeOwned;
use serde_json::error::Category;

use crate::plain_words;

/// A byte order mark in UTF-8, which some editors put first in a file.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// What a JSON file says. A byte order mark before it is passed over.
///
/// # Errors
/// What is wrong, where in the file, and what could be there.
pub fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    if bytes.trim_ascii().is_empty() {
        return Err("the file is empty, and should be JSON".to_owned());
    }
    if bytes.starts_with(b"\xFF\xFE") || bytes.starts_with(b"\xFE\xFF") {
        return Err("this is UTF-16: save the file as UTF-8".to_owned());
    }
    let text = core::str::from_utf8(bytes).map_err(|error| {
        format!("this is no text in UTF-8, from byte {} on: save the file as UTF-8", error.valid_up_to())
    })?;
    serde_json::from_str(text).map_err(|error| json_error(text, &error))
}

/// What is wrong with a text that should be JSON: the line and column, what is there, and what could be.
pub fn json_error(text: &str, error: &serde_json::Error) -> String {
    let message = error.to_string();
    let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(message, _)| message);
    let (line, column) = (error.line(), error.column());
    match error.classify() {
        _ if line == 0 => said(message),
        Category::Eof => {
            format!("not all is there: the text ends at line {line}, column {column}, before its JSON does")
        }
        Category::Syntax | Category::Io => {
            let found = found(text, line, column);
            format!("not JSON from line {line}, column {column} on: {}, found {found}", expected(message))
        }
        Category::Data => format!("line {line}, column {column}: {}", said(message)),
    }
}

/// What stands at a place, as the parser counts: lines from 1, bytes of the line from 1.
fn found(text: &str, line: usize, column: usize) -> String {
    let line = text.lines().nth(line.saturating_sub(1)).unwrap_or_default();
    let at = line.floor_char_boundary(column.saturating_sub(1).min(line.len()));
    match line[at..].chars().next() {
        Some(character) if character.is_control() => character.escape_default().to_string(),
        Some(character) => format!("`{character}`"),
        None => "the end of the line".to_owned(),
    }
}

/// What the parser expected, for people who don't know its words.
fn expected(message: &str) -> String {
    let known = match message {
        "expected value" => "expected an object, a list, a text in double quotes, a number, true, false or null",
        "expected ident" => "expected true, false or null",
        "key must be a string" => "expected the name of a field in double quotes",
        "trailing comma" => "expected another entry after the comma, or no comma",
        "trailing characters" => "expected nothing more",
        "invalid escape" => "expected one of \" \\ / b f n r t u after a backslash",
        "invalid number" => "expected a number, without zeros or a plus before it",
        "number out of range" => "expected a smaller number",
        "recursion limit exceeded" => "expected fewer lists and objects within each other",
        message if message.starts_with("control character") => {
            "expected no line break, tab or other control character within a text (write \\n, \\t)"
        }
        message => return message.to_owned(),
    };
    known.to_owned()
}

/// The message of a parser that knows which fields and values there should be.
pub(crate) fn said(message: &str) -> String {
    let place =
        message.rsplit_once(" at line ").and_then(|(start, place)| Some((start, place.split_once(" column ")?)));
    if let Some((start, (line, column))) = place.filter(|(_, (_, column))| column.parse::<usize>().is_ok()) {
        return format!("line {line}, column {column}: {}", said(start));
    }
    let plain = plain_words(message);
    let after = |start: &str| plain.strip_prefix(start);
    if let Some(rest) = after("unknown variant ") {
        let (found, known) = rest.split_once(", ").unwrap_or((rest, ""));
        return format!("{found} is not known here{}", choice(known));
    }
    if let Some(rest) = after("unknown field ") {
        let (found, known) = rest.split_once(", ").unwrap_or((rest, ""));
        return format!("there should be no field {found}{}", choice(known));
    }
    if let Some(field) = after("missing field ") {
        return format!("the field {field} is missing");
    }
    if let Some(field) = after("duplicate field ") {
        return format!("the field {field} is there twice");
    }
    for start in ["invalid type: ", "invalid value: ", "invalid length "] {
        if let Some((found, wanted)) = after(start).and_then(|rest| rest.rsplit_once(", expected ")) {
            return format!("expected {wanted}, found {}", value(found));
        }
    }
    plain
}

/// What could be there instead, as the parser lists it.
fn choice(known: &str) -> String {
    let list = known.strip_prefix("expected ").unwrap_or_default();
    let list = list.strip_prefix("one of ").unwrap_or(list);
    if list.is_empty() || list.starts_with("there are no") { String::new() } else { format!("; it can be {list}") }
}

/// What the parser calls a value that it found.
fn value(found: &str) -> String {
    const KINDS: [(&str, &str); 6] = [
        ("string ", "the text "),
        ("integer ", "the number "),
        ("floating point ", "the number "),
        ("boolean ", ""),
        ("character ", "the text "),
        ("unit value", "null"),
    ];
    let kind = KINDS.into_iter().find_map(|(theirs, plain)| Some((plain, found.strip_prefix(theirs)?)));
    kind.map_or_else(|| found.to_owned(), |(plain, rest)| format!("{plain}{}", rest.trim_matches('`')))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::Value;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Colour {
        Red,
        DarkBlue,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Dot {
        at: usize,
        #[serde(default)]
        colour: Option<Colour>,
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place_and_without_the_parsers_words() {
        for (text, says) in [
            ("", "the file is empty"),
            ("{\"at\": nul}", "expected true, false or null"),
            ("abc", "not JSON from line 1, column 1 on: expected an object, a list"),
            ("{\"at\":\n 1 2}", "line 2, column 4 on: expected `,` or `}`, found `2`"),
            ("{'at': 1}", "expected the name of a field in double quotes, found `'`"),
            ("{\"at\": 1", "the text ends at line 1, column 8, before its JSON does"),
            ("{\"at\": 1} x", "expected nothing more, found `x`"),
            ("{\"at\": 1,}", "no comma"),
            ("{\"at\": \"é\"}", "expected a whole number, 0 or greater, found the text \"é\""),
            ("{\"at\": 1.5}", "found the number 1.5"),
            ("{\"at\": true}", "found true"),
            ("{}", "the field `at` is missing"),
            ("{\"at\": 1, \"at\": 2}", "the field `at` is there twice"),
            ("{\"at\": 1, \"it\": 2}", "there should be no field `it`; it can be `at`"),
            ("{\"at\": 1, \"colour\": \"green\"}", "`green` is not known here; it can be `red`"),
            ("[[1]]", "expected"),
        ] {
            let error = from_json::<Dot>(text.as_bytes()).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
            let theirs = ["variant", "struct", "usize", "expected value", "EOF", "sequence", "ident"];
            assert!(!theirs.iter().any(|word| error.contains(word)), "{text}: {error}");
        }
    }

    #[test]
    fn places_come_first() {
        assert_eq!(said("missing field `a` at line 1 column 18"), "line 1, column 18: the field `a` is missing");
        assert_eq!(said("it ended at line 3"), "it ended at line 3");
    }

    #[test]
    fn a_byte_order_mark_is_passed_over_and_other_encodings_are_named() {
        let dot = from_json::<Dot>(b"\xEF\xBB\xBF{\"at\": 3, \"colour\": \"dark_blue\"}").unwrap();
        assert_eq!(dot, Dot { at: 3, colour: Some(Colour::DarkBlue) });
        for (bytes, says) in
            [(&b"\xFF\xFE{\0"[..], "UTF-16"), (b"{\"\xFF\": 1}", "from byte 2 on"), (b"\xEF\xBB\xBF", "empty")]
        {
            assert!(from_json::<Value>(bytes).unwrap_err().contains(says), "{bytes:?}");
        }
    }
}
