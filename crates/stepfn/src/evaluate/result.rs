//! What was measured of all texts, in any form.

use core::fmt;

use burn::tensor::backend::Backend;
use serde_json::{Map, Value, json};
use stepfn_attribution::Provenance;
use stepfn_evaluate::{Evaluation, Interval, Metric, Row, SHARES, TextRow};
use stepfn_report::evaluation::{self, Section};

use super::{EvaluateTask, EvaluatedText};
use crate::writers::{Record, aligned, csv_lines, number};
use crate::{Error, ErrorKind, LanguageModel, Result};

/// How faithful methods are, over all texts.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluated {
    /// For each attributed function, the methods and the orders beside them.
    pub functions: Vec<(String, Evaluation)>,
    /// How it was made.
    pub about: Provenance,
}

impl Evaluated {
    /// Puts what was measured of texts together. `seconds` is how long it took.
    ///
    /// # Errors
    /// [`ErrorKind::Text`] if there is no text.
    pub fn of<B: Backend>(
        model: &LanguageModel<B>,
        task: &EvaluateTask<B>,
        texts: &[EvaluatedText],
        seconds: f64,
    ) -> Result<Self> {
        let Some(first) = texts.first() else {
            return Err(Error::new(ErrorKind::Text, "there is no text to evaluate on", "give at least one"));
        };
        let seed = task.options.seed;
        let of_function = |(at, (name, _)): (usize, &(String, Vec<TextRow>))| {
            let rows: Vec<&[TextRow]> = texts.iter().map(|text| text.rows[at].1.as_slice()).collect();
            (name.clone(), Evaluation::of(&task.measures.metrics, &rows, seed))
        };
        let functions = first.rows.iter().enumerate().map(of_function).collect();
        let mut warnings: Vec<String> = texts.iter().flat_map(|text| text.warnings.clone()).collect();
        warnings.dedup();
        if texts.len() < 2 {
            warnings.push("there is one text, so there are no intervals; give several".to_owned());
        }
        let about = Provenance { parameters: task.parameters(), seed, seconds, warnings, ..model.provenance() };
        Ok(Self { functions, about })
    }

    /// As JSON on one line.
    ///
    /// # Errors
    /// [`ErrorKind::File`] if it can't be written as JSON.
    pub fn json(&self) -> Result<String> {
        Record::json(self).map_err(|error| {
            Error::new(ErrorKind::File, format!("this result can't be written as JSON: {error}"), "use the format csv")
        })
    }

    /// As comma-separated values under a header, a line for each figure.
    pub fn csv(&self) -> String {
        Record::csv(self, &[], true)
    }

    /// As a page with tables and curves.
    pub fn html(&self) -> String {
        let section = |(function, evaluation, operator, special, rows): Block<'_>| Section {
            title: title(function, operator, special),
            metrics: evaluation.metrics.clone(),
            rows: rows.into_iter().cloned().collect(),
        };
        let sections: Vec<Section> = self.blocks().map(section).collect();
        let Provenance { model, warnings, seconds, version, .. } = &self.about;
        let texts = sections.iter().flat_map(|section| &section.rows).map(|row| row.texts).max().unwrap_or(0);
        let made = format!("{texts} texts, {seconds:.1} s, stepfn {version}");
        evaluation::render(&format!("Faithfulness of attributions of {model}"), &made, warnings, &sections)
    }

    /// The rows of each function, operator and choice of special tokens: the best first, by the first metric.
    fn blocks(&self) -> impl Iterator<Item = Block<'_>> {
        self.functions.iter().flat_map(|(function, evaluation)| {
            let mut keys: Vec<(&'static str, bool)> = Vec::new();
            for row in &evaluation.rows {
                let key = (row.operator.name(), row.special);
                if !keys.contains(&key) {
                    keys.push(key);
                }
            }
            keys.into_iter().map(move |(operator, special)| {
                let own = |row: &&Row| row.operator.name() == operator && row.special == special;
                let mut rows: Vec<&Row> = evaluation.rows.iter().filter(own).collect();
                let better = |row: &Row| row.over_random.first().map_or(f64::NAN, |over| over.mean);
                let key = |row: &Row| if better(row).is_nan() { f64::NEG_INFINITY } else { better(row) };
                rows.sort_by(|a, b| key(b).total_cmp(&key(a)));
                (function.as_str(), evaluation, operator, special, rows)
            })
        })
    }
}

/// A function with all that was measured of it, an operator, whether special tokens are hidden, and the rows of these.
type Block<'a> = (&'a str, &'a Evaluation, &'static str, bool, Vec<&'a Row>);

