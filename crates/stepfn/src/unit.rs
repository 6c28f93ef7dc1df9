//! What is hidden as one, and what is attributed as one.

use stepfn_attribution::{Prepared, SpanTarget};

/// What perturbation methods hide and show as one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Unit {
    /// Each token by itself.
    #[default]
    Tokens,
    /// The tokens of a word together.
    Words,
    /// The tokens of a sentence together.
    Sentences,
    /// The tokens of a line together.
    Lines,
    /// The tokens of each message of a chat together, with its markup.
    Messages,
    /// The tokens of each document together: of those that the text brings, or of parts between marks.
    Documents,
}

impl Unit {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Tokens, Self::Words, Self::Sentences, Self::Lines, Self::Messages, Self::Documents];

    /// Its name: `tokens`, `words`, `sentences`, `lines`, `messages` or `documents`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tokens => "tokens",
            Self::Words => "words",
            Self::Sentences => "sentences",
            Self::Lines => "lines",
            Self::Messages => "messages",
            Self::Documents => "documents",
        }
    }
}

/// What is attributed as one: each is a column of scores.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TargetUnit {
    /// Each token by itself.
    #[default]
    Token,
    /// The tokens of a word together.
    Word,
    /// The tokens of a sentence together.
    Sentence,
    /// All tokens that are asked about.
    Answer,
}

impl TargetUnit {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Token, Self::Word, Self::Sentence, Self::Answer];

    /// Its name: `token`, `word`, `sentence` or `answer`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Word => "word",
            Self::Sentence => "sentence",
            Self::Answer => "answer",
        }
    }

    /// The spans of a text; `None` for single tokens.
    pub(crate) fn spans(self, prepared: &Prepared) -> Option<SpanTarget> {
        match self {
            Self::Token => None,
            Self::Word => Some(SpanTarget::words(prepared)),
            Self::Sentence => Some(SpanTarget::sentences(prepared)),
            Self::Answer => Some(SpanTarget::answer(prepared)),
        }
    }
}
