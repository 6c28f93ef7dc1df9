//! Kullback–Leibler divergence between two softmaxes, `Σ pᵢ (ln pᵢ − ln qᵢ)`, over all tokens or over those that are likely under `p`
//! (Kullback & Leibler 1951).
//!
//! Restricted to a set K of tokens and renormalized over it, with `P = Σ_K p` and `Q = Σ_K q`, the divergence is
//! `(Σ_K p (ln p − ln q)) / P − ln P + ln Q`: three sums, and no renormalized copy of either distribution. Tokens likely under `p` may be
//! nearly impossible under `q`, so Q is summed relative to its largest term.

use burn::tensor::{Tensor, backend::Backend};

use crate::host::{self, HostRows, RowKernel};
use crate::lanes;
use crate::softmax::{Softmax, times};

/// `KL(p‖q)` of every row, in nats, never negative.
///
/// With a `threshold`, both distributions are restricted to the tokens whose `p`-logit reaches it, and renormalized;
/// [`nucleus`](crate::nucleus) computes such thresholds.
///
/// # Shapes
/// - `threshold`: `[rows, 1]`
/// - result: `[rows, 1]`
pub fn kl_divergence<B: Backend>(p: &Softmax<B>, q: &Softmax<B>, threshold: Option<&Tensor<B, 2>>) -> Tensor<B, 2> {
    if let (Some(host_p), Some(host_q)) = (HostRows::of(p.logits()), HostRows::of(q.logits())) {
        let (rows, width) = (host_p.len(), 2 * host_p.width());
        match threshold.map(host::column_values) {
            None => {
                let [kl] = host::map_rows(rows, width, KlKernel { p: &host_p, q: &host_q });
                return host::column(kl, p.logits());
            }
            Some(Some(threshold)) => {
                let kernel = FilteredKlKernel { p: &host_p, q: &host_q, threshold: &threshold };
                let [kl] = host::map_rows(rows, width, kernel);
                return host::column(kl, p.logits());
            }
            Some(None) => {}
        }
    }
    composed(p, q, threshold)
}

fn composed<B: Backend>(p: &Softmax<B>, q: &Softmax<B>, threshold: Option<&Tensor<B, 2>>) -> Tensor<B, 2> {
    let (log_p, log_q) = (p.log_probs(), q.log_probs());
    let probs = log_p.clone().exp();
    let terms = probs.clone() * (log_p - log_q.clone());
    let kl = match threshold {
        None => terms.sum_dim(1),
        Some(threshold) => {
            let dropped = p.logits().clone().lower(threshold.clone());
            let kept = |x: Tensor<B, 2>| x.mask_fill(dropped.clone(), 0.0).sum_dim(1);
            let p_mass = kept(probs);
            let q_max = log_q.clone().detach().mask_fill(dropped.clone(), f32::MIN).max_dim(1);
            let log_q_mass = kept((log_q - q_max.clone()).clamp_max(0.0).exp()).log() + q_max;
            kept(terms) / p_mass.clone() - p_mass.log() + log_q_mass
        }
    };
    kl.clamp_min(0.0)
}

/// All tokens: `Σ w (a − b) / Σ w − ln Σ w + ln Σ v` with `a`, `b` the logits minus their maxima, `w = eᵃ`, `v = eᵇ`. Equal rows give
/// exactly 0.
struct KlKernel<'a> {
    p: &'a HostRows,
    q: &'a HostRows,
}

impl RowKernel<1> for KlKernel<'_> {
    #[inline(always)]
    fn row(&self, index: usize) -> [f32; 1] {
        let (p, q) = (self.p.row(index), self.q.row(index));
        let ((p_max, p_finite), (q_max, q_finite)) = (lanes::max_and_finite(p), lanes::max_and_finite(q));
        if !(p_finite && q_finite) {
            return [f32::NAN];
        }
        let [terms, p_mass, q_mass] = lanes::sums_of_pairs(p, q, |zp, zq| {
            let (a, b) = (zp - p_max, zq - q_max);
            let w = lanes::exp(a);
            [times(w, a - b), w, lanes::exp(b)]
        });
        let kl = terms / p_mass - p_mass.ln() + q_mass.ln();
        [not_negative(kl) as f32]
    }
}

/// The same over tokens whose `p`-logit reaches the threshold. The maximum of `q` is taken over the kept tokens.
struct FilteredKlKernel<'a> {
    p: &'a HostRows,
    q: &'a HostRows,
    threshold: &'a [f32],
}

impl RowKernel<1> for FilteredKlKernel<'_> {
    #[inline(always)]
    fn row(&self, index: usize) -> [f32; 1] {
        let (p, q, threshold) = (self.p.row(index), self.q.row(index), self.threshold[index]);
        let ((p_max, p_finite), (_, q_finite)) = (lanes::max_and_finite(p), lanes::max_and_finite(q));
        if !(p_finite && q_finite) {
            return [f32::NAN];
        }
        let q_max = lanes::max_of_pairs(p, q, |zp, zq| if zp >= threshold { zq } else { f32::NEG_INFINITY });
        let [terms, p_mass, q_mass] = lanes::sums_of_pairs(p, q, |zp, zq| {
            let keep = zp >= threshold;
            let (a, b) = (zp - p_max, if keep { zq - q_max } else { 0.0 });
            let w = if keep { lanes::exp(a) } else { 0.0 };
            [times(w, a - b), w, if keep { lanes::exp(b) } else { 0.0 }]
        });
        let kl = terms / p_mass - p_mass.ln() + q_mass.ln();
        [not_negative(kl) as f32]
    }
}

/// Clamps negative rounding errors to 0. NaN stays NaN.
#[inline(always)]
pub(crate) fn not_negative(x: f64) -> f64 {
    if x < 0.0 { 0.0 } else { x }
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
            let softmax = |values: &[f32]| Softmax::unchecked(tensor::<Flex>(values, rows));
            let (p, q) = (softmax(&values), softmax(&other));
            let width = values.len() / rows;
            // The threshold is the median of each row, so at least one token is kept.
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
            let fused = kl_divergence(&p, &q, threshold.as_ref());
            assert_close(&fused, &expected, 5e-6);
            assert_close(&composed(&p, &q, threshold.as_ref()), &expected, 5e-5);
        }
    }

    #[test]
    fn tokens_likely_only_under_p_are_compared_too() {
        let softmax = |values: &[f32]| Softmax::unchecked(tensor::<Flex>(values, 1));
        let (p, q) = (softmax(&[900.0, 899.0, 0.0]), softmax(&[0.0, 1.0, 900.0]));
        let threshold = tensor::<Flex>(&[899.0], 1);
        let expected = [reference(&[900.0, 899.0, 0.0], &[0.0, 1.0, 900.0], 899.0)];
        assert_close(&kl_divergence(&p, &q, Some(&threshold)), &expected, 1e-4);
        assert_close(&composed(&p, &q, Some(&threshold)), &expected, 1e-4);
    }
}
