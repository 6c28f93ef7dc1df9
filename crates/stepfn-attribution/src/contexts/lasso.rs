//! The Lasso (Tibshirani 1996) by coordinate descent (Friedman et al. 2010): `min 1/(2n) Σ (y − b − wᵀx)² + α ‖w‖₁`, with columns standardized
//! before, as Cohen-Wang et al. 2024 do.

/// The coefficients of columns as they came: those of the standardized columns, divided by their standard deviations. A column that never changes has 0.
pub(super) fn lasso(rows: &[Vec<bool>], y: &[f64], alpha: f64) -> Vec<f64> {
    /// Far more than is ever needed: each sweep lowers the objective.
    const SWEEPS: usize = 10_000;
    const TOLERANCE: f64 = 1e-10;
    let (n, columns) = (rows.len() as f64, rows.first().map_or(0, Vec::len));
    let mean = y.iter().sum::<f64>() / n;
    let mut residual: Vec<f64> = y.iter().map(|y| y - mean).collect();
    let size = residual.iter().map(|y| y * y).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
    let standardized: Vec<Option<(Vec<f64>, f64)>> = (0..columns)
        .map(|column| {
            let share = rows.iter().filter(|row| row[column]).count() as f64 / n;
            let scale = (share * (1.0 - share)).sqrt();
            let value = |row: &Vec<bool>| (f64::from(u8::from(row[column])) - share) / scale;
            (scale > 0.0).then(|| (rows.iter().map(value).collect(), scale))
        })
        .collect();
    let mut weights = vec![0.0; columns];
    for _ in 0..SWEEPS {
        let mut moved = 0.0_f64;
        for (weight, column) in weights.iter_mut().zip(&standardized) {
            let Some((x, _)) = column else { continue };
            // Standardized columns have squares that add up to n.
            let pull = x.iter().zip(&residual).map(|(x, rest)| x * rest).sum::<f64>() / n + *weight;
            let next = pull.signum() * (pull.abs() - alpha).max(0.0);
            let change = next - *weight;
            if change != 0.0 {
                residual.iter_mut().zip(x).for_each(|(rest, x)| *rest -= change * x);
                moved = moved.max(change.abs());
                *weight = next;
            }
        }
        if moved <= TOLERANCE * size {
            break;
        }
    }
    weights
        .iter()
        .zip(&standardized)
        .map(|(weight, column)| column.as_ref().map_or(0.0, |(_, scale)| weight / scale))
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// What makes a minimum one (Karush, Kuhn and Tucker), computed from the columns as they came.
        #[test]
        fn the_minimum_is_one(
            rows in prop::collection::vec(prop::collection::vec(any::<bool>(), 6), 8..40),
            noise in prop::collection::vec(-1.0..1.0f64, 40), truth in prop::array::uniform6(-2.0..2.0f64), alpha in 0.001..0.5f64,
        ) {
            let number = |x: bool| f64::from(u8::from(x));
            let y: Vec<f64> = rows.iter().zip(&noise).map(|(row, noise)| {
                row.iter().zip(truth).map(|(&x, weight)| number(x) * weight).sum::<f64>() + noise
            }).collect();
            let found = lasso(&rows, &y, alpha);
            let n = rows.len() as f64;
            let mean = |of: &dyn Fn(usize) -> f64| (0..rows.len()).map(of).sum::<f64>() / n;
            let fit = |row: usize| rows[row].iter().zip(&found).map(|(&x, weight)| number(x) * weight).sum::<f64>();
            let intercept = mean(&|row| y[row] - fit(row));
            for column in 0..6 {
                let share = mean(&|row| number(rows[row][column]));
                let scale = (share * (1.0 - share)).sqrt();
                if scale == 0.0 {
                    prop_assert_eq!(found[column], 0.0);
                    continue;
                }
                let pull = mean(&|row| (number(rows[row][column]) - share) / scale * (y[row] - intercept - fit(row)));
                let expected = if found[column] == 0.0 { pull.abs() <= alpha + 1e-6 } else {
                    (pull - alpha * found[column].signum()).abs() < 1e-6
                };
                prop_assert!(expected, "column {column}: {pull}, weight {}", found[column]);
            }
        }
    }
}
