//! Which of its sources an answer came from.

mod sources;

use core::ops::Range;
use std::time::Instant;

use burn::tensor::backend::Backend;
use serde_json::{Map, Value};
use stepfn_attribution::contexts::{Checks, ContextMethod, ContextScores, ContextText, Operator, context};
use stepfn_attribution::{Attribution, AttributionError, MERGED, Prepared, Provenance, Scores, Side, SpanTarget};
use stepfn_models::tokenizer::Token;

use self::sources::{Filled, QUESTION, SOURCES, tokens_of};
pub(crate) use self::sources::{begins_in, first_visible};
use crate::chat::Asked;
use crate::room;
use crate::texts::{Numbered, Task, Told, each};
use crate::{Answer, Error, ErrorKind, Input, LanguageModel, Message, Outcome, Result, RunOptions, TargetUnit};

pub use self::sources::Split;

/// How sources are scored. For many texts: [`LanguageModel::context_all`].
#[derive(Debug, Clone, PartialEq)]
pub struct ContextTask {
    /// The method.
    pub method: ContextMethod,
    /// What becomes of a source that is left out.
    pub operator: Operator,
    /// What each given source is divided into.
    pub split: Split,
    /// What a statement of the answer is: a column of scores for each.
    pub statement: TargetUnit,
    /// What the model is given, with `{sources}` and `{question}`; by default both, one after the other.
    pub template: Option<String>,
    /// What is between given sources.
    pub separator: String,
    /// Leave the model's chat template out, if it has one.
    pub plain: bool,
    /// Measure how well the scores predict what happens without sources, on so many random subsets.
    pub checks: Option<usize>,
    /// How it runs.
    pub options: RunOptions,
}

impl Default for ContextTask {
    fn default() -> Self {
        let [method, ..] = ContextMethod::ALL;
        Self {
            method,
            operator: Operator::default(),
            split: Split::default(),
            statement: TargetUnit::Sentence,
            template: None,
            separator: "\n\n".to_owned(),
            plain: false,
            checks: None,
            options: RunOptions::default(),
        }
    }
}

/// A method that scores sources, by its name: `context_method("context_cite", …)`.
///
/// # Errors
/// [`ErrorKind::Name`] for a name that doesn't exist, [`ErrorKind::Parameter`] for a parameter that the method doesn't have or that has another type.
pub fn context_method(name: &str, parameters: &Map<String, Value>) -> Result<ContextMethod> {
    Ok(ContextMethod::named(name, parameters).map_err(AttributionError::from)?)
}

impl ContextTask {
    /// Checks what can be checked before a model is there.
    ///
    /// # Errors
    /// [`ErrorKind::Option`] for a template without sources, or a count of 0.
    pub fn check(&self) -> Result<()> {
        if self.template.as_ref().is_some_and(|template| template.matches(SOURCES).count() != 1) {
            let what = format!("the template needs {SOURCES} once, where the sources go");
            return Err(Error::new(ErrorKind::Option, what, format!("such as '{SOURCES} {QUESTION}'")));
        }
        let counts = match &self.method {
            ContextMethod::ContextCite { alpha, .. } if !(0.0..=1e6).contains(alpha) => {
                let what = format!("alpha, the penalty, is {alpha}");
                return Err(Error::new(ErrorKind::Option, what, "give a number from 0 to 1000000"));
            }
            ContextMethod::ContextCite { n_ablations, .. } => vec![("n_ablations", Some(*n_ablations), 2)],
            ContextMethod::KernelShap { n_samples } => vec![("n_samples", Some(*n_samples), 2)],
            ContextMethod::Hierarchical { expand } => vec![("expand", Some(*expand), 1)],
            ContextMethod::Gradient { prefilter } => vec![("prefilter", *prefilter, 1)],
            ContextMethod::LeaveOneOut => vec![],
        };
        for (name, count, least) in counts.into_iter().chain([("the number of subsets to check", self.checks, 3)]) {
            if let Some(count) = count.filter(|count| !(least..=100_000).contains(count)) {
                let hint = format!("give a whole number from {least} to 100000");
                return Err(Error::new(ErrorKind::Option, format!("{name} is {count}"), hint));
            }
        }
        Ok(())
    }

