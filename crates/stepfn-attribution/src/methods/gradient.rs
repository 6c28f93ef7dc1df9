//! What gradient methods share: going through the steps chunk by chunk, products with inputs, and integrals along a line.

use burn::tensor::{Tensor, TensorData, backend::Backend};
use stepfn_kernels::norm::euclidean;
use stepfn_kernels::widened;
use stepfn_models::transformer::Rule;

use crate::{AttributionError, Axis, InputScores, Passes, PullBack, ScoreTable, StepRows, Steps, Variants};

/// Scores per hidden unit of all steps, made chunk by chunk by `each`, a column for each of their spans; reduced to their L2 norm unless raw scores are asked for.
///
/// # Shapes
/// - the rows that `each` returns: `[columns · tokens, hidden]`, with [`Question::columns`](crate::Question::columns)
///
/// # Errors
/// Those of `each`, and if the call was cancelled.
pub fn by_chunks<B: Backend>(
    passes: &Passes<'_, B>,
    mut each: impl FnMut(Steps) -> Result<StepRows<B>, AttributionError>,
) -> Result<InputScores, AttributionError> {
    let (question, raw) = (passes.question(), passes.question().options().raw);
    let chunks = question.chunks(passes.budget().steps_per_pass(question.lengths(question.steps())));
    collected(passes, &chunks, |steps| {
        let rows = each(steps)?;
        let size = rows.source.as_ref().or(rows.target.as_ref()).map_or(1, |scores| scores.dims()[1]);
        let rows = rows.map(|x| if raw { x } else { euclidean(x) });
        Ok((rows, if raw { vec![(Axis::Hidden, size)] } else { Vec::new() }))
    })
}

/// Scores of all steps, made chunk by chunk by `each`, with the axes that they have after token and step.
pub(super) fn collected<B: Backend>(
    passes: &Passes<'_, B>,
    chunks: &[Steps],
    mut each: impl FnMut(Steps) -> Result<(StepRows<B>, Vec<(Axis, usize)>), AttributionError>,
) -> Result<InputScores, AttributionError> {
    let question = passes.question();
    let mut table: Option<ScoreTable> = None;
    // The longest chunk first: a run that does not fit fails at its start.
    for (done, &steps) in chunks.iter().rev().enumerate() {
        let (rows, inner) = each(steps)?;
        table.get_or_insert_with(|| ScoreTable::new(question, inner)).put(steps, rows);
        question.progress(done + 1, chunks.len())?;
    }
    Ok(table.map_or_else(InputScores::default, ScoreTable::finish))
}

/// Derivatives at these steps with respect to variants of the input; those of the target only if it is attributed.
///
/// # Shapes
/// - result: `[variants · columns · tokens, hidden]`
///
/// # Errors
/// As [`Passes::differentiate`].
pub fn gradients<B: Backend>(
    passes: &Passes<'_, B>,
    variant: &Variants<B>,
    rule: PullBack<'_, B>,
    steps: Steps,
) -> Result<StepRows<B>, AttributionError> {
    let inputs = passes.differentiate(variant, rule, steps)?;
    let target = passes.question().attributes_target().then_some(inputs.target);
    Ok(StepRows { source: inputs.source, target, completeness: None })
}

/// Each column's scores, times something of each token.
///
/// # Shapes
/// - `piece`: `[columns · tokens, size]`, `factor`: `[tokens, size]` of either side
pub fn times<B: Backend>(piece: StepRows<B>, factor: &Variants<B>, columns: usize) -> StepRows<B> {
    let product = |scores: Tensor<B, 2>, factor: &Tensor<B, 2>| {
        let [rows, size] = scores.dims();
        let scores = scores.reshape([columns, rows / columns, size]) * widened(factor.clone()).unsqueeze_dim(0);
        scores.reshape([rows, size])
    };
    StepRows {
        source: piece.source.zip(factor.source.as_ref()).map(|(scores, side)| product(scores, &side.hidden)),
        target: piece.target.map(|scores| product(scores, &factor.target.hidden)),
        completeness: piece.completeness,
    }
}

/// What each column's scores add up to, on both sides.
pub(super) fn totals<B: Backend>(piece: &StepRows<B>, columns: usize) -> Vec<f64> {
    let mut totals = vec![0.0; columns];
    for scores in piece.source.iter().chain(&piece.target) {
        let [rows, size] = scores.dims();
        let sums = scores.clone().reshape([columns, rows / columns * size]).sum_dim(1);
        for (total, sum) in totals.iter_mut().zip(sums.into_data().iter::<f64>()) {
            *total += sum;
        }
    }
    totals
}

/// The difference of two variants, side by side. Half precision is widened: the difference is for products, no model reads it.
pub(super) fn difference<B: Backend>(here: &Variants<B>, baseline: &Variants<B>) -> Variants<B> {
    here.combined(baseline, here.count, |here, baseline| widened(here) - widened(baseline))
}

/// `f(here) − f(baseline)` of each column.
pub(super) fn change<B: Backend>(
    passes: &Passes<'_, B>,
    here: &Variants<B>,
    baseline: &Variants<B>,
    steps: Steps,
) -> Result<Vec<f64>, AttributionError> {
    let (here, baseline) = (passes.values(here, steps)?, passes.values(baseline, steps)?);
    Ok((here - baseline).into_data().iter::<f64>().collect())
}

/// `Σ wₖ ∂f/∂x` at points `x̄ + αₖ (x − x̄)`, `[columns · tokens, hidden]`: as many points at once as fit.
pub(super) fn along_the_line<B: Backend>(
    passes: &Passes<'_, B>,
    (baseline, here): (&Variants<B>, &Variants<B>),
    (points, weights): (&[f64], &[f64]),
    steps: Steps,
) -> Result<StepRows<B>, AttributionError> {
    let at_once = passes.budget().derivatives(passes.question().lengths(steps), passes.question().columns(steps));
    StepRows::sum(points.chunks(at_once).zip(weights.chunks(at_once)).map(|(points, weights)| {
        let count = points.len();
        let between = baseline.combined(here, count, |baseline, here| {
            let [rows, size] = here.dims();
            let column = column(points, &here).reshape([count, 1, 1]);
            let step = (here - baseline.clone()).unsqueeze_dim::<3>(0).expand([count, rows, size]) * column;
            (step + baseline.unsqueeze_dim(0)).reshape([count * rows, size])
        });
        Ok(weighted(gradients(passes, &between, Rule::Gradient, steps)?, weights))
    }))
}

/// The weighted sum over variants of `[variants · columns · tokens, size]`.
pub(super) fn weighted<B: Backend>(piece: StepRows<B>, weights: &[f64]) -> StepRows<B> {
    let sum = |x: Tensor<B, 2>| {
        let [all, size] = x.dims();
        let rows = all / weights.len();
        let weights_column = column(weights, &x);
        let weighted = x.reshape([weights.len(), rows * size]) * weights_column;
        weighted.sum_dim(0).reshape([rows, size])
    };
    StepRows { source: piece.source.map(sum), target: piece.target.map(sum), completeness: None }
}

/// Numbers below each other, where `like` is.
fn column<B: Backend>(values: &[f64], like: &Tensor<B, 2>) -> Tensor<B, 2> {
    let data = TensorData::new(values.to_vec(), [values.len(), 1]).convert_dtype(like.dtype());
    Tensor::from_data(data, (&like.device(), like.dtype()))
}
