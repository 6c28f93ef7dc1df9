//! Many texts: the one driver that scores, attributes and writes them, text by text or in windows that fill batches.

use core::ops::ControlFlow;
use std::collections::VecDeque;

use burn::tensor::backend::Backend;
use serde_json::{Map, Value};
use stepfn_attribution::{AttributionOptions, Masking, Progress, Text};
use stepfn_models::config::{DropoutRates, TransformerConfig};

use crate::score_task::Ready;
use crate::{Error, ErrorKind, Input, IntoInput, LanguageModel, Result, warnings};

/// How work runs, whatever it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RunOptions {
    /// Seed of everything random: dropout, samples of a method.
    pub seed: u64,
    /// Dropout rate of the noisy passes, instead of the model's own rates: at the sites where the published model has dropout.
    pub dropout: Option<f64>,
    /// Bytes for what is computed, in addition to the model. By default a quarter of the device's memory, and no more than 4 GiB.
    pub memory: Option<usize>,
    /// The greatest number of tokens, padding included, that run at once.
    pub batch_tokens: usize,
    /// What is masked where a model of masked tokens predicts one, [`Masking::Token`] if nothing is said. For other models an error.
    pub masking: Option<Masking>,
    /// The number of the first text: of a part of a run, the number of texts before it. Random numbers belong to a text's number, so that parts
    /// have the results of the whole.
    pub first_number: usize,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self { seed: 0, dropout: None, memory: None, batch_tokens: 4096, masking: None, first_number: 0 }
    }
}

impl RunOptions {
    /// The rate at every site that the model has. Its encoder has the sites of its decoder.
    pub(crate) fn rates(&self, config: &TransformerConfig) -> Option<DropoutRates> {
        self.dropout.map(|rate| config.decoder.dropout.at_rate(rate))
    }

    /// What they add to the parameters of what was computed.
    pub(crate) fn parameters(&self, config: &TransformerConfig) -> impl Iterator<Item = (String, Value)> {
        let rate = self.dropout.map(|rate| ("dropout".to_owned(), rate.into()));
        let masking = config.is_masked().then(|| self.masking.unwrap_or_default());
        rate.into_iter().chain(masking.map(|masking| ("masking".to_owned(), masking.name().into())))
    }
}

/// The result of one of many texts.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome<T> {
    /// The text's id: yours, or its number.
    pub id: Value,
    /// The text's number, from 0.
    pub number: usize,
    /// Fields of your own that came with the text.
    pub fields: Map<String, Value>,
    /// What came of it.
    pub result: Result<T>,
}

/// A text with its number and its id.
pub(crate) struct Numbered {
    pub(crate) number: usize,
    pub(crate) id: Value,
    pub(crate) fields: Map<String, Value>,
    /// Where it comes from.
    pub(crate) place: Option<String>,
    pub(crate) input: Result<Input>,
    /// What its task made of it before it runs, if it did.
    pub(crate) ready: Option<Result<Ready>>,
}

impl Numbered {
    /// A text that is made from one of the user's.
    pub(crate) fn new(number: usize, id: Value, input: Input) -> Self {
        Self { number, id, fields: Map::new(), place: None, input: Ok(input), ready: None }
    }
}

/// What is done with each of many texts.
pub(crate) trait Task<B: Backend>: Sync {
    /// What comes of a text.
    type Output;

    /// How many texts are taken together at first, and at most. Windows double, so that the first results come soon and the rest come fast.
    fn windows(&self) -> [usize; 2] {
        [1, 1]
    }

    /// The number of the first text.
    fn first_number(&self) -> usize {
        0
    }

    /// Makes of texts what can be made of them while the model runs on others.
    fn prepare(&self, _model: &LanguageModel<B>, _window: &mut [Numbered]) {}

    /// A result for each text, in their order.
    fn run(
        &self,
        model: &LanguageModel<B>,
        window: Vec<Numbered>,
        told: Told<'_>,
    ) -> Result<Vec<Outcome<Self::Output>>>;
}

