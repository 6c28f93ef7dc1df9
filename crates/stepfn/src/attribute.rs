//! Attribution of texts.

use core::fmt;
use core::ops::Range;
use std::time::Instant;

use burn::backend::Autodiff;
use burn::tensor::backend::Backend;
use serde_json::{Map, Value, json};
use stepfn_attribution::aggregation::Pipeline;
use stepfn_attribution::{
    AttributedFn, Attribution, AttributionMethod, AttributionOptions, ContrastText, Features, Prepared, Provenance,
    SpanTarget, attribute,
};
use stepfn_core::functions::Probability;
use stepfn_core::{Alignment, Need, StepFunction, StepScore};
use stepfn_models::chat::MessageSpan;
use stepfn_models::config::TransformerConfig;

use crate::chat::Asked;
use crate::error::FORCE_INPUTS;
use crate::room;
use crate::texts::{Numbered, Task, Told, each};
use crate::{Answer, Error, ErrorKind, Input, LanguageModel, Outcome, Result, RunOptions, TargetUnit, Unit, warnings};

/// What is between documents, unless something else is given: an empty line.
pub const DOCUMENT_MARK: &str = "\n\n";

/// A method, what it attributes, and how. For many texts: [`LanguageModel::attribute_all`].
pub struct AttributeTask<B: Backend> {
    /// The method.
    pub method: Box<dyn AttributionMethod<B>>,
    /// The step function that is attributed. By default the probability of each token; of units of several tokens, the log-probability: the sum over
    /// a unit is then its own.
    pub function: Option<AttributedFn<B>>,
    /// Step functions to compute in addition.
    pub step_scores: Vec<Box<dyn StepFunction<B>>>,
    /// How many of the most likely tokens of each step to name; 0 for none, [`MOST_ALTERNATIVES`](crate::MOST_ALTERNATIVES) at most.
    pub alternatives: usize,
    /// Also score the target prefix of an encoder–decoder. A causal model's text is always scored.
    pub target_side: bool,
    /// What perturbation methods hide and show as one, in texts that bring no spans of their own.
    pub features: Unit,
    /// What is between documents, where they are hidden as one and the text brings none of its own.
    pub document_mark: String,
    /// What is attributed as one, in texts that bring no units of their own: the sum of the function's values over its tokens.
    pub unit: TargetUnit,
    /// The mean over the tokens of a unit instead of their sum.
    pub unit_mean: bool,
    /// Score only what comes before the first token that is asked about: the prompt of a causal model.
    pub prompt_only: bool,
    /// Let a contrastive function read the contrast's own context, instead of another target in the original context.
    pub contrast_force_inputs: bool,
    /// Keep the scores of hidden units, layers and heads. By default there is one number per token and step.
    pub raw: bool,
    /// What becomes of the scores.
    pub aggregate: Option<Pipeline>,
    /// How it runs.
    pub options: RunOptions,
}

impl<B: Backend> AttributeTask<B> {
    /// This method, applied to the probability of each token.
    pub fn new(method: impl AttributionMethod<B> + 'static) -> Self {
        Self {
            method: Box::new(method),
            function: None,
            step_scores: Vec::new(),
            alternatives: 0,
            target_side: false,
            features: Unit::default(),
            document_mark: DOCUMENT_MARK.to_owned(),
            unit: TargetUnit::default(),
            unit_mean: false,
            prompt_only: false,
            contrast_force_inputs: false,
            raw: false,
            aggregate: None,
            options: RunOptions::default(),
        }
    }

    /// Attributes this step function instead.
    #[must_use]
    pub fn function(self, function: impl StepFunction<B> + StepFunction<Autodiff<B>> + 'static) -> Self {
        Self { function: Some(AttributedFn::new(function)), ..self }
    }

    /// The function that is attributed to single tokens, or to units of several.
    fn attributed(&self, of_units: bool) -> AttributedFn<B> {
        let default = || AttributedFn::new(Probability { logprob: of_units });
        self.function.clone().unwrap_or_else(default)
    }

