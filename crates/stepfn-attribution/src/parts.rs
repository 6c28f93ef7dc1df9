//! Parts of a text whose scores are joined: where words are, and which tokens belong to them.

use core::ops::Range;

use stepfn_models::tokenizer::Token;
use unicode_segmentation::UnicodeSegmentation;

/// Words as whitespace separates them, in bytes: what `str::split_whitespace` yields.
pub fn whitespace_words(text: &str) -> Vec<Range<usize>> {
    let place = |word: &str| {
        let start = word.as_ptr().addr() - text.as_ptr().addr();
        start..start + word.len()
    };
    text.split_whitespace().map(place).collect()
}

/// Words by the Unicode standard's annex 29, in bytes: punctuation marks are words of their own, and whitespace belongs to none.
pub fn unicode_words(text: &str) -> Vec<Range<usize>> {
    let words = text.split_word_bound_indices().filter(|(_, word)| !word.trim().is_empty());
    words.map(|(start, word)| start..start + word.len()).collect()
}

/// Where given words are in a text, in bytes, one after the other from `from` on. Between two words there may be whitespace and punctuation, and
/// no letter or digit.
///
/// # Errors
/// The number of the first word that is not there.
pub fn given_words(text: &str, words: &[String], from: usize) -> Result<Vec<Range<usize>>, usize> {
    let mut at = from;
    let place = |(number, word): (usize, &String)| {
        let rest = text.get(at..).unwrap_or_default();
        let gap = rest.find(char::is_alphanumeric).unwrap_or(rest.len());
        // What is skipped has no letter, so the word begins in the gap or right behind it.
        let found = rest.find(word.as_str()).filter(|&found| found <= gap && !word.is_empty()).ok_or(number)?;
        let span = at + found..at + found + word.len();
        at = span.end;
        Ok(span)
    };
    words.iter().enumerate().map(place).collect()
}

/// The tokens of each part of a text. Parts are in bytes, in order, and don't overlap.
///
/// A token belongs to the part in which its first visible character is, and one without any to the part of what follows. Visible characters between two
/// parts belong to the one before, those in front of all parts but not before the byte `from` to the first. Tokens that are not in the text, as those that
/// the tokenizer adds, belong to none. A part in which no token begins has an empty range.
pub fn tokens_of_parts(text: &str, tokens: &[Token], parts: &[Range<usize>], from: usize) -> Vec<Range<usize>> {
    let mut found: Vec<Option<Range<usize>>> = vec![None; parts.len()];
    let end = parts.last().map_or(0, |last| last.end);
    for (position, token) in tokens.iter().enumerate().filter(|(_, token)| !token.span.is_empty()) {
        let rest = text.get(token.span.start..).unwrap_or_default();
        let visible = rest.find(|c: char| !c.is_whitespace()).map_or(end, |skipped| token.span.start + skipped);
        if visible < from {
            continue;
        }
        let part = parts.partition_point(|part| part.start <= visible).saturating_sub(1);
        if let Some(part) = found.get_mut(part) {
            part.get_or_insert(position..position).end = position + 1;
        }
    }
    found.into_iter().map(Option::unwrap_or_default).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;

    fn tokens(spans: &[(usize, usize)]) -> Vec<Token> {
        let token = |&(start, end): &(usize, usize)| Token {
            id: 0,
            surface: String::new(),
            span: start..end,
            special: start == end,
        };
        spans.iter().map(token).collect()
    }

    fn shown<'a>(text: &'a str, parts: &[Range<usize>]) -> Vec<&'a str> {
        parts.iter().map(|part| &text[part.clone()]).collect()
    }

    #[test]
    fn words_are_what_whitespace_or_the_standard_separates() {
        let text = " It's  late,\tshe said.";
        assert_eq!(shown(text, &whitespace_words(text)), ["It's", "late,", "she", "said."]);
        assert_eq!(shown(text, &unicode_words(text)), ["It's", "late", ",", "she", "said", "."]);
        assert!(whitespace_words(" \n").is_empty() && unicode_words("").is_empty());
    }

    #[test]
    fn given_words_follow_each_other() {
        let find = |text: &str, words: &[&str]| {
            let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
            given_words(text, &words, 0).map(|parts| shown(text, &parts).join("|"))
        };
        assert_eq!(find("\"Don't go,\" he said.", &["Do", "n't", "go", "he", "said."]).unwrap(), "Do|n't|go|he|said.");
        assert_eq!(
            find("a cat and a dog", &["a", "cat", "a", "dog"]),
            Err(3),
            "the third is found in `and`, then nothing fits"
        );
        assert_eq!(find("a cat", &["cat"]), Err(0), "no word is left out");
        assert_eq!(find("a cat", &["a", ""]), Err(1));
        assert_eq!(find("a-b", &["a", "-", "b"]).unwrap(), "a|-|b");
    }

    #[test]
    fn tokens_belong_to_where_they_begin() {
        let text = "The cat, sat";
        let words = whitespace_words(text);
        // <s> The| cat|,| |sat</s>
        let all = tokens(&[(0, 0), (0, 3), (3, 7), (7, 8), (8, 9), (9, 12), (12, 12)]);
        assert_eq!(tokens_of_parts(text, &all, &words, 0), [1..2, 2..4, 4..6]);
        // A token over a boundary, and a word in which none begins.
        let all = tokens(&[(0, 5), (5, 12)]);
        assert_eq!(tokens_of_parts(text, &all, &words, 0), [0..1, 1..2, 0..0]);
        // What is between regions belongs to the one before, and what is before them to the first.
        let all = tokens(&[(0, 3), (3, 7), (7, 8), (8, 12)]);
        assert_eq!(tokens_of_parts(text, &all, core::slice::from_ref(&(4..7)), 0).first(), Some(&(0..4)));
        // A prompt is in none.
        assert_eq!(tokens_of_parts(text, &all, core::slice::from_ref(&(4..7)), 3).first(), Some(&(1..4)));
        assert!(tokens_of_parts(text, &all, &[], 0).is_empty());
    }
}
