//! Texts as records: JSON objects with the parts of a text, such as the lines of a file.

mod fields;

use core::fmt;
use core::ops::Range;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::error::Category;
use serde_json::{Map, Value};

pub use self::fields::{RecordFields, RecordText};
use crate::{Error, ErrorKind, Input, Json, Mark, Message, Place, Positions, Region};

/// The fields of a [`record`] that mean something.
pub const RECORD_FIELDS: [&str; 19] = [
    "id",
    "text",
    "source",
    "target",
    "messages",
    "contrast_source",
    "contrast_target",
    "source_spans",
    "target_spans",
    "units",
    "rationale",
    "documents",
    "sources",
    "question",
    "input_context",
    "output_context",
    "contextless_output_next_tokens",
    "words",
    "regions",
];

/// A text from a JSON object: its `id`, `null` if it has none, and the text, or why it can't be read. Fields that mean nothing ([`RECORD_FIELDS`] do)
/// travel along if `keep` names them, or is `*`.
///
/// ```
/// let (id, input) = stepfn::record(br#"{"id": 7, "source": "Hello", "item": 3}"#, &["item".to_owned()]);
/// assert_eq!((id, input?.source.as_deref()), (7.into(), Some("Hello")));
/// # Ok::<(), stepfn::Error>(())
/// ```
pub fn record(bytes: &[u8], keep: &[String]) -> (Value, crate::Result<Input>) {
    let RecordText { id, input, .. } = RecordFields { keep: keep.to_vec(), ..RecordFields::default() }.line(bytes);
    (id, input)
}

/// The fields of a JSON object, and its `id`.
pub(crate) fn fields(bytes: &[u8]) -> crate::Result<(Value, Map<String, Value>)> {
    let Object { mut fields, .. } = object(bytes)?;
    Ok((fields.remove("id").unwrap_or_default(), fields))
}

fn object(bytes: &[u8]) -> crate::Result<Object> {
    let text = core::str::from_utf8(bytes).map_err(|error| {
        let what = format!("not UTF-8, from byte {} on", error.valid_up_to());
        Error::new(ErrorKind::Text, what, "save the file as UTF-8")
    })?;
    serde_json::from_str(text).map_err(|error| wrong(not_an_object(&error)))
}

/// What is wrong with a line that is no object.
fn not_an_object(error: &serde_json::Error) -> String {
    let message = error.to_string();
    match error.classify() {
        Category::Data if message.starts_with("invalid type") => "the line is JSON, but not an object".to_owned(),
        // Our own words, without the place: serde counts lines within this line, and the number in the file is added elsewhere.
        Category::Data => message.rsplit_once(" at line").map_or(message.as_str(), |(message, _)| message).to_owned(),
        Category::Eof => "the line ends before its JSON object does".to_owned(),
        Category::Syntax | Category::Io => format!("the line is not JSON from column {} on", error.column()),
    }
}

/// The messages of a chat.
fn chat(messages: Json) -> crate::Result<Vec<Message>> {
    match messages {
        Json::Null => Ok(Vec::new()),
        Json::List(messages) if !messages.is_empty() => {
            let number = |(number, message): (usize, Json)| {
                Message::from_json(message).map_err(|what| wrong(format!("`messages`, number {}: {what}", number + 1)))
            };
            messages.into_iter().enumerate().map(number).collect()
        }
        _ => Err(wrong("`messages` must be a list of at least one {\"role\": …, \"content\": …}".to_owned())),
    }
}

fn input(mut fields: Map<String, Value>, messages: Vec<Message>, positions: Positions) -> crate::Result<Input> {
    let input = Input {
        messages,
        positions,
        text: text(&mut fields, "text")?,
        source: text(&mut fields, "source")?,
        target: text(&mut fields, "target")?,
        contrast_source: text(&mut fields, "contrast_source")?,
        contrast_target: text(&mut fields, "contrast_target")?,
        source_spans: spans(&mut fields, "source_spans", positions)?,
        target_spans: spans(&mut fields, "target_spans", positions)?,
        units: spans(&mut fields, "units", positions)?,
        rationale: marks(&mut fields, positions)?,
        documents: texts(&mut fields, "documents")?,
        sources: texts(&mut fields, "sources")?,
        question: text(&mut fields, "question")?,
        input_context: text(&mut fields, "input_context")?,
        output_context: text(&mut fields, "output_context")?,
        contextless_output_next_tokens: texts(&mut fields, "contextless_output_next_tokens")?,
        words: texts(&mut fields, "words")?,
        regions: regions(&mut fields, positions)?,
        ..Input::default()
    };
    let texts = [&input.text, &input.source, &input.target];
    if texts.iter().all(|text| text.is_none()) && input.messages.is_empty() && input.sources.is_empty() {
        return Err(wrong("neither `text`, `source` nor `target`, nor `messages`".to_owned()));
    }
    Ok(input)
}