    /// What is hidden and shown as one: on each side a text's own spans, or else the unit.
    fn hidden_as_one(&self, input: &Input, prepared: &Prepared, messages: &[MessageSpan]) -> Result<Features> {
        if !input.documents.is_empty() && self.features != Unit::Documents {
            let what = "`documents` say what is hidden as one, and documents are not what is hidden";
            return Err(Error::new(ErrorKind::Text, what, "leave them out, or hide documents: features `documents`"));
        }
        let own = Features::spans(prepared, &input.source_spans, &input.target_spans, input.positions)?;
        if !own.is_empty() && !self.method.hides_tokens() {
            return Err(self.hides_nothing("spans"));
        }
        let units = match self.features {
            Unit::Tokens => return Ok(own),
            Unit::Words => Features::words(prepared),
            Unit::Sentences => Features::sentences(prepared),
            Unit::Lines => Features::lines(prepared),
            Unit::Messages if messages.is_empty() => {
                let what = "the text is no chat, so it has no messages to hide";
                return Err(Error::new(ErrorKind::Option, what, "ask about a chat, or hide tokens or words"));
            }
            Unit::Messages if messages.iter().all(|message| message.whole.is_none() && message.content.is_none()) => {
                let what = "the chat template leaves out or changes all messages, so that none is found in its text";
                return Err(Error::new(ErrorKind::Text, what, "hide tokens or words instead"));
            }
            Unit::Messages => Features::messages(prepared, messages),
            Unit::Documents => Features::documents(prepared, &input.documents, &self.document_mark)?,
        };
        Ok(Features {
            source: if own.source.is_empty() { units.source } else { own.source },
            target: if own.target.is_empty() { units.target } else { own.target },
        })
    }

    /// What is attributed as one: a text's own units, or else those of the task.
    fn spans(&self, input: &Input, prepared: &Prepared) -> Result<Option<SpanTarget>> {
        let target = match input.units.is_empty() {
            true => self.unit.spans(prepared),
            false => {
                self.check_takes_spans("units of their own")?;
                Some(SpanTarget::parts(prepared, &input.units, input.positions)?)
            }
        };
        Ok(target.map(|target| SpanTarget { mean: self.unit_mean, ..target }))
    }

    /// Checks what can be checked before a model is there.
    ///
    /// # Errors
    /// [`ErrorKind::Option`] for words, sentences, … as features of a method that hides nothing, or as units of one that attributes no function.
    pub fn check(&self) -> Result<()> {
        if self.unit != TargetUnit::Token {
            self.check_takes_spans(self.unit.name())?;
        }
        if self.document_mark.is_empty() {
            let what = "the mark between documents is empty";
            return Err(Error::new(ErrorKind::Option, what, "give the characters that are between documents"));
        }
        match self.features != Unit::Tokens && !self.method.hides_tokens() {
            true => Err(self.hides_nothing(self.features.name())),
            false => Ok(()),
        }
    }

    fn check_takes_spans(&self, asked: &str) -> Result<()> {
        if self.method.takes_spans() {
            return Ok(());
        }
        let what =
            format!("{} has no function to add up over a {asked}: it scores each step by itself", self.method.name());
        let hint = "use a method that attributes a step function, such as saliency, or merge steps by aggregation (`subwords`, `sentences`)";
        Err(Error::new(ErrorKind::Option, what, hint))
    }

    fn hides_nothing(&self, asked: &str) -> Error {
        let what = format!("{} does not hide tokens, so it cannot hide {asked}", self.method.name());
        let hint = "use a method that hides tokens, such as occlusion, or merge scores by aggregation (`subwords`, `sentences`, `messages`)";
        Error::new(ErrorKind::Option, what, hint)
    }

