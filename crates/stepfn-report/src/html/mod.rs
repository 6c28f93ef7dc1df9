//! A self-contained HTML page: each text with the scores of a selected token as shading, an explanation of the selection, and step scores and
//! heat map in one box.
//!
//! The page loads nothing: its content security policy allows only its own style and script, by hash. Scores and tokens are embedded as
//! JSON and end up in text nodes, so a token's text is displayed and never executed.
//!
//! The page stays usable whatever its size. Its script draws what is looked at: one text, the blocks of it and the cells that are in view.
//! Its data has at most [`MOST_BYTES`], with scores in 8 or 16 bits; texts that don't fit are left out and counted.
//!
//! The selection is stored in the URL fragment (`#select=1.3`: the fourth predicted token of the text with the id 1), so the URL links to
//! that view.

mod failures;
mod opening;
mod packed;
mod reliance;
mod text;
mod views;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use stepfn_attribution::Attribution;

pub use self::failures::Failures;
use self::packed::Bits;
pub use self::reliance::render as render_reliance;
use self::text::{Detail, TextData};
use crate::grid::title;
use crate::svg::escaped;

const STYLE: &str = include_str!("page.css");

/// The parts of the script, in one scope.
const SCRIPT: &str = concat!(
    "\n'use strict';\n(() => {\n",
    include_str!("script/dom.js"),
    include_str!("script/state.js"),
    include_str!("script/scores.js"),
    include_str!("script/flow.js"),
    include_str!("script/detail.js"),
    include_str!("script/grid.js"),
    include_str!("script/list.js"),
    include_str!("script/export.js"),
    include_str!("script/pane.js"),
    include_str!("script/print.js"),
    include_str!("script/main.js"),
    "})();\n",
);

/// The most bytes that a page's data takes, so that browsers open it at once.
pub const MOST_BYTES: usize = 14_000_000;

/// Options for the page.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct HtmlOptions {
    /// The title; by default, method, function and model of the first text.
    pub title: Option<String>,
    /// Texts that should be on the page and have no scores.
    pub failed: Failures,
}

/// A text of a page.
#[derive(Debug, Clone, Copy)]
pub struct PageText<'a> {
    /// The text's id, as in other formats.
    pub id: &'a str,
    /// Its scores.
    pub attribution: &'a Attribution,
}

impl<'a> PageText<'a> {
    /// A page of this text only.
    pub fn single(attribution: &'a Attribution) -> Self {
        Self { id: "1", attribution }
    }
}

/// Renders one page for any number of texts.
pub fn render(texts: &[PageText<'_>], options: &HtmlOptions) -> String {
    let (data, left_out) = data(texts, MOST_BYTES);
    let title = match (&options.title, texts.first()) {
        (Some(title), _) => title.clone(),
        (None, Some(first)) => title(first.attribution),
        (None, None) => "Attribution".to_owned(),
    };
    let none = if texts.is_empty() { "<p class=\"note\">There is no text.</p>\n" } else { "" };
    let failed = options.failed.note(texts.len());
    let missing = match left_out {
        0 => String::new(),
        left_out => format!(
            "<p class=\"note\">{left_out} of {} texts do not fit into one page and are left out. Write several pages to see them.</p>\n",
            texts.len()
        ),
    };
    document(&escaped(&title), &format!("{none}{failed}{missing}"), &data, [STYLE, SCRIPT])
}

/// The whole file. The first three arguments are markup; then the page's style and script.
fn document(title: &str, missing: &str, data: &str, [style, script]: [&str; 2]) -> String {
    let hash = |text: &str| STANDARD.encode(Sha256::digest(text.as_bytes()));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; base-uri 'none'; form-action 'none'",
        hash(style),
        hash(script)
    );
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<meta name=\"generator\" content=\"stepfn {}\">\n\
         <title>{title}</title>\n<style>{style}</style>\n</head>\n<body>\n<header>\n<h1>{title}</h1>\n\
         <div id=\"settings\"></div>\n</header>\n{missing}<main id=\"texts\"></main>\n\
         <noscript><p>This page needs JavaScript, which is disabled here.</p></noscript>\n\
         <script type=\"application/json\" id=\"data\">{data}</script>\n<script>{script}</script>\n</body>\n</html>\n",
        env!("CARGO_PKG_VERSION")
    )
}

