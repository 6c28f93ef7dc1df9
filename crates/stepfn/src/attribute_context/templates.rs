//! Templates with `{context}` and `{current}`, and the way back: where a text that the model wrote is divided into the two.

use core::ops::Range;

use crate::{Error, ErrorKind, Result};

/// Where the context of a template goes.
pub(super) const CONTEXT: &str = "{context}";
/// Where its current text goes.
pub(super) const CURRENT: &str = "{current}";
/// The template without a context.
pub(super) const WITHOUT: &str = CURRENT;
/// The template with one.
pub(super) const WITH: &str = "{context} {current}";

/// A template with both parts in place, and where they are, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Filled {
    pub(super) text: String,
    pub(super) context: Option<Range<usize>>,
    pub(super) current: Range<usize>,
}

impl Filled {
    /// The same behind `bytes` others.
    fn moved(self, bytes: usize, text: String) -> Self {
        let moved = |span: Range<usize>| span.start + bytes..span.end + bytes;
        Self { text, context: self.context.map(moved), current: moved(self.current) }
    }
}

/// Checks that a template has a place for the current text, and at most one for the context, which comes first where `in_order` says so.
pub(super) fn check(name: &str, template: &str, has_context: bool, in_order: bool) -> Result<()> {
    let wrong = |what: String, hint: &str| Err(Error::new(ErrorKind::Option, what, hint));
    if template.matches(CURRENT).count() != 1 {
        let what = format!("the {name} needs {CURRENT} once, where the current text goes");
        return wrong(what, "such as '{context} {current}', or '{current}' without a context");
    }
    match template.matches(CONTEXT).count() {
        1 if !has_context => {
            let what = format!("the {name} has {CONTEXT}, and there is none");
            wrong(what, "use {current} alone")
        }
        0 | 1 => match (in_order, template.find(CONTEXT)) {
            (true, Some(at)) if template.find(CURRENT) < Some(at) => wrong(
                format!("{CURRENT} is before {CONTEXT} in the {name}"),
                "put the context first: it is written first",
            ),
            _ => Ok(()),
        },
        _ => wrong(format!("the {name} has {CONTEXT} more than once"), "leave one of them"),
    }
}

/// Puts the parts into a checked template.
pub(super) fn fill(template: &str, current: &str, context: Option<&str>) -> Filled {
    let mut filled = Filled { text: String::new(), context: None, current: 0..0 };
    let mut rest = template;
    while !rest.is_empty() {
        let context_at = rest.find(CONTEXT).filter(|_| context.is_some());
        let current_at = rest.find(CURRENT);
        let (at, place, value) = match (context_at, current_at) {
            (Some(at), other) if other.is_none_or(|other| at < other) => (at, CONTEXT, context.unwrap_or_default()),
            (_, Some(at)) => (at, CURRENT, current),
            _ => break,
        };
        filled.text.push_str(&rest[..at]);
        let span = filled.text.len()..filled.text.len() + value.len();
        filled.text.push_str(value);
        if place == CONTEXT {
            filled.context = Some(span)
        } else {
            filled.current = span
        }
        rest = &rest[at + place.len()..];
    }
    filled.text.push_str(rest);
    filled
}

/// A causal model's input and what it writes: with the separator between them, unless one of them has it already. Where the second begins.
pub(super) fn joined(input: &str, output: &str, separator: &str) -> (String, usize) {
    let between = if input.ends_with(separator) || output.starts_with(separator) { "" } else { separator };
    (format!("{input}{between}{output}"), input.len() + between.len())
}

/// A filled output template behind its input.
pub(super) fn behind(input: &str, output: Filled, separator: &str) -> Filled {
    let (text, start) = joined(input, &output.text, separator);
    output.moved(start, text)
}

/// What an output begins with before the model writes: the template up to its first part that is not known.
pub(super) fn beginning(template: &str, context: Option<&str>) -> String {
    match context {
        Some(context) => fill(template.split(CURRENT).next().unwrap_or_default(), "", Some(context)).text,
        None => {
            let end = [CONTEXT, CURRENT].into_iter().filter_map(|place| template.find(place)).min();
            template[..end.unwrap_or(template.len())].to_owned()
        }
    }
}

/// What a template has between its two parts.
pub(super) fn between(template: &str) -> &str {
    let after = template.split_once(CONTEXT).map_or(template, |(_, after)| after);
    after.split(CURRENT).next().unwrap_or_default()
}

