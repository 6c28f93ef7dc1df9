//! Reduces many scores to one. NaN is skipped: the score of a token that a step can't see is missing, not zero.

use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

use super::names::unknown_function;
use crate::AttributionError;

/// How several scores become one. NaN is skipped; the result is NaN if all values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Function {
    /// The arithmetic mean.
    Mean,
    /// The maximum.
    Max,
    /// The minimum.
    Min,
    /// The sum.
    Sum,
    /// The product.
    Prod,
    /// The value with the largest magnitude, with its sign; the first of equals.
    AbsMax,
    /// The Euclidean norm, √Σx².
    #[serde(rename = "vnorm")]
    VectorNorm,
}

impl Function {
    /// All functions.
    pub const ALL: [Self; 7] =
        [Self::Mean, Self::Max, Self::Min, Self::Sum, Self::Prod, Self::AbsMax, Self::VectorNorm];

    /// Its name, as in JSON and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mean => "mean",
            Self::Max => "max",
            Self::Min => "min",
            Self::Sum => "sum",
            Self::Prod => "prod",
            Self::AbsMax => "absmax",
            Self::VectorNorm => "vnorm",
        }
    }

    /// Reduces scores to one.
    pub fn over(self, values: impl IntoIterator<Item = f32>) -> f32 {
        let numbers = values.into_iter().filter(|value| !value.is_nan()).map(f64::from);
        let (mut count, mut result) = (0u32, f64::NAN);
        for number in numbers {
            count += 1;
            result = match self {
                _ if count == 1 => match self {
                    Self::VectorNorm => number * number,
                    _ => number,
                },
                Self::Mean | Self::Sum => result + number,
                Self::Max => result.max(number),
                Self::Min => result.min(number),
                Self::Prod => result * number,
                Self::AbsMax if number.abs() > result.abs() => number,
                Self::AbsMax => result,
                Self::VectorNorm => result + number * number,
            };
        }
        let result = match self {
            Self::Mean => result / f64::from(count),
            Self::VectorNorm => result.sqrt(),
            _ => result,
        };
        result as f32
    }
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Function {
    type Err = AttributionError;

    fn from_str(name: &str) -> Result<Self, AttributionError> {
        Self::ALL.into_iter().find(|function| function.name() == name).ok_or_else(|| unknown_function(name))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn functions_of_a_few_numbers() {
        let values = [0.5, f32::NAN, -2.0, 1.0];
        let results = Function::ALL.map(|function| function.over(values));
        assert_eq!(results, [-0.5 / 3.0, 1.0, -2.0, -0.5, -1.0, -2.0, 5.25f32.sqrt()]);
    }

    #[test]
    fn nothing_but_nan_stays_nan() {
        for function in Function::ALL {
            assert!(function.over([f32::NAN, f32::NAN]).is_nan(), "{function}");
            assert!(function.over([]).is_nan(), "{function}");
        }
    }

    proptest! {
        #[test]
        fn the_order_of_values_does_not_matter(values in prop::collection::vec(-4.0f32..4.0, 1..8), at in 0usize..8) {
            let mut turned = values.clone();
            turned.rotate_left(at % values.len());
            for function in Function::ALL {
                let (one, other) = (function.over(values.clone()), function.over(turned.clone()));
                prop_assert!((one - other).abs() <= 1e-4 * one.abs().max(1.0), "{function}: {one} {other}");
            }
        }

        #[test]
        fn nan_changes_nothing(values in prop::collection::vec(-4.0f32..4.0, 1..8), at in 0usize..8) {
            let mut holed = values.clone();
            holed.insert(at % (values.len() + 1), f32::NAN);
            for function in Function::ALL {
                prop_assert_eq!(function.over(values.clone()), function.over(holed.clone()));
            }
        }
    }
}
