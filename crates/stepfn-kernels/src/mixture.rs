//! An ensemble of softmaxes `p₁ … pₙ` with mean `m = (1/n) Σ pₛ`: how uncertain the mean is, and how much of that is disagreement.
//!
//! The mutual information between prediction and member, `H(m) − (1/n) Σ H(pₛ)`, is computed as `(1/n) Σ KL(pₛ‖m)`: subtracting two
//! entropies of size ln V would leave no digits when the members nearly agree. With two members it is the Jensen–Shannon divergence (Lin
//! 1991); over MC-dropout samples it is BALD (Houlsby et al. 2011).

use burn::tensor::{Tensor, backend::Backend};

use crate::divergence::not_negative;
use crate::host::{self, RowKernel};
use crate::lanes;
use crate::softmax::{HostSoftmax, Softmax, times};

/// The result of [`mixture`] for each row.
#[derive(Debug, Clone)]
pub struct Mixture<B: Backend> {
    /// Entropy of the mean prediction in nats, `[rows, 1]`.
    pub entropy: Tensor<B, 2>,
    /// Mutual information in nats, `[rows, 1]`, in `[0, ln n]`.
    pub mutual_information: Tensor<B, 2>,
}

/// Entropy of the mean, and mutual information, for an ensemble of at least one member.
///
/// # Shapes
/// - `members`: each `[rows, vocab]`
///
/// # Panics
/// If there are no members.
pub fn mixture<B: Backend>(members: &[&Softmax<B>]) -> Mixture<B> {
    match on_host(members) {
        Some(host) => {
            let [entropy, mutual_information] = fused::<B, true>(&host, members[0].logits());
            Mixture { entropy, mutual_information }
        }
        None => composed(members),
    }
}

/// Entropy of the mean for an ensemble of at least one member, `[rows, 1]`. Cheaper than [`mixture`] if nothing else is needed.
///
/// # Shapes
/// - `members`: each `[rows, vocab]`
///
/// # Panics
/// If there are no members.
pub fn mixture_entropy<B: Backend>(members: &[&Softmax<B>]) -> Tensor<B, 2> {
    match on_host(members) {
        Some(host) => {
            let [entropy, _] = fused::<B, false>(&host, members[0].logits());
            entropy
        }
        None => {
            let (mean, log_mean) = mean_of(&members.iter().map(|member| member.log_probs()).collect::<Vec<_>>());
            (mean * log_mean).sum_dim(1).neg()
        }
    }
}

fn on_host<B: Backend>(members: &[&Softmax<B>]) -> Option<Vec<HostSoftmax>> {
    members.iter().map(|member| member.on_host()).collect()
}

fn fused<B: Backend, const INFORMATION: bool>(members: &[HostSoftmax], like: &Tensor<B, 2>) -> [Tensor<B, 2>; 2] {
    let (rows, width) = (members[0].rows.len(), members[0].rows.width());
    let kernel = MixtureKernel::<INFORMATION> { members };
    host::map_rows(rows, width * members.len(), kernel).map(|column| host::column(column, like))
}

/// The mean of the members' probabilities, and its logarithm.
fn mean_of<B: Backend>(log_probs: &[Tensor<B, 2>]) -> (Tensor<B, 2>, Tensor<B, 2>) {
    let sum = log_probs.iter().map(|log_p| log_p.clone().exp()).reduce(|sum, p| sum + p);
    let mean = sum.expect("an ensemble has members").div_scalar(log_probs.len() as f64);
    // If the mean underflows to 0, so does every member, and the logarithm is multiplied by 0.
    let log_mean = mean.clone().clamp_min(f32::MIN_POSITIVE).log();
    (mean, log_mean)
}

