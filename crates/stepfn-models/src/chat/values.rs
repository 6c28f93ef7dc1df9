//! The variables of a template.

use minijinja::{Error, ErrorKind, Value};
use serde_json::Value as Json;

use super::date::Date;
use super::{ChatOptions, Message, error};
use crate::ModelError;

/// Lists within each other that a field may have.
const DEEPEST: usize = 64;

/// All variables. What the user gives comes after special tokens, and before the conversation.
pub(super) fn context(
    messages: &[Message],
    special: &[(String, String)],
    options: &ChatOptions,
    date: Date,
) -> Result<Value, ModelError> {
    let mut variables = vec![("tools".to_owned(), Value::from(())), ("documents".to_owned(), Value::from(()))];
    variables.extend(special.iter().map(|(name, token)| (name.clone(), Value::from(token.as_str()))));
    for (name, json) in &options.variables {
        variables.push((name.clone(), value(json, 0)?));
    }
    let messages = messages.iter().map(message).collect::<Result<Vec<_>, _>>()?;
    let strftime_now = Value::from_function(move |format: &str| -> Result<String, Error> {
        date.format(format).map_err(|message| Error::new(ErrorKind::InvalidOperation, message))
    });
    variables.push(("messages".to_owned(), messages.into()));
    variables.push(("add_generation_prompt".to_owned(), options.add_generation_prompt.into()));
    variables.push(("strftime_now".to_owned(), strftime_now));
    Ok(Value::from_pairs(variables))
}

fn message(message: &Message) -> Result<Value, ModelError> {
    let content = match message.other.get("content") {
        Some(content) => value(content, 0)?,
        None => Value::from(message.content.as_str()),
    };
    let mut fields = vec![("role".to_owned(), Value::from(message.role.as_str())), ("content".to_owned(), content)];
    for (name, json) in message.other.iter().filter(|(name, _)| !matches!(name.as_str(), "role" | "content")) {
        fields.push((name.clone(), value(json, 0)?));
    }
    Ok(Value::from_pairs(fields))
}

fn value(json: &Json, depth: usize) -> Result<Value, ModelError> {
    if depth > DEEPEST {
        return Err(error(format!("a variable or a message's field has lists nested more than {DEEPEST} deep")));
    }
    Ok(match json {
        Json::Null => Value::from(()),
        Json::Bool(truth) => Value::from(*truth),
        Json::String(text) => Value::from(text.as_str()),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Value::from(number),
            (_, Some(number)) => Value::from(number),
            _ => Value::from(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::Array(items) => items.iter().map(|item| value(item, depth + 1)).collect::<Result<Vec<_>, _>>()?.into(),
        Json::Object(fields) => {
            let fields = fields.iter().map(|(name, json)| Ok((name.clone(), value(json, depth + 1)?)));
            Value::from_pairs(fields.collect::<Result<Vec<_>, ModelError>>()?)
        }
    })
}
