//! The baseline: a trigram model with interpolated Kneser–Ney smoothing (Kneser & Ney 1995; Chen & Goodman 1999) and one discount per
//! order.
//!
//! `p(w | h) = max(c(h w) − D, 0) / c(h) + D · n(h) / c(h) · p(w | h')`, where `n(h)` is the number of distinct tokens that follow `h`, and
//! `h'` is `h` without its first token. Below the highest order, `c` counts distinct preceding tokens instead of occurrences.
//! `D = n₁ / (n₁ + 2 n₂)`, from the counts of the order.

use std::collections::{HashMap, HashSet};

/// Counts of one order.
#[derive(Default)]
struct Order {
    /// By history and token.
    counts: HashMap<(Vec<u32>, u32), u32>,
    /// By history: sum of counts, and number of distinct tokens.
    histories: HashMap<Vec<u32>, (u32, u32)>,
    discount: f64,
}

/// The model.
pub(crate) struct Trigram {
    /// Unigrams, bigrams, trigrams.
    orders: [Order; 3],
    vocab_size: usize,
}

impl Trigram {
    /// Learns from texts.
    pub(crate) fn new<'a>(texts: impl Iterator<Item = &'a [u32]>, vocab_size: usize) -> Self {
        let mut orders: [Order; 3] = Default::default();
        let mut seen: [HashSet<Vec<u32>>; 2] = Default::default();
        for text in texts {
            for (end, &token) in text.iter().enumerate() {
                let history = |len: usize| text[end.saturating_sub(len)..end].to_vec();
                *orders[2].counts.entry((history(2), token)).or_default() += 1;
                // A token at the start has no predecessor, which counts as one context.
                for lower in [1, 0] {
                    if seen[lower].insert([history(lower + 1), vec![token]].concat()) {
                        *orders[lower].counts.entry((history(lower), token)).or_default() += 1;
                    }
                }
            }
        }
        for order in &mut orders {
            let with = |count: u32| order.counts.values().filter(|&&found| found == count).count() as f64;
            let (once, twice) = (with(1), with(2));
            order.discount = if once + twice > 0.0 { once / (once + 2.0 * twice) } else { 0.5 };
            for ((history, _), count) in &order.counts {
                let (sum, different) = order.histories.entry(history.clone()).or_default();
                *sum += count;
                *different += 1;
            }
        }
        Self { orders, vocab_size }
    }

    /// The probability of `token` after a text.
    pub(crate) fn probability(&self, before: &[u32], token: u32) -> f64 {
        let mut probability = 1.0 / self.vocab_size as f64;
        for (len, order) in self.orders.iter().enumerate() {
            let history = before[before.len().saturating_sub(len)..].to_vec();
            let Some(&(sum, different)) = order.histories.get(&history) else { continue };
            let count = f64::from(order.counts.get(&(history, token)).copied().unwrap_or(0));
            let (sum, different) = (f64::from(sum), f64::from(different));
            probability = (count - order.discount).max(0.0) / sum + order.discount * different / sum * probability;
        }
        probability
    }

    /// Mean surprisal (nats) of the tokens of texts.
    pub(crate) fn mean_surprisal<'a>(&self, texts: impl Iterator<Item = &'a [u32]>) -> f64 {
        let (mut sum, mut count) = (0.0, 0usize);
        for text in texts {
            for (end, &token) in text.iter().enumerate() {
                sum -= self.probability(&text[..end], token).ln();
                count += 1;
            }
        }
        sum / count as f64
    }
}