fn composed<B: Backend>(members: &[&Softmax<B>]) -> Mixture<B> {
    let log_probs: Vec<_> = members.iter().map(|member| member.log_probs()).collect();
    let (mean, log_mean) = mean_of(&log_probs);
    let divergence = |log_p: Tensor<B, 2>| (log_p.clone().exp() * (log_p - log_mean.clone())).sum_dim(1);
    let divergences = log_probs.into_iter().map(divergence).reduce(|sum, kl| sum + kl);
    Mixture {
        entropy: (mean * log_mean).sum_dim(1).neg(),
        mutual_information: divergences
            .expect("an ensemble has members")
            .div_scalar(members.len() as f64)
            .clamp_min(0.0),
    }
}

/// Tokens per block: their probabilities under ten members fill the L1 cache.
const TOKENS: usize = 512;

/// Entropy, and mutual information if requested (otherwise 0).
struct MixtureKernel<'a, const INFORMATION: bool> {
    members: &'a [HostSoftmax],
}

impl<const INFORMATION: bool> RowKernel<2> for MixtureKernel<'_, INFORMATION> {
    #[inline(always)]
    fn row(&self, index: usize) -> [f32; 2] {
        if self.members.iter().any(|member| member.stats[index].log_norm.is_nan()) {
            return [f32::NAN; 2];
        }
        let share = 1.0 / self.members.len() as f32;
        let width = self.members[0].rows.width();
        let (mut negative_entropy, mut information) = (0.0, 0.0);
        let mut probs = vec![[0.0f32; TOKENS]; self.members.len()];
        for start in (0..width).step_by(TOKENS) {
            let tokens = start..(start + TOKENS).min(width);
            let mut means = [0.0f32; TOKENS];
            let means = &mut means[..tokens.len()];
            for (member, probs) in self.members.iter().zip(&mut probs) {
                let stats = member.stats[index];
                let logits = &member.rows.row(index)[tokens.clone()];
                for ((mean, prob), &z) in means.iter_mut().zip(probs).zip(logits) {
                    *prob = lanes::exp(stats.log_prob(z));
                    *mean += share * *prob;
                }
            }
            let mut log_means = [0.0f32; TOKENS];
            let log_means = &mut log_means[..tokens.len()];
            for (log_mean, &mean) in log_means.iter_mut().zip(means.iter()) {
                *log_mean = lanes::ln(mean);
            }
            let [terms] = lanes::sums_of_pairs(means, log_means, |mean, log_mean| [times(mean, log_mean)]);
            negative_entropy += terms;
            if !INFORMATION {
                continue;
            }
            for (member, probs) in self.members.iter().zip(&mut probs) {
                let stats = member.stats[index];
                let logits = &member.rows.row(index)[tokens.clone()];
                for ((prob, &z), &log_mean) in probs.iter_mut().zip(logits).zip(log_means.iter()) {
                    *prob = times(*prob, stats.log_prob(z) - log_mean);
                }
                let [terms] = lanes::sums(&probs[..tokens.len()], |term| [term]);
                information += terms;
            }
        }
        let information = not_negative(information * f64::from(share));
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
            let softmaxes: Vec<_> = members.iter().map(|values| Softmax::unchecked(tensor::<Flex>(values, rows))).collect();
            let expected: Vec<(f64, f64)> = (0..rows).map(|row| {
                let p: Vec<_> = members.iter().map(|values| softmax(&values[row * width..(row + 1) * width])).collect();
                let mean: Vec<f64> = (0..width).map(|i| p.iter().map(|p| p[i]).sum::<f64>() / n as f64).collect();
                let within = p.iter().map(|p| entropy(p)).sum::<f64>() / n as f64;
                (entropy(&mean), entropy(&mean) - within)
            }).collect();
            let softmaxes: Vec<_> = softmaxes.iter().collect();
            let entropies: Vec<f64> = expected.iter().map(|e| e.0).collect();
            assert_close(&mixture_entropy(&softmaxes), &entropies, 5e-6);
            for result in [mixture(&softmaxes), composed(&softmaxes)] {
                assert_close(&result.entropy, &entropies, 5e-6);
                assert_close(&result.mutual_information, &expected.iter().map(|e| e.1).collect::<Vec<_>>(), 5e-6);
            }
        }
    }
}
