//! Tables for people, and comma-separated values.

use serde_json::{Map, Value};
use stepfn_attribution::formats::csv::{cell, plain};
use stepfn_report::is_invisible;

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

/// A text that nothing in it can move the cursor of a terminal, colour what follows or change its direction with: such characters are written as
/// `\u{1b}`, and a line break as `\n`.
pub fn printable(text: &str) -> String {
    let shown = |c: char| if is_invisible(c) { c.escape_default().to_string() } else { c.to_string() };
    match text.contains(is_invisible) {
        true => text.chars().map(shown).collect(),
        false => text.to_owned(),
    }
}

/// The same of a text with lines: line breaks and tabs stay.
pub fn printable_lines(text: &str) -> String {
    let parts = text.split_inclusive(['\n', '\t']);
    let part = |part: &str| match part.strip_suffix(['\n', '\t']) {
        Some(before) => printable(before) + &part[before.len()..],
        None => printable(part),
    };
    parts.map(part).collect()
}

/// Rows under a header, in aligned columns: numbers to the right, words to the left.
pub fn aligned(header: &[String], rows: &[Vec<String>]) -> String {
    let printable = |row: &[String]| row.iter().map(|cell| printable(cell)).collect::<Vec<String>>();
    let (header, rows) = (&printable(header), &rows.iter().map(|row| printable(row)).collect::<Vec<_>>());
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

/// A number in a file of values; nothing for NaN.
pub(crate) fn number_or_nothing(value: f32) -> String {
    if value.is_nan() { String::new() } else { value.to_string() }
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
    fn nothing_moves_the_cursor() {
        assert_eq!(printable("a\u{1b}[31m\n\u{202e}é"), "a\\u{1b}[31m\\n\\u{202e}é");
        assert_eq!(printable_lines("a\u{1b}\n\tb\r\n"), "a\\u{1b}\n\tb\\r\n");
        assert_eq!(aligned(&["a".to_owned()], &[vec!["\u{7}".to_owned()]]), "a\n\\u{7}\n");
    }

    #[test]
    fn columns_are_aligned() {
        let row = |a: &str, b: &str| vec![a.to_owned(), b.to_owned()];
        let table = aligned(&row("word", "n"), &[row("é", "10"), row("long one", "-")]);
        assert_eq!(table, "word       n\né         10\nlong one   -\n");
    }
}
