//! Games whose answers are known, and the metrics computed slowly, from their definitions.

use stepfn_attribution::AttributionError;
use stepfn_models::random::SplitMix64;

/// Features with worths of their own, and worths of pairs that only count while both are there.
#[derive(Debug, Clone)]
pub(crate) struct Pairs {
    pub(crate) base: f64,
    pub(crate) own: Vec<f64>,
    pub(crate) pairs: Vec<(usize, usize, f64)>,
}

impl Pairs {
    /// Independent features.
    pub(crate) fn additive(own: Vec<f64>) -> Self {
        Self { base: -7.0 - own.iter().map(|worth| worth.abs()).sum::<f64>(), own, pairs: Vec::new() }
    }

    /// A random game, whose values are log-probabilities.
    pub(crate) fn random(features: usize, seed: u64) -> Self {
        let mut random = SplitMix64::stream(seed, 17);
        let own: Vec<f64> = (0..features).map(|_| random.normal()).collect();
        let pairs = (0..features).map(|_| (random.below(features), random.below(features), random.normal())).collect();
        Self { base: -9.0 - 6.0 * features as f64, own, pairs }
    }

    pub(crate) fn value(&self, hidden: &[bool]) -> f64 {
        let own: f64 = self.own.iter().zip(hidden).filter(|(_, hidden)| !**hidden).map(|(worth, _)| worth).sum();
        let both = |(a, b, _): &&(usize, usize, f64)| !hidden[*a] && !hidden[*b];
        self.base + own + self.pairs.iter().filter(both).map(|(_, _, worth)| worth).sum::<f64>()
    }

    pub(crate) fn values(&self) -> impl FnMut(&[Vec<bool>]) -> Result<Vec<f64>, AttributionError> + '_ {
        |sets| Ok(sets.iter().map(|hidden| self.value(hidden)).collect())
    }

    /// The value without these features.
    pub(crate) fn without(&self, features: &[usize]) -> f64 {
        self.value(&(0..self.own.len()).map(|feature| features.contains(&feature)).collect::<Vec<bool>>())
    }

    /// The value with nothing but these features.
    pub(crate) fn with(&self, features: &[usize]) -> f64 {
        self.value(&(0..self.own.len()).map(|feature| !features.contains(&feature)).collect::<Vec<bool>>())
    }

    /// Shapley values, by all subsets.
    pub(crate) fn shapley(&self) -> Vec<f64> {
        let n = self.own.len();
        let factorial = |k: usize| (1..=k).map(|x| x as f64).product::<f64>();
        let of_feature = |feature: usize| {
            let mut sum = 0.0;
            for subset in 0..1_usize << n {
                let present: Vec<usize> = (0..n).filter(|at| subset >> at & 1 == 1).collect();
                if present.contains(&feature) {
                    continue;
                }
                let weight = factorial(present.len()) * factorial(n - present.len() - 1) / factorial(n);
                let joined: Vec<usize> = present.iter().copied().chain([feature]).collect();
                sum += weight * (self.with(&joined) - self.with(&present));
            }
            sum
        };
        (0..n).map(of_feature).collect()
    }
}

/// All orders of a few features.
pub(crate) fn orders(features: usize) -> Vec<Vec<usize>> {
    let mut all = vec![Vec::new()];
    for _ in 0..features {
        let longer = |order: Vec<usize>| {
            (0..features)
                .filter(|next| !order.contains(next))
                .map(|next| [&order[..], &[next]].concat())
                .collect::<Vec<_>>()
        };
        all = all.into_iter().flat_map(longer).collect();
    }
    all
}

/// Scores whose order is this.
pub(crate) fn scores_of(order: &[usize]) -> Vec<f64> {
    let mut scores = vec![0.0; order.len()];
    order.iter().enumerate().for_each(|(rank, &feature)| scores[feature] = -(rank as f64));
    scores
}
