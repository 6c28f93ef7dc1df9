//! How one token compares with the others: its rank, and the best other token.

use burn::tensor::{Int, Tensor, backend::Backend};

use crate::host::{self, HostRows, RowKernel};
use crate::lanes;

/// How many tokens are strictly more likely than the target: 0 for the most likely one. Ties count in the target's favour. Not
/// differentiable.
///
/// # Shapes
/// - `logits`: `[rows, vocab]`
/// - `target_logits`: `[rows, 1]`
/// - result: `[rows, 1]`
pub fn better_tokens<B: Backend>(logits: &Tensor<B, 2>, target_logits: &Tensor<B, 2>) -> Tensor<B, 2> {
    if let (Some(rows), Some(targets)) = (HostRows::of(logits), host::column_values(target_logits)) {
        let kernel = RankKernel { rows: &rows, targets: &targets };
        let [counts] = host::map_rows(rows.len(), rows.width(), kernel);
        return host::column(counts, logits);
    }
    composed_better_tokens(logits, target_logits)
}

fn composed_better_tokens<B: Backend>(logits: &Tensor<B, 2>, target_logits: &Tensor<B, 2>) -> Tensor<B, 2> {
    let target_logits = target_logits.clone().detach();
    let better = logits.clone().detach().greater(target_logits.clone());
    // Counted in the type of the logits: an integer count would be converted to the backend's default float type, which may be a half.
    logits.zeros_like().mask_fill(better, 1.0).sum_dim(1)
}

/// The largest logit of any other token than the target.
///
/// # Shapes
/// - `logits`: `[rows, vocab]`, `vocab ≥ 2`
/// - `target_ids`: `[rows, 1]`
/// - result: `[rows, 1]`
///
/// # Panics
/// If a target is outside the vocabulary, on backends that check it.
pub fn best_other<B: Backend>(logits: &Tensor<B, 2>, target_ids: &Tensor<B, 2, Int>) -> Tensor<B, 2> {
    if let Some(rows) = HostRows::of(logits) {
        let targets: Vec<usize> = target_ids.to_data().iter::<i64>().map(|id| id as usize).collect();
        let kernel = BestOtherKernel { rows: &rows, targets: &targets };
        let [best] = host::map_rows(rows.len(), rows.width(), kernel);
        return host::column(best, logits);
    }
    composed_best_other(logits, target_ids)
}

fn composed_best_other<B: Backend>(logits: &Tensor<B, 2>, target_ids: &Tensor<B, 2, Int>) -> Tensor<B, 2> {
    let [_, vocab] = logits.dims();
    let tokens = Tensor::<B, 1, Int>::arange(0..vocab as i64, &logits.device()).unsqueeze_dim::<2>(0);
    let is_target = tokens.equal(target_ids.clone());
    logits.clone().mask_fill(is_target, f32::MIN).max_dim(1)
}

struct RankKernel<'a> {
    rows: &'a HostRows,
    targets: &'a [f32],
}

impl RowKernel<1> for RankKernel<'_> {
    #[inline(always)]
    fn row(&self, index: usize) -> [f32; 1] {
        let target = self.targets[index];
        [lanes::count(self.rows.row(index), |z| z > target) as f32]
    }
}

struct BestOtherKernel<'a> {
    rows: &'a HostRows,
    targets: &'a [usize],
}

impl RowKernel<1> for BestOtherKernel<'_> {
    #[inline(always)]
    fn row(&self, index: usize) -> [f32; 1] {
        let (row, target) = (self.rows.row(index), self.targets[index]);
        let (before, after) = (&row[..target], &row[target + 1..]);
        [lanes::max(before).max(lanes::max(after))]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Flex, assert_close, logits_strategy, tensor};
    use burn::tensor::TensorData;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn both_routes_agree_with_counting((rows, values) in logits_strategy(), pick in 0usize..1000) {
            let logits = tensor::<Flex>(&values, rows);
            let width = values.len() / rows;
            let ids: Vec<usize> = (0..rows).map(|row| (pick + row) % width).collect();
            let targets: Vec<f32> = values.chunks(width).zip(&ids).map(|(row, &id)| row[id]).collect();
            let target_ids = ids.iter().map(|&id| id as i32).collect::<Vec<_>>();
            let target_ids = Tensor::<Flex, 2, Int>::from_data(TensorData::new(target_ids, [rows, 1]), &logits.device());
            let target_logits = tensor::<Flex>(&targets, rows);

            let count = |(row, &target): (&[f32], &f32)| row.iter().filter(|&&z| z > target).count() as f64;
            let better: Vec<f64> = values.chunks(width).zip(&targets).map(count).collect();
            assert_close(&better_tokens(&logits, &target_logits), &better, 0.0);
            assert_close(&composed_better_tokens(&logits, &target_logits), &better, 0.0);

            let others = |(row, &id): (&[f32], &usize)| {
                let others = row.iter().enumerate().filter(|&(i, _)| i != id).map(|(_, &z)| z);
                f64::from(others.fold(f32::NEG_INFINITY, f32::max))
            };
            let best: Vec<f64> = values.chunks(width).zip(&ids).map(others).collect();
            assert_close(&best_other(&logits, &target_ids), &best, 0.0);
            assert_close(&composed_best_other(&logits, &target_ids), &best, 0.0);
        }
    }
}
