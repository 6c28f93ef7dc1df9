//! The table behind every view: input tokens as rows, predicted tokens as columns.

use stepfn_attribution::aggregation::{Pipeline, Stage};
use stepfn_attribution::{Attribution, Scores};
use stepfn_models::tokenizer::Token;

use crate::color::{Rgb, Scale};
use crate::label::{label, label_of_step, number};

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
    /// For each step, the score that gets the full colour: the largest of ordinary tokens, so that steps with many inputs are not pale. Empty if
    /// the scale's largest gets it at every step.
    largest: Vec<f32>,
    /// Whether special tokens are apart: they don't set the scale and have no colours, because they are often so large that nothing would be
    /// seen of the others.
    pub(crate) apart: bool,
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
    /// that no step sees get no row, and tokens that are bytes of one character are one.
    pub(crate) fn new(attribution: &Attribution, normalize: bool) -> Self {
        let mut attribution = attribution.spans_as_tokens().per_token().characters();
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
        let (scale, apart) = scale(&sections);
        let steps = if normalize { 0..attribution.steps.len() } else { 0..0 };
        let predicted = attribution.target.get(attribution.steps.clone()).unwrap_or_default();
        let columns = predicted.iter().enumerate().map(|(step, token)| {
            let contrast = attribution.contrast.get(step).and_then(Option::as_ref);
            Label { text: label_of_step(token, contrast), special: token.special }
        });
        let deltas = attribution.deltas.iter().map(|deltas| ("delta".to_owned(), deltas.clone()));
        Self {
            columns: columns.collect(),
            step_scores: attribution.step_scores.clone().into_iter().chain(deltas).collect(),
            largest: steps.map(|step| largest(&sections, apart, step)).collect(),
            sections,
            scale,
            apart,
        }
    }

    /// A score as a part of the scale: relative to the largest of its step.
    pub(crate) fn relative(&self, step: usize, value: f32) -> f32 {
        match self.largest.get(step) {
            Some(&largest) if largest > 0.0 => value / largest * self.scale.max,
            _ => value,
        }
    }

    /// What the ends of the scale are.
    pub(crate) fn ends(&self) -> [String; 2] {
        let (max, signed) = (self.scale.max, self.scale.signed);
        if self.largest.is_empty() {
            return [if signed { -max } else { 0.0 }, max].map(|end| number(end, max));
        }
        [if signed { "below 0" } else { "0" }, "step's largest"].map(str::to_owned)
    }

    /// The colour of a token's score; `None` for NaN and for special tokens that are apart.
    pub(crate) fn color(&self, label: &Label, step: usize, value: f32) -> Option<Rgb> {
        if self.apart && label.special { None } else { self.scale.color(self.relative(step, value)) }
    }

    /// Number of scores, seen or not.
    pub(crate) fn cells(&self) -> usize {
        self.columns.len() * self.sections.iter().map(|section| section.rows.len()).sum::<usize>()
    }

    /// The same table with fewer rows and columns, each of which stands for up to `of` neighbours by their largest score. Special tokens that are
    /// apart only count where there is nothing else. Step scores have no such largest value, and are left out.
    pub(crate) fn thinned(&self, of: usize) -> Self {
        let columns = self.columns.chunks(of).enumerate().map(|(at, chunk)| chunk[0].with_position(at * of));
        let section = |section: &Section| Section {
            name: section.name,
            rows: (section.rows.chunks(of).enumerate())
                .map(|(at, rows)| (rows[0].0.with_position(at * of), self.thinned_row(rows, of)))
                .collect(),
        };
        Self {
            columns: columns.collect(),
            sections: self.sections.iter().map(section).collect(),
            step_scores: Vec::new(),
            scale: self.scale,
            // Its scores are relative already.
            largest: vec![self.scale.max; self.largest.len().div_ceil(of)],
            apart: false,
        }
    }

    fn thinned_row(&self, rows: &[(Label, Vec<f32>)], of: usize) -> Vec<f32> {
        let ordinary = |(label, _): &&(Label, Vec<f32>)| !(self.apart && label.special);
        let largest = |columns: core::ops::Range<usize>| {
            let value = |(_, values): &(Label, Vec<f32>)| {
                columns.clone().map(|step| self.relative(step, values[step])).collect::<Vec<_>>()
            };
            let values = rows.iter().filter(ordinary).flat_map(value);
            let seen = values.filter(|value| !value.is_nan());
            seen.reduce(|one, other| if other.abs() > one.abs() { other } else { one }).unwrap_or(f32::NAN)
        };
        let all = self.columns.len();
        (0..all).step_by(of).map(|from| largest(from..all.min(from + of))).collect()
    }
}

