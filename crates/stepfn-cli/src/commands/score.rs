//! `stepfn score`: step functions of texts.

use std::time::Instant;

use burn::tensor::backend::Backend;
use serde_json::Map;
use stepfn_attribution::{Prepared, Progress, ScoredTokens, ScoringOptions, Text, TextScores, score};
use stepfn_core::{Registry, StepFunction};
use stepfn_models::config::{DropoutRates, TransformerConfig};

use super::Results;
use super::parameters::{Owner, assigned, everywhere, of_function};
use crate::args::{ParameterArgs, ScoreArgs};
use crate::backend::{OnBackend, Place, dispatch};
use crate::failure::Failure;
use crate::input::{Asked, Typed};
use crate::model::Loaded;
use crate::output::{Record, Sink, aligned, csv_lines, number};
use crate::progress::Teller;

/// Scores texts.
pub(super) fn run(args: &ScoreArgs) -> Result<(), Failure> {
    dispatch(&args.model, Score(args))
}

struct Score<'a>(&'a ScoreArgs);

impl OnBackend for Score<'_> {
    fn run<B: Backend>(self, place: Place<B>) -> Result<(), Failure> {
        let args = self.0;
        // What is typed wrong shows before a model is loaded.
        let functions = functions::<B>(&args.step_fn, &args.parameters)?;
        let typed = Typed::new(&args.texts, &args.contrast)?;
        let started = Instant::now();
        let loaded = Loaded::load(&args.model, &args.generation, &place)?;
        let config = loaded.model.config();
        let mut inputs = typed.read_by(config.is_encoder_decoder())?;
        let single = inputs.is_single();
        let teller = Teller::new(&args.output.to, inputs.len());
        teller.note(|| format!("{} ({}) on {}: {}", loaded.name, config.family, place.backend, place.about));
        teller.note(|| format!("loaded in {:.2} s", started.elapsed().as_secs_f64()));
        warn_of_no_dropout(&functions, args.parameters.dropout, config, &teller);
        let memory = args.model.memory.unwrap_or_else(|| place.memory());
        let mut results = Results::new(Sink::open(&args.output.to, args.output.format, single)?, teller, single);
        let started = Instant::now();
        loop {
            let window = inputs.next_window()?;
            if window.is_empty() {
                break;
            }
            let first = results.all;
            let told = |progress: Progress| results.teller.done(first + progress.texts);
            let options = ScoringOptions {
                seed: args.model.seed,
                rates: args.parameters.dropout.map(everywhere),
                first_number: first as u32,
                memory,
                batch_tokens: args.model.batch_tokens,
                progress: Some(&told),
            };
            for (number, scored) in (first..).zip(score_window(&loaded, window, &functions, &options)?) {
                results.write(scored.map(|(prepared, scores)| Scored { number, prepared, scores }))?;
            }
        }
        let all = results.all;
        results.teller.note(|| format!("{all} texts in {:.2} s", started.elapsed().as_secs_f64()));
        results.finish()
    }
}

/// A text and its scores, or why it has none.
type Outcome = Result<(Prepared, TextScores), Failure>;

/// Prepares and scores some texts together: one result each, in their order.
fn score_window<B: Backend>(
    loaded: &Loaded<B>,
    window: Vec<Asked>,
    functions: &[Box<dyn StepFunction<B>>],
    options: &ScoringOptions<'_>,
) -> Result<Vec<Outcome>, Failure> {
    let preparer = loaded.preparer();
    let first = options.first_number as usize;
    let mut places = Vec::with_capacity(window.len());
    let mut prepared: Vec<Result<Prepared, Failure>> = Vec::with_capacity(window.len());
    for (index, Asked { request, spans, place }) in window.into_iter().enumerate() {
        let made = request.and_then(|request| {
            let made = spans.none().and_then(|()| Ok(preparer.prepare(&request, first + index)?));
            made.map_err(|failure| located(failure, place.as_deref()))
        });
        prepared.push(made);
        places.push(place);
    }
    // A text that could not be made keeps its place, for the numbers of the others depend on it.
    let nothing = Text { source: None, target: Vec::new(), steps: 0..0, contrast: None };
    let text =
        |made: &Result<Prepared, Failure>| made.as_ref().map_or_else(|_| nothing.clone(), |made| made.text.clone());
    let texts: Vec<Text> = prepared.iter().map(text).collect();
    let scores = score(&loaded.model, &texts, functions, options)?;
    let results = prepared.into_iter().zip(scores).zip(places).map(|((made, scores), place)| {
        let made = made?;
        let scores = scores.map_err(|error| located(error.into(), place.as_deref()))?;
        Ok((made, scores))
    });
    Ok(results.collect())
}