    /// All parameters, for the record.
    fn parameters(
        &self,
        (input, prepared): (&Input, &Prepared),
        function: &AttributedFn<B>,
        config: &TransformerConfig,
    ) -> Map<String, Value> {
        let mut parameters = self.method.parameters();
        let of_functions = core::iter::once((function.name(), function.parameters()))
            .chain(self.step_scores.iter().map(|function| (function.name(), function.parameters())));
        let given = of_functions.filter(|(_, own)| !own.is_empty());
        parameters.extend(given.map(|(name, own)| (name.to_owned(), Value::Object(own))));
        parameters.extend(self.options.parameters(config));
        if self.features != Unit::Tokens {
            parameters.insert("features".to_owned(), Value::from(self.features.name()));
            if self.features == Unit::Documents && input.documents.is_empty() {
                parameters.insert("document_mark".to_owned(), Value::from(self.document_mark.as_str()));
            }
        }
        if self.unit != TargetUnit::Token && input.units.is_empty() {
            parameters.insert("unit".to_owned(), Value::from(self.unit.name()));
        }
        for (name, given) in [("unit_mean", self.unit_mean), ("prompt_only", self.prompt_only)] {
            if given {
                parameters.insert(name.to_owned(), Value::from(true));
            }
        }
        let (source, target) = (prepared.source_text.as_deref().unwrap_or_default(), prepared.target_text.as_str());
        let spans = [
            ("source_spans", source, &input.source_spans),
            ("target_spans", target, &input.target_spans),
            ("units", target, &input.units),
        ];
        for (name, text, spans) in spans {
            if !spans.is_empty() {
                let spans = input.positions.in_bytes(text, spans);
                let pairs: Vec<[usize; 2]> = spans.iter().map(|span| [span.start, span.end]).collect();
                parameters.insert(name.to_owned(), json!(pairs));
            }
        }
        parameters
    }

    /// Attributes one text.
    fn answer(
        &self,
        model: &LanguageModel<B>,
        input: &Input,
        number: usize,
        id: Value,
        told: Told<'_>,
    ) -> Result<Answer> {
        let started = Instant::now();
        let compared = self.step_scores.iter().any(|function| function.needs().contrast != Need::Unused);
        check_contrast(input, self.contrast_force_inputs || compared)?;
        // What can't be is told before anything is computed.
        if let Some(pipeline) = &self.aggregate {
            pipeline.check_axes(model.config(), self.method.hides_tokens().then_some(&[]))?;
        }
        input.without_parts()?;
        let preparer = model.preparer_masking(self.options.masking)?;
        let Asked { request, messages } = model.asked(input)?;
        let mut prepared = preparer.prepare(&request)?;
        room::check(model, &prepared.text)?;
        model.align(&mut prepared)?;
        narrow(&mut prepared, input)?;
        if let Some(pipeline) = &self.aggregate {
            let (source, target) = (prepared.source.clone(), prepared.target.clone());
            let empty = Attribution::new(source, target, prepared.text.steps.clone());
            pipeline.apply(&Attribution { messages: messages.clone(), ..empty })?;
        }
        let length = told.of_length(&id, model.config(), &prepared.text);
        let features = self.hidden_as_one(input, &prepared, &messages)?;
        let spans = self.spans(input, &prepared)?;
        let function = self.attributed(spans.is_some());
        let options = AttributionOptions {
            rates: self.options.rates(model.config()),
            attribute_target: self.target_side,
            raw: self.raw || self.aggregate.as_ref().is_some_and(Pipeline::needs_raw),
            features: core::slice::from_ref(&features),
            spans: spans.as_slice(),
            prompt_only: self.prompt_only,
            contrast_force_inputs: self.contrast_force_inputs,
            alternatives: self.alternatives,
            ..told.attribution(model, &self.options, number)
        };
        let texts = core::slice::from_ref(&prepared.text);
        let attributed = attribute(model.model(), texts, &*self.method, &function, &self.step_scores, &options)?;
        let nothing = || Error::new(ErrorKind::Text, "there is no result", "report this as a bug");
        let attributed = attributed.into_iter().next().ok_or_else(nothing)??;
        let about = Provenance {
            method: self.method.name().to_owned(),
            attributed_fn: if self.method.is_of_function() { function.name().to_owned() } else { String::new() },
            parameters: self.parameters((input, &prepared), &function, model.config()),
            seed: self.options.seed,
            seconds: started.elapsed().as_secs_f64(),
            ..model.provenance()
        };
        let answer = preparer.answer(&prepared, attributed, spans.as_ref(), about)?;
        let mut attribution = Attribution { id, fields: input.fields.clone(), messages, ..answer };
        attribution.about.warnings = length
            .into_iter()
            .chain(warnings::of_chat(&attribution.messages))
            .chain(warnings::of_completeness(&attribution))
            .chain(warnings::of_nothing(&attribution))
            .collect();
        Ok(Answer(match &self.aggregate {
            Some(pipeline) => pipeline.apply(&attribution)?,
            None if self.raw => attribution,
            None => attribution.per_token(),
        }))
    }
}