fn title(function: &str, operator: &str, special: bool) -> String {
    let special = if special { "special tokens hidden too" } else { "special tokens kept" };
    format!("{function}, hidden by `{operator}`, {special}")
}

/// `0.52 [0.41, 0.61]`, with a star if the difference to random orders is above 0 in 95 of 100 samples.
fn cell(figure: &Interval, over: &Interval) -> String {
    let star = if over.low > 0.0 { " *" } else { "" };
    match figure.low.is_nan() {
        true => number(figure.mean),
        false => format!("{} [{}, {}]{star}", number(figure.mean), number(figure.low), number(figure.high)),
    }
}

impl Record for Evaluated {
    fn json(&self) -> serde_json::Result<String> {
        let metric = |metric: &Metric| {
            let better = if metric.more_is_better() { "more" } else { "less" };
            json!({ "name": metric.name(), "summary": metric.summary(), "better": better })
        };
        let metrics = self.functions.first().map(|(_, evaluation)| evaluation.metrics.iter().map(metric).collect());
        let rows = self.functions.iter().flat_map(|(function, evaluation)| {
            evaluation.rows.iter().map(move |row| {
                let figure = |(at, metric): (usize, &Metric)| {
                    let Interval { mean, low, high } = row.figures[at];
                    let over = &row.over_random[at];
                    (metric.name().to_owned(), json!({ "mean": mean, "low": low, "high": high, "over_random": over }))
                };
                let figures: Map<String, Value> = evaluation.metrics.iter().enumerate().map(figure).collect();
                json!({
                    "attributed_fn": function,
                    "method": row.name,
                    "operator": row.operator.name(),
                    "special": row.special,
                    "texts": row.texts,
                    "columns": row.columns,
                    "figures": figures,
                    "morf": row.most,
                    "lerf": row.least,
                })
            })
        });
        let rows: Vec<Value> = rows.collect();
        let metrics: Vec<Value> = metrics.unwrap_or_default();
        serde_json::to_string(&json!({ "metrics": metrics, "shares": SHARES, "rows": rows, "about": self.about }))
    }

    fn warnings(&self) -> &[String] {
        &self.about.warnings
    }

    fn table(&self) -> String {
        let block = |(function, evaluation, operator, special, rows): Block<'_>| {
            let arrow =
                |metric: &Metric| format!("{} {}", metric.name(), if metric.more_is_better() { "↑" } else { "↓" });
            let header: Vec<String> =
                core::iter::once("method".to_owned()).chain(evaluation.metrics.iter().map(arrow)).collect();
            let line = |row: &&Row| {
                let cells = row.figures.iter().zip(&row.over_random).map(|(figure, over)| cell(figure, over));
                core::iter::once(row.name.clone()).chain(cells).collect()
            };
            let lines: Vec<Vec<String>> = rows.iter().map(line).collect();
            format!("{}\n{}", title(function, operator, special), aligned(&header, &lines))
        };
        let texts = self.functions.iter().flat_map(|(_, evaluation)| &evaluation.rows).map(|row| row.texts).max();
        let legend = format!(
            "{} texts; ↑ more is better, ↓ less is better; [95 % of samples of texts]; * better than random orders\n",
            texts.unwrap_or(0)
        );
        self.blocks().map(block).chain([legend]).collect::<Vec<_>>().join("\n")
    }

    fn csv(&self, _fields: &[String], with_header: bool) -> String {
        let header = [
            "attributed_fn",
            "method",
            "operator",
            "special",
            "metric",
            "mean",
            "low",
            "high",
            "over_random",
            "over_random_low",
            "over_random_high",
            "texts",
            "columns",
        ];
        let rows = self.functions.iter().flat_map(|(function, evaluation)| {
            evaluation.rows.iter().flat_map(move |row| {
                evaluation.metrics.iter().enumerate().map(move |(at, metric)| {
                    let number = |value: f64| if value.is_nan() { String::new() } else { value.to_string() };
                    let named = [function.as_str(), &row.name, row.operator.name()].map(str::to_owned);
                    let of = [row.special.to_string(), metric.name().to_owned()];
                    let numbers = [row.figures[at], row.over_random[at]]
                        .into_iter()
                        .flat_map(|interval| [interval.mean, interval.low, interval.high].map(number));
                    let counts = [row.texts.to_string(), row.columns.to_string()];
                    named.into_iter().chain(of).chain(numbers).chain(counts).collect::<Vec<String>>()
                })
            })
        });
        csv_lines(with_header.then(|| header.map(str::to_owned).to_vec()).into_iter().chain(rows))
    }
}

impl fmt::Display for Evaluated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.table())
    }
}
