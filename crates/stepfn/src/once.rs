//! Texts that are all the same, scored once.

use core::sync::atomic::{AtomicUsize, Ordering};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use burn::tensor::backend::Backend;
use serde_json::{Map, Value};

use crate::texts::{Numbered, Task, Told};
use crate::{Input, LanguageModel, Outcome, Result, ScoreTask, ScoredText};

/// Tokens of the texts whose scores are kept for later texts. Those that were asked for last stay.
const KEPT_TOKENS: usize = 1 << 19;

/// That equal texts are scored once, and how many were.
///
/// Texts are equal if all that is computed from is: the text with its parts, but not its id and the fields that travel along. Scores of about half a
/// million tokens are kept, so an equal text that comes much later is scored again. Equal texts then have equal scores, to the last bit; if each is scored, the
/// last digits depend on the texts beside it.
#[derive(Debug, Default)]
pub struct Once(AtomicUsize);

impl Once {
    /// How many texts had the scores of an earlier one so far.
    pub fn repeated(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// A task that knows what it has scored.
pub(crate) struct OnceTask<'t, B: Backend> {
    task: &'t ScoreTask<B>,
    once: &'t Once,
    kept: Mutex<Kept>,
}

/// The scores of texts, by all that they depend on.
#[derive(Default)]
struct Kept {
    scores: HashMap<Arc<str>, (u64, ScoredText)>,
    /// When each was asked for last.
    order: BTreeMap<u64, Arc<str>>,
    now: u64,
    tokens: usize,
}

impl Kept {
    /// The scores of this text, which is then the one that was asked for last.
    fn get(&mut self, key: &str) -> Option<ScoredText> {
        let (last, text) = self.scores.get_mut(key)?;
        self.now += 1;
        if let Some(key) = self.order.remove(last) {
            self.order.insert(self.now, key);
        }
        *last = self.now;
        Some(text.clone())
    }

    fn insert(&mut self, key: &Arc<str>, text: &ScoredText) {
        if self.scores.contains_key(key) {
            return;
        }
        self.now += 1;
        self.tokens += size(text);
        self.scores.insert(key.clone(), (self.now, text.clone()));
        self.order.insert(self.now, key.clone());
        while self.tokens > KEPT_TOKENS
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.tokens -= self.scores.remove(&oldest).map_or(0, |(_, text)| size(&text));
        }
    }
}

fn size(text: &ScoredText) -> usize {
    text.source.len() + text.target.len()
}

/// All that the scores of a text depend on.
fn key(input: &Input) -> Arc<str> {
    let only = Input { id: Value::Null, fields: Map::new(), place: None, ..input.clone() };
    format!("{only:?}").into()
}

impl<'t, B: Backend> OnceTask<'t, B> {
    pub(crate) fn new(task: &'t ScoreTask<B>, once: &'t Once) -> Self {
        Self { task, once, kept: Mutex::default() }
    }
}

/// Where the scores of a text come from.
enum From {
    /// The text of this place in the window.
    Window(usize),
    Kept(Box<ScoredText>),
}

impl<B: Backend> Task<B> for OnceTask<'_, B> {
    type Output = ScoredText;

    fn first_number(&self) -> usize {
        self.task.first_number()
    }

    fn windows(&self) -> [usize; 2] {
        self.task.windows()
    }

    fn prepare(&self, model: &LanguageModel<B>, window: &mut [Numbered]) {
        self.task.prepare(model, window);
    }

    fn run(&self, model: &LanguageModel<B>, window: Vec<Numbered>, told: Told<'_>) -> Result<Vec<Outcome<ScoredText>>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut seen, mut distinct, mut keys) = (HashMap::new(), Vec::new(), Vec::new());
        let mut sources = Vec::with_capacity(window.len());
        for numbered in window {
            let Numbered { number, id, fields, input, .. } = &numbered;
            let whose = (*number, id.clone(), fields.clone());
            let key = input.as_ref().ok().map(key);
            if let Some(scores) = key.as_ref().and_then(|key| kept.get(key)) {
                sources.push((whose, From::Kept(Box::new(scores))));
                continue;
            }
            // What can't be read is equal to nothing.
            let place = key.as_ref().and_then(|key| seen.get(key).copied()).unwrap_or(distinct.len());
            if place == distinct.len() {
                seen.extend(key.clone().map(|key| (key, place)));
                keys.push(key);
                distinct.push(numbered);
            }
            sources.push((whose, From::Window(place)));
        }
        let (texts, computed) = (sources.len(), distinct.len());
        let outcomes = if distinct.is_empty() { Vec::new() } else { Task::run(&self.task, model, distinct, told)? };
        for (outcome, key) in outcomes.iter().zip(&keys) {
            if let (Ok(text), Some(key)) = (&outcome.result, key) {
                kept.insert(key, text);
            }
        }
        self.once.0.fetch_add(texts - computed, Ordering::Relaxed);
        let of = |((number, id, fields), from)| {
            let result = match from {
                From::Kept(text) => Ok(*text),
                From::Window(place) => outcomes[place].result.clone(),
            };
            let result = result.map(|text| ScoredText { id: Value::clone(&id), fields: Map::clone(&fields), ..text });
            Outcome { number, id, fields, result }
        };
        Ok(sources.into_iter().map(of).collect())
    }
}

