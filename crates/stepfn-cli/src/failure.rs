//! Failures in two lines: what is wrong, and what to type instead.

use std::io::{self, Write};

use stepfn::writers::printable;
use stepfn::{Error, ErrorKind, nearest};
use stepfn_bench::BenchError;
use stepfn_corpus::CorpusError;

/// Exit code if something failed: a file, a model, a text.
const WORK: u8 = 1;
/// Exit code if the command line is wrong.
const USAGE: u8 = 2;

/// Why the program ends, or a text has no result.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Failure {
    /// The exit code.
    pub(crate) code: u8,
    /// What is wrong. Empty if nothing should be reported.
    pub(crate) what: String,
    /// What to do.
    pub(crate) hint: String,
}

impl Failure {
    /// Something failed: a file, a model, a text.
    pub(crate) fn work(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { code: WORK, what: what.into(), hint: hint.into() }
    }

    /// The command line is wrong.
    pub(crate) fn usage(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { code: USAGE, what: what.into(), hint: hint.into() }
    }

    /// A command line that could not be parsed, with the subcommand that it starts with, if any.
    pub(crate) fn arguments(error: &clap::Error, command: Option<&str>) -> Self {
        let rendered = error.render().to_string();
        let mut paragraphs = rendered.split("\n\n").map(|paragraph| {
            let lines: Vec<&str> = paragraph.lines().map(str::trim).collect();
            lines.join(" ")
        });
        let what = paragraphs.next().unwrap_or_default();
        let tip = paragraphs.find_map(|paragraph| paragraph.trim_start().strip_prefix("tip: ").map(str::to_owned));
        let command = command.map_or_else(String::new, |command| format!(" {command}"));
        let hint = tip.filter(|_| is_meant(error)).unwrap_or_else(|| format!("see `stepfn{command} --help`"));
        Self::usage(what.trim_start_matches("error: "), hint)
    }

    /// Results could not be written. A closed pipe is not an error, because the reader has all it wanted.
    pub(crate) fn output(name: &str, error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self { code: 0, what: String::new(), hint: String::new() };
        }
        Self::work(format!("{name}: {error}"), "make room, or write elsewhere")
    }

    /// An error about a name or a parameter of something that `stepfn list` lists.
    pub(crate) fn listed(error: Error, list: &str) -> Self {
        let is_listed = matches!(error.kind(), ErrorKind::Name | ErrorKind::Parameter);
        let failure = Self::from(error);
        if is_listed { Self { hint: format!("see `stepfn list {list}`"), ..failure } } else { failure }
    }

    /// The same failure, with the place where it happened.
    pub(crate) fn at(self, place: &str) -> Self {
        Self { what: format!("{place}: {}", self.what), ..self }
    }

    /// Writes the failure in two lines.
    pub(crate) fn report(&self, to: &mut impl Write) {
        if !self.what.is_empty() {
            // If standard error can't be written, there is nowhere left to report it.
            let [what, hint] = [&self.what, &self.hint].map(|text| printable(&text.replace('\n', " ")));
            drop(writeln!(to, "error: {what}\n  help: {hint}"));
        }
    }
}

/// Whether what a command line that could not be parsed is said to mean is like what was typed, as far as it is a suggestion.
fn is_meant(error: &clap::Error) -> bool {
    use clap::error::{ContextKind as Kind, ContextValue};
    let texts = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => vec![text.clone()],
        Some(ContextValue::Strings(texts)) => texts.clone(),
        _ => Vec::new(),
    };
    let pairs = [
        (Kind::InvalidSubcommand, Kind::SuggestedSubcommand),
        (Kind::InvalidArg, Kind::SuggestedArg),
        (Kind::InvalidValue, Kind::SuggestedValue),
    ];
    pairs.into_iter().all(|(typed, suggested)| {
        let suggested = texts(suggested);
        suggested.is_empty()
            || texts(typed).iter().any(|typed| nearest(typed, suggested.iter().map(String::as_str)).is_some())
    })
}

/// An error of the library, with a hint that names options and commands.
impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let of_language = error.hint().contains("`source_lang`");
        let hint = match error.kind() {
            ErrorKind::Option if of_language => {
                "give --source-lang and --target-lang: __en__, en_XX, eng_Latn, or where that is unambiguous en, eng, …"
            }
            ErrorKind::Generation => "change it with --generation FIELD=VALUE",
            ErrorKind::Device => "use --backend cpu, or see `stepfn list backends`",
            ErrorKind::Family => "see `stepfn list families`",
            ErrorKind::Contrast => "give --contrast-source or --contrast-target, or these fields in --input",
            ErrorKind::SameContext => "add --contrast-force-inputs, so that the contrast reads its own context",
            ErrorKind::Alignment => "--align counts the scored tokens of either text from 0, prompts left out",
            ErrorKind::Dropout => "give a rate with --dropout, or --set statistic=mean",
            ErrorKind::Numbers if error.hint().starts_with("try") => {
                "try --dtype f32; if that doesn't help, the checkpoint is broken"
            }
            _ => error.hint(),
        };
        match error.kind() {
            // The reader has all it wanted.
            ErrorKind::Closed => Self { code: 0, what: String::new(), hint: String::new() },
            ErrorKind::Name
            | ErrorKind::Format
            | ErrorKind::Backend
            | ErrorKind::Parameter
            | ErrorKind::Option
            | ErrorKind::Alignment
            | ErrorKind::SameContext
            | ErrorKind::Device => Self::usage(error.what(), hint),
            _ => Self::work(error.what(), hint),
        }
    }
}

impl From<CorpusError> for Failure {
    fn from(error: CorpusError) -> Self {
        match error.kind {
            stepfn_corpus::ErrorKind::Option => Self::usage(error.what, error.hint),
            _ => Self::work(error.what, error.hint),
        }
    }
}

impl From<BenchError> for Failure {
    fn from(error: BenchError) -> Self {
        match error {
            BenchError::Work(error) => Error::from(error).into(),
            BenchError::Device(_) => {
                Self::work(error.to_string(), "use shorter texts, or fewer at once with --batch, or less --memory")
            }
            BenchError::Version { .. } => Self::work(error.to_string(), "measure again with this stepfn"),
            _ => Self::work(error.to_string(), "give files that `stepfn bench --format json` wrote"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_two_lines() {
        let mut said = Vec::new();
        Failure::work("it\nbroke", "repair it").at("a:3").report(&mut said);
        assert_eq!(String::from_utf8(said).unwrap(), "error: a:3: it broke\n  help: repair it\n");
        let mut said = Vec::new();
        Failure::work("it \u{1b}[31m\rbroke", "\u{7}").report(&mut said);
        assert_eq!(String::from_utf8(said).unwrap(), "error: it \\u{1b}[31m\\rbroke\n  help: \\u{7}\n");
    }

    #[test]
    fn a_reader_that_went_away_is_no_failure() {
        let mut said = Vec::new();
        let failure = Failure::output("standard output", &io::ErrorKind::BrokenPipe.into());
        failure.report(&mut said);
        assert_eq!((failure.code, said.len()), (0, 0));
        assert_eq!(Failure::output("x", &io::ErrorKind::StorageFull.into()).code, 1);
    }
}
