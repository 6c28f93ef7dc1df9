//! Kullback–Leibler divergence between two softmaxes, `Σ pᵢ (ln pᵢ − ln qᵢ)`, over all tokens or over those that `p` finds likely
//! (Kullback & Leibler 1951).
//!
//! Restricted to a set K of tokens and renormalized over it, with `P = Σ_K p` and `Q = Σ_K q`, the divergence is
//! `(Σ_K p (ln p − ln q)) / P − ln P + ln Q`: three sums, and no renormalized copy of either distribution. What `p` finds likely
//! `q` may find impossible, so that Q is summed relative to its largest term.

use burn::tensor::{Tensor, backend::Backend};

use crate::host::{self, HostRows, RowKernel};
use crate::lanes;
use crate::softmax::{HostStats, SoftmaxStats};

/// `KL(p‖q)` of every row, in nats, never negative.
///
/// With `threshold`, both distributions are restricted to the tokens whose `p`-logit is at least that of their row, and
/// renormalized; [`nucleus`](crate::nucleus) finds such thresholds.
///
/// # Shapes
/// - `p_logits`, `q_logits`: `[rows, vocab]`, with their statistics
/// - `threshold`: `[rows, 1]`
/// - result: `[rows, 1]`
pub fn kl_divergence<B: Backend>(
    p_logits: &Tensor<B, 2>,
    p_stats: &SoftmaxStats<B>,
    q_logits: &Tensor<B, 2>,
    q_stats: &SoftmaxStats<B>,
    threshold: Option<&Tensor<B, 2>>,
) -> Tensor<B, 2> {
    if let (Some(p), Some(q)) = (HostRows::of(p_logits), HostRows::of(q_logits))
        && let (Some(p_stats), Some(q_stats)) = (p_stats.on_host(), q_stats.on_host())
    {
        let threshold = match threshold {
            Some(threshold) => host::column_values(threshold),
            None => Some(vec![f32::NEG_INFINITY; p.len()]),
        };
        if let Some(threshold) = threshold {
            let kernel = KlKernel { p: &p, q: &q, p_stats: &p_stats, q_stats: &q_stats, threshold: &threshold };
            let [kl] = host::map_rows(p.len(), 2 * p.width(), kernel);
            return host::column(kl, p_logits);
        }
    }
    composed(p_logits, p_stats, q_logits, q_stats, threshold)
}

fn composed<B: Backend>(
    p_logits: &Tensor<B, 2>,
    p_stats: &SoftmaxStats<B>,
    q_logits: &Tensor<B, 2>,
    q_stats: &SoftmaxStats<B>,
    threshold: Option<&Tensor<B, 2>>,
) -> Tensor<B, 2> {
    let log_p = p_stats.log_probs(p_logits);
    let log_q = q_stats.log_probs(q_logits);
    let p = log_p.clone().exp();
    let terms = p.clone() * (log_p - log_q.clone());
    let kl = match threshold {
        None => terms.sum_dim(1),
        Some(threshold) => {
            let dropped = p_logits.clone().lower(threshold.clone());
            let kept = |x: Tensor<B, 2>| x.mask_fill(dropped.clone(), 0.0).sum_dim(1);
            let p_mass = kept(p);
            let q_max = log_q.clone().detach().mask_fill(dropped.clone(), f32::MIN).max_dim(1);
            let log_q_mass = kept((log_q - q_max.clone()).clamp_max(0.0).exp()).log() + q_max;
            kept(terms) / p_mass.clone() - p_mass.log() + log_q_mass
        }
    };
    kl.clamp_min(0.0)
}

struct KlKernel<'a> {
    p: &'a HostRows,
    q: &'a HostRows,
    p_stats: &'a [HostStats],
    q_stats: &'a [HostStats],
    threshold: &'a [f32],
}

