//! What is selected, how, and what is shown of it.

use crate::chromium::Browser;

const PRESSED: &str = "[...document.querySelectorAll('.token[aria-pressed=true]')].map(e => e.textContent).join()";
const STATUS: &str = "document.querySelector('[role=status]').textContent";
const SHADING: &str = "[...document.querySelectorAll('.token')].map(e => getComputedStyle(e).backgroundColor).join()";

/// The selector of a token of the first pane.
fn token(side: &str, at: usize) -> String {
    format!("[aria-label='{side} tokens'] .token[data-at='{at}']")
}

/// Sets a control, as a person would.
fn set(browser: &mut Browser, selector: &str, value: &str) {
    browser.evaluate(&format!(
        "(() => {{ const s = document.querySelector('{selector}'); s.value = '{value}'; s.dispatchEvent(new Event('change')); }})()"
    ));
}

pub(crate) fn loads(browser: &mut Browser, url: &str) {
    browser.open(url);
    assert_eq!(browser.evaluate("document.title"), "Some texts");
    assert_eq!(browser.evaluate("document.querySelectorAll('section.text').length"), 1, "one text at a time");
    // Two step scores and deltas that are too small for a chart.
    assert_eq!(browser.evaluate("document.querySelectorAll('.row.score').length"), 2);
    assert_eq!(
        browser.evaluate("document.querySelector('section > .hint').textContent"),
        "Every delta is at most 0.0040."
    );
    // 8 source tokens, 10 target tokens that a step sees, and 2 section headers.
    assert_eq!(browser.evaluate("document.querySelector('.grid').getAttribute('aria-rowcount')"), "23");
    assert_eq!(browser.evaluate("document.querySelectorAll('.row.head .cell').length"), 10);
    assert_eq!(browser.evaluate(PRESSED), "Vor", "the most surprising step is selected");
    browser.screenshot("light.png");
}

pub(crate) fn chooses(browser: &mut Browser, url: &str) {
    browser.open(url);
    browser.click(&token("Target", 1));
    let before = browser.evaluate(SHADING);
    browser.click(&token("Target", 2));
    assert_eq!(browser.evaluate(PRESSED), "Vor");
    let chosen = browser.evaluate(SHADING);
    assert_ne!(chosen, before);
    assert_eq!(browser.evaluate(STATUS), "“Vor” was predicted from:");
    assert_eq!(browser.evaluate("document.querySelector('.detail li').textContent"), "chair1.00");
    assert_eq!(browser.evaluate("location.hash"), "#select=0.1");
    let last = browser.evaluate("document.querySelector('.detail li:last-child').textContent");
    assert!(last.as_str().unwrap().starts_with("</s>"), "special tokens are apart: {last}");

    // Hovering previews another token until the mouse leaves.
    browser.hover(&token("Target", 5));
    assert_eq!(browser.evaluate(PRESSED), "eröffnet");
    assert_ne!(browser.evaluate(SHADING), chosen);
    browser.hover("h1");
    assert_eq!(browser.evaluate(PRESSED), "Vor");

    // A source token shows the steps that it was used for.
    browser.click(&token("Source", 1));
    assert_eq!(browser.evaluate(STATUS), "“chair” was used to predict:");
    assert_eq!(browser.evaluate("document.querySelector('.detail li').textContent"), "Vor1.00");

    browser.click(".row.input .cell[data-step='3']");
    assert_eq!(browser.evaluate(PRESSED), "ende");
    browser.click(".row.score .cell[data-step='9']");
    assert_eq!(browser.evaluate(PRESSED), "</s>");
    browser.click(".row.input .name");
    assert_eq!(browser.evaluate(PRESSED), "The");
}

