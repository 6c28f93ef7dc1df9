//! Beam search, step by step as in transformers 5.
//!
//! Every step ranks all one-token continuations of the `num_beams` running hypotheses by their summed log-probabilities and takes the first
//! `max(2, 1 + end tokens) · num_beams`, so that enough can continue however many end. Hypotheses that end (with an end token, or at the
//! maximum length) and rank among the first `num_beams` are finished, with the score `sum / generated^length_penalty`. The best `num_beams`
//! that don't end keep running. The search stops when none is running. Once `num_beams` have finished, it also stops at once
//! (`early_stopping`), or when the best running score, divided by its length in the same way, is no better than the worst finished one.

use std::cmp::Ordering;

use rayon::prelude::*;
use stepfn_kernels::row::Normalizer;

use super::processors::Rules;
use super::search::{Next, Rows};
use super::{GenerationSettings, Hypothesis, nothing_allowed};
use crate::ModelError;

/// A hypothesis that is still growing.
struct Running {
    /// Prompt and generated tokens.
    sequence: Vec<u32>,
    /// Sum of log-probabilities after the rules.
    score: f32,
}

/// A running hypothesis with one more token.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Continuation {
    score: f32,
    parent: usize,
    token: u32,
}

impl Continuation {
    fn best_first(&self, other: &Self) -> Ordering {
        other.score.total_cmp(&self.score).then((self.parent, self.token).cmp(&(other.parent, other.token)))
    }
}

/// Beam search with `settings.num_beams` beams.
pub(super) struct Search<'a> {
    settings: &'a GenerationSettings,
    rules: Rules<'a>,
    prompt_len: usize,
    /// New tokens so far.
    length: usize,
    running: Vec<Running>,
    finished: Vec<Hypothesis>,
}

impl<'a> Search<'a> {
    pub(super) fn new(prompt: &[u32], settings: &'a GenerationSettings) -> Self {
        Self {
            settings,
            rules: Rules::new(settings, prompt.len()),
            prompt_len: prompt.len(),
            length: 0,
            running: vec![Running { sequence: prompt.to_vec(), score: 0.0 }],
            finished: Vec::new(),
        }
    }

    /// Ranks the continuations of all running hypotheses.
    pub(super) fn step(&mut self, rows: Rows<'_>) -> Result<Next, ModelError> {
        let Self { settings, rules, prompt_len, length, .. } = *self;
        if length == settings.max_new_tokens {
            return Ok(Next::default());
        }
        let beams = settings.num_beams;
        let looked_at = beams.saturating_mul((1 + settings.eos.len()).max(2));
        let normalizers = rows.normalizers(length)?;
        let scores = |(text, (row, normalizer)): (&Running, (&mut [f32], Normalizer))| {
            normalizer.apply(row);
            rules.apply(&text.sequence, row);
            // Where nothing is allowed, there is nothing to divide by.
            if settings.renormalize_logits
                && row.iter().any(|score| score.is_finite())
                && let Some(normalizer) = Normalizer::of(row)
            {
                normalizer.apply(row);
            }
        };
        let each = rows.logits.par_chunks_mut(rows.vocab.max(1)).zip(normalizers);
        self.running.par_iter().zip(each).for_each(scores);
        let continuations = best_continuations(&self.running, &rows, looked_at);
        if continuations.is_empty() && self.finished.is_empty() {
            return Err(nothing_allowed(length, rows.vocab));
        }
        self.length += 1;
        let length = self.length;
        let divisor = (length as f64).powf(settings.length_penalty) as f32;
        let is_end = |token: u32| settings.eos.contains(&token);
        let ends = |continuation: &Continuation| length == settings.max_new_tokens || is_end(continuation.token);
        for continuation in continuations.iter().take(beams).filter(|continuation| ends(continuation)) {
            let mut ids = self.running[continuation.parent].sequence[prompt_len..].to_vec();
            ids.push(continuation.token);
            let score = f64::from(continuation.score / divisor);
            self.finished.push(Hypothesis { ids, score, finished: is_end(continuation.token) });
        }
        self.finished.sort_by(|a, b| b.score.total_cmp(&a.score));
        self.finished.truncate(beams);

        let next: Vec<Continuation> =
            continuations.into_iter().filter(|continuation| !ends(continuation)).take(beams).collect();
        let Some(best) = next.first() else { return Ok(Next::default()) };
        if self.finished.len() == beams {
            let improvable = self.finished.last().is_some_and(|worst| f64::from(best.score / divisor) > worst.score);
            if settings.early_stopping || !improvable {
                return Ok(Next::default());
            }
        }
        let continued = |continuation: &Continuation| {
            let parent = &self.running[continuation.parent].sequence;
            let mut sequence = Vec::with_capacity(parent.len() + 1);
            sequence.extend_from_slice(parent);
            sequence.push(continuation.token);
            Running { sequence, score: continuation.score }
        };
        self.running = next.iter().map(continued).collect();
        let parents = next.iter().map(|continuation| continuation.parent).collect();
        Ok(Next { parents, tokens: next.iter().map(|continuation| continuation.token).collect() })
    }

    /// What was written, best first.
    pub(super) fn finish(mut self) -> Vec<Hypothesis> {
        self.finished.truncate(self.settings.num_return_sequences);
        self.finished
    }
}

/// The `count` best continuations, best first; ties are broken by the lowest row, then the lowest token.
///
/// One pass over the rows collects everything better than the `count`th best so far, and trims the collection whenever it gets too large.
fn best_continuations(running: &[Running], rows: &Rows<'_>, count: usize) -> Vec<Continuation> {
    let most = count.saturating_mul(2).saturating_add(64);
    let mut best: Vec<Continuation> = Vec::new();
    let mut to_beat = f32::NEG_INFINITY;
    for (parent, text) in running.iter().enumerate() {
        for (token, &log_prob) in rows.row(parent).iter().enumerate() {
            let score = text.score + log_prob;
            if score > to_beat {
                best.push(Continuation { score, parent, token: token as u32 });
                if best.len() == most {
                    let (_, last, _) = best.select_nth_unstable_by(count - 1, Continuation::best_first);
                    to_beat = last.score;
                    best.truncate(count);
                }
            }
        }
    }
    best.sort_unstable_by(Continuation::best_first);
    best.truncate(count);
    best
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// With few distinct scores there are many ties.
        #[test]
        fn best_continuations_match_a_full_sort(
            rows in prop::collection::vec(prop::collection::vec(0_u8..20, 150), 1..4),
            count in 1_usize..30,
        ) {
            let running: Vec<Running> =
                (0..rows.len()).map(|row| Running { sequence: vec![], score: -(row as f32) }).collect();
            let rows: Vec<Vec<f32>> =
                rows.iter().map(|row| row.iter().map(|&score| -f32::from(score)).collect()).collect();
            let mut all: Vec<Continuation> = rows
                .iter()
                .enumerate()
                .flat_map(|(parent, row)| {
                    row.iter().enumerate().map(move |(token, score)| Continuation {
                        score: score - parent as f32,
                        parent,
                        token: token as u32,
                    })
                })
                .collect();
            all.sort_by(|a, b| b.score.total_cmp(&a.score));
            all.truncate(count);
            let (vocab, mut logits) = (rows[0].len(), rows.concat());
            let rows = Rows { logits: &mut logits, vocab };
            prop_assert_eq!(best_continuations(&running, &rows, count), all);
        }
    }
}
