//! The page of reliance on context: a click on a token of the output shades what it depends on.

use std::fs;

use stepfn_report::html::{Failures, render_reliance};

use crate::{Pages, samples};

pub(crate) fn shades_the_cues_of_a_token(pages: &mut Pages) {
    let page = pages.folder.join("reliance.html");
    fs::write(&page, render_reliance(&[("a b".to_owned(), &samples::reliance())], &Failures::default())).unwrap();
    let url = format!("file://{}", page.display());
    let browser = &mut pages.browser;
    for (width, theme) in [(1280, "light"), (390, "dark")] {
        browser.look(width, 900, theme);
        browser.open(&url);
        // The most dependent token is chosen at first.
        let chosen = "document.querySelector('button[aria-pressed=true]').textContent";
        assert_eq!(browser.evaluate(chosen), "-elles");
        let cues = "[...document.querySelectorAll('.cue')].map((cue) => cue.textContent).join()";
        assert_eq!(browser.evaluate(cues), "girls");
        assert!(browser.evaluate("document.querySelector('.hint').textContent").to_string().contains("prefers “-ils”"));
        browser.screenshot(&format!("reliance-{width}.png"));
        browser.click("button.token");
        assert_eq!(browser.evaluate(chosen), "Où");
        // All cues are alike, and reach their mean.
        assert_eq!(browser.evaluate("document.querySelectorAll('.cue').length"), 4);
        assert_eq!(browser.evaluate("location.hash"), "#select=a%20b.0");
        let overflows = "document.documentElement.scrollWidth > document.documentElement.clientWidth";
        assert_eq!(browser.evaluate(overflows), false, "{width}");
        assert_eq!(browser.evaluate("document.querySelector('#texts b') === null"), true, "markup is text");
        // The address leads to the token.
        browser.open("about:blank");
        browser.open(&format!("{url}#select=a%20b.0"));
        assert_eq!(browser.evaluate(chosen), "Où");
        assert_eq!(browser.complaints, Vec::<String>::new());
    }
    browser.look(1280, 900, "light");
}
