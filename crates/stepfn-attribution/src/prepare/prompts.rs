//! Whether a text goes on where its prompt ends.

use stepfn_models::tokenizer::Token;

use super::wrong;
use crate::AttributionError;

/// Whether a text starts with its prompt, in letters.
pub(super) fn starts_with(text: &str, prompt: &str, which: &str) -> Result<(), AttributionError> {
    if text.starts_with(prompt) {
        return Ok(());
    }
    let same = text.char_indices().zip(prompt.chars()).find(|((_, ours), theirs)| ours != theirs);
    let parts = same.map_or(text.len().min(prompt.len()), |((at, _), _)| at);
    wrong(format!(
        "the {which} must start with its prompt, but after {} the prompt goes on with {} and the {which} with {}",
        quoted(&text[..parts], End::Last),
        quoted(&prompt[parts..], End::First),
        quoted(&text[parts..], End::First)
    ))
}

/// Whether a text starts with its prompt, in tokens.
pub(super) fn same_tokens(tokens: &[Token], prompt: &[Token], which: &str) -> Result<(), AttributionError> {
    let parts = prompt.iter().zip(tokens).position(|(ours, theirs)| ours.id != theirs.id);
    let Some(parts) = parts.or((prompt.len() > tokens.len()).then_some(tokens.len())) else { return Ok(()) };
    let surface =
        |tokens: &[Token]| tokens.get(parts).map_or("nothing".to_owned(), |token| quoted(&token.surface, End::First));
    wrong(format!(
        "the {which} must start with the tokens of its prompt, but token {parts} is {} in the prompt and {} in the {which}; end the prompt where \
         a token ends (often before a space, not after it)",
        surface(prompt),
        surface(tokens)
    ))
}

#[derive(Clone, Copy, PartialEq)]
enum End {
    First,
    Last,
}

/// The start or the end of a text, for an error.
fn quoted(text: &str, end: End) -> String {
    /// Enough characters to recognize the place.
    const LETTERS: usize = 24;
    let letters = text.chars().count();
    if letters <= LETTERS {
        return format!("{text:?}");
    }
    match end {
        End::First => format!("{:?}…", text.chars().take(LETTERS).collect::<String>()),
        End::Last => format!("…{:?}", text.chars().skip(letters - LETTERS).collect::<String>()),
    }
}
