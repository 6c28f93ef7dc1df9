//! Which fields of a record are which parts of a text.

use serde_json::{Map, Value};

use super::{Object, RECORD_FIELDS, chat, input, object, shortened, wrong};
use crate::{Error, ErrorKind, Input, Json, Positions, nearest};

/// What is in a record.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordText {
    /// The text's id, `null` if it has none.
    pub id: Value,
    /// The fields that travel along, also if there is no text.
    pub fields: Map<String, Value>,
    /// The text, or why it can't be read.
    pub input: crate::Result<Input>,
}

impl RecordText {
    fn wrong(error: Error) -> Self {
        Self { id: Value::Null, fields: Map::new(), input: Err(error) }
    }
}

/// Which fields of records are which parts of a text, and which travel along.
///
/// ```
/// use stepfn::RecordFields;
/// let parts = vec![("text".to_owned(), "sentence".to_owned())];
/// let fields = RecordFields { parts, keep: vec!["year".to_owned()], lenient: true, ..RecordFields::default() };
/// let input = fields.line(br#"{"sentence": "Hello", "source": "Wikipedia", "year": 1999}"#).input?;
/// assert_eq!((input.text.as_deref(), input.source, &input.fields["year"]), (Some("Hello"), None, &1999.into()));
/// # Ok::<(), stepfn::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecordFields {
    /// Parts of a text (of [`RECORD_FIELDS`]), each with the field that it is in. If there are some besides `id`, no other field is a part.
    pub parts: Vec<(String, String)>,
    /// Fields that travel along; `*` is all.
    pub keep: Vec<String>,
    /// Whether fields that mean nothing are passed over. Otherwise they are errors, because they may be misspelt.
    pub lenient: bool,
    /// What spans count.
    pub positions: Positions,
}

impl RecordFields {
    /// A text from a JSON object.
    pub fn line(&self, bytes: &[u8]) -> RecordText {
        match object(bytes) {
            Ok(Object { fields, messages }) => self.text(fields, messages),
            Err(error) => RecordText::wrong(error),
        }
    }

    /// A text from the row of a table. An empty cell is no text, and parts that have parts themselves, such as `messages`, may be JSON.
    pub fn row(&self, mut fields: Map<String, Value>) -> RecordText {
        const NESTED: [&str; 6] = ["messages", "source_spans", "target_spans", "units", "documents", "sources"];
        let mut broken = None;
        for (field, value) in &mut fields {
            let Some(part) = self.part_of(field) else { continue };
            if part != "id" && value.as_str() == Some("") {
                *value = Value::Null;
            } else if let Some(text) = value.as_str()
                && NESTED.contains(&part)
            {
                match serde_json::from_str(text) {
                    Ok(nested) => *value = nested,
                    Err(_) => {
                        broken = Some(wrong(format!("`{field}` is not JSON: {}", shortened(value))));
                        *value = Value::Null;
                    }
                }
            }
        }
        let messages = match self.part_of("messages").and_then(|_| fields.remove("messages")) {
            Some(messages) => serde_json::from_value(without_nulls(messages)).unwrap_or_default(),
            None => Json::Null,
        };
        let text = self.text(fields, messages);
        match broken {
            Some(error) => RecordText { input: Err(error), ..text },
            None => text,
        }
    }

    /// The part of a text that a field is.
    pub fn part_of(&self, field: &str) -> Option<&str> {
        let named = self.parts.iter().find(|(_, name)| name == field).map(|(part, _)| part.as_str());
        let is_default = |part: &&str| {
            let is_id = *part == "id" && self.parts.iter().all(|(part, _)| part != "id");
            *part == field && (is_id || (*part != "id" && !self.names_parts()))
        };
        named.or_else(|| RECORD_FIELDS.into_iter().find(is_default))
    }

    /// Whether parts besides `id` have fields of their own.
    fn names_parts(&self) -> bool {
        self.parts.iter().any(|(part, _)| part != "id")
    }

