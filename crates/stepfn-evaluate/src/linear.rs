//! Do the scores of hidden features add up to what the model loses without them? On random sets of features.

use stepfn_attribution::contexts::spearman;
use stepfn_models::random::SplitMix64;

/// Random sets of features, each hidden with probability one half, and none of them empty: `true` is hidden.
pub fn random_sets(features: usize, sets: usize, seed: u64, stream: u64) -> Vec<Vec<bool>> {
    let mut random = SplitMix64::stream(seed, stream);
    let mut set = || {
        let mut hidden: Vec<bool> = (0..features).map(|_| random.uniform() < 0.5).collect();
        if !hidden.contains(&true) && features > 0 {
            hidden[random.below(features)] = true;
        }
        hidden
    };
    (0..sets).map(|_| set()).collect()
}

/// The sums of the scores of the features in each set.
fn sums(scores: &[f64], sets: &[Vec<bool>]) -> Vec<f64> {
    let sum = |set: &Vec<bool>| scores.iter().zip(set).filter(|(_, hidden)| **hidden).map(|(score, _)| score).sum();
    sets.iter().map(sum).collect()
}

/// Infidelity (Yeh et al. 2019, arXiv:1901.09392) over sets of hidden features: the mean of `(β Σ scores of the hidden − lost)²`, with the scale `β` for which
/// it is least, because most methods have scores of a unit of their own. `lost` is `f(x) − f(x without the set)`.
pub fn infidelity(scores: &[f64], sets: &[Vec<bool>], lost: &[f64]) -> f64 {
    let sums = sums(scores, sets);
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let size = product(&sums, &sums);
    let scale = if size > 0.0 { product(&sums, lost) / size } else { 0.0 };
    let error = sums.iter().zip(lost).map(|(sum, lost)| (scale * sum - lost).powi(2));
    error.sum::<f64>() / lost.len() as f64
}

/// Max-sensitivity (Yeh et al. 2019): the greatest change of scores with noise on the input, `‖scores with noise − scores‖ / ‖scores‖`, with Euclidean norms;
/// NaN without noise, or if all scores are 0.
pub fn max_sensitivity(scores: &[f64], with_noise: &[Vec<f64>]) -> f64 {
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>().sqrt();
    let size = norm(&mut scores.iter().copied());
    let change = |noisy: &Vec<f64>| norm(&mut noisy.iter().zip(scores).map(|(noisy, score)| noisy - score)) / size;
    with_noise.iter().map(change).fold(f64::NAN, f64::max)
}

/// The linear datamodeling score (Park et al. 2023, arXiv:2303.14186): Spearman's correlation of the sum of the scores of the hidden features and of what is lost
/// without them; NaN if one of the two never changes.
pub fn linear_score(scores: &[f64], sets: &[Vec<bool>], lost: &[f64]) -> f64 {
    spearman(&sums(scores, sets), lost)
}
