//! What a model writes.

use core::fmt;
use core::ops::ControlFlow;

use burn::tensor::backend::Backend;
use serde_json::json;
use stepfn_attribution::Progress;

use crate::texts::{Numbered, Task};
use crate::writers::{Record, csv_lines};
use crate::{Input, LanguageModel, Outcome, Result};

/// Lets the model write, as its settings say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GenerateTask {}

impl<B: Backend> Task<B> for GenerateTask {
    type Output = Vec<Written>;

    fn run(
        &self,
        model: &LanguageModel<B>,
        window: Vec<Numbered>,
        _progress: &dyn Fn(Progress) -> ControlFlow<()>,
    ) -> Result<Vec<Outcome<Vec<Written>>>> {
        let write = |input: &Input| -> Result<Vec<Written>> {
            input.without_spans()?;
            let source = input.prompt()?;
            let written = |generated: stepfn_attribution::Generated| Written {
                source: source.to_owned(),
                text: generated.text,
                ids: generated.hypothesis.ids,
                score: generated.hypothesis.score,
                finished: generated.hypothesis.finished,
            };
            Ok(model.preparer().generate(source)?.into_iter().map(written).collect())
        };
        let outcome = |Numbered { number, id, input, .. }| {
            let result = input.and_then(|input: Input| write(&input));
            Outcome { id, number, result }
        };
        Ok(window.into_iter().map(outcome).collect())
    }
}

/// What a model wrote.
#[derive(Debug, Clone, PartialEq)]
pub struct Written {
    /// The source, or the prompt.
    pub source: String,
    /// What was written; for a causal model, what follows the prompt.
    pub text: String,
    /// Its tokens.
    pub ids: Vec<u32>,
    /// What it was chosen by: its log-probability, normalized by length as the settings say.
    pub score: f64,
    /// Whether it ends because the model ended it.
    pub finished: bool,
}

impl Record for Written {
    fn json(&self) -> serde_json::Result<String> {
        let Self { source, text, ids, score, finished } = self;
        serde_json::to_string(
            &json!({ "source": source, "text": text, "ids": ids, "score": score, "finished": finished }),
        )
    }

    fn table(&self) -> String {
        format!("{}\n", self.text)
    }

    fn csv(&self, _text: usize, with_header: bool) -> String {
        let header = ["source", "text", "score", "finished"].map(str::to_owned).to_vec();
        let row = vec![self.source.clone(), self.text.clone(), self.score.to_string(), self.finished.to_string()];
        csv_lines(with_header.then_some(header).into_iter().chain([row]))
    }
}

/// The text.
impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
