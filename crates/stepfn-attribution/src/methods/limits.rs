//! The greatest values of counts, so that a number with too many zeros is an error and not hours of work or all of the memory.

use stepfn_core::{Count, Named};

use crate::{AttributionError, Question};

/// Variants of a text: samples, coalitions, moves. Methods keep the tokens of all variants in memory.
pub(super) const MOST_SAMPLES: usize = 100_000;

/// Probes of one step, which run together.
pub(super) const MOST_PROBES: usize = 1_000;

/// Tokens of a text or of a vocabulary: the greatest vocabulary that a model may have.
pub(super) const MOST_TOKENS: usize = 1 << 24;

/// Words on a path: the embeddings of all words of all paths are in memory together.
pub(super) const MOST_WORDS_ON_A_PATH: usize = 1_000;

/// Points on a straight line. Finding the nodes of a Gauss–Legendre rule takes time with their number squared.
pub(super) const PATH_POINTS: Count = Count::new("n_steps", 1, 10_000);

/// A layer, counted from 0: more layers than any published model has.
pub(super) const LAYER: Count = Count::new("layer", 0, 4095);

/// Checks that the variants of a text fit into the memory of the call, with their values: `per_sample` of them for each of `n_samples`. They are kept
/// until the scores are made.
pub(super) fn check_samples<M: Named>(
    question: &Question<'_>,
    n_samples: usize,
    per_sample: usize,
) -> Result<(), AttributionError> {
    /// An id and whether it is hidden, with room for both to grow; a value.
    const TOKEN: usize = 8;
    const STEP: usize = 8;
    let tokens = question.lengths(question.steps()).tokens();
    let bytes = per_sample.max(1) * (tokens * TOKEN + question.steps().len() * STEP);
    check_fit::<M>(question, ("n_samples", n_samples), bytes)
}

/// Checks that as many things as a parameter says fit into the memory of the call, if each takes `bytes`.
pub(super) fn check_fit<M: Named>(
    question: &Question<'_>,
    (parameter, count): (&str, usize),
    bytes: usize,
) -> Result<(), AttributionError> {
    /// Memory that every machine has.
    const SPARE: usize = 1 << 30;
    let most = question.options().memory.max(SPARE) / bytes.max(1);
    if count <= most {
        return Ok(());
    }
    let tokens = question.lengths(question.steps()).tokens();
    let expected = format!("at most {most} for a text of {tokens} tokens, so that all of it fits into memory");
    Err(M::out_of_range(parameter, expected, count).into())
}
