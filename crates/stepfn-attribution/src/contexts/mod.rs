//! Which sources an answer came from: documents or sentences that the model was given, and the statements of what it said.
//!
//! A [`Contexts`] computes `f(S)`, the log-probability of each statement given a subset of the sources; the [`ContextMethod`]s are games over it.
//! They know nothing of models, so that they can be tested on games whose answer is known.

mod checks;
mod gradient;
mod lasso;
mod method;

use core::ops::Range;

use burn::tensor::backend::Backend;
use stepfn_core::functions::Probability;
use stepfn_models::Model;

use crate::passes::Perturbation;
use crate::{AttributedFn, AttributionError, AttributionOptions, Passes, Perturbed, Question, Side, SpanTarget, Text};

pub use checks::{Checks, spearman};
pub use method::{ContextMethod, log_odds};

/// What becomes of a source that is left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Operator {
    /// Its tokens are removed, and what follows moves up.
    #[default]
    Remove,
    /// Its tokens stay, and no token attends to them. What follows keeps its positions.
    Mask,
    /// Each of its tokens is replaced by the baseline's.
    Baseline,
}

impl Operator {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Remove, Self::Mask, Self::Baseline];

    /// Its name: `remove`, `mask` or `baseline`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Remove => "remove",
            Self::Mask => "mask",
            Self::Baseline => "baseline",
        }
    }
}

/// A text with sources.
#[derive(Debug, Clone, PartialEq)]
pub struct ContextText {
    /// The text; its steps are the answer.
    pub text: Text,
    /// The side that the sources are on: the source of an encoder–decoder, the target of a causal model.
    pub side: Side,
    /// The tokens of each source on that side, in order; before the first step on the target's.
    pub sources: Vec<Range<usize>>,
    /// Sources that belong together, such as the sentences of a document: ranges of `sources` that cover them all, in order.
    pub groups: Vec<Range<usize>>,
    /// The steps of each statement of the answer, as positions in the target, in order.
    pub statements: Vec<Range<usize>>,
}

/// The scores of one text.
#[derive(Debug, Clone, PartialEq)]
pub struct ContextScores {
    /// For each source, a score for each statement; NaN where a method did not compute it.
    pub scores: Vec<Vec<f64>>,
    /// The log-probability of each statement with all sources, in nats.
    pub log_probs: Vec<f64>,
    /// How well the scores predict what happens without sources, if that was asked for.
    pub checks: Option<Checks>,
}

/// Runs a text with subsets of its sources.
pub struct Contexts<'p, 'a, B: Backend> {
    perturbation: Perturbation<'p, 'a, B>,
    text: &'p ContextText,
    question: &'p Question<'a>,
    operator: Operator,
}

/// The log-probabilities of statements for subsets of sources; `true` is a source that is kept.
pub(super) type Values<'v> = dyn FnMut(&[Vec<bool>]) -> Result<Vec<Vec<f64>>, AttributionError> + 'v;

/// Scores the sources of a text.
///
/// # Errors
/// [`AttributionError::Text`] for a text without sources or statements, or of which nothing is left without its sources; those of the model.
pub fn context<B: Backend>(
    model: &Model<B>,
    text: &ContextText,
    (method, operator): (&ContextMethod, Operator),
    checks: Option<usize>,
    options: &AttributionOptions<'_>,
) -> Result<ContextScores, AttributionError> {
    if text.sources.is_empty() || text.statements.is_empty() {
        return Err(AttributionError::Text("there are no sources, or no answer".to_owned()));
    }
    crate::scoring::check_kind(model.config(), &text.text)?;
    let function = AttributedFn::new(Probability { logprob: true });
    let target = SpanTarget::new(text.statements.clone());
    target.check(&text.text)?;
    let options = &AttributionOptions { raw: true, spans: core::slice::from_ref(&target), ..options.clone() };
    let question = Question::new(&text.text, options, 0, 1)?;
    let passes = Passes::new(question, model, &function)?;
    let (gradient, perturbation) = match method.needs_gradient() {
        true => gradient::scores(&passes, text).map(|(scores, perturbation)| (Some(scores), perturbation))?,
        false => (None, passes.perturb()?),
    };
    let contexts = Contexts { perturbation, text, question: passes.question(), operator };
    let mut values = |kept: &[Vec<bool>]| contexts.values(&function, kept);
    let scores = method.scores(text, gradient, options.seed, &mut values)?;
    let whole = values(&[vec![true; text.sources.len()]])?.remove(0);
    let tokens = text.text.steps.len();
    let checks = checks.map(|subsets| Checks::of(&scores, subsets, tokens, options.seed, &mut values)).transpose()?;
    Ok(ContextScores { scores, log_probs: whole, checks })
}

impl<B: Backend> Contexts<'_, '_, B> {
    fn values(&self, function: &AttributedFn<B>, kept: &[Vec<bool>]) -> Result<Vec<Vec<f64>>, AttributionError> {
        let variants: Vec<Perturbed> = kept.iter().map(|kept| self.variant(kept)).collect();
        let (steps, progress) = (self.question.steps(), |done, all| self.question.progress(done, all));
        let values = match self.operator {
            Operator::Remove => self.perturbation.shortened(function.plain(), &variants, steps, progress)?,
            Operator::Mask | Operator::Baseline => {
                self.perturbation.values_of(function.plain(), &variants, steps, progress)?
            }
        };
        let statement = |values: &[f64], statement: &Range<usize>| -> f64 {
            values[statement.start - steps.start()..statement.end - steps.start()].iter().sum()
        };
        let statements = |values: Vec<f64>| self.text.statements.iter().map(|own| statement(&values, own)).collect();
        Ok(values.into_iter().map(statements).collect())
    }

    /// The text with only some sources.
    fn variant(&self, kept: &[bool]) -> Perturbed {
        let mut variant = self.perturbation.text();
        let hidden = self.text.sources.iter().zip(kept).filter(|(_, kept)| !**kept).map(|(source, _)| source.clone());
        match self.operator {
            Operator::Mask => variant.hidden = hidden.flatten().map(|token| (self.text.side, token)).collect(),
            Operator::Baseline => {
                let ids = variant.ids_mut(self.text.side);
                hidden.flatten().for_each(|token| ids[token] = self.question.options().baseline.id);
            }
            Operator::Remove => {
                let mut left_out = vec![false; variant.ids_mut(self.text.side).len()];
                hidden.flatten().for_each(|token| left_out[token] = true);
                let mut token = left_out.into_iter();
                let ids = match self.text.side {
                    Side::Source => variant.source.get_or_insert_with(Vec::new),
                    Side::Target => &mut variant.target,
                };
                ids.retain(|_| !token.next().unwrap_or(false));
            }
        }
        variant
    }
}

#[cfg(test)]
mod tests;
