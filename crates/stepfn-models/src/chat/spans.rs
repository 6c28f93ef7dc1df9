//! Finds out where messages stand in a chat, without knowing its template.
//!
//! A mark, a character that nothing else has, is put into a message, and the chat is written again. If it is the same text but for the mark, then
//! the mark shows where the message stands. If it isn't, because the template looked at the message, as one that trims contents does, then
//! the mark is tried elsewhere. What a message adds to a chat, markup included, is what it makes longer.

use core::ops::Range;

use minijinja::Value;

use super::engine::{self, Engine, MARKS};
use super::json::Json;
use super::marks::{
    bounds, common_end, common_start, edges, edges_of_end, first_text, first_text_mut, found, last_text, last_text_mut,
    mark, once, unused,
};
use super::strings;
use super::values::value;
use super::{Chat, ChatOptions, ChatTemplate, Message, MessageSpan};
use crate::ModelError;

/// The most times that a chat is written for its spans, and the fuel for all of them, as a multiple of the fuel for one.
const MOST_RENDERINGS: usize = 2000;
const FUEL_FOR_ALL: u64 = 40;
/// The most messages that are looked for.
const MOST_MESSAGES: usize = 1000;

/// Renderings of one chat and of what is like it.
pub(super) struct Rendering<'a> {
    template: &'a ChatTemplate,
    messages: &'a [Message],
    options: &'a ChatOptions,
    variables: Vec<(String, Value)>,
    /// For one rendering.
    fuel: u64,
    /// For all further ones.
    left: u64,
    renderings: usize,
}

/// Marks of one rendering: message, byte of its content (or past a part), and the mark.
type Mark = (usize, Place, char);

/// Where a mark is put.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Place {
    /// Before this byte of the first text.
    First(usize),
    /// Before this byte of the last text.
    Last(usize),
}

impl<'a> Rendering<'a> {
    pub(super) fn new(
        template: &'a ChatTemplate,
        messages: &'a [Message],
        options: &'a ChatOptions,
    ) -> Result<Self, ModelError> {
        let too_deep = |message: String| ModelError::Chat { message };
        let special = template.special.iter().map(|(name, token)| (name.clone(), Value::from(token.as_str())));
        let none = ["tools", "documents"].map(|name| (name.to_owned(), Value::from(())));
        let mut variables: Vec<(String, Value)> = special.chain(none).collect();
        for (name, json) in &options.variables {
            variables.push((name.clone(), value(json).map_err(too_deep)?));
        }
        variables.push(engine::now(options.now.unwrap_or_else(std::time::SystemTime::now)));
        let mut bytes = 0;
        for message in messages {
            bytes += serde_json::to_string(message).map_or(0, |json| json.len());
        }
        let fuel = Engine::fuel(messages.len(), bytes);
        Ok(Self { template, messages, options, variables, fuel, left: fuel * FUEL_FOR_ALL, renderings: 0 })
    }