    fn text(&self, fields: Map<String, Value>, messages: Json) -> RecordText {
        let is_kept = |name: &String| self.keep.iter().any(|keep| keep == name || keep == "*");
        let (mut parts, mut kept, mut unknown) = (Map::new(), Map::new(), None);
        for (name, value) in fields {
            let part = self.part_of(&name).map(str::to_owned);
            match part {
                Some(part) => {
                    // A field that has been named as a part can travel along, too.
                    if part != name && self.keep.contains(&name) {
                        kept.insert(name, value.clone());
                    }
                    drop(parts.insert(part, value));
                }
                None if is_kept(&name) => drop(kept.insert(name, value)),
                None if self.lenient || self.names_parts() => {}
                None => drop(unknown.get_or_insert(name)),
            }
        }
        let id = parts.remove("id").unwrap_or_default();
        let messages = if self.names_parts() { Json::Null } else { messages };
        let input = chat(messages).and_then(|messages| match unknown {
            Some(unknown) => Err(unknown_field(&unknown)),
            None => Ok(Input { fields: kept.clone(), ..input(parts, messages, self.positions)? }),
        });
        RecordText { id, fields: kept, input }
    }
}

/// Objects without the fields that are `null`: every row of a table has all of them.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Array(list) => list.into_iter().map(without_nulls).collect(),
        Value::Object(object) => {
            let present = object.into_iter().filter(|(_, value)| !value.is_null());
            present.map(|(name, value)| (name, without_nulls(value))).collect::<Map<_, _>>().into()
        }
        other => other,
    }
}

fn unknown_field(unknown: &str) -> Error {
    let meant = nearest(unknown, RECORD_FIELDS.into_iter());
    let meant = meant.map_or_else(String::new, |meant| format!(" (did you mean `{meant}`?)"));
    let hint = format!("correct its name, or let it travel along: --keep {unknown}, in Python keep=[\"{unknown}\"]");
    Error::new(ErrorKind::Text, format!("unknown field `{unknown}`{meant}"), hint)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;
    use crate::Message;

    #[test]
    fn parts_have_other_names_if_they_are_given() {
        let parts = |parts: &[(&str, &str)]| parts.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        let named = RecordFields {
            parts: parts(&[("text", "sentence"), ("id", "key")]),
            keep: vec!["sentence".to_owned()],
            ..RecordFields::default()
        };
        let RecordText { id, input, .. } =
            named.line(br#"{"key": 3, "sentence": "a", "id": 4, "source": 5, "messages": 6}"#);
        let input = input.unwrap();
        assert_eq!((id, input.text.as_deref(), input.source), (3.into(), Some("a"), None));
        assert_eq!(Value::from(input.fields), serde_json::json!({"sentence": "a"}));
        let only_id = RecordFields { parts: parts(&[("id", "key")]), ..RecordFields::default() };
        let RecordText { id, input, .. } = only_id.line(br#"{"key": 3, "text": "a"}"#);
        assert_eq!((id, input), (3.into(), Ok(Input::text("a"))));
        assert!(only_id.line(br#"{"id": 3, "text": "a"}"#).input.unwrap_err().what().contains("unknown field `id`"));
        let row = |lenient, row: Value| {
            RecordFields { lenient, ..RecordFields::default() }.row(row.as_object().cloned().unwrap()).input
        };
        let table = serde_json::json!({"text": "a", "source": "", "n": "1", "messages": ""});
        assert_eq!(row(true, table.clone()), Ok(Input::text("a")));
        assert!(row(false, table).unwrap_err().what().contains("unknown field `n`"));
        let chat = serde_json::json!({"messages": [{"role": "user", "content": "Hi", "name": null}]});
        assert_eq!(row(true, chat).unwrap().messages, [Message::user("Hi")]);
        let chat = serde_json::json!({"messages": "[{\"role\": \"user\", \"content\": \"Hi\"}]", "units": "[[0, 1"});
        assert!(row(true, chat).unwrap_err().what().starts_with("`units` is not JSON"));
    }
}
