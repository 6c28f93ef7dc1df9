//! `ln Σ pᵢᵅ`, for Rényi entropies (Rényi 1961).
//!
//! Computed as `ln Σ exp(α (zᵢ − m)) − α N`, so that the largest term of the sum is 1 for any α and any logits.

use burn::tensor::{Tensor, backend::Backend};

use crate::host::{self, RowKernel};
use crate::lanes;
use crate::softmax::{HostSoftmax, HostStats, Softmax};

/// `ln Σ pᵢᵅ` of every row, for any finite `alpha ≥ 0`.
///
/// # Shapes
/// - result: `[rows, 1]`
pub fn log_power_sum<B: Backend>(softmax: &Softmax<B>, alpha: f64) -> Tensor<B, 2> {
    match softmax.on_host() {
        Some(host) => {
            let (rows, width) = (host.rows.len(), host.rows.width());
            let [sums] = host::map_rows(rows, width, PowerKernel { softmax: &host, alpha });
            host::column(sums, softmax.logits())
        }
        None => composed(softmax, alpha),
    }
}

fn composed<B: Backend>(softmax: &Softmax<B>, alpha: f64) -> Tensor<B, 2> {
    let stats = softmax.stats();
    let shifted = softmax.logits().clone() - stats.max.clone();
    shifted.mul_scalar(alpha).exp().sum_dim(1).log() - stats.log_norm.clone().mul_scalar(alpha)
}

struct PowerKernel<'a> {
    softmax: &'a HostSoftmax,
    alpha: f64,
}

impl RowKernel<1> for PowerKernel<'_> {
    #[inline(always)]
    fn row(&self, index: usize) -> [f32; 1] {
        let HostStats { max, log_norm } = self.softmax.stats[index];
        let alpha = self.alpha as f32;
        let [sum] = lanes::sums(self.softmax.rows.row(index), |z| [lanes::exp(alpha * (z - max))]);
        [(sum.ln() - self.alpha * f64::from(log_norm)) as f32]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Flex, assert_close, logits_strategy, tensor};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn both_routes_follow_the_formula((rows, values) in logits_strategy(), alpha in 0.0f64..20.0) {
            let softmax = Softmax::unchecked(tensor::<Flex>(&values, rows));
            let width = values.len() / rows;
            let expected: Vec<f64> = values.chunks(width).map(|row| {
                let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let shifted = || row.iter().map(|&z| f64::from(z) - f64::from(max));
                let log_norm = shifted().map(f64::exp).sum::<f64>().ln();
                shifted().map(|s| (alpha * s).exp()).sum::<f64>().ln() - alpha * log_norm
            }).collect();
            assert_close(&log_power_sum(&softmax, alpha), &expected, 5e-6);
            assert_close(&composed(&softmax, alpha), &expected, 5e-6);
        }
    }
}
