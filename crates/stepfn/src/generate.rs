//! What a model writes.

use core::fmt;

use burn::tensor::backend::Backend;
use serde::Serialize;
use serde_json::{Map, Value};
use stepfn_attribution::Provenance;
use stepfn_models::chat::MessageSpan;

use crate::texts::{Numbered, Task, Told, each};
use crate::writers::{Record, csv_lines, plain, printable_lines, values};
use crate::{Input, LanguageModel, Outcome, Result, warnings};

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

    fn run(
        &self,
        model: &LanguageModel<B>,
        window: Vec<Numbered>,
        told: Told<'_>,
    ) -> Result<Vec<Outcome<Vec<Written>>>> {
        let about = self.about(model);
        let write = |id: &Value, input: &Input| -> Result<Vec<Written>> {
            input.without_spans()?;
            input.without_parts()?;
            let (source, is_complete, messages) = model.prompt_of(input)?;
            let given = model.tokenizer().encode(&source, !is_complete)?.len();
            let beyond = |new: usize| -> Vec<String> {
                let (source, target) =
                    if model.is_encoder_decoder() { (given, new) } else { (0, given + new.saturating_sub(1)) };
                warnings::of_lengths(model.config(), source, target).into_iter().collect()
            };
            beyond(0).iter().for_each(|length: &String| (told.warning)(id, length));
            let written = |generated: stepfn_attribution::Generated| Written {
                id: id.clone(),
                fields: input.fields.clone(),
                source: source.clone(),
                messages: messages.clone(),
                text: generated.text,
                about: Provenance { warnings: beyond(generated.hypothesis.ids.len()), ..about.clone() },
                ids: generated.hypothesis.ids,
                score: generated.hypothesis.score,
                finished: generated.hypothesis.finished,
            };
            Ok(model.preparer().generate(&source, is_complete)?.into_iter().map(written).collect())
        };
        Ok(each(window, |input, _, id| write(id, input)))
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
