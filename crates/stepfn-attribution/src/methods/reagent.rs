//! ReAGent (Zhao et al. 2024, arXiv:2402.00794): how much the probability of the target falls when a token is replaced by another that could be
//! there. For each step, several probes start with random importances `ℓ`. Each move replaces a random part of the tokens: with
//! `Δ = p(y) − p̃(y)`, `ℓ += logit(½ + Δ/2)` where a token was replaced, and `ℓ −=` the same elsewhere. A probe ends if the target is among the
//! `stopping_condition_top_k` most likely tokens even with all but the `keep_top_n` most important tokens replaced. Scores are the mean of
//! `softmax(ℓ)` over the probes that ended, or over all probes if none did.
//!
//! A move's replacement is one pass for all steps. Each step decides separately whether its probe ends.
//!
//! **Replacements.** The authors draw from a masked language model, inseq among tokens of the same part of speech, which needs a tagger. Here the
//! attributed model itself proposes ([`Replacement::Predicted`]): tokens are drawn from its prediction for that place, without the token itself.
//! They fit the context, are in the model's vocabulary, and need no download. An encoder predicts nothing, and nothing
//! predicts a text's start: there, and with [`Replacement::Uniform`], all tokens except special ones are equally likely.

use core::ops::Range;

use burn::tensor::backend::Backend;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use stepfn_core::catalog::parameters;
use stepfn_core::functions::{Probability, Rank};
use stepfn_core::{Count, Named, ParameterError};
use stepfn_models::random::SplitMix64;

use super::limits::{MOST_PROBES, MOST_SAMPLES, MOST_TOKENS};
use super::players::Players;
use crate::{AttributionError, AttributionMethod, InputScores, Passes, Perturbation, Perturbed, Side, Steps};

/// How much the probability of the target falls when tokens are replaced.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Reagent {
    /// Number of tokens (or groups) that are kept in the stopping condition.
    pub keep_top_n: usize,
    /// The target must be among this many most likely tokens for a probe to end.
    pub stopping_condition_top_k: usize,
    /// Probability that a token is replaced in a move.
    pub replacing_ratio: f64,
    /// Maximum number of moves per probe.
    pub max_probe_steps: usize,
    /// Number of probes per step.
    pub num_probes: usize,
    /// What replaces a token.
    pub replacement: Replacement,
}

/// What replaces a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Replacement {
    /// A token that the model predicts there, where it predicts.
    Predicted,
    /// Any token that is not special.
    Uniform,
}

impl Default for Reagent {
    fn default() -> Self {
        Self {
            keep_top_n: 5,
            stopping_condition_top_k: 3,
            replacing_ratio: 0.3,
            max_probe_steps: 3000,
            num_probes: 16,
            replacement: Replacement::Predicted,
        }
    }
}

impl Named for Reagent {
    const NAME: &'static str = "reagent";
    const SUMMARY: &'static str =
        "how much the probability of the target falls when tokens are replaced by plausible ones";
    const COUNTS: &'static [Count] = &[Count::new("keep_top_n", 0, MOST_TOKENS), Count::new("stopping_condition_top_k", 1, MOST_TOKENS), Count::new("max_probe_steps", 1, MOST_SAMPLES), Count::new("num_probes", 1, MOST_PROBES)];

    fn validate(&self) -> Result<(), ParameterError> {
        self.check_counts()?;
        match self.replacing_ratio > 0.0 && self.replacing_ratio < 1.0 {
            true => Ok(()),
            false => Err(Self::out_of_range("replacing_ratio", "a number between 0 and 1", self.replacing_ratio)),
        }
    }
}

impl<B: Backend> AttributionMethod<B> for Reagent {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn parameters(&self) -> Map<String, Value> {
        parameters(self)
    }

    fn is_of_function(&self) -> bool {
        false
    }

    fn hides_tokens(&self) -> bool {
        true
    }

    fn check(&self) -> Result<(), ParameterError> {
        self.validate()
    }

    fn attribute(&self, passes: &Passes<'_, B>) -> Result<InputScores, AttributionError> {
        let players = Players::of(passes.question())?;
        let perturbation = passes.perturb()?;
        let seed = SplitMix64::stream(passes.question().options().seed, u64::from(passes.question().number())).bits();
        let sampler = Sampler::new(self.replacement, passes, &perturbation, seed)?;
        let seen: Vec<usize> = passes.question().steps().positions().map(|step| players.seen_by(step)).collect();
        let clean = perturbation.values_of_text(&Probability::default(), passes.question().steps())?;
        let probe = |number: usize| Probe::new(SplitMix64::stream(seed, number as u64).bits(), &seen);
        let mut probes: Vec<Probe> = (0..self.num_probes).map(probe).collect();
        for done in 0..self.max_probe_steps {
            passes.question().progress(done, self.max_probe_steps)?;
            let open: Vec<&mut Probe> = probes.iter_mut().filter(|probe| !probe.has_ended()).collect();
            if open.is_empty() || players.len() == 0 {
                break;
            }
            let game = Game { passes, perturbation: &perturbation, players: &players, sampler: &sampler };
            self.advance(&game, &clean, done as u64, open)?;
        }
        passes.question().progress(self.max_probe_steps, self.max_probe_steps)?;
        let scores: Vec<Vec<f64>> = (0..seen.len()).map(|step| mean_importance(&probes, step)).collect();
        Ok(players.scores(passes.question(), &scores, None))
    }
}

