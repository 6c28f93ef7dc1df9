//! The tasks that are measured, and texts for them.

use core::fmt;
use core::hint::black_box;

use burn::tensor::backend::Backend;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use stepfn_attribution::{AttributionError, AttributionOptions, Baseline, Methods, Registries, Text, attribute};
use stepfn_models::config::TransformerConfig;
use stepfn_models::generation::GenerationSettings;
use stepfn_models::tape::{ModelInput, StackInput};
use stepfn_models::transformer::{Dropout, PaddingSide, TokenBatch};
use stepfn_models::{Model, Opening};

use crate::BenchError;
use crate::shapes::ids;

/// Passes with dropout in [`Work::McDropout`].
pub const NOISY_PASSES: usize = 10;
/// Interpolation points in [`Work::IntegratedGradients`].
pub const POINTS: usize = 20;

/// What to compute for the texts. Attribution is of `probability`, to both sides of an encoder–decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Work {
    /// Logits at every position.
    Forward,
    /// Logit, probability and entropy of every step.
    StepScores,
    /// `mc_dropout_prob_avg` of every step, from ten passes with dropout and one without.
    #[serde(rename = "mc_dropout_prob_avg")]
    McDropout,
    /// The method `saliency`.
    Saliency,
    /// The method `input_x_gradient`.
    InputXGradient,
    /// The method `integrated_gradients`, with twenty points.
    IntegratedGradients,
    /// The method `occlusion`, one token at a time.
    Occlusion,
    /// The method `attention`.
    Attention,
    /// As many new tokens as are predicted, by greedy search, for all texts that fit at once.
    Generate,
}

impl Work {
    /// All tasks.
    pub const ALL: [Self; 9] = [
        Self::Forward,
        Self::StepScores,
        Self::McDropout,
        Self::Saliency,
        Self::InputXGradient,
        Self::IntegratedGradients,
        Self::Occlusion,
        Self::Attention,
        Self::Generate,
    ];
    /// A representative selection.
    pub const TYPICAL: [Self; 7] = [
        Self::Forward,
        Self::StepScores,
        Self::McDropout,
        Self::Saliency,
        Self::IntegratedGradients,
        Self::Occlusion,
        Self::Generate,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::StepScores => "step_scores",
            Self::McDropout => "mc_dropout_prob_avg",
            Self::Saliency => "saliency",
            Self::InputXGradient => "input_x_gradient",
            Self::IntegratedGradients => "integrated_gradients",
            Self::Occlusion => "occlusion",
            Self::Attention => "attention",
            Self::Generate => "generate",
        }
    }

    /// The task with that name.
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|work| work.name() == name)
    }

    /// The method and its parameters, then the step functions and their parameters; a plain pass has no method.
    fn parts(self) -> (&'static str, Value, &'static [&'static str], Value) {
        let none = json!({});
        match self {
            Self::StepScores => ("dummy", none.clone(), &["logit", "probability", "entropy"], none),
            Self::McDropout => ("dummy", none, &["mc_dropout_prob_avg"], json!({ "n_mcd_steps": NOISY_PASSES })),
            Self::IntegratedGradients => (self.name(), json!({ "n_steps": POINTS }), &[], none),
            _ => (self.name(), none.clone(), &[], none),
        }
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Number and length of texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Lengths {
    /// Tokens of a causal model's prompt, or of an encoder–decoder model's source.
    pub prompt: usize,
    /// Predicted tokens.
    pub target: usize,
    /// Number of texts.
    pub batch: usize,
}

impl Lengths {
    /// Texts of `length` tokens: the first half is given, the second is predicted.
    pub fn halves(length: usize, batch: usize) -> Self {
        Self { prompt: length / 2, target: length - length / 2, batch }
    }

    /// Tokens of all texts.
    pub fn tokens(self) -> usize {
        self.batch * (self.prompt + self.target)
    }

    /// The model's maximum number of positions, if these texts exceed it.
    pub fn exceeds(self, config: &TransformerConfig) -> Option<usize> {
        let (read, source) = match config.encoder {
            Some(_) => (self.target, self.prompt),
            None => ((self.prompt + self.target).saturating_sub(1), 0),
        };
        let of_encoder = config.encoder.as_ref().and_then(|stack| stack.most_tokens());
        let of_decoder = config.decoder.most_tokens();
        of_decoder.filter(|&most| read > most).or(of_encoder.filter(|&most| source > most))
    }

    /// Texts of these sizes, all different.
    pub fn texts(self, config: &TransformerConfig) -> Vec<Text> {
        let Self { prompt, target, batch } = self;
        let text = |seed: usize| {
            let mut ids = ids(config.vocab_size.min(config.source_vocab_size()), prompt + target, seed as u64);
            match config.special.decoder_start {
                Some(start) if config.is_encoder_decoder() => {
                    let target = core::iter::once(start).chain(ids.split_off(prompt)).collect();
                    Text::seq2seq(ids, target)
                }
                _ => Text::causal(ids, prompt),
            }
        };
        (1..=batch).map(text).collect()
    }
}

/// Limits for the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Seed of all random numbers.
    pub seed: u64,
    /// Memory budget for intermediate results, in bytes.
    pub memory: usize,
    /// Maximum number of tokens in a plain forward pass.
    pub batch_tokens: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { seed: 0, memory: AttributionOptions::MEMORY, batch_tokens: 4096 }
    }
}

