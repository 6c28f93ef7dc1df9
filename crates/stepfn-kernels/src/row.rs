//! One row of logits in host memory, as a search reads it that writes a text.

use crate::lanes;

/// The two numbers to subtract from each logit to get a log-probability.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Normalizer {
    /// `m = max z`
    pub max: f32,
    /// `N = ln Σ exp(zᵢ − m)`
    pub log_norm: f32,
}

impl Normalizer {
    /// The normalizer of a row, in which −∞ is the logit of a token that is impossible; `None` if a logit is NaN or +∞.
    pub fn of(row: &[f32]) -> Option<Self> {
        pulp::Arch::new().dispatch(OfRow(row))
    }

    /// `ln p` of a token with logit `z`.
    pub fn log_prob(self, z: f32) -> f32 {
        z - self.max - self.log_norm
    }

    /// Makes log-probabilities of a row of logits.
    pub fn apply(self, row: &mut [f32]) {
        row.iter_mut().for_each(|z| *z = self.log_prob(*z));
    }
}

/// The first of the largest elements of a row; `None` if no element is above −∞.
pub fn first_largest(row: &[f32]) -> Option<usize> {
    let largest = pulp::Arch::new().dispatch(Largest(row));
    if largest == f32::NEG_INFINITY { None } else { row.iter().position(|&x| x == largest) }
}

/// To be compiled once per instruction set.
struct OfRow<'a>(&'a [f32]);

impl pulp::NullaryFnOnce for OfRow<'_> {
    type Output = Option<Normalizer>;

    #[inline(always)]
    fn call(self) -> Option<Normalizer> {
        let row = self.0;
        // A comparison with NaN is false.
        if lanes::count(row, |z| z < f32::INFINITY) as usize != row.len() {
            return None;
        }
        let max = lanes::max(row);
        let [sum] = lanes::sums(row, |z| [lanes::exp(z - max)]);
        Some(Normalizer { max, log_norm: sum.ln() as f32 })
    }
}

/// To be compiled once per instruction set.
struct Largest<'a>(&'a [f32]);

impl pulp::NullaryFnOnce for Largest<'_> {
    type Output = f32;

    #[inline(always)]
    fn call(self) -> f32 {
        lanes::max(self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn log_probabilities_are_those_in_double_precision(
            row in prop::collection::vec(prop_oneof![9 => -30_f32..30.0, 1 => Just(f32::NEG_INFINITY)], 1..700),
        ) {
            let sum: f64 = row.iter().map(|&z| f64::from(z).exp()).sum();
            prop_assume!(sum > 0.0);
            let normalizer = Normalizer::of(&row).unwrap();
            let mut changed = row.clone();
            normalizer.apply(&mut changed);
            for (&z, found) in row.iter().zip(changed) {
                let expected = f64::from(z) - sum.ln();
                prop_assert!(f64::from(found) == expected || (f64::from(found) - expected).abs() < 1e-5);
            }
        }

        /// With few distinct values there are many ties.
        #[test]
        fn the_first_of_the_largest_is_found(row in prop::collection::vec(0_u8..9, 0..700)) {
            let row: Vec<f32> = row.into_iter().map(|x| if x == 0 { f32::NEG_INFINITY } else { f32::from(x) }).collect();
            let mut expected = (None, f32::NEG_INFINITY);
            for (index, &x) in row.iter().enumerate() {
                if x > expected.1 {
                    expected = (Some(index), x);
                }
            }
            prop_assert_eq!(first_largest(&row), expected.0);
        }

        #[test]
        fn rows_with_broken_numbers_have_no_normalizer(length in 1_usize..400, at in any::<prop::sample::Index>(), nan: bool) {
            let mut row = vec![0.5; length];
            row[at.index(length)] = if nan { f32::NAN } else { f32::INFINITY };
            prop_assert_eq!(Normalizer::of(&row), None);
        }
    }
}