/// What all probes share.
struct Game<'g, 'a, B: Backend> {
    passes: &'g Passes<'a, B>,
    perturbation: &'g Perturbation<'g, 'a, B>,
    players: &'g Players,
    sampler: &'g Sampler,
}

impl<B: Backend> Game<'_, '_, B> {
    /// The text with other tokens for some players.
    fn replaced(&self, mut random: SplitMix64, chosen: impl Fn(usize) -> bool) -> Perturbed {
        let mut draw = |(side, token)| self.sampler.draw(side, token, &mut random);
        self.players.replaced(self.passes.question(), |player, place| chosen(player).then(|| draw(place)))
    }
}

impl Reagent {
    /// One move of each probe.
    fn advance<B: Backend>(
        &self,
        game: &Game<'_, '_, B>,
        clean: &[f64],
        number: u64,
        mut probes: Vec<&mut Probe>,
    ) -> Result<(), AttributionError> {
        let quiet = |_, _| Ok(());
        let steps = game.passes.question().steps();
        let choose = |probe: &&mut Probe| -> Vec<bool> {
            let mut random = probe.random(number, Draw::Choice);
            (0..game.players.len()).map(|_| random.uniform() < self.replacing_ratio).collect()
        };
        let chosen: Vec<Vec<bool>> = probes.iter().map(choose).collect();
        let variant = |(probe, chosen): (&&mut Probe, &Vec<bool>)| {
            game.replaced(probe.random(number, Draw::Move), |player| chosen[player])
        };
        let variants: Vec<Perturbed> = probes.iter().zip(&chosen).map(variant).collect();
        let values = game.perturbation.values_of(&Probability::default(), &variants, steps, quiet)?;
        for ((probe, chosen), values) in probes.iter_mut().zip(&chosen).zip(&values) {
            let fall: Vec<f64> = clean.iter().zip(values).map(|(clean, value)| clean - value).collect();
            probe.learn(chosen, &fall);
        }
        for (index, step) in steps.positions().enumerate() {
            let mut open: Vec<&mut &mut Probe> =
                probes.iter_mut().filter(|probe| !probe.of_step[index].ended).collect();
            let variant = |probe: &&mut &mut Probe| {
                let others = probe.of_step[index].all_but(self.keep_top_n);
                game.replaced(probe.random(number, Draw::Condition(step)), |player| others.contains(&player))
            };
            let variants: Vec<Perturbed> = open.iter().map(variant).collect();
            let ranks = game.perturbation.values_of(&Rank::default(), &variants, Steps::one(step), quiet)?;
            for (probe, rank) in open.iter_mut().zip(ranks) {
                probe.of_step[index].ended = rank[0] <= self.stopping_condition_top_k as f64;
            }
        }
        Ok(())
    }
}

/// What a move's random numbers are used for.
#[derive(Clone, Copy)]
enum Draw {
    Choice,
    Move,
    Condition(usize),
}

/// One probe: a chain of importances that are learned.
struct Probe {
    seed: u64,
    of_step: Vec<Importance>,
}

/// The importances of one step's tokens.
#[derive(Clone)]
struct Importance {
    logits: Vec<f64>,
    ended: bool,
}

impl Probe {
    /// Random importances, of as many players as each step sees.
    fn new(seed: u64, seen: &[usize]) -> Self {
        let mut random = SplitMix64::stream(seed, 0);
        let most = seen.iter().copied().max().unwrap_or(0);
        let first: Vec<f64> = (0..most).map(|_| random.uniform()).collect();
        let of_step = |&seen: &usize| Importance { logits: first[..seen].to_vec(), ended: false };
        Self { seed, of_step: seen.iter().map(of_step).collect() }
    }

    fn has_ended(&self) -> bool {
        self.of_step.iter().all(|importance| importance.ended)
    }

    /// A separate stream for each purpose, so that the draws of one step don't affect others.
    fn random(&self, number: u64, draw: Draw) -> SplitMix64 {
        let purpose = match draw {
            Draw::Choice => 0,
            Draw::Move => 1,
            Draw::Condition(step) => 2 + step as u64,
        };
        SplitMix64::stream(SplitMix64::stream(self.seed, 1 + number).bits(), purpose)
    }

