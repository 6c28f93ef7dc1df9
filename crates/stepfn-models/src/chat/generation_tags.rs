//! `{% generation %}` and `{% endgeneration %}`: tags of the Python library around what the model wrote. They don't change the text, but
//! they are a scope, and white space around them is treated as around any tag.
//!
//! Also `{% raw %}`, after which Jinja in Python keeps a line break, and the engine doesn't.

/// Bytes that a tag may have besides strings and white space. Compiling one takes time that grows faster than its length.
const LONGEST_TAG: usize = 1 << 12;

/// Replaces the tags by those of a scope. None if a tag is too long.
pub(super) fn replace(source: &str) -> Option<String> {
    let mut replaced = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = next_opening(rest) {
        let (before, opening) = rest.split_at(at);
        replaced.push_str(before);
        let length = match opening.as_bytes().get(1) {
            Some(b'#') => opening.find("#}").map_or(opening.len(), |end| end + 2),
            Some(b'{') => tag_length(opening, "}}")?,
            _ => tag_length(opening, "%}")?,
        };
        let (tag, mut after) = opening.split_at(length);
        match word(tag) {
            Some("generation") => replaced.push_str(&tag.replacen("generation", "with", 1)),
            Some("endgeneration") => replaced.push_str(&tag.replacen("endgeneration", "endwith", 1)),
            Some("raw") => {
                let (raw, rest) = after.split_at(raw_length(after));
                replaced.push_str(&kept_line_break(tag));
                replaced.push_str(raw);
                after = rest;
            }
            _ => replaced.push_str(tag),
        }
        rest = after;
    }
    replaced.push_str(rest);
    Some(replaced)
}

fn next_opening(text: &str) -> Option<usize> {
    text.as_bytes().windows(2).position(|pair| matches!(pair, b"{%" | b"{{" | b"{#"))
}

/// The length of raw text, with the tag that ends it.
fn raw_length(text: &str) -> usize {
    let mut end = 0;
    while let Some(at) = text.get(end..).and_then(|rest| rest.find("{%")) {
        end += at + 2;
        let inside = text.get(end..).unwrap_or_default();
        let inside = inside.strip_prefix(['-', '+']).unwrap_or(inside).trim_start();
        if let Some(close) = inside.strip_prefix("endraw").and_then(|rest| rest.find("%}")) {
            return text.len() - inside.len() + "endraw".len() + close + 2;
        }
    }
    text.len()
}

/// A `raw` tag that keeps the line break after it, unless it says otherwise.
fn kept_line_break(tag: &str) -> String {
    match tag.strip_suffix("%}") {
        Some(tag) if !tag.ends_with(['-', '+']) => format!("{tag}+%}}"),
        _ => tag.to_owned(),
    }
}

/// The length of what ends with `close`, which doesn't count within strings. None if there is too much in it.
fn tag_length(opening: &str, close: &str) -> Option<usize> {
    let bytes = opening.as_bytes();
    let mut quote = None;
    let mut outside_strings = 0;
    let mut at = 2;
    while let Some(&byte) = bytes.get(at) {
        match quote {
            Some(_) if byte == b'\\' => at += 1,
            Some(open) if byte == open => quote = None,
            Some(_) => {}
            None if bytes.get(at..).is_some_and(|rest| rest.starts_with(close.as_bytes())) => {
                return Some(at + close.len());
            }
            None => {
                quote = matches!(byte, b'"' | b'\'').then_some(byte);
                outside_strings += usize::from(!byte.is_ascii_whitespace());
            }
        }
        if outside_strings > LONGEST_TAG {
            return None;
        }
        at += 1;
    }
    Some(bytes.len())
}

/// The word of a tag that has only one.
fn word(tag: &str) -> Option<&str> {
    let inside = tag.strip_prefix("{%")?.strip_suffix("%}")?;
    let inside = inside.strip_prefix(['-', '+']).unwrap_or(inside);
    Some(inside.strip_suffix(['-', '+']).unwrap_or(inside).trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_tags_are_replaced() {
        let cases = [
            ("a {%- generation -%} b {% endgeneration %} c", "a {%- with -%} b {% endwith %} c"),
            ("{%generation%}{%+ endgeneration\n%}", "{%with%}{%+ endwith\n%}"),
            ("{# {% generation %} #}{{ '{% generation %}' }}", "{# {% generation %} #}{{ '{% generation %}' }}"),
            (
                "{% raw %}{% generation %}{%- endraw %}{% generation %}",
                "{% raw +%}{% generation %}{%- endraw %}{% with %}",
            ),
            ("{{ '\\'}}{% generation %}' }}", "{{ '\\'}}{% generation %}' }}"),
            ("{% set generation = 1 %}{{ generation }}", "{% set generation = 1 %}{{ generation }}"),
            ("{% generation", "{% generation"),
            ("{%- raw -%} {%", "{%- raw -%} {%"),
            ("ä{", "ä{"),
        ];
        for (source, expected) in cases {
            assert_eq!(replace(source).as_deref(), Some(expected));
        }
        let long = "1".repeat(LONGEST_TAG + 1);
        assert_eq!(replace(&format!("{{{{ {long} }}}}")), None);
        assert_eq!(replace(&format!("{{% set x = {long} %}}")), None);
        assert!(replace(&format!("{{# {long} #}}{long}{{{{ '{long}' }}}}")).is_some());
    }
}
