//! ReAGent (Zhao et al. 2024, arXiv:2402.00794): how much the probability of the target falls when a token is replaced by another that could be
//! there. For each step, several probes start with random importances `ℓ`. Each move replaces a random part of the tokens: with
//! `Δ = p(y) − p̃(y)`, `ℓ += logit(½ + Δ/2)` where a token was replaced, and `ℓ −=` the same elsewhere. A probe ends if the target is among the
//! `stopping_condition_top_k` most likely tokens even with all but the `keep_top_n` most important tokens replaced. Scores are the mean of
//! `softmax(ℓ)` over the probes that ended, or over all probes if none did.
//!
//! A move's replacement is one pass for all steps. Each step decides separately whether its probe ends. Several moves of all probes run together.
//!
//! **Replacements.** The authors draw from a masked language model, inseq among tokens of the same part of speech, which needs a tagger. Here the
//! attributed model itself proposes ([`Replacement::Predicted`]): tokens are drawn from its prediction for that place, without the token itself.
//! They fit the context, are in the model's vocabulary, and need no download. An encoder predicts nothing, and nothing
//! predicts a text's start: there, and with [`Replacement::Uniform`], all tokens except special ones are equally likely.

mod probe;
mod sampler;

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
use crate::{AttributionError, AttributionMethod, InputScores, Passes, Perturbation, Perturbed};
use probe::{Draw, Fall, Importance, Probe, mean_importance};
use sampler::Sampler;

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
    const COUNTS: &'static [Count] = &[
        Count::new("keep_top_n", 0, MOST_TOKENS),
        Count::new("stopping_condition_top_k", 1, MOST_TOKENS),
        Count::new("max_probe_steps", 1, MOST_SAMPLES),
        Count::new("num_probes", 1, MOST_PROBES),
    ];

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
        let seen: Vec<usize> =
            passes.question().steps().chunks(1).into_iter().map(|step| players.seen_by(step)).collect();
        let clean = perturbation.values_of_text(&Probability::default(), passes.question().steps())?;
        let probe = |number: usize| Probe::new(SplitMix64::stream(seed, number as u64).bits(), &seen);
        let mut probes: Vec<Probe> = (0..self.num_probes).map(probe).collect();
        let game = Game { passes, perturbation: &perturbation, players: &players, sampler: &sampler };
        let mut done = if players.len() == 0 { self.max_probe_steps } else { 0 };
        let mut at_once = 1;
        while done < self.max_probe_steps {
            passes.question().progress(done, self.max_probe_steps)?;
            let mut open: Vec<&mut Probe> = probes.iter_mut().filter(|probe| !probe.has_ended()).collect();
            if open.is_empty() {
                break;
            }
            let moves = done..self.max_probe_steps.min(done + at_once);
            self.advance(&game, &clean, moves.clone(), &mut open)?;
            done = moves.end;
            // Moves after the one that ends a probe are wasted: at most as many as were needed.
            at_once = (2 * at_once).min(most_at_once(&seen, self.num_probes));
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
    /// Some moves of each probe, in few passes. No move needs the result of another: what is replaced is random, and only which probes have ended
    /// depends on the order. So all moves run, and a probe forgets those after the one that ended it.
    fn advance<B: Backend>(
        &self,
        game: &Game<'_, '_, B>,
        clean: &[f64],
        moves: Range<usize>,
        probes: &mut [&mut Probe],
    ) -> Result<(), AttributionError> {
        let steps = game.passes.question().steps();
        let falls = self.falls(game, clean, moves.clone(), probes)?;
        let trails: Vec<Vec<Vec<Importance>>> =
            probes.iter().zip(&falls).map(|(probe, falls)| probe.trail(falls)).collect();
        for (index, step) in steps.positions().enumerate() {
            let open: Vec<usize> = (0..probes.len()).filter(|&probe| !probes[probe].has_ended_at(index)).collect();
            let variant = |(&probe, number): (&usize, usize)| {
                let others = trails[probe][number - moves.start][index].all_but(self.keep_top_n);
                let random = probes[probe].random(number as u64, Draw::Condition(step));
                game.replaced(random, |player| others.get(player) == Some(&true))
            };
            let pairs = open.iter().flat_map(|probe| moves.clone().map(move |number| (probe, number)));
            let variants: Vec<Perturbed> = pairs.map(variant).collect();
            let ranks = game.perturbation.values_of(&Rank::default(), &variants, steps.only(step), |_, _| Ok(()))?;
            for (&probe, ranks) in open.iter().zip(ranks.chunks(moves.len())) {
                let end = ranks.iter().position(|rank| rank[0] <= self.stopping_condition_top_k as f64);
                probes[probe].follow(index, &trails[probe], end);
            }
        }
        Ok(())
    }

    /// For each probe and move: which players are replaced, and by how much the probability of each step falls.
    fn falls<B: Backend>(
        &self,
        game: &Game<'_, '_, B>,
        clean: &[f64],
        moves: Range<usize>,
        probes: &[&mut Probe],
    ) -> Result<Vec<Vec<Fall>>, AttributionError> {
        let chosen = |probe: &Probe, number: u64| -> Vec<bool> {
            let mut random = probe.random(number, Draw::Choice);
            (0..game.players.len()).map(|_| random.uniform() < self.replacing_ratio).collect()
        };
        let (mut replaced, mut variants) = (Vec::new(), Vec::new());
        for probe in probes {
            for number in moves.clone().map(|number| number as u64) {
                let chosen = chosen(probe, number);
                variants.push(game.replaced(probe.random(number, Draw::Move), |player| chosen[player]));
                replaced.push(chosen);
            }
        }
        let steps = game.passes.question().steps();
        let values = game.perturbation.values_of(&Probability::default(), &variants, steps, |_, _| Ok(()))?;
        let fall = |values: &Vec<f64>| clean.iter().zip(values).map(|(clean, value)| clean - value).collect();
        let mut falls =
            replaced.into_iter().zip(&values).map(|(replaced, values)| Fall { replaced, of_step: fall(values) });
        Ok(probes.iter().map(|_| falls.by_ref().take(moves.len()).collect()).collect())
    }
}

/// How many moves run together, so that the importances after each of them fit into a few megabytes.
fn most_at_once(seen: &[usize], probes: usize) -> usize {
    /// Beyond that, passes are full.
    const MOVES: usize = 32;
    const NUMBERS: usize = 1 << 22;
    let per_move = probes * seen.iter().sum::<usize>();
    (NUMBERS / per_move.max(1)).clamp(1, MOVES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moves_that_run_together_fit_into_memory_and_one_always_does() {
        assert_eq!(most_at_once(&[3, 4, 5], 16), 32);
        assert_eq!(most_at_once(&[100; 200], 16), 13);
        assert_eq!(most_at_once(&[10_000; 1_000], 1_000), 1);
    }
}
