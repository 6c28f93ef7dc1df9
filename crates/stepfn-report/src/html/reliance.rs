//! A page of reliance on context: a click on a token of an output shades what it depends on in the contexts.

use serde::Serialize;
use stepfn_attribution::reliance::{ContextReliance, Cues};

use super::views::short;
use super::{Failures, MOST_BYTES, document};
use crate::label::label_of_surface;
use crate::reliance::pieces;
use crate::svg::escaped;

/// The page's style: that of all pages, and what only this one has.
const STYLE: &str = concat!(include_str!("page.css"), include_str!("reliance.css"));

/// Its script, in one scope.
const SCRIPT: &str = concat!(
    "\n'use strict';\n(() => {\n",
    include_str!("script/dom.js"),
    include_str!("script/reliance.js"),
    "})();\n",
);

/// Renders one page for any number of texts: the id of each, as in other formats, and what was found. Texts that should be on it and failed are
/// counted.
pub fn render(texts: &[(String, &ContextReliance)], failed: &Failures) -> String {
    let title = match texts.first() {
        Some((_, first)) => title(first),
        None => "Reliance on context".to_owned(),
    };
    let mut data = "{\"texts\":[".to_owned();
    let mut left_out = 0;
    for (at, (id, reliance)) in texts.iter().enumerate() {
        let json = json(&Data::new(id, reliance));
        if at > 0 && data.len() + json.len() > MOST_BYTES {
            left_out = texts.len() - at;
            break;
        }
        data.extend([if at > 0 { "," } else { "" }, &json]);
    }
    data += "]}";
    let none = if texts.is_empty() { "<p class=\"note\">There is no text.</p>\n" } else { "" };
    let missing = match left_out {
        0 => String::new(),
        left_out => format!("<p class=\"note\">{left_out} texts do not fit into one page and are left out.</p>\n"),
    };
    document(&escaped(&title), &format!("{none}{}{missing}", failed.note(texts.len())), &data, [STYLE, SCRIPT])
}

fn title(reliance: &ContextReliance) -> String {
    let info = &reliance.info;
    let of = info.attributed_fn.as_ref().map_or_else(String::new, |function| format!(" of {function}"));
    let parts = ["Reliance on context", &info.context_sensitivity_metric, &info.attribution_method];
    let parts = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ");
    let model =
        if info.model_name_or_path.is_empty() { String::new() } else { format!(", {}", info.model_name_or_path) };
    format!("{parts}{of}{model}")
}

fn json(data: &Data<'_>) -> String {
    let json = serde_json::to_string(data).expect("all keys are strings and NaN is null, so the data is valid JSON");
    json.replace('<', "\\u003c")
}

/// A text as the page's script reads it.
#[derive(Serialize)]
struct Data<'a> {
    id: &'a str,
    metric: &'a str,
    threshold: Option<f64>,
    /// The current input.
    input: &'a str,
    /// The input's context and the output's, if there are any.
    contexts: [Option<Vec<Piece>>; 2],
    output: Vec<Piece>,
    scores: Vec<Option<f64>>,
    tokens: Vec<Token>,
    about: Vec<(&'static str, String)>,
}

/// A token: what is before it, the token as written, and as a label.
#[derive(Serialize)]
struct Piece(String, String, String);

/// A token that depends on context.
#[derive(Serialize)]
struct Token {
    at: usize,
    /// What the run without context prefers, if that is another token.
    other: Option<String>,
    threshold: Option<f64>,
    /// Scores of the tokens of each context.
    scores: [Option<Vec<Option<f64>>>; 2],
    /// Those that are selected.
    shown: [Vec<usize>; 2],
}

