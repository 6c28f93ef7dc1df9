//! Which tokens of an output depend on context, and on what in it: PECoRe.

mod answer;
mod cues;
mod info;
mod runs;
mod templates;
mod written;

use core::fmt;
use core::ops::ControlFlow;
use std::time::Instant;

use burn::tensor::backend::Backend;
use serde_json::Value;
use stepfn_attribution::aggregation::Pipeline;
use stepfn_attribution::reliance::{ContextReliance, Selection};
use stepfn_attribution::{AttributedFn, AttributionMethod, Likely, Progress, Provenance, ScoringOptions, Text, score};
use stepfn_core::functions::{ContrastProbDiff, KlDivergence};
use stepfn_core::{Need, StepFunction, StepScore};

use self::cues::Cue;
use self::runs::Runs;
use self::templates::{CURRENT, WITH, WITHOUT, fill};
use crate::texts::{Numbered, Task, Told, each};
use crate::{Error, ErrorKind, Input, LanguageModel, Outcome, Result, RunOptions, Saliency};

pub use self::answer::RelianceAnswer;
pub use self::written::OutputContext;

/// How the reliance of an output on context is measured. For many texts: [`LanguageModel::attribute_context_all`].
///
/// A text is an [`Input`] with the current text that the model reads as its source, what it writes as its target (without one, the model writes
/// it), and `input_context`, `output_context` or both.
pub struct AttributeContextTask<B: Backend> {
    /// The step function that compares the run without context with the run with it: of the first step.
    pub metric: AttributedFn<B>,
    /// The method of the second step.
    pub method: Box<dyn AttributionMethod<B>>,
    /// The step function that it attributes. A contrastive one compares the token with the one that the run without context prefers: in the
    /// context of the text, unless both are the same token or the function compares contexts.
    pub function: AttributedFn<B>,
    /// How `{context}` and `{current}` text of the input are put together; by default with a space between them, or the current text alone.
    pub input_template: Option<String>,
    /// The same of the output.
    pub output_template: Option<String>,
    /// What the model reads without context, with `{current}`.
    pub contextless_input: String,
    /// What it writes there, with `{current}`.
    pub contextless_output: String,
    /// What is between the input and the output of a causal model.
    pub separator: String,
    /// Special tokens, by their names, that count as text: they are kept in what the model writes, and have scores.
    pub special_tokens_to_keep: Vec<String>,
    /// What becomes of an output context that the template has and nobody gave.
    pub output_context: OutputContext,
    /// Which tokens depend on context.
    pub context_sensitivity: Selection,
    /// Which tokens of the contexts are shown as their cues. All have scores.
    pub cues: Selection,
    /// What becomes of the scores of the second step; by default there is one number per token, the norm over hidden units.
    pub aggregate: Option<Pipeline>,
    /// How it runs.
    pub options: RunOptions,
}

impl<B: Backend> Default for AttributeContextTask<B> {
    fn default() -> Self {
        Self {
            metric: AttributedFn::new(KlDivergence::default()),
            method: Box::new(Saliency::default()),
            function: AttributedFn::new(ContrastProbDiff::default()),
            input_template: None,
            output_template: None,
            contextless_input: CURRENT.to_owned(),
            contextless_output: CURRENT.to_owned(),
            separator: " ".to_owned(),
            special_tokens_to_keep: Vec::new(),
            output_context: OutputContext::default(),
            context_sensitivity: Selection::default(),
            cues: Selection::default(),
            aggregate: None,
            options: RunOptions::default(),
        }
    }
}

/// The texts of a question, and how they are put together.
struct Asked {
    input_current: String,
    input_context: Option<String>,
    input_template: String,
    output_current: String,
    output_context: Option<String>,
    output_template: String,
}

impl<B: Backend> AttributeContextTask<B> {
    /// Checks what can be checked before a model is there.
    ///
    /// # Errors
    /// [`ErrorKind::Option`] for a metric that compares nothing, a template without a place for the current text, or a selection that makes no sense.
    pub fn check(&self) -> Result<()> {
        let wrong = |what: String, hint: &str| Err(Error::new(ErrorKind::Option, what, hint));
        if self.metric.needs().contrast == Need::Unused {
            let what = format!("{} compares no two runs, so it can't tell what context changes", self.metric.name());
            return wrong(what, "use a contrastive step function, such as kl_divergence, pcxmi or contrast_prob_diff");
        }
        for (name, template, in_order) in
            [("input template", &self.input_template, false), ("output template", &self.output_template, true)]
        {
            template.iter().try_for_each(|template| templates::check(name, template, true, in_order))?;
        }
        for (name, template) in [("input", &self.contextless_input), ("output", &self.contextless_output)] {
            templates::check(&format!("template of the {name} without context"), template, false, false)?;
        }
        for (name, selection) in [("context-sensitive tokens", &self.context_sensitivity), ("cues", &self.cues)] {
            if selection.std_threshold.is_some_and(|weight| !weight.is_finite()) {
                return wrong(
                    format!("the threshold of {name} is not a number"),
                    "give a number of standard deviations",
                );
            }
            if selection.topk == Some(0) {
                return wrong(format!("none of the {name} are asked for"), "ask for 1 or more, or for all");
            }
        }
        Ok(())
    }

