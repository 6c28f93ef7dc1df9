//! Tables for people, and comma-separated values.

use serde_json::{Map, Value};
use stepfn_attribution::formats::csv::{cell, plain};

/// Lines of comma-separated values (RFC 4180).
pub fn csv_lines(rows: impl Iterator<Item = Vec<String>>) -> String {
    rows.map(|row| csv_line(&row)).collect()
}

fn csv_line(row: &[String]) -> String {
    row.iter().map(|text| cell(text)).collect::<Vec<_>>().join(",") + "\n"
}

/// The values of these fields, as cells; a field that a text doesn't have is empty.
pub fn values<'a>(of: &'a Map<String, Value>, fields: &'a [String]) -> impl Iterator<Item = String> + 'a {
    fields.iter().map(|name| of.get(name).map_or_else(String::new, plain))
}

/// Rows under a header, in aligned columns: numbers to the right, words to the left.
pub fn aligned(header: &[String], rows: &[Vec<String>]) -> String {
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

/// What a cell without a number shows.
const NOTHING: &str = "-";

/// A number with four significant digits.
pub fn number(value: f64) -> String {
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