impl Label {
    /// With the position of its token before it.
    fn with_position(&self, position: usize) -> Self {
        Self { text: format!("{position} {}", self.text), special: self.special }
    }
}

/// The scale of the scores, and whether special tokens are apart from it.
fn scale(sections: &[Section]) -> (Scale, bool) {
    let rows = || sections.iter().flat_map(|section| &section.rows);
    let of = |special: bool| {
        let own = rows().filter(move |(label, _)| label.special == special);
        Scale::of(own.flat_map(|(_, values)| values.iter().copied()))
    };
    let [ordinary, special] = [of(false), of(true)];
    let apart = ordinary.max > 0.0;
    let max = if apart { ordinary.max } else { special.max };
    (Scale { max, signed: ordinary.signed || special.signed }, apart)
}

/// The largest score of a step among ordinary tokens, or among all if none are apart.
fn largest(sections: &[Section], apart: bool, step: usize) -> f32 {
    let rows = sections.iter().flat_map(|section| &section.rows).filter(|(label, _)| !(apart && label.special));
    Scale::of(rows.map(|(_, values)| values[step])).max
}

/// The title line, such as `saliency of probability, gpt2`.
pub(crate) fn title(attribution: &Attribution) -> String {
    let about = &attribution.about;
    let method = if about.method.is_empty() { "attribution" } else { &about.method };
    let is_pair = about.aggregation.iter().any(|stage| *stage == Stage::Pair.to_string());
    let mut title = format!("{}{method}", if is_pair { "difference: " } else { "" });
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
    fn special_tokens_do_not_set_the_scale() {
        let mut prompt = samples::prompt();
        let ordinary = Grid::new(&prompt, false).scale;
        prompt.target[1].special = true;
        let apart = Grid::new(&prompt, false);
        assert!(apart.scale.max < ordinary.max, "{:?} {ordinary:?}", apart.scale);
        let rows = &apart.sections[0].rows;
        assert!(apart.color(&rows[1].0, 0, 0.5).is_none() && apart.color(&rows[0].0, 0, 0.5).is_some());
        prompt.target.iter_mut().for_each(|token| token.special = true);
        assert_eq!(Grid::new(&prompt, false).scale, ordinary, "there is nothing but special tokens");
    }

    #[test]
    fn every_step_has_a_token_in_full_colour() {
        for sample in [samples::translation(), samples::prompt(), samples::scripts()] {
            let grid = Grid::new(&sample, true);
            for step in 0..grid.columns.len() {
                let rows = grid.sections.iter().flat_map(|section| &section.rows);
                let colors: Vec<Rgb> =
                    rows.filter_map(|(label, values)| grid.color(label, step, values[step])).collect();
                let full = [1.0, -1.0].map(|end| grid.scale.color(end * grid.scale.max).unwrap());
                assert!(colors.is_empty() || colors.iter().any(|color| full.contains(color)), "step {step}");
            }
        }
    }

    #[test]
    fn a_thinned_table_keeps_the_largest_scores() {
        let prompt = samples::prompt();
        let grid = Grid::new(&prompt, false);
        let thin = grid.thinned(4);
        assert_eq!((thin.columns.len(), thin.sections[0].rows.len(), thin.cells()), (2, 3, 6));
        assert_eq!((thin.columns[1].text.as_str(), thin.sections[0].rows[1].0.text.as_str()), ("4 round", "4 doctor"));
        let first = grid.sections[0].rows[..4].iter().flat_map(|(_, values)| &values[..4]);
        let largest = first.copied().filter(|value| !value.is_nan()).fold(0.0, f32::max);
        assert_eq!(thin.sections[0].rows[0].1[0], largest);
    }

    #[test]
    fn titles_name_method_function_and_model() {
        let sample = samples::translation();
        assert_eq!(title(&sample), "integrated_gradients of probability, opus-mt-en-de");
        let mut other = sample.clone();
        other.about.method = "lime".to_owned();
        let pair: Pipeline = "pair".parse().unwrap();
        assert_eq!(
            title(&pair.apply_pair(&sample, &other).unwrap()),
            "difference: integrated_gradients − lime of probability, opus-mt-en-de"
        );
    }
}
