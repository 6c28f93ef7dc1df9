//! The greatest values of counts, so that a number with too many zeros is an error and not hours of work or all of the memory.

use stepfn_core::Count;

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