/// The JSON of as many texts as fit, and how many don't.
fn data(texts: &[PageText<'_>], most: usize) -> (String, usize) {
    let detail = detail(texts, most);
    let mut data = "{\"texts\":[".to_owned();
    for (at, text) in texts.iter().enumerate() {
        let characters = text.attribution.spans_as_tokens().characters();
        let room = most.saturating_sub(data.len());
        let fits = detail.bits.characters(views::cells(&characters)) <= room;
        let json = json(&TextData::new(text, &characters, fits.then_some(detail)));
        // Without scores, a text still shows its tokens and step scores.
        let json = if json.len() <= room { json } else { json_without_scores(text, &characters) };
        if json.len() > room && at > 0 {
            return (data + "]}", texts.len() - at);
        }
        data.extend([if at > 0 { "," } else { "" }, &json]);
    }
    (data + "]}", 0)
}

fn json_without_scores(text: &PageText<'_>, characters: &Attribution) -> String {
    json(&TextData::new(text, characters, None))
}

fn json(text: &TextData<'_>) -> String {
    let json = serde_json::to_string(text).expect("all keys are strings and NaN is null, so the data is valid JSON");
    // Inside a script element, only `<` could end the element or start a comment.
    json.replace('<', "\\u003c")
}

/// The finest detail in which the scores of all texts fit, or else the coarsest.
fn detail(texts: &[PageText<'_>], most: usize) -> Detail {
    let sizes: Vec<(usize, usize)> =
        texts.iter().map(|text| (views::cells(text.attribution), views::ways(text.attribution).len())).collect();
    let coarsest = Detail { bits: Bits::Eight, all_views: false };
    let details = [
        Detail { bits: Bits::Sixteen, all_views: true },
        Detail { bits: Bits::Eight, all_views: true },
        Detail { bits: Bits::Sixteen, all_views: false },
    ];
    let bytes = |detail: &Detail| {
        let views = |ways: usize| if detail.all_views { ways } else { 1 };
        sizes.iter().map(|&(cells, ways)| detail.bits.characters(cells) * views(ways)).sum::<usize>()
    };
    // Tokens and step scores take room, too.
    details.into_iter().find(|detail| bytes(detail) <= most / 2).unwrap_or(coarsest)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use stepfn_attribution::Scores;

    use super::*;
    use crate::samples;

    fn data_of(page: &str) -> Value {
        let (_, rest) = page.split_once("id=\"data\">").unwrap();
        serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap()
    }

    fn page(attributions: &[Attribution]) -> String {
        let texts: Vec<PageText<'_>> = attributions.iter().map(PageText::single).collect();
        render(&texts, &HtmlOptions::default())
    }

    #[test]
    fn embedded_data_survives_hostile_tokens() {
        let page = page(&[samples::hostile(), samples::prompt()]);
        let texts = data_of(&page);
        assert_eq!(texts["texts"][0]["target"][0]["text"], "<script>alert(1)</script>");
        assert_eq!(texts["texts"][0]["target"][6]["text"], " </script><!--");
        assert_eq!(texts["texts"][1]["target"][6]["contrast"], "he");
        assert_eq!(texts["texts"][1]["target"][7].get("contrast"), None);
        assert_eq!(page.matches("<script").count(), 2);
        assert_eq!(page.matches("</script").count(), 2);
        assert!(page.contains("<title>attention, &lt;/title&gt;&lt;script&gt;"));
    }

    #[test]
    fn the_page_loads_nothing_and_runs_only_its_own_script() {
        let translation = samples::translation();
        let options = HtmlOptions { title: Some("T & T".to_owned()), ..HtmlOptions::default() };
        let page = render(&[PageText::single(&translation)], &options);
        assert!(page.contains("<h1>T &amp; T</h1>"));
        assert!(page.contains("default-src 'none'") && !page.contains("unsafe"));
        for outside in ["http://", "https://", "url(", "@import", "innerHTML", "src="] {
            let page = page.replace("http://www.w3.org/2000/svg", "");
            assert!(!page.contains(outside), "{outside}");
        }
    }

    #[test]
    fn texts_have_the_ids_of_other_formats() {
        let [one, other] = [samples::translation(), samples::prompt()];
        let texts = [PageText { id: "1", attribution: &one }, PageText { id: "third", attribution: &other }];
        let data = data_of(&render(&texts, &HtmlOptions::default()));
        assert_eq!((&data["texts"][0]["id"], &data["texts"][1]["id"]), (&"1".into(), &"third".into()));
    }

    /// A causal text, all of whose tokens but the first are steps.
    fn long(tokens: usize) -> Attribution {
        let mut long = samples::prompt();
        long.target = samples::words(tokens);
        long.steps = 1..tokens;
        long.contrast.clear();
        long.step_scores.clear();
        let score = |at: usize| if at / (tokens - 1) <= at % (tokens - 1) { 0.5 } else { f32::NAN };
        let values = (0..tokens * (tokens - 1)).map(score).collect();
        long.target_scores = Scores::per_token(tokens, tokens - 1, values).ok();
        long
    }

    #[test]
    fn data_has_a_limit_whatever_the_texts() {
        let long = long(200);
        let texts = [PageText::single(&long); 20];
        let bytes = Bits::Eight.characters(views::cells(&long));
        let parsed = |most: usize| {
            let (data, left_out) = data(&texts, most);
            (data.len(), serde_json::from_str::<Value>(&data).unwrap(), left_out)
        };
        let (_, fine, left_out) = parsed(MOST_BYTES);
        assert_eq!((&fine["texts"][19]["bits"], left_out), (&16.into(), 0));
        let (size, coarse, left_out) = parsed(22 * bytes + 20 * 20_000);
        assert_eq!((&coarse["texts"][19]["bits"], left_out), (&8.into(), 0));
        assert!(size <= 22 * bytes + 20 * 20_000);
        // Then scores are left out, then texts.
        let (size, cut, left_out) = parsed(4 * bytes);
        let texts = cut["texts"].as_array().unwrap();
        assert_eq!(texts.len() + left_out, 20);
        assert!(left_out > 0 && size <= 4 * bytes + 2, "{left_out} {size}");
        assert!(texts[0].get("note").is_none() && texts[texts.len() - 1]["note"].is_string());
        assert_eq!(texts[texts.len() - 1]["views"], Value::Array(Vec::new()));
    }

    #[test]
    fn bytes_of_a_character_are_one_token() {
        let data = data_of(&page(&[samples::scripts()]));
        let target = data["texts"][0]["target"].as_array().unwrap();
        let texts: Vec<&str> = target.iter().filter_map(|piece| piece["text"].as_str()).collect();
        assert_eq!(texts, ["<s>", "م", "رحبا", " 日", "本", " ", "😀", "</s>"]);
        assert!(!data["texts"][0].to_string().contains("\\\\x"), "no byte is left");
        assert!(data["texts"][0]["about"].to_string().contains("characters"));
        // The least likely step is selected.
        assert_eq!(data["texts"][0]["first"], 1);
    }

    #[test]
    fn infinite_values_are_not_missing_ones() {
        let mut translation = samples::translation();
        translation.step_scores.insert("perplexity".to_owned(), vec![f32::INFINITY; 10]);
        let data = data_of(&page(&[translation]));
        let scores = data["texts"][0]["scores"].as_array().unwrap();
        let values = |name: &str| &scores.iter().find(|score| score["name"] == name).unwrap()["values"];
        assert_eq!(values("perplexity")[0], "Infinity");
        assert_eq!(values("entropy")[9], Value::Null);
    }
}