/// A model and texts.
#[derive(Debug)]
pub struct Workload<'m, B: Backend> {
    model: &'m Model<B>,
    texts: Vec<Text>,
    limits: Limits,
}

impl<'m, B: Backend> Workload<'m, B> {
    /// A workload with random texts of the given sizes.
    ///
    /// # Panics
    /// If there is no text, or a text has no given or no predicted token.
    pub fn new(model: &'m Model<B>, lengths: Lengths, limits: Limits) -> Self {
        let Lengths { prompt, target, batch } = lengths;
        assert!(
            prompt > 0 && target > 0 && batch > 0,
            "expected texts with given and predicted tokens, found {lengths:?}"
        );
        Self { model, texts: lengths.texts(model.config()), limits }
    }

    /// Runs the work once, including results. After a plain forward pass the device may still be busy when this returns.
    ///
    /// # Errors
    /// If the texts are invalid, or the work fails.
    pub fn run(&self, work: Work) -> Result<(), BenchError> {
        match work {
            Work::Forward => return self.forward(),
            Work::Generate => return self.generate(),
            _ => {}
        }
        let none = Map::new();
        let given = |parameters: Value| parameters.as_object().cloned().unwrap_or_default();
        let (name, of_method, functions, of_functions) = work.parts();
        let registries = Registries::<B>::default();
        let of_functions = given(of_functions);
        let functions = functions.iter().map(|name| registries.plain().make(name, &of_functions));
        let functions = functions.collect::<Result<Vec<_>, _>>().map_err(AttributionError::from)?;
        let function = registries.attributed("probability", &none).map_err(AttributionError::from)?;
        let method = Methods::default().make(name, &given(of_method)).map_err(AttributionError::from)?;
        let Limits { seed, memory, .. } = self.limits;
        let defaults = AttributionOptions::new(Baseline::token(0));
        let options = AttributionOptions { seed, memory, attribute_target: true, ..defaults };
        for done in attribute(self.model, &self.texts, &method, &function, &functions, &options)? {
            drop(black_box(done?));
        }
        Ok(())
    }

