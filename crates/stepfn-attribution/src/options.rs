//! How attribution runs.

use core::ops::ControlFlow;

use stepfn_models::config::DropoutRates;

use crate::{Features, Noise, SpanTarget};

/// How attribution runs, whatever the method.
#[derive(Clone)]
pub struct AttributionOptions<'a> {
    /// Seed of everything random: dropout passes of the attributed function, samples of a method.
    pub seed: u64,
    /// Dropout rates that replace the checkpoint's own, at whatever sites they are for.
    pub rates: Option<DropoutRates>,
    /// The number of the first text in the whole run: random numbers belong to a text's number.
    pub first_number: u32,
    /// Bytes that activations, gradients and logits may take, in addition to the model; an estimate. A text that needs more even in the smallest
    /// pieces runs anyway.
    pub memory: usize,
    /// Also score the target prefix of an encoder–decoder. A causal model's text is always scored.
    pub attribute_target: bool,
    /// Keep the scores of hidden units, layers and heads.
    pub raw: bool,
    /// What replaces a token that is hidden.
    pub baseline: Baseline,
    /// Groups of tokens that perturbation methods hide and show together, one entry for each text; empty: each token separately, in all texts. The
    /// tokens of a group share its score equally, so that the score is their sum; for occlusion each has the whole score, as with windows.
    /// Methods that [hide no tokens](crate::AttributionMethod::hides_tokens) take none.
    pub features: &'a [Features],
    /// What is attributed as one, one entry for each text; empty: each step by itself, in all texts. Only for methods that
    /// [take spans](crate::AttributionMethod::takes_spans).
    pub spans: &'a [SpanTarget],
    /// Score only what is before the first step of a text's target: the prompt of a causal model. What the model wrote itself is then never
    /// hidden.
    pub prompt_only: bool,
    /// Let a contrastive function read the contrast's own context, instead of another target in the original context.
    pub contrast_force_inputs: bool,
    /// How many of the most likely tokens of each step to name; 0 for none, [`MOST_ALTERNATIVES`](crate::MOST_ALTERNATIVES) at most.
    pub alternatives: usize,
    /// Noise on the embeddings of the text, to see how far scores move with it. Not for methods that
    /// [hide tokens](crate::AttributionMethod::hides_tokens), whose variants have no noise.
    pub noise: Option<Noise>,
    /// Called after each piece of work; [`ControlFlow::Break`] ends the call with
    /// [`AttributionError::Cancelled`](crate::AttributionError::Cancelled).
    pub progress: Option<&'a OnProgress<'a>>,
}

/// A function that is called as work proceeds, and can stop it.
pub type OnProgress<'a> = dyn Fn(Progress) -> ControlFlow<()> + 'a;

/// The progress of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Texts that are done.
    pub texts_done: usize,
    /// Texts of the call.
    pub texts: usize,
    /// Pieces of the current text's work that are done.
    pub pieces_done: usize,
    /// Pieces of the current text's work; 0 between texts.
    pub pieces: usize,
}

/// What replaces a token that is hidden: in the baseline of gradient methods, and in perturbed texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Baseline {
    /// The token whose embedding it is: usually the unknown token, or the end token if there is none.
    pub id: u32,
    /// Tokens that are never hidden: special ones.
    pub kept: Vec<u32>,
}

impl Baseline {
    /// This token replaces any other token.
    pub const fn token(id: u32) -> Self {
        Self { id, kept: Vec::new() }
    }
}

impl AttributionOptions<'_> {
    /// Bytes of memory by default: 2 GiB.
    pub const MEMORY: usize = 2 << 30;

    /// The defaults with this baseline. There is no default baseline, because none suits every tokenizer.
    pub const fn new(baseline: Baseline) -> Self {
        Self {
            seed: 0,
            rates: None,
            first_number: 0,
            memory: Self::MEMORY,
            attribute_target: false,
            raw: false,
            baseline,
            features: &[],
            spans: &[],
            prompt_only: false,
            contrast_force_inputs: false,
            alternatives: 0,
            noise: None,
            progress: None,
        }
    }
}

impl core::fmt::Debug for AttributionOptions<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("AttributionOptions")
            .field("seed", &self.seed)
            .field("rates", &self.rates)
            .field("first_number", &self.first_number)
            .field("memory", &self.memory)
            .field("attribute_target", &self.attribute_target)
            .field("raw", &self.raw)
            .field("baseline", &self.baseline)
            .field("features", &self.features)
            .field("spans", &self.spans)
            .field("prompt_only", &self.prompt_only)
            .field("contrast_force_inputs", &self.contrast_force_inputs)
            .field("alternatives", &self.alternatives)
            .field("noise", &self.noise)
            .finish_non_exhaustive()
    }
}
