//! Filters and tests that differ between the engine and Jinja in Python.

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Environment, Error, ErrorKind, Value};

use super::{json_text, methods, python};

/// Spaces that lines are indented by at most.
const WIDEST: usize = 256;

/// Adds them.
pub(super) fn add(environment: &mut Environment<'static>) {
    environment.add_filter("tojson", json_text::filter);
    environment.add_filter("string", |value: &Value| -> Result<Value, Error> {
        Ok(if value.as_str().is_some() { value.clone() } else { python::text(value)?.into_owned().into() })
    });
    environment.add_filter("trim", |value: &Value, characters: Option<&str>| -> Result<Value, Error> {
        Ok(methods::strip(&python::text(value)?, characters, true, true).into())
    });
    environment.add_filter("indent", indent);
    environment.add_filter("int", |value: &Value, default: Option<Value>| -> Value {
        integer(value).unwrap_or_else(|| default.unwrap_or_else(|| Value::from(0)))
    });
    environment.add_filter("float", |value: &Value, default: Option<Value>| -> Value {
        float(value).map_or_else(|| default.unwrap_or_else(|| Value::from(0.0)), Value::from)
    });
    environment.add_test("sequence", |value: &Value| {
        matches!(value.kind(), ValueKind::Seq | ValueKind::Map | ValueKind::String | ValueKind::Undefined)
    });
}

/// Indents all lines but the first and blank ones, unless told to.
fn indent(
    value: &Value,
    width: Option<Value>,
    first: Option<bool>,
    blank: Option<bool>,
    named: Kwargs,
) -> Result<String, Error> {
    let width = width.map_or_else(|| named.get::<Option<Value>>("width"), |width| Ok(Some(width)))?;
    let first = first.map_or_else(|| named.get::<Option<bool>>("first"), |first| Ok(Some(first)))?;
    let blank = blank.map_or_else(|| named.get::<Option<bool>>("blank"), |blank| Ok(Some(blank)))?;
    named.assert_all_used()?;
    let text = python::text(value)?;
    let width = width.unwrap_or_else(|| Value::from(4));
    let spaces = match (width.as_str(), width.as_usize()) {
        (Some(spaces), _) => spaces.to_owned(),
        (None, Some(width)) if width <= WIDEST => " ".repeat(width),
        _ => return Err(Error::new(ErrorKind::InvalidOperation, format!("indent: the width may be at most {WIDEST}"))),
    };
    let text = format!("{text}\n");
    let mut output = String::new();
    for (i, line) in methods::lines(&text, false).into_iter().enumerate() {
        output.push_str(if i == 0 { "" } else { "\n" });
        let indented = if i == 0 { first.unwrap_or(false) } else { blank.unwrap_or(false) || !line.is_empty() };
        output.push_str(if indented { &spaces } else { "" });
        output.push_str(line);
        python::check(&output, 0)?;
    }
    Ok(output)
}

/// `int(value)`: of text, the number in it.
fn integer(value: &Value) -> Option<Value> {
    match value.kind() {
        ValueKind::Number if value.is_integer() => return Some(value.clone()),
        ValueKind::Bool => return Some(Value::from(i64::from(value.is_true()))),
        _ => {}
    }
    if let Some(number) = value.as_str().and_then(|text| python::stripped(text).parse::<i64>().ok()) {
        return Some(Value::from(number));
    }
    // Beyond 64 bits, the number is none.
    let whole = float(value)?.trunc();
    (whole.abs() < 9e18).then(|| Value::from(whole as i64))
}

/// `float(value)`.
fn float(value: &Value) -> Option<f64> {
    match value.kind() {
        ValueKind::Number => f64::try_from(value.clone()).ok(),
        ValueKind::Bool => Some(f64::from(u8::from(value.is_true()))),
        _ => python::stripped(value.as_str()?).parse().ok(),
    }
}
