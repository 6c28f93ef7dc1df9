//! The HTML page in headless Chromium. `STEPFN_SCREENSHOTS=folder` saves screenshots.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that can't continue should fail")]

mod chromium;
mod samples;

use std::fs;
use std::path::Path;

use chromium::Browser;
use stepfn_attribution::{Attribution, Scores};
use stepfn_models::tokenizer::Token;
use stepfn_report::html::{HtmlOptions, render};
use stepfn_report::svg::{self, SvgOptions};

#[test]
fn the_page_in_a_browser() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("browser-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    if let Some(mut browser) = Browser::start(&folder) {
        let page = folder.join("page.html");
        let texts = [samples::translation(), samples::prompt(), samples::hostile()];
        fs::write(&page, render(&texts, &HtmlOptions { title: Some("Three texts".to_owned()) })).unwrap();
        let url = format!("file://{}", page.display());
        browser.look(1280, 900, "light");
        let checks: [fn(&mut Browser, &str); 8] =
            [loads, chooses, goes_by_keys, links, rescales, shows_markup_as_text, reads_well, fits_a_phone];
        for check in checks {
            check(&mut browser, &url);
            assert_eq!(browser.complaints, Vec::<String>::new());
        }
        opens_large_tables_on_demand(&mut browser, &folder);
        for (number, text) in texts.iter().enumerate() {
            draws_svg(&mut browser, &folder, number, &svg::render(text, &SvgOptions::default()));
        }
    }
    fs::remove_dir_all(&folder).unwrap();
}

const PRESSED: &str = "[...document.querySelectorAll('#text-0 [aria-pressed=true]')].map(e => e.textContent).join()";
const STATUS: &str = "document.querySelector('#text-0 [role=status]').textContent";

/// The selector of a token button of the first text.
fn token(side: usize, at: usize) -> String {
    format!("#text-0 .flow:nth-of-type({}) .token:nth-of-type({})", side + 1, at + 1)
}

fn loads(browser: &mut Browser, url: &str) {
    browser.open(url);
    assert_eq!(browser.evaluate("document.title"), "Three texts");
    assert_eq!(browser.evaluate("document.querySelectorAll('section.text').length"), 3);
    assert_eq!(browser.evaluate("document.querySelectorAll('#text-0 .chart').length"), 3, "two scores and deltas");
    // 8 source tokens, 10 target tokens that a step sees, and 2 section headers.
    assert_eq!(browser.evaluate("document.querySelectorAll('#text-0 tbody tr').length"), 8 + 10 + 2);
    assert_eq!(browser.evaluate("document.querySelectorAll('#text-0 thead th').length"), 10);
    assert_eq!(browser.evaluate(PRESSED), "Der", "the first step is selected");
    browser.screenshot("light.png");
}

fn chooses(browser: &mut Browser, url: &str) {
    browser.open(url);
    let shading =
        "[...document.querySelectorAll('#text-0 .flow .token')].map(e => getComputedStyle(e).backgroundColor).join()";
    let before = browser.evaluate(shading);
    browser.click(&token(1, 2));
    assert_eq!(browser.evaluate(PRESSED), "Vor");
    let chosen = browser.evaluate(shading);
    assert_ne!(chosen, before);
    assert_eq!(browser.evaluate(STATUS), "“Vor” was predicted from:");
    assert_eq!(browser.evaluate("document.querySelector('#text-0 .detail li').textContent"), "chair0.44");
    assert_eq!(browser.evaluate("location.hash"), "#select=0.1");

    // Hovering previews another token until the mouse leaves.
    browser.hover(&token(1, 5));
    assert_eq!(browser.evaluate(PRESSED), "eröffnet");
    assert_ne!(browser.evaluate(shading), chosen);
    browser.hover("h1");
    assert_eq!(browser.evaluate(PRESSED), "Vor");

    // A source token shows the steps that it was used for.
    browser.click(&token(0, 1));
    assert_eq!(browser.evaluate(STATUS), "“chair” was used to predict:");
    assert_eq!(browser.evaluate("document.querySelector('#text-0 .detail li').textContent"), "Vor0.44");

    browser.click("#text-0 tbody tr:nth-child(3) td:nth-of-type(4)");
    assert_eq!(browser.evaluate(PRESSED), "ende");
    browser.click("#text-0 .chart .hit:last-of-type");
    assert_eq!(browser.evaluate(PRESSED), "</s>");
}

