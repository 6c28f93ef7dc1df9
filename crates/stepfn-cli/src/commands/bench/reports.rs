//! Reports of `stepfn bench`: written row by row, and compared.

use std::path::{Path, PathBuf};

use stepfn::destination::{Destination, Places, Way};
use stepfn::writers::{aligned, number, printable};
use stepfn_bench::compare::Comparison;
use stepfn_bench::report::{END, Machine, Outcome, Peak, Row};
use stepfn_bench::{Lengths, Report, compare};

use super::Plan;
use crate::args::{BenchArgs, BenchFormat};
use crate::failure::Failure;
use crate::input::read_whole;
use crate::output;

/// Lengths and number of texts, as in `16+16 ×8`.
pub(super) fn shown(Lengths { prompt, target, batch }: Lengths) -> String {
    format!("{prompt}+{target} ×{batch}")
}

/// Writes rows, each as soon as it is finished.
pub(super) struct Written {
    destination: Destination,
    format: BenchFormat,
    /// What comes before the first row, until it is written.
    head: String,
    rows: usize,
    /// Widths of the first three columns, which are words.
    words: [usize; 3],
}

/// Columns with numbers.
const NUMBERS: [&str; 9] =
    ["first ms", "median ms", "least ms", "most ms", "tokens/s", "texts/s", "GFLOP/s", "GB/s", "of peak"];
/// Width of a number.
const WIDTH: usize = 9;

impl Written {
    pub(super) fn open(args: &BenchArgs, report: Report, models: &[String], plan: &Plan) -> Result<Self, Failure> {
        let longest = |title: &str, words: &mut dyn Iterator<Item = usize>| words.max().unwrap_or(0).max(title.len());
        let width = |text: &str| text.chars().count();
        let words = [
            longest("model", &mut models.iter().map(|model| width(model))),
            longest("work", &mut plan.works.iter().map(|work| width(work.name()))),
            longest("texts", &mut plan.all_lengths.iter().map(|&lengths| width(&shown(lengths)))),
        ];
        let mut places = output::places(&[], &args.place);
        let destination = output::open(&args.to, Way::Records, &mut places)?;
        let mut written = Self { destination, format: args.format, head: String::new(), rows: 0, words };
        written.head = match args.format {
            BenchFormat::Json => report.head().map_err(|error| no_json(&error))?,
            BenchFormat::Table => {
                let header = NUMBERS.map(str::to_owned).into_iter().chain(["MiB".to_owned()]);
                let line = written.line(["model", "work", "texts"].map(str::to_owned), header);
                let what = about(&report.machine, report.peak);
                format!("{what}\n\n{line}")
            }
        };
        // On a terminal it is read while the first row is measured. An older file stays until there is a row.
        if args.to.output.is_none() {
            let head = core::mem::take(&mut written.head);
            written.destination.write(&head)?;
        }
        Ok(written)
    }

    pub(super) fn row(&mut self, row: &Row) -> Result<(), Failure> {
        let text = match self.format {
            BenchFormat::Json => {
                let gap = if self.rows == 0 { "" } else { ",\n" };
                format!("{gap}{}", serde_json::to_string(row).map_err(|error| no_json(&error))?)
            }
            BenchFormat::Table => self.line_of(row),
        };
        self.rows += 1;
        let head = core::mem::take(&mut self.head);
        Ok(self.destination.write(&format!("{head}{text}"))?)
    }

    pub(super) fn finish(mut self) -> Result<(), Failure> {
        if self.format == BenchFormat::Json {
            self.destination.write(END)?;
        }
        Ok(self.destination.finish()?)
    }

    fn line_of(&self, Row { case, outcome }: &Row) -> String {
        let words = [case.model.clone(), case.work.name().to_owned(), shown(case.lengths)];
        match outcome {
            Outcome::Measured(measured) => {
                let seconds = measured.seconds;
                let numbers = [
                    measured.warm_up * 1e3,
                    seconds.median * 1e3,
                    seconds.least * 1e3,
                    seconds.most * 1e3,
                    measured.tokens_per_second,
                    measured.texts_per_second,
                    measured.gflop_per_second,
                    measured.gigabytes_per_second,
                ];
                let share = format!("{:.1} %", measured.share_of_peak * 100.0);
                let mebibytes = measured.peak_memory.map_or("-".to_owned(), |bytes| (bytes >> 20).to_string());
                self.line(words, numbers.map(number).into_iter().chain([share, mebibytes]))
            }
            Outcome::Failed { error } => self.line(words, [format!("failed: {}", error.replace('\n', " "))]),
            Outcome::LeftOut { left_out } => self.line(words, [format!("left out: {left_out}")]),
        }
    }

