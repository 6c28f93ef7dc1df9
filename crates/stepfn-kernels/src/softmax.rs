//! The softmax of rows of logits, which almost every step function needs.
//!
//! With `m = max z` and `N = ln Σ exp(zᵢ − m)`: `ln pᵢ = (zᵢ − m) − N` and the entropy is `H = N − Σ pᵢ (zᵢ − m)`. Subtracting the maximum
//! first keeps every term accurate for logits of any size, where `ln Σ exp z` itself would lose digits.

use std::sync::OnceLock;

use burn::tensor::{DType, IndexingUpdateOp, Int, Tensor, backend::Backend};

use crate::host::{self, BlockKernel, HostRows, RowKernel};
use crate::lanes;

/// Rows of logits and the statistics of their softmax. Each statistic is computed once, on first use, in as few passes as possible.
#[derive(Debug)]
pub struct Softmax<B: Backend> {
    logits: Tensor<B, 2>,
    stats: OnceLock<SoftmaxStats<B>>,
    entropy: OnceLock<Tensor<B, 2>>,
}

/// The statistics that turn logits into log-probabilities.
#[derive(Debug, Clone)]
pub struct SoftmaxStats<B: Backend> {
    /// `m = max z`, `[rows, 1]`; a constant for automatic differentiation.
    pub max: Tensor<B, 2>,
    /// `N = ln Σ exp(zᵢ − m)`, `[rows, 1]`, in `[0, ln V]`.
    pub log_norm: Tensor<B, 2>,
}

/// A row of logits contains NaN or ±∞.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NonFinite {
    /// The first such row.
    pub row: usize,
}

impl<B: Backend> Softmax<B> {
    /// The softmax of every row of `logits`, without checking that they are finite.
    ///
    /// # Shapes
    /// - `logits`: `[rows, vocab]`, `f32` or `f64`
    pub fn unchecked(logits: Tensor<B, 2>) -> Self {
        Self { logits, stats: OnceLock::new(), entropy: OnceLock::new() }
    }

    /// The softmax of every row of `logits`, after checking that they are finite. On a GPU this waits for the device.
    ///
    /// # Shapes
    /// - `logits`: `[rows, vocab]`, `f32` or `f64`
    ///
    /// # Errors
    /// [`NonFinite`] with the first row that contains NaN or ±∞.
    pub fn checked(logits: Tensor<B, 2>) -> Result<Self, NonFinite> {
        let softmax = Self::unchecked(logits);
        let non_finite = match HostRows::of(&softmax.logits) {
            Some(rows) => {
                let (stats, entropy, non_finite) = fused_with_entropy(&rows, &softmax.logits);
                softmax.stats.get_or_init(|| stats);
                softmax.entropy.get_or_init(|| entropy);
                non_finite
            }
            None => first_non_finite(&softmax.logits),
        };
        match non_finite {
            Some(row) => Err(NonFinite { row }),
            None => Ok(softmax),
        }
    }

    /// The logits, `[rows, vocab]`.
    pub fn logits(&self) -> &Tensor<B, 2> {
        &self.logits
    }

    /// Maximum and log-normalizer of every row.
    pub fn stats(&self) -> &SoftmaxStats<B> {
        self.stats.get_or_init(|| match HostRows::of(&self.logits) {
            Some(rows) => fused(&rows, &self.logits),
            None => composed(&self.logits),
        })
    }

    /// `ln p` of every token, `[rows, vocab]`.
    pub fn log_probs(&self) -> Tensor<B, 2> {
        let stats = self.stats();
        self.logits.clone() - stats.max.clone() - stats.log_norm.clone()
    }

    /// The entropy `H = −Σ pᵢ ln pᵢ` of every row in nats, `[rows, 1]`.
    pub fn entropy(&self) -> &Tensor<B, 2> {
        self.entropy.get_or_init(|| match HostRows::of(&self.logits) {
            Some(rows) => {
                let (stats, entropy, _) = fused_with_entropy(&rows, &self.logits);
                self.stats.get_or_init(|| stats);
                entropy
            }
            None => {
                let log_probs = self.log_probs();
                (log_probs.clone().exp() * log_probs).sum_dim(1).neg()
            }
        })
    }