pub(crate) fn goes_by_keys(browser: &mut Browser, url: &str) {
    browser.open(&format!("{url}#select=0.0"));
    browser.evaluate("document.querySelector('.token.step').focus()");
    browser.press("ArrowRight");
    browser.press("ArrowRight");
    assert_eq!(browser.evaluate(PRESSED), "sitz");
    assert_eq!(browser.evaluate("document.activeElement.textContent"), "sitz");
    browser.press("End");
    assert_eq!(browser.evaluate(PRESSED), "</s>");
    browser.press("Escape");
    assert_eq!(browser.evaluate(PRESSED), "");
    assert_eq!(browser.evaluate(STATUS), "Choose a token to see what it was predicted from.");
    let tabbed =
        "[...document.querySelectorAll('.flow')].map(f => f.querySelectorAll('.token[tabindex=\"0\"]').length).join()";
    assert_eq!(browser.evaluate(tabbed), "1,1", "one tab stop in each text");
}

pub(crate) fn links(browser: &mut Browser, url: &str) {
    browser.open(&format!("{url}#select=0.3&scale=raw&view=0"));
    assert_eq!(browser.evaluate(PRESSED), "ende");
    assert_eq!(browser.evaluate("document.querySelector('#scale').value"), "raw");
    browser.open(&format!("{url}#select=0.s2"));
    assert_eq!(browser.evaluate(PRESSED), "man");
    browser.open(&format!("{url}#select=1"));
    assert_eq!(browser.evaluate(PRESSED), "shevs he", "a text without a selection shows its most surprising step");
    for nonsense in ["#select=9.9&scale=x&view=-1", "#select=0.99", "#select=__proto__.1", "#%", "#view=1e9"] {
        browser.open(&format!("{url}{nonsense}"));
        assert_eq!(browser.evaluate(PRESSED), "Vor", "{nonsense}");
    }
}

pub(crate) fn rescales(browser: &mut Browser, url: &str) {
    let first = "document.querySelector('.row.input .cell').textContent";
    browser.open(url);
    assert_eq!(browser.evaluate(first), "1.00");
    for (scale, expected) in [("share", "0.55"), ("raw", "0.84")] {
        set(browser, "#scale", scale);
        assert_eq!(browser.evaluate(first), expected, "{scale}");
    }
    // Raw scores: another head gives another picture.
    browser.open(&format!("{url}#select=2"));
    let row = "document.querySelector('.row.input').textContent";
    let mean = browser.evaluate(row);
    set(browser, ".view", "9");
    assert_ne!(browser.evaluate(row), mean);
    assert!(browser.evaluate("location.hash").as_str().unwrap().contains("view=9"));
    // Special tokens get their shading back.
    browser.open(&format!("{url}#select=3.2"));
    let shaded = "document.querySelectorAll('.token.special.shaded').length";
    assert_eq!(browser.evaluate(shaded), 0);
    assert_eq!(
        browser.evaluate("document.querySelector('.token.shaded').style.getPropertyValue('--share') > 0.5"),
        true
    );
    browser.click("#special");
    assert_eq!(browser.evaluate(shaded), 1);
}

pub(crate) fn colours_by_step_scores(browser: &mut Browser, url: &str) {
    browser.open(url);
    set(browser, "#colour", "probability");
    let shares = "[...document.querySelectorAll('.token.step')].map(e => Number(e.style.getPropertyValue('--share')).toFixed(2)).join()";
    assert_eq!(browser.evaluate(shares), "0.84,0.41,0.98,1.00,0.53,0.89,0.77,0.65,0.94,0.99");
    assert_eq!(browser.evaluate("document.querySelectorAll('.token.shaded:not(.step)').length"), 0);
    assert!(browser.evaluate("location.hash").as_str().unwrap().contains("colour=probability"));
}

pub(crate) fn shows_two_texts(browser: &mut Browser, url: &str) {
    browser.open(&format!("{url}#select=0.3"));
    browser.click("#beside");
    assert_eq!(browser.evaluate("document.querySelectorAll('section.text').length"), 2);
    assert_eq!(browser.evaluate(PRESSED), "ende,shevs he");
    assert_eq!(browser.evaluate("location.hash"), "#select=0.3&beside=1.0");
    browser.screenshot("two.png");
    browser.click("#beside");
    assert_eq!(browser.evaluate("document.querySelectorAll('section.text').length"), 1);
}