    /// Updates importances by how much each step's probability fell when some players were replaced.
    fn learn(&mut self, replaced: &[bool], fall: &[f64]) {
        /// Keeps the update finite if a probability falls from one to zero.
        const MOST: f64 = 1.0 - 1e-6;
        for (importance, fall) in self.of_step.iter_mut().zip(fall).filter(|(importance, _)| !importance.ended) {
            let fall = fall.clamp(-MOST, MOST);
            let update = ((1.0 + fall) / (1.0 - fall)).ln();
            for (logit, &replaced) in importance.logits.iter_mut().zip(replaced) {
                *logit += if replaced { update } else { -update };
            }
        }
    }
}

impl Importance {
    /// The players that are not among the most important ones.
    fn all_but(&self, keep: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.logits.len()).collect();
        order.sort_by(|&a, &b| self.logits[b].total_cmp(&self.logits[a]));
        order.split_off(keep.min(order.len()))
    }

    fn softmax(&self) -> Vec<f64> {
        let greatest = self.logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let powers: Vec<f64> = self.logits.iter().map(|logit| (logit - greatest).exp()).collect();
        let sum: f64 = powers.iter().sum();
        powers.into_iter().map(|power| power / sum).collect()
    }
}

/// The mean over the probes that ended at a step, or over all.
fn mean_importance(probes: &[Probe], step: usize) -> Vec<f64> {
    let of_step = || probes.iter().map(|probe| &probe.of_step[step]);
    let any = of_step().any(|importance| importance.ended);
    let counted: Vec<Vec<f64>> =
        of_step().filter(|importance| importance.ended || !any).map(Importance::softmax).collect();
    let players = counted[0].len();
    (0..players).map(|player| counted.iter().map(|shares| shares[player]).sum::<f64>() / counted.len() as f64).collect()
}

/// Draws replacements of tokens.
struct Sampler {
    /// Tokens that are not special.
    all: Vec<u32>,
    /// For each place of the target, tokens drawn from its prediction; empty if nothing predicts it.
    predicted: Vec<Vec<u32>>,
    source: Vec<u32>,
    target: Vec<u32>,
}

impl Sampler {
    fn new<B: Backend>(
        replacement: Replacement,
        passes: &Passes<'_, B>,
        perturbation: &Perturbation<'_, '_, B>,
        seed: u64,
    ) -> Result<Self, AttributionError> {
        let special = |id: &u32| passes.question().is_kept(*id);
        let all: Vec<u32> = (0..passes.model().config().vocab_size as u32).filter(|id| !special(id)).collect();
        if all.len() < 2 {
            return Err(AttributionError::Unsuited(
                "reagent replaces tokens by others, and this model has hardly any that are not special".to_owned(),
            ));
        }
        let Perturbed { source, target } = perturbation.text();
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
                pools.push(pool(logits, &self.all, self.target[row + 1], random));
            }
        }
        pools
    }

    /// Another token for a place.
    fn draw(&self, side: Side, token: usize, random: &mut SplitMix64) -> u32 {
        let (own, pool) = match side {
            Side::Source => (self.source[token], None),
            Side::Target => (self.target[token], self.predicted.get(token)),
        };
        match pool.filter(|pool| !pool.is_empty()) {
            Some(pool) => pool[random.below(pool.len())],
            None => {
                // One of the others: the last takes the place of the token itself.
                let drawn = self.all[random.below(self.all.len() - 1)];
                if drawn == own { self.all[self.all.len() - 1] } else { drawn }
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

    #[test]
    fn what_made_the_probability_fall_becomes_more_important() {
        let mut probe = Probe::new(1, &[2, 3]);
        probe.of_step[0].ended = true;
        let before = probe.of_step.clone();
        probe.learn(&[true, false, false], &[0.5, 0.5]);
        assert_eq!(probe.of_step[0].logits, before[0].logits);
        let moved: Vec<f64> = probe.of_step[1].logits.iter().zip(&before[1].logits).map(|(a, b)| a - b).collect();
        assert!(moved.iter().zip([1.0, -1.0, -1.0]).all(|(moved, sign)| (moved - sign * 3.0_f64.ln()).abs() < 1e-12));
        assert_eq!(probe.of_step[1].all_but(1).len(), 2);
        assert!(!probe.of_step[1].all_but(1).contains(&0));
    }

    #[test]
    fn probes_that_ended_count_alone() {
        let mut probes = [Probe::new(1, &[2]), Probe::new(2, &[2])];
        let both = mean_importance(&probes, 0);
        assert!((both.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        probes[1].of_step[0].ended = true;
        assert_eq!(mean_importance(&probes, 0), probes[1].of_step[0].softmax());
    }
}
