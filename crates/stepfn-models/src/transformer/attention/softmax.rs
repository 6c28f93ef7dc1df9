//! Multipliers of a softmax against a baseline.
//!
//! With the logarithmic mean `L(a, b) = (a − b) / (ln a − ln b)`, the two passes' probabilities `A` and `Ā`, exponentials `e` and `ē`, and
//! their sums `Z` and `Z̄`:
//!
//! ```text
//! ΔAᵢ = Lᵢ (Δsᵢ − Σⱼ wⱼ Δsⱼ)    Lᵢ = L(Aᵢ, Āᵢ)    wⱼ = L(eⱼ, ēⱼ) / L(Z, Z̄)
//! ```
//!
//! This is exact, because `Σ wⱼ Δsⱼ = Δ ln Z`. It is also bounded, however peaked attention is: `w ≥ 0`, `Σ w ≤ 1`, and `Σ L ≤ 1`, so no
//! multiplier `Lᵢ (δᵢⱼ − wⱼ)` is larger than 1. Where both passes are the same, `L = w = A` and the multipliers are the derivative.
//!
//! A sink is one more score, the last. It is the same in both passes, and nothing reads its probability: the formulas hold without it, except that
//! it counts in `Z`.

use burn::tensor::{Tensor, backend::Backend};

/// What cotangents of probabilities are multiplied by, so that they become cotangents of scores: `[texts · heads, queries, keys]`.
pub(super) struct SoftmaxMultipliers<B: Backend> {
    /// `L`
    means: Tensor<B, 3>,
    /// `w`
    weights: Tensor<B, 3>,
}

/// The softmax of one pass.
pub(super) struct Softmax<B: Backend> {
    /// Scores, 0 where a query does not see a key.
    scores: Tensor<B, 3>,
    /// The largest score that a query sees, `[texts · heads, queries, 1]`.
    max: Tensor<B, 3>,
    /// `ln Σ exp(s − max)`, `[texts · heads, queries, 1]`.
    log_norm: Tensor<B, 3>,
    /// 1 where a query sees a key, else 0.
    seen: Tensor<B, 3>,
}

impl<B: Backend> Softmax<B> {
    /// The softmax of the scores that are seen, and of a sink for each head.
    ///
    /// # Shapes
    /// - `scores`, `seen`: `[texts · heads, queries, keys]`
    /// - `sinks`: `[texts · heads, queries, 1]`
    pub(super) fn with_sinks(scores: Tensor<B, 3>, seen: Tensor<B, 3>, sinks: Tensor<B, 3>) -> Self {
        let [_, _, keys] = scores.dims();
        let seen = Tensor::cat(vec![seen, sinks.ones_like()], 2);
        let all = Self::of(Tensor::cat(vec![scores, sinks], 2), seen);
        Self { scores: all.scores.slice_dim(2, 0..keys), seen: all.seen.slice_dim(2, 0..keys), ..all }
    }

    /// The softmax of the scores that are seen.
    ///
    /// # Shapes
    /// - `scores`, `seen`: `[texts · heads, queries, keys]`
    pub(super) fn of(scores: Tensor<B, 3>, seen: Tensor<B, 3>) -> Self {
        /// Lower than any score.
        const LOWEST: f64 = -1e30;
        let max = scores.clone().mask_fill(seen.clone().equal_elem(0), LOWEST).max_dim(2);
        let sum = ((scores.clone() - max.clone()).clamp_max(0).exp() * seen.clone()).sum_dim(2);
        Self { scores: scores * seen.clone(), max, log_norm: sum.clamp_min(f32::MIN_POSITIVE).log(), seen }
    }

    /// `A`, 0 where a key is not seen.
    pub(super) fn probabilities(&self) -> Tensor<B, 3> {
        self.log_probabilities().clamp_max(0).exp() * self.seen.clone()
    }

    /// `ln A`, without meaning where a key is not seen.
    fn log_probabilities(&self) -> Tensor<B, 3> {
        self.scores.clone() - self.max.clone() - self.log_norm.clone()
    }

    /// `ln Z` of exponentials `exp(s − shift)`.
    fn log_sum(&self, shift: &Tensor<B, 3>) -> Tensor<B, 3> {
        self.max.clone() - shift.clone() + self.log_norm.clone()
    }

