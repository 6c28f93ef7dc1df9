//! The sources of an answer: divided, put into a template, and found among the tokens.

use core::ops::Range;

use stepfn_attribution::aggregation::sentences_of;
use stepfn_models::tokenizer::Token;

use super::ContextTask;
use crate::{Error, ErrorKind, Input, Result};

/// Where the sources of a template go.
pub(super) const SOURCES: &str = "{sources}";
/// Where its question goes.
pub(super) const QUESTION: &str = "{question}";

/// What each given source is divided into. The parts are the sources that are scored; those of one given source are a group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Split {
    /// Nothing: it is one.
    #[default]
    None,
    /// Its paragraphs: what is between empty lines.
    Paragraphs,
    /// Its lines.
    Lines,
    /// Its sentences, by the Unicode standard's annex 29.
    Sentences,
}

impl Split {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::None, Self::Paragraphs, Self::Lines, Self::Sentences];

    /// Its name: `none`, `paragraphs`, `lines` or `sentences`.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Paragraphs => "paragraphs",
            Self::Lines => "lines",
            Self::Sentences => "sentences",
        }
    }

    /// The parts of a text, none of them blank, which together are the text.
    fn parts(self, text: &str) -> Vec<String> {
        let ends: Vec<usize> = match self {
            Self::None => Vec::new(),
            Self::Lines => text.match_indices('\n').map(|(at, _)| at + 1).collect(),
            Self::Paragraphs => {
                let lines: Vec<(usize, &str)> = text
                    .split_inclusive('\n')
                    .scan(0, |at, line| {
                        *at += line.len();
                        Some((*at, line))
                    })
                    .collect();
                lines.iter().filter(|(_, line)| line.trim().is_empty()).map(|(end, _)| *end).collect()
            }
            Self::Sentences => sentences_of(text).into_iter().map(|sentence| sentence.end).collect(),
        };
        let mut parts: Vec<String> = Vec::new();
        let mut start = 0;
        for end in ends.into_iter().chain([text.len()]) {
            let part = &text[start..end];
            match parts.last_mut() {
                Some(last) if part.trim().is_empty() || last.trim().is_empty() => last.push_str(part),
                _ if part.is_empty() => {}
                _ => parts.push(part.to_owned()),
            }
            start = end;
        }
        parts
    }
}

/// The sources of a text, and where they stand in what the model is given.
pub(super) struct Filled {
    /// Everything.
    pub(super) text: String,
    /// The sources in it, one after the other.
    pub(super) sources: String,
    /// The bytes of each source in `sources`, with what is between it and the next.
    pub(super) parts: Vec<Range<usize>>,
    /// Given sources: ranges of `parts`.
    pub(super) groups: Vec<Range<usize>>,
}

impl ContextTask {
    /// Puts sources and question into the template.
    pub(super) fn filled(&self, input: &Input, default: &str) -> Result<Filled> {
        let question = input.question.as_deref().unwrap_or_default();
        let template = self.template.as_deref().unwrap_or(default);
        if input.question.is_some() && !template.contains(QUESTION) {
            let what = format!("there is a question, and the template has no {QUESTION}");
            return Err(Error::new(ErrorKind::Option, what, "add it, or leave out the question"));
        }
        let (before, after) = template.split_once(SOURCES).unwrap_or((template, ""));
        let mut sources = String::new();
        let (mut parts, mut groups) = (Vec::new(), Vec::new());
        for (number, source) in input.sources.iter().enumerate() {
            if source.trim().is_empty() {
                let what = format!("source {} is empty", number + 1);
                return Err(Error::new(ErrorKind::Text, what, "leave it out"));
            }
            if number > 0 {
                sources.push_str(&self.separator);
            }
            let first = parts.len();
            for part in self.split.parts(source) {
                parts.push(sources.len()..sources.len() + part.len());
                sources.push_str(&part);
            }
            groups.push(first..parts.len());
        }
        // What is between two sources goes with the first.
        for at in 1..parts.len() {
            parts[at - 1].end = parts[at].start;
        }
        let text = format!("{}{sources}{}", before.replace(QUESTION, question), after.replace(QUESTION, question));
        Ok(Filled { text, sources, parts, groups })
    }
}

/// The tokens whose first visible character is in a part of a text.
pub(super) fn tokens_of(text: &str, tokens: &[Token], part: Range<usize>) -> Option<Range<usize>> {
    let is_inside = |token: &Token| begins_in(text, token, &part);
    Some(tokens.iter().position(is_inside)?..tokens.iter().rposition(is_inside)? + 1)
}

/// Whether the first visible character of a token is in a part of its text.
pub(crate) fn begins_in(text: &str, token: &Token, part: &Range<usize>) -> bool {
    !token.span.is_empty() && part.contains(&first_visible(text, token))
}

/// Where the first visible character of a token is; its start if there is none.
pub(crate) fn first_visible(text: &str, token: &Token) -> usize {
    let own = text.get(token.span.clone()).unwrap_or_default();
    token.span.start + own.find(|c: char| !c.is_whitespace()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_the_text_and_none_is_blank() {
        let text = "One. Two?\n\n\nThree.\nFour. ";
        for (split, parts) in [
            (Split::None, vec![text]),
            (Split::Paragraphs, vec!["One. Two?\n\n\n", "Three.\nFour. "]),
            (Split::Lines, vec!["One. Two?\n\n\n", "Three.\n", "Four. "]),
            (Split::Sentences, vec!["One. ", "Two?\n\n\n", "Three.\n", "Four. "]),
        ] {
            assert_eq!(split.parts(text), parts, "{}", split.name());
        }
        assert_eq!(Split::Lines.parts("\n\na\n"), ["\n\na\n"]);
    }
}
