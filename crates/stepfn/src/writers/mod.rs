//! Forms of results, found by name.
//!
//! A [`Writer`] turns the results of texts into the text of a file, one by one where the form allows it, or all at the end. [`answers`] and
//! [`records`] find a writer by name.

mod evaluations;
mod reliance;
mod tables;

use stepfn_attribution::{Attribution, formats};
use stepfn_core::catalog::nearest;
use stepfn_report::{html, svg};

use crate::destination::Way;
use crate::{Answer, Error, ErrorKind, Outcome, Result};

pub use crate::compare::comparisons;
pub use evaluations::{EVALUATIONS, evaluations};
pub use reliance::{RELIANCES, reliances};
pub use stepfn_attribution::formats::csv::plain;
pub use stepfn_report::terminal::{Colors, TerminalOptions};
pub(crate) use tables::number_or_nothing;
pub use tables::{aligned, csv_lines, number, printable, printable_lines, values};

/// A result that can be written text by text.
pub trait Record {
    /// As a JSON object on one line.
    ///
    /// # Errors
    /// If it can't be written as JSON.
    fn json(&self) -> serde_json::Result<String>;
    /// As JSON objects, a line each. A list has several.
    ///
    /// # Errors
    /// If it can't be written as JSON.
    fn json_lines(&self) -> serde_json::Result<String> {
        Ok(self.json()? + "\n")
    }
    /// What to know before trusting it.
    fn warnings(&self) -> &[String] {
        &[]
    }
    /// For people; ends with a line break.
    fn table(&self) -> String;
    /// As lines of comma-separated values, the last columns of which are these fields of the user's; with their names above if there is to be a
    /// header.
    fn csv(&self, fields: &[String], with_header: bool) -> String;
}

/// Writes results in one form, in whatever thread. What it returns is appended to the file, in order.
pub trait Writer<T>: Send {
    /// What to append for the result of a text.
    ///
    /// # Errors
    /// If the result can't be written in this form.
    fn write(&mut self, outcome: &Outcome<T>) -> Result<String>;

    /// What to append after the last result.
    ///
    /// # Errors
    /// If the results can't be written in this form.
    fn finish(&mut self) -> Result<String> {
        Ok(String::new())
    }

    /// How the file grows: by records that mean something each, or as a whole.
    fn way(&self) -> Way {
        Way::Whole
    }

    /// Whether each text needs a file of its own.
    fn is_one_file_each(&self) -> bool {
        false
    }
}

/// What writers need to know.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct WriterOptions {
    /// Whether there will be one result only: JSON is then an object, and otherwise a list.
    pub single: bool,
    /// Fields of the user's that get columns of their own in tables of values.
    pub fields: Vec<String>,
    /// How heat maps are drawn on a terminal.
    pub terminal: TerminalOptions,
}

/// Names and summaries of the forms of every kind of result.
pub const RECORDS: [(&str, &str); 4] = [
    ("table", "for people"),
    ("json", "an object, or a list of them for several texts"),
    ("jsonl", "an object per line"),
    ("csv", "comma-separated values"),
];

/// Names and summaries of the forms of attributions.
pub const ANSWERS: [(&str, &str); 7] = [
    ("table", "a heat map, in colours on a terminal"),
    ("json", "an object, or a list of them for several texts"),
    ("jsonl", "an object per line"),
    ("csv", "a line per score"),
    ("inseq", "the JSON that Python's inseq reads"),
    ("html", "a page for a browser"),
    ("svg", "a drawing of the heat map, a file for each text"),
];

/// The writer of that name, for results of any kind.
///
/// # Errors
/// [`ErrorKind::Format`] if there is none.
pub fn records<T: Record + 'static>(name: &str, options: &WriterOptions) -> Result<Box<dyn Writer<T>>> {
    Ok(match name {
        "table" => Box::new(Table { render: T::table, single: options.single, written: 0 }),
        "json" => Box::new(Json { list: !options.single, written: 0 }),
        "jsonl" => Box::new(JsonLines),
        "csv" => Box::new(Csv { fields: options.fields.clone(), written: 0 }),
        _ => return Err(unknown(name, &RECORDS)),
    })
}

/// The writer of that name, for attributions.
///
/// # Errors
/// [`ErrorKind::Format`] if there is none.
pub fn answers(name: &str, options: &WriterOptions) -> Result<Box<dyn Writer<Answer>>> {
    Ok(match name {
        "table" => {
            let (single, options) = (options.single, options.terminal.clone());
            Box::new(Table { render: move |answer: &Answer| answer.terminal(&options), single, written: 0 })
        }
        "inseq" => {
            let render = |answers: &[Kept], _: html::Failures| {
                let answers: Vec<Attribution> = answers.iter().map(|kept| kept.attribution.clone()).collect();
                if answers.is_empty() { Ok(String::new()) } else { Ok(formats::inseq::write(&answers)? + "\n") }
            };
            Box::new(Together { kept: Vec::new(), failed: html::Failures::default(), render })
        }
        "html" => Box::new(Together { kept: Vec::new(), failed: html::Failures::default(), render: page }),
        "svg" => Box::new(Svg),
        _ if RECORDS.iter().any(|(known, _)| *known == name) => records(name, options)?,
        _ => return Err(unknown(name, &ANSWERS)),
    })
}

