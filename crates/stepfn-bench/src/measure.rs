//! Timing: a separate first call, then as many more as requested or as fit the budget.

use core::time::Duration;
use std::time::Instant;

use burn::tensor::backend::Backend;

use crate::BenchError;

/// Durations of calls, in seconds.
#[derive(Debug, Clone, PartialEq)]
pub struct Times {
    /// The first call: includes compiling, choosing kernels and filling caches.
    pub warm_up: f64,
    /// All later calls, in order; at least one.
    pub calls: Vec<f64>,
}

/// Calls `run` once to warm up, then `repeats` times or until `budget` is used up, but at least once. Waits for the device before reading
/// the clock.
///
/// # Errors
/// Errors of the call, and of the device.
pub fn measure<B: Backend>(
    device: &B::Device,
    repeats: usize,
    budget: Duration,
    mut call: impl FnMut() -> Result<(), BenchError>,
) -> Result<Times, BenchError> {
    let started = Instant::now();
    let mut seconds = || -> Result<f64, BenchError> {
        wait::<B>(device)?;
        let start = Instant::now();
        call()?;
        wait::<B>(device)?;
        Ok(start.elapsed().as_secs_f64())
    };
    let warm_up = seconds()?;
    let mut calls = vec![seconds()?];
    while calls.len() < repeats && started.elapsed() < budget {
        calls.push(seconds()?);
    }
    Ok(Times { warm_up, calls })
}

/// Waits until the device has finished its work.
///
/// # Errors
/// If the device fails.
pub fn wait<B: Backend>(device: &B::Device) -> Result<(), BenchError> {
    B::sync(device).map_err(|error| BenchError::Device(error.to_string()))
}

/// The median: the middle value, or the mean of the middle two; NaN for no values.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
    f64::midpoint(at(sorted.len().saturating_sub(1) / 2), at(sorted.len() / 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    type B = stepfn_cpu::flex::Backend;

    #[test]
    fn the_first_call_is_separate_and_the_budget_ends_repeats() {
        let mut calls = 0;
        let mut count = || {
            calls += 1;
            Ok(())
        };
        let times = measure::<B>(&Default::default(), 3, Duration::from_secs(60), &mut count).unwrap();
        assert_eq!(times.calls.len(), 3);
        let times = measure::<B>(&Default::default(), 3, Duration::ZERO, &mut count).unwrap();
        assert_eq!((times.calls.len(), calls), (1, 6));
    }

    #[test]
    fn a_call_that_fails_ends_the_measurement() {
        let failed = || Err(BenchError::Device("gone".to_owned()));
        let error = measure::<B>(&Default::default(), 3, Duration::ZERO, failed).unwrap_err();
        assert_eq!(error.to_string(), "the device failed: gone");
    }

    #[test]
    fn the_median_is_the_middle_one() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[3.0, 1.0, 2.0, 9.0]), 2.5);
        assert!(median(&[]).is_nan());
    }
}
