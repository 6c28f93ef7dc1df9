//! Input × gradient, summed over the hidden units and the tokens of each source: one backward pass for all sources.

use burn::tensor::backend::Backend;
use stepfn_models::tape::InputGradients;
use stepfn_models::transformer::Rule;

use super::ContextText;
use crate::methods::gradient::{by_chunks, times};
use crate::{AttributionError, Passes, Perturbation, Side, StepRows};

/// For each source a score for each statement, which are the question's spans; and what variants of the text share, which the same pass made.
pub(super) fn scores<'p, 'a, B: Backend>(
    passes: &'p Passes<'a, B>,
    text: &ContextText,
) -> Result<(Vec<Vec<f64>>, Perturbation<'p, 'a, B>), AttributionError> {
    let mut perturbation = None;
    let all = passes.question().steps();
    // The last steps come first. Their pass goes to the end of the text, where tokens may be of no statement.
    let found = by_chunks(passes, |steps| {
        let gradients = match perturbation {
            Some(_) => passes.differentiate(&passes.input(steps), Rule::Gradient, steps)?,
            None => {
                let to_the_end = all.part(steps.start()..all.positions().end);
                let (gradients, shared) = passes.differentiate_text(to_the_end)?;
                perturbation = Some(shared);
                let [rows, size] = gradients.target.dims();
                let columns = passes.question().columns(steps);
                let target = gradients.target.reshape([columns, rows / columns, size]);
                let target = target.slice_dim(1, 0..steps.width()).reshape([columns * steps.width(), size]);
                InputGradients { target, ..gradients }
            }
        };
        let target = passes.question().attributes_target().then_some(gradients.target);
        let rows = StepRows { source: gradients.source, target, completeness: None };
        Ok(times(rows, &passes.input(steps), passes.question().columns(steps)).map(|x| x.sum_dim(1)))
    })?;
    let scores = match text.side {
        Side::Source => found.source,
        Side::Target => found.target,
    };
    let missing = || AttributionError::Text("the sources have no scores".to_owned());
    let (scores, perturbation) = scores.zip(perturbation).ok_or_else(missing)?;
    if let Some(column) = scores.infinite() {
        let step = text.statements[column].start - passes.question().steps().start();
        return Err(AttributionError::NotFinite { step, method: "gradient".to_owned() });
    }
    let of_source = |source: &core::ops::Range<usize>, statement: usize| -> f64 {
        source.clone().map(|token| f64::from(scores.at(token, statement)[0])).filter(|score| !score.is_nan()).sum()
    };
    let all = |source| (0..text.statements.len()).map(|statement| of_source(source, statement)).collect();
    Ok((text.sources.iter().map(all).collect(), perturbation))
}
