//! `stepfn list`: lists models, methods, step functions and so on.

use serde_json::{Map, Value};
use stepfn::backend::{self, DefaultBackend, DeviceError, DeviceInfo};
use stepfn::writers::{ANSWERS, Record, WriterOptions, aligned, csv_lines, records};
use stepfn::{Description, Registry, Stage};

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
            false => aligned(&self.columns, &self.rows),
        }
    }

    fn csv(&self, _fields: &[String], with_header: bool) -> String {
        csv_lines(with_header.then(|| self.columns.clone()).into_iter().chain(self.rows.iter().cloned()))
    }
}
