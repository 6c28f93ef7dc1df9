//! How well scores of sources predict what happens without some of them.

use stepfn_models::random::SplitMix64;

use super::Values;
use super::method::{by_size, log_odds, totals};
use crate::AttributionError;

/// What was measured of scores, for the whole answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Checks {
    /// The linear datamodeling score (Park et al. 2023): Spearman's correlation of the sum of the scores of kept sources and the log-odds of the answer,
    /// over random subsets that no method saw; NaN if one of the two never changes.
    pub lds: f64,
    /// For each `k`: how much the answer's log-probability falls without the `k` sources of the highest scores; the mean fall without `k` random ones;
    /// and that without the first `k`.
    pub drops: Vec<(usize, [f64; 3])>,
}

impl Checks {
    /// Measures scores on as many subsets.
    pub(super) fn of(
        scores: &[Vec<f64>],
        subsets: usize,
        tokens: usize,
        seed: u64,
        values: &mut Values<'_>,
    ) -> Result<Self, AttributionError> {
        /// Random orders whose drops are averaged.
        const ORDERS: usize = 5;
        let n = scores.len();
        // Apart from the stream that methods draw from.
        let mut random = SplitMix64::stream(seed ^ 0x6865_6c64_206f_7574, 0);
        let kept: Vec<Vec<bool>> = (0..subsets).map(|_| (0..n).map(|_| random.uniform() < 0.5).collect()).collect();
        let totals = totals(scores);
        let known = |source: usize| if totals[source].is_nan() { 0.0 } else { totals[source] };
        let predicted = |kept: &Vec<bool>| (0..n).filter(|&source| kept[source]).map(known).sum::<f64>();
        let found = values(&kept)?;
        let measured: Vec<f64> = found.iter().map(|values| log_odds(values.iter().sum(), tokens)).collect();
        let lds = spearman(&kept.iter().map(predicted).collect::<Vec<_>>(), &measured);

        let best = by_size(&totals);
        let mut orders = vec![best, (0..n).collect()];
        for _ in 0..ORDERS {
            let keys: Vec<f64> = (0..n).map(|_| random.uniform()).collect();
            let mut order: Vec<usize> = (0..n).collect();
            order.sort_by(|&a, &b| keys[a].total_cmp(&keys[b]));
            orders.push(order);
        }
        let counts: Vec<usize> = [1, 3, 5].into_iter().filter(|&k| k <= n).collect();
        let without =
            |order: &Vec<usize>, k: usize| -> Vec<bool> { (0..n).map(|at| !order[..k].contains(&at)).collect() };
        let mut subsets = vec![vec![true; n]];
        subsets.extend(counts.iter().flat_map(|&k| orders.iter().map(move |order| without(order, k))));
        let sums: Vec<f64> = values(&subsets)?.iter().map(|values| values.iter().sum()).collect();
        let fall = |at: usize| sums[0] - sums[1 + at];
        let drops = counts.iter().enumerate().map(|(at, &k)| {
            let first = at * orders.len();
            let random = (2..orders.len()).map(|order| fall(first + order)).sum::<f64>() / ORDERS as f64;
            (k, [fall(first), random, fall(first + 1)])
        });
        Ok(Self { lds, drops: drops.collect() })
    }
}

/// Spearman's rank correlation; equal values share their mean rank. NaN if all are equal on one side.
pub fn spearman(a: &[f64], b: &[f64]) -> f64 {
    let (a, b) = (ranks(a), ranks(b));
    let mean = (a.len() as f64 - 1.0) / 2.0;
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - mean) * (b - mean)).sum::<f64>();
    product(&a, &b) / (product(&a, &a) * product(&b, &b)).sqrt()
}

fn ranks(values: &[f64]) -> Vec<f64> {
    let below = |value: f64| values.iter().filter(|&&other| other < value).count();
    let equal = |value: f64| values.iter().filter(|&&other| other == value).count();
    values.iter().map(|&value| below(value) as f64 + (equal(value) as f64 - 1.0) / 2.0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_correlate_as_textbooks_say() {
        assert_eq!(ranks(&[3.0, 1.0, 3.0, 9.0]), [1.5, 0.0, 1.5, 3.0]);
        assert!((spearman(&[1.0, 2.0, 3.0], &[10.0, 20.0, 25.0]) - 1.0).abs() < 1e-12);
        assert!((spearman(&[1.0, 2.0, 3.0], &[3.0, 2.0, 1.0]) + 1.0).abs() < 1e-12);
        // 1 − 6 Σd² / (n (n² − 1)), without ties.
        let [a, b] = [[86.0, 97.0, 99.0, 100.0, 101.0], [2.0, 20.0, 28.0, 27.0, 50.0]];
        assert!((spearman(&a, &b) - (1.0 - 6.0 * 2.0 / (5.0 * 24.0))).abs() < 1e-12);
        assert!(spearman(&[1.0, 1.0], &[1.0, 2.0]).is_nan());
    }

    /// A game of independent sources: their own worths predict everything, and the drops are known.
    #[test]
    fn true_scores_predict_all_and_drop_most() {
        let worths = [0.1, 3.0, 0.2, 0.05, 2.0, 0.0];
        let mut values = |kept: &[Vec<bool>]| {
            let of = |kept: &Vec<bool>| {
                vec![
                    -20.0
                        + kept.iter().zip(worths).map(|(&kept, worth)| f64::from(u8::from(kept)) * worth).sum::<f64>(),
                ]
            };
            Ok(kept.iter().map(of).collect())
        };
        let truth: Vec<Vec<f64>> = worths.iter().map(|&worth| vec![worth]).collect();
        let checks = Checks::of(&truth, 40, 4, 7, &mut values).unwrap();
        assert!(checks.lds > 0.999, "{}", checks.lds);
        let [best, random, position] = checks.drops[1].1;
        assert!((best - 5.2).abs() < 1e-9 && (position - 3.3).abs() < 1e-9 && random < best, "{:?}", checks.drops);
        assert_eq!(checks.drops.iter().map(|(k, _)| *k).collect::<Vec<_>>(), [1, 3, 5]);
    }
}
