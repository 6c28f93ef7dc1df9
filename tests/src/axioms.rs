//! Attributions of every golden model, for properties that all of them must have.

use burn::tensor::{DType, Tensor, TensorData};
use serde_json::{Map, Value, json};
use stepfn_attribution::{
    Attributed, AttributedFn, AttributionError, AttributionOptions, Baseline, ContrastText, Methods, Registries,
    Scores, Text, attribute,
};
use stepfn_core::Alignment;
use stepfn_models::Model;
use stepfn_models::random::SplitMix64;
use stepfn_models::source::{StoredTensor, Tensors};

use crate::golden::folder;
use crate::models::folders;

/// The backend for the axiom tests.
pub type B = stepfn_cpu::flex::Backend;

/// The step functions to test on every model: one of each kind.
pub const FUNCTIONS: [&str; 4] = ["probability", "logit", "crossentropy", "contrast_prob_diff"];

/// A model under test.
pub struct Examined {
    /// The name of its folder.
    pub name: String,
    /// The model.
    pub model: Model<B>,
    registries: Registries<B>,
}

impl Examined {
    /// The golden model with that name.
    pub fn new(name: &str) -> Self {
        let model = Model::load(folder().join("models").join(name), DType::F32, &Default::default()).unwrap();
        Self { name: name.to_owned(), model, registries: Registries::default() }
    }

    /// Every golden model whose texts are read from left to right; those of masked tokens have tests of their own.
    pub fn all() -> impl Iterator<Item = Self> {
        let all = folders().into_iter().map(|folder| Self::new(folder.file_name().unwrap().to_str().unwrap()));
        all.filter(|examined| !examined.model.config().is_masked())
    }

    /// Texts of different lengths, with contrastive targets in the same context.
    pub fn texts(&self) -> Vec<Text> {
        let start = self.model.config().special.decoder_start.unwrap_or(0);
        let text = |source: &[u32], target: &[u32], first: usize| {
            let source = self.model.encoder().map(|_| source.to_vec());
            let (mut ids, first) = match source {
                None => (target.to_vec(), first),
                Some(_) => (target[first - 1..].to_vec(), 1),
            };
            if source.is_some() {
                ids[0] = start;
            }
            let other: Vec<u32> =
                ids.iter().enumerate().map(|(place, &id)| if place < first { id } else { id + 1 }).collect();
            let contrast =
                ContrastText { source: None, target: other, first, alignment: Alignment::OneToOne, masked: None };
            Text { source, steps: first..ids.len(), target: ids, contrast: Some(contrast), masked: None }
        };
        vec![
            text(&[5, 9, 30, 7, 61], &[5, 9, 30, 7, 61, 12, 50, 2], 4),
            text(&[44, 3, 8], &[44, 3, 8, 17, 50], 2),
            text(&[7, 70, 12, 9, 33, 4, 28], &[12, 9, 33, 4, 28, 61, 3, 90, 5, 17], 5),
        ]
    }

    /// A step function as a target.
    pub fn function(&self, name: &str, parameters: Value) -> AttributedFn<B> {
        self.registries.attributed(name, parameters.as_object().unwrap()).unwrap()
    }

    /// The values of a step function, computed without attribution.
    pub fn step_scores(&self, text: &Text, name: &str) -> Vec<f32> {
        let functions = [self.registries.plain().make(name, &Map::new()).unwrap()];
        let scored =
            stepfn_attribution::score(&self.model, std::slice::from_ref(text), &functions, &Default::default());
        scored.unwrap().remove(0).unwrap().scores.remove(0).1
    }

    /// Whether all of its parts have the rule that a method goes by.
    pub fn has_rule_of(&self, method: &str) -> bool {
        self.model.config().has_every_rule() || !["deeplift", "lrp"].iter().any(|rule| method.contains(rule))
    }

    /// Attributes texts.
    pub fn run(
        &self,
        texts: &[Text],
        (method, parameters): (&str, Value),
        function: &AttributedFn<B>,
        options: &AttributionOptions<'_>,
    ) -> Vec<Result<Attributed, AttributionError>> {
        let method = Methods::default().make(method, parameters.as_object().unwrap()).unwrap();
        attribute(&self.model, texts, &method, function, &[], options).unwrap()
    }

    /// Attributes the first text, raw and on both sides.
    pub fn first(&self, method: (&str, Value), function: &str) -> Attributed {
        let function = self.function(function, json!({}));
        let what = format!("{}: {} {}", self.name, method.0, method.1);
        let attributed = self.run(&self.texts()[..1], method, &function, &raw()).remove(0);
        attributed.unwrap_or_else(|error| panic!("{what}: {error}"))
    }
}

