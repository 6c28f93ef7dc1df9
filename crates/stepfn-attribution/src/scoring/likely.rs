//! The most likely tokens of each step.

use burn::tensor::{Tensor, backend::Backend};
use stepfn_core::Prediction;

use crate::Likely;

/// The `most` most likely tokens of each row, most likely first; of equally likely ones, those with lower ids.
pub(super) fn likely<B: Backend>(prediction: &Prediction<B>, most: usize) -> Vec<Vec<Likely>> {
    if most == 0 {
        return Vec::new();
    }
    let stats = prediction.softmax().stats();
    let host = |tensor: &Tensor<B, 2>| tensor.to_data().iter::<f64>().collect::<Vec<f64>>();
    let shifts = host(&stats.max).into_iter().zip(host(&stats.log_norm)).map(|(max, log_norm)| max + log_norm);
    let logits: Vec<f32> = prediction.logits().to_data().iter::<f32>().collect();
    logits.chunks(prediction.vocab()).zip(shifts).map(|(row, shift)| likely_of(row, shift, most)).collect()
}

/// The same for one row of logits, whose probabilities are `exp(z − shift)`.
fn likely_of(logits: &[f32], shift: f64, most: usize) -> Vec<Likely> {
    let better = |one: &usize, other: &usize| logits[*other].total_cmp(&logits[*one]).then(one.cmp(other));
    let mut ids: Vec<usize> = (0..logits.len()).collect();
    if most < ids.len() {
        ids.select_nth_unstable_by(most, better);
        ids.truncate(most);
    }
    ids.sort_unstable_by(better);
    let probability = |id: usize| (f64::from(logits[id]) - shift).exp() as f32;
    ids.into_iter().map(|id| Likely { id: id as u32, probability: probability(id) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_likely_tokens_come_first() {
        let logits = [0.25f32, 0.5, 0.125, 0.125].map(f32::ln);
        let found = |most: usize| -> Vec<(u32, f32)> {
            let likely = likely_of(&logits, 0.0, most);
            likely.into_iter().map(|Likely { id, probability }| (id, (probability * 1e4).round() / 1e4)).collect()
        };
        assert_eq!(found(1), [(1, 0.5)]);
        assert_eq!(found(3), [(1, 0.5), (0, 0.25), (2, 0.125)]);
        assert_eq!(found(9).len(), 4, "no more than there are");
    }
}
