//! Which of some scores stand out: those of at least a threshold, and of these the greatest.

/// Which scores are selected.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Selection {
    /// Those whose absolute value is at least the mean and so many standard deviations (of the sample, n − 1); `None` for all.
    pub std_threshold: Option<f64>,
    /// Of these, so many of the greatest absolute value; `None` for all.
    pub topk: Option<usize>,
}

impl Default for Selection {
    fn default() -> Self {
        Self { std_threshold: Some(1.0), topk: None }
    }
}

impl Selection {
    /// What an absolute value has to reach: `mean + λ · std` over the scores themselves; the mean alone where λ is 0 or there is one score; 0 if
    /// there is no λ or no score. Scores that are NaN don't count.
    pub fn threshold(&self, scores: &[f32]) -> f64 {
        let values: Vec<f64> = scores.iter().filter(|score| !score.is_nan()).map(|&score| f64::from(score)).collect();
        let Some(weight) = self.std_threshold.filter(|_| !values.is_empty()) else { return 0.0 };
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        if weight == 0.0 || values.len() == 1 {
            return mean;
        }
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0);
        mean + weight * variance.sqrt()
    }

    /// The selected scores, by the number of each, the greatest absolute value first.
    pub fn select(&self, scores: &[f32]) -> Vec<usize> {
        let threshold = self.threshold(scores);
        self.above(scores, threshold)
    }

    /// The scores that reach a threshold which others may share.
    pub(super) fn above(&self, scores: &[f32], threshold: f64) -> Vec<usize> {
        let reaches = |&at: &usize| f64::from(scores[at].abs()) >= threshold;
        let mut selected: Vec<usize> = (0..scores.len()).filter(reaches).collect();
        selected.sort_by(|&one, &other| scores[other].abs().total_cmp(&scores[one].abs()));
        selected.truncate(self.topk.unwrap_or(usize::MAX));
        selected
    }

    /// In words, for results: `std λ=1.00, top 3`.
    pub fn described(&self) -> String {
        let std = self.std_threshold.map(|weight| format!("std λ={weight:.2}"));
        let top = self.topk.map(|topk| format!("top {topk}"));
        let parts: Vec<String> = std.into_iter().chain(top).collect();
        if parts.is_empty() { "all".to_owned() } else { parts.join(", ") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCORES: [f32; 5] = [1.0, -4.0, 2.0, 3.0, f32::NAN];

    fn with(std_threshold: Option<f64>, topk: Option<usize>) -> Selection {
        Selection { std_threshold, topk }
    }

    #[test]
    fn the_threshold_is_the_mean_and_some_deviations_of_the_sample() {
        // Of 1, -4, 2, 3: mean 0.5, variance (0.25 + 20.25 + 2.25 + 6.25) / 3.
        let std = (29.0_f64 / 3.0).sqrt();
        assert!((with(Some(1.0), None).threshold(&SCORES) - (0.5 + std)).abs() < 1e-12);
        assert!((with(Some(-0.5), None).threshold(&SCORES) - (0.5 - 0.5 * std)).abs() < 1e-12);
        assert_eq!(with(Some(0.0), None).threshold(&SCORES), 0.5);
        assert_eq!(with(Some(2.0), None).threshold(&[3.0]), 3.0);
        assert_eq!(with(None, None).threshold(&SCORES), 0.0);
        assert_eq!(with(Some(1.0), None).threshold(&[]), 0.0);
    }

    #[test]
    fn the_greatest_absolute_values_come_first_and_nan_never() {
        assert_eq!(with(Some(1.0), None).select(&SCORES), [1]);
        assert_eq!(with(Some(0.0), None).select(&SCORES), [1, 3, 2, 0]);
        assert_eq!(with(None, Some(2)).select(&SCORES), [1, 3]);
        assert_eq!(with(None, None).select(&[0.0, 0.0, 5.0]), [2, 0, 1]);
    }

    #[test]
    fn a_selection_is_said_in_words() {
        assert_eq!(with(Some(1.0), Some(3)).described(), "std λ=1.00, top 3");
        assert_eq!(with(None, None).described(), "all");
    }
}
