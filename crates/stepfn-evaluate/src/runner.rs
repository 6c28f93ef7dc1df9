//! One text and one model: all candidates are asked which tokens they hide, every set of tokens runs once, and then they are measured.

mod games;
mod given;

use std::collections::{BTreeMap, BTreeSet};

use burn::tensor::backend::Backend;
use stepfn_attribution::contexts::Operator;
use stepfn_attribution::{
    AttributedFn, AttributionError, AttributionOptions, Passes, Side, Steps, Text, over_readings,
};
use stepfn_core::StepScore;
use stepfn_models::Model;
use stepfn_models::random::SplitMix64;

use self::games::Games;
pub use self::given::{Candidate, Given};
use crate::interval::mean;
use crate::{Measured, Metric, Plausibility, Ranking, SHARES, Settings, SoftSettings, max_sensitivity, measure, soft};

/// The order of the text, from its first token.
pub const FIRST: &str = "first_to_last";
/// The order of the text, from its last token.
pub const LAST: &str = "last_to_first";
/// Random orders.
pub const RANDOM: &str = "random";

/// What is measured, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// The metrics.
    pub metrics: Vec<Metric>,
    /// What becomes of tokens that are hidden: rows for each.
    pub operators: Vec<Operator>,
    /// Whether special tokens are among those that are hidden: rows for each.
    pub special: Vec<bool>,
    /// How scores order tokens.
    pub ranking: Ranking,
    /// Random sets for infidelity and LDS.
    pub sets: usize,
    /// Random orders that are averaged, at least one.
    pub orders: usize,
    /// The expected share of tokens of π-Soft-NC and π-Soft-NS.
    pub soft_share: f64,
    /// Their random sets.
    pub soft_draws: usize,
    /// How often max-sensitivity looks at the text with noise on its embeddings.
    pub noises: usize,
    /// The greatest noise, as a share of the root mean square of the embeddings.
    pub noise_radius: f64,
    /// Seed of everything random.
    pub seed: u64,
}

impl Default for Task {
    fn default() -> Self {
        Self {
            metrics: Metric::DEFAULT.to_vec(),
            operators: vec![Operator::Baseline, Operator::Remove],
            special: vec![false, true],
            ranking: Ranking::default(),
            sets: 32,
            orders: 5,
            soft_share: 0.2,
            soft_draws: 8,
            noises: 5,
            noise_radius: 0.02,
            seed: 0,
        }
    }
}

/// What was measured of a candidate on one text: means over the text's columns.
#[derive(Debug, Clone, PartialEq)]
pub struct TextRow {
    /// The method, [`RANDOM`], [`FIRST`] or [`LAST`].
    pub name: String,
    /// What became of hidden tokens.
    pub operator: Operator,
    /// Whether special tokens were among them.
    pub special: bool,
    /// A figure for each metric; NaN where there is none.
    pub figures: Vec<f64>,
    /// What is lost at each of [`SHARES`], the most important tokens hidden first.
    pub most: Vec<f64>,
    /// The same, the least important tokens hidden first.
    pub least: Vec<f64>,
    /// How many columns were measured: steps, or spans of steps, with at least two tokens to hide.
    pub columns: usize,
}

impl TextRow {
    /// Whether it is of the same method, operator and choice of special tokens.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        (self.name.as_str(), self.operator, self.special) == (other.name.as_str(), other.operator, other.special)
    }
}

/// A token of the text that can be hidden.
pub(crate) type Token = (Side, usize);

/// A step, or a span of steps, with the tokens that can be hidden from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) steps: Steps,
    pub(crate) features: Vec<Token>,
}

/// Sets of tokens, for each column.
type Asked = BTreeMap<usize, BTreeSet<Vec<Token>>>;

/// Measures the scores of candidates on one text, beside random orders and orders by position: all readings of it together, of which a model of masked
/// tokens has one for each step.
///
/// # Errors
/// As [`evaluate`]; a text that the model can't read.
pub fn evaluate_text<B: Backend>(
    model: &Model<B>,
    text: &Text,
    function: &AttributedFn<B>,
    options: &AttributionOptions<'_>,
    given: Given<'_>,
    task: &Task,
) -> Result<Vec<TextRow>, AttributionError> {
    let parts = over_readings(model, text, function, options, |passes| rows(passes, given, task))?;
    let mut keys: Vec<&TextRow> = Vec::new();
    for row in parts.iter().flatten() {
        if !keys.iter().any(|known| known.is_like(row)) {
            keys.push(row);
        }
    }
    // A reading of several has one column.
    let merged = |key: &TextRow| {
        let own: Vec<&TextRow> = parts.iter().flatten().filter(|row| row.is_like(key)).collect();
        let mean_of = |of: fn(&TextRow) -> &Vec<f64>| -> Vec<f64> {
            (0..of(key).len()).map(|at| mean(own.iter().map(|row| of(row)[at]))).collect()
        };
        TextRow {
            figures: mean_of(|row| &row.figures),
            most: mean_of(|row| &row.most),
            least: mean_of(|row| &row.least),
            columns: own.iter().map(|row| row.columns).sum(),
            ..key.clone()
        }
    };
    some(keys.into_iter().map(merged).collect())
}