fn goes_by_keys(browser: &mut Browser, url: &str) {
    browser.open(url);
    browser.evaluate("document.querySelector('#text-0 .token.step').focus()");
    browser.press("ArrowRight");
    browser.press("ArrowRight");
    assert_eq!(browser.evaluate(PRESSED), "sitz");
    assert_eq!(browser.evaluate("document.activeElement.textContent"), "sitz");
    browser.press("End");
    assert_eq!(browser.evaluate(PRESSED), "</s>");
    browser.press("Escape");
    assert_eq!(browser.evaluate(PRESSED), "");
    assert_eq!(browser.evaluate(STATUS), "Choose a token to see what it was predicted from.");
    let tabbed = "[...document.querySelectorAll('#text-0 .flow')].map(f => f.querySelectorAll('.token[tabindex=\"0\"]').length).join()";
    assert_eq!(browser.evaluate(tabbed), "1,1", "one tab stop in each text");
}

fn links(browser: &mut Browser, url: &str) {
    browser.open(&format!("{url}#select=0.3&scale=raw&view=0"));
    assert_eq!(browser.evaluate(PRESSED), "ende");
    assert_eq!(browser.evaluate("document.querySelector('#scale').value"), "raw");
    browser.open(&format!("{url}#select=0.s2"));
    assert_eq!(browser.evaluate(PRESSED), "man");
    for nonsense in ["#select=9.9&scale=x&view=-1", "#select=0.99", "#select=__proto__.1", "#%", "#view=1e9"] {
        browser.open(&format!("{url}{nonsense}"));
        assert_eq!(browser.evaluate(PRESSED), "Der", "{nonsense}");
    }
}

fn rescales(browser: &mut Browser, url: &str) {
    let cell = "document.querySelector('#text-0 tbody tr:nth-child(2) td').textContent";
    browser.open(url);
    assert_eq!(browser.evaluate(cell), "0.55");
    for (scale, expected) in [("peak", "1.00"), ("raw", "0.84")] {
        browser.evaluate(&format!(
            "(() => {{ const s = document.querySelector('#scale'); s.value = '{scale}'; s.dispatchEvent(new Event('change')); }})()"
        ));
        assert_eq!(browser.evaluate(cell), expected, "{scale}");
    }
    // Raw scores: another head gives another picture.
    let row = "document.querySelector('#text-2 tbody tr').textContent";
    let mean = browser.evaluate(row);
    browser.evaluate(
        "(() => { const s = document.querySelector('#view-2'); s.value = 9; s.dispatchEvent(new Event('change')); })()",
    );
    assert_ne!(browser.evaluate(row), mean);
    assert!(browser.evaluate("location.hash").as_str().unwrap().contains("view=9"));
}

fn shows_markup_as_text(browser: &mut Browser, url: &str) {
    browser.open(url);
    assert_eq!(browser.evaluate("document.querySelectorAll('script').length"), 2);
    assert_eq!(browser.evaluate("document.querySelectorAll('#text-2 b').length"), 1, "the value of the one step score");
    let tokens = browser.evaluate("[...document.querySelectorAll('#text-2 .token')].map(e => e.textContent)");
    assert_eq!(tokens[0], "<script>alert(1)</script>");
    assert_eq!(tokens[1], "\"quoted\" & 'single'");
    assert_eq!(tokens[2], "\\u{1b}[31m");
    assert_eq!(tokens[3], "日本語");
    assert_eq!(tokens[6], "</script><!--");
    // The page's policy blocks anything that would run or load, and reports it.
    browser.evaluate("(() => { const s = document.createElement('script'); s.textContent = 'window.ran = 1'; document.body.append(s); })()");
    assert_eq!(browser.evaluate("window.ran === undefined"), true);
    assert!(browser.complaints.iter().any(|complaint| complaint.contains("Content Security Policy")));
    browser.complaints.clear();
}