/// The results of texts that are worked on one after the other: what comes of an input, with its number and id, that could be read.
pub(crate) fn each<T>(window: Vec<Numbered>, work: impl Fn(&Input, usize, &Value) -> Result<T>) -> Vec<Outcome<T>> {
    let outcome = |Numbered { number, id, fields, input, .. }| {
        let result = input.and_then(|input: Input| work(&input, number, &id));
        Outcome { id, number, fields, result }
    };
    window.into_iter().map(outcome).collect()
}

/// Who is told what while work goes on.
#[derive(Clone, Copy)]
pub(crate) struct Told<'a> {
    /// How far it is.
    pub(crate) progress: &'a dyn Fn(Progress) -> ControlFlow<()>,
    /// What to know before the work on the text of this id begins, which may take long.
    pub(crate) warning: &'a dyn Fn(&Value, &str),
}

impl<'a> Told<'a> {
    /// Warns of a text that is longer than those that the model was made for, and returns the warning.
    pub(crate) fn of_length(&self, id: &Value, config: &TransformerConfig, text: &Text) -> Option<String> {
        let length = warnings::of_length(config, text);
        length.iter().for_each(|length| (self.warning)(id, length));
        length
    }

    /// The options of an attribution of the text of this number: seed, memory and progress.
    pub(crate) fn attribution<B: Backend>(
        &self,
        model: &LanguageModel<B>,
        options: &RunOptions,
        number: usize,
    ) -> AttributionOptions<'a> {
        AttributionOptions {
            seed: options.seed,
            first_number: number as u32,
            memory: model.memory(options),
            progress: Some(self.progress),
            ..AttributionOptions::new(model.preparer().baseline())
        }
    }
}

type OnWarning<'m> = Box<dyn Fn(&Value, &str) + 'm>;
type OnProgress<'m> = Box<dyn Fn(Progress) -> ControlFlow<()> + 'm>;

/// Results of many texts, in the order of the texts, as they are ready. Texts are read when results are asked for, in windows: step scores
/// of 8 texts, 16, 32 and so on, and at last of 512 at once, everything else of one.
///
/// A text that fails has an error as its result, and the others go on. To stop early, drop the iterator, or let the
/// [progress](Self::on_progress) function return [`ControlFlow::Break`].
pub struct Outcomes<'m, B: Backend, I: Iterator, T> {
    pub(crate) model: &'m LanguageModel<B>,
    pub(crate) task: Box<dyn Task<B, Output = T> + 'm>,
    pub(crate) texts: Windows<I>,
    pub(crate) told: Listeners<'m>,
    ready: VecDeque<Outcome<T>>,
    ended: bool,
}

/// Who is told what, if anybody.
#[derive(Default)]
pub(crate) struct Listeners<'m> {
    on_progress: Option<OnProgress<'m>>,
    on_warning: Option<OnWarning<'m>>,
}

/// Texts in windows, each twice as large as the one before, up to a limit.
pub(crate) struct Windows<I> {
    inputs: I,
    /// The number of texts of the next window, and of the largest.
    sizes: [usize; 2],
    /// The number of the next text.
    number: usize,
}

impl<I: Iterator<Item: IntoInput>> Windows<I> {
    /// The next texts; `None` if there are no more.
    pub(crate) fn read(&mut self) -> Option<Vec<Numbered>> {
        let numbered = |(number, input): (usize, I::Item)| {
            let (id, own) = (input.id(), input.fields());
            let input = input.into_input();
            let (fields, place) = match &input {
                Ok(input) => (input.fields.clone(), input.place.clone()),
                Err(_) => (own, None),
            };
            let id = if id.is_null() { number.into() } else { id };
            Numbered { number, id, fields, place, input, ready: None }
        };
        let [size, most] = self.sizes;
        let window: Vec<Numbered> = (self.number..).zip(self.inputs.by_ref().take(size)).map(numbered).collect();
        self.number += window.len();
        self.sizes = [(size * 2).min(most), most];
        (!window.is_empty()).then_some(window)
    }
}

impl<'m, B: Backend, I: Iterator, T> Outcomes<'m, B, I, T> {
    pub(crate) fn new(
        model: &'m LanguageModel<B>,
        task: impl Task<B, Output = T> + 'm,
        inputs: impl IntoIterator<IntoIter = I>,
    ) -> Self {
        let texts = Windows { inputs: inputs.into_iter(), sizes: task.windows(), number: task.first_number() };
        let task = Box::new(task);
        Self { model, task, texts, told: Listeners::default(), ready: VecDeque::new(), ended: false }
    }

