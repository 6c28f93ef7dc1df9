//! Text generation: greedy, sampling and beam search, as in transformers' `generate` (version 5).
//!
//! This module does not know about tensors. A model is a [`Decoder`], which returns the logits of the next token and is told which tokens
//! were chosen. [`GenerationSettings`] control the choice: rules change the scores (`processors`), then a search picks tokens (`greedy`,
//! `beam`).

mod beam;
mod greedy;
mod processors;
mod search;
mod settings;
#[cfg(test)]
mod tests;

pub use settings::GenerationSettings;

use crate::ModelError;

/// A model during generation: a list of hypotheses, of one text or of several, each with logits for its next token.
pub trait Decoder {
    /// Logits of the next token for every hypothesis, in order: row after row, `vocab` numbers each.
    fn logits(&mut self) -> Result<Vec<f32>, ModelError>;
    /// Replaces hypothesis `i` by the previous hypothesis `parents[i]` followed by `tokens[i]`. Their number may change.
    fn advance(&mut self, parents: &[usize], tokens: &[u32]) -> Result<(), ModelError>;
}

/// A generated text.
#[derive(Debug, Clone, PartialEq)]
pub struct Hypothesis {
    /// The generated ids: without the prompt, with the end token.
    pub ids: Vec<u32>,
    /// Its score, in nats.
    ///
    /// Greedy and sampling: the sum of the log-probabilities that the model gave to the tokens, before any rule, temperature or truncation.
    /// Beam search: `sequences_scores` of transformers, the sum of the log-probabilities after the rules (a forced BOS or EOS counts as 0),
    /// divided by the number of generated tokens to the power of the length penalty.
    pub score: f64,
    /// Whether it ended with an end token, and not at the maximum length or the end of the model's positions.
    pub finished: bool,
}

/// Continues `prompt` and returns the best hypotheses, best first.
///
/// The decoder must have one hypothesis, which ends in `prompt`: a causal model's text, or the start tokens of an encoder–decoder's target.
/// Returns [`num_return_sequences`](GenerationSettings::num_return_sequences) results, or fewer if the settings do not allow that many
/// texts.
///
/// # Errors
/// If settings are [out of range](GenerationSettings::validate) or leave no token to choose, and any error of the decoder.
///
/// # Panics
/// If the decoder returns a different number of rows than it has hypotheses.
///
/// # Examples
/// ```
/// use stepfn_models::ModelError;
/// use stepfn_models::generation::{Decoder, GenerationSettings, generate};
///
/// /// Counts: after `n` comes `n + 1`.
/// struct Counter(Vec<u32>);
///
/// impl Decoder for Counter {
///     fn logits(&mut self) -> Result<Vec<f32>, ModelError> {
///         let row = |&last: &u32| (0..10).map(move |id| if id == last + 1 { 5.0 } else { 0.0 });
///         Ok(self.0.iter().flat_map(row).collect())
///     }
///
///     fn advance(&mut self, _parents: &[usize], tokens: &[u32]) -> Result<(), ModelError> {
///         self.0 = tokens.to_vec();
///         Ok(())
///     }
/// }
///
/// let settings = GenerationSettings { eos: vec![6], ..GenerationSettings::default() };
/// let hypotheses = generate(&mut Counter(vec![2]), &[2], &settings)?;
/// assert_eq!(hypotheses[0].ids, [3, 4, 5, 6]);
/// assert!(hypotheses[0].finished);
/// # Ok::<(), ModelError>(())
/// ```
pub fn generate(
    decoder: &mut impl Decoder,
    prompt: &[u32],
    settings: &GenerationSettings,
) -> Result<Vec<Hypothesis>, ModelError> {
    settings.validate()?;
    settings.validate_start(prompt.len())?;
    let mut found = generate_many(decoder, &[Prompt { ids: prompt, settings }])?;
    found.pop().unwrap_or_else(|| Ok(Vec::new()))
}

/// What a text starts with, and how it goes on.
#[derive(Debug, Clone, Copy)]
pub struct Prompt<'a> {
    /// The tokens that are there: a causal model's text, or the start tokens of an encoder–decoder's target.
    pub ids: &'a [u32],
    /// How the next ones are chosen.
    pub settings: &'a GenerationSettings,
}

/// [`generate`] for several texts, whose hypotheses take each step together. A text that is done leaves the decoder. What comes of a text does
/// not depend on the others: an error of one, if its settings leave it no token to choose for instance, is its own result.
///
/// The decoder must have one hypothesis for each prompt, in their order.
///
/// # Errors
/// Any error of the decoder.
///
/// # Panics
/// If the decoder returns a different number of rows than it has hypotheses.
pub fn generate_many(
    decoder: &mut impl Decoder,
    prompts: &[Prompt<'_>],
) -> Result<Vec<Result<Vec<Hypothesis>, ModelError>>, ModelError> {
    search::run(decoder, prompts)
}

/// The error if no token can be chosen as generated token `position`, counted from 0.
fn nothing_allowed(position: usize, vocabulary: usize) -> ModelError {
    ModelError::NothingAllowed { position: position + 1, vocabulary }
}
