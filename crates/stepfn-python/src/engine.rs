//! A model, whatever its backend.

use std::sync::Arc;
use std::time::Instant;

use burn::tensor::backend::Backend;
use serde_json::json;
use stepfn::{
    Answer, Comparison, Evaluated, LanguageModel, Outcome, RelianceAnswer, ScoredText, Similarity, Token, Value,
    Written, interruptible,
};

use crate::task::{
    Job, Named, Options, attribute_task, compare_task, context_task, evaluate_task, reliance_task, score_task,
    similarity_task,
};
use crate::watch::Watch;

/// Results of texts.
pub(crate) enum Results {
    Scored(Vec<Outcome<ScoredText>>),
    Answers(Vec<Outcome<Answer>>),
    Compared(Vec<Outcome<Comparison>>),
    Similarities(Vec<Outcome<Similarity>>),
    Reliances(Vec<Outcome<RelianceAnswer>>),
    Written(Vec<Outcome<Vec<Written>>>),
    /// Of all texts together.
    Evaluated(Box<Evaluated>),
}

/// A model, whatever its backend.
pub(crate) trait Engine: Send + Sync {
    /// What is known of it.
    fn about(&self) -> Value;

    /// Does a job with texts.
    fn run(&self, job: &Job, inputs: Vec<Named>, options: &Options, watch: &Arc<Watch>) -> stepfn::Result<Results>;

    /// The tokens of a text, as the model reads it: of the source, or of the target.
    fn encode(&self, text: &str, special_tokens: bool, target: bool) -> stepfn::Result<Vec<Token>>;

    /// Tokens as the vocabulary has them.
    fn pieces(&self, ids: &[u32], target: bool) -> Vec<Option<String>>;

    /// The text of tokens.
    fn decode(&self, ids: &[u32], skip_special_tokens: bool, target: bool) -> stepfn::Result<String>;
}

impl<B: Backend> Engine for LanguageModel<B>
where
    Self: Send + Sync,
{
    fn about(&self) -> Value {
        let tokenizer = self.tokenizers().target();
        // What the tokenizer's files don't say, the model's configuration may.
        let special = |token: Option<(&str, u32)>, id: Option<u32>| {
            let named = |id: u32| Some((tokenizer.id_to_token(id)?, id));
            let token = token.map(|(token, id)| (token.to_owned(), id)).or_else(|| id.and_then(named));
            token.map(|(token, id)| json!({ "token": token, "id": id }))
        };
        let of_model = &self.config().special;
        json!({
            "name": self.name(),
            "family": self.family(),
            "is_encoder_decoder": self.is_encoder_decoder(),
            "is_masked": self.config().is_masked(),
            "backend": self.backend(),
            "device": self.device().to_string(),
            "vocab_size": self.config().vocab_size,
            "texts_per_prompt": self.texts_per_prompt(),
            "bos": special(tokenizer.bos(), of_model.bos),
            "eos": special(tokenizer.eos(), of_model.eos.first().copied()),
            "pad": special(tokenizer.pad(), of_model.pad),
            "unk": special(tokenizer.unk(), None),
        })
    }

    fn run(&self, job: &Job, inputs: Vec<Named>, options: &Options, watch: &Arc<Watch>) -> stepfn::Result<Results> {
        let (asked, raised) = (watch.clone(), job.raised());
        interruptible(
            move || asked.ends() || raised.iter().any(|raised| raised.ends()),
            || match job {
                Job::Score(functions) => {
                    let task = score_task(functions, options, self.registry())?;
                    let outcomes = self.score_all(inputs, &task).on_progress(|progress| watch.progress(progress));
                    Ok(Results::Scored(outcomes.collect()))
                }
                Job::Attribute { method, function, step_scores } => {
                    let task = attribute_task((method, function.as_ref(), step_scores), options, self.registry())?;
                    let outcomes = self.attribute_all(inputs, &task).on_progress(|progress| watch.progress(progress));
                    Ok(Results::Answers(outcomes.collect()))
                }
                Job::Compare(functions) => {
                    let task = compare_task(functions, options, self.registry())?;
                    let outcomes = self.compare_all(inputs, &task).on_progress(|progress| watch.progress(progress));
                    Ok(Results::Compared(outcomes.collect()))
                }
                Job::Similarity => {
                    let task = similarity_task(options)?;
                    let outcomes = self.similarity_all(inputs, &task).on_progress(|progress| watch.progress(progress));
                    Ok(Results::Similarities(outcomes.collect()))
                }
                Job::Context => {
                    let task = context_task(options)?;
                    let outcomes = self.context_all(inputs, &task).on_progress(|progress| watch.progress(progress));
                    Ok(Results::Answers(outcomes.collect()))
                }
                Job::AttributeContext { metric, method, function } => {
                    let task = reliance_task((metric, method, function), options, self.registry())?;
                    let outcomes = self.attribute_context_all(inputs, &task);
                    let outcomes = outcomes.on_progress(|progress| watch.progress(progress));
                    Ok(Results::Reliances(outcomes.collect()))
                }
                Job::Evaluate { methods, functions } => {
                    let started = Instant::now();
                    let task = evaluate_task((methods, functions), options, self.registry())?;
                    let outcomes = self.evaluate_all(inputs, &task).on_progress(|progress| watch.progress(progress));
                    let texts = outcomes.map(|outcome| outcome.result).collect::<stepfn::Result<Vec<_>>>()?;
                    let found = Evaluated::of(self, &task, &texts, started.elapsed().as_secs_f64())?;
                    Ok(Results::Evaluated(Box::new(found)))
                }
                Job::Generate => {
                    let outcomes = self.generate_all(inputs).on_progress(|progress| watch.progress(progress));
                    Ok(Results::Written(outcomes.collect()))
                }
            },
        )
    }

    fn encode(&self, text: &str, special_tokens: bool, target: bool) -> stepfn::Result<Vec<Token>> {
        let tokenizer = if target { self.tokenizers().target() } else { self.tokenizers().source() };
        Ok(tokenizer.encode(text, special_tokens)?)
    }

    fn pieces(&self, ids: &[u32], target: bool) -> Vec<Option<String>> {
        let tokenizer = if target { self.tokenizers().target() } else { self.tokenizers().source() };
        ids.iter().map(|&id| tokenizer.id_to_token(id)).collect()
    }

    fn decode(&self, ids: &[u32], skip_special_tokens: bool, target: bool) -> stepfn::Result<String> {
        let tokenizer = if target { self.tokenizers().target() } else { self.tokenizers().source() };
        Ok(tokenizer.decode(ids, skip_special_tokens)?)
    }
}