/// The lowest contrast of all text on a shaded background.
const CONTRAST: &str = "(() => {
    const parse = (color) => {
        const numbers = color.match(/[\\d.]+(e-?\\d+)?/g).map(Number);
        return color.startsWith('color(') ? numbers : numbers.map((channel) => channel / 255);
    };
    const luminance = ([r, g, b]) => {
        const linear = (c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
        return 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
    };
    const all = [...document.querySelectorAll('.shaded')].map((element) => {
        const style = getComputedStyle(element);
        const [one, other] = [style.color, style.backgroundColor].map((color) => luminance(parse(color)));
        return (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    });
    return [all.length, Math.min(...all)];
})()";

fn reads_well(browser: &mut Browser, url: &str) {
    for scheme in ["light", "dark"] {
        browser.look(1280, 900, scheme);
        browser.open(url);
        let found = browser.evaluate(CONTRAST);
        assert!(found[0].as_u64().unwrap() > 200, "{found}");
        assert!(found[1].as_f64().unwrap() >= 4.5, "{scheme}: {found}");
        let ground = browser.evaluate("getComputedStyle(document.body).backgroundColor");
        // The button overrides the system's theme.
        let other = if scheme == "light" { 2 } else { 1 };
        (0..other).for_each(|_| browser.click("#theme"));
        assert_ne!(browser.evaluate("getComputedStyle(document.body).backgroundColor"), ground, "{scheme}");
        (0..3 - other).for_each(|_| browser.click("#theme"));
        browser.screenshot(&format!("{scheme}.png"));
    }
    browser.look(1280, 900, "light");
}

fn fits_a_phone(browser: &mut Browser, url: &str) {
    browser.look(390, 844, "light");
    browser.open(url);
    let width = browser.evaluate("document.documentElement.scrollWidth");
    assert!(width.as_u64().unwrap() <= 390, "{width}");
    browser.click(&token(1, 4));
    assert_eq!(browser.evaluate(PRESSED), "ende");
    browser.screenshot("phone.png");
    browser.look(1280, 900, "light");
}

/// The browser's XML parser is strict, so a file that it accepts is valid.
fn draws_svg(browser: &mut Browser, folder: &Path, number: usize, svg: &str) {
    let file = folder.join(format!("{number}.svg"));
    fs::write(&file, svg).unwrap();
    browser.open(&format!("file://{}", file.display()));
    assert_eq!(browser.evaluate("document.documentElement.nodeName"), "svg");
    assert_eq!(browser.evaluate("document.querySelector('parsererror') === null"), true);
    // No label is cut off at the edge.
    let cut = "(() => { const e = document.documentElement; const all = e.getBBox(); const [, , w, h] = e.getAttribute('viewBox').split(' ').map(Number);
        return all.x < -0.5 || all.y < -0.5 || all.x + all.width > w + 0.5 || all.y + all.height > h + 0.5; })()";
    assert_eq!(browser.evaluate(cut), false, "text {number}");
    browser.screenshot(&format!("{number}.svg.png"));
}

/// 200 steps of a text of 400 tokens.
fn opens_large_tables_on_demand(browser: &mut Browser, folder: &Path) {
    let token = |at: usize| Token { id: 0, surface: format!(" word{at}"), span: 0..0, special: false };
    let mut large = Attribution::new(Vec::new(), (0..400).map(token).collect(), 200..400);
    let score = |at: usize| if at / 200 < at % 200 + 200 { (at % 17) as f32 } else { f32::NAN };
    large.target_scores = Some(Scores::per_token(400, 200, (0..400 * 200).map(score).collect()).unwrap());
    let file = folder.join("large.html");
    fs::write(&file, render(&[large], &HtmlOptions::default())).unwrap();
    browser.open(&format!("file://{}", file.display()));
    let rows = "document.querySelectorAll('tbody tr').length";
    assert_eq!(browser.evaluate(rows), 0);
    browser.click("#text-0 .flow .token:nth-of-type(251)");
    assert_eq!(browser.evaluate(PRESSED), "word250");
    browser.click("details summary");
    // The table is drawn by an event that follows the click.
    browser.evaluate("new Promise((done) => setTimeout(done, 500))");
    assert_eq!(browser.evaluate(rows), 399);
    assert_eq!(browser.complaints, Vec::<String>::new());
}
