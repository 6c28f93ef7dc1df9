//! `stepfn list`: lists models, methods, step functions and so on.

use serde_json::{Map, Value};
use stepfn::backend::{self, DefaultBackend, DeviceError, DeviceInfo};
use stepfn::writers::{ANSWERS, Record, WriterOptions, aligned, csv_lines, records};
use stepfn::{Description, Registry, Stage};

use super::view;
use crate::args::{ListArgs, Listing};
use crate::failure::Failure;
use crate::output::write_one;

/// Prints the list.
pub(super) fn run(args: &ListArgs) -> Result<(), Failure> {
    let list = match args.what {
        Listing::Models => List::new(&["name", "family", "summary"], stepfn::models().into_iter().map(Vec::from)),
        Listing::Families => List::new(&["name"], stepfn::families().map(|family| vec![family.to_owned()])),
        Listing::StepFunctions => step_functions(),
        Listing::Backends => backends(),
        Listing::Methods => methods(),
        Listing::Aggregators => pairs(&Stage::ABOUT),
        Listing::Formats => pairs(&ANSWERS),
    };
    let options = WriterOptions { single: true, ..WriterOptions::default() };
    write_one(&args.output.to, records(&args.output.format, &options)?, list)
}

fn step_functions() -> List {
    let registry = Registry::<DefaultBackend>::default();
    let row = |function: &Description| {
        vec![function.name.clone(), function.unit.clone(), parameters(function), function.summary.clone()]
    };
    List::new(&["name", "unit", "parameters", "summary"], registry.functions().map(row))
}

fn methods() -> List {
    let registry = Registry::<DefaultBackend>::default();
    let row = |method: &Description| vec![method.name.clone(), parameters(method), method.summary.clone()];
    List::new(&["name", "parameters", "summary"], registry.methods().map(row))
}

fn parameters(of: &Description) -> String {
    let parameters = of.parameters.iter().map(|(name, default)| format!("{name}={default}"));
    parameters.collect::<Vec<_>>().join(" ")
}

fn pairs(all: &[(&str, &str)]) -> List {
    List::new(&["name", "summary"], all.iter().map(|(name, summary)| [*name, *summary].map(str::to_owned).to_vec()))
}

fn backends() -> List {
    let row = |(name, device): (&str, Result<DeviceInfo, DeviceError>)| {
        vec![name.to_owned(), device.map_or_else(|error| error.to_string(), |info| info.to_string())]
    };
    List::new(&["name", "device"], backend::all().into_iter().map(row))
}

/// A table.
struct List {
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl List {
    fn new(columns: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> Self {
        let columns = columns.iter().map(|&column| column.to_owned()).collect();
        Self { columns, rows: rows.into_iter().collect() }
    }

    /// The rows, with the columns' names.
    fn objects(&self) -> impl Iterator<Item = Map<String, Value>> {
        let object =
            |row: &Vec<String>| self.columns.iter().cloned().zip(row.iter().cloned().map(Value::String)).collect();
        self.rows.iter().map(object)
    }
}

/// Width of lists that are not shown on a terminal.
const WIDEST: usize = 100;

impl List {
    /// The rows as a table; as paragraphs where a table would be too wide.
    fn within(&self, width: usize) -> String {
        let table = aligned(&self.columns, &self.rows);
        if table.lines().all(|line| line.chars().count() <= width) {
            return table;
        }
        self.rows.iter().map(|row| self.paragraphs(row, width)).collect()
    }

    /// A row with a line for its name, and below it the other cells, the summary first.
    fn paragraphs(&self, row: &[String], width: usize) -> String {
        let cells = self.columns.iter().zip(row).skip(1).filter(|(_, cell)| !cell.is_empty());
        let (summary, others): (Vec<_>, Vec<_>) = cells.partition(|(column, _)| *column == "summary");
        let summary = summary.into_iter().map(|(_, cell)| cell.clone());
        let lines = summary.chain(others.into_iter().map(|(column, cell)| format!("{column}: {cell}")));
        lines.fold(format!("{}\n", row[0]), |text, line| text + &wrapped(&line, width))
    }
}

/// A text in indented lines that break between words.
fn wrapped(text: &str, width: usize) -> String {
    const INDENT: &str = "    ";
    let mut lines = vec![INDENT.to_owned()];
    for word in text.split_whitespace() {
        let line = lines.last().map_or(0, |line| line.chars().count());
        if line > INDENT.len() && line + 1 + word.chars().count() > width {
            lines.push(INDENT.to_owned());
        }
        if let Some(line) = lines.last_mut() {
            line.push_str(if line.len() > INDENT.len() { " " } else { "" });
            line.push_str(word);
        }
    }
    lines.join("\n") + "\n"
}

impl Record for List {
    fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string(&self.objects().collect::<Vec<_>>())
    }

    fn json_lines(&self) -> serde_json::Result<String> {
        self.objects().map(|object| Ok(serde_json::to_string(&object)? + "\n")).collect()
    }

    fn table(&self) -> String {
        match self.rows.is_empty() {
            true => "none in this program\n".to_owned(),
            false => self.within(view::terminal_width().unwrap_or(WIDEST)),
        }
    }

    fn csv(&self, _fields: &[String], with_header: bool) -> String {
        csv_lines(with_header.then(|| self.columns.clone()).into_iter().chain(self.rows.iter().cloned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_list_is_wider_than_the_terminal() {
        let lists = [methods(), step_functions(), pairs(&Stage::ABOUT), pairs(&ANSWERS)];
        for list in lists {
            let names: Vec<&String> = list.rows.iter().map(|row| &row[0]).collect();
            for width in [60, 80, 100, 400] {
                let text = list.within(width);
                let too_wide = text.lines().find(|line| line.chars().count() > width && line.contains(' '));
                // A single word may be too long to break.
                assert!(too_wide.is_none_or(|line| line.split_whitespace().count() == 1), "{width}: {too_wide:?}");
                assert!(names.iter().all(|name| text.contains(name.as_str())), "{text}");
            }
        }
    }
}
