//! Filters and tests that differ between the engine and Jinja in Python.

use minijinja::value::ValueKind;
use minijinja::{Environment, Error, Value};

use super::{json_text, methods, python};

/// Adds them.
pub(super) fn add(environment: &mut Environment<'static>) {
    environment.add_filter("tojson", json_text::filter);
    environment.add_filter("string", |value: &Value| -> Result<Value, Error> {
        Ok(if value.as_str().is_some() { value.clone() } else { python::text(value)?.into_owned().into() })
    });
    environment.add_filter("trim", |value: &Value, characters: Option<&str>| -> Result<Value, Error> {
        Ok(methods::strip(&python::text(value)?, characters, true, true).into())
    });
    environment.add_test("sequence", |value: &Value| {
        matches!(value.kind(), ValueKind::Seq | ValueKind::Map | ValueKind::String | ValueKind::Undefined)
    });
}
