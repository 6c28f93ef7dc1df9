//! Where one unit of text ends and the next begins: words by whitespace, spans by position, pieces by separators.

use core::ops::Range;

use regex::Regex;
use serde::{Deserialize, Serialize};
use stepfn_models::chat::MessageSpan;
use stepfn_models::tokenizer::Token;
use unicode_segmentation::UnicodeSegmentation;

use super::Slice;
use super::merge::{Groups, groups_by_start};
use crate::{AttributionError, ParameterError};

/// Words: a token after whitespace starts one. A whitespace token belongs to the word that follows, but
/// line breaks and special tokens are separate.
pub(crate) fn words(tokens: &[Token]) -> Groups {
    let blank = |token: &Token| token.surface.chars().all(char::is_whitespace) && !token.surface.is_empty();
    let line_break = |token: &Token| blank(token) && token.surface.contains('\n');
    let starts: Vec<bool> = (0..tokens.len())
        .map(|at| {
            let Some(before) = at.checked_sub(1).map(|before| &tokens[before]) else { return true };
            let token = &tokens[at];
            if token.special || before.special || line_break(token) || line_break(before) {
                return true;
            }
            // A tokenizer may leave spaces out of all its tokens; then the spans don't touch.
            let gap = before.span.end < token.span.start && !token.span.is_empty() && !before.span.is_empty();
            let spaced =
                token.surface.starts_with(char::is_whitespace) || before.surface.ends_with(char::is_whitespace);
            (gap || spaced) && !blank(before)
        })
        .collect();
    groups_by_start(&starts)
}

/// Characters: tokens that are bytes of one character share its span, and belong together.
pub(super) fn characters(tokens: &[Token]) -> Groups {
    let shares = |at: usize| {
        let Some(before) = at.checked_sub(1).map(|before| &tokens[before].span) else { return false };
        let span = &tokens[at].span;
        before.start < span.end && span.start < before.end
    };
    let starts: Vec<bool> = (0..tokens.len()).map(|at| !shares(at)).collect();
    groups_by_start(&starts)
}

/// The sentences of a text, by the Unicode standard's annex 29, in bytes.
pub fn sentences_of(text: &str) -> Vec<Range<usize>> {
    text.split_sentence_bound_indices().map(|(start, sentence)| start..start + sentence.len()).collect()
}

/// The words of a text and its marks of punctuation, by the Unicode standard's annex 29, in bytes. What is only space is none.
pub fn words_of(text: &str) -> Vec<Range<usize>> {
    let words = text.split_word_bound_indices().filter(|(_, word)| !word.trim().is_empty());
    words.map(|(start, word)| start..start + word.len()).collect()
}

/// Sentences, by the Unicode standard's annex 29: a token belongs to the sentence that its first visible character is in. Special tokens are separate.
pub(crate) fn sentences(text: &str, tokens: &[Token]) -> Groups {
    in_parts(text, tokens, text.split_sentence_bound_indices().map(|(start, _)| start))
}

/// Lines: a token belongs to the line that its first visible character is in, a line break to the line that it ends. Special tokens are separate.
pub(crate) fn lines(text: &str, tokens: &[Token]) -> Groups {
    in_parts(text, tokens, core::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)))
}

/// The tokens of parts of a text: a token belongs to the part that its first visible character is in. Tokens between them are in no group, and neither are
/// special tokens.
pub(crate) fn inside(text: &str, tokens: &[Token], parts: &[Range<usize>]) -> Groups {
    let is_in = |token: &Token, part: &Range<usize>| {
        !token.special && !token.span.is_empty() && part.contains(&(token.span.start + visible(text, token)))
    };
    let of_part = |part: &Range<usize>| {
        let own = |token: &Token| is_in(token, part);
        Some(tokens.iter().position(own)?..tokens.iter().rposition(own)? + 1)
    };
    parts.iter().filter_map(of_part).collect()
}

/// Where the first visible character of a token is, in its own bytes.
fn visible(text: &str, token: &Token) -> usize {
    let own = text.get(token.span.clone()).unwrap_or_default();
    own.find(|c: char| !c.is_whitespace()).unwrap_or(0)
}

/// The tokens of each part of a text, from where the parts start.
fn in_parts(text: &str, tokens: &[Token], starts: impl Iterator<Item = usize>) -> Groups {
    let starts: Vec<usize> = starts.collect();
    let part = |token: &Token| starts.partition_point(|&start| start <= token.span.start + visible(text, token));
    let apart = |token: &Token| token.special || token.span.is_empty();
    let begins = |at: usize| match at.checked_sub(1) {
        Some(before) => {
            let (before, own) = (&tokens[before], &tokens[at]);
            apart(before) || apart(own) || part(before) != part(own)
        }
        None => true,
    };
    groups_by_start(&(0..tokens.len()).map(begins).collect::<Vec<_>>())
}