    /// The derivative.
    pub(super) fn derivative(&self) -> SoftmaxMultipliers<B> {
        let probabilities = self.probabilities();
        SoftmaxMultipliers { means: probabilities.clone(), weights: probabilities }
    }

    /// The multipliers against the same of a baseline, in which queries see the same keys.
    pub(super) fn against(&self, baseline: &Self) -> SoftmaxMultipliers<B> {
        let means = LogMean::of(self.log_probabilities(), baseline.log_probabilities());
        let shift = self.max.clone().max_pair(baseline.max.clone());
        let exponentials = LogMean::of(self.scores.clone() - shift.clone(), baseline.scores.clone() - shift.clone());
        let sums = LogMean::of(self.log_sum(&shift), baseline.log_sum(&shift));
        SoftmaxMultipliers {
            means: means.value() * self.seen.clone(),
            weights: exponentials.over(sums) * self.seen.clone(),
        }
    }
}

impl<B: Backend> SoftmaxMultipliers<B> {
    /// From cotangents of probabilities to those of scores.
    ///
    /// # Shapes
    /// - `grad`, result: `[texts · heads, queries, cotangents, keys]`
    pub(super) fn pull(self, grad: Tensor<B, 4>) -> Tensor<B, 4> {
        let through_self = grad * self.means.unsqueeze_dim(2);
        let through_sum = through_self.clone().sum_dim(3);
        through_self - through_sum * self.weights.unsqueeze_dim(2)
    }
}

/// The logarithmic mean of two positive numbers as `exp(greater) · share`, which can neither overflow nor cancel.
struct LogMean<B: Backend> {
    /// The larger of the two logarithms.
    greater: Tensor<B, 3>,
    /// `(1 − exp(−d)) / d` of their distance `d`: between 0 and 1.
    share: Tensor<B, 3>,
}

impl<B: Backend> LogMean<B> {
    /// Of two numbers with these logarithms.
    fn of(a: Tensor<B, 3>, b: Tensor<B, 3>) -> Self {
        Self { greater: a.clone().max_pair(b.clone()), share: share((a - b).abs()) }
    }

    /// The mean of numbers that are at most 1.
    fn value(self) -> Tensor<B, 3> {
        self.greater.clamp_max(0).exp() * self.share
    }

    /// The quotient of two means, at most 1: `other` is that of sums which have these numbers among their terms.
    fn over(self, other: Self) -> Tensor<B, 3> {
        // No number is larger than its sum, and no mean than that of the sums.
        let greater = (self.greater - other.greater).clamp_max(0).exp();
        (greater * self.share / other.share).clamp_max(1)
    }
}

/// `(1 − exp(−d)) / d` for `d ≥ 0`, and its limit 1 at 0.
fn share<B: Backend>(d: Tensor<B, 3>) -> Tensor<B, 3> {
    /// Below it, `1 − exp(−d)` loses digits, and five terms of the series have an error of d⁵/720.
    const SMALL: f64 = 0.05;
    let small = d.clone().lower_elem(SMALL);
    // 1 − d/2 + d²/6 − d³/24 + d⁴/120
    let series = [120.0, -24.0, 6.0, -2.0]
        .into_iter()
        .fold(d.zeros_like(), |sum, divisor| (sum + f64::recip(divisor)) * d.clone())
        .add_scalar(1);
    let quotient = d.clone().neg().exp().neg().add_scalar(1) / d.mask_fill(small.clone(), 1);
    quotient.mask_where(small, series)
}

#[cfg(test)]
mod tests {
    use burn::tensor::{DType, TensorData};
    use proptest::prelude::*;

    use super::*;

    type B = stepfn_cpu::flex::Backend;