    /// Calls a function as work proceeds. [`Progress::texts`] is the number of texts that were read so far. If the function returns
    /// [`ControlFlow::Break`], the results end; a text that is not finished gets an error of the kind [`ErrorKind::Cancelled`].
    #[must_use]
    pub fn on_progress(mut self, on_progress: impl Fn(Progress) -> ControlFlow<()> + 'm) -> Self {
        self.told.on_progress = Some(Box::new(on_progress));
        self
    }

    /// Calls a function with a text's id and what to know before the work on it begins, because it may take long and mean nothing: that the
    /// text is longer than those that the model was made for. It is also among the warnings of the result.
    #[must_use]
    pub fn on_warning(mut self, on_warning: impl Fn(&Value, &str) + 'm) -> Self {
        self.told.on_warning = Some(Box::new(on_warning));
        self
    }

    /// Begins with the largest window: nobody waits for the first results, and full batches take less time.
    #[must_use]
    pub fn in_full_windows(mut self) -> Self {
        let [_, most] = self.texts.sizes;
        self.texts.sizes = [most, most];
        self
    }
}

/// The results of a window, and whether they are the last. `is_over` is asked between batches whether anybody still wants them.
pub(crate) fn results<B: Backend, T>(
    model: &LanguageModel<B>,
    task: &dyn Task<B, Output = T>,
    window: Vec<Numbered>,
    told: &Listeners<'_>,
    is_over: &dyn Fn() -> bool,
) -> (Vec<Outcome<T>>, bool) {
    let (Some(first), Some(last)) = (window.first(), window.last()) else { return (Vec::new(), true) };
    let first = first.number - task.first_number();
    let (number, id, fields) = (last.number, last.id.clone(), last.fields.clone());
    let places: Vec<Option<String>> = window.iter().map(|numbered| numbered.place.clone()).collect();
    let texts = window.len();
    let progress = |progress: Progress| match &told.on_progress {
        _ if is_over() => ControlFlow::Break(()),
        Some(on_progress) => {
            on_progress(Progress { texts_done: first + progress.texts_done, texts: first + texts, ..progress })
        }
        None => ControlFlow::Continue(()),
    };
    let warning = |id: &Value, warning: &str| {
        if let Some(on_warning) = &told.on_warning {
            on_warning(id, warning);
        }
    };
    match task.run(model, window, Told { progress: &progress, warning: &warning }) {
        Ok(outcomes) => {
            let ended = progress(Progress { texts_done: texts, texts, pieces_done: 0, pieces: 0 }).is_break();
            let placed = |(outcome, place): (Outcome<T>, Option<String>)| {
                let result = outcome.result.map_err(|error| {
                    let error = error.computed_in(model.dtype());
                    if let Some(place) = place { error.at(place) } else { error }
                });
                Outcome { result, ..outcome }
            };
            let outcomes: Vec<Outcome<T>> = outcomes.into_iter().zip(places).map(placed).collect();
            let cancelled =
                |outcome: &Outcome<T>| outcome.result.as_ref().is_err_and(|error| error.kind() == ErrorKind::Cancelled);
            let ended = ended || outcomes.iter().any(cancelled);
            (outcomes, ended)
        }
        Err(error) => (vec![Outcome { id, number, fields, result: Err(error) }], true),
    }
}

impl<B: Backend, I: Iterator<Item: IntoInput>, T> Iterator for Outcomes<'_, B, I, T> {
    type Item = Outcome<T>;

    fn next(&mut self) -> Option<Outcome<T>> {
        if self.ready.is_empty() && !self.ended {
            match self.texts.read() {
                None => self.ended = true,
                Some(window) => {
                    let (outcomes, ended) = results(self.model, &*self.task, window, &self.told, &|| false);
                    self.ended = ended;
                    self.ready.extend(outcomes);
                }
            }
        }
        self.ready.pop_front()
    }
}