/// What a template has after its current text.
pub(super) fn ending(template: &str) -> &str {
    template.split_once(CURRENT).map_or("", |(_, after)| after)
}

/// Where a written text is divided into its context and its current text: by the separator if it is there once, or else by a run of spaces and
/// punctuation if there are two parts only. The end of the one and the start of the other.
pub(super) fn divided(written: &str, separator: &str) -> Option<(usize, usize)> {
    let is_divider = |c: char| c.is_whitespace() || ".?!,;:)]}".contains(c);
    if !separator.is_empty() && written.matches(separator).count() == 1 {
        let at = written.find(separator).filter(|&at| at > 0 && at + separator.len() < written.len());
        if let Some(at) = at {
            return Some((at, at + separator.len()));
        }
    }
    let mut parts = written.split(is_divider).filter(|part| !part.is_empty());
    let (Some(_), Some(second), None) = (parts.next(), parts.next(), parts.next()) else { return None };
    let start = written.rfind(second)?;
    Some((written[..start].trim_end().len(), start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_where_the_template_puts_them() {
        let filled = fill("<u>{context}\n{current}</u>", "Who?", Some("She left."));
        assert_eq!(filled.text, "<u>She left.\nWho?</u>");
        assert_eq!((filled.context, filled.current), (Some(3..12), 13..17));
        let turned = fill("{current} <brk> {context}", "b", Some("a {current}"));
        assert_eq!((turned.text.as_str(), turned.context), ("b <brk> a {current}", Some(8..19)));
        assert_eq!(fill("{context}{current}", "b", None).text, "{context}b", "it is not replaced by nothing");
        assert_eq!(fill("{current}", "{context}", Some("a")).text, "{context}");
    }

    #[test]
    fn a_separator_is_there_once() {
        for (input, output, text, start) in
            [("a", "b", "a b", 2), ("a ", "b", "a b", 2), ("a", " b", "a b", 1), ("a", "", "a ", 2)]
        {
            assert_eq!(joined(input, output, " "), (text.to_owned(), start));
        }
        assert_eq!(joined("a", "b", ""), ("ab".to_owned(), 1));
        let filled = behind("a", fill("{context} {current}", "c", Some("b")), "\n");
        assert_eq!(filled, Filled { text: "a\nb c".to_owned(), context: Some(2..3), current: 4..5 });
    }

    #[test]
    fn the_parts_of_a_template_around_what_is_written() {
        assert_eq!(beginning("A {context} B {current}C", Some("x")), "A x B ");
        assert_eq!(beginning("A {context} B {current}C", None), "A ");
        assert_eq!(beginning("{current}", None), "");
        assert_eq!((between("A{context} B {current}C"), ending("A{context} B {current}C")), (" B ", "C"));
        assert_eq!((between("{current}"), ending("{current}")), ("", ""));
    }

    #[test]
    fn written_texts_are_divided_where_that_is_plain() {
        let divide = |written: &'static str, separator| {
            divided(written, separator).map(|(end, start)| (&written[..end], &written[start..]))
        };
        assert_eq!(divide("Elles sont là.<brk>Où?", "<brk>"), Some(("Elles sont là.", "Où?")));
        assert_eq!(divide("One two", " "), Some(("One", "two")));
        assert_eq!(divide("Là?  Ici.", "<brk>"), Some(("Là?", "Ici.")));
        for (written, separator) in [("a b c", " "), ("<brk>a b c", "<brk>"), ("", " "), ("word", ""), ("a, b, c", "|")]
        {
            assert_eq!(divide(written, separator), None, "{written}");
        }
    }

    #[test]
    fn templates_are_checked() {
        let wrong = |template, has_context, in_order| {
            check("input template", template, has_context, in_order).unwrap_err().what().to_owned()
        };
        assert!(
            check("input template", WITH, true, true).is_ok() && check("input template", WITHOUT, false, true).is_ok()
        );
        assert!(wrong("{context}", true, false).contains("{current} once"));
        assert!(wrong("{current} {current}", true, false).contains("{current} once"));
        assert!(wrong(WITH, false, false).contains("has {context}, and there is none"));
        assert!(wrong("{context} {context} {current}", true, false).contains("more than once"));
        assert!(wrong("{current} {context}", true, true).contains("{current} is before {context}"));
    }
}