pub(crate) fn finds_texts(browser: &mut Browser, url: &str) {
    browser.open(url);
    browser.click(".texts > button:last-child");
    assert_eq!(browser.evaluate(PRESSED), "shevs he");
    browser.click(".chooser > summary");
    browser.evaluate("new Promise((done) => setTimeout(done, 100))");
    assert_eq!(browser.evaluate("document.querySelectorAll('.line').length"), 4);
    browser.evaluate("(() => { const f = document.querySelector('.menu input'); f.value = 'chairman'; f.dispatchEvent(new Event('input')); })()");
    assert_eq!(
        browser.evaluate("document.querySelector('.line').textContent"),
        "Text 0 The chairman opened the meeting."
    );
    browser.click(".line");
    assert_eq!(browser.evaluate(PRESSED), "Vor");
}

/// A copy is what the clipboard gets, and a drawing is a file that is offered.
pub(crate) fn exports(browser: &mut Browser, url: &str) {
    browser.open(url);
    browser.evaluate(
        "(() => { window.saved = []; const make = URL.createObjectURL; \
         URL.createObjectURL = (blob) => { window.saved.push(blob); return make(blob); }; \
         HTMLAnchorElement.prototype.click = function () { window.name_of_file = this.download; }; \
         Object.defineProperty(navigator, 'clipboard', { value: { writeText: async (text) => { window.copied = text; } } }); })()",
    );
    browser.click(".export button:nth-child(1)");
    let copied = browser.evaluate("window.copied");
    let lines: Vec<&str> = copied.as_str().unwrap().lines().collect();
    assert_eq!(lines.len(), 1 + 8 + 10);
    assert!(lines[0].starts_with("\tDer\tVor") && lines[1].starts_with("The\t1\t"), "{lines:?}");
    browser.click(".export button:nth-child(2)");
    let svg = browser.evaluate("window.saved[0].text()");
    let parsed = "window.saved[0].text().then((t) => new DOMParser().parseFromString(t, 'image/svg+xml').querySelector('parsererror') === null)";
    assert_eq!(browser.evaluate(parsed), true, "{svg}");
    assert!(svg.as_str().unwrap().contains("eröffnet"));
    browser.click(".export button:nth-child(3)");
    let size =
        "new Promise((done) => setTimeout(() => done([window.saved[1].type, window.saved[1].size > 10000]), 500))";
    assert_eq!(browser.evaluate(size), serde_json::json!(["image/png", true]));
    assert_eq!(browser.evaluate("window.name_of_file"), "heat-map.png");
}

pub(crate) fn shows_markup_as_text(browser: &mut Browser, url: &str) {
    browser.open(&format!("{url}#select=2.0"));
    assert_eq!(browser.evaluate("document.querySelectorAll('script').length"), 2);
    assert_eq!(browser.evaluate("document.querySelectorAll('.detail b').length"), 1, "the value of the one step score");
    let tokens = browser.evaluate("[...document.querySelectorAll('.token')].map(e => e.textContent)");
    assert_eq!(tokens[0], "<script>alert(1)</script>");
    assert_eq!(tokens[1], "\"quoted\" & 'single'");
    assert_eq!(tokens[2], "\\u{1b}[31m");
    assert_eq!(tokens[3], "日本語");
    assert_eq!(tokens[6], "</script><!--");
    // A text in another script reads as it was written.
    browser.open(&format!("{url}#select=3"));
    assert_eq!(browser.evaluate("document.querySelector('.flow').textContent"), "<s>مرحبا 日本␣😀</s>");
    // What is nearly zero does not look like zero.
    let values = browser.evaluate("document.querySelector('.detail .values').textContent");
    assert_eq!(values, "probability 3e-6delta 1e-16");
    assert_eq!(browser.evaluate("document.querySelectorAll('.row.score').length"), 1, "no chart of deltas of 1e-16");
    // The page's policy blocks anything that would run or load, and reports it.
    browser.evaluate("(() => { const s = document.createElement('script'); s.textContent = 'window.ran = 1'; document.body.append(s); })()");
    assert_eq!(browser.evaluate("window.ran === undefined"), true);
    assert!(browser.complaints.iter().any(|complaint| complaint.contains("Content Security Policy")));
    browser.complaints.clear();
}
