//! Writing results: one at a time, whole, in the form that was asked for.

use std::fs::File;
use std::io::{self, BufWriter, Write};

use serde_json::json;

use crate::args::{DestinationArgs, Format};
use crate::failure::Failure;

/// A result in all its forms.
pub(crate) trait Record {
    /// As an object.
    fn json(&self) -> Result<String, serde_json::Error>;
    /// For people, lines and all.
    fn table(&self) -> String;
    /// As lines of comma-separated values, under their names if these are asked for.
    fn csv(&self, with_header: bool) -> String;
}

/// Where results go.
pub(crate) struct Sink {
    out: BufWriter<Box<dyn Write>>,
    name: String,
    format: Format,
    /// Whether JSON is a list.
    list: bool,
    written: usize,
}

impl Sink {
    /// Opens the file, or standard output. `single`: there will be one result only.
    pub(crate) fn open(args: &DestinationArgs, format: Format, single: bool) -> Result<Self, Failure> {
        let (name, out): (String, Box<dyn Write>) = match &args.output {
            None => ("standard output".to_owned(), Box::new(io::stdout())),
            Some(path) => {
                let name = path.display().to_string();
                let file = File::create(path)
                    .map_err(|error| Failure::work(format!("{name}: {error}"), "give -o a file that can be written"))?;
                (name, Box::new(file))
            }
        };
        Ok(Self { out: BufWriter::new(out), name, format, list: !single, written: 0 })
    }

    /// Writes a result, whole: whoever reads on, or ends this program, has no half of it.
    pub(crate) fn write(&mut self, record: &impl Record) -> Result<(), Failure> {
        let text = match self.format {
            Format::Table => {
                let gap = if self.written > 0 && record.table().lines().count() > 1 { "\n" } else { "" };
                format!("{gap}{}", record.table())
            }
            Format::Json | Format::Jsonl => {
                let json = record.json().map_err(|error| Failure::work(error.to_string(), "use --format csv"))?;
                self.framed(&json)
            }
            Format::Csv => record.csv(self.written == 0),
        };
        self.put(&text)
    }

    /// Writes something that is whole by itself.
    pub(crate) fn text(&mut self, text: &str) -> Result<(), Failure> {
        self.put(text)
    }

    /// Writes, where the form has a place for it, that a text has no result.
    pub(crate) fn fail(&mut self, failure: &Failure) -> Result<(), Failure> {
        match self.format {
            Format::Table | Format::Csv => Ok(()),
            Format::Json | Format::Jsonl => {
                let json = json!({ "error": failure.what }).to_string();
                let text = self.framed(&json);
                self.put(&text)
            }
        }
    }

    /// Writes what comes after the last result. A full disk shows here at the latest.
    pub(crate) fn finish(mut self) -> Result<(), Failure> {
        if self.format == Format::Json && self.list {
            let end = if self.written == 0 { "[]\n" } else { "\n]\n" };
            self.put(end)?;
        }
        Ok(())
    }

    fn framed(&self, json: &str) -> String {
        match (self.format, self.list) {
            (Format::Json, true) => format!("{}{json}", if self.written == 0 { "[\n" } else { ",\n" }),
            _ => format!("{json}\n"),
        }
    }

    fn put(&mut self, text: &str) -> Result<(), Failure> {
        self.written += 1;
        let done = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
        done.map_err(|error| Failure::output(&self.name, &error))
    }
}

/// Lines of comma-separated values.
pub(crate) fn csv_lines(rows: impl Iterator<Item = Vec<String>>) -> String {
    rows.map(|row| csv_line(&row)).collect()
}

/// A line of comma-separated values (RFC 4180).
fn csv_line(row: &[String]) -> String {
    let cell = |text: &String| match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.clone(),
    };
    row.iter().map(cell).collect::<Vec<_>>().join(",") + "\n"
}

/// Rows under a header, columns aligned: numbers to the right, words to the left.
pub(crate) fn aligned(header: &[String], rows: &[Vec<String>]) -> String {
    let width = |text: &str| text.chars().count();
    let columns = header.len();
    let cells = |column: usize| rows.iter().filter_map(move |row| row.get(column)).map(String::as_str);
    let widths: Vec<usize> = (0..columns)
        .map(|column| cells(column).chain([header[column].as_str()]).map(width).max().unwrap_or(0))
        .collect();
    let numeric: Vec<bool> =
        (0..columns).map(|column| cells(column).all(|cell| cell == NOTHING || cell.parse::<f64>().is_ok())).collect();
    let line = |row: &[String]| {
        let cell = |(column, text): (usize, &String)| {
            let space = " ".repeat(widths[column].saturating_sub(width(text)));
            if numeric[column] { format!("{space}{text}") } else { format!("{text}{space}") }
        };
        row.iter().enumerate().map(cell).collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    let mut table = line(header);
    rows.iter().for_each(|row| table.push_str(&line(row)));
    table
}

/// What stands where there is no number.
const NOTHING: &str = "-";

/// A number with four digits that mean something.
pub(crate) fn number(value: f64) -> String {
    let size = value.abs();
    if value.is_nan() {
        NOTHING.to_owned()
    } else if size == 0.0 || (1000.0..1e7).contains(&size) {
        format!("{value:.0}")
    } else if (1e-3..1000.0).contains(&size) {
        let digits = 3 - size.log10().floor() as i32;
        format!("{value:.*}", usize::try_from(digits).unwrap_or(0))
    } else {
        format!("{value:.3e}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (0.123456, "0.1235"),
            (-12.3456, "-12.35"),
            (0.00123456, "0.001235"),
            (0.000123456, "1.235e-4"),
            (123456.0, "123456"),
            (1e9, "1.000e9"),
            (f64::NAN, "-"),
            (f64::INFINITY, "inf"),
        ] {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn cells_of_csv_are_quoted_where_they_must_be() {
        let row = ["a", "b,c", "say \"x\"", "two\nlines"].map(str::to_owned);
        assert_eq!(csv_line(&row), "a,\"b,c\",\"say \"\"x\"\"\",\"two\nlines\"\n");
    }

    #[test]
    fn columns_are_aligned() {
        let row = |a: &str, b: &str| vec![a.to_owned(), b.to_owned()];
        let table = aligned(&row("word", "n"), &[row("é", "10"), row("long one", "-")]);
        assert_eq!(table, "word       n\né         10\nlong one   -\n");
    }
}
