//! What happens as features are hidden one after the other: the most important first (MoRF), or the least important first (LeRF).
//!
//! Hiding all but the most important features is hiding the least important ones, so comprehensiveness, sufficiency, deletion, insertion and the areas
//! are all read off these two curves.

use std::collections::BTreeMap;

use stepfn_attribution::AttributionError;

use crate::Values;

/// The shares of features of comprehensiveness and sufficiency (DeYoung et al. 2020, doi:10.18653/v1/2020.acl-main.408).
pub const TOP: [f64; 5] = [0.01, 0.05, 0.1, 0.2, 0.5];

/// The shares of hidden features at which curves are computed.
pub const SHARES: [f64; 11] = [0.0, 0.01, 0.05, 0.1, 0.2, 0.5, 0.8, 0.9, 0.95, 0.99, 1.0];

/// How many of `features` a share of them is: of a half or less, at least one; of more, all but those that the rest is.
pub fn hidden_count(share: f64, features: usize) -> usize {
    match share {
        _ if share <= 0.0 || features == 0 => 0,
        _ if share >= 1.0 => features,
        _ if share <= 0.5 => ((share * features as f64 + 1e-9).round() as usize).clamp(1, features),
        _ => features - hidden_count(1.0 - share, features),
    }
}

/// Which points of the curves are computed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Points {
    /// The [`TOP`] shares hidden.
    pub(crate) top: bool,
    /// All but the [`TOP`] shares hidden.
    pub(crate) rest: bool,
    /// The whole curve from the most important on.
    pub(crate) most: bool,
    /// The whole curve from the least important on.
    pub(crate) least: bool,
}

impl Points {
    pub(crate) const ALL: Self = Self { top: true, rest: true, most: true, least: true };
}

/// The values of the two curves, by how many features are hidden.
#[derive(Debug, Clone, PartialEq)]
pub struct Curves {
    features: usize,
    most: BTreeMap<usize, f64>,
    least: BTreeMap<usize, f64>,
}

impl Curves {
    /// Both curves of an order of features, the most important first, at [`SHARES`].
    ///
    /// # Errors
    /// Those of the game.
    pub fn of(order: &[usize], values: &mut Values<'_>) -> Result<Self, AttributionError> {
        Self::at(order, Points::ALL, values)
    }

    pub(crate) fn at(order: &[usize], points: Points, values: &mut Values<'_>) -> Result<Self, AttributionError> {
        let n = order.len();
        let top: Vec<usize> = TOP.iter().map(|&share| hidden_count(share, n)).collect();
        let rest: Vec<usize> = top.iter().map(|count| n - count).collect();
        let (mut most, mut least) = (vec![0], vec![0]);
        if points.top || points.most {
            most.extend(&top);
        }
        if points.rest || points.least {
            least.extend(&rest);
        }
        // The others of a whole curve.
        if points.most {
            most.extend(rest.iter().chain([&n]));
        }
        if points.least {
            least.extend(top.iter().chain([&n]));
        }
        for counts in [&mut most, &mut least] {
            counts.sort_unstable();
            counts.dedup();
        }
        let hidden = |features: &[usize]| {
            let mut hidden = vec![false; n];
            features.iter().for_each(|&feature| hidden[feature] = true);
            hidden
        };
        let from_most = most.iter().map(|&count| hidden(&order[..count]));
        let sets: Vec<Vec<bool>> = from_most.chain(least.iter().map(|&count| hidden(&order[n - count..]))).collect();
        let found = values(&sets)?;
        let (of_most, of_least) = found.split_at(most.len());
        let curve = |counts: Vec<usize>, values: &[f64]| counts.into_iter().zip(values.iter().copied()).collect();
        Ok(Self { features: n, most: curve(most, of_most), least: curve(least, of_least) })
    }

    /// The value with all features, `f(x)`.
    pub fn whole(&self) -> f64 {
        self.most.get(&0).copied().unwrap_or(f64::NAN)
    }

    /// What the value loses without the most important features, `f(x) − f(x without them)`, for a share of them; NaN where it was not computed.
    pub fn lost_without_most(&self, share: f64) -> f64 {
        self.whole() - self.most.get(&hidden_count(share, self.features)).copied().unwrap_or(f64::NAN)
    }

    /// What it loses without a share of the least important features.
    pub fn lost_without_least(&self, share: f64) -> f64 {
        self.whole() - self.least.get(&hidden_count(share, self.features)).copied().unwrap_or(f64::NAN)
    }

    /// AOPC of comprehensiveness: what the value loses without the [`TOP`] shares, in the mean (DeYoung et al. 2020).
    pub fn comprehensiveness(&self) -> f64 {
        TOP.iter().map(|&share| self.lost_without_most(share)).sum::<f64>() / TOP.len() as f64
    }

    /// AOPC of sufficiency: what it loses with nothing but the [`TOP`] shares, in the mean (DeYoung et al. 2020).
    pub fn sufficiency(&self) -> f64 {
        let n = self.features;
        let lost = |&share: &f64| {
            let hidden = n - hidden_count(share, n);
            self.whole() - self.least.get(&hidden).copied().unwrap_or(f64::NAN)
        };
        TOP.iter().map(lost).sum::<f64>() / TOP.len() as f64
    }

    /// The area under what `of` makes of the values, over the share of the features that are hidden, the most important first: by trapezoids.
    pub fn area_without_most(&self, of: impl Fn(f64) -> f64) -> f64 {
        self.area(&self.most, of)
    }

    /// The same, the least important first.
    pub fn area_without_least(&self, of: impl Fn(f64) -> f64) -> f64 {
        self.area(&self.least, of)
    }

    fn area(&self, curve: &BTreeMap<usize, f64>, of: impl Fn(f64) -> f64) -> f64 {
        let points: Vec<(f64, f64)> =
            curve.iter().map(|(&count, &value)| (count as f64 / self.features as f64, of(value))).collect();
        points.windows(2).map(|pair| (pair[1].0 - pair[0].0) * (pair[0].1 + pair[1].1) / 2.0).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_at_least_one_feature_and_its_rest_the_others() {
        let counts = |features: usize| SHARES.map(|share| hidden_count(share, features));
        assert_eq!(counts(10), [0, 1, 1, 1, 2, 5, 8, 9, 9, 9, 10]);
        assert_eq!(counts(200), [0, 2, 10, 20, 40, 100, 160, 180, 190, 198, 200]);
        assert_eq!(counts(2), [0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2]);
        for features in 2..60 {
            assert!(counts(features).windows(2).all(|pair| pair[0] <= pair[1]), "{features}");
        }
    }
}
