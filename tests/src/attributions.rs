//! Golden attributions of tiny models, from inseq, captum, lxt and a slow double-precision implementation (`goldens/attribution/make.py`).

use std::fs;

use burn::tensor::DType;
use serde::Deserialize;
use serde_json::{Map, Value};
use stepfn_attribution::methods::Dummy;
use stepfn_attribution::{
    Attributed, AttributionMethod, AttributionOptions, Baseline, ContrastText, Registries, Scores, Text, attribute,
};
use stepfn_core::Alignment;
use stepfn_models::Model;

use crate::golden::folder;

/// The models that have golden attributions.
pub const MODELS: [&str; 5] = ["gpt2", "llama", "marian", "t5", "gemma2"];

/// The golden attributions of one model.
#[derive(Deserialize)]
pub struct Goldens {
    baseline_id: u32,
    texts: Vec<GoldenText>,
    /// The expected results.
    pub results: Vec<Golden>,
}

#[derive(Deserialize)]
struct GoldenText {
    target: Vec<u32>,
    source: Option<Vec<u32>>,
    steps: [usize; 2],
    contrast: Vec<u32>,
    step_scores: std::collections::BTreeMap<String, Vec<f32>>,
}

/// One expected attribution.
#[derive(Deserialize)]
pub struct Golden {
    text: usize,
    /// The reference's name of the method.
    pub method: String,
    attributed_fn: Option<String>,
    /// The reference's parameters of the method.
    pub parameters: Map<String, Value>,
    /// Expected scores of source tokens.
    pub source_scores: Option<Scores>,
    /// Expected scores of target tokens.
    pub target_scores: Option<Scores>,
    deltas: Option<Vec<f32>>,
}

impl Goldens {
    /// The golden attributions of one model.
    pub fn of(model: &str) -> Self {
        let path = folder().join("attribution").join(format!("{model}.json"));
        serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
    }

    fn text(&self, index: usize) -> Text {
        let GoldenText { target, source, steps, contrast, .. } = &self.texts[index];
        let first = steps[0];
        let mut other = target[..first].to_vec();
        other.extend(contrast);
        let contrast =
            ContrastText { source: source.clone(), target: other, first, alignment: Alignment::OneToOne, masked: None };
        Text {
            source: source.clone(),
            target: target.clone(),
            steps: first..steps[1],
            contrast: Some(contrast),
            masked: None,
        }
    }
}

/// A model and code to run attributions on it.
pub struct Bench {
    model: Model<B>,
    registries: Registries<B>,
    goldens: Goldens,
}

/// The backend that goldens are compared on.
pub type B = stepfn_cpu::flex::Backend;

impl Bench {
    /// The model with that name.
    pub fn new(name: &str) -> Self {
        let model = Model::load(folder().join("models").join(name), DType::F32, &Default::default()).unwrap();
        Self { model, registries: Registries::default(), goldens: Goldens::of(name) }
    }

    /// The expected results.
    pub fn goldens(&self) -> &Goldens {
        &self.goldens
    }

    /// Attributes a golden's text with one of our methods.
    pub fn run(&self, golden: &Golden, method: &dyn AttributionMethod<B>) -> Attributed {
        let name = golden.attributed_fn.as_deref().unwrap_or("probability");
        let function = self.registries.attributed(name, &Map::new()).unwrap();
        let text = self.goldens.text(golden.text);
        // The baseline includes the start token of an encoder–decoder, except for this method.
        let path = golden.method == "discretized_integrated_gradients" && text.source.is_some();
        let kept = if path { vec![text.target[0]] } else { Vec::new() };
        let baseline = Baseline { id: self.goldens.baseline_id, kept };
        let options = AttributionOptions { attribute_target: true, raw: true, ..AttributionOptions::new(baseline) };
        attribute(&self.model, &[text], method, &function, &[], &options).unwrap().remove(0).unwrap()
    }

    /// Checks the step scores of every text. Contrasts are left out: goldens compare in the same context, while step scores use the
    /// contrast's own context.
    pub fn step_scores_agree(&self, tolerance: f32) {
        let function = self.registries.attributed("probability", &Map::new()).unwrap();
        for (index, golden) in self.goldens.texts.iter().enumerate() {
            let names = golden.step_scores.keys().filter(|name| !name.starts_with("contrast"));
            let functions: Vec<_> =
                names.map(|name| self.registries.plain().make(name, &Map::new()).unwrap()).collect();
            assert!(functions.len() >= 3, "text {index} has no step scores");
            let (texts, options) = ([self.goldens.text(index)], AttributionOptions::new(Baseline::token(0)));
            let done = attribute(&self.model, &texts, &Dummy {}, &function, &functions, &options).unwrap().remove(0);
            for (name, values) in done.unwrap().step_scores.unwrap().scores {
                close(&format!("{name} of text {index}"), &values, &golden.step_scores[&name], tolerance);
            }
        }
    }
}

/// Checks that scores agree: NaN in the same places, otherwise within `tolerance` of the step's largest score.
pub fn scores_agree(what: &str, ours: Option<&Scores>, expected: Option<&Scores>, tolerance: f32) {
    let Some(expected) = expected else {
        return;
    };
    let ours = ours.unwrap_or_else(|| panic!("{what}: no scores"));
    assert_eq!((ours.axes(), ours.shape()), (expected.axes(), expected.shape()), "{what}");
    let greatest = expected.values().iter().filter(|value| value.is_finite()).fold(0.0f32, |a, b| a.max(b.abs()));
    for (index, (ours, expected)) in ours.values().iter().zip(expected.values()).enumerate() {
        let same = ours.is_nan() && expected.is_nan() || (ours - expected).abs() <= tolerance * greatest;
        assert!(same, "{what}, element {index}: {ours} instead of {expected} (greatest {greatest})");
    }
}

fn close(what: &str, ours: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(ours.len(), expected.len(), "{what}");
    for (ours, expected) in ours.iter().zip(expected) {
        assert!((ours - expected).abs() <= tolerance * expected.abs().max(1.0), "{what}: {ours} instead of {expected}");
    }
}

/// Compares a result with its golden, including deltas.
pub fn agrees(what: &str, ours: &Attributed, golden: &Golden, tolerance: f32) {
    scores_agree(&format!("{what}, source"), ours.scores.source.as_ref(), golden.source_scores.as_ref(), tolerance);
    scores_agree(&format!("{what}, target"), ours.scores.target.as_ref(), golden.target_scores.as_ref(), tolerance);
    if let (Some(expected), Some(ours)) = (&golden.deltas, ours.scores.completeness.as_ref().map(|of| &of.deltas)) {
        close(&format!("{what}, deltas"), ours, expected, tolerance);
    }
}
