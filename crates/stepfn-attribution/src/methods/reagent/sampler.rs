//! Tokens that could be in the place of others.

use core::ops::Range;

use burn::tensor::backend::Backend;
use stepfn_models::random::SplitMix64;

use super::Replacement;
use crate::{AttributionError, Passes, Perturbation, Perturbed, Side};

/// Draws replacements of tokens.
pub(super) struct Sampler {
    /// Tokens of source and target that are not special.
    all: [Vec<u32>; 2],
    /// For each place of the target, tokens drawn from its prediction; empty if nothing predicts it.
    predicted: Vec<Vec<u32>>,
    source: Vec<u32>,
    target: Vec<u32>,
}

impl Sampler {
    pub(super) fn new<B: Backend>(
        replacement: Replacement,
        passes: &Passes<'_, B>,
        perturbation: &Perturbation<'_, '_, B>,
        seed: u64,
    ) -> Result<Self, AttributionError> {
        let special = |id: &u32| passes.question().is_kept(*id);
        let config = passes.model().config();
        let all = [config.source_vocab_size(), config.vocab_size]
            .map(|size| (0..size as u32).filter(|id| !special(id)).collect::<Vec<u32>>());
        if all.iter().any(|all| all.len() < 2) {
            return Err(AttributionError::Unsuited(
                "reagent replaces tokens by others, and this model has hardly any that are not special".to_owned(),
            ));
        }
        let Perturbed { source, target, .. } = perturbation.text();
        let mut sampler = Self { all, predicted: Vec::new(), source: source.unwrap_or_default(), target };
        if replacement == Replacement::Predicted && passes.question().attributes_target() {
            sampler.predicted = sampler.predictions(passes, perturbation, seed);
        }
        Ok(sampler)
    }

    /// Draws for each place of the target except the first, from the model's prediction there.
    fn predictions<B: Backend>(
        &self,
        passes: &Passes<'_, B>,
        perturbation: &Perturbation<'_, '_, B>,
        seed: u64,
    ) -> Vec<Vec<u32>> {
        /// Predictions that are in memory at the same time.
        const ROWS: usize = 32;
        let [width, _] = perturbation.hidden().dims();
        let mut pools = vec![Vec::new()];
        for start in (0..width - 1).step_by(ROWS) {
            let rows: Range<usize> = start..(width - 1).min(start + ROWS);
            let logits = passes.model().logits(perturbation.hidden().clone().slice(rows.clone()));
            let [_, vocab] = logits.dims();
            let logits: Vec<f32> = logits.into_data().iter::<f32>().collect();
            for (row, logits) in rows.zip(logits.chunks(vocab)) {
                let random = SplitMix64::stream(seed, u64::MAX - row as u64);
                pools.push(pool(logits, &self.all[1], self.target[row + 1], random));
            }
        }
        pools
    }

    /// Another token for a place.
    pub(super) fn draw(&self, side: Side, token: usize, random: &mut SplitMix64) -> u32 {
        let (own, all, pool) = match side {
            Side::Source => (self.source[token], &self.all[0], None),
            Side::Target => (self.target[token], &self.all[1], self.predicted.get(token)),
        };
        match pool.filter(|pool| !pool.is_empty()) {
            Some(pool) => pool[random.below(pool.len())],
            None => {
                // One of the others: the last takes the place of the token itself.
                let drawn = all[random.below(all.len() - 1)];
                if drawn == own { all[all.len() - 1] } else { drawn }
            }
        }
    }
}

/// Draws from a prediction, without the token itself: enough of them that choosing among them is as good as a new draw.
fn pool(logits: &[f32], allowed: &[u32], own: u32, mut random: SplitMix64) -> Vec<u32> {
    const DRAWS: usize = 256;
    let others: Vec<u32> = allowed.iter().copied().filter(|&id| id != own).collect();
    let greatest = others.iter().map(|&id| logits[id as usize]).fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    let mut below = |id: &u32| {
        sum += f64::from(logits[*id as usize] - greatest).exp();
        sum
    };
    let cumulative: Vec<f64> = others.iter().map(&mut below).collect();
    let draw = |_| {
        let threshold = random.uniform() * sum;
        others[cumulative.partition_point(|&below| below <= threshold).min(others.len() - 1)]
    };
    (0..DRAWS).map(draw).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_follow_the_prediction_and_are_never_the_token_itself_nor_a_special_one() {
        let logits = [9.0, 1.0_f32.ln(), 3.0_f32.ln(), 9.0, f32::NEG_INFINITY];
        let pool = pool(&logits, &[1, 2, 3, 4], 3, SplitMix64::stream(1, 1));
        let share = pool.iter().filter(|&&id| id == 2).count() as f64 / pool.len() as f64;
        assert!(pool.iter().all(|id| [1, 2].contains(id)) && (share - 0.75).abs() < 0.1, "{share}");
    }
}
