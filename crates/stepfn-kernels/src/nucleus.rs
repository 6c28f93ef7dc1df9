//! The nucleus: the smallest set of most likely tokens that holds a given share of the probability (Holtzman et al. 2020).
//!
//! On the CPU, only about as many tokens are sorted as the nucleus has: the 64 most likely are selected in linear time, then larger and
//! larger batches until their mass suffices.

use burn::tensor::{Tensor, backend::Backend};

use crate::host::{self, RowKernel};
use crate::softmax::{HostSoftmax, Softmax};

/// Which tokens count as likely.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Likely {
    /// Smallest share of the probability that the set must hold, in `(0, 1]`; at 1 it holds every token.
    pub top_p: f64,
    /// Largest number of tokens in the set; `None` sets no limit.
    pub top_k: Option<usize>,
    /// Smallest number of tokens in the set (or the whole vocabulary, if smaller). Overrides the other two.
    pub min_tokens: usize,
}

/// The result of [`nucleus`] for each row.
#[derive(Debug, Clone)]
pub struct Nucleus<B: Backend> {
    /// Number of tokens in the set, `[rows, 1]`.
    pub size: Tensor<B, 2>,
    /// Logit of the least likely token of the set, `[rows, 1]`: `logits ≥ threshold` selects the set, plus any ties with its last token.
    pub threshold: Tensor<B, 2>,
}

/// The smallest sets of most likely tokens that satisfy `likely`. Not differentiable.
pub fn nucleus<B: Backend>(softmax: &Softmax<B>, likely: Likely) -> Nucleus<B> {
    match softmax.on_host() {
        Some(host) => {
            let (rows, width) = (host.rows.len(), host.rows.width());
            let [size, threshold] = host::map_rows(rows, width, NucleusKernel { softmax: &host, likely });
            let like = softmax.logits();
            Nucleus { size: host::column(size, like), threshold: host::column(threshold, like) }
        }
        None => composed(softmax, likely),
    }
}

impl Likely {
    /// Bounds on the number of tokens among `vocab`, whatever their probabilities.
    fn bounds(self, vocab: usize) -> (usize, usize) {
        let least = self.min_tokens.clamp(1, vocab);
        let most = self.top_k.unwrap_or(vocab).clamp(least, vocab);
        (least, most)
    }
}

fn composed<B: Backend>(softmax: &Softmax<B>, likely: Likely) -> Nucleus<B> {
    let logits = softmax.logits().clone().detach();
    let [_, vocab] = logits.dims();
    let (least, most) = likely.bounds(vocab);
    let sorted = logits.clone().sort_descending(1);
    // A token belongs to the set if the tokens before it do not reach `top_p`.
    let lacking = if likely.top_p >= 1.0 {
        sorted.clone().equal(sorted.clone())
    } else {
        let stats = softmax.stats();
        let probs = (sorted.clone() - stats.max.clone().detach() - stats.log_norm.clone().detach()).exp();
        running_mass(probs).lower_elem(likely.top_p)
    };
    let bounded = (least as i64, most as i64);
    let index = (lacking.clone().int().sum_dim(1) + 1).clamp(bounded.0, bounded.1) - 1;
    // Counted in the type of the logits: an integer count would be converted to the backend's default float type, which may be a half.
    let size = sorted.zeros_like().mask_fill(lacking, 1.0).sum_dim(1).add_scalar(1).clamp(bounded.0, bounded.1);
    Nucleus { size, threshold: sorted.gather(1, index) }
}

/// Running sums of each row, in blocks: a single running sum in single precision would lose one token in a thousand over a large
/// vocabulary.
fn running_mass<B: Backend>(probs: Tensor<B, 2>) -> Tensor<B, 2> {
    /// About the square root of a large vocabulary.
    const BLOCK: usize = 512;
    let [rows, vocab] = probs.dims();
    if vocab <= BLOCK {
        return probs.cumsum(1);
    }
    let blocks = vocab.div_ceil(BLOCK);
    let padding = Tensor::zeros([rows, blocks * BLOCK - vocab], (&probs.device(), probs.dtype()));
    let padded = if blocks * BLOCK == vocab { probs } else { Tensor::cat(vec![probs, padding], 1) };
    let within: Tensor<B, 3> = padded.reshape([rows, blocks, BLOCK]).cumsum(2);
    let totals = within.clone().slice([0..rows, 0..blocks, BLOCK - 1..BLOCK]);
    let before = totals.clone().cumsum(1) - totals;
    (within + before).reshape([rows, blocks * BLOCK]).slice([0..rows, 0..vocab])
}

