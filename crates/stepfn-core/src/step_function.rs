//! What a step function is: [`StepScore`] for what is known of it on any backend, [`StepFunction`] for the formula on one.

use burn::tensor::{Tensor, backend::Backend};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{StepBatch, StepError};

/// What is known of a step function, whatever the backend.
pub trait StepScore: Send + Sync {
    /// The name that people know it by.
    fn name(&self) -> &str;

    /// Its parameters, for the record of what was computed; see [`parameters`](crate::catalog::parameters).
    fn parameters(&self) -> Map<String, Value> {
        Map::new()
    }

    /// How the scores of several steps become one where their tokens do, as the tokens of a word.
    fn join(&self) -> Join;

    /// The forward passes it needs in addition to the one that is scored.
    fn needs(&self) -> Needs {
        Needs::default()
    }

    /// Whether its scores have a gradient with respect to the logits. Counts and ranks have none.
    fn is_differentiable(&self) -> bool {
        true
    }
}

/// A number for each step, computed from what the model predicted there.
///
/// A step function never runs the model. It says which forward passes it [needs](StepScore::needs); whoever runs the model passes their
/// logits as a [`StepBatch`], which all functions of a call share. On an autodiff backend the scores differentiate with respect to the
/// logits, which is where attribution starts.
pub trait StepFunction<B: Backend>: StepScore {
    /// The score of every step.
    ///
    /// # Shapes
    /// - result: `[rows]`, in `f32` (`f64` if the logits are)
    ///
    /// # Errors
    /// If a pass that it [needs](StepScore::needs) is missing, a parameter is out of range, or the score does not exist.
    fn score(&self, steps: &StepBatch<B>) -> Result<Tensor<B, 1>, StepError>;

    /// The derivative of every step's score with respect to its logits, where the function knows it. If not, it is found by automatic differentiation of the
    /// [score](Self::score).
    ///
    /// # Shapes
    /// - result: `[rows, vocab]`
    fn gradient(&self, _steps: &StepBatch<B>) -> Option<Tensor<B, 2>> {
        None
    }
}

impl<B: Backend> StepScore for Box<dyn StepFunction<B>> {
    fn name(&self) -> &str {
        (**self).name()
    }

    fn parameters(&self) -> Map<String, Value> {
        (**self).parameters()
    }

    fn join(&self) -> Join {
        (**self).join()
    }

    fn needs(&self) -> Needs {
        (**self).needs()
    }

    fn is_differentiable(&self) -> bool {
        (**self).is_differentiable()
    }
}

impl<B: Backend> StepFunction<B> for Box<dyn StepFunction<B>> {
    fn score(&self, steps: &StepBatch<B>) -> Result<Tensor<B, 1>, StepError> {
        (**self).score(steps)
    }

    fn gradient(&self, steps: &StepBatch<B>) -> Option<Tensor<B, 2>> {
        (**self).gradient(steps)
    }
}

/// How the scores of steps that become one are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Join {
    /// They add up: information, log-probabilities, divergences.
    Sum,
    /// They multiply: probabilities of tokens given those before, and their reciprocals.
    Product,
    /// They are averaged: everything else.
    Mean,
}

/// Forward passes beside the one that is scored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Needs {
    /// The contrastive pass.
    pub contrast: Need,
    /// Whether it compares what two contexts predict: in the same context it is constant, whatever the input.
    pub of_contexts: bool,
    /// Passes with dropout on.
    pub noisy_samples: usize,
}

/// How much a function needs a pass.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// It makes no use of it.
    #[default]
    Unused,
    /// It uses it where there is one.
    Optional,
    /// It is an error without.
    Required,
}

impl Needs {
    /// The contrastive pass, without which the function is an error.
    pub const CONTRAST: Self = Self { contrast: Need::Required, of_contexts: false, noisy_samples: 0 };
    /// The contrastive pass in a context of its own: a divergence of two predictions.
    pub const CONTRAST_CONTEXT: Self = Self { of_contexts: true, ..Self::CONTRAST };
    /// The contrastive pass, where there is one.
    pub const CONTRAST_IF_GIVEN: Self = Self { contrast: Need::Optional, ..Self::CONTRAST };

    /// So many passes with dropout on.
    pub const fn noisy(samples: usize) -> Self {
        Self { contrast: Need::Unused, of_contexts: false, noisy_samples: samples }
    }

    /// The passes that serve both.
    pub fn union(self, other: Self) -> Self {
        Self {
            contrast: self.contrast.max(other.contrast),
            of_contexts: self.of_contexts || other.of_contexts,
            noisy_samples: self.noisy_samples.max(other.noisy_samples),
        }
    }
}