impl<'a> Data<'a> {
    fn new(id: &'a str, reliance: &'a ContextReliance) -> Self {
        let of = |text: &str, tokens: &[String]| -> Vec<Piece> {
            let piece = |(gap, token): (String, String)| {
                let label = label_of_surface(&token);
                Piece(gap, token, label)
            };
            pieces(text, tokens).into_iter().map(piece).collect()
        };
        let context = |text: &Option<String>, tokens: &Option<Vec<String>>| Some(of(text.as_ref()?, tokens.as_ref()?));
        let ContextReliance { info, cti_scores, .. } = reliance;
        Self {
            id,
            metric: &info.context_sensitivity_metric,
            threshold: short(info.cti_threshold as f32),
            input: &info.input_current_text,
            contexts: [
                context(&reliance.input_context, &reliance.input_context_tokens),
                context(&reliance.output_context, &reliance.output_context_tokens),
            ],
            output: of(&reliance.output_current, &reliance.output_current_tokens),
            scores: cti_scores.iter().map(|&score| short(score)).collect(),
            tokens: reliance.cci_scores.iter().map(|cues| token(reliance, cues)).collect(),
            about: about(reliance),
        }
    }
}

fn token(reliance: &ContextReliance, cues: &Cues) -> Token {
    let selection = reliance.info.cues();
    let scores = |scores: &Option<Vec<f32>>| Some(scores.as_ref()?.iter().map(|&score| short(score)).collect());
    Token {
        at: cues.cti_idx,
        other: cues
            .contrast_token
            .as_ref()
            .filter(|other| **other != cues.cti_token)
            .map(|other| label_of_surface(other)),
        threshold: short(cues.threshold(&selection) as f32),
        scores: [scores(&cues.input_context_scores), scores(&cues.output_context_scores)],
        shown: cues.shown(&selection),
    }
}

fn about(reliance: &ContextReliance) -> Vec<(&'static str, String)> {
    let ContextReliance { info, about, .. } = reliance;
    let parameters = about.parameters.iter().map(|(name, value)| format!("{name} = {value}"));
    let seconds = if about.seconds > 0.0 { format!("{:.3} s", about.seconds) } else { String::new() };
    let function = info.attributed_fn.clone().unwrap_or_default();
    [
        ("dependence on context", info.context_sensitivity_metric.clone()),
        ("tokens", info.context_sensitivity().described()),
        ("cues", [info.attribution_method.clone(), function].join(" ").trim().to_owned()),
        ("shown cues", info.cues().described()),
        ("input template", info.input_template.clone()),
        ("output template", info.output_template.clone()),
        (
            "without context",
            format!("{} → {}", info.contextless_input_current_text, info.contextless_output_current_text),
        ),
        ("model", about.model.clone()),
        ("family", about.family.clone()),
        ("parameters", parameters.collect::<Vec<_>>().join(", ")),
        ("aggregation", about.aggregation.join(", ")),
        ("warnings", about.warnings.join("; ")),
        ("backend", about.backend.clone()),
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
    use crate::samples::reliance as sample;

    #[test]
    fn the_page_has_every_score_and_runs_only_its_own_script() {
        let sample = sample();
        let page = render(&[("1".to_owned(), &sample)], &Failures::default());
        let (_, rest) = page.split_once("id=\"data\">").unwrap();
        let data: Value = serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap();
        let text = &data["texts"][0];
        assert_eq!((&text["tokens"][0]["at"], &text["tokens"][0]["other"]), (&2.into(), &"-ils".into()));
        assert_eq!(text["tokens"][1]["other"], Value::Null);
        assert_eq!(text["contexts"][0][2], serde_json::json!([" ", "<b>were\u{1b}", "<b>were\\u{1b}"]));
        assert_eq!(text["contexts"][1], Value::Null);
        assert_eq!(text["tokens"][0]["shown"], serde_json::json!([[1], []]));
        assert_eq!(text["scores"].as_array().unwrap().len(), 4);
        assert_eq!((page.matches("<script").count(), page.matches("</script").count()), (2, 2));
        for outside in ["http://", "https://", "url(", "@import", "innerHTML", "src=", "unsafe"] {
            assert!(!page.replace("http://www.w3.org/2000/svg", "").contains(outside), "{outside}");
        }
        assert!(page.contains("<h1>Reliance on context, kl_divergence, saliency of contrast_prob_diff</h1>"));
    }

    #[test]
    fn failures_and_an_empty_page_say_so() {
        let mut failed = Failures::default();
        failed.add("7", "the input context is empty");
        let page = render(&[], &failed);
        assert!(page.contains("There is no text.") && page.contains("the input context is empty"));
    }
}
