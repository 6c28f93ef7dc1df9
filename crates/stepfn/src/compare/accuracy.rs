//! How often the expected text is preferred, with intervals.

use std::collections::BTreeMap;

use serde::Serialize;
use stepfn_evaluate::{Interval, intervals};

use super::Comparison;
use crate::destination::Way;
use crate::writers::{Writer, WriterOptions, aligned, csv_lines, number, plain, printable, records};
use crate::{Error, ErrorKind, Outcome, Result};

/// How often the first text of a group of comparisons is preferred.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Accuracy {
    /// The group; `None` for all comparisons together.
    pub group: Option<String>,
    /// Number of comparisons.
    pub n: usize,
    /// The share in which the first text is preferred. A tie is none of them.
    pub accuracy: f64,
    /// The lower end of an interval that holds the share in 95 of 100 samples; `None` for a single comparison.
    pub low: Option<f64>,
    /// The upper end.
    pub high: Option<f64>,
}

/// Counts preferences by group.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    groups: BTreeMap<String, Vec<bool>>,
    /// In the order in which groups are met.
    order: Vec<String>,
    all: Vec<bool>,
    seed: u64,
}

impl Tally {
    fn add(&mut self, comparison: &Comparison) {
        self.seed = comparison.about.seed;
        self.all.push(comparison.prefers);
        if let Some(group) = &comparison.group {
            let group = plain(group);
            if !self.groups.contains_key(&group) {
                self.order.push(group.clone());
            }
            self.groups.entry(group).or_default().push(comparison.prefers);
        }
    }

    /// A row for each group, and one for all of them.
    pub(crate) fn rows(&self) -> Vec<Accuracy> {
        let groups =
            self.order.iter().map(|name| (Some(name.clone()), self.groups.get(name).map_or(&[][..], Vec::as_slice)));
        groups.chain([(None, self.all.as_slice())]).map(|(group, found)| accuracy(group, found, self.seed)).collect()
    }
}

/// The share, with an interval by bootstrap.
fn accuracy(group: Option<String>, found: &[bool], seed: u64) -> Accuracy {
    let preferred: Vec<f64> = found.iter().map(|&prefers| f64::from(u8::from(prefers))).collect();
    let Interval { mean, low, high } = intervals(&[preferred], seed)[0];
    let end = |end: f64| Some(end).filter(|end| !end.is_nan());
    Accuracy { group, n: found.len(), accuracy: mean, low: end(low), high: end(high) }
}

/// A form of the shares.
type Summary = fn(&[Accuracy]) -> Result<String>;

/// Writes comparisons, or only how often the first text is preferred.
struct Compared {
    pairs: Option<Box<dyn Writer<Comparison>>>,
    /// Whether the shares are written at the end, and how.
    summary: Option<Summary>,
    tally: Tally,
}

/// A writer of comparisons in a form of [`RECORDS`](crate::writers::RECORDS). With `only_summary`, it writes how often the first text is preferred, by group and in all;
/// a table of several comparisons ends with that.
///
/// # Errors
/// [`ErrorKind::Format`] if there is no such form.
pub fn comparisons(name: &str, options: &WriterOptions, only_summary: bool) -> Result<Box<dyn Writer<Comparison>>> {
    let pairs = records(name, options)?;
    let summary: Summary = match name {
        "csv" => |rows| Ok(csv(rows)),
        "json" => |rows| Ok(json(&rows)? + "\n"),
        "jsonl" => |rows| Ok(rows.iter().map(|row| Ok(json(row)? + "\n")).collect::<Result<Vec<String>>>()?.concat()),
        _ => |rows| Ok(table(rows)),
    };
    let at_end = only_summary || (name == "table" && !options.single);
    let pairs = (!only_summary).then_some(pairs);
    Ok(Box::new(Compared { pairs, summary: at_end.then_some(summary), tally: Tally::default() }))
}

impl Writer<Comparison> for Compared {
    fn write(&mut self, outcome: &Outcome<Comparison>) -> Result<String> {
        if let Ok(comparison) = &outcome.result {
            self.tally.add(comparison);
        }
        self.pairs.as_mut().map_or_else(|| Ok(String::new()), |pairs| pairs.write(outcome))
    }

    fn finish(&mut self) -> Result<String> {
        let end = self.pairs.as_mut().map_or_else(|| Ok(String::new()), |pairs| pairs.finish())?;
        match self.summary {
            Some(summary) if !self.tally.all.is_empty() => {
                let gap = if self.pairs.is_some() { "\n" } else { "" };
                Ok(end + gap + &summary(&self.tally.rows())?)
            }
            _ => Ok(end),
        }
    }

    fn way(&self) -> Way {
        match (&self.pairs, self.summary) {
            (Some(pairs), None) => pairs.way(),
            _ => Way::Whole,
        }
    }
}

fn json<T: Serialize + ?Sized>(rows: &T) -> Result<String> {
    serde_json::to_string(rows).map_err(|error| Error::new(ErrorKind::File, error.to_string(), "use the format csv"))
}

fn cells(row: &Accuracy, shown: fn(f64) -> String) -> [String; 5] {
    let end = |value: Option<f64>| value.map_or_else(String::new, shown);
    let group = row.group.clone().unwrap_or_else(|| "all".to_owned());
    [group, row.n.to_string(), shown(row.accuracy), end(row.low), end(row.high)]
}

fn table(rows: &[Accuracy]) -> String {
    let header = ["group", "n", "accuracy", "from", "to"].map(str::to_owned);
    let row = |row: &Accuracy| {
        let [group, rest @ ..] = cells(row, number);
        [printable(&group)].into_iter().chain(rest).collect()
    };
    aligned(&header, &rows.iter().map(row).collect::<Vec<_>>())
}

fn csv(rows: &[Accuracy]) -> String {
    let header = ["group", "n", "accuracy", "low", "high"].map(str::to_owned).to_vec();
    csv_lines(core::iter::once(header).chain(rows.iter().map(|row| cells(row, |value| value.to_string()).to_vec())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_hold_the_share_and_are_as_wide_as_its_error() {
        let found: Vec<bool> = (0..400).map(|number| number % 4 != 0).collect();
        let Accuracy { n, accuracy: share, low, high, .. } = accuracy(None, &found, 7);
        assert_eq!((n, share), (400, 0.75));
        let (low, high) = (low.unwrap_or(f64::NAN), high.unwrap_or(f64::NAN));
        // 1.96 · sqrt(0.75 · 0.25 / 400) = 0.042.
        assert!((low - 0.708).abs() < 0.008 && (high - 0.792).abs() < 0.008, "{low} {high}");
        let one = accuracy(None, &[true], 7);
        assert_eq!((one.accuracy, one.low, one.high), (1.0, None, None));
        assert_eq!(accuracy(None, &found, 7), accuracy(None, &found, 7));
    }
}