impl RowKernel<1> for KlKernel<'_> {
    #[inline(always)]
    fn row(&self, index: usize) -> [f32; 1] {
        let (p_stats, q_stats) = (self.p_stats[index], self.q_stats[index]);
        let threshold = self.threshold[index];
        let (p, q) = (self.p.row(index), self.q.row(index));
        let q_max = if threshold == f32::NEG_INFINITY {
            q_stats.max
        } else {
            lanes::max_of_pairs(p, q, |zp, zq| if zp >= threshold { zq } else { f32::NEG_INFINITY })
        };
        // Both masses relative to their largest term (that of p is always kept): equal rows give exactly 0.
        let [terms, p_mass, q_mass] = lanes::sums_of_pairs(p, q, |zp, zq| {
            let keep = if zp >= threshold { 1.0 } else { 0.0 };
            let p = keep * lanes::exp(zp - p_stats.max);
            [p * (p_stats.log_prob(zp) - q_stats.log_prob(zq)), p, keep * lanes::exp(zq - q_max)]
        });
        let log_p_mass = p_mass.ln() - f64::from(p_stats.log_norm);
        let log_q_mass = q_mass.ln() + f64::from(q_stats.log_prob(q_max));
        let kl = terms / p_mass - log_p_mass + log_q_mass;
        [kl.max(0.0) as f32]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Flex, assert_close, logits_strategy, tensor};
    use proptest::prelude::*;

    fn reference(p: &[f32], q: &[f32], threshold: f32) -> f64 {
        let kept: Vec<usize> = (0..p.len()).filter(|&i| p[i] >= threshold).collect();
        let log_softmax = |row: &[f32]| {
            let kept: Vec<f64> = kept.iter().map(|&i| f64::from(row[i])).collect();
            let max = kept.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let log_norm = kept.iter().map(|z| (z - max).exp()).sum::<f64>().ln();
            kept.into_iter().map(|z| z - max - log_norm).collect::<Vec<_>>()
        };
        let (log_p, log_q) = (log_softmax(p), log_softmax(q));
        log_p.iter().zip(&log_q).map(|(p, q)| p.exp() * (p - q)).sum()
    }

    proptest! {
        #[test]
        fn both_routes_follow_the_formula((rows, values) in logits_strategy(), shift in 0.0f32..3.0, filtered: bool) {
            let other: Vec<f32> = values.iter().enumerate().map(|(i, z)| z * 0.5 + shift * (i % 7) as f32).collect();
            let (p, q) = (tensor::<Flex>(&values, rows), tensor::<Flex>(&other, rows));
            let (p_stats, q_stats) = (SoftmaxStats::unchecked(&p), SoftmaxStats::unchecked(&q));
            let width = values.len() / rows;
            // The median of each row: the filter always keeps something.
            let thresholds: Vec<f32> = values.chunks(width).map(|row| {
                let mut row = row.to_vec();
                row.sort_by(f32::total_cmp);
                row[width / 2]
            }).collect();
            let threshold = filtered.then(|| tensor::<Flex>(&thresholds, rows));
            let expected: Vec<f64> = (0..rows).map(|row| {
                let at = row * width..(row + 1) * width;
                reference(&values[at.clone()], &other[at], if filtered { thresholds[row] } else { f32::MIN })
            }).collect();
            let fused = kl_divergence(&p, &p_stats, &q, &q_stats, threshold.as_ref());
            assert_close(&fused, &expected, 5e-6);
            assert_close(&composed(&p, &p_stats, &q, &q_stats, threshold.as_ref()), &expected, 5e-5);
        }
    }

    #[test]
    fn tokens_that_only_the_first_finds_likely_are_compared_too() {
        let (p, q) = (tensor::<Flex>(&[900.0, 899.0, 0.0], 1), tensor::<Flex>(&[0.0, 1.0, 900.0], 1));
        let (p_stats, q_stats) = (SoftmaxStats::unchecked(&p), SoftmaxStats::unchecked(&q));
        let threshold = tensor::<Flex>(&[899.0], 1);
        let expected = [reference(&[900.0, 899.0, 0.0], &[0.0, 1.0, 900.0], 899.0)];
        assert_close(&kl_divergence(&p, &p_stats, &q, &q_stats, Some(&threshold)), &expected, 1e-4);
        assert_close(&composed(&p, &p_stats, &q, &q_stats, Some(&threshold)), &expected, 1e-4);
    }
}
