//! Means over texts, with intervals.

use serde::Serialize;
use stepfn_models::random::SplitMix64;

/// A mean with an interval that holds it in 95 of 100 samples of texts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval {
    /// The mean; NaN if no text has a number.
    pub mean: f64,
    /// The lower end; NaN for fewer than two texts.
    pub low: f64,
    /// The upper end; NaN for fewer than two texts.
    pub high: f64,
}

/// Samples of texts.
const SAMPLES: usize = 1000;

/// The means of several series over the same texts, with percentile intervals of the bootstrap over texts (Efron & Tibshirani 1993, §13.3): 1,000 samples,
/// the same for all series. NaN is a text without a number.
pub fn intervals(series: &[Vec<f64>], seed: u64) -> Vec<Interval> {
    let texts = series.first().map_or(0, Vec::len);
    let mut random = SplitMix64::stream(seed, 0);
    let mut means = vec![Vec::with_capacity(SAMPLES); series.len()];
    for _ in 0..SAMPLES {
        // Added up as they are drawn: a sample of many texts takes no memory.
        let mut sums = vec![(0.0, 0_u32); series.len()];
        for _ in 0..texts {
            let text = random.below(texts);
            for ((sum, count), value) in sums.iter_mut().zip(series.iter().map(|values| values[text])) {
                if !value.is_nan() {
                    (*sum, *count) = (*sum + value, *count + 1);
                }
            }
        }
        for (means, (sum, count)) in means.iter_mut().zip(sums) {
            means.extend((count > 0).then(|| sum / f64::from(count)));
        }
    }
    let of_series = |(values, mut means): (&Vec<f64>, Vec<f64>)| {
        let known = values.iter().filter(|value| !value.is_nan()).count();
        let mean = mean(values.iter().copied());
        if known < 2 {
            return Interval { mean, low: f64::NAN, high: f64::NAN };
        }
        means.sort_by(f64::total_cmp);
        Interval { mean, low: quantile(&means, 0.025), high: quantile(&means, 0.975) }
    };
    series.iter().zip(means).map(of_series).collect()
}

/// The mean of the numbers among these.
pub(crate) fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.filter(|value| !value.is_nan()).fold((0.0, 0_u32), |(sum, n), x| (sum + x, n + 1));
    sum / f64::from(count)
}

/// Between two of the sorted values by straight lines.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let at = share * last as f64;
    let (below, above) = (at.floor() as usize, at.ceil() as usize);
    sorted[below] + (sorted[above] - sorted[below]) * (at - at.floor())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_as_wide_as_the_error_of_the_mean() {
        let mut random = SplitMix64::stream(3, 0);
        let values: Vec<f64> = (0..400).map(|_| 5.0 + random.normal()).collect();
        let found = intervals(core::slice::from_ref(&values), 1)[0];
        // 1.96 standard errors of the mean on each side.
        let half = (found.high - found.low) / 2.0;
        assert!((half - 1.96 / 20.0).abs() < 0.012, "{half}");
        assert!(found.low < found.mean && found.mean < found.high && (found.mean - 5.0).abs() < 0.2);
        assert_eq!(intervals(core::slice::from_ref(&values), 1)[0], found, "the seed decides");
    }

    #[test]
    fn samples_are_the_same_for_all_series() {
        let a: Vec<f64> = (0..20).map(f64::from).collect();
        let b: Vec<f64> = a.iter().map(|x| 3.0 - 2.0 * x).collect();
        let [a, b] = <[Interval; 2]>::try_from(intervals(&[a, b], 4)).unwrap();
        assert!((b.low - (3.0 - 2.0 * a.high)).abs() < 1e-12 && (b.high - (3.0 - 2.0 * a.low)).abs() < 1e-12);
    }

    #[test]
    fn texts_without_a_number_are_left_out() {
        let nan = f64::NAN;
        let found = intervals(&[vec![1.0, nan, 3.0], vec![nan, nan, 2.0], vec![nan; 3]], 0);
        assert_eq!(found[0].mean, 2.0);
        assert!(found[0].low >= 1.0 && found[0].high <= 3.0);
        assert!(found[1].mean == 2.0 && found[1].low.is_nan() && found[2].mean.is_nan());
        assert!(intervals(&[], 0).is_empty());
    }
}
