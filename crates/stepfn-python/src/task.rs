//! What Python's side of the package asks for: methods, functions and options.

mod evaluate;
mod given;
mod pairs;

use std::sync::Arc;

use burn::tensor::backend::Backend;
use pyo3::prelude::*;
use serde::Deserialize;
use stepfn::extend::{AttributionMethod, StepFunction};
use stepfn::{
    AttributeContextTask, AttributeTask, AttributedFn, BowCorrection, ContextTask, DOCUMENT_MARK, Error, ErrorKind,
    LongTexts, Map, Masking, Once, Operator, OutputContext, Registry, RunOptions, ScoreTask, ScoreUnit, Selection,
    Split, TargetUnit, Unit, Value, WordSplit,
};

use crate::function::Function;
use crate::method::Method;
use crate::raised::Raised;

use self::evaluate::EvaluateOptions;
pub(crate) use self::evaluate::evaluate_task;
pub(crate) use self::given::{Given, Named};
use self::pairs::{CompareOptions, SimilarityOptions};
pub(crate) use self::pairs::{compare_task, similarity_task};

/// A step function: Python's, or one by its name and its parameters as JSON.
#[derive(FromPyObject)]
pub(crate) enum FunctionSpec {
    Own(Py<Function>),
    Named((String, String)),
}

impl FunctionSpec {
    pub(crate) fn make<B: Backend>(&self, registry: &Registry<B>) -> stepfn::Result<AttributedFn<B>> {
        match self {
            Self::Own(function) => Ok(AttributedFn::new(function.get().step_function())),
            Self::Named((name, parameters)) => registry.function(name, &object(parameters)?),
        }
    }

    /// What Python raised in it.
    fn raised(&self) -> Option<Arc<Raised>> {
        match self {
            Self::Own(function) => Some(function.get().raised()),
            Self::Named(_) => None,
        }
    }
}

/// A method: Python's, or one by its name and its parameters as JSON.
#[derive(FromPyObject)]
pub(crate) enum MethodSpec {
    Own(Py<Method>),
    Named((String, String)),
}

impl MethodSpec {
    pub(crate) fn make<B: Backend>(&self, registry: &Registry<B>) -> stepfn::Result<Box<dyn AttributionMethod<B>>> {
        match self {
            Self::Own(method) => Ok(Box::new(method.get().method())),
            Self::Named((name, parameters)) => registry.method(name, &object(parameters)?),
        }
    }

    /// What Python raised in it.
    fn raised(&self) -> Option<Arc<Raised>> {
        match self {
            Self::Own(method) => Some(method.get().raised()),
            Self::Named(_) => None,
        }
    }
}

fn object(parameters: &str) -> stepfn::Result<Value> {
    serde_json::from_str(parameters)
        .map_err(|error| Error::new(ErrorKind::Parameter, error.to_string(), "give numbers, texts and lists"))
}

/// How work runs.
#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Options {
    seed: u64,
    dropout: Option<f64>,
    memory: Option<usize>,
    batch_tokens: Option<usize>,
    masking: Option<String>,
    first_number: usize,
    alternatives: usize,
    target_side: bool,
    features: Option<String>,
    document_mark: Option<String>,
    unit: Option<String>,
    unit_mean: bool,
    prompt_only: bool,
    context: Option<ContextOptions>,
    reliance: Option<RelianceOptions>,
    evaluate: Option<EvaluateOptions>,
    compare: Option<CompareOptions>,
    similarity: Option<SimilarityOptions>,
    contrast_force_inputs: bool,
    raw: bool,
    aggregate: Option<String>,
    by: Option<String>,
    words: Option<String>,
    bow_correction: Option<String>,
    long: Option<String>,
    start_token: Option<bool>,
    once: bool,
    uncertainty: Option<usize>,
}

impl Options {
    fn run(&self) -> stepfn::Result<RunOptions> {
        let default = RunOptions::default();
        let masking = match self.masking.as_deref() {
            None => None,
            Some("token") => Some(Masking::Token),
            Some("word") => Some(Masking::Word),
            Some(other) => {
                let what = format!("there is no masking `{other}`");
                return Err(Error::new(ErrorKind::Option, what, "choose token or word"));
            }
        };
        Ok(RunOptions {
            seed: self.seed,
            dropout: self.dropout,
            memory: self.memory,
            batch_tokens: self.batch_tokens.unwrap_or(default.batch_tokens),
            masking,
            first_number: self.first_number,
        })
    }
}

