//! Weighted least squares of a few hundred unknowns on the host, in double precision: normal equations, solved by Cholesky's decomposition.

/// `Σ w z zᵀ` and `Σ w z y` of observations `z ↦ y`.
#[derive(Debug, Clone)]
pub(super) struct NormalEquations {
    unknowns: usize,
    /// Row-major; only the lower triangle is filled.
    gram: Vec<f64>,
    moments: Vec<f64>,
}

impl NormalEquations {
    pub(super) fn new(unknowns: usize) -> Self {
        Self { unknowns, gram: vec![0.0; unknowns * unknowns], moments: vec![0.0; unknowns] }
    }

    /// Adds an observation.
    pub(super) fn observe(&mut self, z: &[f64], y: f64, weight: f64) {
        for (row, &of_row) in z.iter().enumerate() {
            if of_row == 0.0 {
                continue;
            }
            let scaled = weight * of_row;
            self.moments[row] += scaled * y;
            let gram = &mut self.gram[row * self.unknowns..][..=row];
            gram.iter_mut().zip(z).for_each(|(sum, other)| *sum += scaled * other);
        }
    }

    /// The minimum of `Σ w (y − βᵀz)² + penalty |β|²`.
    pub(super) fn ridge(&self, penalty: f64) -> Vec<f64> {
        self.decomposed(penalty).solve(&self.moments)
    }

    /// The minimum of `Σ w (y − βᵀz)²` where the unknowns add up to `total`, by a Lagrange multiplier: `β = A⁻¹ (b − λ1)`.
    pub(super) fn adding_up_to(&self, total: f64) -> Vec<f64> {
        let decomposed = self.decomposed(0.0);
        let free = decomposed.solve(&self.moments);
        let ones = decomposed.solve(&vec![1.0; self.unknowns]);
        let multiplier = (free.iter().sum::<f64>() - total) / ones.iter().sum::<f64>();
        free.iter().zip(&ones).map(|(free, one)| free - multiplier * one).collect()
    }

    /// `A + penalty I`, plus a small diagonal that keeps an `A` of too few observations from being singular.
    fn decomposed(&self, penalty: f64) -> Cholesky {
        let n = self.unknowns;
        let greatest = (0..n).map(|i| self.gram[i * n + i]).fold(0.0, f64::max);
        let penalty = penalty.max(1e-10 * greatest).max(1e-12);
        let mut matrix = self.gram.clone();
        (0..n).for_each(|i| matrix[i * n + i] += penalty);
        Cholesky::new(matrix, n, penalty)
    }
}

/// `L Lᵀ`
struct Cholesky {
    n: usize,
    lower: Vec<f64>,
}

impl Cholesky {
    /// Of a symmetric matrix whose eigenvalues are `least` or more.
    fn new(mut matrix: Vec<f64>, n: usize, least: f64) -> Self {
        for row in 0..n {
            let (above, rest) = matrix.split_at_mut(row * n);
            let current = &mut rest[..n];
            for column in 0..row {
                let other = &above[column * n..][..=column];
                let product: f64 = current[..column].iter().zip(other).map(|(a, b)| a * b).sum();
                current[column] = (current[column] - product) / other[column];
            }
            let square: f64 = current[..row].iter().map(|x| x * x).sum();
            // Except for rounding, no pivot is below the smallest eigenvalue.
            current[row] = (current[row] - square).max(least).sqrt();
        }
        Self { n, lower: matrix }
    }

    fn solve(&self, right: &[f64]) -> Vec<f64> {
        let at = |row: usize, column: usize| self.lower[row * self.n + column];
        let mut x = right.to_vec();
        for row in 0..self.n {
            let known: f64 = (0..row).map(|column| at(row, column) * x[column]).sum();
            x[row] = (x[row] - known) / at(row, row);
        }
        for row in (0..self.n).rev() {
            let known: f64 = (row + 1..self.n).map(|below| at(below, row) * x[below]).sum();
            x[row] = (x[row] - known) / at(row, row);
        }
        x
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `Σ w (y − βᵀz)² + penalty |β|²`
    fn loss(data: &[(Vec<f64>, f64, f64)], beta: &[f64], penalty: f64) -> f64 {
        let fit = |z: &[f64]| z.iter().zip(beta).map(|(z, beta)| z * beta).sum::<f64>();
        let residuals: f64 = data.iter().map(|(z, y, weight)| weight * (y - fit(z)).powi(2)).sum();
        residuals + penalty * beta.iter().map(|beta| beta * beta).sum::<f64>()
    }

    prop_compose! {
        fn data()(unknowns in 1usize..8)(
            data in prop::collection::vec((prop::collection::vec(-1.0..1.0, unknowns), -2.0..2.0, 0.1..1.0), 20..40)
        ) -> Vec<(Vec<f64>, f64, f64)> {
            data
        }
    }

    fn equations(data: &[(Vec<f64>, f64, f64)]) -> NormalEquations {
        let mut equations = NormalEquations::new(data[0].0.len());
        data.iter().for_each(|(z, y, weight)| equations.observe(z, *y, *weight));
        equations
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn nothing_near_a_ridge_has_a_smaller_loss(data in data(), penalty in 0.01f64..2.0, index in 0usize..8) {
            let beta = equations(&data).ridge(penalty);
            let least = loss(&data, &beta, penalty);
            for step in [-1e-3, 1e-3] {
                let mut other = beta.clone();
                other[index % beta.len()] += step;
                prop_assert!(loss(&data, &other, penalty) > least);
            }
        }

        #[test]
        fn nothing_near_that_adds_up_the_same_has_a_smaller_loss(data in data(), total in -3.0f64..3.0) {
            let beta = equations(&data).adding_up_to(total);
            prop_assert!((beta.iter().sum::<f64>() - total).abs() < 1e-9);
            let least = loss(&data, &beta, 0.0);
            for moved in 1..beta.len() {
                let mut other = beta.clone();
                other[0] += 1e-3;
                other[moved] -= 1e-3;
                prop_assert!(loss(&data, &other, 0.0) > least);
            }
        }
    }

    #[test]
    fn too_few_observations_share_what_they_cannot_tell_apart() {
        let mut equations = NormalEquations::new(3);
        equations.observe(&[1.0, 1.0, 0.0], 2.0, 1.0);
        let beta = equations.ridge(0.0);
        assert!((beta[0] - 1.0).abs() < 1e-6 && (beta[1] - 1.0).abs() < 1e-6 && beta[2] == 0.0, "{beta:?}");
        assert_eq!(NormalEquations::new(2).ridge(1.0), [0.0, 0.0]);
    }
}
