//! What was measured of several texts: means with intervals.

use stepfn_attribution::contexts::Operator;

use crate::interval::{Interval, intervals, mean};
use crate::runner::{RANDOM, TextRow};
use crate::{Metric, SHARES};

/// A method, with one operator, over all texts.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The method, or an order that is beside it.
    pub name: String,
    /// What became of hidden tokens.
    pub operator: Operator,
    /// Whether special tokens were among them.
    pub special: bool,
    /// For each metric, the mean over texts.
    pub figures: Vec<Interval>,
    /// For each metric, how much more faithful than random orders: the difference in each text, with the sign so that more is better.
    pub over_random: Vec<Interval>,
    /// The mean of what is lost at each of [`SHARES`], the most important tokens hidden first.
    pub most: Vec<f64>,
    /// The same, the least important tokens hidden first.
    pub least: Vec<f64>,
    /// How many texts were measured.
    pub texts: usize,
    /// How many steps, or spans of steps, these have.
    pub columns: usize,
}

/// Metrics of several methods over several texts.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// The metrics, in the order of the figures.
    pub metrics: Vec<Metric>,
    /// The methods, then the orders beside them, for each operator with and without special tokens.
    pub rows: Vec<Row>,
}

impl Evaluation {
    /// The means over texts. Each text has the rows that [`evaluate`](crate::evaluate) returned for it.
    pub fn of(metrics: &[Metric], texts: &[&[TextRow]], seed: u64) -> Self {
        let key = |row: &TextRow| (row.name.clone(), row.operator, row.special);
        let mut keys = Vec::new();
        for row in texts.iter().flat_map(|rows| rows.iter()) {
            if !keys.contains(&key(row)) {
                keys.push(key(row));
            }
        }
        let found = |name: &str, operator: Operator, special: bool| -> Vec<Option<&TextRow>> {
            let is = |row: &&TextRow| row.name == name && row.operator == operator && row.special == special;
            texts.iter().map(|rows| rows.iter().find(is)).collect()
        };
        let row = |(name, operator, special): (String, Operator, bool)| {
            let (own, random) = (found(&name, operator, special), found(RANDOM, operator, special));
            let figure = |row: Option<&TextRow>, at: usize| row.map_or(f64::NAN, |row| row.figures[at]);
            let of_metric = |at: usize| own.iter().map(|row| figure(*row, at)).collect::<Vec<f64>>();
            let over = |at: usize| {
                let sign = if metrics[at].more_is_better() { 1.0 } else { -1.0 };
                let difference = |(own, random): (&Option<&TextRow>, &Option<&TextRow>)| {
                    sign * (figure(*own, at) - figure(*random, at))
                };
                own.iter().zip(&random).map(difference).collect::<Vec<f64>>()
            };
            let known = || own.iter().flatten();
            let curve = |of: fn(&TextRow) -> &Vec<f64>| -> Vec<f64> {
                (0..SHARES.len()).map(|at| mean(known().map(|row| of(row)[at]))).collect()
            };
            Row {
                figures: intervals(&(0..metrics.len()).map(of_metric).collect::<Vec<_>>(), seed),
                over_random: intervals(&(0..metrics.len()).map(over).collect::<Vec<_>>(), seed),
                most: curve(|row| &row.most),
                least: curve(|row| &row.least),
                texts: known().count(),
                columns: known().map(|row| row.columns).sum(),
                name,
                operator,
                special,
            }
        };
        let rows = keys.into_iter().map(row).collect();
        Self { metrics: metrics.to_vec(), rows }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_of_the_same_text_and_more_is_better() {
        let row = |name: &str, figures: [f64; 2]| TextRow {
            name: name.to_owned(),
            operator: Operator::Remove,
            special: false,
            figures: figures.to_vec(),
            most: vec![1.0; SHARES.len()],
            least: vec![f64::NAN; SHARES.len()],
            columns: 3,
        };
        // Texts differ much more than methods do.
        let texts: Vec<Vec<TextRow>> = (0..12)
            .map(|text| {
                let easy = f64::from(text * text);
                let noise = f64::from(text % 3) / 10.0;
                vec![row("ours", [easy + 1.0 + noise, easy - 2.0 - noise]), row(RANDOM, [easy, easy])]
            })
            .collect();
        let texts: Vec<&[TextRow]> = texts.iter().map(Vec::as_slice).collect();
        let found = Evaluation::of(&[Metric::Comprehensiveness, Metric::Sufficiency], &texts, 0);
        assert_eq!(found.rows.iter().map(|row| row.name.as_str()).collect::<Vec<_>>(), ["ours", RANDOM]);
        let ours = &found.rows[0];
        assert!(ours.figures[0].low < 30.0 && ours.figures[0].high > 50.0, "{:?}", ours.figures);
        for (over, expected) in ours.over_random.iter().zip([1.1, 2.1]) {
            assert!((over.mean - expected).abs() < 1e-9 && over.low > expected - 0.1 && over.high < expected + 0.1);
        }
        assert_eq!((ours.texts, ours.columns), (12, 36));
        assert!(ours.most[0] == 1.0 && ours.least[0].is_nan());
        assert_eq!(found.rows[1].over_random[0].mean, 0.0);
    }
}
