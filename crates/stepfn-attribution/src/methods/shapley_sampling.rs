//! Shapley values by sampling permutations (Štrumbelj & Kononenko 2010, doi:10.5555/1756006.1756007; Castro et al. 2009): what each token adds to
//! those before it in a random order, which adds up to `f(x) − f(x̄)` in every order. Every second order is the previous one reversed, which
//! cancels noise (Mitchell et al. 2022, arXiv:2104.12199). An order of all tokens is also an order of those that a step sees, so one sample works
//! for all steps.

use burn::tensor::backend::Backend;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use stepfn_core::catalog::parameters;
use stepfn_core::{Count, Named, ParameterError};
use stepfn_models::random::SplitMix64;

use super::limits::{MOST_SAMPLES, check_samples};
use super::players::Players;
use crate::{AttributionError, AttributionMethod, Completeness, InputScores, Passes, Perturbed};

/// Shapley values by what tokens add in random orders.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ShapleySampling {
    /// Number of orders, each with a pass for every token. They come in pairs, so an even number is best.
    pub n_samples: usize,
}

impl Default for ShapleySampling {
    fn default() -> Self {
        Self { n_samples: 26 }
    }
}

impl Named for ShapleySampling {
    const NAME: &'static str = "shapley_sampling";
    const SUMMARY: &'static str = "Shapley values by what tokens add in random orders; adds up to f(x) − f(x̄)";
    const ALSO_CALLED: &'static [&'static str] = &["shapley", "shapley_value_sampling", "svs"];
    const COUNTS: &'static [Count] = &[Count::new("n_samples", 1, MOST_SAMPLES)];
}

impl<B: Backend> AttributionMethod<B> for ShapleySampling {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn parameters(&self) -> Map<String, Value> {
        parameters(self)
    }

    fn hides_tokens(&self) -> bool {
        true
    }

    fn check(&self) -> Result<(), ParameterError> {
        self.validate()
    }

    fn attribute(&self, passes: &Passes<'_, B>) -> Result<InputScores, AttributionError> {
        let players = Players::of(passes.question())?;
        let n = players.len();
        check_samples::<Self>(passes.question(), self.n_samples, n)?;
        let seed = SplitMix64::stream(passes.question().options().seed, u64::from(passes.question().number())).bits();
        let orders = orders(n, self.n_samples, seed);
        // The empty coalition, then for each order the coalitions between it and the full one.
        let mut variants: Vec<Perturbed> = vec![players.present(passes.question(), &vec![false; n])];
        for order in &orders {
            let mut present = vec![false; n];
            for &player in &order[..n.saturating_sub(1)] {
                present[player] = true;
                variants.push(players.present(passes.question(), &present));
            }
        }
        let (clean, values) = passes.perturb()?.values(&variants)?;
        let (empty, between) = (&values[0], &values[1..]);
        let (mut scores, mut totals, mut changes) = (Vec::new(), Vec::new(), Vec::new());
        for (index, span) in passes.question().spans(passes.question().steps()).into_iter().enumerate() {
            let seen = players.seen_by(span);
            let mut sums = vec![0.0; seen];
            for (number, order) in orders.iter().enumerate() {
                let mut before = empty[index];
                let of_step = order.iter().enumerate().filter(|&(_, &player)| player < seen);
                for (count, (place, &player)) in of_step.enumerate() {
                    // With the last player that the step sees, the text is complete.
                    let last = count + 1 == seen;
                    let after = if last { clean[index] } else { between[number * (n - 1) + place][index] };
                    sums[player] += after - before;
                    before = after;
                }
            }
            let means: Vec<f64> = sums.iter().map(|sum| sum / orders.len() as f64).collect();
            let total = if seen == 0 { 0.0 } else { clean[index] - empty[index] };
            totals.push(means.iter().sum());
            changes.push(total);
            scores.push(means);
        }
        let completeness = Completeness::new(&totals, &changes);
        Ok(players.scores(passes.question(), &scores, Some(completeness)))
    }
}

/// Random orders; every second one is the previous one reversed.
fn orders(n: usize, count: usize, seed: u64) -> Vec<Vec<usize>> {
    let mut all: Vec<Vec<usize>> = Vec::with_capacity(count + 1);
    for pair in 0..count.div_ceil(2) {
        // An order by random numbers, so that the order of the first few does not depend on how many follow.
        let mut random = SplitMix64::stream(seed, pair as u64);
        let keys: Vec<u64> = (0..n).map(|_| random.bits()).collect();
        let mut order: Vec<usize> = (0..n).collect();
        order.sort_by_key(|&player| keys[player]);
        let reversed = order.iter().rev().copied().collect();
        all.push(order);
        all.push(reversed);
    }
    all.truncate(count);
    all
}
