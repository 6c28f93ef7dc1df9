//! What the benchmarks share: random logits, and a peer that times other people's code in its own process.

#![allow(clippy::unwrap_used, reason = "a benchmark that can't go on says so and stops")]

pub mod peer;
pub mod shapes;

use burn::tensor::{Tensor, TensorData, backend::Backend};

/// Random logits, nearly normal with a standard deviation of 3, `[rows, vocab]`, the same for the same seed.
pub fn logits<B: Backend>(rows: usize, vocab: usize, seed: u64, device: &B::Device) -> Tensor<B, 2> {
    // Xorshift64* (Vigna 2016): fast enough to fill a gigabyte.
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        let bits = state.wrapping_mul(0x2545_f491_4f6c_dd1d);
        // The sum of four uniform numbers in [−½, ½) has a variance of ⅓.
        let sum: u64 = (0..4).map(|part| (bits >> (16 * part)) & 0xffff).sum();
        (sum as f32 / 65_536.0 - 2.0) * 3.0 * 3f32.sqrt()
    };
    let values: Vec<f32> = (0..rows * vocab).map(|_| next()).collect();
    Tensor::from_data(TensorData::new(values, [rows, vocab]), device)
}

/// The middle one of several measurements.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// Operations per second of a large product, the best of several: what a machine can do at most.
pub fn gemm_peak<B: Backend>(device: &B::Device) -> f64 {
    const SIZE: usize = 1536;
    let [a, b] = [1, 2].map(|seed| logits::<B>(SIZE, SIZE, seed, device));
    let run = || {
        let start = std::time::Instant::now();
        std::hint::black_box(a.clone().matmul(b.clone()));
        B::sync(device).unwrap();
        start.elapsed().as_secs_f64()
    };
    let best = (0..8).map(|_| run()).fold(f64::INFINITY, f64::min);
    2.0 * (SIZE as f64).powi(3) / best
}
