//! What went wrong, in two lines: what, and what to do.

use std::io::{self, Write};

use stepfn_attribution::{AttributionError, methods};
use stepfn_bench::BenchError;
use stepfn_core::StepError;
use stepfn_core::device::DeviceError;
use stepfn_models::ModelError;

/// An exit code of failures at work: a file, a model, a text.
const WORK: u8 = 1;
/// An exit code of command lines that ask for something that there isn't.
const USAGE: u8 = 2;

/// Why the program ends, or a text has no result.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Failure {
    /// What the program exits with.
    pub(crate) code: u8,
    /// What went wrong. Empty: nothing that anyone needs to be told.
    pub(crate) what: String,
    /// What to do.
    pub(crate) hint: String,
}

impl Failure {
    /// Something failed at work.
    pub(crate) fn work(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { code: WORK, what: what.into(), hint: hint.into() }
    }

    /// The command line asks for something that there isn't.
    pub(crate) fn usage(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { code: USAGE, what: what.into(), hint: hint.into() }
    }

    /// A command line that could not be read, and the command that it begins with, if it does.
    pub(crate) fn arguments(error: &clap::Error, command: Option<&str>) -> Self {
        let rendered = error.render().to_string();
        let mut paragraphs = rendered.split("\n\n").map(|paragraph| {
            let lines: Vec<&str> = paragraph.lines().map(str::trim).collect();
            lines.join(" ")
        });
        let what = paragraphs.next().unwrap_or_default();
        let tip = paragraphs.find_map(|paragraph| paragraph.trim_start().strip_prefix("tip: ").map(str::to_owned));
        let command = command.map_or_else(String::new, |command| format!(" {command}"));
        let hint = tip.unwrap_or_else(|| format!("see `stepfn{command} --help`"));
        Self::usage(what.trim_start_matches("error: "), hint)
    }

    /// Results could not be written. A reader that went away has what it wanted.
    pub(crate) fn output(name: &str, error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self { code: 0, what: String::new(), hint: String::new() };
        }
        Self::work(format!("{name}: {error}"), "free some space, or write to another file with -o")
    }

    /// The same, of a place in the input.
    pub(crate) fn at(self, place: &str) -> Self {
        Self { what: format!("{place}: {}", self.what), ..self }
    }

    /// Tells a person.
    pub(crate) fn report(&self, to: &mut impl Write) {
        if !self.what.is_empty() {
            // Nothing can be done about an error of standard error.
            drop(writeln!(to, "error: {}\n  help: {}", self.what.replace('\n', " "), self.hint));
        }
    }
}

impl From<DeviceError> for Failure {
    fn from(error: DeviceError) -> Self {
        let hint = match error {
            DeviceError::Unknown { .. } => "see `stepfn list backends` for the devices that there are",
            _ => "use --backend cpu, or see `stepfn list backends`",
        };
        Self::usage(error.to_string(), hint)
    }
}

impl From<ModelError> for Failure {
    fn from(error: ModelError) -> Self {
        let hint = match error {
            ModelError::File { .. } => {
                "a model is a folder with config.json, model.safetensors and tokenizer.json, as transformers' save_pretrained writes it, or a GGUF file"
            }
            ModelError::UnknownFamily { .. } => "see `stepfn list families`",
            ModelError::Config { .. } => "take a model of one of the families of `stepfn list families`",
            ModelError::MissingTensor { .. } | ModelError::UnusedTensor { .. } | ModelError::Tensor { .. } => {
                "check that all files of the folder belong to one model, and are complete"
            }
            ModelError::TokenId { .. } => "check that tokenizer.json belongs to this model",
            ModelError::Setting { .. } => "change it with --generation FIELD=VALUE",
            _ => "change the text, or take another model",
        };
        Self::work(error.to_string(), hint)
    }
}

impl From<StepError> for Failure {
    fn from(error: StepError) -> Self {
        let what = error.to_string();
        match error {
            StepError::UnknownFunction { .. } => Self::usage(what, "see `stepfn list step-functions`"),
            StepError::Parameter { .. } | StepError::Parameters { .. } => {
                Self::usage(what, "see `stepfn list step-functions` for the parameters and their defaults")
            }
            other => Self::work(what, step_hint(&other)),
        }
    }
}

impl From<AttributionError> for Failure {
    fn from(error: AttributionError) -> Self {
        let what = error.to_string();
        match error {
            AttributionError::Model(error) => error.into(),
            AttributionError::Step(error) => error.into(),
            AttributionError::StepOfText { error, .. } => Self::work(what, step_hint(&error)),
            AttributionError::UnknownMethod { .. } => Self::usage(what, "see `stepfn list methods`"),
            AttributionError::Parameter { of, .. } if methods().iter().any(|method| method.name == of) => {
                Self::usage(what, "see `stepfn list methods` for the parameters and their defaults")
            }
            AttributionError::Parameter { .. } => Self::usage(what, "change the option; --help says what it takes"),
            AttributionError::Text { .. } => Self::work(what, "change that text (texts are counted from 0)"),
            _ => Self::work(what, "see --help"),
        }
    }
}

impl From<BenchError> for Failure {
    fn from(error: BenchError) -> Self {
        match error {
            BenchError::Work(error) => error.into(),
            BenchError::Device(_) => {
                Self::work(error.to_string(), "take shorter texts, or fewer at once with --batch, or less --memory")
            }
            BenchError::Version { .. } => Self::work(error.to_string(), "measure anew with this stepfn"),
            _ => Self::work(error.to_string(), "give files that `stepfn bench --format json` wrote"),
        }
    }
}

fn step_hint(error: &StepError) -> &'static str {
    match error {
        StepError::MissingContrast { .. } => "give --contrast-source or --contrast-target, or the fields of --input",
        StepError::PairOutside { .. } => "--align counts the scored tokens of either text from 0, prompts left out",
        StepError::NonFinite { .. } => "try --dtype f32; if that is no help, the checkpoint is broken",
        StepError::NoSpread { .. } => "give a rate with --dropout, or --set statistic=mean",
        _ => "check that model and tokenizer belong together",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_in_two_lines() {
        let mut told = Vec::new();
        Failure::work("it\nbroke", "mend it").at("a:3").report(&mut told);
        assert_eq!(String::from_utf8(told).unwrap(), "error: a:3: it broke\n  help: mend it\n");
    }

    #[test]
    fn a_reader_that_went_away_is_no_failure() {
        let mut told = Vec::new();
        let failure = Failure::output("standard output", &io::ErrorKind::BrokenPipe.into());
        failure.report(&mut told);
        assert_eq!((failure.code, told.len()), (0, 0));
        assert_eq!(Failure::output("x", &io::ErrorKind::StorageFull.into()).code, 1);
    }
}
