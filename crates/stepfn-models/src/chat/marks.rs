//! Marks in messages: where they can be put, and where they stand in a chat.

use super::strings::{self, Ends};
use super::{Content, Json, Message};

/// How many characters serve as marks.
const MARKS: u32 = 0xfff0;

/// The first of the characters that serve as marks: private ones that these texts don't have.
pub(super) fn unused(texts: [&str; 2]) -> Option<u32> {
    let is_free = |first: u32| !texts.iter().any(|text| text.chars().any(|c| is_mark(c, first)));
    [0xf_0000, 0x10_0000].into_iter().find(|&first| is_free(first))
}

fn is_mark(c: char, first: u32) -> bool {
    (first..first + MARKS).contains(&u32::from(c))
}

pub(super) fn mark(first: u32, number: u32) -> char {
    char::from_u32(first + number).unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// Where the marks of a text stand in the text without them, if that is the text.
pub(super) fn found(marked: &str, text: &str, first: u32) -> Option<Vec<(usize, char)>> {
    let mut found = Vec::new();
    let mut plain = String::with_capacity(text.len());
    for c in marked.chars() {
        if is_mark(c, first) {
            found.push((plain.len(), c));
        } else {
            plain.push(c);
        }
    }
    (plain == text).then_some(found)
}

/// The position of a mark that stands once.
pub(super) fn once(found: &[(usize, char)], mark: char) -> Option<usize> {
    let mut all = found.iter().filter(|(_, c)| *c == mark).map(|(at, _)| *at);
    all.next().filter(|_| all.next().is_none())
}

/// Start of the first text of a message and end of its last, perhaps within the whitespace there.
pub(super) fn bounds(message: &Message, trimmed: bool) -> Option<[usize; 2]> {
    let (first, last) = (first_text(message)?, last_text(message)?);
    let mut bounds = [0, last.len()];
    if trimmed {
        bounds[0] = first.len() - strings::strip(first, None, Ends::START).len();
        bounds[1] = strings::strip(last, None, Ends::END).len();
        // Of nothing but whitespace, both ends are the same.
        if matches!(message.content, Content::Text(_)) {
            bounds[1] = bounds[1].max(bounds[0]);
        }
    }
    Some(bounds)
}

fn text_of(part: &Json) -> Option<&str> {
    match part {
        Json::Text(text) => Some(text),
        Json::Object(fields) => fields.iter().find(|(name, _)| name == "text").and_then(|(_, text)| match text {
            Json::Text(text) => Some(text.as_str()),
            _ => None,
        }),
        _ => None,
    }
}

fn text_of_mut(part: &mut Json) -> Option<&mut String> {
    match part {
        Json::Text(text) => Some(text),
        Json::Object(fields) => fields.iter_mut().find(|(name, _)| name == "text").and_then(|(_, text)| match text {
            Json::Text(text) => Some(text),
            _ => None,
        }),
        _ => None,
    }
}

pub(super) fn first_text(message: &Message) -> Option<&str> {
    match &message.content {
        Content::Text(text) => Some(text),
        Content::Parts(parts) => parts.iter().find_map(text_of),
        Content::Null => None,
    }
}

pub(super) fn last_text(message: &Message) -> Option<&str> {
    match &message.content {
        Content::Text(text) => Some(text),
        Content::Parts(parts) => parts.iter().rev().find_map(text_of),
        Content::Null => None,
    }
}

pub(super) fn first_text_mut(message: &mut Message) -> Option<&mut String> {
    match &mut message.content {
        Content::Text(text) => Some(text),
        Content::Parts(parts) => parts.iter_mut().find_map(text_of_mut),
        Content::Null => None,
    }
}

pub(super) fn last_text_mut(message: &mut Message) -> Option<&mut String> {
    match &mut message.content {
        Content::Text(text) => Some(text),
        Content::Parts(parts) => parts.iter_mut().rev().find_map(text_of_mut),
        Content::Null => None,
    }
}

/// Bytes that two texts have in common at their ends, in whole characters.
pub(super) fn common_end(a: &str, b: &str) -> usize {
    a.chars().rev().zip(b.chars().rev()).take_while(|(a, b)| a == b).map(|(a, _)| a.len_utf8()).sum()
}

/// Bytes that two texts have in common at their starts, in whole characters.
pub(super) fn common_start(a: &str, b: &str) -> usize {
    a.chars().zip(b.chars()).take_while(|(a, b)| a == b).map(|(a, _)| a.len_utf8()).sum()
}

/// Where what was kept may begin: at its start, or after the whitespace there, which the template may have cut off and written itself.
pub(super) fn edges(kept: &str) -> impl Iterator<Item = usize> {
    let space = kept.len() - strings::strip(kept, None, Ends::START).len();
    (0..=space).filter(|at| kept.is_char_boundary(*at)).take(16).collect::<Vec<_>>().into_iter()
}

/// Where what was kept may end.
pub(super) fn edges_of_end(kept: &str) -> Vec<usize> {
    let end = strings::strip(kept, None, Ends::END).len();
    (end..=kept.len()).rev().filter(|at| kept.is_char_boundary(*at)).take(16).collect()
}
