//! Forms of evaluations.

use super::{Table, Writer, WriterOptions, records, unknown};
use crate::{Evaluated, Result};

/// Names and summaries of the forms of evaluations.
pub const EVALUATIONS: [(&str, &str); 4] = [
    ("table", "for people"),
    ("json", "an object"),
    ("csv", "a line per figure"),
    ("html", "a page for a browser, with curves"),
];

/// The writer of that name, for evaluations.
///
/// # Errors
/// [`ErrorKind::Format`](crate::ErrorKind::Format) if there is none.
pub fn evaluations(name: &str, options: &WriterOptions) -> Result<Box<dyn Writer<Evaluated>>> {
    match name {
        "html" => Ok(Box::new(Table { render: Evaluated::html, single: true, written: 0 })),
        _ if EVALUATIONS.iter().any(|(known, _)| *known == name) => records(name, options),
        _ => Err(unknown(name, &EVALUATIONS)),
    }
}