/// Spans given by position; tokens between them are separate.
pub(super) fn spans(spans: &[Slice], tokens: usize, side: &str) -> Result<Groups, AttributionError> {
    let mut groups = Groups::new();
    let mut end = 0;
    for slice in spans {
        let span = slice.resolve(tokens, "spans", side)?;
        if span.start < end {
            return Err(AttributionError::from(ParameterError::new(
                "spans",
                side.to_owned(),
                format!("spans in order that don't overlap: one from position {end} on"),
                slice.to_string(),
            )));
        }
        groups.extend((end..span.start).map(|at| at..at + 1));
        end = span.end;
        groups.push(span);
    }
    groups.extend((end..tokens).map(|at| at..at + 1));
    Ok(groups)
}

/// Messages of a chat, as far as they are read before the first step. Tokens between messages are separate, and so are those of a message
/// whose place is not known.
pub(crate) fn messages(messages: &[MessageSpan], tokens: &[Token], first: usize) -> Groups {
    let message_of = |at: usize| {
        let span = &tokens.get(at)?.span;
        let has = |place: &Range<usize>| !span.is_empty() && place.contains(&span.start);
        let place = |message: &MessageSpan| message.whole.as_ref().or(message.content.as_ref()).is_some_and(has);
        messages.iter().position(place).filter(|_| at < first)
    };
    let starts: Vec<bool> = (0..tokens.len())
        .map(|at| match (at.checked_sub(1).and_then(message_of), message_of(at)) {
            (Some(before), Some(own)) => before != own,
            _ => true,
        })
        .collect();
    groups_by_start(&starts)
}

/// What a text is split at.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Separator {
    /// This text.
    Text(String),
    /// What this regular expression matches.
    Pattern(String),
}

/// Where the tokens of a separator go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SplitMode {
    /// They become a piece of their own.
    #[default]
    Single,
    /// They begin the next piece.
    Start,
    /// They end the piece before them.
    End,
}

impl SplitMode {
    pub(super) const ALL: [Self; 3] = [Self::Single, Self::Start, Self::End];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::Start => "start",
            Self::End => "end",
        }
    }
}

/// The expression of a separator.
pub(super) fn expression(separator: &Separator) -> Result<Regex, AttributionError> {
    let pattern = match separator {
        Separator::Text(text) => regex::escape(text),
        Separator::Pattern(pattern) => pattern.clone(),
    };
    let wrong = |found: String| {
        AttributionError::from(ParameterError::new(
            "split",
            "pattern",
            "a text or a regular expression to split at",
            found,
        ))
    };
    if pattern.is_empty() {
        return Err(wrong("nothing".to_owned()));
    }
    Regex::new(&pattern).map_err(|error| wrong(format!("`{pattern}` ({})", flaw(&error))))
}

/// What is wrong with an expression. The library says it in the last of several lines, below a picture of the place.
fn flaw(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    last.strip_prefix("error: ").unwrap_or(last).to_owned()
}

