//! Writing text: greedy, sampling and beam search, as transformers does them (`generate`, version 5).
//!
//! Nothing here knows of tensors: a model under way is a [`Decoder`], which gives the logits of the next token and is told
//! which tokens were taken. [`GenerationSettings`] say how to choose: the rules that change scores (`processors`) come
//! first, then the choice (`greedy`, `beam`).

mod beam;
mod greedy;
mod processors;
mod settings;
#[cfg(test)]
mod tests;

pub use settings::GenerationSettings;

use crate::ModelError;

/// A model in the middle of writing: hypotheses side by side, of which it knows what may come next.
pub trait Decoder {
    /// Logits of the next token of every hypothesis, one row of `vocab` numbers each, in their order.
    fn logits(&mut self) -> Result<Vec<Vec<f32>>, ModelError>;
    /// Hypothesis `i` becomes hypothesis `parents[i]` of before, followed by `tokens[i]`. Their number may change.
    fn advance(&mut self, parents: &[usize], tokens: &[u32]) -> Result<(), ModelError>;
}

/// A text that was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Hypothesis {
    /// What was generated: without the prompt, with the end token.
    pub ids: Vec<u32>,
    /// How likely it is, in nats.
    ///
    /// Greedy and sampling: sum of the log-probabilities that the model itself gave to the tokens, before any rule,
    /// temperature or truncation. Beam search: transformers' `sequences_scores`, the sum of the log-probabilities after the
    /// rules (a forced BOS or EOS counts 0), divided by the number of generated tokens to the power of the length penalty.
    pub score: f64,
    /// Whether it ended with an end token, rather than at the greatest length or where the model's positions end.
    pub finished: bool,
}

/// Continues `prompt`: the best hypotheses, best first.
///
/// The decoder has one hypothesis, which ends in `prompt`: a causal model's text, or the start tokens of an
/// encoder–decoder's target. There are [`num_return_sequences`](GenerationSettings::num_return_sequences) results, fewer only
/// where the settings allow no more texts than that.
///
/// # Errors
/// Settings [out of range](GenerationSettings::validate) or that leave no token to choose; whatever the decoder returns.
///
/// # Panics
/// If the decoder returns another number of rows than it has hypotheses.
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
///     fn logits(&mut self) -> Result<Vec<Vec<f32>>, ModelError> {
///         Ok(self.0.iter().map(|&last| (0..10).map(|id| if id == last + 1 { 5.0 } else { 0.0 }).collect()).collect())
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
    if settings.num_beams > 1 {
        beam::search(decoder, prompt, settings)
    } else {
        greedy::search(decoder, prompt, settings)
    }
}

/// What is subtracted from each logit to make it a log-probability: the greatest, and the logarithm of the rest's sum.
fn log_normalizer(logits: &[f32]) -> (f32, f32) {
    let greatest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&logit| f64::from((logit - greatest).exp())).sum();
    (greatest, sum.ln() as f32)
}

/// The logits of all hypotheses, which must be as many as there are.
fn checked_logits(decoder: &mut impl Decoder, hypotheses: usize) -> Result<Vec<Vec<f32>>, ModelError> {
    let rows = decoder.logits()?;
    assert_eq!(rows.len(), hypotheses, "a decoder must return one row of logits for each of its hypotheses");
    Ok(rows)
}

/// No token is left to choose as the `position`th generated one, counted from 0.
fn nothing_allowed(position: usize, vocabulary: usize) -> ModelError {
    ModelError::setting(
        "bad_words_ids, no_repeat_ngram_size, min_new_tokens, prefix, forced_bos, forced_eos",
        format!("that together they leave a token of the vocabulary ({vocabulary} tokens) with a finite score"),
        format!("none for generated token {}", position + 1),
    )
}
