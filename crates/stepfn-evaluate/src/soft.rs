//! π-Soft-NC and π-Soft-NS: tokens are kept at random, by their scores, and predictions are compared as distributions.
//!
//! Zhao & Aletras (2023, arXiv:2305.10496) keep an input with its score as the probability, which rewards methods with large scores. Here the
//! probabilities are `min(1, c · |score|)`, with `c` so that the expected share is `π` for every method (arXiv:2601.03089). Scores count by their
//! magnitude: a token that speaks against the prediction matters to it.

use stepfn_attribution::AttributionError;
use stepfn_models::random::SplitMix64;

use crate::Values;

/// How tokens are drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SoftSettings {
    /// The expected share of the features, `π`: of those that are kept for sufficiency, and of those that are hidden for comprehensiveness.
    pub share: f64,
    /// Random sets of each kind.
    pub draws: usize,
    /// Seed and stream of the random numbers: the same for all methods.
    pub seed: [u64; 2],
}

/// Probabilities `min(1, c · |score|)` whose mean is `share`, by bisection of `c`. If too few scores are greater than 0, the features without a score share
/// the rest equally.
pub fn inclusion(scores: &[f64], share: f64) -> Vec<f64> {
    let sizes: Vec<f64> = scores.iter().map(|score| score.abs()).collect();
    let wanted = share.clamp(0.0, 1.0) * sizes.len() as f64;
    let positive = sizes.iter().filter(|&&size| size > 0.0).count() as f64;
    if positive <= wanted {
        let others = sizes.len() as f64 - positive;
        let rest = if others > 0.0 { (wanted - positive) / others } else { 0.0 };
        return sizes.iter().map(|&size| if size > 0.0 { 1.0 } else { rest }).collect();
    }
    let probabilities = |c: f64| sizes.iter().map(move |size| (c * size).min(1.0));
    let least = sizes.iter().copied().filter(|&size| size > 0.0).fold(f64::INFINITY, f64::min);
    let (mut low, mut high) = (0.0, 1.0 / least);
    // Until both ends are neighbours.
    for _ in 0..2000 {
        let middle = low + (high - low) / 2.0;
        if middle <= low || middle >= high {
            break;
        }
        match probabilities(middle).sum::<f64>() < wanted {
            true => low = middle,
            false => high = middle,
        }
    }
    probabilities(high).collect()
}

/// `[π-Soft-NC, π-Soft-NS]`. `distances` is the Hellinger distance between the predictions of the text and of the text with the embeddings of
/// the hidden features set to zero. With `d₀` that of all of them hidden, NC is the mean distance without the drawn features over `d₀`, and NS is
/// `max(0, 1 − d / d₀)` with `d` the mean distance with nothing but them. NaN where nothing hidden changes the prediction.
///
/// # Errors
/// Those of the game.
pub fn soft(scores: &[f64], settings: &SoftSettings, distances: &mut Values<'_>) -> Result<[f64; 2], AttributionError> {
    let probabilities = inclusion(scores, settings.share);
    let mut random = SplitMix64::stream(settings.seed[0], settings.seed[1]);
    let draws: Vec<Vec<bool>> = (0..settings.draws)
        .map(|_| probabilities.iter().map(|&probability| random.uniform() < probability).collect())
        .collect();
    let rest = |drawn: &Vec<bool>| drawn.iter().map(|drawn| !drawn).collect();
    let mut sets = vec![vec![true; scores.len()]];
    sets.extend(draws.iter().cloned());
    sets.extend(draws.iter().map(rest));
    let found = distances(&sets)?;
    let (all, (without, with)) = (found[0], found[1..].split_at(draws.len()));
    let mean = |distances: &[f64]| distances.iter().sum::<f64>() / distances.len() as f64;
    match all > 0.0 {
        true => Ok([mean(without) / all, (1.0 - mean(with) / all).max(0.0)]),
        false => Ok([f64::NAN; 2]),
    }
}