struct NucleusKernel<'a> {
    softmax: &'a HostSoftmax,
    likely: Likely,
}

impl RowKernel<2> for NucleusKernel<'_> {
    #[inline(always)]
    fn row(&self, index: usize) -> [f32; 2] {
        let stats = self.softmax.stats[index];
        if stats.log_norm.is_nan() {
            return [f32::NAN; 2];
        }
        let mut tokens = self.softmax.rows.row(index).to_vec();
        let (least, most) = self.likely.bounds(tokens.len());
        let descending = |a: &f32, b: &f32| b.total_cmp(a);
        if self.likely.top_p >= 1.0 {
            let (_, threshold, _) = tokens.select_nth_unstable_by(most - 1, descending);
            return [most as f32, *threshold];
        }
        let (mut size, mut mass, mut batch) = (0, 0.0, 64);
        let mut rest = &mut tokens[..];
        loop {
            let batch_len = batch.min(rest.len());
            if batch_len < rest.len() {
                rest.select_nth_unstable_by(batch_len, descending);
            }
            let (likeliest, others) = rest.split_at_mut(batch_len);
            likeliest.sort_unstable_by(descending);
            for &z in likeliest.iter() {
                size += 1;
                mass += f64::from(stats.log_prob(z)).exp();
                let enough = mass >= self.likely.top_p && size >= least;
                if enough || size == most {
                    return [size as f32, z];
                }
            }
            rest = others;
            batch *= 8;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Flex, logits_strategy, tensor, values};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn both_routes_find_the_smallest_set(
            (rows, logits) in logits_strategy(),
            top_p in 0.01f64..0.99,
            top_k in prop::option::of(1usize..300),
            min_tokens in 1usize..5,
        ) {
            let likely = Likely { top_p, top_k, min_tokens };
            let width = logits.len() / rows;
            let softmax = Softmax::unchecked(tensor::<Flex>(&logits, rows));
            for result in [nucleus(&softmax, likely), composed(&softmax, likely)] {
                let (sizes, thresholds) = (values(&result.size), values(&result.threshold));
                for (row, (size, threshold)) in logits.chunks(width).zip(sizes.into_iter().zip(thresholds)) {
                    let size = size as usize;
                    let mut sorted: Vec<f64> = row.iter().map(|&z| f64::from(z)).collect();
                    sorted.sort_by(|a, b| b.total_cmp(a));
                    prop_assert_eq!(threshold, sorted[size - 1]);
                    let total: f64 = sorted.iter().map(|z| (z - sorted[0]).exp()).sum();
                    let mass = |n: usize| sorted[..n].iter().map(|z| (z - sorted[0]).exp() / total).sum::<f64>();
                    let (least, most) = likely.bounds(width);
                    prop_assert!((least..=most).contains(&size));
                    // Rounding may decide between two sizes that tie, but no more than that.
                    prop_assert!(size == most || mass(size) >= top_p - 1e-5);
                    prop_assert!(size == least || mass(size - 1) < top_p + 1e-5);
                }
            }
        }

        #[test]
        fn a_top_p_of_one_keeps_every_token_up_to_top_k((rows, logits) in logits_strategy(), top_k in prop::option::of(1usize..300)) {
            let likely = Likely { top_p: 1.0, top_k, min_tokens: 1 };
            let width = logits.len() / rows;
            let softmax = Softmax::unchecked(tensor::<Flex>(&logits, rows));
            let expected = vec![top_k.unwrap_or(width).min(width) as f64; rows];
            prop_assert_eq!(values(&nucleus(&softmax, likely).size), expected.clone());
            prop_assert_eq!(values(&composed(&softmax, likely).size), expected);
        }
    }
}
