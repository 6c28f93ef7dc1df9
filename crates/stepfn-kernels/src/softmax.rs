//! Statistics of a softmax: what almost every step function is made of.
//!
//! With `m = max z` and `N = ln Σ exp(zᵢ − m)`: `ln pᵢ = (zᵢ − m) − N` and the entropy is `H = N − Σ pᵢ (zᵢ − m)`. Shifting by the
//! maximum first keeps every term exact at logits of any size, where `ln Σ exp z` itself would lose digits.

use burn::tensor::{DType, Tensor, backend::Backend};

use crate::host::{self, HostRows, RowKernel};
use crate::lanes;

/// Maximum, log-normalizer and entropy of every row of logits.
#[derive(Debug, Clone)]
pub struct SoftmaxStats<B: Backend> {
    /// `m = max z`, `[rows, 1]`; a constant to automatic differentiation.
    pub max: Tensor<B, 2>,
    /// `N = ln Σ exp(zᵢ − m)`, `[rows, 1]`, in `[0, ln V]`.
    pub log_norm: Tensor<B, 2>,
    /// `H = −Σ pᵢ ln pᵢ` in nats, `[rows, 1]`, where the pass that made the others made it too.
    entropy: Option<Tensor<B, 2>>,
}

/// A row of logits holds NaN or ±∞.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NonFinite {
    /// The first such row.
    pub row: usize,
}

impl<B: Backend> SoftmaxStats<B> {
    /// The statistics of every row of `logits`, whatever is in them.
    ///
    /// # Shapes
    /// - `logits`: `[rows, vocab]`, `f32` or `f64`
    pub fn unchecked(logits: &Tensor<B, 2>) -> Self {
        match HostRows::of(logits) {
            Some(rows) => fused(&rows, logits).0,
            None => composed(logits),
        }
    }

    /// The statistics of every row of `logits`, after making sure that these are finite. On a GPU this waits for the device.
    ///
    /// # Shapes
    /// - `logits`: `[rows, vocab]`, `f32` or `f64`
    ///
    /// # Errors
    /// [`NonFinite`] with the first row that holds NaN or ±∞.
    pub fn checked(logits: &Tensor<B, 2>) -> Result<Self, NonFinite> {
        let (stats, non_finite) = match HostRows::of(logits) {
            Some(rows) => fused(&rows, logits),
            None => (composed(logits), first_non_finite(logits)),
        };
        match non_finite {
            Some(row) => Err(NonFinite { row }),
            None => Ok(stats),
        }
    }

    /// The statistics of some of the rows.
    pub fn rows(&self, rows: core::ops::Range<usize>) -> Self {
        let part = |column: &Tensor<B, 2>| column.clone().slice([rows.clone()]);
        Self { max: part(&self.max), log_norm: part(&self.log_norm), entropy: self.entropy.as_ref().map(part) }
    }

    /// `ln p` of every token.
    ///
    /// # Shapes
    /// - `logits`: `[rows, vocab]`, those that the statistics were made of
    /// - result: `[rows, vocab]`
    pub fn log_probs(&self, logits: &Tensor<B, 2>) -> Tensor<B, 2> {
        logits.clone() - self.max.clone() - self.log_norm.clone()
    }

    /// The entropy `H = −Σ pᵢ ln pᵢ` of every row, in nats.
    ///
    /// # Shapes
    /// - `logits`: `[rows, vocab]`, those that the statistics were made of
    /// - result: `[rows, 1]`
    pub fn entropy(&self, logits: &Tensor<B, 2>) -> Tensor<B, 2> {
        match &self.entropy {
            Some(entropy) => entropy.clone(),
            None => {
                let log_probs = self.log_probs(logits);
                (log_probs.clone().exp() * log_probs).sum_dim(1).neg()
            }
        }
    }

    /// Maximum and log-normalizer of every row, where a fused loop can read them.
    pub(crate) fn on_host(&self) -> Option<Vec<HostStats>> {
        let max = host::column_values(&self.max)?;
        let log_norm = host::column_values(&self.log_norm)?;
        Some(max.into_iter().zip(log_norm).map(|(max, log_norm)| HostStats { max, log_norm }).collect())
    }
}

/// [`SoftmaxStats`] of one row in host memory.
#[derive(Clone, Copy)]
pub(crate) struct HostStats {
    pub(crate) max: f32,
    pub(crate) log_norm: f32,
}

impl HostStats {
    /// `ln p` of a token with logit `z`.
    #[inline(always)]
    pub(crate) fn log_prob(self, z: f32) -> f32 {
        (z - self.max) - self.log_norm
    }
}

fn composed<B: Backend>(logits: &Tensor<B, 2>) -> SoftmaxStats<B> {
    let max = logits.clone().detach().max_dim(1);
    let log_norm = (logits.clone() - max.clone()).exp().sum_dim(1).log();
    SoftmaxStats { max, log_norm, entropy: None }
}