    /// The gradient of `Σ w ln p_y` with respect to the logits, `w (δᵢy − pᵢ)`.
    ///
    /// # Shapes
    /// - `targets`: `[rows]`, `y` of each row
    /// - `weights`: `[rows, 1]`, `w` of each row
    /// - result: `[rows, vocab]`
    ///
    /// # Panics
    /// If a target is not a token of the vocabulary.
    pub fn log_prob_gradient(&self, targets: Tensor<B, 1, Int>, weights: Tensor<B, 2>) -> Tensor<B, 2> {
        let on_host = host::column_values(&weights).zip(self.on_host());
        if let Some((weights, HostSoftmax { stats, .. })) = on_host {
            let width = self.logits.dims()[1];
            let targets = targets.clone().into_data().iter::<i64>().map(|target| target as usize).collect();
            let kernel = GradientKernel { stats, targets, weights, width };
            if let Ok(gradient) = host::transform(self.logits.clone(), &kernel) {
                return gradient;
            }
        }
        let rest = self.log_probs().exp() * weights.clone().neg();
        rest.scatter(1, targets.unsqueeze_dim(1), weights, IndexingUpdateOp::Add)
    }

    /// The given rows, in the given order, keeping statistics already computed.
    ///
    /// # Shapes
    /// - `indices`: `[n]`; the result has n rows
    pub fn select(&self, indices: &Tensor<B, 1, Int>) -> Self {
        self.parts(|tensor| tensor.clone().select(0, indices.clone()))
    }

    /// A range of rows, keeping statistics already computed.
    pub fn rows(&self, rows: core::ops::Range<usize>) -> Self {
        self.parts(|tensor| tensor.clone().slice(rows.clone()))
    }

    fn parts(&self, part: impl Fn(&Tensor<B, 2>) -> Tensor<B, 2>) -> Self {
        let stats = self.stats.get();
        let stats = stats.map(|stats| SoftmaxStats { max: part(&stats.max), log_norm: part(&stats.log_norm) });
        Self {
            logits: part(&self.logits),
            stats: stats.map_or_else(OnceLock::new, OnceLock::from),
            entropy: self.entropy.get().map(part).map_or_else(OnceLock::new, OnceLock::from),
        }
    }

    /// The rows and their statistics, if fused loops can read them.
    pub(crate) fn on_host(&self) -> Option<HostSoftmax> {
        let rows = HostRows::of(&self.logits)?;
        let stats = self.stats();
        let max = host::column_values(&stats.max)?;
        let log_norm = host::column_values(&stats.log_norm)?;
        let stats = max.into_iter().zip(log_norm).map(|(max, log_norm)| HostStats { max, log_norm }).collect();
        Some(HostSoftmax { rows, stats })
    }
}

/// [`Softmax`] in host memory.
pub(crate) struct HostSoftmax {
    pub(crate) rows: HostRows,
    pub(crate) stats: Vec<HostStats>,
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
    SoftmaxStats { max, log_norm }
}

fn first_non_finite<B: Backend>(logits: &Tensor<B, 2>) -> Option<usize> {
    // Comparing with bounds instead of calling `is_finite` works even on GPUs whose compilers assume that there is no NaN: a comparison
    // with NaN is false.
    let largest = match logits.dtype() {
        DType::F64 => f64::MAX,
        _ => f64::from(f32::MAX),
    };
    let finite = logits.clone().abs().lower_equal_elem(largest).all_dim(1);
    finite.into_data().iter::<bool>().position(|finite| !finite)
}

fn fused<B: Backend>(rows: &HostRows, logits: &Tensor<B, 2>) -> SoftmaxStats<B> {
    let [max, log_norm] = host::map_rows(rows.len(), rows.width(), StatsKernel(rows));
    SoftmaxStats { max: host::column(max, logits), log_norm: host::column(log_norm, logits) }
}

