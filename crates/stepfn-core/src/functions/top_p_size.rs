//! `top_p_size`: how many tokens the model considered likely.
//!
//! | | |
//! |---|---|
//! | value | size of the smallest set of most likely tokens whose probabilities sum to at least `top_p` |
//! | unit | tokens |
//! | range | 1 … V, a whole number; V at `top_p = 1` |
//! | passes | the scored one |
//! | gradient | no |
//!
//! **When to use it.** Uncertainty as a plain count: the number of open continuations. It is the size of the set that nucleus sampling
//! draws from.
//!
//! **Source.** Holtzman et al. 2020, *The curious case of neural text degeneration*.

use burn::tensor::{Tensor, backend::Backend};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use stepfn_kernels::nucleus::{Likely, nucleus};

use crate::catalog::parameters;
use crate::{Join, Named, ParameterError, Prediction, StepBatch, StepError, StepFunction, StepScore};

/// The size of the nucleus of every row. Not differentiable.
///
/// # Shapes
/// - `logits`: `[rows, vocab]`
/// - `top_p`: in `(0, 1]`
/// - result: `[rows]`, whole numbers
pub fn top_p_size<B: Backend>(logits: Tensor<B, 2>, top_p: f64) -> Tensor<B, 1> {
    top_p_size_of(&Prediction::unchecked(logits), top_p)
}

fn top_p_size_of<B: Backend>(prediction: &Prediction<B>, top_p: f64) -> Tensor<B, 1> {
    let likely = Likely { top_p, top_k: None, min_tokens: 1 };
    nucleus(prediction.softmax(), likely).size.squeeze_dim(1)
}

/// [`top_p_size()`] as a [`StepFunction`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TopPSize {
    /// Share of the probability that the set holds, in `(0, 1]`.
    pub top_p: f64,
}

impl Default for TopPSize {
    fn default() -> Self {
        Self { top_p: 0.9 }
    }
}

impl Named for TopPSize {
    const NAME: &'static str = "top_p_size";
    const SUMMARY: &'static str = "size of the smallest set of most likely tokens that holds top_p of the probability";
    const UNIT: &'static str = "tokens";
    const ALSO_CALLED: &'static [&'static str] = &["nucleus_size"];

    fn validate(&self) -> Result<(), ParameterError> {
        if self.top_p > 0.0 && self.top_p <= 1.0 {
            Ok(())
        } else {
            Err(Self::out_of_range("top_p", "a number in (0, 1]", self.top_p))
        }
    }
}

impl StepScore for TopPSize {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn parameters(&self) -> Map<String, Value> {
        parameters(self)
    }

    fn join(&self) -> Join {
        Join::Mean
    }

    fn is_differentiable(&self) -> bool {
        false
    }
}

impl<B: Backend> StepFunction<B> for TopPSize {
    fn score(&self, steps: &StepBatch<B>) -> Result<Tensor<B, 1>, StepError> {
        self.validate()?;
        Ok(top_p_size_of(steps.prediction(), self.top_p))
    }
}
