//! The machine's peak, measured with a large matrix product and a large copy, and facts that the system reports about it.

use core::hint::black_box;
use core::time::Duration;
use std::fs;
use std::thread;
use std::time::Instant;

use burn::tensor::{DType, Distribution, Tensor, backend::Backend};

use crate::BenchError;
use crate::measure::wait;
use crate::report::Peak;

/// The memory that a backend computes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// The program's own memory.
    Host,
    /// The device's own memory.
    Device,
}

/// The machine's peak for one element type. `budget` is roughly how long measuring it may take.
///
/// # Errors
/// If the device fails.
pub fn peak<B: Backend>(
    device: &B::Device,
    dtype: DType,
    memory: Memory,
    budget: Duration,
) -> Result<Peak, BenchError> {
    /// Larger than most caches.
    const LARGE: usize = 256 << 20;
    /// Small enough to copy in any budget.
    const SMALL: usize = 32 << 20;
    // With weights of 8 bits, beside the peak in single precision.
    let dtype = if dtype == DType::I8 { DType::F32 } else { dtype };
    let product = product::<B>(device, dtype, budget / 2)?;
    let bytes = if budget < Duration::from_secs(1) { SMALL } else { LARGE };
    let mut copy = device_copy::<B>(device, dtype, bytes, budget / 4)?;
    if memory == Memory::Host {
        // A CPU backend copies on one thread, which does not saturate the memory bus.
        copy = copy.max(host_copy(bytes, budget / 4));
    }
    Ok(Peak { gflop_per_second: product / 1e9, gigabytes_per_second: copy / 1e9 })
}

/// Operations per second of a product of two square matrices: the best of several sizes.
///
/// # Errors
/// If the device fails.
pub fn product<B: Backend>(device: &B::Device, dtype: DType, budget: Duration) -> Result<f64, BenchError> {
    let started = Instant::now();
    let mut most = 0.0_f64;
    for size in [512, 1024, 2048, 4096, 8192] {
        let uniform = Distribution::Uniform(-1.0, 1.0);
        let [a, b] = [0, 1].map(|_| Tensor::<B, 2>::random([size, size], uniform, (device, dtype)));
        let seconds = best::<B>(device, budget / 8, || drop(black_box(a.clone().matmul(b.clone()))))?;
        most = most.max(2.0 * (size as f64).powi(3) / seconds);
        // The next size takes eight times as long and runs at least four times.
        if started.elapsed() + Duration::from_secs_f64(seconds) * 32 > budget {
            break;
        }
    }
    Ok(most)
}

/// Bytes per second, read plus written, of a copy in the device's memory. It flips the sign, because a backend may share an identical copy.
fn device_copy<B: Backend>(
    device: &B::Device,
    dtype: DType,
    bytes: usize,
    budget: Duration,
) -> Result<f64, BenchError> {
    let original = Tensor::<B, 1>::ones([bytes / dtype.size()], (device, dtype));
    let seconds = best::<B>(device, budget, || drop(black_box(original.clone().neg())))?;
    Ok(2.0 * bytes as f64 / seconds)
}

/// The same for the program's own memory, on all threads.
fn host_copy(bytes: usize, budget: Duration) -> f64 {
    let (from, mut to) = (vec![1_u8; bytes], vec![0_u8; bytes]);
    let piece = bytes.div_ceil(threads()).max(1);
    let mut run = || {
        let start = Instant::now();
        thread::scope(|scope| {
            for (from, to) in from.chunks(piece).zip(to.chunks_mut(piece)) {
                scope.spawn(|| to.copy_from_slice(from));
            }
        });
        black_box(&to);
        start.elapsed().as_secs_f64()
    };
    run();
    let (started, mut least) = (Instant::now(), run());
    while started.elapsed() < budget {
        least = least.min(run());
    }
    2.0 * bytes as f64 / least
}

/// The shortest of at least three calls, after a warm-up call.
fn best<B: Backend>(device: &B::Device, budget: Duration, run: impl Fn()) -> Result<f64, BenchError> {
    let seconds = || -> Result<f64, BenchError> {
        let start = Instant::now();
        run();
        wait::<B>(device)?;
        Ok(start.elapsed().as_secs_f64())
    };
    wait::<B>(device)?;
    seconds()?;
    let (started, mut least, mut calls) = (Instant::now(), f64::INFINITY, 0);
    while calls < 3 || started.elapsed() < budget {
        least = least.min(seconds()?);
        calls += 1;
    }
    Ok(least)
}

/// Number of threads for CPU work: `RAYON_NUM_THREADS`, or as many as the system offers.
pub fn threads() -> usize {
    let asked = std::env::var("RAYON_NUM_THREADS").ok().and_then(|threads| threads.parse().ok());
    let given = || thread::available_parallelism().map_or(1, usize::from);
    asked.filter(|&threads| threads > 0).unwrap_or_else(given)
}

/// The version of NVIDIA's driver, if the system has a file for it.
pub fn nvidia_driver() -> Option<String> {
    let version = fs::read_to_string("/sys/module/nvidia/version").ok()?;
    Some(format!("NVIDIA {}", version.trim()))
}

/// Resets the process's peak memory, if the system supports that; otherwise it remains the peak since the start.
pub fn reset_peak_memory() {
    // proc_pid_clear_refs(5) explains the `5`.
    drop(fs::write("/proc/self/clear_refs", "5"));
}

/// The process's peak memory in bytes, if the system has a file for it. Does not include a device's own memory.
pub fn peak_memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let mark = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = mark.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    type B = stepfn_cpu::flex::Backend;

    #[test]
    fn a_peak_is_a_speed() {
        for memory in [Memory::Host, Memory::Device] {
            let peak = peak::<B>(&Default::default(), DType::F32, memory, Duration::from_millis(1)).unwrap();
            assert!(peak.gflop_per_second > 0.0 && peak.gflop_per_second.is_finite(), "{peak:?}");
            assert!(peak.gigabytes_per_second > 0.0 && peak.gigabytes_per_second.is_finite(), "{peak:?}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn memory_in_use_shows() {
        let block = vec![1_u8; 32 << 20];
        assert!(peak_memory().unwrap() >= black_box(&block).len() as u64);
        reset_peak_memory();
        assert!(peak_memory().unwrap() > 0);
    }

    #[test]
    fn there_is_a_thread() {
        assert!(threads() > 0);
    }
}