    /// The texts of an input; the model writes what is missing.
    fn asked(&self, model: &LanguageModel<B>, input: &Input) -> Result<(Asked, Option<String>)> {
        let wrong = |what: &str, hint: &str| Err(Error::new(ErrorKind::Text, what, hint));
        if model.is_masked() {
            return wrong(
                "this model predicts masked tokens, and writes no output",
                "use a causal model or an encoder-decoder",
            );
        }
        if !input.messages.is_empty() || input.contrast_source.is_some() || input.contrast_target.is_some() {
            return wrong(
                "the text is compared with itself without context, and messages or a contrast were given too",
                "leave them out; a chat's markup can be part of the templates",
            );
        }
        if !input.sources.is_empty() || input.question.is_some() {
            return wrong(
                "`sources` and `question` are other work",
                "give `input_context` and a `source`, or use `context`",
            );
        }
        input.without_spans()?;
        let current = match (&input.source, &input.text) {
            (Some(_), Some(_)) => {
                return wrong("a text alone is the current input, and a source was given too", "leave out one of them");
            }
            (source, text) => source.clone().or_else(|| text.clone()).unwrap_or_default(),
        };
        for (text, what, hint) in [
            (Some(&current), "the current input is empty", "give the text that the model reads as `source`"),
            (
                input.target.as_ref(),
                "the current output is empty",
                "give one, or leave it out: then the model writes it",
            ),
            (input.input_context.as_ref(), "the input context is empty", "give one, or leave it out"),
            (input.output_context.as_ref(), "the output context is empty", "give one, or leave it out"),
        ] {
            if text.is_some_and(|text| text.trim().is_empty()) {
                return wrong(what, hint);
            }
        }
        let template = |given: &Option<String>, context: &Option<String>| {
            given.clone().unwrap_or_else(|| (if context.is_some() { WITH } else { WITHOUT }).to_owned())
        };
        let input_template = template(&self.input_template, &input.input_context);
        let output_template = template(&self.output_template, &input.output_context);
        templates::check("input template", &input_template, input.input_context.is_some(), false)?;
        for (name, template, context) in
            [("input", &input_template, &input.input_context), ("output", &output_template, &input.output_context)]
        {
            if context.is_some() && !template.contains(templates::CONTEXT) {
                let what = format!("there is an {name} context, and the {name} template has no {{context}} for it");
                return Err(Error::new(ErrorKind::Option, what, "add it to the template, or leave out the context"));
            }
        }
        if input.input_context.is_none() && !output_template.contains(templates::CONTEXT) {
            return wrong(
                "there is no context that the output could depend on",
                "give `input_context`, `output_context`, or an output template with {context}",
            );
        }
        let full = fill(&input_template, &current, input.input_context.as_deref()).text;
        let written = self.written(model, input, &full, &output_template)?;
        let asked = Asked {
            input_current: current,
            input_context: input.input_context.clone(),
            input_template,
            output_current: written.current,
            output_context: written.context,
            output_template,
        };
        Ok((asked, written.warning))
    }

    /// How much each token of the output depends on context, and what the run without context prefers in its place.
    fn sensitivity(
        &self,
        model: &LanguageModel<B>,
        runs: &Runs,
        number: usize,
    ) -> Result<(Vec<f32>, Vec<Option<Likely>>)> {
        let text: Text = runs.compared()?;
        let options = ScoringOptions {
            seed: self.options.seed,
            rates: self.options.rates(model.config()),
            first_number: number as u32,
            memory: model.memory(&self.options),
            alternatives: 1,
            ..ScoringOptions::default()
        };
        let metric: [Box<dyn StepFunction<B>>; 1] = [Box::new(self.metric.clone())];
        let nothing = || Error::new(ErrorKind::Text, "there is no result", "report this as a bug");
        let scored = score(model.model(), core::slice::from_ref(&text), &metric, &options)?;
        let scored = scored.into_iter().next().ok_or_else(nothing)??;
        let (_, values) = scored.scores.first().ok_or_else(nothing)?;
        let first = text.steps.start;
        let at = |position: &usize| position - first;
        let value = |position: &usize| values.get(at(position)).copied().unwrap_or(f32::NAN);
        let likely = |position: &usize| scored.likely.get(at(position)).and_then(|likely| likely.first()).copied();
        let current = &runs.contextless.current;
        Ok((current.iter().map(value).collect(), current.iter().map(likely).collect()))
    }

