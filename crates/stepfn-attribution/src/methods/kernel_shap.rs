//! Kernel SHAP (Lundberg & Lee 2017, arXiv:1705.07874): Shapley values as weighted least squares over coalitions of tokens,
//! `min Σ π(z) (f(z) − f(x̄) − φᵀz)²` with `π = (n − 1) / (C(n, k) k (n − k))` for `k` of `n` present, where `Σφ = f(x) − f(x̄)` exactly (Covert & Lee
//! 2021, arXiv:2012.01536).
//!
//! If there are few enough coalitions, all of them run, and values are exact. Otherwise each is drawn by a threshold: all tokens draw a number, and
//! those below it are present. The size is then uniform, also among the tokens that any one step sees, so one sample works for all steps,
//! weighted by the kernel's share of the size over its probability. Each coalition is paired with its complement, which cancels most noise.

use burn::tensor::backend::Backend;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use stepfn_core::catalog::parameters;
use stepfn_core::{Count, Named, ParameterError};
use stepfn_models::random::SplitMix64;

use super::least_squares::NormalEquations;
use super::limits::{MOST_SAMPLES, check_samples};
use super::players::Players;
use crate::{AttributionError, AttributionMethod, Completeness, InputScores, Passes, Perturbed};

/// Shapley values by weighted least squares.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct KernelShap {
    /// Maximum number of coalitions, in addition to all and none. With `2ⁿ − 2` of `n` tokens or more, values are exact; with fewer than twice the
    /// tokens they say little.
    pub n_samples: usize,
}

impl Default for KernelShap {
    fn default() -> Self {
        Self { n_samples: 256 }
    }
}

impl Named for KernelShap {
    const NAME: &'static str = "kernel_shap";
    const SUMMARY: &'static str = "Shapley values by least squares over coalitions of tokens; adds up to f(x) − f(x̄)";
    const ALSO_CALLED: &'static [&'static str] = &["shap", "kernelshap"];
    const COUNTS: &'static [Count] = &[Count::new("n_samples", 2, MOST_SAMPLES)];
}

impl<B: Backend> AttributionMethod<B> for KernelShap {
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
        check_samples::<Self>(passes.question(), self.n_samples, 1)?;
        let n = players.len();
        let seed = SplitMix64::stream(passes.question().options().seed, u64::from(passes.question().number())).bits();
        let (coalitions, chance) = coalitions(n, self.n_samples, seed);
        let none = vec![false; n];
        let variants: Vec<Perturbed> = core::iter::once(&none)
            .chain(&coalitions)
            .map(|present| players.present(passes.question(), present))
            .collect();
        let (clean, values) = passes.perturb()?.values(&variants)?;
        let (mut scores, mut totals, mut changes) = (Vec::new(), Vec::new(), Vec::new());
        for (index, span) in passes.question().spans(passes.question().steps()).into_iter().enumerate() {
            let (seen, empty) = (players.seen_by(span), values[0][index]);
            let total = clean[index] - empty;
            let samples = coalitions.iter().zip(&values[1..]);
            let samples = samples.map(|(present, values)| (&present[..seen], values[index] - empty));
            let of_step = regress(samples, seen, total, chance);
            totals.push(of_step.iter().sum());
            changes.push(total);
            scores.push(of_step);
        }
        let completeness = Completeness::new(&totals, &changes);
        Ok(players.scores(passes.question(), &scores, Some(completeness)))
    }
}

/// Shapley values of `n` players, from the values of some coalitions and of all players, minus the value of none; `chance` is that of a
/// coalition's size.
pub(crate) fn regress<'c>(
    coalitions: impl Iterator<Item = (&'c [bool], f64)>,
    n: usize,
    total: f64,
    chance: Chance,
) -> Vec<f64> {
    let mut equations = NormalEquations::new(n);
    for (present, worth) in coalitions {
        let z: Vec<f64> = present.iter().map(|&present| f64::from(u8::from(present))).collect();
        let size = present.iter().filter(|&&present| present).count();
        if (1..n).contains(&size) {
            equations.observe(&z, worth, kernel(n, size) / chance(n, size));
        }
    }
    if n == 0 { Vec::new() } else { equations.adding_up_to(total) }
}

/// The chance of a coalition of some size among so many players, up to a factor: `chance(players, size)`.
pub(crate) type Chance = fn(usize, usize) -> f64;

