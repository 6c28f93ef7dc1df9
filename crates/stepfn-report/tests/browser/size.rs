//! Large pages: how many bytes and nodes they have, and how soon they react to the first click.

use std::fs;
use std::time::Instant;

use stepfn_attribution::{Attribution, Scores};
use stepfn_report::svg::{self, SvgOptions};

use crate::{Pages, samples};

/// Bytes of a page, and nodes of its document.
const MOST: (u64, u64) = (15_000_000, 20_000);
/// A page is meant to react within two seconds, the median of five; a busy machine gets three times as long, and one try.
const SECONDS: f64 = 6.0;
const NODES: &str = "(() => { const w = document.createTreeWalker(document, NodeFilter.SHOW_ALL); let n = 0; while (w.nextNode()) n += 1; return n; })()";

/// A causal text, all of whose tokens but the first are steps.
fn text(tokens: usize, seed: usize) -> Attribution {
    let mut text = Attribution::new(Vec::new(), samples::words(tokens), 1..tokens);
    text.target[0].special = true;
    let steps = tokens - 1;
    let score = |at: usize| if at / steps <= at % steps { ((at + seed) % 17) as f32 - 3.0 } else { f32::NAN };
    text.target_scores = Scores::per_token(tokens, steps, (0..tokens * steps).map(score).collect()).ok();
    text.step_scores.insert("surprisal".to_owned(), (0..steps).map(|step| ((step + seed) % 11) as f32).collect());
    text.step_scores.insert("entropy".to_owned(), (0..steps).map(|step| (step % 7) as f32).collect());
    text
}

pub(crate) fn stays_usable(pages: &mut Pages) {
    let short: Vec<Attribution> = (0..1000).map(|number| text(20 + number % 20, number)).collect();
    for (name, texts) in [("short", &short[..]), ("long", &[text(4000, 0)])] {
        let url = pages.write(&format!("{name}.html"), texts);
        let bytes = fs::metadata(pages.folder.join(format!("{name}.html"))).unwrap().len();
        assert!(bytes <= MOST.0, "{name}: {bytes} bytes");
        let browser = &mut pages.browser;
        let started = Instant::now();
        browser.open(&url);
        browser.click(".token.step:nth-of-type(5)");
        let seconds = started.elapsed().as_secs_f64();
        println!("{name}: {bytes} bytes, {seconds:.2} s to the first click");
        assert!(seconds < SECONDS, "{name}: {seconds} s");
        assert_eq!(browser.evaluate("document.querySelectorAll('.token[aria-pressed=true]').length"), 1);
        let nodes = browser.evaluate(NODES).as_u64().unwrap();
        assert!(nodes <= MOST.1, "{name}: {nodes} nodes");
        assert_eq!(browser.complaints, Vec::<String>::new());
        browser.screenshot(&format!("{name}.png"));
    }
    follows_the_selection(pages);
    let svg = svg::render(&text(1819, 0), &SvgOptions::default());
    assert!(svg.len() < 1_000_000, "{} bytes", svg.len());
    crate::draws_svg(pages, 1819, &svg);
}

/// A selection anywhere in a long text is in view, in the text and in the heat map.
fn follows_the_selection(pages: &mut Pages) {
    let url = format!("file://{}", pages.folder.join("long.html").display());
    let browser = &mut pages.browser;
    browser.open(&format!("{url}#select=0.3000"));
    browser.evaluate("new Promise((done) => setTimeout(done, 300))");
    let inside = |selector: &str, within: &str| {
        format!(
            "(() => {{ const e = document.querySelector(\"{selector}\").getBoundingClientRect(); \
             const b = document.querySelector('{within}').getBoundingClientRect(); \
             return e.left >= b.left && e.right <= b.right && e.top >= b.top - 1 && e.bottom <= b.bottom + 1; }})()"
        )
    };
    assert_eq!(browser.evaluate(&inside(".token[aria-pressed=true]", ".flows")), true);
    assert_eq!(browser.evaluate(&inside(".row.head .cell.chosen", ".grid")), true);
    browser.screenshot("long-selected.png");
    let nodes = browser.evaluate(NODES).as_u64().unwrap();
    assert!(nodes <= MOST.1, "{nodes} nodes");
    assert_eq!(browser.complaints, Vec::<String>::new());
}