/// Pieces between separators. A token that a separator only touches belongs to it. Special tokens are separate.
pub(super) fn split(tokens: &[Token], expression: &Regex, mode: SplitMode) -> Groups {
    let text: String = tokens.iter().map(|token| token.surface.as_str()).collect();
    let mut bounds: Vec<Range<usize>> = Vec::with_capacity(tokens.len());
    for token in tokens {
        let start = bounds.last().map_or(0, |before| before.end);
        bounds.push(start..start + token.surface.len());
    }
    let mut starts = vec![false; tokens.len() + 1];
    let mut taken = 0;
    for found in expression.find_iter(&text).filter(|found| !found.is_empty()) {
        let touches = |bound: &Range<usize>| bound.start < found.end() && found.start() < bound.end;
        let Some(first) = bounds.iter().position(touches) else { continue };
        let last = bounds.iter().rposition(touches).unwrap_or(first);
        let first = first.max(taken);
        if first > last {
            continue;
        }
        taken = last + 1;
        starts[first] |= mode != SplitMode::End;
        starts[last + 1] |= mode != SplitMode::Start;
    }
    for (at, _) in tokens.iter().enumerate().filter(|(_, token)| token.special) {
        starts[at] = true;
        starts[at + 1] = true;
    }
    groups_by_start(&starts[..tokens.len()])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(surfaces: &[&str]) -> Vec<Token> {
        let mut start = 0;
        surfaces
            .iter()
            .map(|surface| {
                let special = surface.starts_with('<');
                let span = start..if special { start } else { start + surface.len() };
                start = span.end;
                Token { id: 0, surface: (*surface).to_owned(), span, special }
            })
            .collect()
    }

    fn joined(surfaces: &[&str], groups: &Groups) -> Vec<String> {
        groups.iter().map(|group| surfaces[group.clone()].concat()).collect()
    }

    #[test]
    fn words_begin_behind_whitespace() {
        for (surfaces, expected) in [
            (
                &["<s>", "The", " phen", "omen", "al", " cat", ".", "</s>"][..],
                &["<s>", "The", " phenomenal", " cat.", "</s>"][..],
            ),
            (&[" phen", "omen", "al"], &[" phenomenal"]),
            (&["a", " ", "b", "c"], &["a", " bc"]),
            (&["a", "\n", " b"], &["a", "\n", " b"]),
            (&["a ", "b"], &["a ", "b"]),
            (&[], &[]),
        ] {
            assert_eq!(joined(surfaces, &words(&tokens(surfaces))), expected);
        }
    }

    #[test]
    fn words_of_a_tokenizer_without_spaces_are_told_by_their_spans() {
        let mut tokens = tokens(&["the", "cat", "s"]);
        tokens[1].span = 4..7;
        tokens[2].span = 7..8;
        assert_eq!(words(&tokens), [0..1, 1..3]);
    }

    #[test]
    fn bytes_of_a_character_belong_together() {
        let mut tokens = tokens(&["<s>", "a", r"\xD9", r"\x85", "b", "<pad>"]);
        (tokens[2].span, tokens[3].span, tokens[4].span, tokens[5].span) = (1..3, 1..3, 3..4, 4..4);
        assert_eq!(characters(&tokens), [0..1, 1..2, 2..4, 4..5, 5..6]);
        assert_eq!(characters(&[]), Groups::new());
    }

    #[test]
    fn separators_stand_alone_or_join_a_side() {
        let surfaces = ["<s>", "a", " b", ".", " c", "!", " d", "</s>"];
        let expression = expression(&Separator::Pattern("[.!]".to_owned())).unwrap();
        for (mode, expected) in [
            (SplitMode::Single, &["<s>", "a b", ".", " c", "!", " d", "</s>"][..]),
            (SplitMode::Start, &["<s>", "a b", ". c", "! d", "</s>"]),
            (SplitMode::End, &["<s>", "a b.", " c!", " d", "</s>"]),
        ] {
            assert_eq!(joined(&surfaces, &split(&tokens(&surfaces), &expression, mode)), expected, "{mode:?}");
        }
    }

    #[test]
    fn separators_may_be_longer_or_shorter_than_tokens() {
        let surfaces = ["x, ", "and", " y"];
        let comma = expression(&Separator::Text(", and".to_owned())).unwrap();
        assert_eq!(joined(&surfaces, &split(&tokens(&surfaces), &comma, SplitMode::Single)), ["x, and", " y"]);
        let dots = expression(&Separator::Text(".".to_owned())).unwrap();
        let surfaces = ["a", "..", "b"];
        assert_eq!(joined(&surfaces, &split(&tokens(&surfaces), &dots, SplitMode::Single)), ["a", "..", "b"]);
    }

    #[test]
    fn messages_are_merged_as_far_as_they_are_read() {
        let surfaces = ["<s>", "U", ":", " hi", "A", ":", " yes", " no"];
        let message = |role: &str, content, whole| MessageSpan { role: role.to_owned(), content, whole };
        // Of the first, only the content is known.
        let chat = [message("user", Some(1..5), None), message("assistant", Some(7..14), Some(5..14))];
        let merged = ["<s>", "U", ": hi", "A:", " yes", " no"];
        assert_eq!(joined(&surfaces, &messages(&chat, &tokens(&surfaces), 6)), merged);
    }

    #[test]
    fn bad_spans_and_patterns_are_errors() {
        let slices = ["2:4".parse().unwrap(), "3:5".parse().unwrap()];
        let error = spans(&slices, 6, "target").unwrap_err().to_string();
        assert!(error.contains("from position 4 on, not 3:5"), "{error}");
        assert_eq!(spans(&slices[..1], 6, "target").unwrap(), [0..1, 1..2, 2..4, 4..5, 5..6]);
        assert!(expression(&Separator::Pattern("(".to_owned())).is_err());
        assert!(expression(&Separator::Text(String::new())).is_err());
    }
}
