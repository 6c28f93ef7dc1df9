//! The aggregations that a page offers. Raw scores are reduced here, in several ways, rather than in the browser.

use serde::Serialize;
use stepfn_attribution::aggregation::{Function, Slice};
use stepfn_attribution::{Attribution, Axis, Scores};

use super::packed::{Bits, Packed};

/// With more numbers than this, single layers and heads are left out of the page.
const MOST_NUMBERS: usize = 400_000;

/// Scores after one aggregation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct View {
    pub(super) name: String,
    /// Whether any score is below zero.
    signed: bool,
    /// The sum of the absolute scores of each step, over source and target.
    total: Vec<Option<f64>>,
    source: Option<Packed>,
    target: Option<Packed>,
}

impl View {
    /// The scores of an attribution, reduced in one way.
    pub(super) fn new(attribution: &Attribution, way: &Way, bits: Bits) -> Self {
        let source = attribution.source_scores.as_ref().map(|scores| way.reduce(scores));
        let target = attribution.target_scores.as_ref().map(|scores| way.reduce(scores));
        let mut total = vec![0f64; attribution.steps.len()];
        let mut signed = false;
        for scores in [&source, &target].into_iter().flatten() {
            for (at, &value) in scores.values().iter().enumerate().filter(|(_, value)| value.is_finite()) {
                total[at % scores.steps()] += f64::from(value.abs());
                signed |= value < 0.0;
            }
        }
        Self {
            name: way.name.clone(),
            signed,
            total: total.into_iter().map(|total| short(total as f32)).collect(),
            source: source.map(|scores| Packed::new(&scores, &attribution.source, bits)),
            target: target.map(|scores| Packed::new(&scores, &attribution.target, bits)),
        }
    }
}

/// How many scores a view of an attribution stores: for each step, those of the tokens up to the last that it sees.
pub(super) fn cells(attribution: &Attribution) -> usize {
    let seen = |scores: &Scores, token: usize, step: usize| scores.at(token, step).iter().any(|value| !value.is_nan());
    let of_step = |scores: &Scores, step: usize| {
        (0..scores.tokens()).rposition(|token| seen(scores, token, step)).map_or(0, |last| last + 1)
    };
    let sides = [&attribution.source_scores, &attribution.target_scores];
    sides.into_iter().flatten().map(|scores| (0..scores.steps()).map(|step| of_step(scores, step)).sum::<usize>()).sum()
}

/// The available views, the default first. Scores that are already aggregated have one view.
pub(super) fn ways(attribution: &Attribution) -> Vec<Way> {
    let sides = [&attribution.source_scores, &attribution.target_scores];
    let size = |axis: Axis| {
        let inner = sides.into_iter().flatten().flat_map(Scores::inner);
        inner.filter(|&(own, _)| own == axis).map(|(_, size)| size).max().unwrap_or(0)
    };
    let (layers, heads, hidden) = (size(Axis::Layer), size(Axis::Head), size(Axis::Hidden));
    let mut ways = Vec::new();
    if hidden > 0 {
        let named = [
            (Function::VectorNorm, "length (L2 norm)"),
            (Function::Sum, "sum"),
            (Function::Mean, "mean"),
            (Function::AbsMax, "largest magnitude"),
        ];
        ways.extend(named.map(|(function, name)| Way {
            name: format!("hidden units: {name}"),
            hidden: function,
            ..Way::default()
        }));
    }
    if layers + heads > 0 {
        let over = match (layers > 0, heads > 0) {
            (true, true) => "layers and heads",
            (true, false) => "layers",
            _ => "heads",
        };
        if hidden == 0 {
            ways.push(Way { name: format!("{over}: mean"), ..Way::default() });
        }
        ways.push(Way { name: format!("{over}: largest"), others: Function::Max, ..Way::default() });
        let singles = (layers + layers.max(1) * heads) * cells(attribution);
        if singles <= MOST_NUMBERS {
            ways.extend((0..layers).map(|layer| Way {
                name: format!("layer {layer}"),
                layer: Some(layer),
                ..Way::default()
            }));
            for layer in 0..layers.max(1) {
                let layer = (layers > 0).then_some(layer);
                let prefix = layer.map_or_else(String::new, |layer| format!("layer {layer}, "));
                ways.extend((0..heads).map(|head| Way {
                    name: format!("{prefix}head {head}"),
                    layer,
                    head: Some(head),
                    ..Way::default()
                }));
            }
        }
    }
    if ways.is_empty() {
        ways.push(Way::default());
    }
    ways
}

