//! Input × gradient, summed over the hidden units and the tokens of each source: one backward pass for all sources.

use burn::tensor::backend::Backend;
use stepfn_models::Model;
use stepfn_models::transformer::Rule;

use super::ContextText;
use crate::methods::gradient::{by_chunks, gradients, times};
use crate::{
    AttributedFn, AttributionError, AttributionMethod, AttributionOptions, InputScores, Passes, Side, SpanTarget,
    attribute,
};

/// For each source, a score for each statement.
pub(super) fn scores<B: Backend>(
    model: &Model<B>,
    text: &ContextText,
    function: &AttributedFn<B>,
    options: &AttributionOptions<'_>,
) -> Result<Vec<Vec<f64>>, AttributionError> {
    let target = SpanTarget::new(text.statements.clone());
    let options = AttributionOptions { raw: true, spans: core::slice::from_ref(&target), ..options.clone() };
    let texts = core::slice::from_ref(&text.text);
    let found = attribute(model, texts, &SignedSums, function, &[], &options)?.remove(0)?.scores;
    let scores = match text.side {
        Side::Source => found.source,
        Side::Target => found.target,
    };
    let missing = || AttributionError::Text("the sources have no scores".to_owned());
    let scores = scores.ok_or_else(missing)?;
    let of_source = |source: &core::ops::Range<usize>, statement: usize| -> f64 {
        source.clone().map(|token| f64::from(scores.at(token, statement)[0])).filter(|score| !score.is_nan()).sum()
    };
    let all = |source| (0..text.statements.len()).map(|statement| of_source(source, statement)).collect();
    Ok(text.sources.iter().map(all).collect())
}

struct SignedSums;

impl<B: Backend> AttributionMethod<B> for SignedSums {
    fn name(&self) -> &str {
        "gradient"
    }

    fn attribute(&self, passes: &Passes<'_, B>) -> Result<InputScores, AttributionError> {
        by_chunks(passes, |steps| {
            let input = passes.input(steps);
            let products =
                times(gradients(passes, &input, Rule::Gradient, steps)?, &input, passes.question().columns(steps));
            Ok(products.map(|x| x.sum_dim(1)))
        })
    }
}
