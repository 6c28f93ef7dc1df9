//! Points and weights by which an integral over [0, 1] becomes a sum.

use core::f64::consts::PI;

use serde::{Deserialize, Serialize};

/// How an integral becomes a sum.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Quadrature {
    /// Gauss and Legendre's points: exact for polynomials of degree 2n − 1.
    #[default]
    #[serde(rename = "gausslegendre")]
    GaussLegendre,
    /// n equal intervals, each at its left end.
    RiemannLeft,
    /// n equal intervals, each at its right end.
    RiemannRight,
    /// n equal intervals, each at its middle.
    RiemannMiddle,
    /// The ends and n − 2 points between, joined by lines.
    RiemannTrapezoid,
}

impl Quadrature {
    /// `n` points in [0, 1] and their weights, which add up to 1.
    pub fn points(self, n: usize) -> (Vec<f64>, Vec<f64>) {
        let even = |offset: f64| {
            let points = (0..n).map(|k| (k as f64 + offset) / n as f64).collect();
            (points, vec![1.0 / n as f64; n])
        };
        match self {
            Quadrature::GaussLegendre => gauss_legendre(n),
            Quadrature::RiemannLeft => even(0.0),
            Quadrature::RiemannRight => even(1.0),
            Quadrature::RiemannMiddle => even(0.5),
            Quadrature::RiemannTrapezoid if n < 2 => even(0.5),
            Quadrature::RiemannTrapezoid => {
                let last = (n - 1) as f64;
                let weight = |k: usize| if k == 0 || k == n - 1 { 0.5 / last } else { 1.0 / last };
                ((0..n).map(|k| k as f64 / last).collect(), (0..n).map(weight).collect())
            }
        }
    }
}

/// The roots of the `n`th Legendre polynomial by Newton's iteration, moved to [0, 1], with weights `2 / ((1 − x²) P'(x)²)`, halved.
pub(crate) fn gauss_legendre(n: usize) -> (Vec<f64>, Vec<f64>) {
    let root = |k: usize| {
        let mut x = (PI * (k as f64 + 0.75) / (n as f64 + 0.5)).cos();
        let mut slope = 1.0;
        for _ in 0..100 {
            let (value, derivative) = legendre(n, x);
            slope = derivative;
            let step = value / derivative;
            x -= step;
            if step.abs() < 1e-15 {
                break;
            }
        }
        ((1.0 - x) / 2.0, 1.0 / ((1.0 - x * x) * slope * slope))
    };
    (0..n).map(root).unzip()
}

/// `Pₙ(x)` and its derivative.
fn legendre(n: usize, x: f64) -> (f64, f64) {
    let (mut before, mut value) = (1.0, x);
    for k in 2..=n {
        let k = k as f64;
        (before, value) = (value, ((2.0 * k - 1.0) * x * value - (k - 1.0) * before) / k);
    }
    (value, n as f64 * (x * value - before) / (x * x - 1.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all() -> impl Strategy<Value = Quadrature> {
        use Quadrature::{GaussLegendre, RiemannLeft, RiemannMiddle, RiemannRight, RiemannTrapezoid};
        prop::sample::select(vec![GaussLegendre, RiemannLeft, RiemannMiddle, RiemannRight, RiemannTrapezoid])
    }

    proptest! {
        #[test]
        fn weights_add_up_to_one(quadrature in all(), n in 1usize..200) {
            let (points, weights) = quadrature.points(n);
            prop_assert_eq!(points.len(), n);
            prop_assert!((weights.iter().sum::<f64>() - 1.0).abs() < 1e-12);
            prop_assert!(points.iter().all(|point| (0.0..=1.0).contains(point)));
        }

        #[test]
        fn gauss_and_legendre_are_exact_for_polynomials(n in 1usize..40, degree in 0usize..80) {
            let degree = degree % (2 * n);
            let (points, weights) = gauss_legendre(n);
            let sum: f64 = points.iter().zip(&weights).map(|(x, w)| w * x.powi(degree as i32)).sum();
            prop_assert!((sum * (degree + 1) as f64 - 1.0).abs() < 1e-10);
        }
    }
}