/// How layers, heads and hidden units are reduced to one number.
pub(super) struct Way {
    name: String,
    hidden: Function,
    others: Function,
    layer: Option<usize>,
    head: Option<usize>,
}

impl Default for Way {
    fn default() -> Self {
        Self {
            name: "as computed".to_owned(),
            hidden: Function::VectorNorm,
            others: Function::Mean,
            layer: None,
            head: None,
        }
    }
}

impl Way {
    /// One number per token and step. If one side lacks the layer or head, it is averaged instead.
    fn reduce(&self, scores: &Scores) -> Scores {
        let mut scores = scores.clone();
        for (axis, at) in [(Axis::Layer, self.layer), (Axis::Head, self.head)] {
            let Some(at) = at.and_then(|at| i64::try_from(at).ok()) else { continue };
            scores = scores.select(axis, &[Slice::At(at)]).unwrap_or(scores);
        }
        while let Some(&(axis, _)) = scores.inner().last() {
            let function = if axis == Axis::Hidden { self.hidden } else { self.others };
            match scores.reduce(axis, function) {
                Ok(reduced) => scores = reduced,
                Err(_) => return scores.per_token_default(),
            }
        }
        scores
    }
}

/// Five significant digits: more than anyone can see, and half the page size.
pub(super) fn short(value: f32) -> Option<f64> {
    if value.is_finite() { format!("{value:.4e}").parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    /// The names of all views of an attribution, and the scores of one token at one step in each.
    fn named(attribution: &Attribution, token: usize, step: usize) -> Vec<(String, f32)> {
        let scores = attribution.target_scores.as_ref().unwrap();
        ways(attribution).into_iter().map(|way| (way.name.clone(), way.reduce(scores).at(token, step)[0])).collect()
    }

    #[test]
    fn aggregated_scores_have_one_view() {
        let translation = samples::translation();
        let ways = ways(&translation);
        assert_eq!(ways.len(), 1);
        let view = View::new(&translation, &ways[0], Bits::Eight);
        assert_eq!(view.source.unwrap().lengths, [8; 10]);
        assert_eq!(view.target.unwrap().lengths, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        assert_eq!(cells(&translation), 80 + 55);
        assert!(view.signed);
    }

    #[test]
    fn each_layer_and_head_has_a_view() {
        let views = named(&samples::hostile(), 0, 1);
        let names: Vec<&str> = views.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names[..4], ["layers and heads: mean", "layers and heads: largest", "layer 0", "layer 1"]);
        assert_eq!(names[9], "layer 1, head 2");
        assert_eq!(names.len(), 2 + 2 + 6);
        let raw = samples::hostile().target_scores.unwrap();
        assert_eq!(views[9].1, raw.at(0, 1)[5]);
        let layer: f32 = raw.at(0, 1)[3..].iter().sum::<f32>() / 3.0;
        assert!((views[3].1 - layer).abs() < 1e-6);
    }

    #[test]
    fn hidden_units_are_reduced_in_several_ways() {
        let mut raw = samples::prompt();
        let values = (0..13 * 7 * 2).map(|at| if at % 2 == 0 { 3.0 } else { -4.0 }).collect();
        raw.target_scores = Scores::new(vec![Axis::Token, Axis::Step, Axis::Hidden], vec![13, 7, 2], values).ok();
        let first: Vec<f32> = named(&raw, 0, 0).into_iter().map(|(_, value)| value).collect();
        assert_eq!(first, [5.0, -1.0, -0.5, -4.0]);
    }

    #[test]
    fn too_many_layers_are_not_listed() {
        let mut raw = samples::prompt();
        let values = vec![0.5; 13 * 7 * 80 * 80];
        raw.target_scores =
            Scores::new(vec![Axis::Token, Axis::Step, Axis::Layer, Axis::Head], vec![13, 7, 80, 80], values).ok();
        assert_eq!(ways(&raw).len(), 2);
    }

    #[test]
    fn numbers_have_five_significant_digits() {
        assert_eq!(short(0.123_456_78), Some(0.12346));
        assert_eq!((short(f32::NAN), short(-0.0)), (None, Some(-0.0)));
    }
}