#[cfg(test)]
mod tests {
    use stepfn_core::functions::{McDropoutProbAvg, Surprisal};

    use super::*;

    fn texts(of: &[(&str, &str)]) -> Vec<Input> {
        let input = |(id, text): &(&str, &str)| Input {
            fields: [("note".to_owned(), Value::from(*id))].into_iter().collect(),
            ..Input::text(*text).with_id(*id)
        };
        of.iter().map(input).collect()
    }

    #[test]
    fn equal_texts_have_the_scores_of_the_first_and_what_is_their_own() {
        let model: LanguageModel = LanguageModel::load("verse").unwrap();
        let mut given = vec![("a", "Let there be light"), ("b", ""), ("c", "Let there be light"), ("d", "")];
        // Beyond the first window.
        given.extend([("e", "And the king"); 20]);
        given.push(("f", "Let there be light"));
        let task = ScoreTask { once: Some(Once::default()), ..ScoreTask::new([Surprisal::default()]) };
        let found: Vec<Outcome<ScoredText>> = model.score_all(texts(&given), &task).collect();
        assert_eq!(task.once.as_ref().unwrap().repeated(), given.len() - 3);
        for (number, (outcome, (id, text))) in found.iter().zip(&given).enumerate() {
            assert_eq!((outcome.number, &outcome.id), (number, &Value::from(*id)));
            let Ok(scored) = &outcome.result else {
                assert_eq!(*text, "");
                continue;
            };
            assert_eq!((&scored.target_text[..], &scored.id), (*text, &Value::from(*id)));
            assert_eq!(scored.fields["note"], *id);
        }
        let scores = |number: usize| &found[number].result.as_ref().unwrap().scores;
        assert_eq!([scores(2), scores(given.len() - 1)], [scores(0), scores(0)]);
        let each = ScoreTask::new([Surprisal::default()]);
        let each: Vec<Outcome<ScoredText>> = model.score_all(texts(&given), &each).collect();
        for (one, other) in found.iter().zip(&each) {
            assert_eq!(one.result.is_ok(), other.result.is_ok());
            if let (Ok(one), Ok(other)) = (&one.result, &other.result) {
                let pairs = one.scores.scores[0].1.iter().zip(&other.scores.scores[0].1);
                assert!(pairs.into_iter().all(|(a, b)| (a - b).abs() < 1e-4));
            }
        }
    }

    #[test]
    fn noise_is_each_texts_own() {
        let model: LanguageModel = LanguageModel::load("verse").unwrap();
        let task = ScoreTask { once: Some(Once::default()), ..ScoreTask::new([McDropoutProbAvg::default()]) };
        let error = model.score_all(["light"], &task).next().unwrap().result.unwrap_err();
        assert!(error.what().contains("equal texts would have the same noise"), "{error}");
    }

    #[test]
    fn the_scores_that_are_kept_are_those_that_were_asked_for_last() {
        let model: LanguageModel = LanguageModel::load("verse").unwrap();
        let one = model.ask("Let there be light").score([Surprisal::default()]).unwrap();
        let most = KEPT_TOKENS / size(&one);
        let mut kept = Kept::default();
        let key = |number: usize| -> Arc<str> { number.to_string().into() };
        for number in 0..most + 10 {
            kept.insert(&key(number), &one);
            assert!(kept.get("0").is_some(), "{number}");
        }
        assert!(kept.tokens <= KEPT_TOKENS && kept.scores.len() == most && kept.order.len() == most);
        assert!(kept.get("1").is_none() && kept.get("11").is_some());
    }
}
