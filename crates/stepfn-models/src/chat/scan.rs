//! Reads a template's tags before the engine does: writes them as the engine knows them, and refuses what would use up its stack.
//!
//! The engine reads and runs expressions recursively. It limits how deep brackets and blocks lie in one another, but not how long a chain such as
//! `a.b.c…` is, nor how deep a value becomes that a template puts into itself again and again.

use core::fmt::Write;

/// The longest template, in bytes. Published ones have up to some ten thousand.
pub(super) const LONGEST: usize = 256 << 10;
/// Words and signs in one tag.
const MOST_TOKENS: usize = 1000;
/// Brackets in one another.
const MOST_BRACKETS: usize = 32;
/// Blocks in one another.
const MOST_BLOCKS: usize = 40;
/// `elif` in all: each lies within the one before.
const MOST_ELIFS: usize = 250;

/// The filter that marks what the model says, for `{% generation %}`.
pub(super) const GENERATION: &str = "_generation";
/// The filter that checks what is assigned to a variable.
pub(super) const FLAT: &str = "_flat";
/// The filter that checks what is put into a namespace.
pub(super) const KEPT: &str = "_kept";

/// The template as the engine reads it, with the same lines.
///
/// # Errors
/// What is wrong with it.
pub(super) fn scan(source: &str) -> Result<String, String> {
    if source.len() > LONGEST {
        return Err(format!("it has {} bytes, and at most {LONGEST} are read", source.len()));
    }
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let mut scan = Scan { out: String::with_capacity(source.len()), blocks: 0, elifs: 0 };
    let mut rest = source.as_str();
    while let Some(start) = next_tag(rest) {
        let (text, tag) = rest.split_at(start);
        scan.out.push_str(text);
        rest = match tag.as_bytes().get(1) {
            Some(b'#') => scan.comment(tag),
            Some(b'%') => scan.block(tag)?,
            _ => scan.variable(tag)?,
        };
    }
    scan.out.push_str(rest);
    Ok(scan.out)
}

fn next_tag(text: &str) -> Option<usize> {
    text.match_indices('{').map(|(at, _)| at).find(|at| {
        let next = text.as_bytes().get(at + 1);
        next.is_some_and(|next| b"{%#".contains(next))
    })
}

struct Scan {
    out: String,
    blocks: usize,
    elifs: usize,
}

/// A word, a number, a string or a sign of a tag.
struct Token<'a> {
    text: &'a str,
    at: usize,
    /// Brackets around it.
    level: usize,
}

impl Scan {
    fn comment<'a>(&mut self, tag: &'a str) -> &'a str {
        let end = tag.find("#}").map_or(tag.len(), |end| end + 2);
        let (comment, rest) = tag.split_at(end);
        self.out.push_str(comment);
        rest
    }

    fn variable<'a>(&mut self, tag: &'a str) -> Result<&'a str, String> {
        let (_, end) = tokens(tag, "}}")?;
        let (tag, rest) = tag.split_at(end.unwrap_or(tag.len()));
        self.out.push_str(tag);
        Ok(rest)
    }

    fn block<'a>(&mut self, tag: &'a str) -> Result<&'a str, String> {
        let (tokens, end) = tokens(tag, "%}")?;
        let Some(end) = end else {
            self.out.push_str(tag);
            return Ok("");
        };
        let (tag, rest) = tag.split_at(end);
        let words: Vec<&str> = tokens.iter().map(|token| token.text).collect();
        let open = &tag[..2 + usize::from(tag[2..].starts_with(['-', '+']))];
        let inner = &tag[..tag.len() - 2];
        let close = &tag[inner.len() - usize::from(inner.len() > open.len() && inner.ends_with(['-', '+']))..];
        match words.as_slice() {
            ["raw"] => return Ok(self.raw(tag, open, rest)),
            ["generation"] => {
                let _ = write!(self.out, "{open} with %}}{{% filter {GENERATION} {close}");
                self.blocks += 2;
            }
            ["endgeneration"] => {
                let _ = write!(self.out, "{open} endfilter %}}{{% endwith {close}");
                self.blocks = self.blocks.saturating_sub(2);
            }
            ["set", ..] => self.set(tag, &tokens, close),
            _ => self.out.push_str(tag),
        }
        match words.first().copied() {
            Some("if" | "for" | "macro" | "call" | "filter" | "with") => self.blocks += 1,
            Some("elif") => self.elifs += 1,
            Some(word) if word.starts_with("end") && word != "endgeneration" => {
                self.blocks = self.blocks.saturating_sub(1);
            }
            _ => {}
        }
        if self.blocks > MOST_BLOCKS {
            return Err(format!("it has more than {MOST_BLOCKS} blocks in one another"));
        }
        if self.elifs > MOST_ELIFS {
            return Err(format!("it has more than {MOST_ELIFS} `elif`"));
        }
        Ok(rest)
    }

    /// Lets a filter check the value of an assignment.
    fn set(&mut self, tag: &str, tokens: &[Token<'_>], close: &str) {
        match tokens.iter().find(|token| token.text == "=" && token.level == 0) {
            Some(equals) => {
                let (target, value) = tag[..tag.len() - close.len()].split_at(equals.at + 1);
                let filter = if target.contains('.') { KEPT } else { FLAT };
                let _ = write!(self.out, "{target} ({value})|{filter} {close}");
            }
            None => {
                // What such a block makes is a string.
                self.blocks += 1;
                self.out.push_str(tag);
            }
        }
    }

    /// A raw block. The line break after `{% raw %}` is part of it, which the engine must be told.
    fn raw<'a>(&mut self, tag: &str, open: &str, rest: &'a str) -> &'a str {
        let trims = tag.ends_with("-%}");
        let _ = write!(self.out, "{open} raw {}", if trims { "-%}" } else { "+%}" });
        let mut from = 0;
        let end = loop {
            let Some(found) = rest[from..].find("{%") else { break rest.len() };
            let start = from + found;
            let inside = rest[start + 2..].trim_start_matches(['-', '+']).trim_start();
            let after = inside.strip_prefix("endraw").map(str::trim_start);
            let closed = after.map(|after| after.trim_start_matches(['-', '+']));
            match closed.and_then(|closed| closed.strip_prefix("%}")) {
                Some(after) => break rest.len() - after.len(),
                None => from = start + 2,
            }
        };
        let (raw, rest) = rest.split_at(end);
        self.out.push_str(raw);
        rest
    }
}