/// Measures the scores of candidates on one reading of a text. The value is that of the attributed function at each step, or its sum over each span of the
/// [question](stepfn_attribution::Question::spans). Hidden are tokens before the column's first step: those of the source of an encoder–decoder, those of the
/// target of a causal model; of a masked copy all that are not masked. The scores of its step are the column of its [number](stepfn_attribution::Question::reading).
///
/// # Errors
/// [`AttributionError::Unsuited`] for a function that needs dropout; [`AttributionError::Text`] if no step has two tokens that can be hidden; those of the
/// model.
pub fn evaluate<B: Backend>(
    passes: &Passes<'_, B>,
    given: Given<'_>,
    task: &Task,
) -> Result<Vec<TextRow>, AttributionError> {
    some(rows(passes, given, task)?)
}

fn some(rows: Vec<TextRow>) -> Result<Vec<TextRow>, AttributionError> {
    match rows.is_empty() {
        true => Err(AttributionError::Text(
            "no step of this text has two tokens that can be hidden; give a longer prompt or source".to_owned(),
        )),
        false => Ok(rows),
    }
}

/// The rows of one reading; none if no step has two tokens that can be hidden.
fn rows<B: Backend>(passes: &Passes<'_, B>, given: Given<'_>, task: &Task) -> Result<Vec<TextRow>, AttributionError> {
    check(passes)?;
    let games = Games::new(passes)?;
    let mut rows = Vec::new();
    for &operator in &task.operators {
        let settings: Vec<(bool, Vec<Column>)> =
            task.special.iter().map(|&special| (special, columns(passes, special))).collect();
        let round = Round { passes, task, operator, marked: given.marked };
        let mut asked = [Asked::new(), Asked::new()];
        for (special, columns) in &settings {
            round.play(given.candidates, *special, columns, &mut |kind, column, sets| {
                asked[kind as usize].entry(column).or_default().extend(sets.iter().cloned());
                Ok(vec![0.0; sets.len()])
            })?;
        }
        let [tokens, embeddings] = asked;
        let all = columns(passes, true);
        let mut found = [BTreeMap::new(), BTreeMap::new()];
        if task.metrics.iter().any(|metric| metric.is_of_values()) {
            found[0] = games.values(operator, &all, &tokens)?;
        }
        if !embeddings.is_empty() {
            found[1] = games.distances(&all, &embeddings)?;
        }
        for (special, columns) in &settings {
            rows.extend(round.play(given.candidates, *special, columns, &mut |kind, column, sets| {
                let value = |set: &Vec<Token>| found[kind as usize].get(&(column, set.clone())).copied();
                Ok(sets.iter().map(|set| value(set).unwrap_or(f64::NAN)).collect())
            })?);
        }
    }
    Ok(rows)
}

/// Which game is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Values without tokens.
    Tokens,
    /// Distances without embeddings.
    Embeddings,
}

/// The values of a column without sets of tokens.
type Ask<'f> = dyn FnMut(Kind, usize, &[Vec<Token>]) -> Result<Vec<f64>, AttributionError> + 'f;

/// All candidates with one operator.
struct Round<'r, 'a, B: Backend> {
    passes: &'r Passes<'a, B>,
    task: &'r Task,
    operator: Operator,
    marked: &'r [Token],
}

impl<B: Backend> Round<'_, '_, B> {
    fn play(
        &self,
        candidates: &[Candidate],
        special: bool,
        columns: &[Column],
        ask: &mut Ask<'_>,
    ) -> Result<Vec<TextRow>, AttributionError> {
        let playable =
            |(_, column): &(usize, &Column)| column.features.len() > 1 && self.passes.has_value(column.steps);
        let columns: Vec<(usize, &Column)> = columns.iter().enumerate().filter(playable).collect();
        if columns.is_empty() {
            return Ok(Vec::new());
        }
        let reading = self.passes.question().reading();
        let mut rows = Vec::new();
        let mut row = |name: &str, with_noise: &[Candidate], scores: &dyn Fn(usize, &Column) -> Vec<Vec<f64>>| {
            let mut measured = Vec::new();
            for &(number, column) in &columns {
                let with_noise: Vec<Vec<f64>> =
                    with_noise.iter().map(|noisy| noisy.scores(column, number + reading)).collect();
                for scores in scores(number, column) {
                    let mut one = self.measured(number, column, &scores, ask)?;
                    let of_noise = self.task.metrics.iter().position(|metric| metric.is_of_noise());
                    of_noise.into_iter().for_each(|at| one.figures[at] = max_sensitivity(&scores, &with_noise));
                    measured.push(one);
                }
            }
            let mean_of = |of: fn(&Measured) -> &Vec<f64>, length: usize| -> Vec<f64> {
                (0..length).map(|at| mean(measured.iter().map(|measured| of(measured)[at]))).collect()
            };
            rows.push(TextRow {
                name: name.to_owned(),
                operator: self.operator,
                special,
                figures: mean_of(|measured| &measured.figures, self.task.metrics.len()),
                most: mean_of(|measured| &measured.most, SHARES.len()),
                least: mean_of(|measured| &measured.least, SHARES.len()),
                columns: columns.len(),
            });
            Ok::<(), AttributionError>(())
        };
        for candidate in candidates {
            let scores = |number, column: &Column| vec![candidate.scores(column, number + reading)];
            row(&candidate.name, &candidate.with_noise, &scores)?;
        }
        row(RANDOM, &[], &|number, column| {
            let draw = |draw: usize| {
                let mut random = self.random(number, 1 + draw);
                column.features.iter().map(|_| random.uniform()).collect()
            };
            (0..self.task.orders.max(1)).map(draw).collect()
        })?;
        let places = |column: &Column| (1..=column.features.len()).map(|place| place as f64);
        row(FIRST, &[], &|_, column| vec![places(column).rev().collect()])?;
        row(LAST, &[], &|_, column| vec![places(column).collect()])?;
        Ok(rows)
    }

