//! Shared code of the benchmarks: random logits, and a peer that times other libraries in its own process.

#![allow(clippy::unwrap_used, reason = "a benchmark that can't continue should fail")]

pub mod peer;
pub mod plot;

use burn::tensor::{Tensor, TensorData, backend::Backend};

pub use stepfn_bench::measure::{median, wait};

/// The backend that is compared with other libraries: the CPU, unless a feature selects another.
#[cfg(not(any(feature = "cuda", feature = "wgpu")))]
pub type Measured = stepfn_cpu::flex::Backend;
/// The backend that is compared with other libraries.
#[cfg(all(feature = "wgpu", not(feature = "cuda")))]
pub type Measured = stepfn_wgpu::Backend;
/// The backend that is compared with other libraries.
#[cfg(feature = "cuda")]
pub type Measured = stepfn_cuda::Backend;

/// Random logits `[rows, vocab]` that depend only on the seed, close to normal with a standard deviation of 3.
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