fn unknown(name: &str, known: &[(&str, &str)]) -> Error {
    let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
    let meant = nearest(name, names.iter().copied());
    let meant = meant.map_or_else(String::new, |meant| format!(" (did you mean `{meant}`?)"));
    let what = format!("there is no format `{name}`{meant}");
    Error::new(ErrorKind::Format, what, format!("choose one of {}", names.join(", ")))
}

/// For people: results with an empty line between them. Of several, each says which text it belongs to, unless it is a line alone.
struct Table<F> {
    render: F,
    single: bool,
    written: usize,
}

impl<T, F: Fn(&T) -> String + Send> Writer<T> for Table<F> {
    fn write(&mut self, outcome: &Outcome<T>) -> Result<String> {
        let Ok(result) = &outcome.result else { return Ok(String::new()) };
        let text = (self.render)(result);
        let has_lines = text.lines().count() > 1;
        let gap = if self.written > 0 && has_lines { "\n" } else { "" };
        let name = match has_lines && !self.single {
            true => format!("text {}\n", printable(&plain(&outcome.id))),
            false => String::new(),
        };
        self.written += 1;
        Ok(format!("{gap}{name}{text}"))
    }
}

/// A result as an object, or why there is none.
fn object<T: Record>(outcome: &Outcome<T>) -> Result<String> {
    match &outcome.result {
        Ok(result) => result.json().map_err(|error| no_json(&error)),
        Err(error) => failed(outcome, error),
    }
}

/// Why a text has no result, as an object.
fn failed<T>(outcome: &Outcome<T>, error: &Error) -> Result<String> {
    let failed = formats::Failed {
        id: outcome.id.clone(),
        fields: outcome.fields.clone(),
        error: error.what().to_owned(),
        help: error.hint().to_owned(),
    };
    serde_json::to_string(&failed).map_err(|error| no_json(&error))
}

fn no_json(error: &serde_json::Error) -> Error {
    Error::new(ErrorKind::File, format!("this result can't be written as JSON: {error}"), "use the format csv")
}

/// One object, or a list.
struct Json {
    list: bool,
    written: usize,
}

impl<T: Record> Writer<T> for Json {
    fn write(&mut self, outcome: &Outcome<T>) -> Result<String> {
        let object = object(outcome)?;
        let before = if self.written == 0 { "[\n" } else { ",\n" };
        self.written += 1;
        Ok(if self.list { format!("{before}{object}") } else { format!("{object}\n") })
    }

    fn finish(&mut self) -> Result<String> {
        let end = match (self.list, self.written) {
            (false, _) => "",
            (true, 0) => "[]\n",
            (true, _) => "\n]\n",
        };
        Ok(end.to_owned())
    }
}

/// An object per line.
struct JsonLines;

impl<T: Record> Writer<T> for JsonLines {
    fn write(&mut self, outcome: &Outcome<T>) -> Result<String> {
        match &outcome.result {
            Ok(result) => result.json_lines().map_err(|error| no_json(&error)),
            Err(error) => Ok(failed(outcome, error)? + "\n"),
        }
    }

    fn way(&self) -> Way {
        Way::Records
    }
}

/// Comma-separated values under one header. A text without a result has no lines.
struct Csv {
    fields: Vec<String>,
    written: usize,
}

impl<T: Record> Writer<T> for Csv {
    fn write(&mut self, outcome: &Outcome<T>) -> Result<String> {
        let Ok(result) = &outcome.result else { return Ok(String::new()) };
        self.written += 1;
        Ok(result.csv(&self.fields, self.written == 1))
    }

    fn way(&self) -> Way {
        Way::Records
    }
}

/// The page of some texts, which says which others failed.
fn page(answers: &[Kept], failed: html::Failures) -> Result<String> {
    let texts: Vec<html::PageText<'_>> = answers.iter().map(Kept::on_page).collect();
    Ok(html::render(&texts, &html::HtmlOptions { failed, ..html::HtmlOptions::default() }))
}

/// An attribution, with the id of its text.
struct Kept {
    id: String,
    attribution: Attribution,
}

impl Kept {
    fn on_page(&self) -> html::PageText<'_> {
        html::PageText { id: &self.id, attribution: &self.attribution }
    }
}

/// A form that needs all attributions at once.
struct Together {
    kept: Vec<Kept>,
    failed: html::Failures,
    render: fn(&[Kept], html::Failures) -> Result<String>,
}

impl Writer<Answer> for Together {
    fn write(&mut self, outcome: &Outcome<Answer>) -> Result<String> {
        match &outcome.result {
            Ok(answer) => self.kept.push(Kept { id: plain(&outcome.id), attribution: answer.0.clone() }),
            Err(error) => self.failed.add(&plain(&outcome.id), error.what()),
        }
        Ok(String::new())
    }

