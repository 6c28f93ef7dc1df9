//! Forms of what depends on context.

use stepfn_attribution::formats::csv::plain;
use stepfn_attribution::reliance::ContextReliance;
use stepfn_report::html::{Failures, render_reliance};
use stepfn_report::terminal::Colors;

use super::{RECORDS, Record, Table, Writer, WriterOptions, csv_lines, number_or_nothing, records, unknown, values};
use crate::{Outcome, RelianceAnswer, Result};

/// Names and summaries of the forms of what depends on context.
pub const RELIANCES: [(&str, &str); 5] = [
    ("table", "the output with its tokens marked that depend on context, and the contexts with what they depend on"),
    ("json", "an object, or a list of them for several texts"),
    ("jsonl", "an object per line"),
    ("csv", "a line for each token that depends on context and each token of the contexts"),
    ("html", "a page for a browser"),
];

/// The writer of that name, for what depends on context.
///
/// # Errors
/// [`ErrorKind::Format`](crate::ErrorKind::Format) if there is none.
pub fn reliances(name: &str, options: &WriterOptions) -> Result<Box<dyn Writer<RelianceAnswer>>> {
    Ok(match name {
        "table" => {
            let (single, colors) = (options.single, options.terminal.colors);
            Box::new(Table { render: move |found: &RelianceAnswer| found.terminal(colors), single, written: 0 })
        }
        "html" => Box::new(Page::default()),
        _ if RECORDS.iter().any(|(known, _)| *known == name) => records(name, options)?,
        _ => return Err(unknown(name, &RELIANCES)),
    })
}

impl Record for RelianceAnswer {
    fn warnings(&self) -> &[String] {
        &self.about.warnings
    }

    fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string(&self.0)
    }

    fn table(&self) -> String {
        self.terminal(Colors::None)
    }

    fn csv(&self, fields: &[String], with_header: bool) -> String {
        let fixed =
            ["id", "cti_idx", "cti_token", "cti_score", "contrast_token", "context", "position", "token", "cci_score"];
        let header = fixed.map(str::to_owned).into_iter().chain(fields.iter().cloned()).collect();
        let rows = self.cci_scores.iter().flat_map(|cues| {
            let sides = [
                ("input", &self.input_context_tokens, &cues.input_context_scores),
                ("output", &self.output_context_tokens, &cues.output_context_scores),
            ];
            sides.into_iter().flat_map(move |(side, tokens, scores)| {
                let pairs = tokens.iter().flatten().zip(scores.iter().flatten()).enumerate();
                pairs.map(move |(position, (token, &score))| {
                    let own = [
                        plain(&self.id),
                        cues.cti_idx.to_string(),
                        cues.cti_token.clone(),
                        number_or_nothing(cues.cti_score),
                        cues.contrast_token.clone().unwrap_or_default(),
                        side.to_owned(),
                        position.to_string(),
                        token.clone(),
                        number_or_nothing(score),
                    ];
                    own.into_iter().chain(values(&self.fields, fields)).collect()
                })
            })
        });
        csv_lines(with_header.then_some(header).into_iter().chain(rows))
    }
}

/// A page of all texts.
#[derive(Default)]
struct Page {
    kept: Vec<(String, RelianceAnswer)>,
    failed: Failures,
}

impl Writer<RelianceAnswer> for Page {
    fn write(&mut self, outcome: &Outcome<RelianceAnswer>) -> Result<String> {
        match &outcome.result {
            Ok(found) => self.kept.push((plain(&outcome.id), found.clone())),
            Err(error) => self.failed.add(&plain(&outcome.id), error.what()),
        }
        Ok(String::new())
    }

    fn finish(&mut self) -> Result<String> {
        let texts: Vec<(String, &ContextReliance)> =
            self.kept.iter().map(|(id, found)| (id.clone(), &found.0)).collect();
        match texts.is_empty() && self.failed.count() > 0 {
            true => Ok(String::new()),
            false => Ok(render_reliance(&texts, &self.failed)),
        }
    }
}
