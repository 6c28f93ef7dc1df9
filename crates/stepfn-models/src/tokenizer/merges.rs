//! `merges.txt`: the pairs of tokens that become one, a line each.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Map, Value};

use super::file_error;
use super::published::contents;
use crate::ModelError;

/// The merges of a byte-level vocabulary. Tokens in `added` are made by none.
///
/// # Errors
/// [`ModelError::File`] for a line that is no pair of tokens, and if the file was cut short.
pub(super) fn read_merges(
    path: &Path,
    vocab: &Map<String, Value>,
    added: &BTreeSet<&str>,
) -> Result<Vec<String>, ModelError> {
    let text = text_of(path)?;
    // The first line of the published files is their version.
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.starts_with("#version") && !line.is_empty());
    let mut pairs = Vec::new();
    for (number, line) in lines {
        let wrong = |what: String| file_error(path, format!("line {number}: {what}"));
        let (one, other) = line.split_once(' ').ok_or_else(|| wrong("expected two tokens".to_owned()))?;
        let merged = format!("{one}{other}");
        if let Some(unknown) = [one, other, &merged].into_iter().find(|token| !vocab.contains_key(*token)) {
            return Err(wrong(format!("vocab.json has no {unknown:?}")));
        }
        pairs.push((one, other));
    }
    let tokens = vocab.keys().map(String::as_str).filter(|token| !added.contains(token));
    check_merges(tokens, pairs.iter().copied(), text.ends_with('\n')).map_err(|what| file_error(path, what))?;
    Ok(pairs.into_iter().map(|(one, other)| format!("{one} {other}")).collect())
}

/// The text of a file, without a byte order mark.
pub(super) fn text_of(path: &Path) -> Result<String, ModelError> {
    let text = String::from_utf8(contents(path)?);
    let text = text.map_err(|error| file_error(path, format!("this is no text in UTF-8: {}", error.utf8_error())))?;
    Ok(text.strip_prefix('\u{FEFF}').map(str::to_owned).unwrap_or(text))
}

/// Checks that the merges make the tokens that only merges can make: a file that was cut short reads like a whole one.
fn check_merges<'a>(
    tokens: impl Iterator<Item = &'a str>,
    merges: impl Iterator<Item = (&'a str, &'a str)>,
    ends_with_line: bool,
) -> Result<(), String> {
    let merged: BTreeSet<String> = merges.map(|(one, other)| format!("{one}{other}")).collect();
    let tokens: BTreeSet<&str> = tokens.collect();
    let is_whole = |token: &&str| {
        // Nothing makes such a token: it was added by hand.
        let mut cuts = token.char_indices().skip(1).map(|(at, _)| token.split_at(at));
        merged.contains(*token) || !cuts.any(|(one, other)| tokens.contains(one) && tokens.contains(other))
    };
    let missing: Vec<&&str> = tokens.iter().filter(|token| !is_whole(token)).collect();
    // A few tokens that were added by hand look like others.
    let most = if ends_with_line { merged.len() / 1000 } else { 0 };
    match missing.first() {
        None => Ok(()),
        Some(_) if !merged.is_empty() && missing.len() <= most => Ok(()),
        Some(first) => {
            let (has, count) = (merged.len(), missing.len());
            Err(format!(
                "not all is there: it has {has} merges, and {count} tokens of vocab.json that only merges make, such as {first:?}, are made by \
                 none; was the download interrupted?"
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_cut_short_is_not_read_as_if_it_were_whole() {
        let tokens = ["a", "b", "c", "ab", "abc", "<pad>"];
        let check = |merges: &[(&'static str, &'static str)], ends_with_line| {
            check_merges(tokens.into_iter(), merges.iter().copied(), ends_with_line)
        };
        let whole = [("a", "b"), ("ab", "c")];
        assert_eq!(check(&whole, true), Ok(()));
        assert_eq!(check(&whole, false), Ok(()));
        assert!(check(&whole[..1], true).unwrap_err().contains("it has 1 merges, and 1 tokens of vocab.json"));
        assert!(check(&[], true).unwrap_err().contains("it has 0 merges"));
        // Of letters alone, nothing is made.
        assert_eq!(check_merges(["a", "b"].into_iter(), core::iter::empty(), true), Ok(()));
        // One of a thousand may have been added by hand, unless the last line has no end.
        let names: Vec<String> =
            (0..2000).map(|at| format!("a{}", "b".repeat(at))).chain(["b".to_owned(), "bb".to_owned()]).collect();
        let merges = || names[..1999].iter().map(|name| (name.as_str(), "b"));
        assert_eq!(check_merges(names.iter().map(String::as_str), merges(), true), Ok(()));
        assert!(check_merges(names.iter().map(String::as_str), merges(), false).is_err());
    }
}