    fn line(&self, words: [String; 3], numbers: impl IntoIterator<Item = String>) -> String {
        let words = words.iter().zip(self.words).map(|(word, width)| format!("{word:<width$}"));
        let numbers = numbers.into_iter().map(|number| format!("{number:>WIDTH$}"));
        words.chain(numbers).collect::<Vec<_>>().join("  ") + "\n"
    }
}

fn no_json(error: &serde_json::Error) -> Failure {
    Failure::work(error.to_string(), "use --format table")
}

/// A machine and its peak on one line.
fn about(machine: &Machine, peak: Peak) -> String {
    let driver = machine.driver.as_ref().map_or_else(String::new, |driver| format!(", {driver}"));
    let build = if machine.build == "release" { "" } else { " (not optimized)" };
    printable(&format!(
        "{}{driver}, {}, {}, {}; stepfn {}{build}, burn {}; peak {} GFLOP/s, {} GB/s",
        machine.device,
        machine.backend,
        machine.dtype,
        machine.system,
        machine.stepfn,
        machine.burn,
        number(peak.gflop_per_second),
        number(peak.gigabytes_per_second)
    ))
}

/// Compares report files.
pub(super) fn compare_files(args: &BenchArgs) -> Result<(), Failure> {
    let read = |path: &PathBuf| -> Result<(String, Report), Failure> {
        let name = path.display().to_string();
        let text = read_whole(path).map_err(|error| {
            Failure::work(format!("{name}: {error}"), "give files that `stepfn bench --format json` wrote")
        })?;
        let report = Report::read(&text).map_err(|error| Failure::from(error).at(&name))?;
        Ok((name, report))
    };
    let mut places = Places::default();
    args.compare.iter().for_each(|path| places.read("--compare", path));
    let mut destination = output::open(&args.to, Way::Whole, &mut places)?;
    let comparison = compare(args.compare.iter().map(read).collect::<Result<_, _>>()?);
    let text = match args.format {
        BenchFormat::Json => serde_json::to_string(&comparison).map_err(|error| no_json(&error))? + "\n",
        BenchFormat::Table => table(&comparison),
    };
    destination.write(&text)?;
    Ok(destination.finish()?)
}

fn table(comparison: &Comparison) -> String {
    let short =
        |name: &str| Path::new(name).file_stem().map_or(name.into(), |stem| stem.to_string_lossy().into_owned());
    let names: Vec<String> = comparison.reports.iter().map(|report| short(&report.name)).collect();
    let alike = (1..names.len()).any(|index| names[..index].contains(&names[index]));
    let names = if alike { comparison.reports.iter().map(|report| report.name.clone()).collect() } else { names };
    let abouts = comparison.reports.iter().zip(&names);
    let abouts = abouts.map(|(report, name)| format!("{name}: {}\n", about(&report.machine, report.peak)));
    let mut header = ["model", "work", "texts"].map(str::to_owned).to_vec();
    header.extend(names.iter().map(|name| format!("{name} ms")));
    header.extend(names.iter().skip(1).map(|name| format!("{name} ×")));
    let cell = |value: &Option<f64>| number(value.unwrap_or(f64::NAN));
    let rows = comparison.rows.iter().map(|row| {
        let words = [row.case.model.clone(), row.case.work.name().to_owned(), shown(row.case.lengths)];
        let ratios = row.times_as_fast.iter().skip(1).map(cell);
        let times = row.seconds.iter().map(|seconds| cell(&seconds.map(|seconds| seconds * 1e3)));
        words.into_iter().chain(times).chain(ratios).collect()
    });
    let rows: Vec<Vec<String>> = rows.collect();
    let note = format!("ms: the median call; ×: times as fast as {}\n", names[0]);
    format!("{}{note}\n{}", abouts.collect::<String>(), aligned(&header, &rows))
}
