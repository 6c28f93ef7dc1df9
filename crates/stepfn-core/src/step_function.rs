//! The trait that all step functions implement, and the one that makes them known by name.

use burn::tensor::{Tensor, backend::Backend};
use serde::{Serialize, de::DeserializeOwned};

use crate::{StepBatch, StepError};

/// A number for each step, computed from what the model predicted there.
///
/// A step function never runs the model. It says which forward passes it [needs](StepFunction::needs); whoever runs the model hands
/// over their logits as a [`StepBatch`], shared by all functions of a call. On an autodiff backend the scores differentiate with
/// respect to the logits, which is where attribution starts.
pub trait StepFunction<B: Backend>: Send + Sync {
    /// The name that people know it by.
    fn name(&self) -> &str;

    /// The forward passes it needs beside the one that is scored.
    fn needs(&self) -> Passes {
        Passes::default()
    }

    /// Whether its scores have a gradient with respect to the logits. Counts and ranks have none.
    fn is_differentiable(&self) -> bool {
        true
    }

    /// The score of every step.
    ///
    /// # Shapes
    /// - result: `[rows]`, in `f32` (`f64` if the logits are)
    ///
    /// # Errors
    /// If a pass that it [needs](StepFunction::needs) is missing, a parameter is out of range, or the score does not exist.
    fn score(&self, steps: &StepBatch<B>) -> Result<Tensor<B, 1>, StepError>;
}

/// Forward passes beside the one that is scored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Passes {
    /// The contrastive pass.
    pub contrast: Need,
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

impl Passes {
    /// The contrastive pass, without which the function is an error.
    pub const CONTRAST: Self = Self { contrast: Need::Required, noisy_samples: 0 };
    /// The contrastive pass, where there is one.
    pub const CONTRAST_IF_GIVEN: Self = Self { contrast: Need::Optional, noisy_samples: 0 };

    /// So many passes with dropout on.
    pub const fn noisy(samples: usize) -> Self {
        Self { contrast: Need::Unused, noisy_samples: samples }
    }

    /// The passes that serve both.
    pub fn union(self, other: Self) -> Self {
        Self { contrast: self.contrast.max(other.contrast), noisy_samples: self.noisy_samples.max(other.noisy_samples) }
    }
}

/// A step function that a [`Registry`](crate::Registry) can make from its name and its parameters, the fields of the type.
pub trait Named: Default + Serialize + DeserializeOwned {
    /// The name, in `snake_case`.
    const NAME: &'static str;
    /// The value in one line.
    const SUMMARY: &'static str;
    /// What the number counts: nats, bits, probability, tokens…
    const UNIT: &'static str;

    /// Whether the parameters are in their ranges.
    ///
    /// # Errors
    /// [`StepError::Parameter`] with the parameter and its range.
    fn validate(&self) -> Result<(), StepError> {
        Ok(())
    }

    /// Whether a number of noisy passes is enough: one for a mean, two for a spread.
    ///
    /// # Errors
    /// [`StepError::Parameter`] if there are fewer than `least`, 1 or 2.
    fn check_noisy_passes(n_mcd_steps: usize, least: usize) -> Result<(), StepError> {
        let expected =
            if least < 2 { "a whole number, 1 or greater" } else { "a whole number, 2 or greater, for a spread" };
        if n_mcd_steps >= least { Ok(()) } else { Err(Self::out_of_range("n_mcd_steps", expected, n_mcd_steps)) }
    }

    /// The error of a parameter that is out of its range.
    fn out_of_range(parameter: &'static str, expected: &'static str, found: impl core::fmt::Display) -> StepError {
        StepError::Parameter { function: Self::NAME.to_owned(), parameter, expected, found: found.to_string() }
    }
}
