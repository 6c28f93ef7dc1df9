//! How far scores are from adding up.

/// For each step, how far its scores are from adding up to what they should: the change of the function from the baseline to the text.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Completeness {
    /// `Σ scores − (f(x) − f(x̄))`.
    pub deltas: Vec<f32>,
    /// `f(x) − f(x̄)`.
    pub changes: Vec<f32>,
}

impl Completeness {
    /// From what the scores of each step add up to, and what they should.
    pub fn new(totals: &[f64], changes: &[f64]) -> Self {
        let deltas = totals.iter().zip(changes).map(|(total, change)| (total - change) as f32).collect();
        Self { deltas, changes: changes.iter().map(|change| *change as f32).collect() }
    }

    /// No numbers for so many steps.
    pub(crate) fn unknown(steps: usize) -> Self {
        Self { deltas: vec![f32::NAN; steps], changes: vec![f32::NAN; steps] }
    }

    /// Without the numbers of some steps: they are NaN.
    pub(crate) fn without(mut self, steps: &[usize]) -> Self {
        for &step in steps {
            (self.deltas[step], self.changes[step]) = (f32::NAN, f32::NAN);
        }
        self
    }
}
