//! Messages of parsers in the words of people who write files, without the names that types have in the program.

/// How parsers say what they expect by the name of a type that follows, and what to say instead.
const NAMED: [(&str, &str); 8] = [
    ("expected internally tagged enum ", "expected an object"),
    ("expected adjacently tagged enum ", "expected an object"),
    ("expected tuple struct ", "expected a list"),
    ("expected newtype struct ", "expected another value"),
    ("expected unit struct ", "expected null"),
    ("expected struct ", "expected an object"),
    ("expected enum ", "expected one of the known names"),
    ("data did not match any variant of untagged enum ", "this is of no known kind"),
];

/// The same of types that all programs have.
const KNOWN: [(&str, &str); 14] = [
    ("expected u8", "expected a whole number, 0 or greater"),
    ("expected u16", "expected a whole number, 0 or greater"),
    ("expected u32", "expected a whole number, 0 or greater"),
    ("expected u64", "expected a whole number, 0 or greater"),
    ("expected usize", "expected a whole number, 0 or greater"),
    ("expected i32", "expected a whole number"),
    ("expected i64", "expected a whole number"),
    ("expected isize", "expected a whole number"),
    ("expected f32", "expected a number"),
    ("expected f64", "expected a number"),
    ("expected a sequence", "expected a list"),
    ("expected a map", "expected an object"),
    ("invalid type: sequence", "invalid type: a list"),
    ("invalid type: map", "invalid type: an object"),
];

/// The message of a parser without names of types: `expected struct Point` is `expected an object`.
pub fn plain_words(message: &str) -> String {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut text = message.to_owned();
    for (theirs, plain) in NAMED {
        while let Some((before, rest)) = text.split_once(theirs) {
            text = format!("{before}{plain}{}", rest.trim_start_matches(is_of_name));
        }
    }
    for (theirs, plain) in KNOWN {
        let places: Vec<usize> = text.match_indices(theirs).map(|(at, _)| at).collect();
        for at in places.into_iter().rev() {
            let end = at + theirs.len();
            if !text[end..].starts_with(is_of_name) {
                text.replace_range(at..end, plain);
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_of_the_program_are_not_named() {
        for (theirs, plain) in [
            (
                "invalid type: map, expected struct Point at line 1",
                "invalid type: an object, expected an object at line 1",
            ),
            ("expected u8, found `x`", "expected a whole number, 0 or greater, found `x`"),
            ("expected u64", "expected a whole number, 0 or greater"),
            ("expected u8x", "expected u8x"),
            ("expected tuple struct Pair with 2 elements", "expected a list with 2 elements"),
            ("data did not match any variant of untagged enum Wrapper", "this is of no known kind"),
            ("missing field `id`", "missing field `id`"),
        ] {
            assert_eq!(plain_words(theirs), plain);
        }
    }
}