    fn finish(&mut self) -> Result<String> {
        match self.kept.is_empty() && self.failed.count() > 0 {
            true => Ok(String::new()),
            false => (self.render)(&self.kept, core::mem::take(&mut self.failed)),
        }
    }
}

/// A drawing per file.
struct Svg;

impl Writer<Answer> for Svg {
    fn write(&mut self, outcome: &Outcome<Answer>) -> Result<String> {
        let drawing = |answer: &Answer| svg::render(&answer.0, &svg::SvgOptions::default());
        Ok(outcome.result.as_ref().map_or_else(|_| String::new(), drawing))
    }

    fn is_one_file_each(&self) -> bool {
        true
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;

    use serde_json::Map;

    struct Word(&'static str);

    impl Record for Word {
        fn json(&self) -> serde_json::Result<String> {
            serde_json::to_string(self.0)
        }

        fn table(&self) -> String {
            format!("{}\n{}\n", self.0, "-".repeat(self.0.len()))
        }

        fn csv(&self, _fields: &[String], with_header: bool) -> String {
            csv_lines(with_header.then(|| vec!["word".to_owned()]).into_iter().chain([vec![self.0.to_owned()]]))
        }
    }

    /// Two words with a failure between them, or none at all.
    fn written(format: &str, single: bool, outcomes: &[Outcome<Word>]) -> String {
        let options = WriterOptions { single, ..WriterOptions::default() };
        let mut writer = records::<Word>(format, &options).unwrap();
        let mut text: String = outcomes.iter().map(|outcome| writer.write(outcome).unwrap()).collect();
        text += &writer.finish().unwrap();
        text
    }

    fn outcomes() -> [Outcome<Word>; 3] {
        let of = |number: usize, result| Outcome { id: number.into(), number, fields: Map::new(), result };
        let failure = Error::new(ErrorKind::Text, "the text is empty", "write something");
        [of(0, Ok(Word("a, b"))), of(1, Err(failure)), of(2, Ok(Word("c")))]
    }

    #[test]
    fn each_form_has_a_place_for_every_result() {
        let three = outcomes();
        assert_eq!(written("table", false, &three), "text 0\na, b\n----\n\ntext 2\nc\n-\n");
        assert_eq!(
            written("json", false, &three),
            "[\n\"a, b\",\n{\"id\":1,\"error\":\"the text is empty\",\"help\":\"write something\"},\n\"c\"\n]\n"
        );
        assert_eq!(
            written("jsonl", false, &three),
            "\"a, b\"\n{\"id\":1,\"error\":\"the text is empty\",\"help\":\"write something\"}\n\"c\"\n"
        );
        assert_eq!(written("csv", false, &three), "word\n\"a, b\"\nc\n");
        assert_eq!(written("json", true, &three[..1]), "\"a, b\"\n");
        assert_eq!(written("json", false, &[]), "[]\n");
    }

    #[test]
    fn every_form_is_found_by_its_name_and_others_are_answered_with_the_nearest() {
        let options = WriterOptions::default();
        assert!(RECORDS.iter().all(|(name, _)| records::<Word>(name, &options).is_ok()));
        assert!(ANSWERS.iter().all(|(name, _)| answers(name, &options).is_ok()));
        let error = answers("jsonn", &options).err().unwrap();
        assert_eq!(error.what(), "there is no format `jsonn` (did you mean `json`?)");
    }

    #[test]
    fn texts_have_the_same_ids_in_every_form() {
        let token = |surface: &str| stepfn_models::tokenizer::Token {
            id: 0,
            surface: surface.to_owned(),
            span: 0..surface.len(),
            special: false,
        };
        let mut attribution = Attribution::new(Vec::new(), vec![token("a"), token("b")], 1..2);
        attribution.target_scores = stepfn_attribution::Scores::per_token(2, 1, vec![1.0, f32::NAN]).ok();
        let failure = Error::new(ErrorKind::Text, "the text is empty", "write something");
        let of = |number: usize, id: serde_json::Value, failure: Option<Error>| {
            let answer = Answer(Attribution { id: id.clone(), ..attribution.clone() });
            Outcome { id, number, fields: Map::new(), result: failure.map_or(Ok(answer), Err) }
        };
        let outcomes = [of(0, 1.into(), None), of(1, 2.into(), Some(failure)), of(2, "third".into(), None)];
        let named = [("csv", ["\n1,", "\nthird,"]), ("html", ["{\"id\":\"1\",", "{\"id\":\"third\","])];
        for (format, expected) in named {
            let mut writer = answers(format, &WriterOptions::default()).unwrap();
            let mut text: String = outcomes.iter().map(|outcome| writer.write(outcome).unwrap()).collect();
            text += &writer.finish().unwrap();
            assert!(expected.iter().all(|id| text.contains(id)), "{format}: {text}");
            assert!(!text.contains("\n2,") && !text.contains("{\"id\":\"2\","), "{format}");
        }
    }
}