/// The statistics, the entropy, and the first row that is not finite.
fn fused_with_entropy<B: Backend>(
    rows: &HostRows,
    logits: &Tensor<B, 2>,
) -> (SoftmaxStats<B>, Tensor<B, 2>, Option<usize>) {
    let [max, log_norm, entropy, finite] = host::map_rows(rows.len(), rows.width(), EntropyKernel(rows));
    let non_finite = finite.iter().position(|&finite| finite == 0.0);
    let stats = SoftmaxStats { max: host::column(max, logits), log_norm: host::column(log_norm, logits) };
    (stats, host::column(entropy, logits), non_finite)
}

/// Maximum and log-normalizer; NaN for a row that is not finite.
struct StatsKernel<'a>(&'a HostRows);

impl RowKernel<2> for StatsKernel<'_> {
    #[inline(always)]
    fn row(&self, index: usize) -> [f32; 2] {
        let row = self.0.row(index);
        let (max, finite) = lanes::max_and_finite(row);
        if !finite {
            return [f32::NAN; 2];
        }
        let [rest] = lanes::sums(row, |z| [without_maximum(z - max)]);
        [max, (rest + other_maxima(row, max)).ln_1p() as f32]
    }
}

/// Maximum, log-normalizer, entropy, and 1 if the row is finite.
struct EntropyKernel<'a>(&'a HostRows);

impl RowKernel<4> for EntropyKernel<'_> {
    #[inline(always)]
    fn row(&self, index: usize) -> [f32; 4] {
        let row = self.0.row(index);
        let (max, finite) = lanes::max_and_finite(row);
        if !finite {
            return [f32::NAN, f32::NAN, f32::NAN, 0.0];
        }
        let [rest, weighted] = lanes::sums(row, |z| {
            let shifted = z - max;
            let exp = without_maximum(shifted);
            [exp, times(exp, shifted)]
        });
        let rest = rest + other_maxima(row, max);
        let log_norm = rest.ln_1p();
        let entropy = log_norm - weighted / (1.0 + rest);
        [max, log_norm as f32, entropy as f32, 1.0]
    }
}

/// Logits to `w (δᵢy − pᵢ)`.
struct GradientKernel {
    stats: Vec<HostStats>,
    targets: Vec<usize>,
    weights: Vec<f32>,
    width: usize,
}

impl BlockKernel for GradientKernel {
    #[inline(always)]
    fn rows(&self, first: usize, rows: &mut [f32]) {
        for (index, row) in rows.chunks_exact_mut(self.width).enumerate() {
            let at = first + index;
            let (stats, target, weight) = (self.stats[at], self.targets[at], self.weights[at]);
            // `1 − p` keeps its digits as p → 1.
            let of_target = -weight * f64::from(stats.log_prob(row[target])).exp_m1() as f32;
            row.iter_mut().for_each(|z| *z = -weight * lanes::exp(stats.log_prob(*z)));
            row[target] = of_target;
        }
    }
}

/// `exp(z − m)`, but 0 for the maximum itself, whose term is exactly 1. Adding that 1 last preserves the small terms: with E the sum over
/// all but one maximum, `N = ln(1 + E)` keeps its digits as p → 1.
#[inline(always)]
fn without_maximum(shifted: f32) -> f32 {
    if shifted < 0.0 { lanes::exp(shifted) } else { 0.0 }
}

/// `weight · x`, or 0 if the weight is 0, even for infinite x.
#[inline(always)]
pub(crate) fn times(weight: f32, x: f32) -> f32 {
    if weight > 0.0 { weight * x } else { 0.0 }
}