    /// Everything that a model reads and says.
    fn prepare<B: Backend>(&self, model: &LanguageModel<B>, input: &Input) -> Result<(Prepared, ContextText, Filled)> {
        let nothing = |what: &str, hint: &str| Err(Error::new(ErrorKind::Text, what, hint));
        input.without_contexts()?;
        if input.sources.is_empty() {
            return nothing("there are no sources", "give `sources`, a list of texts");
        }
        input.without_parts()?;
        if input.target.as_ref().is_some_and(String::is_empty) {
            return nothing("the answer is empty", "give one, or leave it out: then the model writes it");
        }
        if input.text.is_some() || input.source.is_some() || !input.messages.is_empty() {
            return nothing(
                "sources and their question make the prompt, and a text, a source or messages were given too",
                "leave out one of them",
            );
        }
        if model.is_masked() {
            return nothing(
                "this model predicts masked tokens, and writes no answer",
                "use a causal model or an encoder-decoder",
            );
        }
        let chat =
            !self.plain && !model.is_encoder_decoder() && model.tokenizer().chat_template_names().next().is_some();
        if !chat && (input.chat_template.is_some() || !input.chat_variables.is_empty()) {
            let what = "the model has no chat template, or it is left out, and options for one were given";
            return Err(Error::new(ErrorKind::Option, what, "leave them out"));
        }
        let default = match (input.question.is_some(), chat || model.is_encoder_decoder()) {
            (false, _) => SOURCES.to_owned(),
            (true, true) => format!("{SOURCES}\n\n{QUESTION}"),
            (true, false) => format!("{SOURCES}\n\nQuestion: {QUESTION}\nAnswer:"),
        };
        let filled = self.filled(input, &default)?;
        let answer = input.target.clone();
        let asking = match (chat, model.is_encoder_decoder()) {
            (true, _) => {
                let messages = vec![Message::user(filled.text.as_str())];
                let Input { chat_template, chat_variables, .. } = input.clone();
                Input { messages, target: answer, chat_template, chat_variables, ..Input::default() }
            }
            (false, true) => Input { target: answer, ..Input::source(filled.text.as_str()) },
            (false, false) => {
                let joint = |answer: &String| {
                    !filled.text.ends_with(char::is_whitespace) && !answer.starts_with(char::is_whitespace)
                };
                let whole =
                    |answer: String| format!("{}{}{answer}", filled.text, if joint(&answer) { " " } else { "" });
                Input { target: answer.map(whole), ..Input::source(filled.text.as_str()) }
            }
        };
        let preparer = model.preparer();
        let Asked { request, .. } = model.asked(&asking)?;
        let prepared = preparer.prepare(&request)?;
        room::check(model, &prepared.text)?;
        let (side, text, tokens) = match &prepared.source_text {
            Some(source) if model.is_encoder_decoder() => (Side::Source, source, &prepared.source),
            _ => (Side::Target, &prepared.target_text, &prepared.target),
        };
        let lost = || {
            let what = "the chat template changes the sources, so that they are not found in the prompt";
            Error::new(
                ErrorKind::Text,
                what,
                "leave the chat template out, or take one that keeps messages as they are",
            )
        };
        let (start, trimmed) = match text.find(&filled.sources) {
            Some(start) => (start, 0),
            None => {
                let trimmed = filled.sources.len() - filled.sources.trim_start().len();
                (text.find(filled.sources.trim()).ok_or_else(lost)?, trimmed)
            }
        };
        let end = match side {
            Side::Source => tokens.len(),
            Side::Target => prepared.text.steps.start,
        };
        let sources = filled.parts.iter().enumerate().map(|(number, part)| {
            let place = |at: usize| (start + at).saturating_sub(trimmed);
            tokens_of(text, &tokens[..end], place(part.start)..place(part.end)).ok_or_else(|| {
                let what = format!("source {} has no token of its own", number + 1);
                Error::new(ErrorKind::Text, what, "join it with the one before it")
            })
        });
        let sources = sources.collect::<Result<Vec<_>>>()?;
        let statements = match self.statement {
            TargetUnit::Token => prepared.text.steps.clone().map(|step| step..step + 1).collect(),
            TargetUnit::Word => SpanTarget::words(&prepared).spans,
            TargetUnit::Sentence => SpanTarget::sentences(&prepared).spans,
            TargetUnit::Answer => SpanTarget::answer(&prepared).spans,
        };
        let is_said = |span: &Range<usize>| prepared.target[span.clone()].iter().any(|token| !token.special);
        let statements: Vec<Range<usize>> = statements.into_iter().filter(is_said).collect();
        if statements.is_empty() {
            return nothing("the answer has no tokens but special ones", "give another answer");
        }
        let groups = filled.groups.clone();
        let text = ContextText { text: prepared.text.clone(), side, sources, groups, statements };
        Ok((prepared, text, filled))
    }