    fn answer(
        &self,
        model: &LanguageModel<B>,
        input: &Input,
        number: usize,
        id: Value,
        told: Told<'_>,
    ) -> Result<RelianceAnswer> {
        let started = Instant::now();
        if let Some(pipeline) = &self.aggregate {
            pipeline.check_axes(model.config(), self.method.hides_tokens().then_some(&[]))?;
        }
        let (asked, divided) = self.asked(model, input)?;
        let runs = Runs::new(self, model, &asked)?;
        let long = told.of_length(&id, model.config(), &runs.contextual.prepared.text);
        let (cti_scores, preferred) = self.sensitivity(model, &runs, number)?;
        let cti_threshold = self.context_sensitivity.threshold(&cti_scores);
        let selected = self.context_sensitivity.select(&cti_scores);
        let forced = self.forced(model, &input.contextless_output_next_tokens, selected.len())?;
        let mut found = Vec::with_capacity(selected.len());
        for (at, (&cti_idx, forced)) in selected.iter().zip(forced).enumerate() {
            let part = Progress { texts_done: 0, texts: 1, pieces_done: at, pieces: selected.len() };
            if let ControlFlow::Break(()) = (told.progress)(part) {
                return Err(stepfn_attribution::AttributionError::Cancelled.into());
            }
            let cue = Cue { cti_idx, cti_score: cti_scores[cti_idx], preferred: forced.or(preferred[cti_idx]) };
            found.push(self.cues_of(model, &runs, &cue, number)?);
        }
        let [input_tokens, output_tokens] = match found.first() {
            Some(found) => found.tokens.clone(),
            None => runs.context_tokens(),
        };
        let all_zero = found.iter().any(|found| found.is_nothing).then(|| {
            "all scores of a token's cues are 0: the method, as it is set, finds nothing that matters to the function".to_owned()
        });
        let surface = |&position: &usize| runs.contextless.prepared.target[position].surface.clone();
        let info = self.info(model, &asked, input, cti_threshold);
        let about = Provenance {
            method: self.method.name().to_owned(),
            attributed_fn: info.attributed_fn.clone().unwrap_or_default(),
            parameters: self.parameters(model),
            seed: self.options.seed,
            seconds: started.elapsed().as_secs_f64(),
            aggregation: info.attribution_aggregators.clone(),
            warnings: long.into_iter().chain(divided).chain(all_zero).collect(),
            ..model.provenance()
        };
        Ok(RelianceAnswer(ContextReliance {
            id,
            fields: input.fields.clone(),
            input_context: asked.input_context,
            input_context_tokens: input_tokens,
            output_context: asked.output_context,
            output_context_tokens: output_tokens,
            output_current: asked.output_current,
            output_current_tokens: runs.contextless.current.iter().map(surface).collect(),
            cti_scores,
            cci_scores: found.into_iter().map(|found| found.cues).collect(),
            info,
            about,
        }))
    }
}

impl<B: Backend> fmt::Debug for AttributeContextTask<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AttributeContextTask")
            .field("metric", &self.metric)
            .field("method", &self.method.name())
            .field("function", &self.function)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl<B: Backend> Task<B> for &AttributeContextTask<B> {
    type Output = RelianceAnswer;

    fn first_number(&self) -> usize {
        self.options.first_number
    }

    fn run(
        &self,
        model: &LanguageModel<B>,
        window: Vec<Numbered>,
        told: Told<'_>,
    ) -> Result<Vec<Outcome<RelianceAnswer>>> {
        self.check()?;
        Ok(each(window, |input, number, id| self.answer(model, input, number, id.clone(), told)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;
    use crate::backend::DefaultBackend;

    type Context = AttributeContextTask<DefaultBackend>;

    #[test]
    fn what_makes_no_sense_is_told_before_a_model_is_there() {
        let wrong = |task: Context| task.check().unwrap_err().what().to_owned();
        assert!(Context::default().check().is_ok());
        let metric = AttributedFn::new(stepfn_core::functions::Entropy::default());
        assert!(wrong(Context { metric, ..Context::default() }).starts_with("entropy compares no two runs"));
        let input_template = Some("{context}".to_owned());
        assert!(
            wrong(Context { input_template, ..Context::default() }).contains("input template needs {current} once")
        );
        let output_template = Some("{current} {context}".to_owned());
        assert!(wrong(Context { output_template, ..Context::default() }).contains("before {context}"));
        let contextless_input = "Hello".to_owned();
        assert!(
            wrong(Context { contextless_input, ..Context::default() })
                .contains("input without context needs {current}")
        );
        let cues = Selection { std_threshold: Some(f64::NAN), topk: None };
        assert_eq!(wrong(Context { cues, ..Context::default() }), "the threshold of cues is not a number");
        let context_sensitivity = Selection { std_threshold: None, topk: Some(0) };
        assert!(wrong(Context { context_sensitivity, ..Context::default() }).contains("none of the context-sensitive"));
    }
}
