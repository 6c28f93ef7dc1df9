//! `stepfn list`: what there is.

use serde_json::{Map, Value};
use stepfn_models::families;

use crate::args::{ListArgs, Listing};
use crate::backend;
use crate::failure::Failure;
use crate::output::{Record, Sink, aligned, csv_lines};

/// Lists what was asked for.
pub(super) fn run(args: &ListArgs) -> Result<(), Failure> {
    let list = match args.what {
        Listing::Models => models(),
        Listing::Families => families(),
        Listing::StepFunctions => step_functions(),
        Listing::Backends => backends(),
        Listing::Methods => methods(),
        Listing::Aggregators => aggregators(),
    };
    let mut sink = Sink::open(&args.output.to, args.output.format, true)?;
    sink.write(&list)?;
    sink.finish()
}

fn models() -> List {
    let row = |model: &stepfn_zoo::EmbeddedModel| {
        let config: Value = serde_json::from_str(model.config).unwrap_or_default();
        let family = config["model_type"].as_str().unwrap_or_default();
        [model.name, family, model.summary].map(str::to_owned).to_vec()
    };
    List::new(&["name", "family", "summary"], stepfn_zoo::all().iter().map(row).collect())
}

fn families() -> List {
    List::new(&["name"], families::all().iter().map(|family| vec![family.name.to_owned()]).collect())
}

fn step_functions() -> List {
    let functions = backend::step_functions().into_iter();
    let row = |about: stepfn_core::About| {
        let parameters = about.parameters.iter().map(|(name, default)| format!("{name}={default}"));
        vec![about.name, about.unit, parameters.collect::<Vec<_>>().join(" "), about.summary]
    };
    List::new(&["name", "unit", "parameters", "summary"], functions.map(row).collect())
}

fn methods() -> List {
    let row = |about: stepfn_attribution::AboutMethod| {
        let parameters = about.parameters.iter().map(|(name, default)| format!("{name}={default}"));
        vec![about.name.to_owned(), parameters.collect::<Vec<_>>().join(" "), about.summary.to_owned()]
    };
    List::new(&["name", "parameters", "summary"], stepfn_attribution::methods().into_iter().map(row).collect())
}

fn aggregators() -> List {
    let row = |(name, summary): (&str, &str)| vec![name.to_owned(), summary.to_owned()];
    List::new(&["name", "summary"], stepfn_attribution::aggregation::Stage::ABOUT.into_iter().map(row).collect())
}

fn backends() -> List {
    let row = |(name, device): (&str, Result<stepfn_core::device::DeviceInfo, _>)| {
        let device =
            device.map_or_else(|error: stepfn_core::device::DeviceError| error.to_string(), |info| info.to_string());
        vec![name.to_owned(), device]
    };
    List::new(&["name", "device"], backend::all().into_iter().map(row).collect())
}

/// A table.
struct List {
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl List {
    fn new(columns: &[&str], rows: Vec<Vec<String>>) -> Self {
        Self { columns: columns.iter().map(|&column| column.to_owned()).collect(), rows }
    }
}

impl Record for List {
    fn json(&self) -> Result<String, serde_json::Error> {
        let object = |row: &Vec<String>| -> Map<String, Value> {
            self.columns.iter().cloned().zip(row.iter().cloned().map(Value::String)).collect()
        };
        serde_json::to_string(&self.rows.iter().map(object).collect::<Vec<_>>())
    }

    fn table(&self) -> String {
        match self.rows.is_empty() {
            true => "none in this program\n".to_owned(),
            false => aligned(&self.columns, &self.rows),
        }
    }

    fn csv(&self, with_header: bool) -> String {
        csv_lines(with_header.then(|| self.columns.clone()).into_iter().chain(self.rows.iter().cloned()))
    }
}