/// How many other tokens tie with the maximum.
#[inline(always)]
fn other_maxima(row: &[f32], max: f32) -> f64 {
    f64::from(lanes::count(row, |z| z == max) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Flex, NdArray, assert_close, assert_same, autodiff, logits_strategy, noise, tensor};
    use proptest::prelude::*;

    /// Directly from the formulas, in double precision.
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
            let (stats, entropy, non_finite) = fused_with_entropy(&rows, &logits);
            prop_assert_eq!(non_finite, None);
            let composed = Softmax {
                logits: logits.clone(),
                stats: OnceLock::from(composed(&logits)),
                entropy: OnceLock::new(),
            };
            let log_probs = composed.log_probs();
            let composed_entropy = (log_probs.clone().exp() * log_probs).sum_dim(1).neg();
            let routes = [
                (stats, entropy),
                (fused(&rows, &logits), Softmax::unchecked(logits.clone()).entropy().clone()),
                (composed.stats().clone(), composed_entropy),
            ];
            let expected: Vec<_> = (0..rows.len()).map(|row| reference(rows.row(row))).collect();
            let column = |n: usize| expected.iter().map(|row| row[n]).collect::<Vec<_>>();
            for (stats, entropy) in routes {
                assert_close(&stats.max, &column(0), 0.0);
                assert_close(&stats.log_norm, &column(1), 1e-6);
                assert_close(&entropy, &column(2), 3e-6);
            }
        }
    }

    proptest! {
        #[test]
        fn the_gradient_is_that_of_automatic_differentiation(
            (rows, vocab) in (1_usize..6, 2_usize..300), seed in any::<u64>(), spread in 0.1_f64..30.0,
        ) {
            fn found<B: Backend>(of: [usize; 2], seed: u64, spread: f64) -> (Tensor<B, 2>, Tensor<B, 1, Int>, Tensor<B, 2>) {
                let targets = (0..of[0]).map(|row| (row * 7 % of[1]) as i32).collect::<Vec<_>>();
                let targets = Tensor::from_data(burn::tensor::TensorData::new(targets, [of[0]]), &Default::default());
                (noise::<B, 2>(of, seed).mul_scalar(spread), targets, noise([of[0], 1], seed ^ 1))
            }
            let expected = {
                let (logits, targets, weights) = found::<NdArray>([rows, vocab], seed, spread);
                autodiff(&logits, weights, |logits| {
                    let log_probs = Softmax::unchecked(logits).log_probs();
                    let targets = Tensor::<_, 1, Int>::from_data(targets.clone().into_data(), &Default::default());
                    log_probs.gather(1, targets.unsqueeze_dim(1))
                })
            };
            fn ours<B: Backend>(of: [usize; 2], seed: u64, spread: f64) -> Tensor<B, 2> {
                let (logits, targets, weights) = found::<B>(of, seed, spread);
                Softmax::unchecked(logits).log_prob_gradient(targets, weights)
            }
            assert_same(&ours::<Flex>([rows, vocab], seed, spread), &expected, 1e-5);
            assert_same(&ours::<NdArray>([rows, vocab], seed, spread), &expected, 1e-5);
        }
    }

    #[test]
    fn the_normalizer_is_accurate_when_one_token_is_nearly_certain() {
        let logits = tensor::<Flex>(&[0.0, -20.0, -21.0], 1);
        let log_norm = Softmax::unchecked(logits).stats().log_norm.clone().into_scalar();
        let expected = ((-20.0f64).exp() + (-21.0f64).exp()).ln_1p();
        assert!((f64::from(log_norm) / expected - 1.0).abs() < 1e-6, "{log_norm}");
    }

    #[test]
    fn tokens_masked_with_the_lowest_number_weigh_nothing() {
        for top in [0.0, f32::MAX] {
            let logits = tensor::<Flex>(&[top, top, f32::MIN, f32::MIN], 1);
            let softmax = Softmax::unchecked(logits);
            assert_close(softmax.entropy(), &[2f64.ln()], 1e-6);
            assert_close(&softmax.stats().log_norm, &[2f64.ln()], 1e-6);
        }
    }

    #[test]
    fn both_routes_report_the_first_non_finite_row() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let logits = tensor::<Flex>(&[0.0, 1.0, f32::MAX, f32::MIN, 0.0, bad, bad, 2.0], 4);
            assert_eq!(Softmax::checked(logits.clone()).map(|_| ()), Err(NonFinite { row: 2 }));
            assert_eq!(first_non_finite(&logits), Some(2));
        }
    }
}
