//! The page of an evaluation, in windows of all sizes.

use std::{fs, path::Path};

use stepfn_attribution::contexts::Operator;
use stepfn_evaluate::{FIRST, Interval, LAST, Metric, RANDOM, Row, SHARES};
use stepfn_report::evaluation::{Section, render};

use crate::chromium::Browser;

/// A method whose curves bend by `bend`.
fn row(number: usize, name: &str, bend: f64) -> Row {
    let figure = |at: usize| {
        let mean = (bend + at as f64 / 7.0) * 10_f64.powi(at as i32 % 5 - 2);
        Interval { mean, low: 0.8 * mean, high: 1.3 * mean }
    };
    let curve = |bend: f64| SHARES.iter().map(|share| 9.0 * share.powf(bend)).collect();
    let over = |at: usize| Interval { mean: figure(at).mean, low: bend - 0.7, high: 2.0 };
    Row {
        name: name.to_owned(),
        operator: Operator::Remove,
        special: number % 2 == 1,
        figures: (0..Metric::ALL.len()).map(figure).collect(),
        over_random: (0..Metric::ALL.len()).map(over).collect(),
        most: curve(1.5 - bend),
        least: curve(1.0 + bend),
        texts: 40,
        columns: 333,
    }
}

pub(crate) fn fits_every_window(browser: &mut Browser, folder: &Path) {
    let names = [
        "saliency",
        "discretized_integrated_gradients",
        "occlusion",
        "lime",
        "attention",
        "attn_lrp",
        "deeplift",
        RANDOM,
        "kernel_shap",
        "value_zeroing",
        FIRST,
        LAST,
    ];
    let rows: Vec<Row> =
        names.iter().enumerate().map(|(number, name)| row(number, name, 1.2 - number as f64 / 12.0)).collect();
    let section = |title: &str| Section { title: title.to_owned(), metrics: Metric::ALL.to_vec(), rows: rows.clone() };
    let sections = [
        "log_probability, hidden by `baseline`, special tokens kept",
        "log_probability, hidden by `remove`, special tokens kept",
    ];
    let warnings = ["some texts are longer than those that the model was made for".to_owned()];
    let page = render("Faithfulness of attributions of a_model", "40 texts", &warnings, &sections.map(section));
    let file = folder.join("evaluation.html");
    fs::write(&file, page).unwrap();
    for (width, height, scheme) in [(390, 844, "light"), (800, 1100, "dark"), (1280, 900, "light")] {
        browser.look(width, height, scheme);
        browser.open(&format!("file://{}", file.display()));
        assert_eq!(browser.complaints, Vec::<String>::new());
        let found = browser.evaluate("document.documentElement.scrollWidth");
        assert!(found.as_u64().unwrap() <= u64::from(width), "{found} of {width}");
        assert_eq!(browser.evaluate("document.querySelectorAll('details[open] polyline').length"), 24);
        // Names stay where they are when the table scrolls, and every curve is inside its drawing.
        let left = "document.querySelector('tbody td').getBoundingClientRect().left";
        let before = browser.evaluate(left);
        browser.evaluate("document.querySelector('.table').scrollLeft = 300");
        assert_eq!(browser.evaluate(left), before, "{width}");
        browser.evaluate("document.querySelector('.table').scrollLeft = 0");
        let outside = "[...document.querySelectorAll('details[open] polyline, details[open] .curves text')].filter((e) => {
            const own = e.getBoundingClientRect(), all = e.closest('svg').getBoundingClientRect();
            return own.left < all.left || own.right > all.right + 1 || own.top < all.top || own.bottom > all.bottom + 1; }).length";
        assert_eq!(browser.evaluate(outside), 0, "{width}");
        let hues = "new Set([...document.querySelectorAll('.legend path')].map((e) => getComputedStyle(e).stroke + getComputedStyle(e).strokeDasharray)).size";
        assert_eq!(browser.evaluate(hues), names.len(), "every curve looks different");
        browser.screenshot(&format!("evaluation-{width}.png"));
    }
    // A table is opened by its title.
    browser.click("details:not([open]) summary");
    assert_eq!(browser.evaluate("document.querySelectorAll('details[open]').length"), 2);
    browser.look(1280, 900, "light");
}