impl<B: Backend, I: Iterator, T> core::fmt::Debug for Outcomes<'_, B, I, T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Outcomes").field("next", &self.texts.number).field("ready", &self.ready.len()).finish()
    }
}

/// Runs a task on one text.
pub(crate) fn one<B: Backend, T>(model: &LanguageModel<B>, task: impl Task<B, Output = T>, input: Input) -> Result<T> {
    let ended = || Error::new(ErrorKind::Text, "there is no result", "report this as a bug");
    Outcomes::new(model, task, [input]).next().ok_or_else(ended)?.result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropout_rate_is_for_the_sites_that_the_published_model_has() {
        let rates = |name: &str, dropout| {
            let model: LanguageModel = LanguageModel::load(name).unwrap();
            RunOptions { dropout, ..RunOptions::default() }.rates(model.config())
        };
        let rate = Some(0.3);
        assert_eq!(rates("verse", rate), Some(DropoutRates { attention: rate, ..DropoutRates::default() }), "Llama");
        let of_marian = DropoutRates {
            embedding: rate,
            attention: rate,
            residual: rate,
            activation: rate,
            ..DropoutRates::default()
        };
        assert_eq!(rates("g2p", rate), Some(of_marian), "Marian");
        assert_eq!(rates("g2p", None), None);
    }

    #[test]
    fn parts_of_a_run_have_the_results_of_the_whole() {
        use stepfn_core::functions::McDropoutProbAvg;

        let model: LanguageModel = LanguageModel::load("verse").unwrap();
        let texts = ["Let there be light", "And the king", "In the beginning", "of the earth"];
        let scores = |texts: &[&'static str], first_number: usize| -> Vec<Vec<f32>> {
            let options = RunOptions { dropout: Some(0.2), seed: 5, first_number, ..RunOptions::default() };
            let task = crate::ScoreTask { options, ..crate::ScoreTask::new([McDropoutProbAvg::default()]) };
            let outcomes = model.score_all(texts.iter().copied(), &task);
            outcomes.map(|outcome| outcome.result.unwrap().scores.scores[0].1.clone()).collect()
        };
        let whole = scores(&texts, 0);
        assert_eq!([scores(&texts[..2], 0), scores(&texts[2..], 2)].concat(), whole);
        assert_ne!(scores(&texts[2..], 0), whole[2..]);
    }

    #[test]
    fn work_ends_within_a_pass() {
        use core::cell::Cell;
        use std::rc::Rc;

        let model: LanguageModel = LanguageModel::load("verse").unwrap();
        let asked = Rc::new(Cell::new(0));
        let count = asked.clone();
        let ends = move || {
            count.set(count.get() + 1);
            count.get() > 1
        };
        let found =
            crate::interruptible(ends, || model.ask("Let there be light").attribute(crate::Saliency::default()));
        assert_eq!(found.unwrap_err().kind(), ErrorKind::Cancelled);
        assert_eq!(asked.get(), 2, "asked before each of two blocks");
    }

    #[test]
    fn work_on_long_texts_ends_soon() {
        use std::time::{Duration, Instant};

        use stepfn_core::functions::Surprisal;

        let model: LanguageModel = LanguageModel::load("verse").unwrap();
        let text = |words: usize| "And God said, Let there be light. ".repeat(words / 9);
        let (long, middle) = (text(15_000), text(1_500));
        type Work<'a> = Box<dyn Fn() -> Option<Error> + 'a>;
        let work: [(&str, Work<'_>); 2] = [
            ("score", Box::new(|| model.ask(long.as_str()).score([Surprisal::default()]).err())),
            ("saliency", Box::new(|| model.ask(middle.as_str()).attribute(crate::Saliency::default()).err())),
        ];
        for (name, work) in work {
            for after in [100, 600] {
                let start = Instant::now();
                let after = Duration::from_millis(after);
                let error = crate::interruptible(move || start.elapsed() > after, &work);
                let late = start.elapsed().saturating_sub(after);
                assert_eq!(error.map(|error| error.kind()), Some(ErrorKind::Cancelled), "{name} was done");
                // It takes 20 s in all; other tests may keep the cores busy.
                assert!(late < Duration::from_secs(3), "{name} went on for {late:?}");
            }
        }
    }
}
