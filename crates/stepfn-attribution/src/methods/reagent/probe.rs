//! Probes: chains of importances, and the moves that they learn from.

use stepfn_models::random::SplitMix64;

/// What a move's random numbers are used for.
#[derive(Clone, Copy)]
pub(super) enum Draw {
    Choice,
    Move,
    Condition(usize),
}

/// What a move did.
pub(super) struct Fall {
    /// Which players it replaced.
    pub(super) replaced: Vec<bool>,
    /// By how much it lowered the probability of each step.
    pub(super) of_step: Vec<f64>,
}

/// One probe: a chain of importances that are learned.
pub(super) struct Probe {
    seed: u64,
    of_step: Vec<Importance>,
}

/// The importances of one step's tokens.
#[derive(Clone)]
pub(super) struct Importance {
    logits: Vec<f64>,
    ended: bool,
}

impl Probe {
    /// Random importances, of as many players as each step sees.
    pub(super) fn new(seed: u64, seen: &[usize]) -> Self {
        let mut random = SplitMix64::stream(seed, 0);
        let most = seen.iter().copied().max().unwrap_or(0);
        let first: Vec<f64> = (0..most).map(|_| random.uniform()).collect();
        let of_step = |&seen: &usize| Importance { logits: first[..seen].to_vec(), ended: false };
        Self { seed, of_step: seen.iter().map(of_step).collect() }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.of_step.iter().all(|importance| importance.ended)
    }

    /// A separate stream for each purpose, so that the draws of one step don't affect others.
    pub(super) fn random(&self, number: u64, draw: Draw) -> SplitMix64 {
        let purpose = match draw {
            Draw::Choice => 0,
            Draw::Move => 1,
            Draw::Condition(step) => 2 + step as u64,
        };
        SplitMix64::stream(SplitMix64::stream(self.seed, 1 + number).bits(), purpose)
    }

    pub(super) fn has_ended_at(&self, step: usize) -> bool {
        self.of_step[step].ended
    }

    /// The importances of all steps after each move.
    pub(super) fn trail(&self, falls: &[Fall]) -> Vec<Vec<Importance>> {
        let mut now = self.of_step.clone();
        let mut after = |fall: &Fall| {
            for (importance, of_step) in now.iter_mut().zip(&fall.of_step).filter(|(importance, _)| !importance.ended) {
                importance.learn(&fall.replaced, *of_step);
            }
            now.clone()
        };
        falls.iter().map(&mut after).collect()
    }

    /// Takes a step's importances from the trail: from the move that ends it, or from the last one.
    pub(super) fn follow(&mut self, step: usize, trail: &[Vec<Importance>], end: Option<usize>) {
        if let Some(importances) = end.map_or(trail.last(), |end| trail.get(end)) {
            self.of_step[step] = Importance { ended: end.is_some(), ..importances[step].clone() };
        }
    }
}

impl Importance {
    /// Updates the importances by how much the step's probability fell when some players were replaced.
    fn learn(&mut self, replaced: &[bool], fall: f64) {
        /// Keeps the update finite if a probability falls from one to zero.
        const MOST: f64 = 1.0 - 1e-6;
        let fall = fall.clamp(-MOST, MOST);
        let update = ((1.0 + fall) / (1.0 - fall)).ln();
        for (logit, &replaced) in self.logits.iter_mut().zip(replaced) {
            *logit += if replaced { update } else { -update };
        }
    }

    /// For each player whether it is not among the most important ones.
    pub(super) fn all_but(&self, keep: usize) -> Vec<bool> {
        let mut order: Vec<usize> = (0..self.logits.len()).collect();
        order.sort_by(|&a, &b| self.logits[b].total_cmp(&self.logits[a]));
        let mut others = vec![true; order.len()];
        order.into_iter().take(keep).for_each(|player| others[player] = false);
        others
    }

    fn softmax(&self) -> Vec<f64> {
        let greatest = self.logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let powers: Vec<f64> = self.logits.iter().map(|logit| (logit - greatest).exp()).collect();
        let sum: f64 = powers.iter().sum();
        powers.into_iter().map(|power| power / sum).collect()
    }
}

/// The mean over the probes that ended at a step, or over all.
pub(super) fn mean_importance(probes: &[Probe], step: usize) -> Vec<f64> {
    let of_step = || probes.iter().map(|probe| &probe.of_step[step]);
    let any = of_step().any(|importance| importance.ended);
    let counted: Vec<Vec<f64>> =
        of_step().filter(|importance| importance.ended || !any).map(Importance::softmax).collect();
    let players = counted[0].len();
    (0..players).map(|player| counted.iter().map(|shares| shares[player]).sum::<f64>() / counted.len() as f64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_made_the_probability_fall_becomes_more_important() {
        let mut probe = Probe::new(1, &[2, 3]);
        probe.of_step[0].ended = true;
        let before = probe.of_step.clone();
        let fall = Fall { replaced: vec![true, false, false], of_step: vec![0.5, 0.5] };
        let trail = probe.trail(&[fall]);
        (0..2).for_each(|step| probe.follow(step, &trail, None));
        assert_eq!(probe.of_step[0].logits, before[0].logits);
        let moved: Vec<f64> = probe.of_step[1].logits.iter().zip(&before[1].logits).map(|(a, b)| a - b).collect();
        assert!(moved.iter().zip([1.0, -1.0, -1.0]).all(|(moved, sign)| (moved - sign * 3.0_f64.ln()).abs() < 1e-12));
        assert_eq!(probe.of_step[1].all_but(1), [false, true, true]);
    }

    #[test]
    fn moves_together_lead_where_moves_one_by_one_do() {
        let seen = [2, 3, 4];
        // The move after which each step ends.
        let ends = [Some(3), Some(10), None];
        let fall = |number: usize| Fall {
            replaced: (0..4).map(|player| (number >> player) & 1 == 1).collect(),
            of_step: (0..3).map(|step| (number * 7 % 11 + step) as f64 / 20.0 - 0.3).collect(),
        };
        let run = |at_once: usize| {
            let mut probe = Probe::new(5, &seen);
            for start in (0..12).step_by(at_once) {
                let moves = start..12.min(start + at_once);
                let trail = probe.trail(&moves.clone().map(fall).collect::<Vec<_>>());
                for (step, end) in ends.iter().enumerate() {
                    let end = end.filter(|end| moves.contains(end)).map(|end| end - start);
                    if !probe.has_ended_at(step) {
                        probe.follow(step, &trail, end);
                    }
                }
            }
            assert!(probe.has_ended_at(0) && probe.has_ended_at(1) && !probe.has_ended());
            probe.of_step.into_iter().map(|importance| importance.logits).collect::<Vec<_>>()
        };
        let one_by_one = run(1);
        for at_once in [2, 5, 12] {
            assert_eq!(run(at_once), one_by_one, "{at_once}");
        }
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
