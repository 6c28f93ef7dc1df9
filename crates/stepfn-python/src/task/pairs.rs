//! Pairs and tuples of texts: which is preferred, and how alike they are.

use burn::tensor::backend::Backend;
use serde::Deserialize;
use stepfn::{
    CompareTask, Criterion, Error, ErrorKind, Formula, LongTexts, Registry, SimilarityMeasure, SimilarityTask,
};

use super::{FunctionSpec, Options, boxed, chosen};

/// What texts are compared by.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CompareOptions {
    criterion: String,
    region: Option<String>,
    formula: Option<String>,
    group_by: Option<String>,
}

/// How similarity is measured.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SimilarityOptions {
    measure: String,
    a_lang: String,
    b_lang: String,
    via: Option<String>,
    normalize: bool,
    both_directions: bool,
    base: Option<f64>,
}

fn missing() -> Error {
    Error::new(ErrorKind::Option, "there is nothing to measure", "say what")
}

/// Which of several texts is preferred.
pub(crate) fn compare_task<B: Backend>(
    functions: &[FunctionSpec],
    options: &Options,
    registry: &Registry<B>,
) -> stepfn::Result<CompareTask<B>> {
    let given = options.compare.as_ref().ok_or_else(missing)?;
    let named = [Criterion::Sum, Criterion::Token, Criterion::Word];
    let criterion = match (&given.region, &given.formula) {
        (Some(_), Some(_)) => {
            return Err(Error::new(ErrorKind::Option, "a region and a formula are given", "leave out one of them"));
        }
        (Some(region), None) => Criterion::Region(region.clone()),
        (None, Some(formula)) => Criterion::Formula(formula.parse::<Formula>()?),
        (None, None) => {
            let place = chosen("criterion", &given.criterion, [0, 1, 2], |place| ["sum", "token", "word"][place])?;
            named[place].clone()
        }
    };
    let task = CompareTask {
        criterion,
        group_by: given.group_by.clone(),
        long: options.long.as_deref().map_or(Ok(LongTexts::Error), str::parse)?,
        start_token: options.start_token,
        options: options.run()?,
        ..CompareTask::default()
    };
    Ok(task.with(boxed(functions, registry)?))
}

/// How alike texts are.
pub(crate) fn similarity_task(options: &Options) -> stepfn::Result<SimilarityTask> {
    let given = options.similarity.as_ref().ok_or_else(missing)?;
    let default = SimilarityTask::new(given.a_lang.clone(), given.b_lang.clone());
    let task = SimilarityTask {
        measure: chosen("measure", &given.measure, SimilarityMeasure::ALL, SimilarityMeasure::name)?,
        via: given.via.clone().unwrap_or(default.via),
        normalize: given.normalize,
        both_directions: given.both_directions,
        base: given.base.unwrap_or(default.base),
        options: options.run()?,
        languages: default.languages,
    };
    task.check()?;
    Ok(task)
}
