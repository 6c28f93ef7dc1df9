//! The table behind every view: input tokens as rows, predicted tokens as columns.

use stepfn_attribution::aggregation::{Pipeline, Stage};
use stepfn_attribution::{Attribution, Scores};
use stepfn_models::tokenizer::Token;

use crate::color::Scale;
use crate::label::{label, label_of_step};

/// A table of scores.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Grid {
    /// Predicted tokens.
    pub(crate) columns: Vec<Label>,
    /// Source, then target; only those with scores.
    pub(crate) sections: Vec<Section>,
    /// Values of step functions, and convergence deltas.
    pub(crate) step_scores: Vec<(String, Vec<f32>)>,
    /// The colour scale of the scores.
    pub(crate) scale: Scale,
}

/// The label of a token.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Label {
    pub(crate) text: String,
    pub(crate) special: bool,
}

/// The rows of the source or the target.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Section {
    pub(crate) name: &'static str,
    pub(crate) rows: Vec<(Label, Vec<f32>)>,
}

impl Grid {
    /// The table of an attribution. With `normalize`, each step's scores become shares of their sum, unless they are shares already. Tokens
    /// that no step sees get no row.
    pub(crate) fn new(attribution: &Attribution, normalize: bool) -> Self {
        let mut attribution = attribution.per_token();
        if normalize && !attribution.about.aggregation.contains(&Stage::Normalize.to_string()) {
            // Aggregated scores have no axes that could differ between the two sides.
            attribution = Pipeline(vec![Stage::Normalize]).apply(&attribution).unwrap_or(attribution);
        }
        let section = |name, tokens: &[Token], scores: &Option<Scores>| {
            let scores = scores.as_ref()?;
            let rows = tokens.iter().zip(0..scores.tokens()).map(|(token, at)| {
                let values: Vec<f32> = (0..scores.steps()).map(|step| scores.at(at, step)[0]).collect();
                (Label { text: label(token), special: token.special }, values)
            });
            Some(Section {
                name,
                rows: rows.filter(|(_, values)| !values.iter().all(|value| value.is_nan())).collect(),
            })
        };
        let sections: Vec<Section> = [
            section("source", &attribution.source, &attribution.source_scores),
            section("target", &attribution.target, &attribution.target_scores),
        ]
        .into_iter()
        .flatten()
        .filter(|section| !section.rows.is_empty())
        .collect();
        let values = sections.iter().flat_map(|section| &section.rows).flat_map(|(_, values)| values.iter().copied());
        let scale = Scale::of(values);
        let predicted = attribution.target.get(attribution.steps.clone()).unwrap_or_default();
        let columns = predicted.iter().enumerate().map(|(step, token)| {
            let contrast = attribution.contrast.get(step).and_then(Option::as_ref);
            Label { text: label_of_step(token, contrast), special: token.special }
        });
        let deltas = attribution.deltas.iter().map(|deltas| ("delta".to_owned(), deltas.clone()));
        Self {
            columns: columns.collect(),
            step_scores: attribution.step_scores.clone().into_iter().chain(deltas).collect(),
            sections,
            scale,
        }
    }
}

/// The title line, such as `saliency of probability, gpt2`.
pub(crate) fn title(attribution: &Attribution) -> String {
    let about = &attribution.about;
    let method = if about.method.is_empty() { "attribution" } else { &about.method };
    let mut title = method.to_owned();
    if !about.attributed_fn.is_empty() {
        title = format!("{title} of {}", about.attributed_fn);
    }
    if !about.model.is_empty() {
        title = format!("{title}, {}", about.model);
    }
    title
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn rows_that_no_step_sees_are_left_out() {
        let grid = Grid::new(&samples::prompt(), true);
        assert_eq!(grid.sections.len(), 1);
        let section = &grid.sections[0];
        assert_eq!(section.name, "target");
        let last = section.rows.last().unwrap();
        assert_ne!(last.0.text, grid.columns.last().unwrap().text, "no step sees the last token");
        let sum: f32 = section.rows.iter().map(|(_, values)| values[0].abs()).filter(|value| !value.is_nan()).sum();
        assert!((sum - 1.0).abs() < 1e-5);
    }

    #[test]
    fn shares_are_not_normalized_again() {
        let pipeline: Pipeline = "normalize,slices(source=0:2)".parse().unwrap();
        let sliced = pipeline.apply(&samples::translation()).unwrap();
        let whole = Grid::new(&samples::translation(), true);
        let cut = Grid::new(&sliced, true);
        assert_eq!(cut.sections[0].rows[..], whole.sections[0].rows[..2]);
    }

    #[test]
    fn titles_name_method_function_and_model() {
        assert_eq!(title(&samples::translation()), "integrated_gradients of probability, opus-mt-en-de");
    }
}