/// Options that keep everything and aggregate nothing.
pub fn raw() -> AttributionOptions<'static> {
    let baseline = Baseline { id: 1, kept: Vec::new() };
    AttributionOptions { attribute_target: true, raw: true, ..AttributionOptions::new(baseline) }
}

/// The scores of both sides.
pub fn sides(attributed: &Attributed) -> impl Iterator<Item = &Scores> {
    attributed.scores.source.iter().chain(&attributed.scores.target)
}

/// For each step, the sum of `f` over the scores of all tokens that it sees.
pub fn sums(attributed: &Attributed, f: impl Fn(f32) -> f64) -> Vec<f64> {
    let steps = sides(attributed).next().unwrap().shape()[1];
    let mut sums = vec![0.0; steps];
    for scores in sides(attributed) {
        for (token, step) in (0..scores.shape()[0]).flat_map(|token| (0..steps).map(move |step| (token, step))) {
            sums[step] += scores.at(token, step).iter().filter(|x| x.is_finite()).map(|&x| f(x)).sum::<f64>();
        }
    }
    sums
}

/// The largest difference of two attributions, relative to the largest score; NaN must be in the same places.
pub fn difference(what: &str, a: &Attributed, b: &Attributed) -> f32 {
    let mut worst = 0.0f32;
    assert_eq!(
        (a.scores.source.is_some(), a.scores.target.is_some()),
        (b.scores.source.is_some(), b.scores.target.is_some())
    );
    for (a, b) in sides(a).zip(sides(b)) {
        assert_eq!((a.axes(), a.shape()), (b.axes(), b.shape()), "{what}");
        let greatest = a.values().iter().filter(|x| x.is_finite()).fold(1e-9f32, |most, x| most.max(x.abs()));
        for (a, b) in a.values().iter().zip(b.values()) {
            assert_eq!(a.is_nan(), b.is_nan(), "{what}");
            worst = worst.max(if a.is_nan() { 0.0 } else { (a - b).abs() / greatest });
        }
    }
    worst
}

/// A causal model with one layer that is linear in its embeddings: every position attends uniformly to all that it sees and mixes their
/// values; the feed-forward returns 0; normalizations divide by the root of an ε far above any variance, as embeddings are tiny. The embedding of token 0 is zero.
pub fn linear() -> Examined {
    /// So small that no variance matters beside an ε of 1.
    const TINY: f32 = 1e-6;
    let config = json!({
        "model_type": "gpt2", "activation_function": "gelu_new", "n_embd": 12, "n_head": 3, "n_layer": 1,
        "n_positions": 32, "vocab_size": 101, "layer_norm_epsilon": 1.0, "tie_word_embeddings": false,
    });
    let device = Default::default();
    let shapes = Model::<B>::outline(&config, |_| true, &device).unwrap();
    let mut tensors = Tensors::<B>::new();
    for (number, (name, shape)) in shapes.into_iter().enumerate() {
        let mut random = SplitMix64::stream(7, number as u64);
        let count: usize = shape.iter().product();
        let mut values: Vec<f32> = (0..count).map(|_| random.normal() as f32).collect();
        match name.rsplit("transformer.").next().unwrap() {
            "wte.weight" => {
                values.iter_mut().for_each(|value| *value *= TINY);
                values[..12].fill(0.0);
            }
            "wpe.weight" => values.iter_mut().for_each(|value| *value *= TINY),
            "lm_head.weight" => values.iter_mut().for_each(|value| *value /= TINY),
            // Queries, keys and values are stored side by side.
            "h.0.attn.c_attn.weight" => {
                values.iter_mut().enumerate().filter(|(index, _)| index % 36 < 24).for_each(|(_, value)| *value = 0.0);
            }
            "h.0.attn.c_proj.weight" => {}
            norm if norm.contains("ln_") && norm.ends_with("weight") => values.fill(1.0),
            _ => values.fill(0.0),
        }
        let stored: StoredTensor<B> = match shape[..] {
            [len] => Tensor::<B, 1>::from_data(TensorData::new(values, [len]), &device).into(),
            [rows, columns] => Tensor::<B, 2>::from_data(TensorData::new(values, [rows, columns]), &device).into(),
            _ => panic!("{name} has shape {shape:?}"),
        };
        tensors.insert(name, stored);
    }
    let model = Model::from_tensors(&config, &tensors, &device).unwrap();
    Examined { name: "linear".to_owned(), model, registries: Registries::default() }
}
