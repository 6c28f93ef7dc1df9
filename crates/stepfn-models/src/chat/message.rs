//! A message of a chat: a role, a content, and whatever else its template reads.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::json::Json;

/// What a message says.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// A text.
    Text(String),
    /// Parts, such as `{"type": "text", "text": …}`.
    Parts(Vec<Json>),
    /// Nothing: a message that only calls tools.
    Null,
}

/// A message of a chat.
///
/// As JSON it is an object with `role` and `content`, where the content is a string, a list of parts, or null. Other fields (`name`,
/// `tool_calls`, `reasoning_content`) are kept for the template, in their order.
///
/// ```
/// use stepfn_models::chat::Message;
///
/// let message: Message = serde_json::from_str(r#"{"role": "user", "content": "Hi!"}"#)?;
/// assert_eq!(message, Message::user("Hi!"));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Who says it: `system`, `user`, `assistant`, or what else the template knows.
    pub role: String,
    /// What is said.
    pub content: Content,
    /// Other fields that the template may read.
    pub fields: Vec<(String, Json)>,
}

impl Message {
    /// A message with a text.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: Content::Text(content.into()), fields: Vec::new() }
    }

    /// What the user says.
    pub fn user(content: impl Into<String>) -> Self {
        Self::new("user", content)
    }

    /// What the model is told before the chat.
    pub fn system(content: impl Into<String>) -> Self {
        Self::new("system", content)
    }

    /// What the model says.
    pub fn assistant(content: impl Into<String>) -> Self {
        Self::new("assistant", content)
    }

    /// A message from JSON.
    ///
    /// # Errors
    /// What is wrong with it, in words for the person who wrote it.
    pub fn from_json(json: Json) -> Result<Self, String> {
        let Json::Object(all) = json else {
            return Err("a message must be an object with `role` and `content`".into());
        };
        let (mut role, mut content, mut fields) = (None, None, Vec::new());
        for (name, value) in all {
            match (name.as_str(), value) {
                ("role", Json::Text(text)) => role = Some(text),
                ("role", _) => return Err("the `role` of a message must be a string".into()),
                ("content", Json::Text(text)) => content = Some(Content::Text(text)),
                ("content", Json::List(parts)) => content = Some(Content::Parts(parts)),
                ("content", Json::Null) => content = Some(Content::Null),
                ("content", _) => {
                    return Err("the `content` of a message must be a string, a list of parts, or null".into());
                }
                (_, value) => fields.push((name, value)),
            }
        }
        let role = role.ok_or("a message needs a `role`, such as \"user\"")?;
        // Some messages have something else to say, such as calls of tools.
        let content = match content {
            None if fields.is_empty() => return Err("a message needs a `content`".into()),
            content => content.unwrap_or(Content::Null),
        };
        Ok(Self { role, content, fields })
    }

    /// The same as JSON.
    pub fn to_json(&self) -> Json {
        let content = match &self.content {
            Content::Text(text) => Json::Text(text.clone()),
            Content::Parts(parts) => Json::List(parts.clone()),
            Content::Null => Json::Null,
        };
        let mut fields = vec![("role".to_owned(), Json::Text(self.role.clone())), ("content".to_owned(), content)];
        fields.extend(self.fields.iter().cloned());
        Json::Object(fields)
    }
}

impl Serialize for Message {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_json().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Message {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_json(Json::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}
