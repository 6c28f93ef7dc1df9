//! Beam search, step by step as in transformers 5.
//!
//! Every step ranks all one-token continuations of the `num_beams` running hypotheses by their summed log-probabilities and takes the first
//! `max(2, 1 + end tokens) · num_beams`, so that enough can continue however many end. Hypotheses that end (with an end token, or at the
//! maximum length) and rank among the first `num_beams` are finished, with the score `sum / generated^length_penalty`. The best `num_beams`
//! that don't end keep running. The search stops when none is running. Once `num_beams` have finished, it also stops at once
//! (`early_stopping`), or when the best running score, divided by its length in the same way, is no better than the worst finished one.

use std::cmp::Ordering;

use super::processors::Rules;
use super::{Decoder, GenerationSettings, Hypothesis, checked_logits, log_normalizer, nothing_allowed};
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
pub(super) fn search(
    decoder: &mut impl Decoder,
    prompt: &[u32],
    settings: &GenerationSettings,
) -> Result<Vec<Hypothesis>, ModelError> {
    let beams = settings.num_beams;
    let looked_at = beams.saturating_mul((1 + settings.eos.len()).max(2));
    let rules = Rules::new(settings, prompt.len());
    let mut running = vec![Running { sequence: prompt.to_vec(), score: 0.0 }];
    let mut finished: Vec<Hypothesis> = Vec::new();
    for length in 1..=settings.max_new_tokens {
        let mut rows = checked_logits(decoder, running.len(), length - 1)?;
        for (text, row) in running.iter().zip(&mut rows) {
            normalize(row);
            rules.apply(&text.sequence, row);
            // Where nothing is allowed, there is nothing to divide by.
            if settings.renormalize_logits && row.iter().any(|score| score.is_finite()) {
                normalize(row);
            }
        }
        let continuations = best_continuations(&running, &rows, looked_at);
        if continuations.is_empty() && finished.is_empty() {
            return Err(nothing_allowed(length - 1, rows[0].len()));
        }
        let divisor = (length as f64).powf(settings.length_penalty) as f32;
        let is_end = |token: u32| settings.eos.contains(&token);
        let ends = |continuation: &Continuation| length == settings.max_new_tokens || is_end(continuation.token);
        for continuation in continuations.iter().take(beams).filter(|continuation| ends(continuation)) {
            let mut ids = running[continuation.parent].sequence[prompt.len()..].to_vec();
            ids.push(continuation.token);
            let score = f64::from(continuation.score / divisor);
            finished.push(Hypothesis { ids, score, finished: is_end(continuation.token) });
        }
        finished.sort_by(|a, b| b.score.total_cmp(&a.score));
        finished.truncate(beams);

        let next: Vec<Continuation> =
            continuations.into_iter().filter(|continuation| !ends(continuation)).take(beams).collect();
        let Some(best) = next.first() else { break };
        if finished.len() == beams {
            let improvable = finished.last().is_some_and(|worst| f64::from(best.score / divisor) > worst.score);
            if settings.early_stopping || !improvable {
                break;
            }
        }
        let parents: Vec<usize> = next.iter().map(|continuation| continuation.parent).collect();
        let tokens: Vec<u32> = next.iter().map(|continuation| continuation.token).collect();
        running = next
            .iter()
            .map(|continuation| {
                let parent = &running[continuation.parent].sequence;
                let mut sequence = Vec::with_capacity(parent.len() + 1);
                sequence.extend_from_slice(parent);
                sequence.push(continuation.token);
                Running { sequence, score: continuation.score }
            })
            .collect();
        decoder.advance(&parents, &tokens)?;
    }
    finished.truncate(settings.num_return_sequences);
    Ok(finished)
}

/// Log-probabilities of scores.
fn normalize(scores: &mut [f32]) {
    let (greatest, log_sum) = log_normalizer(scores);
    scores.iter_mut().for_each(|score| *score = *score - greatest - log_sum);
}

/// The `count` best continuations, best first; ties are broken by the lowest row, then the lowest token.
///
/// One pass over the rows collects everything better than the `count`th best so far, and trims the collection whenever it gets too large.
fn best_continuations(running: &[Running], rows: &[Vec<f32>], count: usize) -> Vec<Continuation> {
    let most = count.saturating_mul(2).saturating_add(64);
    let mut best: Vec<Continuation> = Vec::new();
    let mut to_beat = f32::NEG_INFINITY;
    for (parent, (text, row)) in running.iter().zip(rows).enumerate() {
        for (token, &log_prob) in row.iter().enumerate() {
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
            prop_assert_eq!(best_continuations(&running, &rows, count), all);
        }
    }
}
