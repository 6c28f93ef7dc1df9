//! LIME (Ribeiro et al. 2016, arXiv:1602.04938): a linear model of what the attributed function does when random tokens are hidden,
//! `min Σ π(z) (f(z) − β₀ − βᵀz)² + α |β|²`, where `z` says which tokens are present, and π how close that is to the text. Scores are β.

use burn::tensor::backend::Backend;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use stepfn_core::catalog::parameters;
use stepfn_core::{Count, Named, ParameterError};
use stepfn_models::random::SplitMix64;

use super::least_squares::NormalEquations;
use super::limits::{MOST_SAMPLES, check_samples};
use super::players::Players;
use crate::{AttributionError, AttributionMethod, InputScores, Passes, Perturbed};

/// A linear model of random samples around the text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Lime {
    /// Number of samples with hidden tokens, in addition to the text itself.
    pub n_samples: usize,
    /// Probability that a token is hidden.
    pub mask_prob: f64,
    /// Weight of the ridge penalty; 0 is ordinary least squares. The intercept is not penalized.
    pub alpha: f64,
    /// How samples are weighted.
    pub similarity: Similarity,
    /// With `cosine`: the distance at which a sample has the weight `e^(−½)`.
    pub kernel_width: f64,
}

/// How close a sample is to the text, if `k` of `n` tokens are present.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Similarity {
    /// `exp(−d² / 2w²)` with the cosine distance `d = 1 − √(k/n)`, as the authors use for texts.
    Cosine,
    /// The share of tokens that are present, `k/n`.
    Kept,
}

impl Default for Lime {
    fn default() -> Self {
        Self { n_samples: 50, mask_prob: 0.3, alpha: 1.0, similarity: Similarity::Cosine, kernel_width: 0.25 }
    }
}

impl Named for Lime {
    const NAME: &'static str = "lime";
    const SUMMARY: &'static str = "a linear model of the function's values when random tokens are hidden";
    const COUNTS: &'static [Count] = &[Count::new("n_samples", 2, MOST_SAMPLES)];

    fn validate(&self) -> Result<(), ParameterError> {
        self.check_counts()?;
        let Self { mask_prob, alpha, kernel_width, .. } = *self;
        // Beyond, no sample hides anything or all hide everything, the penalty leaves no scores, or no sample but the text has a weight.
        let ranges = [
            ("mask_prob", mask_prob, 0.001..=0.999, "a probability from 0.001 to 0.999"),
            ("alpha", alpha, 0.0..=1e6, "a number from 0 to 1000000"),
            ("kernel_width", kernel_width, 0.01..=1000.0, "a number from 0.01 to 1000"),
        ];
        let wrong = ranges.into_iter().find(|(_, value, range, _)| !range.contains(value));
        wrong.map_or(Ok(()), |(name, value, _, expected)| Err(Self::out_of_range(name, expected, value)))
    }
}

impl<B: Backend> AttributionMethod<B> for Lime {
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
        let seed = SplitMix64::stream(passes.question().options().seed, u64::from(passes.question().number())).bits();
        // One stream per sample, so that what is drawn for a token does not depend on later tokens.
        let present = |sample: usize| -> Vec<bool> {
            let mut random = SplitMix64::stream(seed, sample as u64);
            (0..players.len()).map(|_| random.uniform() >= self.mask_prob).collect()
        };
        let samples: Vec<Vec<bool>> = (0..self.n_samples).map(present).collect();
        let variants: Vec<Perturbed> =
            samples.iter().map(|present| players.present(passes.question(), present)).collect();
        let (clean, values) = passes.perturb()?.values(&variants)?;
        let scores: Vec<Vec<f64>> = passes
            .question()
            .spans(passes.question().steps())
            .into_iter()
            .enumerate()
            .map(|(index, span)| {
                let seen = players.seen_by(span);
                let whole = (vec![1.0; seen], clean[index]);
                let samples = samples.iter().zip(&values).map(|(present, values)| {
                    (present[..seen].iter().map(|&present| f64::from(u8::from(present))).collect(), values[index])
                });
                self.fit(&core::iter::once(whole).chain(samples).collect::<Vec<Sample>>())
            })
            .collect();
        Ok(players.scores(passes.question(), &scores, None))
    }
}

/// Which tokens are present, and the function's value.
type Sample = (Vec<f64>, f64);

impl Lime {
    /// The coefficients. The intercept is the rest of the mean, so it is not penalized.
    fn fit(&self, samples: &[Sample]) -> Vec<f64> {
        let unknowns = samples[0].0.len();
        let weights: Vec<f64> = samples.iter().map(|(z, _)| self.weight(z)).collect();
        let all: f64 = weights.iter().sum();
        let mean = |f: &dyn Fn(&Sample) -> f64| -> f64 {
            samples.iter().zip(&weights).map(|(sample, weight)| weight * f(sample)).sum::<f64>() / all
        };
        let centre: Vec<f64> = (0..unknowns).map(|token| mean(&|(z, _)| z[token])).collect();
        let level = mean(&|(_, y)| *y);
        let mut equations = NormalEquations::new(unknowns);
        for ((z, y), &weight) in samples.iter().zip(&weights) {
            let z: Vec<f64> = z.iter().zip(&centre).map(|(z, centre)| z - centre).collect();
            equations.observe(&z, y - level, weight);
        }
        equations.ridge(self.alpha)
    }

    fn weight(&self, z: &[f64]) -> f64 {
        let share = z.iter().sum::<f64>() / z.len().max(1) as f64;
        match self.similarity {
            Similarity::Cosine => (-0.5 * ((1.0 - share.sqrt()) / self.kernel_width).powi(2)).exp(),
            Similarity::Kept => share,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_a_linear_function_give_its_coefficients() {
        let exact = [0.5, -2.0, 0.25];
        let value = |z: &[f64]| 3.0 + z.iter().zip(exact).map(|(z, beta)| z * beta).sum::<f64>();
        let all: Vec<Sample> = (0..8_u32)
            .map(|set| (0..3).map(|token| f64::from(set >> token & 1)).collect::<Vec<f64>>())
            .map(|z| (z.clone(), value(&z)))
            .collect();
        for similarity in [Similarity::Cosine, Similarity::Kept] {
            let lime = Lime { alpha: 0.0, similarity, ..Lime::default() };
            for (ours, exact) in lime.fit(&all).iter().zip(exact) {
                assert!((ours - exact).abs() < 1e-6, "{ours} instead of {exact}");
            }
        }
    }

    #[test]
    fn the_text_itself_counts_most_and_a_penalty_shrinks() {
        for similarity in [Similarity::Cosine, Similarity::Kept] {
            let lime = Lime { similarity, ..Lime::default() };
            assert!((lime.weight(&[1.0, 1.0]) - 1.0).abs() < 1e-12);
            assert!(lime.weight(&[1.0, 0.0]) < 1.0 && lime.weight(&[0.0, 0.0]) < lime.weight(&[1.0, 0.0]));
        }
        let samples = [(vec![1.0], 1.0), (vec![0.0], 0.0)];
        let score = |alpha| Lime { alpha, ..Lime::default() }.fit(&samples)[0];
        assert!(score(1.0) < score(0.1) && score(0.1) < score(0.0));
    }
}