fn located(failure: Failure, place: Option<&str>) -> Failure {
    place.map_or(failure.clone(), |place| failure.at(place))
}

/// The step functions that were asked for, with their parameters.
fn functions<B: Backend>(names: &[String], args: &ParameterArgs) -> Result<Vec<Box<dyn StepFunction<B>>>, Failure> {
    let registry = Registry::<B>::default();
    for (index, name) in names.iter().enumerate() {
        // An unknown name is answered before its parameters are looked at.
        registry.make(name, &Map::new())?;
        if names[..index].contains(name) {
            return Err(Failure::usage(format!("--step-fn: `{name}` twice"), "name each step function once"));
        }
    }
    let owners: Vec<Owner> = names.iter().map(|name| of_function(&registry, name)).collect();
    let add = |function: &str| format!("add it with --step-fn {function}");
    let parameters = assigned(&owners, &args.set, ("the step functions", add))?;
    names.iter().zip(&parameters).map(|(name, own)| registry.make(name, own).map_err(Failure::from)).collect()
}

/// Passes that drop nothing are all the same, and a mean of them says nothing.
fn warn_of_no_dropout<B: Backend>(
    functions: &[Box<dyn StepFunction<B>>],
    asked: Option<f64>,
    config: &TransformerConfig,
    teller: &Teller,
) {
    let Some(noisy) = functions.iter().find(|function| function.needs().noisy_samples > 0) else { return };
    let mut stacks = config.encoder.iter().chain([&config.decoder]);
    let drops_nothing = match asked {
        Some(rate) => rate == 0.0,
        None => stacks.all(|stack| stack.dropout == DropoutRates::default()),
    };
    if drops_nothing {
        let name = noisy.name();
        teller.warn(&format!(
            "`{name}` asks a model again with dropout, and the rates are all 0: give one with --dropout"
        ));
    }
}

/// A text and its scores.
struct Scored {
    number: usize,
    prepared: Prepared,
    scores: TextScores,
}

impl Scored {
    /// A cell per score at a position, in the order of the functions.
    fn cells(&self, position: usize, cell: impl Fn(f32) -> String) -> Vec<String> {
        let step = position.checked_sub(self.scores.first);
        let value = |values: &Vec<f32>| step.and_then(|step| values.get(step)).copied();
        self.scores.scores.iter().map(|(_, values)| value(values).map_or_else(String::new, &cell)).collect()
    }

    fn names(&self) -> impl Iterator<Item = String> {
        self.scores.scores.iter().map(|(name, _)| name.clone())
    }
}

impl Record for Scored {
    fn json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(&ScoredTokens { tokens: &self.prepared.target, scores: &self.scores })
    }

    fn table(&self) -> String {
        let header: Vec<String> = ["#", "token"].map(str::to_owned).into_iter().chain(self.names()).collect();
        let row = |position: usize| {
            let token = visible(&self.prepared.target[position].surface);
            let scores = self.cells(position, |value| number(f64::from(value)));
            [position.to_string(), token].into_iter().chain(scores).collect()
        };
        let rows: Vec<Vec<String>> = (self.scores.first..self.prepared.target.len()).map(row).collect();
        let sequence = self.scores.sequence;
        let [logprob, perplexity, entropy] = [sequence.logprob, sequence.perplexity, sequence.mean_entropy].map(number);
        format!("{}logprob {logprob}, perplexity {perplexity}, mean entropy {entropy}\n", aligned(&header, &rows))
    }

    fn csv(&self, with_header: bool) -> String {
        let fixed = ["text", "position", "token", "id", "start", "end"].map(str::to_owned);
        let header: Vec<String> = fixed.into_iter().chain(self.names()).collect();
        let row = |position: usize| {
            let token = &self.prepared.target[position];
            let fixed = [
                self.number.to_string(),
                position.to_string(),
                token.surface.clone(),
                token.id.to_string(),
                token.span.start.to_string(),
                token.span.end.to_string(),
            ];
            let scores = self.cells(position, |value| if value.is_nan() { String::new() } else { value.to_string() });
            fixed.into_iter().chain(scores).collect()
        };
        let rows = (self.scores.first..self.prepared.target.len()).map(row);
        csv_lines(with_header.then_some(header).into_iter().chain(rows))
    }
}

/// A token on a terminal: spaces are seen, and nothing moves the cursor.
fn visible(token: &str) -> String {
    let shown = |c: char| match c {
        ' ' => "·".to_owned(),
        c if c.is_control() => c.escape_default().to_string(),
        c => c.to_string(),
    };
    token.chars().map(shown).collect()
}