/// The tokens of a tag, and where it ends, if it does.
fn tokens<'a>(tag: &'a str, close: &str) -> Result<(Vec<Token<'a>>, Option<usize>), String> {
    let bytes = tag.as_bytes();
    let mut tokens = Vec::new();
    let mut level = 0_usize;
    let mut at = 2 + usize::from(tag[2..].starts_with(['-', '+']));
    while let Some(&byte) = bytes.get(at) {
        let rest = &tag[at..];
        // A closing brace of an object is no end.
        if (rest.starts_with(close) && level == 0)
            || (matches!(byte, b'-' | b'+') && rest[1..].starts_with(close) && level == 0)
        {
            let sign = usize::from(!rest.starts_with(close));
            return Ok((tokens, Some(at + sign + 2)));
        }
        let length = match byte {
            b' ' | b'\t' | b'\n' => {
                at += 1;
                continue;
            }
            b'\'' | b'"' => string(bytes.get(at..).unwrap_or_default()),
            _ if byte.is_ascii_alphanumeric() || byte == b'_' => {
                rest.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count()
            }
            b'=' if rest.starts_with("==") => 2,
            b'!' | b'<' | b'>' if rest[1..].starts_with('=') => 2,
            _ => rest.chars().next().map_or(1, char::len_utf8),
        };
        if matches!(byte, b')' | b']' | b'}') {
            level = level.saturating_sub(1);
        }
        tokens.push(Token { text: tag.get(at..at + length).unwrap_or_default(), at, level });
        if matches!(byte, b'(' | b'[' | b'{') {
            level += 1;
        }
        if level > MOST_BRACKETS {
            return Err(format!("it has more than {MOST_BRACKETS} brackets in one another"));
        }
        if tokens.len() > MOST_TOKENS {
            return Err(format!("a tag in it has more than {MOST_TOKENS} words and signs"));
        }
        at += length;
    }
    Ok((tokens, None))
}

/// The length of a string, quotes included.
fn string(bytes: &[u8]) -> usize {
    let Some(quote) = bytes.first() else { return 0 };
    let mut at = 1;
    while let Some(byte) = bytes.get(at) {
        at += match byte {
            b'\\' => 2,
            byte if byte == quote => return at + 1,
            _ => 1,
        };
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_written_as_the_engine_knows_them() {
        for (template, read) in [
            ("a\r\nb\rc{{ '\r\n' }}", "a\nb\nc{{ '\n' }}"),
            (
                "{%- generation %}x{% endgeneration -%}",
                "{%- with %}{% filter _generation %}x{% endfilter %}{% endwith -%}",
            ),
            ("{% set a = b -%}", "{% set a = ( b )|_flat -%}"),
            ("{%set a.b='=%}'%}", "{%set a.b= ('=%}')|_kept %}"),
            ("{% set a = f(b=1) == 2 %}", "{% set a = ( f(b=1) == 2 )|_flat %}"),
            ("{% set a %}=1{% endset %}", "{% set a %}=1{% endset %}"),
            (
                "{% raw %}{% set a = 1 %}{%- endraw -%}{# {% raw %} #}",
                "{% raw +%}{% set a = 1 %}{%- endraw -%}{# {% raw %} #}",
            ),
            ("{{ {'a': {}}}}{% set", "{{ {'a': {}}}}{% set"),
        ] {
            assert_eq!(scan(template).as_deref(), Ok(read), "{template}");
        }
    }

    #[test]
    fn what_would_use_up_the_stack_is_refused() {
        let (chain, deep) = ([".a"; 600].concat(), "[".repeat(40));
        let (ifs, elifs) = ("{% if a %}".repeat(50), "{% elif a %}".repeat(300));
        for (template, says) in [
            (format!("{{{{ a{chain} }}}}"), "words and signs"),
            (format!("{{{{ {deep}"), "brackets"),
            (ifs, "blocks"),
            (elifs, "elif"),
            (" ".repeat(LONGEST + 1), "bytes"),
        ] {
            assert!(scan(&template).unwrap_err().contains(says), "{says}");
        }
    }
}
