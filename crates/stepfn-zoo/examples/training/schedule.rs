//! The learning rate: a linear warm-up, then a cosine down to a hundredth of the peak (Loshchilov & Hutter 2017, arXiv:1608.03983).

/// The learning rate as a function of the step.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schedule {
    /// The highest rate.
    pub(crate) peak: f64,
    /// Steps of warm-up.
    pub(crate) warmup: usize,
    /// All steps.
    pub(crate) steps: usize,
}

impl Schedule {
    /// The rate of a step, counted from 0.
    pub(crate) fn rate(&self, step: usize) -> f64 {
        const LEAST: f64 = 0.01;
        if step < self.warmup {
            return self.peak * (step + 1) as f64 / self.warmup as f64;
        }
        let done = (step - self.warmup) as f64 / self.steps.saturating_sub(self.warmup).max(1) as f64;
        let cosine = 0.5 * (1.0 + (core::f64::consts::PI * done.min(1.0)).cos());
        self.peak * (LEAST + (1.0 - LEAST) * cosine)
    }
}
