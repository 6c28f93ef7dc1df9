//! The filter `tojson`, as Python's `json.dumps` writes.

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, ErrorKind, Value};

use super::python::{self, check};

/// Spaces of one level that an indent may have.
const WIDEST: usize = 64;

struct Layout {
    indent: Option<String>,
    item: String,
    key: String,
    ascii: bool,
    sort: bool,
}

/// The filter: arguments in the order of the Python library, or by name; `sort_keys` only by name.
pub(super) fn filter(
    value: &Value,
    ascii: Option<Value>,
    indent: Option<Value>,
    separators: Option<Value>,
    named: Kwargs,
) -> Result<String, Error> {
    let argument = |given: Option<Value>, name: &str| -> Result<Value, Error> {
        let given = given.map_or_else(|| named.get::<Option<Value>>(name), |value| Ok(Some(value)))?;
        Ok(given.unwrap_or_default())
    };
    let (ascii, sort) = (argument(ascii, "ensure_ascii")?, argument(None, "sort_keys")?);
    let indent = self::indent(&argument(indent, "indent")?)?;
    let separators = argument(separators, "separators")?;
    named.assert_all_used()?;
    let (item, key) = if separators.is_undefined() || separators.is_none() {
        (if indent.is_some() { "," } else { ", " }.to_owned(), ": ".to_owned())
    } else {
        let separator = |at| separators.get_item_by_index(at).and_then(|value| Ok(python::text(&value)?.into_owned()));
        (separator(0)?, separator(1)?)
    };
    let mut output = String::new();
    let layout = Layout { indent, item, key, ascii: ascii.is_true(), sort: sort.is_true() };
    layout.write(&mut output, value, 0)?;
    check(&output, 0)?;
    Ok(output)
}

fn indent(value: &Value) -> Result<Option<String>, Error> {
    let indent = match value.kind() {
        ValueKind::None | ValueKind::Undefined => return Ok(None),
        ValueKind::String => value.as_str().unwrap_or_default().to_owned(),
        _ => {
            let width = value.as_i64().and_then(|width| usize::try_from(width.max(0)).ok());
            " ".repeat(width.map_or(WIDEST + 1, |width| width.min(WIDEST + 1)))
        }
    };
    if indent.len() > WIDEST {
        return Err(Error::new(ErrorKind::InvalidOperation, format!("tojson: indent may be at most {WIDEST}")));
    }
    Ok(Some(indent))
}

impl Layout {
    fn write(&self, output: &mut String, value: &Value, depth: usize) -> Result<(), Error> {
        check(output, depth)?;
        match value.kind() {
            ValueKind::None => output.push_str("null"),
            ValueKind::Bool => output.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => output.push_str(&number(value)),
            ValueKind::String => self.write_string(output, value.as_str().unwrap_or_default()),
            ValueKind::Map => {
                let mut keys: Vec<Value> = value.try_iter()?.collect();
                if self.sort {
                    keys.sort();
                }
                output.push('{');
                for (i, key) in keys.iter().enumerate() {
                    self.begin_item(output, i, depth + 1);
                    self.write_string(output, &key_text(key)?);
                    output.push_str(&self.key);
                    self.write(output, &value.get_item(key)?, depth + 1)?;
                }
                self.end(output, keys.is_empty(), depth);
                output.push('}');
            }
            ValueKind::Seq | ValueKind::Iterable => {
                output.push('[');
                let mut empty = true;
                for (i, item) in value.try_iter()?.enumerate() {
                    self.begin_item(output, i, depth + 1);
                    self.write(output, &item, depth + 1)?;
                    empty = false;
                }
                self.end(output, empty, depth);
                output.push(']');
            }
            kind => {
                let message = format!("tojson: a value of the kind `{kind}` can't be written as JSON");
                return Err(Error::new(ErrorKind::InvalidOperation, message));
            }
        }
        Ok(())
    }

    fn begin_item(&self, output: &mut String, item: usize, depth: usize) {
        if item > 0 {
            output.push_str(&self.item);
        }
        self.begin_line(output, depth);
    }

    fn end(&self, output: &mut String, empty: bool, depth: usize) {
        if !empty {
            self.begin_line(output, depth);
        }
    }

    fn begin_line(&self, output: &mut String, depth: usize) {
        if let Some(indent) = &self.indent {
            output.push('\n');
            output.extend(core::iter::repeat_n(indent.as_str(), depth));
        }
    }

    fn write_string(&self, output: &mut String, text: &str) {
        output.push('"');
        for character in text.chars() {
            match character {
                '"' => output.push_str("\\\""),
                '\\' => output.push_str("\\\\"),
                '\n' => output.push_str("\\n"),
                '\r' => output.push_str("\\r"),
                '\t' => output.push_str("\\t"),
                '\u{8}' => output.push_str("\\b"),
                '\u{c}' => output.push_str("\\f"),
                '\0'..' ' => output.push_str(&format!("\\u{:04x}", u32::from(character))),
                '\u{7f}'.. if self.ascii => {
                    for unit in character.encode_utf16(&mut [0; 2]) {
                        output.push_str(&format!("\\u{unit:04x}"));
                    }
                }
                _ => output.push(character),
            }
        }
        output.push('"');
    }
}

fn number(value: &Value) -> String {
    match python::number(value).as_str() {
        "nan" => "NaN".to_owned(),
        "inf" => "Infinity".to_owned(),
        "-inf" => "-Infinity".to_owned(),
        number => number.to_owned(),
    }
}

/// Keys that aren't strings are written as JSON would write them.
fn key_text(key: &Value) -> Result<String, Error> {
    Ok(match key.kind() {
        ValueKind::None => "null".to_owned(),
        ValueKind::Bool => key.is_true().to_string(),
        ValueKind::Number => number(key),
        _ => python::text(key)?.into_owned(),
    })
}