/// What people marked: `[start, end]`, or strings; or one string. In a cell of a table, a list is JSON.
fn marks(fields: &mut Map<String, Value>, positions: Positions) -> crate::Result<Vec<Mark>> {
    let wrong_list = |found: &Value| {
        let counts = positions.name();
        wrong(format!(
            "`rationale` must be a list of [start, end] in {counts}s or of strings, not {}",
            shortened(found)
        ))
    };
    let found = match fields.remove("rationale").unwrap_or_default() {
        Value::Null => return Ok(Vec::new()),
        Value::String(text) => match serde_json::from_str(&text) {
            Ok(Value::Array(list)) => list,
            _ => vec![Value::String(text)],
        },
        Value::Array(list) => list,
        other => return Err(wrong_list(&other)),
    };
    let mark = |mark: &Value| match mark {
        Value::String(text) if !text.is_empty() => Some(Mark::Text(text.clone())),
        Value::Array(span) => match span[..] {
            [ref start, ref end] => Some(Mark::Span(number(start)?..number(end)?)),
            _ => None,
        },
        _ => None,
    };
    found.iter().map(|one| mark(one).ok_or_else(|| wrong_list(one))).collect()
}

fn texts(fields: &mut Map<String, Value>, name: &str) -> crate::Result<Vec<String>> {
    let wrong_list = |found: &Value| wrong(format!("`{name}` must be a list of strings, not {}", shortened(found)));
    match fields.remove(name) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(texts)) => {
            let text = |text: &Value| text.as_str().map(str::to_owned).ok_or_else(|| wrong_list(text));
            texts.iter().map(text).collect()
        }
        Some(other) => Err(wrong_list(&other)),
    }
}

fn text(fields: &mut Map<String, Value>, name: &str) -> crate::Result<Option<String>> {
    match fields.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(wrong(format!("`{name}` must be a string or null, not {}", shortened(&other)))),
    }
}

fn spans(fields: &mut Map<String, Value>, name: &str, positions: Positions) -> crate::Result<Vec<Range<usize>>> {
    let span = |value: &Value| match value.as_array()?.as_slice() {
        [start, end] => Some(number(start)?..number(end)?),
        _ => None,
    };
    let value = fields.remove(name).unwrap_or_default();
    if value.is_null() {
        return Ok(Vec::new());
    }
    let spans = value.as_array().and_then(|spans| spans.iter().map(span).collect());
    spans.ok_or_else(|| {
        let (counts, found) = (positions.name(), shortened(&value));
        wrong(format!("`{name}` must be a list of [start, end], counted in {counts}s from 0, not {found}"))
    })
}

fn regions(fields: &mut Map<String, Value>, positions: Positions) -> crate::Result<Vec<Region>> {
    let value = fields.remove("regions").unwrap_or_default();
    if value.is_null() {
        return Ok(Vec::new());
    }
    let place = |value: &Value| match value {
        Value::String(text) => Some(Place::Text(text.clone())),
        Value::Array(span) => match span.as_slice() {
            [start, end] => Some(Place::Span(number(start)?..number(end)?)),
            _ => None,
        },
        _ => None,
    };
    let region = |value: &Value| match value.as_object() {
        Some(named) => {
            let text = named.get("text").filter(|text| text.is_string());
            let place = place(text.or_else(|| named.get("span").filter(|span| span.is_array()))?)?;
            Some(Region { name: Some(named.get("name")?.as_str()?.to_owned()), place })
        }
        None => Some(Region { name: None, place: place(value)? }),
    };
    let regions = value.as_array().and_then(|regions| regions.iter().map(region).collect());
    regions.ok_or_else(|| {
        let (counts, found) = (positions.name(), shortened(&value));
        wrong(format!(
            "`regions` must be a list of texts, of [start, end] in {counts}s, or of {{\"name\": …, \"text\": …}} or {{\"name\": …, \"span\": …}}, not {found}"
        ))
    })
}

fn number(value: &Value) -> Option<usize> {
    usize::try_from(value.as_u64()?).ok()
}

/// A value as JSON, short enough for a message.
pub(crate) fn shortened(value: &Value) -> String {
    const LONGEST: usize = 40;
    let text = value.to_string();
    if text.chars().count() <= LONGEST { text } else { text.chars().take(LONGEST).chain(['…']).collect() }
}

