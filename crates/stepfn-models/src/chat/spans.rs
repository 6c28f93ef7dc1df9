//! Where messages stand in the rendered text.
//!
//! The conversation is rendered again with each content replaced by a marker. Where putting the contents back for the markers gives the same
//! text, the template passes them on unchanged, and the markers say where. Where it doesn't, the template looks into some content; halves of
//! the conversation are then tried alone, until only those messages are left out.

use core::ops::Range;

use serde_json::Value;

use super::python::{is_space, stripped};
use super::{Message, ModelError};

/// Renderings with markers for one conversation.
const MOST_RENDERINGS: usize = 48;

/// A conversation whose messages are to be located.
pub(super) struct Conversation<'a> {
    messages: &'a [Message],
}

/// A text of a message: its content, or one of the content's parts.
struct Slot<'a> {
    message: usize,
    /// Without white space around it.
    text: &'a str,
}

impl<'a> Conversation<'a> {
    pub(super) fn new(messages: &'a [Message]) -> Self {
        Self { messages }
    }

    /// The place of each message's content in `text`, where it can be found. `render` renders messages with markers.
    pub(super) fn locate(
        &self,
        text: &str,
        source: &str,
        render: impl Fn(&[Message]) -> Result<String, ModelError>,
    ) -> Vec<Option<Range<usize>>> {
        let mut spans = vec![None; self.messages.len()];
        let Some(mark) = self.unused_character(text, source) else { return spans };
        let mut left = MOST_RENDERINGS;
        let whole = 0..self.messages.len();
        let mut waiting = vec![whole];
        while let Some(range) = waiting.pop() {
            if range.is_empty() || left == 0 {
                continue;
            }
            left -= 1;
            let (marked, slots) = self.marked(&range, mark);
            let found = render(&marked).ok().and_then(|marked| put_back(&marked, mark, &slots, text));
            if let Some(places) = found {
                for (slot, places) in slots.iter().zip(places) {
                    join(&mut spans, slot.message, &places);
                }
                for message in range {
                    // A part that is left out or repeated leaves an empty range.
                    if let Some(span) = spans.get_mut(message) {
                        *span = span.take().filter(|span: &Range<usize>| !span.is_empty());
                    }
                }
            } else if range.len() > 1 {
                let middle = range.start + range.len() / 2;
                waiting.push(middle..range.end);
                waiting.push(range.start..middle);
            }
        }
        spans
    }

    /// A private-use character that is neither in the text, in the template nor in any message.
    fn unused_character(&self, text: &str, source: &str) -> Option<char> {
        let mut used = vec![false; 0x1900];
        let mut note = |text: &str| {
            for character in text.chars() {
                let place = u32::from(character).checked_sub(0xe000).and_then(|at| usize::try_from(at).ok());
                if let Some(used) = place.and_then(|at| used.get_mut(at)) {
                    *used = true;
                }
            }
        };
        note(text);
        note(source);
        for (_, text) in self.messages.iter().flat_map(texts) {
            note(text);
        }
        let free = u32::try_from(used.iter().position(|used| !used)?).ok()?;
        char::from_u32(0xe000 + free)
    }

    /// The conversation with markers in a range of messages, and what each marker stands for.
    fn marked(&self, range: &Range<usize>, mark: char) -> (Vec<Message>, Vec<Slot<'a>>) {
        let mut slots = Vec::new();
        let mut marked = self.messages.to_vec();
        for (at, (message, original)) in marked.iter_mut().zip(self.messages).enumerate() {
            if !range.contains(&at) {
                continue;
            }
            for (part, text) in texts(original) {
                let core = stripped(text);
                if core.is_empty() {
                    continue;
                }
                let start = text.len() - text.trim_start_matches(is_space).len();
                let (before, after) = (text.get(..start), text.get(start + core.len()..));
                let (before, after) = (before.unwrap_or_default(), after.unwrap_or_default());
                replace(message, part, format!("{before}{mark}{}{mark}{after}", slots.len()));
                slots.push(Slot { message: at, text: core });
            }
        }
        (marked, slots)
    }
}

/// Which text of a message.
#[derive(Clone, Copy)]
pub(super) enum Part {
    Field,
    Other,
    Item(usize),
}

/// The texts of a message's content.
pub(super) fn texts(message: &Message) -> Vec<(Part, &str)> {
    match message.other.get("content") {
        None => vec![(Part::Field, message.content.as_str())],
        Some(Value::String(text)) => vec![(Part::Other, text.as_str())],
        Some(Value::Array(parts)) => {
            let texts = parts.iter().enumerate();
            texts.filter_map(|(at, part)| Some((Part::Item(at), part.get("text")?.as_str()?))).collect()
        }
        Some(_) => Vec::new(),
    }
}

fn replace(message: &mut Message, part: Part, text: String) {
    let place = match part {
        Part::Field => {
            message.content = text;
            return;
        }
        Part::Other => message.other.get_mut("content"),
        Part::Item(at) => message.other.get_mut("content").and_then(|parts| parts.get_mut(at)?.get_mut("text")),
    };
    if let Some(place) = place {
        *place = Value::String(text);
    }
}

/// Puts the texts in place of the markers. Where each of them stands, if that gives the expected text.
fn put_back(marked: &str, mark: char, slots: &[Slot], expected: &str) -> Option<Vec<Vec<Range<usize>>>> {
    let mut places = vec![Vec::new(); slots.len()];
    let mut at = 0;
    for (i, piece) in marked.split(mark).enumerate() {
        // Every second piece is between two marks: a number.
        let (piece, place) = if i % 2 == 0 {
            (piece, None)
        } else {
            let slot: usize = piece.parse().ok()?;
            (slots.get(slot)?.text, places.get_mut(slot))
        };
        if !expected.get(at..)?.starts_with(piece) {
            return None;
        }
        if let Some(place) = place {
            place.push(at..at + piece.len());
        }
        at += piece.len();
    }
    (at == expected.len() && marked.matches(mark).count().is_multiple_of(2)).then_some(places)
}

/// Extends a message's span to one more of its texts. A text that isn't there exactly once makes the span empty, and it stays so.
fn join(spans: &mut [Option<Range<usize>>], message: usize, places: &[Range<usize>]) {
    let Some(span) = spans.get_mut(message) else { return };
    *span = Some(match (span.take(), places) {
        (None, [place]) => place.clone(),
        (Some(before), [place]) if !before.is_empty() && before.end <= place.start => before.start..place.end,
        _ => 0..0,
    });
}
