//! Texts as people have them: strings, with an id of their own.

use core::ops::Range;

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use stepfn_attribution::{Positions, Request};
use stepfn_core::Alignment;
use stepfn_models::chat::{Json, Message};

use crate::{Error, ErrorKind, Region, Result, Variant};

/// A part of a text that people marked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mark {
    /// From one position of the text to another, which is no longer part of it, as the input [counts](Input::positions) them.
    Span(Range<usize>),
    /// Wherever the text has these characters.
    Text(String),
}

/// One text, what it is compared with, and which tokens are asked about.
///
/// A string alone ([`text`](Self::text)) is what a causal model should say, or what an encoder–decoder reads.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Input {
    /// Yours; it comes back with the result. `null` becomes the number of the text.
    pub id: Value,
    /// Fields of your own: they come back with the result, and are written beside it.
    pub fields: Map<String, Value>,
    /// Where it comes from, for errors: `texts.jsonl, line 3`.
    pub place: Option<String>,
    /// A text whose role depends on the model: the target of a causal model, the source of an encoder–decoder.
    pub text: Option<String>,
    /// What the encoder reads, or the prompt of a causal model.
    pub source: Option<String>,
    /// What the model should say; for a causal model the full text, which starts with the prompt. Written by the model if there is none.
    pub target: Option<String>,
    /// Another source or prompt to compare with.
    pub contrast_source: Option<String>,
    /// Another target to compare with; for a causal model the full text.
    pub contrast_target: Option<String>,
    /// Which scored token is compared with which token of the contrast.
    pub alignment: Alignment,
    /// The first token that is asked about, counted in the target from 0; by default the first after the prompt.
    pub from: Option<usize>,
    /// The first token that is no longer asked about.
    pub to: Option<usize>,
    /// What the spans below count, and those of regions.
    pub positions: Positions,
    /// Parts of the source that perturbation methods hide and show as one.
    pub source_spans: Vec<Range<usize>>,
    /// Parts of the target that perturbation methods hide and show as one; of a chat, parts of its prompt and answer.
    pub target_spans: Vec<Range<usize>>,
    /// The documents in the source, or in the prompt of a causal model, in their order: what is hidden as one by [`Unit::Documents`](crate::Unit::Documents).
    pub documents: Vec<String>,
    /// Parts of the target that are attributed as one: each is a column of scores.
    pub units: Vec<Range<usize>>,
    /// The parts of the text that people marked as what the prediction should come from: of an encoder–decoder's source, or of a causal model's text. For
    /// metrics of plausibility, see [`EvaluateTask`](crate::EvaluateTask).
    pub rationale: Vec<Mark>,
    /// The words of the text, or of what follows its prompt, for scores [by word](crate::ScoreUnit::Word): each has one score. Without them,
    /// words are found as [`WordSplit`](crate::WordSplit) says.
    pub words: Vec<String>,
    /// The parts of the text that have a score each, for scores [by region](crate::ScoreUnit::Region).
    pub regions: Vec<Region>,
    /// Texts that are compared, see [`LanguageModel::compare`](crate::LanguageModel::compare): the expected one first.
    pub variants: Vec<Variant>,
    /// The messages of a chat, which a causal model's chat template makes a prompt of, in place of a source. If the last one is the
    /// assistant's, it is the target; otherwise the target and the target to compare with are what the assistant should say, without the
    /// prompt, and the model writes one if there is none.
    pub messages: Vec<Message>,
    /// Of a question about sources, see [`LanguageModel::context`](crate::LanguageModel::context): the texts that an answer may come from.
    pub sources: Vec<String>,
    /// What is asked about them.
    pub question: Option<String>,
    /// Of a question about reliance on context, see [`LanguageModel::attribute_context`](crate::LanguageModel::attribute_context): the context of the
    /// source, which is then the current text that the model reads.
    pub input_context: Option<String>,
    /// The context of the target, which is then the current text that the model writes.
    pub output_context: Option<String>,
    /// The tokens that the run without context is to prefer, one for each token that depends on context, the most dependent first. Where one is
    /// empty or missing, it is the token that the model prefers.
    pub contextless_output_next_tokens: Vec<String>,
    /// Which of the model's chat templates, where it has several.
    pub chat_template: Option<String>,
    /// Variables that the chat template reads, such as `enable_thinking`.
    pub chat_variables: BTreeMap<String, Json>,
}

