//! What a model writes.

use core::fmt;

use burn::tensor::backend::Backend;
use serde::Serialize;
use serde_json::{Map, Value};
use stepfn_attribution::{Generated, Prepared, Preparer, Provenance, Request};
use stepfn_models::chat::MessageSpan;

use crate::texts::{Numbered, Task, Told};
use crate::writers::{Record, csv_lines, plain, printable_lines, values};
use crate::{Error, ErrorKind, LanguageModel, Outcome, Result, RunOptions, warnings};

/// Lets the model write, as its settings say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GenerateTask {}

impl GenerateTask {
    fn about<B: Backend>(self, model: &LanguageModel<B>) -> Provenance {
        let settings = &model.generation().settings;
        let parameters = match serde_json::to_value(settings) {
            Ok(Value::Object(parameters)) => parameters,
            _ => Map::new(),
        };
        Provenance { parameters, seed: settings.seed, ..model.provenance() }
    }
}

impl<B: Backend> Task<B> for GenerateTask {
    type Output = Vec<Written>;

    fn windows(&self) -> [usize; 2] {
        // The last has enough texts of like length for full batches.
        [8, 128]
    }

    fn run(
        &self,
        model: &LanguageModel<B>,
        window: Vec<Numbered>,
        told: Told<'_>,
    ) -> Result<Vec<Outcome<Vec<Written>>>> {
        let about = self.about(model);
        let asked: Vec<Result<Asked>> = window.iter().map(|numbered| Asked::of(model, numbered, told)).collect();
        let sources: Vec<(&str, bool)> =
            asked.iter().flatten().map(|asked| (asked.source.as_str(), asked.is_complete)).collect();
        let memory = model.memory(&RunOptions::default());
        let mut all = model.preparer().generate_all(&sources, memory).into_iter();
        let mut written = |id: &Value, fields: &Map<String, Value>, asked: Result<Asked>| -> Result<Vec<Written>> {
            let asked = asked?;
            let nothing = || Error::new(ErrorKind::Text, "there is no result", "report this as a bug");
            let texts = all.next().ok_or_else(nothing)??;
            let text = |generated: Generated| Written {
                id: id.clone(),
                fields: fields.clone(),
                source: asked.source.clone(),
                messages: asked.messages.clone(),
                text: generated.text,
                about: Provenance {
                    warnings: asked.lengths(model, generated.hypothesis.ids.len()).into_iter().collect(),
                    ..about.clone()
                },
                ids: generated.hypothesis.ids,
                score: generated.hypothesis.score,
                finished: generated.hypothesis.finished,
            };
            Ok(texts.into_iter().map(text).collect())
        };
        let outcome = |(Numbered { number, id, fields, input, .. }, asked): (Numbered, Result<Asked>)| {
            let own = input.map(|input| input.fields).unwrap_or_default();
            Outcome { result: written(&id, &own, asked), id, number, fields }
        };
        Ok(window.into_iter().zip(asked).map(outcome).collect())
    }
}

/// What the model is given to write on.
struct Asked {
    source: String,
    is_complete: bool,
    messages: Vec<MessageSpan>,
    /// Its tokens.
    given: usize,
}

impl Asked {
    fn of<B: Backend>(model: &LanguageModel<B>, numbered: &Numbered, told: Told<'_>) -> Result<Self> {
        let input = numbered.input.as_ref().map_err(Clone::clone)?;
        input.without_spans()?;
        input.without_parts()?;
        let (source, is_complete, messages) = model.prompt_of(input)?;
        let given = model.tokenizer().encode(&source, !is_complete)?.len();
        let asked = Self { source, is_complete, messages, given };
        asked.lengths(model, 0).iter().for_each(|length| (told.warning)(&numbered.id, length));
        Ok(asked)
    }

    /// What to know of it with `new` tokens, if it is longer than the texts that the model was made for.
    fn lengths<B: Backend>(&self, model: &LanguageModel<B>, new: usize) -> Option<String> {
        let (source, target) = match model.is_encoder_decoder() {
            true => (self.given, new),
            false => (0, self.given + new.saturating_sub(1)),
        };
        warnings::of_lengths(model.config(), source, target)
    }
}

/// Makes texts of requests, of which those without a target have one that the model wrote for all of them together.
pub(crate) struct Drafts<'p, B: Backend> {
    preparer: &'p Preparer<'p, B>,
    written: stepfn_attribution::Drafts,
}

impl<'p, B: Backend> Drafts<'p, B> {
    pub(crate) fn of(
        model: &LanguageModel<B>,
        preparer: &'p Preparer<'p, B>,
        window: &[Numbered],
        memory: usize,
    ) -> Self {
        let inputs = window.iter().filter_map(|numbered| numbered.input.as_ref().ok());
        let requests: Vec<Request> = inputs
            .filter(|input| input.target.is_none())
            .filter_map(|input| Some(model.asked(input).ok()?.request))
            .collect();
        Self { preparer, written: preparer.drafts(&requests, memory) }
    }

    pub(crate) fn prepare(&self, request: &Request) -> Result<Prepared> {
        Ok(self.preparer.prepare_with(request, &self.written)?)
    }
}

/// What a model wrote.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Written {
    /// What you call the text, or its number.
    pub id: Value,
    /// Fields of your own that came with the text.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub fields: Map<String, Value>,
    /// The source, or the prompt.
    pub source: String,
    /// Of a chat: where each of its messages stands, in bytes of the prompt; empty otherwise.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub messages: Vec<MessageSpan>,
    /// What was written; for a causal model, what follows the prompt.
    pub text: String,
    /// Its tokens.
    pub ids: Vec<u32>,
    /// What it was chosen by: its log-probability, normalized by length as the settings say.
    pub score: f64,
    /// Whether it ends because the model ended it.
    pub finished: bool,
    /// How it was made.
    pub about: Provenance,
}

impl Record for Written {
    fn warnings(&self) -> &[String] {
        &self.about.warnings
    }

    fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }

    fn table(&self) -> String {
        format!("{}\n", printable_lines(&self.text))
    }

    fn csv(&self, fields: &[String], with_header: bool) -> String {
        let header = ["id", "source", "text", "score", "finished"].map(str::to_owned).into_iter();
        let header = header.chain(fields.iter().cloned()).collect();
        let own = [plain(&self.id), self.source.clone(), self.text.clone()];
        let row = own.into_iter().chain([self.score.to_string(), self.finished.to_string()]);
        let row = row.chain(values(&self.fields, fields)).collect();
        csv_lines(with_header.then_some(header).into_iter().chain([row]))
    }
}

/// The text.
impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
