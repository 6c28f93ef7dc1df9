//! Values as Python prints them.

use core::fmt::Write;
use std::borrow::Cow;

use minijinja::value::ValueKind;
use minijinja::{Error, ErrorKind, Value};

use super::engine::LONGEST_CHAT;
use super::strings::{Ends, strip};

/// Lists within each other that are printed.
const DEEPEST: usize = 64;

/// `str(value)`.
pub(super) fn text(value: &Value) -> Result<Cow<'_, str>, Error> {
    if let Some(text) = value.as_str() {
        return Ok(Cow::Borrowed(text));
    }
    if value.is_undefined() {
        return Ok(Cow::Borrowed(""));
    }
    let mut text = String::new();
    write_repr(&mut text, value, 0)?;
    Ok(Cow::Owned(text))
}

/// `repr(value)`, appended.
fn write_repr(output: &mut String, value: &Value, depth: usize) -> Result<(), Error> {
    check(output, depth)?;
    match value.kind() {
        ValueKind::Undefined => output.push_str("Undefined"),
        ValueKind::None => output.push_str("None"),
        ValueKind::Bool => output.push_str(if value.is_true() { "True" } else { "False" }),
        ValueKind::Number => output.push_str(&number(value)),
        ValueKind::String => write_quoted(output, value.as_str().unwrap_or_default()),
        ValueKind::Map => {
            output.push('{');
            for (i, key) in value.try_iter()?.enumerate() {
                output.push_str(if i == 0 { "" } else { ", " });
                write_repr(output, &key, depth + 1)?;
                output.push_str(": ");
                write_repr(output, &value.get_item(&key)?, depth + 1)?;
            }
            output.push('}');
        }
        ValueKind::Seq | ValueKind::Iterable => {
            let (open, close) = if value.is_tuple() { ('(', ')') } else { ('[', ']') };
            output.push(open);
            let mut items = 0_usize;
            for item in value.try_iter()? {
                output.push_str(if items == 0 { "" } else { ", " });
                write_repr(output, &item, depth + 1)?;
                items += 1;
            }
            if value.is_tuple() && items == 1 {
                output.push(',');
            }
            output.push(close);
        }
        _ => write!(output, "{value}").map_err(|_| Error::from(ErrorKind::WriteFailure))?,
    }
    Ok(())
}

/// Fails where a value is nested too deep or its text becomes too long.
fn check(output: &str, depth: usize) -> Result<(), Error> {
    if depth > DEEPEST {
        let message = format!("it prints lists nested more than {DEEPEST} deep");
        return Err(Error::new(ErrorKind::InvalidOperation, message));
    }
    if output.len() > LONGEST_CHAT { Err(ErrorKind::WriteFailure.into()) } else { Ok(()) }
}

fn write_quoted(output: &mut String, text: &str) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    output.push(quote);
    for character in text.chars() {
        match character {
            '\\' => output.push_str("\\\\"),
            '\n' => output.push_str("\\n"),
            '\r' => output.push_str("\\r"),
            '\t' => output.push_str("\\t"),
            _ if character == quote => output.extend(['\\', quote]),
            _ if is_hidden(character) => {
                let code = u32::from(character);
                let written = match code {
                    ..0x100 => write!(output, "\\x{code:02x}"),
                    0x100..0x1_0000 => write!(output, "\\u{code:04x}"),
                    _ => write!(output, "\\U{code:08x}"),
                };
                debug_assert!(written.is_ok(), "strings can always be written to");
            }
            _ => output.push(character),
        }
    }
    output.push(quote);
}

/// Characters that Python escapes: control, format, private use, and spaces other than the common one.
fn is_hidden(character: char) -> bool {
    character.is_control()
        || (character.is_whitespace() && character != ' ')
        || matches!(character, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
        || matches!(character, '\u{e000}'..='\u{f8ff}' | '\u{f0000}'..)
}

/// A number as Python and its JSON write it.
fn number(value: &Value) -> String {
    match f64::try_from(value.clone()) {
        Ok(number) if !value.is_integer() => float(number),
        _ => value.to_string(),
    }
}

fn float(number: f64) -> String {
    if !number.is_finite() {
        return if number.is_nan() {
            "nan"
        } else if number > 0.0 {
            "inf"
        } else {
            "-inf"
        }
        .to_owned();
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match exponent.parse::<i32>() {
        Ok(exponent @ -4..16) => {
            let fixed = number.to_string();
            if exponent >= 0 && !fixed.contains('.') { fixed + ".0" } else { fixed }
        }
        Ok(exponent) => format!("{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.unsigned_abs()),
        Err(_) => scientific,
    }
}

/// `int(value)`: of text, the number in it.
pub(super) fn integer(value: &Value) -> Option<Value> {
    match value.kind() {
        ValueKind::Number if value.is_integer() => return Some(value.clone()),
        ValueKind::Bool => return Some(Value::from(i64::from(value.is_true()))),
        _ => {}
    }
    if let Some(number) = value.as_str().and_then(|text| strip(text, None, Ends::BOTH).parse::<i64>().ok()) {
        return Some(Value::from(number));
    }
    // Beyond 64 bits, the number is none.
    let whole = float_of(value)?.trunc();
    (whole.abs() < 9e18).then(|| Value::from(whole as i64))
}

/// `float(value)`.
pub(super) fn float_of(value: &Value) -> Option<f64> {
    match value.kind() {
        ValueKind::Number => f64::try_from(value.clone()).ok(),
        ValueKind::Bool => Some(f64::from(u8::from(value.is_true()))),
        _ => strip(value.as_str()?, None, Ends::BOTH).parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_printed_as_python_prints_them() {
        let cases = [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (0.1, "0.1"),
            (123.456, "123.456"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.5e300, "1.5e+300"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (-2.5e-7, "-2.5e-07"),
            (f64::INFINITY, "inf"),
            (f64::NAN, "nan"),
        ];
        for (number, expected) in cases {
            assert_eq!(float(number), expected);
        }
    }
}
