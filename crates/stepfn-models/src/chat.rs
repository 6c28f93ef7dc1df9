//! Chat templates: the Jinja programs in checkpoints that turn a conversation into the text that a model was trained on.
//!
//! A template is rendered as `apply_chat_template` of the Python library renders it: the same white space, the same extra functions, values
//! printed as Python prints them. Each message's content is also located in the text, so that scores of tokens can be summed by message.
//! Templates come with checkpoints, so they aren't trusted: the work, the nesting and the output are bounded.
//!
//! What differs from Python: `~` writes numbers and strings as Python does, but `true`, `false`, `none` and lists as Jinja does in lower case.

mod date;
mod engine;
mod filters;
mod generation_tags;
mod json_text;
mod methods;
mod python;
mod spans;
mod values;

use core::ops::Range;

use minijinja::Environment;
use serde_json::{Map, Value};

use crate::ModelError;
use date::Date;
use spans::Conversation;

/// Bytes that a template may have.
pub const LONGEST_TEMPLATE: usize = 1 << 18;

/// Bytes that a rendered chat may have.
pub const LONGEST_CHAT: usize = 1 << 20;

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Message {
    /// Who speaks: mostly `system`, `user` or `assistant`; the template decides.
    pub role: String,
    /// What is said.
    pub content: String,
    /// Further fields that the template may read, such as `reasoning_content` or `tool_calls`. A `content` here takes the place of the
    /// field above: a list of parts such as `{"type": "text", "text": "…"}`, for templates that want one.
    pub other: Map<String, Value>,
}

impl Message {
    /// A message of a role.
    #[must_use]
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into(), other: Map::new() }
    }
}

/// How a conversation is rendered.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ChatOptions {
    /// Whether the text ends with the beginning of the model's answer.
    pub add_generation_prompt: bool,
    /// Further variables of the template, such as `enable_thinking`. They replace special tokens of the same name.
    pub variables: Map<String, Value>,
    /// What templates that ask for the date are told: `2025-01-31` or `2025-01-31 18:30:00`. By default the system's date, in UTC.
    pub now: Option<String>,
}

/// A rendered conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chat {
    /// The text. It has the special tokens already: tokenize it without adding them again.
    pub text: String,
    /// Where each message stands in the text.
    pub messages: Vec<MessageSpan>,
}

/// Where a message stands in the rendered text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageSpan {
    /// The message's role.
    pub role: String,
    /// The bytes of the content, without white space around it. None if the content is empty, or if the template leaves it out, repeats
    /// it, or changes it.
    pub content: Option<Range<usize>>,
}

/// A chat template, ready to render.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    source: String,
    special: Vec<(String, String)>,
}

impl ChatTemplate {
    /// Reads a template. `special` are the variables for special tokens, such as `bos_token`.
    ///
    /// # Errors
    ///
    /// If it is too long or isn't valid Jinja.
    pub fn new(source: &str, special: impl IntoIterator<Item = (String, String)>) -> Result<Self, ModelError> {
        if source.len() > LONGEST_TEMPLATE {
            return Err(error(format!("it has {} bytes, and at most {LONGEST_TEMPLATE} are read", source.len())));
        }
        let environment = engine::on_large_stack(|| engine::compile(source))?;
        Ok(Self { environment, source: source.to_owned(), special: special.into_iter().collect() })
    }

    /// Renders a conversation.
    ///
    /// # Errors
    ///
    /// If the template refuses the conversation or fails, if it takes too long or its text is too long, or if `now` isn't a date.
    pub fn render(&self, messages: &[Message], options: &ChatOptions) -> Result<Chat, ModelError> {
        let date = options.now.as_deref().map_or_else(|| Ok(Date::today()), Date::parse)?;
        engine::on_large_stack(|| {
            let conversation = Conversation::new(messages);
            let steps = engine::steps(messages);
            let render = |messages: &[Message]| {
                let context = values::context(messages, &self.special, options, date)?;
                engine::render(&self.environment, context, steps)
            };
            let text = render(messages)?;
            let spans = conversation.locate(&text, &self.source, render);
            let spans = messages.iter().zip(spans);
            let messages =
                spans.map(|(message, content)| MessageSpan { role: message.role.clone(), content }).collect();
            Ok(Chat { text, messages })
        })
    }
}

fn error(message: impl Into<String>) -> ModelError {
    ModelError::Template { message: message.into() }
}