    /// Writes as many texts at once as fit.
    fn generate(&self) -> Result<(), BenchError> {
        let config = self.model.config();
        let new_tokens = self.texts.iter().map(|text| text.steps.len()).max().unwrap_or(1);
        let settings = GenerationSettings {
            max_new_tokens: new_tokens,
            min_new_tokens: new_tokens,
            eos: config.special.eos.clone(),
            ..GenerationSettings::default()
        };
        let longest = self.texts.iter().map(|text| text.target.len() + text.source.as_ref().map_or(0, Vec::len)).max();
        let bytes = 4 * (longest.unwrap_or(1) * config.floats_per_token() + 2 * config.vocab_size);
        for texts in self.texts.chunks((self.limits.memory / bytes).max(1)) {
            let openings = texts.iter().map(|text| {
                let (source, prompt) = (text.source.as_deref(), &text.target[..text.steps.start]);
                Opening { source, prompt, settings: &settings }
            });
            let openings: Vec<Opening<'_>> = openings.collect();
            for written in self.model.generate_many(&openings) {
                drop(black_box(written?));
            }
        }
        Ok(())
    }

    /// Processes as many texts at once as fit.
    fn forward(&self) -> Result<(), BenchError> {
        let longest = |text: &Text| text.target.len() + text.source.as_ref().map_or(0, Vec::len);
        let longest = self.texts.iter().map(longest).max().unwrap_or(1);
        let logits = longest * self.model.config().vocab_size * 4;
        let at_once = (self.limits.batch_tokens / longest).min(self.limits.memory / logits.max(1)).max(1);
        for texts in self.texts.chunks(at_once) {
            let batch = |ids: Vec<Vec<u32>>| TokenBatch::new(ids, self.model.config().vocab_size, PaddingSide::Right);
            let sources: Option<Vec<Vec<u32>>> = texts.iter().map(|text| text.source.clone()).collect();
            let source = sources.map(batch).transpose()?;
            let read = |text: &Text| text.target[..text.target.len() - 1].to_vec();
            let target = batch(texts.iter().map(read).collect())?;
            let input = ModelInput {
                source: source
                    .as_ref()
                    .zip(self.model.encoder())
                    .map(|(batch, encoder)| StackInput::embedded(batch, encoder.embed(batch))),
                target: StackInput::embedded(&target, self.model.decoder().embed(&target)),
                dropout: &Dropout::Off,
            };
            drop(black_box(self.model.logits(self.model.hidden(input)?)));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::DType;

    use super::*;
    use crate::Shape;

    type B = stepfn_cpu::flex::Backend;

    #[test]
    fn names_are_those_of_json_and_are_found() {
        for work in Work::ALL {
            assert_eq!(Work::find(work.name()), Some(work));
            assert_eq!(serde_json::to_value(work).unwrap(), work.name());
        }
        assert_eq!(Work::find("nothing"), None);
    }

    #[test]
    fn all_work_is_done_on_a_tiny_model() {
        let model = Shape::Tiny.model::<B>(0, DType::F32, &Default::default()).unwrap();
        let workload = Workload::new(&model, Lengths::halves(6, 2), Limits::default());
        for work in Work::ALL {
            workload.run(work).unwrap_or_else(|error| panic!("{work}: {error}"));
        }
        // A budget for at most one text gives the same batch in pieces.
        let limits = Limits { batch_tokens: 1, memory: 1, ..Limits::default() };
        Workload::new(&model, Lengths::halves(6, 3), limits).run(Work::Forward).unwrap();
    }

    #[test]
    fn texts_are_halved_and_too_long_texts_are_detected() {
        let lengths = Lengths::halves(7, 2);
        assert_eq!((lengths.prompt, lengths.target, lengths.tokens()), (3, 4, 14));
        let model = Shape::Tiny.model::<B>(0, DType::F32, &Default::default()).unwrap();
        let texts = lengths.texts(model.config());
        assert_eq!((texts.len(), texts[0].target.len(), texts[0].steps.clone()), (2, 7, 3..7));
        assert_ne!(texts[0].target, texts[1].target);
        assert_eq!(Lengths::halves(129, 1).exceeds(model.config()), None);
        assert_eq!(Lengths::halves(130, 1).exceeds(model.config()), Some(128));
    }
}
