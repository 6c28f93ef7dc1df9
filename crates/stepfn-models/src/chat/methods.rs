//! Methods of strings, dictionaries and lists, as in Python. What isn't here is as `minijinja-contrib` has it.

use minijinja::value::{Tuple, from_args};
use minijinja::{Error, ErrorKind, State, Value};
use minijinja_contrib::pycompat::unknown_method_callback;

use super::python::is_space;

/// Calls a method.
pub(super) fn call(state: &mut State, value: &Value, method: &str, arguments: &[Value]) -> Result<Value, Error> {
    match value.as_str().map(|text| string_method(text, method, arguments)) {
        Some(Ok(Some(result))) => Ok(result),
        Some(Err(problem)) => Err(problem),
        _ => unknown_method_callback(state, value, method, arguments),
    }
}

fn string_method(text: &str, method: &str, arguments: &[Value]) -> Result<Option<Value>, Error> {
    Ok(Some(match method {
        "strip" => strip(text, from_args::<(Option<&str>,)>(arguments)?.0, true, true).into(),
        "lstrip" => strip(text, from_args::<(Option<&str>,)>(arguments)?.0, true, false).into(),
        "rstrip" => strip(text, from_args::<(Option<&str>,)>(arguments)?.0, false, true).into(),
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(arguments)?;
            text.strip_prefix(prefix).unwrap_or(text).into()
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(arguments)?;
            text.strip_suffix(suffix).unwrap_or(text).into()
        }
        "split" | "rsplit" => {
            let (separator, most): (Option<&str>, Option<i64>) = from_args(arguments)?;
            let most = most.and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX);
            let from_end = method == "rsplit";
            let parts: Vec<&str> = match separator {
                None => split_at_space(text, most, from_end),
                Some("") => return Err(Error::new(ErrorKind::InvalidOperation, "split: the separator is empty")),
                Some(separator) if from_end => {
                    let mut parts: Vec<_> = text.rsplitn(most.saturating_add(1), separator).collect();
                    parts.reverse();
                    parts
                }
                Some(separator) => text.splitn(most.saturating_add(1), separator).collect(),
            };
            parts.into_iter().map(Value::from).collect()
        }
        "partition" | "rpartition" => {
            let (separator,): (&str,) = from_args(arguments)?;
            if separator.is_empty() {
                return Err(Error::new(ErrorKind::InvalidOperation, "partition: the separator is empty"));
            }
            let parts = if method == "partition" {
                text.split_once(separator).map_or([text, "", ""], |(before, after)| [before, separator, after])
            } else {
                text.rsplit_once(separator).map_or(["", "", text], |(before, after)| [before, separator, after])
            };
            Value::from(Tuple::from(parts.map(Value::from)))
        }
        "splitlines" => {
            let (keep,): (Option<bool>,) = from_args(arguments)?;
            lines(text, keep.unwrap_or(false)).into_iter().map(Value::from).collect()
        }
        "title" => {
            let () = from_args(arguments)?;
            title(text).into()
        }
        "format" if is_wide(text) => {
            return Err(Error::new(
                ErrorKind::InvalidOperation,
                "format: a field's width is too large or is a field itself",
            ));
        }
        _ => return Ok(None),
    }))
}

/// Whether a format may ask for more than 9999 characters of padding.
fn is_wide(format: &str) -> bool {
    let long_number = format.split(|character: char| !character.is_ascii_digit()).any(|digits| digits.len() > 4);
    // Of a field within another, the first brace isn't followed by a closing one.
    let nested = format.replace("{{", "").split('{').skip(1).any(|field| !field.contains('}'));
    long_number || nested
}

/// Strips white space, or the given characters.
pub(super) fn strip<'a>(text: &'a str, characters: Option<&str>, start: bool, end: bool) -> &'a str {
    let stripped = |character: char| characters.map_or_else(|| is_space(character), |all| all.contains(character));
    let text = if start { text.trim_start_matches(stripped) } else { text };
    if end { text.trim_end_matches(stripped) } else { text }
}

/// Capital letters after whatever is no letter, and only there.
fn title(text: &str) -> String {
    let mut titled = String::with_capacity(text.len());
    let mut in_word = false;
    for character in text.chars() {
        if in_word {
            titled.extend(character.to_lowercase());
        } else {
            titled.extend(character.to_uppercase());
        }
        in_word = character.is_lowercase() || character.is_uppercase();
    }
    titled
}

/// Splits where there is white space, at most so often; the rest keeps its inner and far white space.
fn split_at_space(text: &str, most: usize, from_end: bool) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = strip(text, None, !from_end, from_end);
    while !rest.is_empty() {
        let (part, others) = if parts.len() == most {
            (rest, "")
        } else if from_end {
            let at = rest.char_indices().rev().find(|&(_, character)| is_space(character));
            let at = at.map_or(0, |(at, character)| at + character.len_utf8());
            let (others, part) = rest.split_at(at);
            (part, strip(others, None, false, true))
        } else {
            let (part, others) = rest.split_at(rest.find(is_space).unwrap_or(rest.len()));
            (part, strip(others, None, true, false))
        };
        parts.push(part);
        rest = others;
    }
    if from_end {
        parts.reverse();
    }
    parts
}

/// The lines of a text, which end as Python's end.
pub(super) fn lines(text: &str, keep: bool) -> Vec<&str> {
    let ends = ['\n', '\r', '\u{b}', '\u{c}', '\u{1c}', '\u{1d}', '\u{1e}', '\u{85}', '\u{2028}', '\u{2029}'];
    let mut lines = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let line = rest.find(ends).unwrap_or(rest.len());
        let (before, after) = rest.split_at(line);
        let end = if after.starts_with("\r\n") { 2 } else { after.chars().next().map_or(0, char::len_utf8) };
        let (with_end, after) = rest.split_at(line + end);
        lines.push(if keep { with_end } else { before });
        rest = after;
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn space_is_split_as_python_splits_it() {
        let text = "  a b\u{1f}\tc ";
        assert_eq!(split_at_space(text, usize::MAX, false), ["a", "b", "c"]);
        assert_eq!(split_at_space(text, usize::MAX, true), ["a", "b", "c"]);
        assert_eq!(split_at_space(text, 1, false), ["a", "b\u{1f}\tc "]);
        assert_eq!(split_at_space(text, 1, true), ["  a b", "c"]);
        assert_eq!(split_at_space(text, 0, false), ["a b\u{1f}\tc "]);
        assert!(split_at_space(" \n", 3, true).is_empty());
    }

    #[test]
    fn lines_end_as_in_python() {
        assert_eq!(lines("a\r\nb\rc\u{85}\n", false), ["a", "b", "c", ""]);
        assert_eq!(lines("a\r\nb\rc\u{85}\n", true), ["a\r\n", "b\r", "c\u{85}", "\n"]);
        assert!(lines("", true).is_empty());
    }
}
