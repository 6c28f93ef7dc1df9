//! Writes the messages of a chat as one text, with the chat template of a checkpoint, as transformers' `apply_chat_template` does.
//!
//! A template is a program in Jinja. It decides how roles are marked, whether contents are trimmed, and where the system's message goes. This
//! module runs it as transformers does, and finds out where each message stands in the text.
//!
//! The text has its special tokens written out, the one that begins a text included. Give it to
//! [`Tokenizer::encode`](crate::tokenizer::Tokenizer::encode) without special tokens, or there will be two at the start.
//!
//! A template comes with a checkpoint, so it may be anybody's. It can read nothing but what it is given, and what takes too long, writes too
//! much or goes too deep ends with an error.

mod date;
mod engine;
mod json;
mod marks;
mod message;
mod methods;
mod python;
mod scan;
mod spans;
mod strings;
mod tojson;
mod values;

use core::ops::Range;
use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

pub use json::Json;
pub use message::{Content, Message};

use crate::ModelError;
use engine::{Engine, described, with_stack};
use spans::Rendering;

/// How a chat is written.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ChatOptions {
    /// Whether the text ends where the model's answer begins: `add_generation_prompt`.
    pub add_generation_prompt: bool,
    /// Variables that this template reads, such as `enable_thinking`, `tools` or `documents`. The last two are `none` by default.
    pub variables: BTreeMap<String, Json>,
    /// The date that a template writes, in UTC; by default that of the clock.
    pub now: Option<SystemTime>,
}

/// A chat as one text.
#[derive(Debug, Clone, PartialEq)]
pub struct Chat {
    /// The text. Its special tokens are written out: tokenize it without adding any.
    pub text: String,
    /// Where each message stands in it.
    pub messages: Vec<MessageSpan>,
    /// What the template says that the model says: its `{% generation %}` blocks. Few templates have any.
    pub generated: Vec<Range<usize>>,
    /// The answer, for [`ChatTemplate::question`], if there is one; the prompt is all before it.
    pub answer: Option<Range<usize>>,
}

/// Where a message stands in a text, in bytes.
///
/// What can't be found for certain is `None`: a template may leave a message out, or write it twice, or change it beyond recognition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageSpan {
    /// Who says it.
    pub role: String,
    /// Its content, as it was written: perhaps without whitespace at its ends.
    pub content: Option<Range<usize>>,
    /// The message with its markup. `None` also if another message stands in it, as a system's message within a user's does in some chats.
    pub whole: Option<Range<usize>>,
}

/// A compiled chat template.
///
/// ```
/// use std::collections::BTreeMap;
/// use stepfn_models::chat::{ChatOptions, ChatTemplate, Message};
///
/// let source = "{% for message in messages %}<{{ message.role }}>{{ message.content | trim }}{{ eos_token }}\n{% endfor %}";
/// let special = BTreeMap::from([("eos_token".to_owned(), "</s>".to_owned())]);
/// let template = ChatTemplate::new(source, &special)?;
/// let chat = template.render(&[Message::user(" Hi! "), Message::assistant("Hello.")], &ChatOptions::default())?;
/// assert_eq!(chat.text, "<user>Hi!</s>\n<assistant>Hello.</s>\n");
/// let [hi, hello] = &chat.messages[..] else { unreachable!() };
/// assert_eq!((&chat.text[hi.content.clone().unwrap()], hi.whole.clone()), ("Hi!", Some(0..14)));
/// assert_eq!(&chat.text[hello.content.clone().unwrap()], "Hello.");
/// # Ok::<(), stepfn_models::ModelError>(())
/// ```
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    engine: Engine,
    source: String,
    special: BTreeMap<String, String>,
}

impl ChatTemplate {
    /// Compiles a template. `special` names the special tokens as templates read them: `bos_token`, `eos_token`, ….
    ///
    /// # Errors
    /// [`ModelError::Chat`] if the template is not Jinja, or too complex.
    pub fn new(source: &str, special: &BTreeMap<String, String>) -> Result<Self, ModelError> {
        Ok(Self { engine: Engine::new(source)?, source: source.to_owned(), special: special.clone() })
    }

    /// The template's source.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The messages as one text, and where each stands in it.
    ///
    /// # Errors
    /// [`ModelError::Chat`] if the template refuses the messages, fails, or does too much.
    pub fn render(&self, messages: &[Message], options: &ChatOptions) -> Result<Chat, ModelError> {
        with_stack(|| {
            let mut rendering = Rendering::new(self, messages, options)?;
            let text = rendering.text(messages, options.add_generation_prompt)?;
            Ok(rendering.locate(text))
        })?
    }

    /// The prompt to which the model answers. If the last message is the assistant's, it is the answer: the text goes on to the end of its
    /// content, and [`Chat::answer`] says where it begins.
    ///
    /// # Errors
    /// As [`render`](Self::render), and if an answer can't be told from its prompt.
    pub fn question(&self, messages: &[Message], options: &ChatOptions) -> Result<Chat, ModelError> {
        let asks = ChatOptions { add_generation_prompt: true, ..options.clone() };
        let Some((_, before)) = messages.split_last().filter(|(last, _)| last.role == "assistant") else {
            return self.render(messages, &asks);
        };
        let mut chat = self.render(messages, &ChatOptions { add_generation_prompt: false, ..options.clone() })?;
        let content = chat.messages.last().and_then(|last| last.content.clone());
        let prompt = with_stack(|| Rendering::new(self, before, &asks)?.text(before, true))?;
        let start = match (prompt, &content) {
            (Ok(prompt), content)
                if chat.text.starts_with(&prompt)
                    && content.as_ref().is_none_or(|content| prompt.len() <= content.end) =>
            {
                prompt.len()
            }
            (_, Some(content)) => content.start,
            (Err(error), None) => return Err(error),
            (Ok(_), None) => {
                let message = "where the assistant's last message begins can't be told, because the template changes it; give the messages before it, and the answer by itself";
                return Err(ModelError::Chat { message: message.to_owned() });
            }
        };
        let end = content.map_or(chat.text.len(), |content| content.end);
        chat.cut(end);
        chat.answer = Some(start..end);
        Ok(chat)
    }

    /// What is said of a chat that failed.
    fn failed(&self, error: &minijinja::Error) -> ModelError {
        ModelError::Chat { message: format!("the template can't write these messages: {}", described(error)) }
    }
}

impl Chat {
    /// Ends the text earlier.
    fn cut(&mut self, end: usize) {
        self.text.truncate(end);
        for span in self.messages.iter_mut().flat_map(|span| [&mut span.whole, &mut span.content]) {
            *span = span.take().filter(|span| span.start <= end).map(|span| span.start..span.end.min(end));
        }
        for span in &mut self.generated {
            *span = span.start.min(end)..span.end.min(end);
        }
        self.generated.retain(|span| !span.is_empty());
    }

    /// The prompt: all before the answer, or the whole text.
    pub fn prompt(&self) -> &str {
        let end = self.answer.as_ref().map_or(self.text.len(), |answer| answer.start);
        self.text.get(..end).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
