//! How attributions are written: the chosen format, and optionally a page and a drawing.

use std::io::{self, IsTerminal};

use stepfn::destination::Places;
use stepfn::writers::{Colors, TerminalOptions, WriterOptions, answers};
use stepfn::{Answer, Pipeline};

use crate::args::{DestinationArgs, ViewArgs};
use crate::failure::Failure;
use crate::input::Watch;
use crate::output::{self, Extra, Results};
use crate::progress::Teller;

/// Parses `--aggregate`.
pub(super) fn pipeline(args: &ViewArgs) -> Result<Option<Pipeline>, Failure> {
    parsed(args.aggregate.as_deref())
}

/// The same, of an argument alone.
pub(super) fn parsed(aggregate: Option<&str>) -> Result<Option<Pipeline>, Failure> {
    let Some(text) = aggregate else { return Ok(None) };
    check_stages(text)?;
    let pipeline = stepfn::pipeline(text)
        .map_err(|error| Failure::listed(error, "aggregators").at(&format!("--aggregate {text}")))?;
    match pipeline.needs_pair() {
        true => Err(Failure::usage(
            format!("--aggregate {text}: `pair` compares two files"),
            "save both as JSON, then use `stepfn show FILE --pair OTHER`",
        )),
        false => Ok(Some(pipeline)),
    }
}

/// Checks that `--aggregate` names a stage.
pub(super) fn check_stages(text: &str) -> Result<(), Failure> {
    match text.trim().is_empty() {
        true => Err(Failure::usage("--aggregate names no stage", "leave it out, or see `stepfn list aggregators`")),
        false => Ok(()),
    }
}

/// Opens the outputs; `texts` is the number of texts, if known, and `fields` are the user's that get columns.
pub(super) fn results(
    args: &ViewArgs,
    fields: Vec<String>,
    teller: Teller,
    texts: Option<usize>,
    mut places: Places,
) -> Result<Results<Answer>, Failure> {
    /// Formats that show one number per token and step.
    const FOR_PEOPLE: [&str; 3] = ["table", "html", "svg"];
    if args.raw && FOR_PEOPLE.contains(&args.format.as_str()) {
        let what = format!("--raw: the format {} shows one number per token", args.format);
        return Err(Failure::usage(what, "leave it out, or save all scores with --format json, jsonl, csv or inseq"));
    }
    let single = texts == Some(1);
    let options = WriterOptions { single, fields, terminal: terminal(&args.to) };
    let writer = answers(&args.format, &options)?;
    if writer.is_one_file_each() && texts.is_some_and(|texts| texts > 1) {
        return Err(Failure::usage("this format needs a file for each text", "give one text, or use --svg FILE"));
    }
    let destination = output::open(&args.to, writer.way(), &mut places)?;
    let mut extras = Vec::new();
    for (format, option, path) in [("html", "--html", &args.html), ("svg", "--svg", &args.svg)] {
        if let Some(path) = path {
            let writer = answers(format, &options)?;
            if writer.is_one_file_each() && texts.is_some_and(|texts| texts > 1) {
                output::check_several(option, path)?;
            }
            extras.push(Extra::open(option, path, writer, &mut places)?);
        }
    }
    Ok(Results { destination, writer: Box::new(writer), extras, places, teller, single, watch: Watch::default() })
}

/// How results are drawn where they go.
pub(super) fn terminal(to: &DestinationArgs) -> TerminalOptions {
    let to_terminal = to.output.is_none() && io::stdout().is_terminal();
    let colors = match (to_terminal, std::env::var_os("NO_COLOR").filter(|value| !value.is_empty())) {
        (true, None) if std::env::var("COLORTERM").is_ok_and(|value| value == "truecolor" || value == "24bit") => {
            Colors::Full
        }
        (true, None) => Colors::Indexed,
        _ => Colors::None,
    };
    let width = terminal_width().unwrap_or(if to_terminal { 80 } else { WIDE });
    TerminalOptions { width, colors, ..TerminalOptions::default() }
}

/// Width for files, where lines need not be broken.
const WIDE: usize = 10_000;

/// Width of the terminal; `COLUMNS` takes precedence.
pub(super) fn terminal_width() -> Option<usize> {
    let asked = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    asked.or_else(|| Some(usize::from(console_size()?)))
}

fn console_size() -> Option<u16> {
    terminal_size::terminal_size().map(|(terminal_size::Width(width), _)| width)
}
