//! The filter `tojson`, as transformers defines it: Python's `json.dumps`, without escapes for HTML or of letters.

use core::fmt::Write;

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, State, Value};

use super::values::invalid;

/// Lists and objects in one another.
const MOST_LEVELS: usize = 200;

/// A value as JSON.
///
/// # Errors
/// For a value that JSON doesn't have, or a lack of fuel.
pub(super) fn tojson(
    state: &State<'_, '_>,
    value: &Value,
    [ascii, indent, separators]: [Option<Value>; 3],
    options: Kwargs,
) -> Result<Value, Error> {
    let option = |given: Option<Value>, name: &str| match given {
        Some(given) => Ok(Some(given)),
        None => options.get::<Option<Value>>(name),
    };
    let flag = |given, name| Ok::<bool, Error>(option(given, name)?.is_some_and(|value| value.is_true()));
    let indent = match option(indent, "indent")? {
        None => None,
        Some(none) if none.is_none() => None,
        Some(indent) => Some(match (indent.as_str(), indent.as_usize()) {
            (Some(text), _) => text.to_owned(),
            (None, Some(spaces)) if spaces <= 16 => " ".repeat(spaces),
            _ => return Err(invalid("tojson: `indent` must be a string, or a number up to 16")),
        }),
    };
    let separators = match option(separators, "separators")? {
        None => None,
        Some(none) if none.is_none() => None,
        Some(both) => {
            let text = |i: usize| both.get_item_by_index(i).ok().and_then(|text| text.as_str().map(str::to_owned));
            Some(text(0).zip(text(1)).ok_or_else(|| invalid("tojson: `separators` must be two strings"))?)
        }
    };
    let default = (if indent.is_some() { "," } else { ", " }.to_owned(), ": ".to_owned());
    let (item, key) = separators.unwrap_or(default);
    let style = Style { ascii: flag(ascii, "ensure_ascii")?, sorted: flag(None, "sort_keys")?, indent, item, key };
    options.assert_all_used()?;
    let mut writer = Writer { state, style: &style, out: String::new(), charged: 0 };
    writer.value(value, 0)?;
    Ok(Value::from(writer.out))
}

struct Style {
    ascii: bool,
    sorted: bool,
    indent: Option<String>,
    /// Between items.
    item: String,
    /// After the name of a field.
    key: String,
}

struct Writer<'a> {
    state: &'a State<'a, 'a>,
    style: &'a Style,
    out: String,
    charged: usize,
}

impl Writer<'_> {
    fn value(&mut self, value: &Value, level: usize) -> Result<(), Error> {
        // Fuel for the work, and for what was written since the last time.
        let new = self.out.len() - self.charged;
        self.charged = self.out.len();
        self.state.consume_fuel(1 + new as u64 / 16)?;
        if level > MOST_LEVELS {
            return Err(invalid(format!("tojson: there are more than {MOST_LEVELS} lists and objects in one another")));
        }
        match value.kind() {
            ValueKind::None => self.out.push_str("null"),
            ValueKind::Bool => self.out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.number(value),
            ValueKind::String => self.string(value.as_str().unwrap_or_default()),
            ValueKind::Seq => {
                let items: Vec<Value> = value.try_iter()?.collect();
                self.all(['[', ']'], level, &items, |writer, item| writer.value(item, level + 1))?;
            }
            ValueKind::Map => {
                let mut names: Vec<Value> = value.try_iter()?.collect();
                if self.style.sorted {
                    names.sort();
                }
                self.all(['{', '}'], level, &names, |writer, name| {
                    match name.kind() {
                        ValueKind::String => writer.string(name.as_str().unwrap_or_default()),
                        ValueKind::None | ValueKind::Bool | ValueKind::Number => {
                            writer.out.push('"');
                            writer.value(name, level + 1)?;
                            writer.out.push('"');
                        }
                        kind => return Err(invalid(format!("tojson: a key must not be of the type {kind}"))),
                    }
                    writer.out.push_str(&writer.style.key);
                    writer.value(&value.get_item(name)?, level + 1)
                })?;
            }
            kind => return Err(invalid(format!("tojson: JSON has no values of the type {kind}"))),
        }
        Ok(())
    }

    fn all<T>(
        &mut self,
        [open, close]: [char; 2],
        level: usize,
        items: &[T],
        mut write: impl FnMut(&mut Self, &T) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.out.push(open);
        for (i, item) in items.iter().enumerate() {
            if i > 0 {
                self.out.push_str(&self.style.item);
            }
            self.line(level + 1);
            write(self, item)?;
        }
        if !items.is_empty() {
            self.line(level);
        }
        self.out.push(close);
        Ok(())
    }

    fn line(&mut self, level: usize) {
        if let Some(indent) = &self.style.indent {
            self.out.push('\n');
            (0..level).for_each(|_| self.out.push_str(indent));
        }
    }

    fn number(&mut self, value: &Value) {
        let text = value.to_string();
        self.out.push_str(match text.as_str() {
            "inf" => "Infinity",
            "-inf" => "-Infinity",
            text => text,
        });
    }

    fn string(&mut self, text: &str) {
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\u{8}' => self.out.push_str("\\b"),
                '\u{c}' => self.out.push_str("\\f"),
                c if c < ' ' || (self.style.ascii && c > '~') => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        let _ = write!(self.out, "\\u{unit:04x}");
                    }
                }
                c => self.out.push(c),
            }
        }
        self.out.push('"');
    }
}