/// What to do with texts.
pub(crate) enum Job {
    Score(Vec<FunctionSpec>),
    Attribute { method: MethodSpec, function: Option<FunctionSpec>, step_scores: Vec<FunctionSpec> },
    Context,
    Compare(Vec<FunctionSpec>),
    Similarity,
    AttributeContext { metric: FunctionSpec, method: MethodSpec, function: FunctionSpec },
    Evaluate { methods: Vec<MethodSpec>, functions: Vec<FunctionSpec> },
    Generate,
}

impl Job {
    /// What Python raised in its functions.
    pub(crate) fn raised(&self) -> Vec<Arc<Raised>> {
        match self {
            Self::Score(functions) | Self::Compare(functions) => {
                functions.iter().filter_map(FunctionSpec::raised).collect()
            }
            Self::Attribute { method, function, step_scores } => {
                let functions = function.iter().chain(step_scores);
                method.raised().into_iter().chain(functions.filter_map(FunctionSpec::raised)).collect()
            }
            Self::AttributeContext { metric, method, function } => {
                let functions = [metric, function].into_iter().filter_map(FunctionSpec::raised);
                method.raised().into_iter().chain(functions).collect()
            }
            Self::Evaluate { methods, functions } => {
                let methods = methods.iter().filter_map(MethodSpec::raised);
                methods.chain(functions.iter().filter_map(FunctionSpec::raised)).collect()
            }
            Self::Context | Self::Similarity | Self::Generate => Vec::new(),
        }
    }
}

fn boxed<B: Backend>(
    functions: &[FunctionSpec],
    registry: &Registry<B>,
) -> stepfn::Result<Vec<Box<dyn StepFunction<B>>>> {
    let make = |function: &FunctionSpec| Ok(Box::new(function.make(registry)?) as Box<dyn StepFunction<B>>);
    functions.iter().map(make).collect()
}

/// Step functions of texts.
pub(crate) fn score_task<B: Backend>(
    functions: &[FunctionSpec],
    options: &Options,
    registry: &Registry<B>,
) -> stepfn::Result<ScoreTask<B>> {
    let task = ScoreTask::new(boxed(functions, registry)?);
    let by = options.by.as_deref().map(|name| chosen("unit", name, ScoreUnit::ALL, ScoreUnit::name)).transpose()?;
    let splits = [WordSplit::Whitespace, WordSplit::Unicode];
    let words = options.words.as_deref().map(|name| chosen("way to find words", name, splits, WordSplit::name));
    let variants = [BowCorrection::Published, BowCorrection::Minicons];
    let bow = options.bow_correction.as_deref();
    let bow = bow.map(|name| chosen("correction of words", name, variants, BowCorrection::name)).transpose()?;
    Ok(ScoreTask {
        alternatives: options.alternatives,
        by: by.unwrap_or_default(),
        words: words.transpose()?.unwrap_or_default(),
        bow_correction: bow,
        uncertainty: options.uncertainty,
        long: options.long.as_deref().map_or(Ok(LongTexts::Error), str::parse)?,
        start_token: options.start_token,
        once: options.once.then(Once::default),
        options: options.run()?,
        ..task
    })
}

/// Attribution of texts.
pub(crate) fn attribute_task<B: Backend>(
    (method, function, step_scores): (&MethodSpec, Option<&FunctionSpec>, &[FunctionSpec]),
    options: &Options,
    registry: &Registry<B>,
) -> stepfn::Result<AttributeTask<B>> {
    let features =
        options.features.as_deref().map(|name| chosen("features", name, Unit::ALL, Unit::name)).transpose()?;
    let unit = options.unit.as_deref().map(|name| chosen("unit", name, TargetUnit::ALL, TargetUnit::name));
    let task = AttributeTask {
        function: function.map(|function| function.make(registry)).transpose()?,
        unit: unit.transpose()?.unwrap_or_default(),
        unit_mean: options.unit_mean,
        prompt_only: options.prompt_only,
        step_scores: boxed(step_scores, registry)?,
        alternatives: options.alternatives,
        target_side: options.target_side,
        features: features.unwrap_or_default(),
        document_mark: options.document_mark.clone().unwrap_or_else(|| DOCUMENT_MARK.to_owned()),
        contrast_force_inputs: options.contrast_force_inputs,
        raw: options.raw,
        aggregate: options.aggregate.as_deref().map(stepfn::pipeline).transpose()?,
        options: options.run()?,
        ..AttributeTask::new(method.make(registry)?)
    };
    task.check()?;
    Ok(task)
}

