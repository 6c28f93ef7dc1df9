//! Values as the engine has them, behaving as Python's do.

use std::sync::Arc;

use minijinja::value::{Enumerator, Object, Tuple, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};

use super::json::Json;
use super::methods;

/// Lists and objects in one another, in what a template is given.
const MOST_LEVELS: usize = 100;
/// The same, in what a template puts together and keeps.
const MOST_KEPT: usize = 150;

/// An object of JSON, in a map of the engine. Its methods come before its fields, as in Python: a field named `items` doesn't hide the method.
#[derive(Debug)]
struct Dict(Value);

impl Object for Dict {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.0.get_item(key).ok().filter(|value| !value.is_undefined())
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.0.try_iter().map(Iterator::collect).unwrap_or_default())
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        self.0.len()
    }

    fn call_method(self: &Arc<Self>, state: &mut State<'_, '_>, method: &str, args: &[Value]) -> Result<Value, Error> {
        methods::of_dict(state, &self.0, method, args)
    }
}

/// A value of the engine.
///
/// # Errors
/// What is wrong with it.
pub(super) fn value(json: &Json) -> Result<Value, String> {
    within(json, MOST_LEVELS)
}

fn within(json: &Json, levels: usize) -> Result<Value, String> {
    let Some(levels) = levels.checked_sub(1) else {
        return Err(format!("there are more than {MOST_LEVELS} lists and objects in one another"));
    };
    Ok(match json {
        Json::Null => Value::from(()),
        Json::Bool(value) => Value::from(*value),
        Json::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(number), ..) => Value::from(number),
            (_, Some(number), _) => Value::from(number),
            (.., number) => Value::from(number.unwrap_or(f64::NAN)),
        },
        Json::Text(text) => Value::from(text.as_str()),
        Json::List(items) => {
            let items = items.iter().map(|item| within(item, levels));
            Value::from(items.collect::<Result<Vec<Value>, String>>()?)
        }
        Json::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| Ok((name.as_str(), within(value, levels)?)));
            Value::from_object(Dict(Value::from_pairs(fields.collect::<Result<Vec<_>, String>>()?)))
        }
    })
}

/// Checks what is assigned to a variable: a value within itself, or one that is deeper with each turn of a loop, would use up the stack when it
/// is compared or written. What the engine would compute only later (a slice of a slice of a slice) is computed now.
///
/// # Errors
/// That it is too deep, or that fuel ran out.
pub(super) fn flat(state: &State<'_, '_>, value: Value) -> Result<Value, Error> {
    if is_namespace(&value) { Ok(value) } else { kept(state, value) }
}

/// Checks what is put into a namespace, likewise.
///
/// # Errors
/// As [`flat`], and for a namespace: only what is in one can change later, and so come to lie within itself.
pub(super) fn kept(state: &State<'_, '_>, value: Value) -> Result<Value, Error> {
    Ok(settled(state, &value, MOST_KEPT)?.unwrap_or(value))
}

fn is_namespace(value: &Value) -> bool {
    value.as_object().is_some_and(|object| object.type_name().ends_with("::Namespace"))
}

/// The value with all of its parts computed, if they aren't yet.
fn settled(state: &State<'_, '_>, value: &Value, levels: usize) -> Result<Option<Value>, Error> {
    let kind = value.kind();
    if !matches!(kind, ValueKind::Map | ValueKind::Seq | ValueKind::Iterable) {
        return Ok(None);
    }
    let Some(levels) = levels.checked_sub(1) else {
        return Err(invalid(format!("there are more than {MOST_KEPT} lists and objects in one another")));
    };
    if is_namespace(value) {
        return Err(invalid("a namespace must not be within another value"));
    }
    let Some(object) = value.as_object() else { return Ok(None) };
    let mut items: Vec<Value> = Vec::new();
    let mut changed = false;
    let mut count = 0;
    let mut add = |item: &Value| -> Result<Value, Error> {
        count += 1;
        if count % 16 == 1 {
            state.consume_fuel(1)?;
        }
        let settled = settled(state, item, levels)?;
        changed |= settled.is_some();
        Ok(settled.unwrap_or_else(|| item.clone()))
    };
    if kind == ValueKind::Map {
        let pairs = object.try_iter_pairs().into_iter().flatten();
        let pairs = pairs.map(|(key, value)| Ok((key, add(&value)?))).collect::<Result<Vec<_>, Error>>()?;
        let is_computed = !object.type_name().contains("::merge_object::");
        return Ok((changed || !is_computed).then(|| Value::from_pairs(pairs)));
    }
    for item in object.try_iter().into_iter().flatten() {
        items.push(add(&item)?);
    }
    if value.is_tuple() {
        return Ok(changed.then(|| Value::from(Tuple::new(items))));
    }
    let is_computed = object.type_name().starts_with("alloc::vec::Vec");
    Ok((changed || !is_computed).then(|| Value::from(items)))
}

pub(super) fn invalid(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, what.into())
}
