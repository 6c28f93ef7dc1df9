//! Noise on what a model reads.

use burn::tensor::{Tensor, TensorData, backend::Backend};
use stepfn_kernels::widened;
use stepfn_models::random::SplitMix64;

use crate::Side;

/// Noise on embeddings: independent, and uniform from `−radius` to `radius` times the root mean square of the text's embeddings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Noise {
    /// The greatest change, as a share of the root mean square.
    pub radius: f64,
    /// Which noise it is.
    pub seed: u64,
}

impl Noise {
    /// Embeddings `[tokens, size]` with this noise, which differs between the two sides.
    pub(crate) fn on<B: Backend>(self, embeddings: Tensor<B, 2>, side: Side) -> Tensor<B, 2> {
        let [tokens, size] = embeddings.dims();
        let mut random = SplitMix64::stream(self.seed, side as u64);
        let draws: Vec<f64> = (0..tokens * size).map(|_| self.radius * (2.0 * random.uniform() - 1.0)).collect();
        let options = (&embeddings.device(), embeddings.dtype());
        let draws = Tensor::<B, 2>::from_data(TensorData::new(draws, [tokens, size]), options);
        let scale = widened(embeddings.clone()).powi_scalar(2).mean().sqrt().into_data().iter::<f64>().sum::<f64>();
        embeddings + draws.mul_scalar(scale)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_within_its_radius_and_that_of_its_seed() {
        let device = Default::default();
        let embeddings = Tensor::<stepfn_cpu::Backend, 2>::from_data([[3.0, -4.0, 3.0], [4.0, 3.0, -4.0]], &device);
        let size = (75.0_f64 / 6.0).sqrt();
        let change = |seed: u64, side: Side| -> Vec<f64> {
            let noisy = Noise { radius: 0.1, seed }.on(embeddings.clone(), side);
            (noisy - embeddings.clone()).into_data().iter::<f64>().collect()
        };
        let own = change(1, Side::Source);
        assert!(own.iter().all(|change| change.abs() <= 0.1 * size + 1e-6 && *change != 0.0), "{own:?}");
        assert_eq!(own, change(1, Side::Source));
        assert_ne!(own, change(1, Side::Target));
        assert_ne!(own, change(2, Side::Source));
    }
}
