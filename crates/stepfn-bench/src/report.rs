//! Reports of runs as JSON, with everything that a comparison with another machine needs.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use stepfn_models::json_error;

use crate::BenchError;
use crate::measure::{Times, median};
use crate::operations::Needed;
use crate::workload::{Lengths, Limits, Work};

/// The `format` field of a report.
pub const FORMAT: &str = "stepfn-bench";
/// The format version. Reports in another version are not compared, because their times may mean something else.
pub const VERSION: u32 = 1;
/// The version of burn.
pub const BURN: &str = "0.21.0";

/// The measurements of one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`FORMAT`].
    pub format: String,
    /// [`VERSION`].
    pub version: u32,
    /// Where it ran.
    pub machine: Machine,
    /// The machine's peak.
    pub peak: Peak,
    /// The limits of the work.
    pub limits: Limits,
    /// The measurements. The last field, so that a report can be written row by row.
    pub rows: Vec<Row>,
}

/// Where and with what something ran.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Version of stepfn.
    pub stepfn: String,
    /// Version of burn.
    pub burn: String,
    /// `release`, or `debug`, whose times mean little.
    pub build: String,
    /// Operating system and processor architecture.
    pub system: String,
    /// The backend: `cpu`, `wgpu`, `cuda`.
    pub backend: String,
    /// The device's own name.
    pub device: String,
    /// The device's driver, if known and not part of the device's name.
    pub driver: Option<String>,
    /// Bytes of the device's memory.
    pub memory: Option<u64>,
    /// Element type.
    pub dtype: String,
    /// CPU threads.
    pub threads: usize,
}

/// The machine's peak, measured in the same run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Peak {
    /// Billions of operations per second of a large product.
    pub gflop_per_second: f64,
    /// Billions of bytes per second, read and written, of a large copy.
    pub gigabytes_per_second: f64,
}

/// What a measurement is of. Rows of two reports are compared if this is equal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Case {
    /// The model, or its shape.
    pub model: String,
    /// The work.
    pub work: Work,
    /// Number and length of the texts.
    #[serde(flatten)]
    pub lengths: Lengths,
}

/// A measurement, or the reason why there is none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// What was measured.
    #[serde(flatten)]
    pub case: Case,
    /// The result.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// The result of a measurement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Outcome {
    /// A measurement.
    Measured(Measured),
    /// It failed.
    Failed {
        /// Why.
        error: String,
    },
    /// It was not attempted.
    LeftOut {
        /// Why.
        left_out: String,
    },
}

/// The numbers of a measurement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Seconds of the first call, including compilation and the choice of kernels.
    pub warm_up: f64,
    /// Seconds of the later calls.
    pub seconds: Seconds,
    /// The number of later calls.
    pub repeats: usize,
    /// Tokens of all texts, given and predicted, per second.
    pub tokens_per_second: f64,
    /// Texts per second.
    pub texts_per_second: f64,
    /// Billions of operations that the work [needs](Needed), per second.
    pub gflop_per_second: f64,
    /// Billions of bytes that the work [needs](Needed) to move, per second.
    pub gigabytes_per_second: f64,
    /// The time that the work would take at the machine's peak, as a share of the time that it took.
    pub share_of_peak: f64,
    /// Peak memory of the program in bytes, model included, if the system reports it; does not include a GPU's memory.
    pub peak_memory: Option<u64>,
}

/// Seconds of a call.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Seconds {
    /// The median.
    pub median: f64,
    /// The shortest.
    pub least: f64,
    /// The longest.
    pub most: f64,
}

impl Measured {
    /// The numbers for work with the given times and minimum cost.
    pub fn new(times: &Times, lengths: Lengths, needed: Needed, peak: Peak, peak_memory: Option<u64>) -> Self {
        let seconds = Seconds {
            median: median(&times.calls),
            least: times.calls.iter().copied().fold(f64::INFINITY, f64::min),
            most: times.calls.iter().copied().fold(0.0, f64::max),
        };
        Self {
            warm_up: times.warm_up,
            seconds,
            repeats: times.calls.len(),
            tokens_per_second: lengths.tokens() as f64 / seconds.median,
            texts_per_second: lengths.batch as f64 / seconds.median,
            gflop_per_second: needed.operations / 1e9 / seconds.median,
            gigabytes_per_second: needed.bytes / 1e9 / seconds.median,
            share_of_peak: peak.seconds(needed) / seconds.median,
            peak_memory,
        }
    }
}

