//! Whether scores name what people marked (DeYoung et al. 2020, doi:10.18653/v1/2020.acl-main.408). That is plausibility: a model may have predicted from
//! something else, and scores that say so are faithful.

use crate::Ranking;
use crate::order::ordered;

/// How well scores name the features that people marked; all NaN if none is marked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Plausibility {
    /// The area under the curve of precision over recall, as average precision `Σ (Rₙ − Rₙ₋₁) Pₙ` over the thresholds that the scores have: features with
    /// equal scores are named together.
    pub auprc: f64,
    /// F1 of the most important features, as many as are marked: the share of them that is.
    pub token_f1: f64,
    /// Intersection over union of the same and the marked ones.
    pub iou: f64,
    /// One over the place of the first marked feature in the order.
    pub reciprocal_rank: f64,
}

impl Plausibility {
    /// Of scores, with the features that are marked.
    ///
    /// # Panics
    /// If there are fewer flags than scores.
    pub fn of(scores: &[f64], marked: &[bool], ranking: Ranking) -> Self {
        let order = ordered(scores, ranking);
        let count = marked.iter().filter(|marked| **marked).count();
        if count == 0 {
            let nan = f64::NAN;
            return Self { auprc: nan, token_f1: nan, iou: nan, reciprocal_rank: nan };
        }
        let (mut auprc, mut found, mut before) = (0.0, 0_usize, 0_usize);
        for (at, &feature) in order.iter().enumerate() {
            found += usize::from(marked[feature]);
            let is_tied =
                order.get(at + 1).is_some_and(|&next| ranking.key(scores[next]) == ranking.key(scores[feature]));
            if !is_tied {
                auprc += (found - before) as f64 / count as f64 * found as f64 / (at + 1) as f64;
                before = found;
            }
        }
        let shared = order[..count].iter().filter(|&&feature| marked[feature]).count() as f64;
        let first = order.iter().position(|&feature| marked[feature]);
        Self {
            auprc,
            token_f1: shared / count as f64,
            iou: shared / (2.0 * count as f64 - shared),
            reciprocal_rank: first.map_or(f64::NAN, |first| 1.0 / (first + 1) as f64),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Each threshold by itself: precision and recall of the features at or above it.
    fn slowly(scores: &[f64], marked: &[bool]) -> [f64; 4] {
        let count = marked.iter().filter(|marked| **marked).count() as f64;
        let mut thresholds = scores.to_vec();
        thresholds.sort_by(|a, b| b.total_cmp(a));
        thresholds.dedup();
        let (mut area, mut recall) = (0.0, 0.0);
        for threshold in thresholds {
            let named: Vec<usize> = (0..scores.len()).filter(|&at| scores[at] >= threshold).collect();
            let right = named.iter().filter(|&&at| marked[at]).count() as f64;
            area += (right / count - recall) * right / named.len() as f64;
            recall = right / count;
        }
        // How many are before a feature: greater ones, and equal ones that come earlier in the text.
        let rank = |feature: usize| {
            (0..scores.len())
                .filter(|&at| scores[at] > scores[feature] || (scores[at] == scores[feature] && at < feature))
                .count()
        };
        let named: Vec<usize> = (0..scores.len()).filter(|&at| (rank(at) as f64) < count).collect();
        let both = named.iter().filter(|&&at| marked[at]).count() as f64;
        let any = (0..scores.len()).filter(|at| marked[*at] || named.contains(at)).count() as f64;
        let (precision, recall) = (both / named.len() as f64, both / count);
        let f1 = if both == 0.0 { 0.0 } else { 2.0 * precision * recall / (precision + recall) };
        let best = (0..scores.len()).filter(|&at| marked[at]).map(rank).min().unwrap_or(0);
        [area, f1, both / any, 1.0 / (best as f64 + 1.0)]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn figures_are_those_of_every_threshold(given in prop::collection::vec((-4i8..5, any::<bool>()), 1..25)) {
            let (scores, marked): (Vec<f64>, Vec<bool>) =
                given.into_iter().map(|(score, marked)| (f64::from(score) / 2.0, marked)).unzip();
            let found = Plausibility::of(&scores, &marked, Ranking::Signed);
            let found = [found.auprc, found.token_f1, found.iou, found.reciprocal_rank];
            if marked.iter().any(|marked| *marked) {
                for (found, expected) in found.iter().zip(slowly(&scores, &marked)) {
                    prop_assert!((found - expected).abs() < 1e-12, "{found} instead of {expected}");
                }
                let sizes: Vec<f64> = scores.iter().map(|score| score.abs()).collect();
                let by_size = Plausibility::of(&scores, &marked, Ranking::Magnitude);
                prop_assert_eq!(by_size, Plausibility::of(&sizes, &marked, Ranking::Signed));
            } else {
                prop_assert!(found.iter().all(|figure| figure.is_nan()));
            }
        }
    }

    #[test]
    fn figures_are_as_worked_out_by_hand() {
        // In order: marked, not, marked, not.
        let found = Plausibility::of(&[0.9, 0.1, 0.5, 0.7], &[true, false, true, false], Ranking::Signed);
        assert!((found.auprc - (0.5 + 0.5 * 2.0 / 3.0)).abs() < 1e-12);
        assert_eq!((found.token_f1, found.iou, found.reciprocal_rank), (0.5, 1.0 / 3.0, 1.0));
        // Scores that are all the same name everything at once.
        let flat = Plausibility::of(&[0.2; 4], &[false, false, true, false], Ranking::Signed);
        assert_eq!((flat.auprc, flat.reciprocal_rank), (0.25, 1.0 / 3.0));
    }
}
