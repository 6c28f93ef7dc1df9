//! What depends on context as an answer: it prints, and is saved in any form.

use core::fmt;
use core::ops::Deref;
use std::path::Path;

use burn::tensor::backend::Backend;
use stepfn_attribution::reliance::ContextReliance;
use stepfn_report::html::{Failures, render_reliance};
use stepfn_report::reliance;
use stepfn_report::terminal::{Colors, TerminalOptions};

use super::AttributeContextTask;
use crate::texts::{Outcomes, one};
use crate::writers::{WriterOptions, reliances};
use crate::{Input, IntoInput, LanguageModel, Outcome, Result, destination};

impl<B: Backend> LanguageModel<B> {
    /// Which tokens of an output depend on context, and on what in it: `Input { input_context: Some("…"), ..Input::source("…") }`. Without a target,
    /// the model writes it.
    ///
    /// # Errors
    /// [`ErrorKind::Text`](crate::ErrorKind::Text) for an input without context, or an output that can't be divided into its context and what follows it;
    /// [`ErrorKind::Option`](crate::ErrorKind::Option) for templates and functions that don't fit.
    pub fn attribute_context(&self, input: Input, task: &AttributeContextTask<B>) -> Result<RelianceAnswer> {
        one(self, task, input)
    }

    /// The same of many inputs.
    pub fn attribute_context_all<'m, I>(
        &'m self,
        inputs: I,
        task: &'m AttributeContextTask<B>,
    ) -> Outcomes<'m, B, I::IntoIter, RelianceAnswer>
    where
        I: IntoIterator<Item: IntoInput>,
    {
        Outcomes::new(self, task, inputs)
    }
}

/// Which tokens of an output depend on context, and on what in it, with how it was found.
#[derive(Debug, Clone, PartialEq)]
pub struct RelianceAnswer(pub ContextReliance);

impl RelianceAnswer {
    /// For a terminal: each token that depends on context marked, and its cues.
    pub fn terminal(&self, colors: Colors) -> String {
        reliance::render(&self.0, colors)
    }

    /// A page for a browser that loads nothing else: a click on a token shades what it depends on.
    pub fn html(&self) -> String {
        render_reliance(&[("1".to_owned(), &self.0)], &Failures::default())
    }

    /// Saves it, in the format that the file's ending names, one of [`writers::RELIANCES`](crate::writers::RELIANCES): `.json`, `.csv`, `.html`, …,
    /// or `.txt` for the table.
    ///
    /// # Errors
    /// [`ErrorKind::Format`](crate::ErrorKind::Format) for another ending, [`ErrorKind::File`](crate::ErrorKind::File) if the file can't be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        let format = if ending == "txt" { "table" } else { ending };
        let terminal = TerminalOptions { colors: Colors::None, ..TerminalOptions::default() };
        let options = WriterOptions { single: true, terminal, ..WriterOptions::default() };
        let mut writer = reliances(format, &options)?;
        let fields = self.0.fields.clone();
        let outcome = Outcome { id: self.0.id.clone(), number: 0, fields, result: Ok(self.clone()) };
        destination::write(path, &(writer.write(&outcome)? + &writer.finish()?))
    }
}

/// Tokens, scores, and how they were found.
impl Deref for RelianceAnswer {
    type Target = ContextReliance;

    fn deref(&self) -> &ContextReliance {
        &self.0
    }
}

/// As on a terminal without colours.
impl fmt::Display for RelianceAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.terminal(Colors::None).trim_end())
    }
}
