//! The HTML page in headless Chromium. `STEPFN_SCREENSHOTS=folder` saves the pages and screenshots of them.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that can't continue should fail")]

mod chromium;
mod contrast;
mod evaluation;
mod paper;
mod reliance;
#[path = "../samples/mod.rs"]
mod samples;
mod selection;
mod size;

use std::path::{Path, PathBuf};
use std::{env, fs};

use chromium::Browser;
use stepfn_attribution::Attribution;
use stepfn_report::html::{HtmlOptions, PageText, render};
use stepfn_report::svg::{self, SvgOptions};

/// A browser, with pages for it.
struct Pages {
    browser: Browser,
    folder: PathBuf,
}

impl Pages {
    /// Writes a page of some texts, whose ids are their numbers from 0, and returns its URL.
    fn write(&self, name: &str, texts: &[Attribution]) -> String {
        let ids: Vec<String> = (0..texts.len()).map(|number| number.to_string()).collect();
        let texts = texts.iter().zip(&ids);
        let texts: Vec<PageText<'_>> = texts.map(|(attribution, id)| PageText { id, attribution }).collect();
        let page = self.folder.join(name);
        fs::write(
            &page,
            render(&texts, &HtmlOptions { title: Some("Some texts".to_owned()), ..HtmlOptions::default() }),
        )
        .unwrap();
        if let Some(folder) = env::var_os("STEPFN_SCREENSHOTS") {
            fs::copy(&page, Path::new(&folder).join(name)).unwrap();
        }
        format!("file://{}", page.display())
    }
}

#[test]
fn the_page_in_a_browser() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("browser-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    if let Some(browser) = Browser::start(&folder) {
        let mut pages = Pages { browser, folder: folder.clone() };
        let texts = [samples::translation(), samples::prompt(), samples::hostile(), samples::scripts()];
        let url = pages.write("page.html", &texts);
        pages.browser.look(1280, 900, "light");
        let checks: [fn(&mut Browser, &str); 12] = [
            selection::loads,
            selection::chooses,
            selection::goes_by_keys,
            selection::links,
            selection::rescales,
            selection::colours_by_step_scores,
            selection::shows_two_texts,
            selection::finds_texts,
            selection::exports,
            selection::shows_markup_as_text,
            contrast::reads_well,
            paper::fits_every_window,
        ];
        for check in checks {
            check(&mut pages.browser, &url);
            assert_eq!(pages.browser.complaints, Vec::<String>::new());
        }
        paper::prints_everything(&mut pages.browser, &url);
        reliance::shades_the_cues_of_a_token(&mut pages);
        size::stays_usable(&mut pages);
        evaluation::fits_every_window(&mut pages.browser, &folder);
        for (number, text) in texts.iter().enumerate() {
            draws_svg(&mut pages, number, &svg::render(text, &SvgOptions::default()));
        }
    }
    fs::remove_dir_all(&folder).unwrap();
}

/// The browser's XML parser is strict, so a file that it accepts is valid.
fn draws_svg(Pages { browser, folder }: &mut Pages, number: usize, svg: &str) {
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