fn first_non_finite<B: Backend>(logits: &Tensor<B, 2>) -> Option<usize> {
    // Comparing bounds instead of asking `is_finite` keeps the check right on GPUs whose compilers assume away NaN tests:
    // the comparison itself is false for NaN.
    let largest = match logits.dtype() {
        DType::F64 => f64::MAX,
        _ => f64::from(f32::MAX),
    };
    let finite = logits.clone().abs().lower_equal_elem(largest).all_dim(1);
    finite.into_data().iter::<bool>().position(|finite| !finite)
}

/// The statistics, and the first row that is not finite.
fn fused<B: Backend>(rows: &HostRows, logits: &Tensor<B, 2>) -> (SoftmaxStats<B>, Option<usize>) {
    let [max, log_norm, entropy, finite] = host::map_rows(rows.len(), rows.width(), StatsKernel(rows));
    let non_finite = finite.iter().position(|&finite| finite == 0.0);
    let stats = SoftmaxStats {
        max: host::column(max, logits),
        log_norm: host::column(log_norm, logits),
        entropy: Some(host::column(entropy, logits)),
    };
    (stats, non_finite)
}

/// Maximum, log-normalizer, entropy, and 1 if the row is finite.
struct StatsKernel<'a>(&'a HostRows);

impl RowKernel<4> for StatsKernel<'_> {
    #[inline(always)]
    fn row(&self, index: usize) -> [f32; 4] {
        let row = self.0.row(index);
        let (max, finite) = lanes::max_and_finite(row);
        if !finite {
            return [f32::NAN, f32::NAN, f32::NAN, 0.0];
        }
        // The maximum contributes exactly 1; summed apart, it does not swallow what else there is: with E = Σ exp(zᵢ − m)
        // over all but one maximum, N = ln(1 + E) keeps its digits where p → 1.
        let [rest, weighted, maxima] = lanes::sums(row, |z| {
            let shifted = z - max;
            let exp = lanes::exp(shifted);
            let is_max = if shifted == 0.0 { 1.0 } else { 0.0 };
            [exp - is_max, exp * shifted, is_max]
        });
        let rest = rest + (maxima - 1.0);
        let log_norm = rest.ln_1p();
        let entropy = log_norm - weighted / (1.0 + rest);
        [max, log_norm as f32, entropy as f32, 1.0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Flex, assert_close, logits_strategy, tensor};
    use proptest::prelude::*;

    /// Straight from the formulas, in double precision.
    fn reference(row: &[f32]) -> [f64; 3] {
        let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let shifted = row.iter().map(|&z| f64::from(z) - f64::from(max));
        let log_norm = shifted.clone().map(f64::exp).sum::<f64>().ln();
        let entropy = shifted.map(|s| -(s - log_norm).exp() * (s - log_norm)).sum::<f64>();
        [f64::from(max), log_norm, entropy]
    }

    proptest! {
        #[test]
        fn both_routes_follow_the_formulas((rows, values) in logits_strategy()) {
            let logits = tensor::<Flex>(&values, rows);
            let rows = HostRows::of(&logits).expect("Flex tensors lie in host memory");
            let (fused, non_finite) = fused(&rows, &logits);
            prop_assert_eq!(non_finite, None);
            let composed = composed(&logits);
            let expected: Vec<_> = (0..rows.len()).map(|row| reference(rows.row(row))).collect();
            let column = |n: usize| expected.iter().map(|row| row[n]).collect::<Vec<_>>();
            for stats in [fused, composed] {
                assert_close(&stats.max, &column(0), 0.0);
                assert_close(&stats.log_norm, &column(1), 1e-6);
                assert_close(&stats.entropy(&logits), &column(2), 3e-6);
            }
        }
    }

    #[test]
    fn the_normalizer_keeps_its_digits_where_one_token_is_nearly_certain() {
        let logits = tensor::<Flex>(&[0.0, -20.0, -21.0], 1);
        let log_norm = SoftmaxStats::unchecked(&logits).log_norm.into_scalar();
        let expected = ((-20.0f64).exp() + (-21.0f64).exp()).ln_1p();
        assert!((f64::from(log_norm) / expected - 1.0).abs() < 1e-6, "{log_norm}");
    }

    #[test]
    fn the_first_row_that_is_not_finite_is_named_by_both_routes() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let logits = tensor::<Flex>(&[0.0, 1.0, f32::MAX, f32::MIN, 0.0, bad, bad, 2.0], 4);
            assert_eq!(SoftmaxStats::checked(&logits).map(|_| ()), Err(NonFinite { row: 2 }));
            assert_eq!(first_non_finite(&logits), Some(2));
        }
    }
}