impl Peak {
    /// The minimum time for the work.
    pub fn seconds(self, needed: Needed) -> f64 {
        needed.seconds(self.gflop_per_second * 1e9, self.gigabytes_per_second * 1e9)
    }
}

impl Report {
    /// A report without measurements.
    pub fn new(machine: Machine, peak: Peak, limits: Limits) -> Self {
        Self { format: FORMAT.to_owned(), version: VERSION, machine, peak, limits, rows: Vec::new() }
    }

    /// Reads a report. If the run was interrupted while writing, the complete rows are returned.
    ///
    /// # Errors
    /// If it is not a report, or one in another version.
    pub fn read(text: &str) -> Result<Self, BenchError> {
        let none = |error: serde_json::Error| BenchError::NoReport(json_error(text, &error));
        let value: Value = match serde_json::from_str(text) {
            Ok(value) => value,
            Err(error) if error.is_eof() => cut_off(text).ok_or_else(|| none(error))?,
            Err(error) => return Err(none(error)),
        };
        if value["format"] != FORMAT {
            return Err(BenchError::NoReport(format!("its field `format` is not \"{FORMAT}\"")));
        }
        match value["version"].as_u64() {
            Some(found) if found == u64::from(VERSION) => serde_json::from_value(value).map_err(none),
            Some(found) => Err(BenchError::Version { expected: VERSION, found }),
            None => Err(BenchError::NoReport("its field `version` is not a number".to_owned())),
        }
    }

    /// The start of the JSON. Rows follow, one per line with `,` between them, and then [`END`].
    ///
    /// # Errors
    /// JSON errors, which the fields of a report can't cause.
    pub fn head(&self) -> Result<String, serde_json::Error> {
        let empty = Self { rows: Vec::new(), ..self.clone() };
        let whole = serde_json::to_string(&empty)?;
        Ok(format!("{}[\n", whole.trim_end_matches("[]}")))
    }
}

/// Parses a report whose end is missing: the rows on complete lines, plus the last row if it is complete.
fn cut_off(text: &str) -> Option<Value> {
    let before = text.rfind('\n').map_or("", |end| &text[..end]);
    let closed = |text: &str| serde_json::from_str(&format!("{}]}}", text.trim_end().trim_end_matches(','))).ok();
    closed(text).or_else(|| closed(before))
}

