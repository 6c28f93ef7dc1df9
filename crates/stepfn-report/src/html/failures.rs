//! Texts that are not on a page because they failed.

use crate::svg::escaped;

/// Texts that failed: how many, and why the first of them did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Failures {
    count: usize,
    /// The text's id, and what is wrong with it.
    first: Vec<(String, String)>,
}

impl Failures {
    /// Texts that are named; of the others, there is the number.
    const MOST: usize = 20;

    /// Adds a text.
    pub fn add(&mut self, id: &str, what: &str) {
        self.count += 1;
        if self.first.len() < Self::MOST {
            self.first.push((shortened(id), shortened(what)));
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// What a page of so many others says of them; empty if there are none.
    pub(super) fn note(&self, others: usize) -> String {
        if self.count == 0 {
            return String::new();
        }
        let line = |(id, what): &(String, String)| format!("<li><bdi>{}</bdi>: {}</li>\n", escaped(id), escaped(what));
        let lines: String = self.first.iter().map(line).collect();
        let more = match self.count - self.first.len() {
            0 => String::new(),
            more => format!("<li>and {more} more</li>\n"),
        };
        let all = self.count + others;
        format!(
            "<details class=\"note\">\n<summary>{} of {all} texts failed</summary>\n<ul>\n{lines}{more}</ul>\n</details>\n",
            self.count
        )
    }
}

fn shortened(text: &str) -> String {
    const LONGEST: usize = 400;
    if text.chars().count() <= LONGEST { text.to_owned() } else { text.chars().take(LONGEST).chain(['…']).collect() }
}

#[cfg(test)]
mod tests {
    use super::super::{HtmlOptions, PageText, render};
    use super::*;
    use crate::samples;

    #[test]
    fn a_page_says_which_texts_are_not_on_it_and_why() {
        let translation = samples::translation();
        let page = |failed: Failures| render(&[PageText::single(&translation)], &HtmlOptions { failed, title: None });
        assert!(!page(Failures::default()).contains("failed</summary>"));
        let mut failed = Failures::default();
        failed.add("<b>", "the text is <empty>");
        let one = page(failed.clone());
        assert!(one.contains("<summary>1 of 2 texts failed</summary>"));
        assert!(one.contains("<li><bdi>&lt;b&gt;</bdi>: the text is &lt;empty&gt;</li>"));
        (0..1_000_000).for_each(|_| failed.add("x", &"y".repeat(500)));
        let many = page(failed);
        assert!(many.contains("1000001 of 1000002 texts failed") && many.contains("<li>and 999981 more</li>"));
        assert!(many.len() < one.len() + 20 * 600);
        let none = render(&[], &HtmlOptions::default());
        assert!(none.contains("<p class=\"note\">There is no text.</p>"));
    }
}
