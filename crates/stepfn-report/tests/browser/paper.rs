//! Windows of all sizes, and paper.

use crate::chromium::Browser;

pub(crate) fn fits_every_window(browser: &mut Browser, url: &str) {
    for (width, height) in [(390, 844), (800, 1100), (1280, 900)] {
        browser.look(width, height, "light");
        for text in 0..4 {
            browser.open(&format!("{url}#select={text}"));
            let found = browser.evaluate("document.documentElement.scrollWidth");
            assert!(found.as_u64().unwrap() <= u64::from(width), "text {text}: {found} of {width}");
            // Labels of columns are whole, unless they are too long for the highest header.
            let cut = "[...document.querySelectorAll('.row.head .cell bdi')].filter(e => e.closest('.row').clientHeight < 129 && e.scrollHeight > e.clientHeight + 1).map(e => e.textContent).join()";
            assert_eq!(browser.evaluate(cut), "", "text {text} at {width}");
            // So are the numbers between which a step score is.
            let cut = "[...document.querySelectorAll('.row.score .name .ends')].filter(e => e.scrollWidth > e.clientWidth || e.getBoundingClientRect().bottom > e.closest('.row').getBoundingClientRect().bottom).map(e => e.textContent).join()";
            assert_eq!(browser.evaluate(cut), "", "text {text} at {width}");
            // The explanation is there without scrolling.
            let bottom = browser.evaluate("document.querySelector('.detail li').getBoundingClientRect().bottom");
            assert!(bottom.as_f64().unwrap() < f64::from(height), "text {text} at {width}: {bottom}");
            browser.screenshot(&format!("{width}-{text}.png"));
        }
        // Names, axes and predicted tokens stay where they are when the box scrolls.
        let corners = "[...document.querySelectorAll('.row.head .name, .row.score .name')].map(e => Math.round(e.getBoundingClientRect().x)).join()";
        let before = browser.evaluate(corners);
        browser.evaluate("document.querySelector('.grid').scrollLeft = 200");
        assert_eq!(browser.evaluate(corners), before);
        // No number is cut at an edge of the box, or by the names.
        browser.evaluate("new Promise((done) => setTimeout(done, 400))");
        let cut = "(() => { const box = document.querySelector('.grid'); const edge = box.getBoundingClientRect();
            const from = document.querySelector('.row.head .name').getBoundingClientRect().right, to = edge.left + box.clientLeft + box.clientWidth;
            return [...document.querySelectorAll('.row.input .cell')].map((e) => e.getBoundingClientRect())
                .filter((r) => r.right > from + 2 && r.left < to - 2 && (r.left < from - 2 || r.right > to + 2)).length; })()";
        assert_eq!(browser.evaluate(cut), 0, "{width}");
    }
    browser.look(1280, 900, "light");
}

pub(crate) fn prints_everything(browser: &mut Browser, url: &str) {
    browser.open(&format!("{url}#select=0.4"));
    browser.save_pdf("print.pdf");
    browser.look(720, 1000, "light");
    browser.media("print");
    browser.evaluate("window.dispatchEvent(new Event('beforeprint'))");
    assert_eq!(
        browser.evaluate(
            "[...document.querySelectorAll('.printed th')].filter(e => e.textContent === 'eröffnet').length > 0"
        ),
        true
    );
    // 18 tokens and 3 step scores, all in view; nothing that scrolls is on the paper.
    assert_eq!(browser.evaluate("document.querySelectorAll('.printed tbody tr').length"), 20);
    let scrolls = "[...document.querySelectorAll('main *')].filter(e => e.checkVisibility() && e.scrollHeight > e.clientHeight + 2 && ['auto', 'scroll'].includes(getComputedStyle(e).overflowY)).length";
    assert_eq!(browser.evaluate(scrolls), 0);
    assert!(browser.evaluate("document.documentElement.scrollWidth").as_u64().unwrap() <= 720);
    browser.screenshot("print.png");
    browser.evaluate("window.dispatchEvent(new Event('afterprint'))");
    assert_eq!(browser.evaluate("document.querySelector('.printed')"), serde_json::Value::Null);
    browser.media("screen");
    browser.look(1280, 900, "light");
}
