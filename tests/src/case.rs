//! Steps to score: logits of an original pass, a contrastive pass, and several passes with dropout.

use burn::tensor::{DType, Tensor, TensorData, backend::Backend};
use stepfn_core::{Alignment, Contrast, StepBatch};

/// Everything that a step function may need, in host memory and double precision.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// Steps.
    pub rows: usize,
    /// Tokens in the vocabulary.
    pub vocab: usize,
    /// Passes with dropout.
    pub n_noisy: usize,
    /// `[rows, vocab]`
    pub logits: Vec<f64>,
    /// `[rows]`
    pub target_ids: Vec<u32>,
    /// `[rows, vocab]`
    pub contrast_logits: Vec<f64>,
    /// `[rows]`
    pub contrast_target_ids: Vec<u32>,
    /// `[n_noisy, rows, vocab]`
    pub noisy_logits: Vec<f64>,
}

impl Case {
    /// Random steps. `random` yields uniform numbers in [−1, 1); logits are in ±`scale`, and the other passes are close to the original
    /// one. All are rounded to single precision, so that every backend can represent them.
    pub fn random(rows: usize, vocab: usize, n_noisy: usize, scale: f64, mut random: impl FnMut() -> f64) -> Self {
        let mut near = |around: &[f64], spread: f64| -> Vec<f64> {
            around.iter().map(|z| f64::from((z + spread * random()) as f32)).collect()
        };
        let logits = near(&vec![0.0; rows * vocab], scale);
        let contrast_logits = near(&logits, 0.5 * scale.max(1e-3));
        let noisy_logits = (0..n_noisy).flat_map(|_| near(&logits, 0.2 * scale.max(1e-3))).collect();
        let mut ids = || (0..rows).map(|_| ((random() + 1.0) / 2.0 * vocab as f64) as u32).collect::<Vec<_>>();
        let (target_ids, contrast_target_ids) = (ids(), ids());
        Self { rows, vocab, n_noisy, logits, target_ids, contrast_logits, contrast_target_ids, noisy_logits }
    }

    /// The case as a batch on a backend, with contrast and noisy passes.
    pub fn batch<B: Backend>(&self, dtype: DType, device: &B::Device) -> StepBatch<B> {
        self.with_contrast(self.plain_batch(dtype, device), dtype, device)
            .with_noisy(self.noisy(dtype, device))
            .unwrap()
    }

    /// The original pass alone.
    pub fn plain_batch<B: Backend>(&self, dtype: DType, device: &B::Device) -> StepBatch<B> {
        let logits = matrix(&self.logits, self.rows, dtype, device);
        StepBatch::new(logits, &self.target_ids).unwrap()
    }

    /// `batch` with the contrast of this case.
    pub fn with_contrast<B: Backend>(&self, batch: StepBatch<B>, dtype: DType, device: &B::Device) -> StepBatch<B> {
        let logits = matrix(&self.contrast_logits, self.rows, dtype, device);
        let contrast = Contrast::new(logits, &self.contrast_target_ids, &Alignment::OneToOne, self.rows);
        batch.with_contrast(contrast.unwrap()).unwrap()
    }

    /// The noisy logits.
    pub fn noisy<B: Backend>(&self, dtype: DType, device: &B::Device) -> Tensor<B, 3> {
        let shape = [self.n_noisy, self.rows, self.vocab];
        matrix::<B>(&self.noisy_logits, self.n_noisy * self.rows, dtype, device).reshape(shape)
    }

    /// The case with the original and the contrastive pass swapped.
    pub fn exchanged(&self) -> Self {
        Self {
            logits: self.contrast_logits.clone(),
            target_ids: self.contrast_target_ids.clone(),
            contrast_logits: self.logits.clone(),
            contrast_target_ids: self.target_ids.clone(),
            ..self.clone()
        }
    }

    /// The case whose row `i` is row `order[i]` of this one.
    pub fn select(&self, order: &[usize]) -> Self {
        let pick = |matrix: &[f64]| -> Vec<f64> {
            let row = |&row: &usize| matrix[row * self.vocab..(row + 1) * self.vocab].iter().copied();
            order.iter().flat_map(row).collect()
        };
        let ids = |ids: &[u32]| order.iter().map(|&row| ids[row]).collect();
        Self {
            rows: order.len(),
            logits: pick(&self.logits),
            target_ids: ids(&self.target_ids),
            contrast_logits: pick(&self.contrast_logits),
            contrast_target_ids: ids(&self.contrast_target_ids),
            noisy_logits: self.noisy_logits.chunks(self.rows * self.vocab).flat_map(pick).collect(),
            ..self.clone()
        }
    }

    /// The case with `by` added to every logit.
    pub fn shifted(&self, by: f64) -> Self {
        let shift = |logits: &[f64]| logits.iter().map(|z| z + by).collect();
        Self {
            logits: shift(&self.logits),
            contrast_logits: shift(&self.contrast_logits),
            noisy_logits: shift(&self.noisy_logits),
            ..self.clone()
        }
    }

    /// Distance between the largest and the smallest logit of any pass; rounding errors scale with it.
    pub fn spread(&self) -> f64 {
        let all = || self.logits.iter().chain(&self.contrast_logits).chain(&self.noisy_logits).copied();
        all().fold(f64::NEG_INFINITY, f64::max) - all().fold(f64::INFINITY, f64::min)
    }
}

/// `[rows, _]` of `values`.
pub fn matrix<B: Backend>(values: &[f64], rows: usize, dtype: DType, device: &B::Device) -> Tensor<B, 2> {
    let data = TensorData::new(values.to_vec(), [rows, values.len() / rows]).convert_dtype(dtype);
    Tensor::from_data(data, (device, dtype))
}

/// Uniform numbers in [−1, 1) from a seed (SplitMix64; Steele et al. 2014), for backends where proptest would be too slow.
pub fn uniform(mut seed: u64) -> impl FnMut() -> f64 {
    move || {
        seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = seed;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^= x >> 31;
        (x >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }
}