fn wrong(what: String) -> Error {
    Error::new(
        ErrorKind::Text,
        what,
        "give an object for each text, with some of the fields id, text, source, target, messages, contrast_source, contrast_target, source_spans, target_spans: {\"source\": …, \"target\": …}",
    )
}

/// A JSON object that names each field once. Objects within messages keep their order, which chat templates may show.
struct Object {
    fields: Map<String, Value>,
    messages: Json,
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = Object;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                let (mut fields, mut messages) = (Map::new(), None);
                while let Some(name) = map.next_key::<String>()? {
                    if fields.contains_key(&name) || (name == "messages" && messages.is_some()) {
                        return Err(A::Error::custom(format!("the field `{name}` twice")));
                    }
                    if name == "messages" {
                        messages = Some(map.next_value::<Json>()?);
                    } else {
                        fields.insert(name, map.next_value::<Value>()?);
                    }
                }
                Ok(Object { fields, messages: messages.unwrap_or_default() })
            }
        }

        deserializer.deserialize_map(Fields)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;

    fn read(line: &str) -> crate::Result<Input> {
        record(line.as_bytes(), &[]).1
    }

    #[test]
    fn all_parts_are_read() {
        let line = r#"{"target": "b", "contrast_target": "c", "target_spans": [[0, 1]], "source_spans": null, "source": null}"#;
        let input = read(line).unwrap();
        assert_eq!((input.target.as_deref(), input.contrast_target.as_deref()), (Some("b"), Some("c")));
        assert_eq!((input.source, input.source_spans.len()), (None, 0));
        assert_eq!(input.target_spans, core::iter::once(0..1).collect::<Vec<_>>());
    }

    #[test]
    fn what_people_marked_is_spans_or_words() {
        let marks = |line| read(line).unwrap().rationale;
        let both = vec![Mark::Span(0..3), Mark::Text("light".to_owned())];
        assert_eq!(marks(r#"{"text": "a", "rationale": [[0, 3], "light"]}"#), both);
        // As tables have it.
        assert_eq!(marks(r#"{"text": "a", "rationale": "[[0, 3], \"light\"]"}"#), both);
        assert_eq!(marks(r#"{"text": "a", "rationale": "light"}"#), both[1..]);
        assert_eq!(marks(r#"{"text": "a", "rationale": null}"#), []);
    }

    #[test]
    fn a_text_alone_is_read() {
        assert_eq!(read(r#"{"text": "a"}"#).unwrap(), Input::text("a"));
    }

    #[test]
    fn chats_are_read() {
        let line = r#"{"id": 3, "messages": [{"role": "user", "content": "Hi"}], "target": "Hello"}"#;
        let input = read(line).unwrap();
        assert_eq!((input.messages, input.target.as_deref()), (vec![Message::user("Hi")], Some("Hello")));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (line, says) in [
            (r#"{"sauce": "a"}"#, "unknown field `sauce` (did you mean `source`?)"),
            ("{}", "neither `text`, `source` nor `target`, nor `messages`"),
            (r#"{"messages": []}"#, "`messages` must be a list of at least one"),
            (
                r#"{"messages": [{"role": "user", "content": "b"}, {"content": "a"}]}"#,
                "`messages`, number 2: a message needs a `role`",
            ),
            (r#"{"messages": [], "messages": []}"#, "the field `messages` twice"),
            (r#"{"source": 3}"#, "`source` must be a string or null, not 3"),
            (r#"{"source": "a", "source_spans": [[-1, 2]]}"#, "`source_spans` must be a list of [start, end]"),
            (
                r#"{"source": "a", "rationale": [3]}"#,
                "`rationale` must be a list of [start, end] in bytes or of strings, not 3",
            ),
            (r#"{"source": "a", "source": "b"}"#, "the field `source` twice"),
        ] {
            assert!(read(line).unwrap_err().what().starts_with(says), "{:?}", read(line));
        }
        for (line, says) in [
            ("[\"text\",\"text\"]", "the line is JSON, but not an object"),
            ("3", "the line is JSON, but not an object"),
            ("{\"source\": \"a", "the line ends before its JSON object does"),
            ("{\"source\": nul}", "the line is not JSON from column "),
            ("{} {}", "the line is not JSON from column "),
        ] {
            let error = read(line).unwrap_err();
            assert!(error.what().starts_with(says), "{line}: {error}");
        }
        let not_text = record(b"\"\xFF\"", &[]).1.unwrap_err();
        assert!(not_text.what().contains("from byte 1 on"));
    }
}
