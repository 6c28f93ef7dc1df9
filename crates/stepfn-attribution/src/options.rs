//! How attribution runs.

use core::ops::ControlFlow;

use stepfn_models::config::DropoutRates;

use crate::Features;

/// How attribution runs, whatever the method.
#[derive(Clone)]
pub struct AttributionOptions<'a> {
    /// Seed of everything random: dropout passes of the attributed function, samples of a method.
    pub seed: u64,
    /// Dropout rates to take instead of the checkpoint's own.
    pub rates: Option<DropoutRates>,
    /// The number of the first text in the whole run: random numbers belong to a text's number.
    pub first_number: u32,
    /// Bytes that activations, gradients and logits may take, beside the model: an estimate. What needs more even in the smallest pieces runs all the
    /// same.
    pub memory: usize,
    /// Whether the target prefix of an encoder–decoder gets scores too. A causal model's text always does.
    pub attribute_target: bool,
    /// Whether scores keep their hidden units, layers and heads.
    pub raw: bool,
    /// What stands for a token that is taken away.
    pub baseline: Baseline,
    /// Groups of tokens that perturbation methods hide and show together, those of each text; empty: each token by itself, in all texts. A group's
    /// score is shared by its tokens in equal parts, so it is their sum; of occlusion each has the whole, as with windows.
    /// Methods that [hide no tokens](crate::Method::hides_tokens) take none.
    pub features: &'a [Features],
    /// Whether a contrastive function reads the contrast's own context, rather than other targets in the original one.
    pub contrast_force_inputs: bool,
    /// Is told how far the call is after every piece of work; [`ControlFlow::Break`] ends it with
    /// [`AttributionError::Cancelled`](crate::AttributionError::Cancelled).
    pub progress: Option<&'a (dyn Fn(Steps) -> ControlFlow<()> + 'a)>,
}

/// How far a call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Steps {
    /// The text that is being attributed, from 0.
    pub text: usize,
    /// Texts of the call.
    pub texts: usize,
    /// Pieces of the text's work that are done.
    pub done: usize,
    /// Pieces that there are.
    pub all: usize,
}

/// What stands for a token that is taken away: in the baseline of gradient methods, and where perturbation hides it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Baseline {
    /// The token whose embedding it is: usually the unknown token, or the end token where there is none.
    pub id: u32,
    /// Tokens that stay what they are: special ones.
    pub kept: Vec<u32>,
}

impl Default for AttributionOptions<'_> {
    fn default() -> Self {
        Self {
            seed: 0,
            rates: None,
            first_number: 0,
            memory: 2 << 30,
            attribute_target: false,
            raw: false,
            baseline: Baseline::default(),
            features: &[],
            contrast_force_inputs: false,
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
            .field("contrast_force_inputs", &self.contrast_force_inputs)
            .finish_non_exhaustive()
    }
}