    /// Scores of two passes at one query, from flat to peaked, and which keys it sees.
    fn passes() -> impl Strategy<Value = (Vec<f64>, Vec<f64>, Vec<bool>)> {
        let scores = |keys: usize| {
            let scale = prop_oneof![Just(0.0), Just(0.01), Just(1.0), Just(30.0), Just(1e4)];
            (scale, prop::collection::vec(-1.0..1.0f64, keys), prop_oneof![Just(0.0), -1e4..1e4f64])
                .prop_map(|(scale, scores, level)| scores.into_iter().map(|x| level + scale * x).collect::<Vec<_>>())
        };
        (1usize..9).prop_flat_map(move |keys| {
            let near = (scores(keys), 1e-6..1e-1f64).prop_map(|(here, by)| {
                let baseline = here.iter().enumerate().map(|(i, x)| x + by * (i as f64).sin()).collect();
                (here, baseline)
            });
            let pairs = prop_oneof![near, (scores(keys), scores(keys))];
            (pairs, prop::collection::vec(any::<bool>(), keys), 0..keys).prop_map(
                |((here, baseline), mut seen, one)| {
                    seen[one] = true;
                    (here, baseline, seen)
                },
            )
        })
    }

    fn tensor(values: &[f64], dtype: DType) -> Tensor<B, 3> {
        let data = TensorData::new(values.to_vec(), [1, 1, values.len()]);
        Tensor::<B, 3>::from_data(data, (&Default::default(), DType::F64)).cast(dtype)
    }

    fn values<const D: usize>(x: Tensor<B, D>) -> Vec<f64> {
        x.into_data().iter::<f64>().collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn multipliers_add_up_and_are_bounded_however_peaked_attention_is((here, baseline, seen) in passes()) {
            // In double precision, the quotient of close numbers has lost five of sixteen digits before the series takes over.
            for (dtype, epsilon) in [(DType::F64, 1e-10), (DType::F32, 1e-5)] {
                let keys = here.len();
                let mask: Vec<f64> = seen.iter().map(|&seen| f64::from(u8::from(seen))).collect();
                let softmax = |scores: &[f64]| Softmax::of(tensor(scores, dtype), tensor(&mask, dtype));
                let (s, s0) = (softmax(&here), softmax(&baseline));
                let multipliers = s.against(&s0);
                let (means, weights) = (values(multipliers.means.clone()), values(multipliers.weights.clone()));
                prop_assert!(weights.iter().all(|&w| w >= 0.0) && weights.iter().sum::<f64>() <= 1.0 + epsilon, "{weights:?}");
                prop_assert!(means.iter().all(|&l| l >= 0.0) && means.iter().sum::<f64>() <= 1.0 + epsilon, "{means:?}");

                // One cotangent for each probability.
                let mut one_each = vec![0.0; keys * keys];
                (0..keys).for_each(|key| one_each[key * keys + key] = 1.0);
                let one_each = tensor(&one_each, dtype).reshape([1, 1, keys, keys]);
                let matrix = values(multipliers.pull(one_each));
                prop_assert!(matrix.iter().all(|m| m.abs() <= 1.0 + epsilon), "{matrix:?}");
                let step: Vec<f64> = values(tensor(&here, dtype) - tensor(&baseline, dtype));
                let change = values(s.probabilities() - s0.probabilities());
                // Scores are rounded too, and so is what becomes of them.
                let largest = here.iter().chain(&baseline).fold(1.0f64, |max, x| max.max(x.abs()));
                for (row, change) in matrix.chunks(keys).zip(&change) {
                    let sum: f64 = row.iter().zip(&step).map(|(m, step)| m * step).sum();
                    prop_assert!((sum - change).abs() <= epsilon * largest, "{sum} instead of {change}");
                }
                for (key, _) in seen.iter().enumerate().filter(|&(_, &seen)| !seen) {
                    prop_assert!((0..keys).all(|row| matrix[row * keys + key] == 0.0 && matrix[key * keys + row] == 0.0));
                }
            }
        }

        #[test]
        fn multipliers_between_a_pass_and_itself_are_the_derivative((here, _, seen) in passes()) {
            let mask: Vec<f64> = seen.iter().map(|&seen| f64::from(u8::from(seen))).collect();
            let softmax = Softmax::of(tensor(&here, DType::F64), tensor(&mask, DType::F64));
            let (same, derivative) = (softmax.against(&softmax), softmax.derivative());
            for (ours, expected) in [(same.means, derivative.means), (same.weights, derivative.weights)] {
                for (ours, expected) in values(ours).into_iter().zip(values(expected)) {
                    prop_assert!((ours - expected).abs() < 1e-9, "{ours} instead of {expected}");
                }
            }
        }
    }
}