    fn answer<B: Backend>(
        &self,
        model: &LanguageModel<B>,
        input: &Input,
        number: usize,
        id: Value,
        told: Told<'_>,
    ) -> Result<Answer> {
        let started = Instant::now();
        let (prepared, text, filled) = self.prepare(model, input)?;
        let length = told.of_length(&id, model.config(), &prepared.text);
        let options = told.attribution(model, &self.options, number);
        let found = context(model.model(), &text, (&self.method, self.operator), self.checks, &options)?;
        let mut attribution = self.attribution(&prepared, &text, &filled, found);
        attribution.about = Provenance {
            method: self.method.name().to_owned(),
            attributed_fn: "probability".to_owned(),
            parameters: self.method.parameters(),
            seed: self.options.seed,
            seconds: started.elapsed().as_secs_f64(),
            family: model.config().family.to_owned(),
            warnings: length.into_iter().collect(),
            ..model.provenance()
        };
        let named =
            [("operator", self.operator.name()), ("split", self.split.name()), ("statement", self.statement.name())];
        attribution.about.parameters.extend(named.map(|(name, value)| (name.to_owned(), value.into())));
        attribution.about.parameters.insert("prompt".to_owned(), filled.text.into());
        Ok(Answer(Attribution { id, fields: input.fields.clone(), ..attribution }))
    }

    /// Sources as the tokens of a source, and statements as those of a target.
    fn attribution(
        &self,
        prepared: &Prepared,
        text: &ContextText,
        filled: &Filled,
        found: ContextScores,
    ) -> Attribution {
        let token =
            |surface: &str, span: Range<usize>| Token { id: MERGED, surface: surface.to_owned(), span, special: false };
        let sources =
            filled.parts.iter().map(|part| token(filled.sources[part.clone()].trim(), part.clone())).collect();
        let span = |tokens: &Range<usize>| {
            let tokens = &prepared.target[tokens.clone()];
            tokens.first().map_or(0, |token| token.span.start)..tokens.last().map_or(0, |token| token.span.end)
        };
        let first = text.statements.first().map_or(0, |first| span(first).start);
        let last = text.statements.last().map_or(0, |last| span(last).end);
        let answer = prepared.target_text.get(first..last).unwrap_or_default().to_owned();
        let statement = |tokens: &Range<usize>| {
            let span = span(tokens);
            let own = span.start - first..span.end - first;
            token(answer.get(own.clone()).unwrap_or_default(), own)
        };
        let statements: Vec<Token> = text.statements.iter().map(statement).collect();
        let columns = statements.len();
        let mut attribution = Attribution::new(sources, statements, 0..columns);
        attribution.source_text = Some(filled.sources.clone());
        attribution.target_text = Some(answer);
        attribution.source_scores = Some(Scores::filled(text.sources.len(), columns, &[], |source, statement, _| {
            found.scores[source][statement] as f32
        }));
        let log_probs = found.log_probs.iter().map(|&log_prob| log_prob as f32).collect();
        attribution.step_scores.insert("log_probability".to_owned(), log_probs);
        attribution.joins.insert("log_probability".to_owned(), stepfn_core::Join::Sum);
        if let Some(Checks { lds, drops }) = found.checks {
            // Where nothing ever changes there is no correlation.
            attribution.measured.extend(lds.is_finite().then(|| ("lds".to_owned(), lds)));
            for (k, falls) in drops {
                for (name, fall) in ["drop", "random_drop", "first_drop"].into_iter().zip(falls) {
                    attribution.measured.insert(format!("{name}_{k}"), fall);
                }
            }
        }
        attribution
    }
}

impl<B: Backend> Task<B> for &ContextTask {
    type Output = Answer;

    fn first_number(&self) -> usize {
        self.options.first_number
    }

    fn run(&self, model: &LanguageModel<B>, window: Vec<Numbered>, told: Told<'_>) -> Result<Vec<Outcome<Answer>>> {
        self.check()?;
        Ok(each(window, |input, number, id| self.answer(model, input, number, id.clone(), told)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_and_counts_are_checked() {
        let wrong = |task: ContextTask| task.check().unwrap_err().what().to_owned();
        let template = |template: &str| ContextTask { template: Some(template.to_owned()), ..ContextTask::default() };
        assert!(wrong(template("{question}")).contains("{sources} once"));
        assert!(template("{sources}").check().is_ok());
        let method = ContextMethod::ContextCite { n_ablations: 1, alpha: 0.01 };
        assert_eq!(wrong(ContextTask { method, ..ContextTask::default() }), "n_ablations is 1");
        let method = ContextMethod::ContextCite { n_ablations: 64, alpha: f64::NAN };
        assert!(wrong(ContextTask { method, ..ContextTask::default() }).contains("NaN"));
        let checked = ContextTask { checks: Some(0), ..ContextTask::default() };
        assert_eq!(wrong(checked), "the number of subsets to check is 0");
    }
}
