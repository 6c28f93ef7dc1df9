//! Strings, as Python treats them.

/// What Python's strings count as whitespace.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// The ends of a text that something is cut off.
#[derive(Clone, Copy)]
pub(super) struct Ends {
    start: bool,
    end: bool,
}

impl Ends {
    pub(super) const BOTH: Self = Self { start: true, end: true };
    pub(super) const START: Self = Self { start: true, end: false };
    pub(super) const END: Self = Self { start: false, end: true };
}

/// A text without signs at its ends; without whitespace by default.
pub(super) fn strip<'a>(text: &'a str, signs: Option<&str>, ends: Ends) -> &'a str {
    let is_cut = |c: char| signs.map_or_else(|| is_space(c), |signs| signs.contains(c));
    let text = if ends.start { text.trim_start_matches(is_cut) } else { text };
    if ends.end { text.trim_end_matches(is_cut) } else { text }
}

/// Parts between separators, or between any whitespace; at most one more than `most`, counted from the end if so wished.
pub(super) fn split<'a>(text: &'a str, separator: Option<&str>, most: Option<usize>, from_end: bool) -> Vec<&'a str> {
    let most = most.unwrap_or(usize::MAX).saturating_add(1);
    match separator {
        Some(separator) if from_end => {
            let mut parts: Vec<&str> = text.rsplitn(most, separator).collect();
            parts.reverse();
            parts
        }
        Some(separator) => text.splitn(most, separator).collect(),
        None => {
            let mut parts = Vec::new();
            let mut rest = strip(text, None, if from_end { Ends::END } else { Ends::START });
            while !rest.is_empty() {
                let gap = if from_end { rest.rfind(is_space) } else { rest.find(is_space) };
                let (Some(gap), true) = (gap, parts.len() + 1 < most) else {
                    parts.push(rest);
                    break;
                };
                let after = gap + rest.get(gap..).and_then(|rest| rest.chars().next()).map_or(1, char::len_utf8);
                let (left, right) = (rest.get(..gap).unwrap_or_default(), rest.get(after..).unwrap_or_default());
                if from_end {
                    parts.push(right);
                    rest = strip(left, None, Ends::END);
                } else {
                    parts.push(left);
                    rest = strip(right, None, Ends::START);
                }
            }
            if from_end {
                parts.reverse();
            }
            parts
        }
    }
}

/// The lines of a text, by any line break that Unicode has.
pub(super) fn lines(text: &str, keep_ends: bool) -> Vec<&str> {
    let is_end = |c: char| matches!(c, '\n'..='\r' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}');
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some(end) = rest.find(is_end) {
        let tail = rest.get(end..).unwrap_or_default();
        let length = if tail.starts_with("\r\n") { 2 } else { tail.chars().next().map_or(1, char::len_utf8) };
        lines.push(rest.get(..if keep_ends { end + length } else { end }).unwrap_or_default());
        rest = tail.get(length..).unwrap_or_default();
    }
    if !rest.is_empty() {
        lines.push(rest);
    }
    lines
}

/// Each run of letters with its first one in upper case.
pub(super) fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut inside = false;
    for c in text.chars() {
        if inside {
            out.extend(c.to_lowercase());
        } else {
            out.extend(titled(c));
        }
        inside = c.is_lowercase() || c.is_uppercase();
    }
    out
}

/// A letter at the start of a word: of several letters, only the first is in upper case.
fn titled(c: char) -> impl Iterator<Item = char> {
    let mut upper = c.to_uppercase();
    upper.next().into_iter().chain(upper.flat_map(char::to_lowercase))
}

/// The first letter in upper case, and all others in lower case.
pub(super) fn capitalize(text: &str) -> String {
    let mut rest = text.chars();
    let first = rest.next().into_iter().flat_map(titled);
    first.chain(rest.as_str().to_lowercase().chars()).collect()
}

/// Upper case for lower case, and the reverse.
pub(super) fn swap_case(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_uppercase() {
            out.extend(c.to_lowercase());
        } else {
            out.extend(c.to_uppercase());
        }
    }
    out
}

/// A text made longer by so many signs, as a method of Python does.
pub(super) fn padded(text: &str, method: &str, missing: usize, fill: char) -> String {
    let some = |count: usize, fill: char| core::iter::repeat_n(fill, count).collect::<String>();
    match method {
        "ljust" => format!("{text}{}", some(missing, fill)),
        "rjust" => format!("{}{text}", some(missing, fill)),
        "zfill" => {
            let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
            let sign = text.strip_suffix(digits).unwrap_or_default();
            format!("{sign}{}{digits}", some(missing, '0'))
        }
        _ => {
            // Python puts the odd one to the left of a text with an odd width.
            let left = missing / 2 + (missing & (text.chars().count() + missing) & 1);
            format!("{}{text}{}", some(left, fill), some(missing - left, fill))
        }
    }
}

/// Lines behind some sign or other, the first one and empty ones only if so wished, as Jinja's filter `indent` writes them.
pub(super) fn indent(text: &str, indention: &str, first: bool, blank: bool) -> String {
    let text = format!("{text}\n");
    let mut out = String::new();
    for (i, line) in lines(&text, false).into_iter().enumerate() {
        if i > 0 {
            out.push('\n');
        }
        let is_indented = if i > 0 { blank || !line.is_empty() } else { first };
        if is_indented {
            out.push_str(indention);
        }
        out.push_str(line);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_split_as_python_splits_them() {
        for (text, separator, most, from_end, parts) in [
            (" a  b c ", None, None, false, vec!["a", "b", "c"]),
            (" a  b  c ", None, Some(1), false, vec!["a", "b  c "]),
            (" a  b  c ", None, Some(1), true, vec![" a  b", "c"]),
            ("a  b", Some(" "), None, false, vec!["a", "", "b"]),
            ("a b c", Some(" "), Some(1), true, vec!["a b", "c"]),
            ("", Some("x"), None, false, vec![""]),
            ("  ", None, None, false, vec![]),
            (" a ", None, Some(0), false, vec!["a "]),
        ] {
            assert_eq!(split(text, separator, most, from_end), parts, "{text:?}");
        }
        assert_eq!(lines("a\r\nb\n\nc\u{2028}", false), ["a", "b", "", "c"]);
        assert_eq!(lines("a\nb", true), ["a\n", "b"]);
    }
}