impl Input {
    /// A text alone.
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: Some(text.into()), ..Self::default() }
    }

    /// A source, or a causal model's prompt.
    pub fn source(source: impl Into<String>) -> Self {
        Self { source: Some(source.into()), ..Self::default() }
    }

    /// A chat.
    pub fn chat(messages: impl IntoIterator<Item = Message>) -> Self {
        Self { messages: messages.into_iter().collect(), ..Self::default() }
    }

    /// Two texts whose [similarity](crate::LanguageModel::similarity) is measured, `a` and `b`.
    pub fn pair(a: impl Into<String>, b: impl Into<String>) -> Self {
        Self { variants: vec![Variant::new("a", a), Variant::new("b", b)], ..Self::default() }
    }

    /// A question about sources.
    pub fn context<S: Into<String>>(sources: impl IntoIterator<Item = S>, question: impl Into<String>) -> Self {
        let sources = sources.into_iter().map(Into::into).collect();
        Self { sources, question: Some(question.into()), ..Self::default() }
    }

    /// The same with an id of yours.
    #[must_use]
    pub fn with_id(self, id: impl Into<Value>) -> Self {
        Self { id: id.into(), ..self }
    }

    /// The request to a model of this kind: gives the text alone its role.
    pub(crate) fn request(&self, is_encoder_decoder: bool) -> Result<Request> {
        let Self { text, source, target, contrast_source, contrast_target, alignment, .. } = self.clone();
        let (source, target) = match (text, is_encoder_decoder) {
            (None, _) => (source, target),
            (Some(_), true) if source.is_some() => return Err(two_roles("source")),
            (Some(_), false) if target.is_some() => return Err(two_roles("target")),
            (Some(text), true) => (Some(text), target),
            (Some(text), false) => (source, Some(text)),
        };
        Ok(Request { source, target, contrast_source, contrast_target, alignment, is_complete: false })
    }

    /// Checks that there are no sources of a context, for work that reads none.
    pub(crate) fn without_sources(&self) -> Result<()> {
        match self.sources.is_empty() && self.question.is_none() {
            true => self.without_contexts(),
            false => {
                let what =
                    "`sources` and `question` are for finding which source an answer came from, and this is other work";
                Err(Error::new(ErrorKind::Text, what, "leave them out, or use `context`"))
            }
        }
    }

    /// Checks that no part of the text is given as context, for work that makes no difference between the parts.
    pub(crate) fn without_contexts(&self) -> Result<()> {
        let Self { input_context, output_context, contextless_output_next_tokens, .. } = self;
        match input_context.is_none() && output_context.is_none() && contextless_output_next_tokens.is_empty() {
            true => Ok(()),
            false => {
                let what = "`input_context` and `output_context` are for finding which tokens depend on context, and this is other work";
                Err(Error::new(ErrorKind::Text, what, "leave them out, or use `attribute_context`"))
            }
        }
    }

    /// Checks that nothing is marked, for work that compares with nothing that people marked.
    pub(crate) fn without_rationale(&self) -> Result<()> {
        match self.rationale.is_empty() {
            true => Ok(()),
            false => {
                let what = "`rationale` says what people marked, and this is other work";
                Err(Error::new(ErrorKind::Text, what, "leave it out, or use `evaluate` with a metric such as auprc"))
            }
        }
    }

    /// Checks that there are no words and regions, for work that joins no scores.
    pub(crate) fn without_parts(&self) -> Result<()> {
        self.without_rationale()?;
        match self.words.is_empty() && self.regions.is_empty() {
            true if !self.variants.is_empty() => {
                let what = "texts to compare were given, and this is other work";
                Err(Error::new(ErrorKind::Text, what, "leave them out, or use `compare`"))
            }
            true => Ok(()),
            false => {
                let what = "`words` and `regions` say which scores of tokens are joined, and this is other work";
                Err(Error::new(ErrorKind::Text, what, "leave them out, or score by word or region"))
            }
        }
    }

    /// Checks that there are no spans, for work that hides nothing.
    pub(crate) fn without_spans(&self) -> Result<()> {
        self.without_rationale()?;
        if !self.units.is_empty() {
            let what = "units say what is attributed as one, and nothing is attributed";
            return Err(Error::new(ErrorKind::Text, what, "leave out the units, or attribute"));
        }
        match self.source_spans.is_empty() && self.target_spans.is_empty() && self.documents.is_empty() {
            true => Ok(()),
            false => {
                let what = "spans and documents say what an attribution method hides as one, and only attribution hides anything";
                Err(Error::new(ErrorKind::Text, what, "leave them out, or attribute"))
            }
        }
    }

    /// What the model writes after: a source or prompt, however it was given.
    pub(crate) fn prompt(&self) -> Result<&str> {
        let prompt = self.source.as_deref().or(self.text.as_deref());
        prompt.ok_or_else(|| {
            Error::new(ErrorKind::Text, "there is no source or prompt to write after", "give a `source`")
        })
    }
}

fn two_roles(name: &str) -> Error {
    let what = format!("a text alone is the {name} of this model, and a {name} was given too");
    Error::new(ErrorKind::Option, what, format!("leave out one of them: the text, or the {name}"))
}

/// What can be asked about: a string, an [`Input`], or why there is none (a line that can't be read).
pub trait IntoInput {
    /// The input.
    ///
    /// # Errors
    /// Why there is none.
    fn into_input(self) -> Result<Input>;

    /// What you call it, known even if it can't be read; `null` if it has no name.
    fn id(&self) -> Value {
        Value::Null
    }

    /// Fields of your own, known even if it can't be read.
    fn fields(&self) -> Map<String, Value> {
        Map::new()
    }
}

impl IntoInput for Input {
    fn id(&self) -> Value {
        self.id.clone()
    }

    fn into_input(self) -> Result<Input> {
        Ok(self)
    }
}

impl IntoInput for &str {
    fn into_input(self) -> Result<Input> {
        Ok(Input::text(self))
    }
}

impl IntoInput for String {
    fn into_input(self) -> Result<Input> {
        Ok(Input::text(self))
    }
}

impl IntoInput for Result<Input> {
    fn id(&self) -> Value {
        self.as_ref().map_or(Value::Null, IntoInput::id)
    }

    fn into_input(self) -> Result<Input> {
        self
    }
}