    /// The chat's text.
    ///
    /// # Errors
    /// [`ModelError::Chat`] if the template fails.
    pub(super) fn text(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String, ModelError> {
        let values = values(messages)?;
        let variables = self.variables(values, add_generation_prompt, None);
        self.template.engine.render(&variables, self.fuel).0.map_err(|error| self.template.failed(&error))
    }

    fn variables(
        &self,
        messages: Value,
        add_generation_prompt: bool,
        marks: Option<[char; 2]>,
    ) -> Vec<(String, Value)> {
        let mut variables = self.variables.clone();
        variables.push(("messages".to_owned(), messages));
        variables.push(("add_generation_prompt".to_owned(), Value::from(add_generation_prompt)));
        variables
            .extend(marks.map(|marks| (MARKS.to_owned(), Value::from(marks.map(|mark| mark.to_string()).to_vec()))));
        variables
    }

    /// Writes a chat again, as long as there is fuel.
    fn again(&mut self, messages: &[Message], prompts: bool, marks: Option<[char; 2]>) -> Option<String> {
        self.renderings += 1;
        if self.renderings > MOST_RENDERINGS || self.left == 0 {
            return None;
        }
        let variables = self.variables(values(messages).ok()?, prompts, marks);
        let (text, used) = self.template.engine.render(&variables, self.fuel.min(self.left));
        self.left = self.left.saturating_sub(used);
        text.ok()
    }

    /// The chat with all spans that can be found.
    pub(super) fn locate(&mut self, text: String) -> Chat {
        let nothing = |message: &Message| MessageSpan { role: message.role.clone(), content: None, whole: None };
        let mut chat =
            Chat { messages: self.messages.iter().map(nothing).collect(), generated: Vec::new(), answer: None, text };
        let Some(first) = unused([&chat.text, &self.template.source]).filter(|_| self.messages.len() <= MOST_MESSAGES)
        else {
            return chat;
        };
        chat.generated = self.generated(&chat.text, first);
        for (span, content) in chat.messages.iter_mut().zip(self.contents(&chat.text, first)) {
            span.content = content;
        }
        for (i, whole) in self.wholes(&chat).into_iter().enumerate() {
            if let Some(span) = chat.messages.get_mut(i) {
                span.whole = whole;
            }
        }
        chat
    }

    fn generated(&mut self, text: &str, first: u32) -> Vec<Range<usize>> {
        if !self.template.source.contains("endgeneration") {
            return Vec::new();
        }
        let marks = [mark(first, 0), mark(first, 1)];
        let (messages, prompts) = (self.messages, self.options.add_generation_prompt);
        let Some(found) = self.again(messages, prompts, Some(marks)).and_then(|marked| found(&marked, text, first))
        else {
            return Vec::new();
        };
        let mut open = None;
        let mut spans = Vec::new();
        for (at, c) in found {
            match open {
                None if c == marks[0] => open = Some(at),
                Some(start) if c == marks[1] => {
                    spans.push(start..at);
                    open = None;
                }
                // Blocks within each other, or written elsewhere: where they belong can't be told.
                _ => return Vec::new(),
            }
        }
        spans
    }

    /// The contents as they were written.
    fn contents(&mut self, text: &str, first: u32) -> Vec<Option<Range<usize>>> {
        let count = self.messages.len();
        let mut starts: Vec<Option<usize>> = vec![None; count];
        let mut ends = starts.clone();
        // All together, at their ends, and then within the whitespace at their ends.
        for trimmed in [false, true] {
            let mut marks: Vec<Mark> = Vec::new();
            for (i, message) in self.messages.iter().enumerate() {
                if starts[i].is_none()
                    && let Some([start, end]) = bounds(message, trimmed)
                {
                    let number = u32::try_from(i * 2).unwrap_or_default();
                    marks.extend([
                        (i, Place::First(start), mark(first, number)),
                        (i, Place::Last(end), mark(first, number + 1)),
                    ]);
                }
            }
            let Some(found) = self.try_marks(&marks, text, first) else { continue };
            for pair in marks.chunks_exact(2) {
                let [(i, _, open), (_, _, close)] = pair else { continue };
                if let (Some(start), Some(end)) = (once(&found, *open), once(&found, *close))
                    && start <= end
                {
                    (starts[*i], ends[*i]) = (Some(start), Some(end));
                }
            }
        }
        // The others one by one; and those that may have kept whitespace, which the template may have written as well.
        let kept = |message: &Message, span: &Range<usize>| {
            let [outer, inner] = [bounds(message, false), bounds(message, true)];
            let before = text.get(..span.start).is_some_and(|before| before.ends_with(strings::is_space));
            let after = text.get(span.end..).is_some_and(|after| after.starts_with(strings::is_space));
            outer != inner && (before || after)
        };
        let found = |i: usize| starts.get(i).copied().flatten().zip(ends.get(i).copied().flatten());
        let found: Vec<Option<Range<usize>>> = (0..count).map(|i| found(i).map(|(start, end)| start..end)).collect();
        let messages = self.messages;
        let one = |(i, span): (usize, Option<Range<usize>>)| match span {
            Some(span) if !messages.get(i).is_some_and(|message| kept(message, &span)) => Some(span),
            _ => self.content(i, text, first),
        };
        found.into_iter().enumerate().map(one).collect()
    }

    fn content(&mut self, i: usize, text: &str, first: u32) -> Option<Range<usize>> {
        let message = self.messages.get(i)?;
        let [outer, inner] = [bounds(message, false)?, bounds(message, true)?];
        let mut place = |place: Place| -> Option<usize> {
            let c = mark(first, 0);
            once(&self.try_marks(&[(i, place, c)], text, first)?, c)
        };
        let start = place(Place::First(outer[0])).or_else(|| place(Place::First(inner[0])));
        let end = place(Place::Last(outer[1])).or_else(|| place(Place::Last(inner[1])));
        // A template may cut more off than whitespace: what the model thought before it spoke. What is left is found from its other end.
        let range = match (start, end) {
            (Some(start), Some(end)) => start..end,
            (None, Some(end)) => {
                let said = last_text(message)?;
                let to = if place(Place::Last(outer[1])).is_some() { outer[1] } else { inner[1] };
                let kept = common_end(said.get(..to)?, text.get(..end)?);
                let from = to - kept;
                let start = edges(said.get(from..to)?).find_map(|skip| place(Place::Last(from + skip)))?;
                start..end
            }
            (Some(start), None) => {
                let said = first_text(message)?;
                let from = if place(Place::First(outer[0])).is_some() { outer[0] } else { inner[0] };
                let kept = common_start(said.get(from..)?, text.get(start..)?);
                let cut = edges_of_end(said.get(from..from + kept)?);
                let end = cut.into_iter().find_map(|length| place(Place::First(from + length)))?;
                start..end
            }
            (None, None) => return None,
        };
        (range.start <= range.end).then_some(range)
    }

    /// The positions of marks, if the chat is the same without them.
    fn try_marks(&mut self, marks: &[Mark], text: &str, first: u32) -> Option<Vec<(usize, char)>> {
        if marks.is_empty() {
            return None;
        }
        let mut messages = self.messages.to_vec();
        // From the back, so that places stay where they are.
        for (i, place, c) in marks.iter().rev() {
            let text = match place {
                Place::First(_) => first_text_mut(messages.get_mut(*i)?),
                Place::Last(_) => last_text_mut(messages.get_mut(*i)?),
            }?;
            let (Place::First(at) | Place::Last(at)) = *place;
            if !text.is_char_boundary(at) {
                return None;
            }
            text.insert(at, *c);
        }
        let prompts = self.options.add_generation_prompt;
        found(&self.again(&messages, prompts, None)?, text, first)
    }

    /// Messages with their markup: what the chat has more with them than without them and all that follow.
    fn wholes(&mut self, chat: &Chat) -> Vec<Option<Range<usize>>> {
        let (messages, text) = (self.messages, chat.text.as_str());
        // Some templates end every chat with the token that ends a text.
        let eos = self.template.special.get("eos_token").filter(|eos| !eos.is_empty()).map(String::as_str);
        let mut is_ended = false;
        let mut length = |rendering: &mut Self, messages: &[Message]| {
            let written = rendering.again(messages, false, None)?;
            let cut = eos.and_then(|eos| written.strip_suffix(eos)).unwrap_or(&written);
            match (text.starts_with(&written), text.starts_with(cut)) {
                (true, _) if !is_ended || written.len() < text.len() => Some(written.len()),
                (_, true) => {
                    is_ended = true;
                    Some(cut.len())
                }
                _ => None,
            }
        };
        let mut ends: Vec<Option<usize>> = vec![self.head(chat).or_else(|| length(self, &[])).or(Some(0))];
        for i in 1..=messages.len() {
            let end = messages.get(..i).and_then(|some| length(self, some));
            ends.push(end);
        }
        let within =
            |whole: &Range<usize>, content: &Range<usize>| whole.start <= content.start && content.end <= whole.end;
        let whole = |i: usize| {
            let whole = (*ends.get(i)?)?..(*ends.get(i + 1)?)?;
            let own = chat.messages.get(i)?.content.as_ref();
            let mut others = chat.messages.iter().enumerate().filter(|(other, _)| *other != i);
            let has_other = others.any(|(_, other)| {
                let content = other.content.as_ref();
                content.is_some_and(|content| {
                    !content.is_empty() && content.start < whole.end && whole.start < content.end
                })
            });
            let is_right = whole.start < whole.end && own.is_none_or(|content| within(&whole, content)) && !has_other;
            is_right.then_some(whole)
        };
        (0..messages.len()).map(whole).collect()
    }

    /// Where the first message begins, after what the template puts before any: the first token of a text, or a system's message of its own. Its
    /// markup is known from a chat in which the same message comes again.
    fn head(&mut self, chat: &Chat) -> Option<usize> {
        let first = self.messages.first()?;
        let content = chat.messages.first()?.content.clone()?;
        let other = if first.role == "user" { Message::assistant("-") } else { Message::user("-") };
        let two = [first.clone(), other];
        let three = [first.clone(), two[1].clone(), first.clone()];
        let before = self.again(&two, false, None)?;
        let all = self.again(&three, false, None)?;
        let ended = || self.template.special.get("eos_token").and_then(|eos| before.strip_suffix(eos.as_str()));
        let again = all.strip_prefix(before.as_str()).or_else(|| all.strip_prefix(ended()?))?;
        // The message as it was written, markup included, and what stands before its content.
        let written = chat.text.get(content.clone())?;
        let markup = again.get(..again.find(written)?)?;
        let start = chat.text.get(..content.start)?.strip_suffix(markup)?.len();
        (!markup.is_empty()).then_some(start)
    }
}

fn values(messages: &[Message]) -> Result<Value, ModelError> {
    let all = Json::List(messages.iter().map(Message::to_json).collect());
    value(&all).map_err(|message| ModelError::Chat { message })
}
