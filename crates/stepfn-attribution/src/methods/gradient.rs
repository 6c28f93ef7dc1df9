//! What gradient methods share: going through the steps chunk by chunk, products with inputs, and integrals along a line.

use core::ops::Range;

use burn::tensor::{Tensor, TensorData, backend::Backend};
use stepfn_models::transformer::Rule;

use crate::engine::{PullBack, Subject, Variants};
use crate::grid::{Found, Grid, Piece};
use crate::{AttributionError, Axis};

/// Scores per hidden unit of all steps, made chunk by chunk by `each`; reduced to their L2 norm unless raw ones are asked for.
pub(super) fn by_chunks<B: Backend>(
    subject: &Subject<'_, B>,
    mut each: impl FnMut(&Range<usize>) -> Result<Piece<B>, AttributionError>,
) -> Result<Found, AttributionError> {
    let raw = subject.options.raw;
    pieces(subject, subject.chunks(), |steps| {
        let Piece { source, target, deltas } = each(steps)?;
        let size = source.as_ref().or(target.as_ref()).map_or(1, |scores| scores.dims()[1]);
        let reduce = |x: Tensor<B, 2>| if raw { x } else { x.powi_scalar(2).sum_dim(1).sqrt() };
        let piece = Piece { source: source.map(reduce), target: target.map(reduce), deltas };
        Ok((piece, if raw { vec![(Axis::Hidden, size)] } else { Vec::new() }))
    })
}

/// Scores of all steps, made chunk by chunk by `each`, with the axes that they have beyond token and step.
pub(super) fn pieces<B: Backend>(
    subject: &Subject<'_, B>,
    chunks: Vec<Range<usize>>,
    mut each: impl FnMut(&Range<usize>) -> Result<(Piece<B>, Vec<(Axis, usize)>), AttributionError>,
) -> Result<Found, AttributionError> {
    let mut grid: Option<Grid> = None;
    // The longest chunk first: a run that does not fit fails at its start.
    for (done, steps) in chunks.iter().rev().enumerate() {
        let (piece, inner) = each(steps)?;
        grid.get_or_insert_with(|| Grid::new(subject, inner)).put(subject, steps, piece);
        subject.progress(done + 1, chunks.len())?;
    }
    // A text has steps: that was checked.
    grid.unwrap_or_else(|| Grid::new(subject, Vec::new())).found()
}

/// Derivatives at these steps of one variant, `[steps · tokens, hidden]`; those of the target only where it gets scores.
pub(super) fn gradients<B: Backend>(
    subject: &Subject<'_, B>,
    variant: &Variants<B>,
    rule: PullBack<'_, B>,
    steps: &Range<usize>,
) -> Result<Piece<B>, AttributionError> {
    let inputs = subject.differentiate(variant, rule, steps)?;
    let target = subject.attributes_target().then_some(inputs.target);
    Ok(Piece { source: inputs.source, target, deltas: None })
}

/// Each step's scores times something of its tokens.
///
/// # Shapes
/// - `piece`: `[steps · tokens, size]`, `factor`: `[tokens, size]` of either side
pub(super) fn times<B: Backend>(piece: Piece<B>, factor: &Variants<B>, steps: usize) -> Piece<B> {
    let product = |scores: Tensor<B, 2>, factor: &Tensor<B, 2>| {
        let [rows, size] = scores.dims();
        let scores = scores.reshape([steps, rows / steps, size]) * factor.clone().unsqueeze_dim(0);
        scores.reshape([rows, size])
    };
    Piece {
        source: piece.source.zip(factor.source.as_ref()).map(|(scores, side)| product(scores, &side.hidden)),
        target: piece.target.map(|scores| product(scores, &factor.target.hidden)),
        deltas: piece.deltas,
    }
}

/// What each step's scores add up to, on both sides.
pub(super) fn totals<B: Backend>(piece: &Piece<B>, steps: usize) -> Vec<f64> {
    let mut totals = vec![0.0; steps];
    for scores in piece.source.iter().chain(&piece.target) {
        let [rows, size] = scores.dims();
        let sums = scores.clone().reshape([steps, rows / steps * size]).sum_dim(1);
        for (total, sum) in totals.iter_mut().zip(sums.into_data().iter::<f64>()) {
            *total += sum;
        }
    }
    totals
}

/// The difference of two variants, side by side.
pub(super) fn difference<B: Backend>(here: &Variants<B>, baseline: &Variants<B>) -> Variants<B> {
    here.combined(baseline, here.count, |here, baseline| here - baseline)
}

/// `f(here) − f(baseline)` at each step.
pub(super) fn change<B: Backend>(
    subject: &Subject<'_, B>,
    here: &Variants<B>,
    baseline: &Variants<B>,
    steps: &Range<usize>,
) -> Result<Vec<f64>, AttributionError> {
    let (here, baseline) = (subject.values(here, steps)?, subject.values(baseline, steps)?);
    Ok((here - baseline).into_data().iter::<f64>().collect())
}

/// `Σ wₖ ∂f/∂x` at points `x̄ + αₖ (x − x̄)`, `[steps · tokens, hidden]`: as many points at once as fit.
pub(super) fn along_the_line<B: Backend>(
    subject: &Subject<'_, B>,
    (baseline, here): (&Variants<B>, &Variants<B>),
    (points, weights): (&[f64], &[f64]),
    steps: &Range<usize>,
) -> Result<Piece<B>, AttributionError> {
    let at_once = subject.derivatives_at_once(steps);
    Piece::sum(points.chunks(at_once).zip(weights.chunks(at_once)).map(|(points, weights)| {
        let count = points.len();
        let between = baseline.combined(here, count, |baseline, here| {
            let [rows, size] = here.dims();
            let column = column(points, &here).reshape([count, 1, 1]);
            let step = (here - baseline.clone()).unsqueeze_dim::<3>(0).expand([count, rows, size]) * column;
            (step + baseline.unsqueeze_dim(0)).reshape([count * rows, size])
        });
        Ok(weighted(gradients(subject, &between, Rule::Gradient, steps)?, weights))
    }))
}

/// The weighted sum over variants of `[variants · steps · tokens, size]`.
pub(super) fn weighted<B: Backend>(piece: Piece<B>, weights: &[f64]) -> Piece<B> {
    let sum = |x: Tensor<B, 2>| {
        let [all, size] = x.dims();
        let rows = all / weights.len();
        let weights_column = column(weights, &x);
        let weighted = x.reshape([weights.len(), rows * size]) * weights_column;
        weighted.sum_dim(0).reshape([rows, size])
    };
    Piece { source: piece.source.map(sum), target: piece.target.map(sum), deltas: None }
}

/// Numbers below each other, where `like` is.
fn column<B: Backend>(values: &[f64], like: &Tensor<B, 2>) -> Tensor<B, 2> {
    let data = TensorData::new(values.to_vec(), [values.len(), 1]).convert_dtype(like.dtype());
    Tensor::from_data(data, (&like.device(), like.dtype()))
}