/// The end of the JSON, after the last row.
pub const END: &str = "\n]}\n";

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A report with the given rows, each with its seconds.
    pub(crate) fn report(device: &str, rows: &[(Work, Option<f64>)]) -> Report {
        let machine = Machine {
            stepfn: "0.1.0".to_owned(),
            burn: BURN.to_owned(),
            build: "release".to_owned(),
            system: "linux x86_64".to_owned(),
            backend: "cpu".to_owned(),
            device: device.to_owned(),
            driver: None,
            memory: Some(1 << 33),
            dtype: "f32".to_owned(),
            threads: 2,
        };
        let peak = Peak { gflop_per_second: 100.0, gigabytes_per_second: 10.0 };
        let mut report = Report::new(machine, peak, Limits::default());
        let lengths = Lengths { prompt: 3, target: 4, batch: 2 };
        report.rows = rows
            .iter()
            .map(|&(work, seconds)| {
                let case = Case { model: "tiny".to_owned(), work, lengths };
                let outcome = match seconds {
                    Some(seconds) => {
                        let times = Times { warm_up: 1.0, calls: vec![seconds] };
                        let needed = Needed { operations: 5e10, bytes: 1e9 };
                        Outcome::Measured(Measured::new(&times, lengths, needed, peak, Some(1 << 20)))
                    }
                    None => Outcome::Failed { error: "no memory".to_owned() },
                };
                Row { case, outcome }
            })
            .collect();
        report
    }

    fn streamed(report: &Report) -> String {
        let rows: Vec<String> = report.rows.iter().map(|row| serde_json::to_string(row).unwrap()).collect();
        format!("{}{}{END}", report.head().unwrap(), rows.join(",\n"))
    }

    #[test]
    fn the_burn_version_matches_the_workspace() {
        assert!(include_str!("../../../Cargo.toml").contains(&format!("burn = {{ version = \"={BURN}\"")));
    }

    #[test]
    fn speeds_use_the_median() {
        let lengths = Lengths { prompt: 3, target: 4, batch: 2 };
        let peak = Peak { gflop_per_second: 100.0, gigabytes_per_second: 10.0 };
        let times = Times { warm_up: 9.0, calls: vec![4.0, 1.0, 2.0] };
        let measured = Measured::new(&times, lengths, Needed { operations: 5e10, bytes: 1e9 }, peak, None);
        assert_eq!(measured.seconds, Seconds { median: 2.0, least: 1.0, most: 4.0 });
        assert_eq!((measured.warm_up, measured.repeats), (9.0, 3));
        assert_eq!((measured.tokens_per_second, measured.texts_per_second), (7.0, 1.0));
        assert_eq!((measured.gflop_per_second, measured.gigabytes_per_second), (25.0, 0.5));
        assert_eq!(measured.share_of_peak, 0.25);
    }

    #[test]
    fn failed_and_left_out_rows_are_marked_in_json() {
        let mut report = report("a", &[(Work::Forward, None)]);
        let json = serde_json::to_value(&report.rows[0]).unwrap();
        assert_eq!(json["error"], "no memory");
        assert_eq!((&json["work"], &json["prompt"]), (&Value::from("forward"), &Value::from(3)));
        report.rows[0].outcome = Outcome::LeftOut { left_out: "too long".to_owned() };
        assert_eq!(Report::read(&streamed(&report)).unwrap(), report);
    }

    #[test]
    fn reading_something_else_is_an_error_that_says_why() {
        let error = |text: &str| Report::read(text).unwrap_err().to_string();
        assert!(error("").contains("expected a report of `stepfn bench`"));
        assert!(error("{}").contains("`format`"));
        assert!(error("[1, 2").contains("expected a report"));
        assert!(error("{\"format\": \"stepfn-bench\"}").contains("`version`"));
        let newer = streamed(&report("a", &[])).replace("\"version\":1", "\"version\":7");
        assert_eq!(Report::read(&newer).unwrap_err(), BenchError::Version { expected: 1, found: 7 });
        let broken = streamed(&report("a", &[])).replace("\"peak\"", "\"pique\"");
        assert!(Report::read(&broken).unwrap_err().to_string().contains("peak"));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn reports_round_trip(powers in prop::collection::vec(prop::option::of(-9..9i32), 0..8)) {
            // Powers of two have few digits; other numbers may be off in the last bit.
            let seconds = powers.into_iter().map(|power| power.map(|power| 2f64.powi(power)));
            let rows: Vec<_> = Work::ALL.into_iter().zip(seconds).collect();
            let report = report("a", &rows);
            prop_assert_eq!(&Report::read(&streamed(&report)).unwrap(), &report);
            prop_assert_eq!(&Report::read(&serde_json::to_string_pretty(&report).unwrap()).unwrap(), &report);
        }

        #[test]
        fn a_truncated_report_keeps_its_complete_rows(cut in 0.0..1.0f64) {
            let report = report("a", &Work::ALL.map(|work| (work, Some(0.25))));
            let text = streamed(&report);
            let head = report.head().unwrap().len();
            let cut = head + ((text.len() - head) as f64 * cut) as usize;
            let found = Report::read(&text[..cut]).unwrap();
            let whole = text[head..cut].matches(",\n").count();
            prop_assert!(found.rows.len() >= whole);
            prop_assert_eq!(&found.rows[..], &report.rows[..found.rows.len()]);
        }
    }
}
