//! An attribution as an answer: it prints, aggregates, and is saved in any form.

use core::fmt;
use core::ops::Deref;
use std::path::Path;

use stepfn_attribution::aggregation::Pipeline;
use stepfn_attribution::{Attribution, formats};
use stepfn_report::terminal::{Colors, TerminalOptions};
use stepfn_report::{html, svg, terminal};

use crate::writers::{Record, WriterOptions, answers};
use crate::{Error, ErrorKind, Outcome, Result, destination};

/// A score for each (input token, predicted token) of a text, with its tokens and how it was made.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer(pub Attribution);

impl Answer {
    /// Puts the scores through the stages of a pipeline: `subwords,normalize`.
    ///
    /// # Errors
    /// [`ErrorKind::Name`] for a stage that doesn't exist, [`ErrorKind::Parameter`] for one that doesn't fit.
    pub fn aggregate(&self, pipeline: &str) -> Result<Self> {
        self.through(&crate::pipeline(pipeline)?)
    }

    /// The same for a pipeline that was read before.
    ///
    /// # Errors
    /// [`ErrorKind::Parameter`] for a stage that doesn't fit.
    pub fn through(&self, pipeline: &Pipeline) -> Result<Self> {
        Ok(Self(pipeline.apply(&self.0)?))
    }

    /// With one number per token and step: the norm over hidden units, the mean over layers and heads.
    #[must_use]
    pub fn per_token(&self) -> Self {
        Self(self.0.per_token())
    }

    /// The difference to another answer, after the stages of a pipeline.
    ///
    /// # Errors
    /// [`ErrorKind::Text`] if the two don't match, [`ErrorKind::Parameter`] if a stage doesn't fit.
    pub fn minus(&self, other: &Self, pipeline: &str) -> Result<Self> {
        self.minus_through(other, &crate::pipeline(pipeline)?)
    }

    /// The same for a pipeline that was read before.
    ///
    /// # Errors
    /// As [`minus`](Self::minus).
    pub fn minus_through(&self, other: &Self, pipeline: &Pipeline) -> Result<Self> {
        Ok(Self(pipeline.apply_pair(&self.0, &other.0)?))
    }

    /// A page for a browser that loads nothing else.
    pub fn html(&self) -> String {
        html::render(&[html::PageText::single(&self.0)], &html::HtmlOptions::default())
    }

    /// The heat map as a drawing.
    pub fn svg(&self) -> String {
        svg::render(&self.0, &svg::SvgOptions::default())
    }

    /// The heat map for a terminal.
    pub fn terminal(&self, options: &TerminalOptions) -> String {
        terminal::render(&self.0, options)
    }

    /// Saves it, in the format that the file's ending names, one of [`writers::ANSWERS`](crate::writers::ANSWERS): `.json`, `.csv`, `.html`, …, or `.txt`
    /// for the table.
    ///
    /// # Errors
    /// [`ErrorKind::Format`] for another ending, [`ErrorKind::File`] if the file can't be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        let format = if ending == "txt" { "table" } else { ending };
        self.save_as(format, path)
    }

    /// Saves it in a format by name: one of [`writers::ANSWERS`](crate::writers::ANSWERS).
    ///
    /// # Errors
    /// [`ErrorKind::Format`] for another format, [`ErrorKind::File`] if the file can't be written.
    pub fn save_as(&self, format: &str, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let terminal = TerminalOptions { colors: Colors::None, ..TerminalOptions::default() };
        let options = WriterOptions { single: true, terminal, ..WriterOptions::default() };
        let mut writer = answers(format, &options)?;
        let fields = self.0.fields.clone();
        let outcome = Outcome { id: self.0.id.clone(), number: 0, fields, result: Ok(self.clone()) };
        destination::write(path, &(writer.write(&outcome)? + &writer.finish()?))
    }

    /// Saves the page for a browser.
    ///
    /// # Errors
    /// [`ErrorKind::File`] if the file can't be written.
    pub fn save_html(&self, path: impl AsRef<Path>) -> Result<()> {
        self.save_as("html", path)
    }
}

/// The scores, the tokens, and how they were made.
impl Deref for Answer {
    type Target = Attribution;

    fn deref(&self) -> &Attribution {
        &self.0
    }
}

/// The heat map, without colours.
impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options = TerminalOptions { colors: Colors::None, ..TerminalOptions::default() };
        f.write_str(self.terminal(&options).trim_end())
    }
}

impl Record for Answer {
    fn warnings(&self) -> &[String] {
        &self.0.about.warnings
    }

    fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string(&self.0)
    }

    fn table(&self) -> String {
        format!("{self}\n")
    }

    fn csv(&self, fields: &[String], with_header: bool) -> String {
        formats::csv::write_part(core::slice::from_ref(&self.0), fields, with_header)
    }
}

/// A pipeline of aggregation stages from its short form (`layers=0:4,mean,subwords,normalize`) or its JSON.
///
/// # Errors
/// [`ErrorKind::Name`] for a stage that doesn't exist, [`ErrorKind::Parameter`] for one that can't be read.
pub fn pipeline(text: &str) -> Result<Pipeline> {
    Ok(text.parse::<Pipeline>()?)
}

/// The answers in a file that stepfn wrote as JSON or JSON Lines, or that inseq saved. A text that failed has the error that was written.
///
/// # Errors
/// [`ErrorKind::File`] if the file can't be read, or holds something else.
pub fn read(text: &str) -> Result<Vec<Outcome<Answer>>> {
    let outcome = |(number, entry): (usize, core::result::Result<Attribution, formats::Failed>)| match entry {
        Ok(attribution) => {
            let Attribution { id, fields, .. } = &attribution;
            let id = if id.is_null() { (number + 1).into() } else { id.clone() };
            Outcome { id, number, fields: fields.clone(), result: Ok(Answer(attribution)) }
        }
        Err(formats::Failed { id, fields, error, help }) => {
            let id = if id.is_null() { (number + 1).into() } else { id };
            Outcome { id, number, fields, result: Err(Error::new(ErrorKind::Saved, error, help)) }
        }
    };
    Ok(formats::read(text)?.into_iter().enumerate().map(outcome).collect())
}