    /// Random numbers of a column of the text.
    fn random(&self, column: usize, use_of: usize) -> SplitMix64 {
        let [seed, stream] = self.seed(column, use_of);
        SplitMix64::stream(seed, stream)
    }

    fn seed(&self, column: usize, use_of: usize) -> [u64; 2] {
        // Apart from the streams that methods draw from.
        let (seed, question) = (self.task.seed ^ 0x6661_6974_6866_756c, self.passes.question());
        let column = (column + question.reading()) as u64;
        [seed, (u64::from(question.number()) << 40) + (column << 16) + use_of as u64]
    }

    /// The metrics of one column.
    fn measured(
        &self,
        number: usize,
        column: &Column,
        scores: &[f64],
        ask: &mut Ask<'_>,
    ) -> Result<Measured, AttributionError> {
        let task = self.task;
        let sets = |hidden: &[Vec<bool>]| -> Vec<Vec<Token>> {
            let set = |hidden: &Vec<bool>| {
                column.features.iter().zip(hidden).filter(|(_, hidden)| **hidden).map(|(token, _)| *token).collect()
            };
            hidden.iter().map(set).collect()
        };
        let settings = Settings {
            metrics: task.metrics.clone(),
            ranking: task.ranking,
            log_prob_of: is_log_prob(self.passes).then(|| column.steps.len()),
            sets: task.sets,
            seed: self.seed(number, 0),
        };
        let mut measured = measure(scores, &settings, &mut |hidden| ask(Kind::Tokens, number, &sets(hidden)))?;
        if task.metrics.iter().any(|metric| metric.is_soft()) {
            let settings = SoftSettings { share: task.soft_share, draws: task.soft_draws, seed: self.seed(number, 0) };
            let [nc, ns] = soft(scores, &settings, &mut |hidden| ask(Kind::Embeddings, number, &sets(hidden)))?;
            for (figure, metric) in measured.figures.iter_mut().zip(&task.metrics) {
                match metric {
                    Metric::SoftNc => *figure = nc,
                    Metric::SoftNs => *figure = ns,
                    _ => {}
                }
            }
        }
        if task.metrics.iter().any(|metric| metric.is_of_marks()) {
            let marked: Vec<bool> = column.features.iter().map(|token| self.marked.contains(token)).collect();
            let found = Plausibility::of(scores, &marked, task.ranking);
            for (figure, metric) in measured.figures.iter_mut().zip(&task.metrics) {
                match metric {
                    Metric::Auprc => *figure = found.auprc,
                    Metric::TokenF1 => *figure = found.token_f1,
                    Metric::Iou => *figure = found.iou,
                    Metric::Mrr => *figure = found.reciprocal_rank,
                    _ => {}
                }
            }
        }
        Ok(measured)
    }
}

/// Whether the attributed function is the log-probability of the tokens.
fn is_log_prob<B: Backend>(passes: &Passes<'_, B>) -> bool {
    let function = passes.function();
    function.name() == "probability" && function.parameters().get("logprob").is_some_and(|logprob| logprob == true)
}

fn check<B: Backend>(passes: &Passes<'_, B>) -> Result<(), AttributionError> {
    let unsuited = |what: &str| Err(AttributionError::Unsuited(what.to_owned()));
    let needs = passes.function().needs();
    if needs.noisy_samples > 0 {
        return unsuited(&format!(
            "`{}` needs passes with dropout, which evaluation does not hide tokens of; use a function of one prediction, such as probability",
            passes.function().name()
        ));
    }
    Ok(())
}

/// The columns, with the tokens that can be hidden from each.
fn columns<B: Backend>(passes: &Passes<'_, B>, special: bool) -> Vec<Column> {
    let question = passes.question();
    let text = question.text();
    let column = |steps: Steps| {
        let (side, until) = match &text.source {
            Some(source) => (Side::Source, source.len()),
            None => (Side::Target, steps.start()),
        };
        let masked = question.masked();
        let hideable =
            |token: &usize| !masked.contains(token) && (special || !question.is_kept(text.ids(side)[*token]));
        Column { steps, features: (0..until).filter(hideable).map(|token| (side, token)).collect() }
    };
    question.spans(question.steps()).into_iter().map(column).collect()
}

#[cfg(test)]
mod tests;
