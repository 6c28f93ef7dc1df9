//! A self-contained HTML page: each text with the scores of a selected token as shading, step scores as charts, and the heat map as a
//! table.
//!
//! The page loads nothing: its content security policy allows only its own style and script, by hash. Scores and tokens are embedded as
//! JSON and end up in text nodes, so a token's text is displayed and never executed. The selection is stored in the URL fragment
//! (`#select=0.3`: the fourth predicted token of the first text; also `&scale=` and `&view=`), so the URL links to that view.

mod views;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use sha2::{Digest, Sha256};
use stepfn_attribution::Attribution;
use stepfn_models::tokenizer::Token;

use crate::grid::title;
use crate::label::{label, label_of_step};
use crate::svg::escaped;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Options for the page.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct HtmlOptions {
    /// The title; by default, method, function and model of the first text.
    pub title: Option<String>,
}

/// The page's data, as its script reads it.
#[derive(Serialize)]
struct Page<'a> {
    texts: Vec<Text<'a>>,
}

#[derive(Serialize)]
struct Text<'a> {
    title: String,
    /// Pairs of a name and a value, for display.
    about: Vec<(&'static str, String)>,
    source: Vec<Piece<'a>>,
    target: Vec<Piece<'a>>,
    start: usize,
    end: usize,
    views: Vec<views::View>,
    scores: Vec<StepScore<'a>>,
}

#[derive(Serialize)]
struct Piece<'a> {
    /// The token's text as written.
    text: &'a str,
    /// The token as a label.
    label: String,
    special: bool,
    /// The token that a step was compared with.
    #[serde(skip_serializing_if = "Option::is_none")]
    contrast: Option<String>,
}

#[derive(Serialize)]
struct StepScore<'a> {
    name: &'a str,
    values: Vec<Option<f64>>,
}

/// Renders one page for any number of texts.
pub fn render(attributions: &[Attribution], options: &HtmlOptions) -> String {
    let page = Page { texts: attributions.iter().map(text).collect() };
    let json = serde_json::to_string(&page).expect("all keys are strings and NaN is null, so the data is valid JSON");
    // Inside a script element, only `<` could end the element or start a comment.
    let json = json.replace('<', "\\u003c");
    let title = match (&options.title, attributions.first()) {
        (Some(title), _) => title.clone(),
        (None, Some(first)) => title(first),
        (None, None) => "Attribution".to_owned(),
    };
    let hash = |text: &str| STANDARD.encode(Sha256::digest(text.as_bytes()));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; base-uri 'none'; form-action 'none'",
        hash(STYLE),
        hash(SCRIPT)
    );
    let title = escaped(&title);
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<meta name=\"generator\" content=\"stepfn {}\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<header>\n<h1>{title}</h1>\n\
         <div id=\"controls\"></div>\n</header>\n<main id=\"texts\"></main>\n\
         <noscript><p>This page needs JavaScript, which is disabled here.</p></noscript>\n\
         <script type=\"application/json\" id=\"data\">{json}</script>\n<script>{SCRIPT}</script>\n</body>\n</html>\n",
        env!("CARGO_PKG_VERSION")
    )
}

fn text(attribution: &Attribution) -> Text<'_> {
    let deltas = attribution.deltas.iter().map(|deltas| ("delta", deltas));
    let scores = attribution.step_scores.iter().map(|(name, values)| (name.as_str(), values)).chain(deltas);
    Text {
        title: title(attribution),
        about: about(attribution),
        source: pieces(attribution, &attribution.source, None),
        target: pieces(attribution, &attribution.target, Some(attribution.steps.start)),
        start: attribution.steps.start,
        end: attribution.steps.end,
        views: views::views(attribution),
        scores: scores
            .map(|(name, values)| StepScore { name, values: values.iter().map(|&value| views::short(value)).collect() })
            .collect(),
    }
}

/// The tokens of one side. From position `first_step` on they are steps, which may have a contrast.
fn pieces<'a>(attribution: &'a Attribution, tokens: &'a [Token], first_step: Option<usize>) -> Vec<Piece<'a>> {
    let contrast = |at: usize| {
        let other = attribution.contrast.get(at.checked_sub(first_step?)?)?.as_ref()?;
        let together = label_of_step(&tokens[at], Some(other));
        (together != label(&tokens[at])).then(|| label(other))
    };
    let piece = |(at, token): (usize, &'a Token)| Piece {
        text: &token.surface,
        label: label(token),
        special: token.special,
        contrast: contrast(at),
    };
    tokens.iter().enumerate().map(piece).collect()
}

fn about(attribution: &Attribution) -> Vec<(&'static str, String)> {
    let about = &attribution.about;
    let parameters = about.parameters.iter().map(|(name, value)| format!("{name} = {value}"));
    let seconds = if about.seconds > 0.0 { format!("{:.3} s", about.seconds) } else { String::new() };
    let seed = if about.seed > 0 { about.seed.to_string() } else { String::new() };
    [
        ("method", about.method.clone()),
        ("attributed function", about.attributed_fn.clone()),
        ("model", about.model.clone()),
        ("family", about.family.clone()),
        ("parameters", parameters.collect::<Vec<_>>().join(", ")),
        ("aggregation", about.aggregation.join(", ")),
        ("backend", about.backend.clone()),
        ("seed", seed),
        ("time", seconds),
        ("stepfn", about.version.clone()),
    ]
    .into_iter()
    .filter(|(_, value)| !value.is_empty())
    .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::samples;

    fn data(page: &str) -> Value {
        let (_, rest) = page.split_once("id=\"data\">").unwrap();
        serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap()
    }

    #[test]
    fn embedded_data_survives_hostile_tokens() {
        let page = render(&[samples::hostile(), samples::prompt()], &HtmlOptions::default());
        let texts = data(&page);
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
        let page = render(&[samples::translation()], &HtmlOptions { title: Some("T & T".to_owned()) });
        assert!(page.contains("<h1>T &amp; T</h1>"));
        assert!(page.contains("default-src 'none'") && !page.contains("unsafe"));
        for outside in ["http://", "https://", "url(", "@import", "innerHTML", "src="] {
            let page = page.replace("http://www.w3.org/2000/svg", "");
            assert!(!page.contains(outside), "{outside}");
        }
    }
}