/// One of several things with names.
fn chosen<T: Copy, const N: usize>(
    what: &str,
    name: &str,
    all: [T; N],
    name_of: impl Fn(T) -> &'static str,
) -> stepfn::Result<T> {
    let unknown = || {
        let names: Vec<&str> = all.iter().map(|&one| name_of(one)).collect();
        let hint = format!("choose one of {}", names.join(", "));
        Error::new(ErrorKind::Option, format!("there is no {what} `{name}`"), hint)
    };
    all.into_iter().find(|&one| name_of(one) == name).ok_or_else(unknown)
}

/// How sources are scored.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ContextOptions {
    method: String,
    parameters: Map<String, Value>,
    operator: String,
    split: String,
    statement: String,
    template: Option<String>,
    separator: Option<String>,
    plain: bool,
    check: Option<usize>,
}

/// The sources of answers.
pub(crate) fn context_task(options: &Options) -> stepfn::Result<ContextTask> {
    let missing = || Error::new(ErrorKind::Option, "there is no method", "name one");
    let given = options.context.as_ref().ok_or_else(missing)?;
    let task = ContextTask {
        method: stepfn::context_method(&given.method, &given.parameters)?,
        operator: chosen("operator", &given.operator, Operator::ALL, Operator::name)?,
        split: chosen("split", &given.split, Split::ALL, Split::name)?,
        statement: chosen("statement", &given.statement, TargetUnit::ALL, TargetUnit::name)?,
        template: given.template.clone(),
        plain: given.plain,
        checks: given.check,
        options: options.run()?,
        ..ContextTask::default()
    };
    let separator = given.separator.clone().unwrap_or(task.separator);
    let task = ContextTask { separator, ..task };
    task.check()?;
    Ok(task)
}

/// How reliance on context is measured.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RelianceOptions {
    input_template: Option<String>,
    output_template: Option<String>,
    contextless_input: String,
    contextless_output: String,
    separator: String,
    special_tokens_to_keep: Vec<String>,
    output_context_strategy: String,
    context_sensitivity_std_threshold: Option<f64>,
    context_sensitivity_topk: Option<usize>,
    attribution_std_threshold: Option<f64>,
    attribution_topk: Option<usize>,
}

/// What depends on context.
pub(crate) fn reliance_task<B: Backend>(
    (metric, method, function): (&FunctionSpec, &MethodSpec, &FunctionSpec),
    options: &Options,
    registry: &Registry<B>,
) -> stepfn::Result<AttributeContextTask<B>> {
    let missing = || Error::new(ErrorKind::Option, "there are no templates", "give them");
    let given = options.reliance.as_ref().ok_or_else(missing)?;
    let selection = |std_threshold, topk| Selection { std_threshold, topk };
    let strategy = &given.output_context_strategy;
    let task = AttributeContextTask {
        metric: metric.make(registry)?,
        method: method.make(registry)?,
        function: function.make(registry)?,
        input_template: given.input_template.clone(),
        output_template: given.output_template.clone(),
        contextless_input: given.contextless_input.clone(),
        contextless_output: given.contextless_output.clone(),
        separator: given.separator.clone(),
        special_tokens_to_keep: given.special_tokens_to_keep.clone(),
        output_context: chosen("strategy", strategy, OutputContext::ALL, OutputContext::name)?,
        context_sensitivity: selection(given.context_sensitivity_std_threshold, given.context_sensitivity_topk),
        cues: selection(given.attribution_std_threshold, given.attribution_topk),
        aggregate: options.aggregate.as_deref().map(stepfn::pipeline).transpose()?,
        options: options.run()?,
    };
    task.check()?;
    Ok(task)
}
