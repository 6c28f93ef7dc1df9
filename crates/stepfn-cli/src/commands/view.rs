//! Attributions as results: heat maps on a terminal, JSON, CSV, inseq's files, and pages and drawings beside.

use std::fs;
use std::io::{self, IsTerminal};
use std::path::Path;

use stepfn_attribution::aggregation::Pipeline;
use stepfn_attribution::{Attribution, formats};
use stepfn_report::terminal::{Colors, TerminalOptions};
use stepfn_report::{html, svg, terminal};

use super::Results;
use crate::args::{ViewArgs, ViewFormat};
use crate::failure::Failure;
use crate::output::{Record, Sink};
use crate::progress::Teller;

/// Where attributions go.
pub(super) struct Views<'a> {
    args: &'a ViewArgs,
    pipeline: Option<Pipeline>,
    terminal: TerminalOptions,
    results: Results,
    /// What is shown all at once.
    kept: Vec<Attribution>,
}

impl<'a> Views<'a> {
    /// Reads the pipeline, which must be written right before a model is loaded for it.
    pub(super) fn pipeline(args: &ViewArgs) -> Result<Option<Pipeline>, Failure> {
        let Some(text) = &args.aggregate else { return Ok(None) };
        let pipeline: Pipeline = text.parse().map_err(|error: stepfn_attribution::AttributionError| {
            Failure::usage(format!("--aggregate {text}: {error}"), "see `stepfn list aggregators`")
        })?;
        match pipeline.needs_pair() {
            true => Err(Failure::usage(format!("--aggregate {text}: `pair` compares two files"), "leave it out")),
            false => Ok(Some(pipeline)),
        }
    }

    /// Opens the output; `texts` is how many there are, if that is known.
    pub(super) fn open(
        args: &'a ViewArgs,
        pipeline: Option<Pipeline>,
        teller: Teller,
        texts: Option<usize>,
    ) -> Result<Self, Failure> {
        let single = texts == Some(1);
        let to_terminal = args.to.output.is_none() && io::stdout().is_terminal();
        let colors = match (to_terminal, std::env::var_os("NO_COLOR").filter(|value| !value.is_empty())) {
            (true, None) if std::env::var("COLORTERM").is_ok_and(|value| value == "truecolor" || value == "24bit") => {
                Colors::Full
            }
            (true, None) => Colors::Indexed,
            _ => Colors::None,
        };
        let width = terminal_width().unwrap_or(if to_terminal { 80 } else { WIDE });
        let options = TerminalOptions { width, colors, ..TerminalOptions::default() };
        let results = Results::new(
            Sink::open(&args.to, args.format.form(), args.format == ViewFormat::Inseq || single)?,
            teller,
            single,
        );
        Ok(Self { args, pipeline, terminal: options, results, kept: Vec::new() })
    }

    /// How far it is.
    pub(super) fn results(&mut self) -> &mut Results {
        &mut self.results
    }

    /// Takes a text's attribution, or why it has none.
    pub(super) fn write(&mut self, result: Result<Attribution, Failure>) -> Result<(), Failure> {
        let number = self.results.all;
        let aggregated = result.and_then(|attribution| match &self.pipeline {
            Some(pipeline) => pipeline.apply(&attribution).map_err(Failure::from),
            None if self.args.raw => Ok(attribution),
            None => Ok(attribution.per_token()),
        });
        if let (Ok(attribution), true) = (&aggregated, self.keeps()) {
            self.kept.push(attribution.clone());
        }
        if self.args.format == ViewFormat::Inseq {
            return self.results.count(aggregated.map(drop));
        }
        let options = &self.terminal;
        self.results.write(aggregated.as_ref().map_err(Clone::clone).map(|attribution| View {
            attribution,
            number,
            options,
        }))
    }

    fn keeps(&self) -> bool {
        self.args.html.is_some() || self.args.svg.is_some() || self.args.format == ViewFormat::Inseq
    }

    /// Writes what shows all texts at once.
    pub(super) fn finish(mut self) -> Result<(), Failure> {
        let written = |path: &Path, text: String| {
            fs::write(path, text).map_err(|error| {
                Failure::work(format!("{}: {error}", path.display()), "give a file that can be written")
            })
        };
        if !self.kept.is_empty() {
            if self.args.format == ViewFormat::Inseq {
                self.results.text(&(formats::inseq::write(&self.kept)? + "\n"))?;
            }
            if let Some(path) = &self.args.html {
                written(path, html::render(&self.kept, &html::HtmlOptions::default()))?;
            }
            if let Some(path) = &self.args.svg {
                for (number, attribution) in self.kept.iter().enumerate() {
                    let path = match self.kept.len() {
                        1 => path.clone(),
                        _ => path.with_extension(format!("{number}.svg")),
                    };
                    written(&path, svg::render(attribution, &svg::SvgOptions::default()))?;
                }
            }
        }
        self.results.finish()
    }
}

/// Columns of a file, where nothing needs to be broken.
const WIDE: usize = 10_000;

/// Columns of the terminal; as `COLUMNS` says, if it does.
fn terminal_width() -> Option<usize> {
    let asked = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    asked.or_else(|| Some(usize::from(console_size()?)))
}

fn console_size() -> Option<u16> {
    terminal_size::terminal_size().map(|(terminal_size::Width(width), _)| width)
}

/// An attribution that is written.
struct View<'a> {
    attribution: &'a Attribution,
    number: usize,
    options: &'a TerminalOptions,
}

impl Record for View<'_> {
    fn json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self.attribution)
    }

    fn table(&self) -> String {
        terminal::render(self.attribution, self.options)
    }

    fn csv(&self, with_header: bool) -> String {
        formats::csv::write_part(core::slice::from_ref(self.attribution), self.number, with_header)
    }
}
