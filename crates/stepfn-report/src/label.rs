//! Tokens as labels: short, without surrounding spaces, and with invisible characters made visible.

use stepfn_models::tokenizer::Token;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// A token as a label. Special tokens that don't look special are wrapped in `⟨⟩`.
pub(crate) fn label(token: &Token) -> String {
    let text = visible(&token.surface);
    let looks_special = [('<', '>'), ('[', ']'), ('⟨', '⟩')]
        .iter()
        .any(|&(open, close)| text.starts_with(open) && text.ends_with(close));
    if token.special && !looks_special { format!("⟨{text}⟩") } else { text }
}

/// The label of a predicted token, plus its contrast if that differs.
pub(crate) fn label_of_step(token: &Token, contrast: Option<&Token>) -> String {
    match contrast {
        Some(other) if other.surface.trim() != token.surface.trim() => format!("{} vs {}", label(token), label(other)),
        _ => label(token),
    }
}

/// A surface by itself as a label.
pub(crate) fn label_of_surface(surface: &str) -> String {
    visible(surface)
}

/// Makes line breaks, lone spaces and control characters visible, so that none of them reaches a terminal.
fn visible(surface: &str) -> String {
    let trimmed = surface.trim_matches(' ');
    if trimmed.is_empty() {
        return if surface.is_empty() { "∅".to_owned() } else { "␣".repeat(surface.len()) };
    }
    let mut text = String::new();
    for character in trimmed.chars() {
        match character {
            '\n' => text.push('⏎'),
            '\t' => text.push('⇥'),
            _ if is_invisible(character) => text.extend(character.escape_unicode()),
            _ => text.push(character),
        }
    }
    text
}

/// A name or title on one line, without control characters.
pub(crate) fn plain(text: &str) -> String {
    visible(text)
}

/// Whether a character must not reach a terminal or a page as it is: a control character, one that changes the direction of text, or one that
/// has no width and doesn't belong between letters.
pub fn is_invisible(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200B}' | '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{2069}' | '\u{FEFF}')
}

/// The width of a text in terminal columns.
pub(crate) fn width(text: &str) -> usize {
    text.width()
}

/// A text cut to a number of columns, ending in `…` if it was cut.
pub(crate) fn clip(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut clipped = String::new();
    let mut used = 0;
    for character in text.chars() {
        used += character.width().unwrap_or(0);
        if used + 1 > columns {
            break;
        }
        clipped.push(character);
    }
    if columns > 0 {
        clipped.push('…');
    }
    clipped
}

/// A number of a row or table as text: two decimals, more if the largest is below 0.1, fewer if it is above 10; empty for NaN.
pub(crate) fn number(value: f32, max: f32) -> String {
    if value.is_nan() {
        return String::new();
    }
    if max >= 1e6 || (max > 0.0 && max < 1e-5) {
        return format!("{value:.1e}");
    }
    let magnitude = if max > 0.0 { max.log10().floor() as i32 } else { 0 };
    let decimals = if magnitude < 0 { 1 - magnitude } else { 2 - magnitude };
    let decimals = usize::try_from(decimals.clamp(0, 7)).unwrap_or(0);
    let text = format!("{value:.decimals$}");
    // Zero has no sign, nor do numbers that round to zero.
    match text.strip_prefix('-') {
        Some(digits) if digits.chars().all(|digit| matches!(digit, '0' | '.')) => digits.to_owned(),
        _ => text,
    }
}

/// A value of a step function as text: as [`number`], but what is not zero never looks like zero.
pub(crate) fn step_value(value: f32, max: f32) -> String {
    let text = number(value, max);
    let looks_like_zero = text.chars().all(|digit| matches!(digit, '0' | '.'));
    if looks_like_zero && value != 0.0 && !value.is_nan() { format!("{value:.0e}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(surface: &str, special: bool) -> Token {
        Token { id: 0, surface: surface.to_owned(), span: 0..0, special }
    }

    #[test]
    fn invisible_characters_are_shown() {
        for (surface, special, expected) in [
            (" cat", false, "cat"),
            ("  ", false, "␣␣"),
            ("", false, "∅"),
            ("\n\n", false, "⏎⏎"),
            ("a\u{1b}[31mb", false, "a\\u{1b}[31mb"),
            ("\u{202e}abc", false, "\\u{202e}abc"),
            ("</s>", true, "</s>"),
            ("eos", true, "⟨eos⟩"),
        ] {
            assert_eq!(label(&token(surface, special)), expected);
        }
    }

    #[test]
    fn labels_name_a_contrast_that_differs() {
        assert_eq!(label_of_step(&token(" he", false), Some(&token(" she", false))), "he vs she");
        assert_eq!(label_of_step(&token(" he", false), Some(&token("he", false))), "he");
        assert_eq!(label_of_step(&token(" he", false), None), "he");
    }

    #[test]
    fn wide_characters_count_twice() {
        assert_eq!(width("日本"), 4);
        assert_eq!(clip("日本語", 5), "日本…");
        assert_eq!(clip("日本語", 4), "日…");
        assert_eq!(clip("abc", 3), "abc");
        assert_eq!(clip("abc", 0), "");
    }

    #[test]
    fn the_largest_number_sets_the_decimals() {
        for (value, max, expected) in [
            (0.123_456, 1.0, "0.12"),
            (0.123_456, 0.5, "0.12"),
            (0.012_345, 0.05, "0.012"),
            (-0.000_1, 1.0, "0.00"),
            (12.34, 40.0, "12.3"),
            (1234.5, 5000.0, "1234"),
            (2e7, 2e7, "2.0e7"),
            (0.0, 0.0, "0.00"),
            (f32::NAN, 1.0, ""),
        ] {
            assert_eq!(number(value, max), expected, "{value} of {max}");
        }
    }
    #[test]
    fn values_that_are_not_zero_do_not_look_like_zero() {
        for (value, max, expected) in [
            (1e-4, 1.0, "1e-4"),
            (-2.4e-6, 0.9, "-2e-6"),
            (0.006, 1.0, "0.01"),
            (0.0, 1.0, "0.00"),
            (f32::NAN, 1.0, ""),
            (f32::INFINITY, 1.0, "inf"),
        ] {
            assert_eq!(step_value(value, max), expected, "{value} of {max}");
        }
    }
}
