//! Metrics of methods.

use burn::tensor::backend::Backend;
use serde::Deserialize;
use stepfn::{Error, ErrorKind, EvaluateTask, Measures, Metric, Operator, Ranking, Registry, TargetUnit};

use super::{FunctionSpec, MethodSpec, Options, chosen};

/// What is measured of methods.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EvaluateOptions {
    metrics: Option<Vec<String>>,
    operators: Vec<String>,
    special: Vec<bool>,
    ranking: String,
    random_orders: usize,
    random_sets: usize,
    soft_share: f64,
    soft_draws: usize,
}

/// Metrics of methods.
pub(crate) fn evaluate_task<B: Backend>(
    (methods, functions): (&[MethodSpec], &[FunctionSpec]),
    options: &Options,
    registry: &Registry<B>,
) -> stepfn::Result<EvaluateTask<B>> {
    let missing = || Error::new(ErrorKind::Option, "there is nothing to measure", "name metrics");
    let given = options.evaluate.as_ref().ok_or_else(missing)?;
    let metric = |name: &String| chosen("metric", name, Metric::ALL, Metric::name);
    let operator = |name: &String| chosen("operator", name, Operator::ALL, Operator::name);
    let default = Measures::default();
    let measures = Measures {
        metrics: match &given.metrics {
            None => default.metrics,
            Some(names) => names.iter().map(metric).collect::<stepfn::Result<_>>()?,
        },
        operators: given.operators.iter().map(operator).collect::<stepfn::Result<_>>()?,
        special: given.special.clone(),
        ranking: chosen("ranking", &given.ranking, Ranking::ALL, Ranking::name)?,
        orders: given.random_orders,
        sets: given.random_sets,
        soft_share: given.soft_share,
        soft_draws: given.soft_draws,
        ..default
    };
    let unit = options.unit.as_deref().map(|name| chosen("unit", name, TargetUnit::ALL, TargetUnit::name));
    let methods = methods.iter().map(|method| method.make(registry)).collect::<stepfn::Result<Vec<_>>>()?;
    let task = EvaluateTask {
        functions: functions.iter().map(|function| function.make(registry)).collect::<stepfn::Result<_>>()?,
        unit: unit.transpose()?.unwrap_or_default(),
        contrast_force_inputs: options.contrast_force_inputs,
        measures,
        options: options.run()?,
        ..EvaluateTask::new(methods)
    };
    task.check()?;
    Ok(task)
}
