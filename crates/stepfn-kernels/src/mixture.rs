//! An ensemble of softmaxes `p₁ … pₙ` and its mean `m = (1/n) Σ pₛ`: how unsure the mean is, and how much of that is disagreement.
//!
//! The mutual information between prediction and member, `H(m) − (1/n) Σ H(pₛ)`, is computed as `(1/n) Σ KL(pₛ‖m)`: the
//! difference of two entropies of size ln V would leave no digits where the members nearly agree. With two members it is the
//! Jensen–Shannon divergence (Lin 1991); over MC-dropout samples it is BALD (Houlsby et al. 2011).

use burn::tensor::{Tensor, backend::Backend};

use crate::host::{self, HostRows, RowKernel};
use crate::lanes;
use crate::softmax::{HostStats, SoftmaxStats};

/// What [`mixture`] says of every row.
#[derive(Debug, Clone)]
pub struct Mixture<B: Backend> {
    /// Entropy of the mean prediction in nats, `[rows, 1]`.
    pub entropy: Tensor<B, 2>,
    /// Mutual information in nats, `[rows, 1]`, in `[0, ln n]`.
    pub mutual_information: Tensor<B, 2>,
}

/// Entropy of the mean, and mutual information, of an ensemble.
///
/// # Shapes
/// - `members`: at least one pair of logits `[rows, vocab]` and their statistics
pub fn mixture<B: Backend>(members: &[(&Tensor<B, 2>, &SoftmaxStats<B>)]) -> Mixture<B> {
    let host: Option<Vec<_>> = members.iter().map(|(z, stats)| Some((HostRows::of(z)?, stats.on_host()?))).collect();
    match host {
        Some(host) => fused(&host, members[0].0),
        None => composed(members),
    }
}

fn fused<B: Backend>(members: &[(HostRows, Vec<HostStats>)], like: &Tensor<B, 2>) -> Mixture<B> {
    let (rows, width) = (members[0].0.len(), members[0].0.width());
    let [entropy, mutual_information] = host::map_rows(rows, width * members.len(), MixtureKernel { members });
    Mixture { entropy: host::column(entropy, like), mutual_information: host::column(mutual_information, like) }
}

fn composed<B: Backend>(members: &[(&Tensor<B, 2>, &SoftmaxStats<B>)]) -> Mixture<B> {
    let share = 1.0 / members.len() as f64;
    let log_probs: Vec<_> = members.iter().map(|(z, stats)| stats.log_probs(z)).collect();
    let mean = log_probs.iter().map(|log_p| log_p.clone().exp()).reduce(|sum, p| sum + p);
    let mean = mean.expect("an ensemble has members").mul_scalar(share);
    // Where the mean underflows to 0, so does every member, and the terms below are 0 · finite.
    let log_mean = mean.clone().clamp_min(f32::MIN_POSITIVE).log();
    let divergence = |log_p: Tensor<B, 2>| (log_p.clone().exp() * (log_p - log_mean.clone())).sum_dim(1);
    let divergences = log_probs.into_iter().map(divergence).reduce(|sum, kl| sum + kl);
    Mixture {
        entropy: (mean * log_mean).sum_dim(1).neg(),
        mutual_information: divergences.expect("an ensemble has members").mul_scalar(share).clamp_min(0.0),
    }
}

/// Tokens whose mean probability is kept at a time: 4 KiB, a corner of the first-level cache.
const TOKENS: usize = 1024;

struct MixtureKernel<'a> {
    members: &'a [(HostRows, Vec<HostStats>)],
}

impl RowKernel<2> for MixtureKernel<'_> {
    #[inline(always)]
    fn row(&self, index: usize) -> [f32; 2] {
        let share = 1.0 / self.members.len() as f32;
        let width = self.members[0].0.width();
        let (mut negative_entropy, mut information) = (0.0, 0.0);
        for start in (0..width).step_by(TOKENS) {
            let tokens = start..(start + TOKENS).min(width);
            let mut means = [0.0f32; TOKENS];
            let means = &mut means[..tokens.len()];
            for (rows, stats) in self.members {
                let stats = stats[index];
                for (mean, &z) in means.iter_mut().zip(&rows.row(index)[tokens.clone()]) {
                    *mean += share * lanes::exp(stats.log_prob(z));
                }
            }
            let [terms] = lanes::sums(means, |mean| [mean * lanes::ln(mean)]);
            negative_entropy += terms;
            for (rows, stats) in self.members {
                let stats = stats[index];
                let [terms] = lanes::sums_of_pairs(&rows.row(index)[tokens.clone()], means, |z, mean| {
                    let log_p = stats.log_prob(z);
                    [lanes::exp(log_p) * (log_p - lanes::ln(mean))]
                });
                information += terms;
            }
        }
        let information = (information * f64::from(share)).max(0.0);
        [-negative_entropy as f32, information as f32]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Flex, assert_close, logits_strategy, tensor};
    use proptest::prelude::*;

    fn softmax(row: &[f32]) -> Vec<f64> {
        let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let exp: Vec<f64> = row.iter().map(|&z| (f64::from(z) - f64::from(max)).exp()).collect();
        let sum: f64 = exp.iter().sum();
        exp.into_iter().map(|e| e / sum).collect()
    }

    fn entropy(p: &[f64]) -> f64 {
        p.iter().filter(|&&p| p > 0.0).map(|p| -p * p.ln()).sum()
    }

    proptest! {
        #[test]
        fn both_routes_follow_the_formulas((rows, values) in logits_strategy(), n in 1usize..5) {
            let width = values.len() / rows;
            let members: Vec<Vec<f32>> = (0..n)
                .map(|s| values.iter().enumerate().map(|(i, z)| z * (1.0 - 0.2 * s as f32) + ((i * s) % 3) as f32).collect())
                .collect();
            let logits: Vec<_> = members.iter().map(|values| tensor::<Flex>(values, rows)).collect();
            let stats: Vec<_> = logits.iter().map(SoftmaxStats::unchecked).collect();
            let pairs: Vec<_> = logits.iter().zip(&stats).collect();
            let expected: Vec<(f64, f64)> = (0..rows).map(|row| {
                let p: Vec<_> = members.iter().map(|values| softmax(&values[row * width..(row + 1) * width])).collect();
                let mean: Vec<f64> = (0..width).map(|i| p.iter().map(|p| p[i]).sum::<f64>() / n as f64).collect();
                let within = p.iter().map(|p| entropy(p)).sum::<f64>() / n as f64;
                (entropy(&mean), entropy(&mean) - within)
            }).collect();
            let host: Vec<_> = pairs.iter().map(|(z, stats)| (HostRows::of(z).unwrap(), stats.on_host().unwrap())).collect();
            for result in [fused(&host, &logits[0]), composed(&pairs)] {
                assert_close(&result.entropy, &expected.iter().map(|e| e.0).collect::<Vec<_>>(), 5e-6);
                assert_close(&result.mutual_information, &expected.iter().map(|e| e.1).collect::<Vec<_>>(), 5e-6);
            }
        }
    }
}