impl<B: Backend> fmt::Debug for AttributeTask<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AttributeTask")
            .field("method", &self.method.name())
            .field("function", &self.function)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl<B: Backend> Task<B> for &AttributeTask<B> {
    type Output = Answer;

    fn first_number(&self) -> usize {
        self.options.first_number
    }

    fn run(&self, model: &LanguageModel<B>, window: Vec<Numbered>, told: Told<'_>) -> Result<Vec<Outcome<Answer>>> {
        self.check()?;
        Ok(each(window, |input, number, id| self.answer(model, input, number, id.clone(), told)))
    }
}

/// Checks that a source to compare with is read, if there is one.
pub(crate) fn check_contrast(input: &Input, is_read: bool) -> Result<()> {
    match input.contrast_source.is_some() && !is_read {
        true => {
            let what = "the contrast's source is given, but the contrast is predicted in the text's own context";
            Err(Error::new(ErrorKind::SameContext, what, FORCE_INPUTS))
        }
        false => Ok(()),
    }
}

/// Asks about some of the steps only.
pub(crate) fn narrow(prepared: &mut Prepared, input: &Input) -> Result<()> {
    let known = prepared.text.masked.as_ref().map_or(prepared.target.len(), |masked| masked.until.len());
    let all = prepared.target.len().min(known);
    let before = prepared.text.steps.clone();
    let steps = input.from.unwrap_or(before.start)..input.to.unwrap_or(before.end);
    let what = match steps.clone() {
        Range { start, .. } if start >= all => Some(format!("there is no token {start}")),
        Range { start: 0, .. } => Some("nothing predicts the first token, 0".to_owned()),
        Range { start, end } if start >= end => Some(format!("no token is from {start} on and before {end}")),
        Range { end, .. } if end > all => Some(format!("there are no tokens up to {end}")),
        _ => None,
    };
    if let Some(what) = what {
        let what = format!("{what}: the target has {all} tokens, counted from 0");
        let hint = format!("ask about tokens from 1 to {}; `to` is the first that is left out", all.saturating_sub(1));
        return Err(Error::new(ErrorKind::Option, what, hint));
    }
    if let Some(contrast) = &mut prepared.text.contrast {
        // Pairs are counted from the first step.
        let moved = steps.start as isize - before.start as isize;
        if moved != 0 {
            contrast.alignment = shifted(contrast, before.len(), moved, steps.len());
        }
    }
    prepared.text.steps = steps;
    Ok(())
}

/// The alignment of as many steps, counted from another first one.
fn shifted(contrast: &ContrastText, all: usize, moved: isize, steps: usize) -> Alignment {
    let others = contrast.steps().len();
    let partners = contrast.alignment.partners(all, others).unwrap_or_default();
    let pair = |step: usize| {
        let before = usize::try_from(step as isize + moved).ok()?;
        Some((step, (*partners.get(before)?)?))
    };
    Alignment::Pairs((0..steps).filter_map(pair).collect())
}