/// Coalitions besides the full and the empty one, and the chance of one of each size: all of them, or some that are drawn.
pub(crate) fn coalitions(n: usize, most: usize, seed: u64) -> (Vec<Vec<bool>>, Chance) {
    match all_coalitions(n, most) {
        Some(all) => (all, chance_of_any),
        None => (drawn(n, most, seed), chance_of_size),
    }
}

/// All coalitions except the full and the empty one, if there are not too many.
fn all_coalitions(n: usize, most: usize) -> Option<Vec<Vec<bool>>> {
    let sets =
        u32::try_from(n).ok().and_then(|n| 1_usize.checked_shl(n)).filter(|&sets| sets <= most.saturating_add(2))?;
    let present = |set: usize| (0..n).map(|player| set >> player & 1 == 1).collect();
    Some((1..sets.max(2) - 1).map(present).collect())
}

/// Coalitions and their complements, by thresholds.
fn drawn(n: usize, count: usize, seed: u64) -> Vec<Vec<bool>> {
    let mut all = Vec::with_capacity(count + 1);
    for pair in 0..count.div_ceil(2) {
        let mut random = SplitMix64::stream(seed, pair as u64);
        let threshold = random.uniform();
        let present: Vec<bool> = (0..n).map(|_| random.uniform() < threshold).collect();
        all.push(present.clone());
        all.push(present.into_iter().map(|present| !present).collect());
    }
    all.truncate(count);
    all
}

/// The Shapley kernel's weight of all coalitions of `size`, up to a factor.
fn kernel(n: usize, size: usize) -> f64 {
    (n - 1) as f64 / (size * (n - size)) as f64
}

/// The chance of a size if all sizes are equally likely.
fn chance_of_size(n: usize, _size: usize) -> f64 {
    1.0 / (n + 1) as f64
}

/// The chance of a size if all coalitions are equally likely, up to a factor: the number of coalitions of that size.
fn chance_of_any(n: usize, size: usize) -> f64 {
    (0..size).map(|chosen| (n - chosen) as f64 / (chosen + 1) as f64).product()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_coalitions_are_all_but_two_and_only_if_they_are_few() {
        assert_eq!(all_coalitions(3, 6).unwrap().len(), 6);
        assert_eq!(all_coalitions(3, 5), None);
        assert_eq!(all_coalitions(1, 2).unwrap().len(), 0);
        assert_eq!(all_coalitions(0, 2).unwrap().len(), 0);
        assert_eq!(all_coalitions(200, usize::MAX - 1), None);
        assert_eq!(chance_of_any(6, 2), 15.0);
    }

    /// A game in which players help and hinder each other.
    fn worth(present: &[bool]) -> f64 {
        let one = |player: usize| f64::from(u8::from(present[player]));
        2.0 * one(0) - one(1) + 3.0 * one(2) * one(3) + one(0) * one(1) * one(4) - 0.5 * one(3)
    }

    /// Everyone's own part, and an equal one of each product.
    const SHAPLEY: [f64; 5] = [2.0 + 1.0 / 3.0, -1.0 + 1.0 / 3.0, 1.5, 1.0, 1.0 / 3.0];

    #[test]
    fn all_coalitions_give_the_shapley_values_and_many_drawn_ones_come_near() {
        let total = SHAPLEY.iter().sum();
        let values = |coalitions: &[Vec<bool>], chance| {
            regress(coalitions.iter().map(|present| (&present[..], worth(present))), 5, total, chance)
        };
        let exact = values(&all_coalitions(5, 30).unwrap(), chance_of_any);
        let near = values(&drawn(5, 20_000, 7), chance_of_size);
        for ((exact, near), value) in exact.iter().zip(near).zip(SHAPLEY) {
            assert!((exact - value).abs() < 1e-7, "{exact} instead of {value}");
            assert!((near - value).abs() < 0.03, "{near} instead of {value}");
        }
    }

    #[test]
    fn sizes_are_uniform_among_any_of_the_first_tokens() {
        let drawn = drawn(20, 20_000, 3);
        for seen in [1, 4, 20] {
            let mut counts = vec![0_usize; seen + 1];
            drawn.iter().for_each(|present| counts[present[..seen].iter().filter(|&&present| present).count()] += 1);
            let expected = 20_000.0 * chance_of_size(seen, 0);
            let off = counts.iter().map(|&count| (count as f64 / expected - 1.0).abs()).fold(0.0, f64::max);
            assert!(off < 0.15, "{seen}: {counts:?}");
        }
    }
}
