//! One token at a time: the most likely (greedy), or one drawn from the model's distribution (sampling).
//!
//! Sampling divides the logits by the temperature, keeps the `top_k` best tokens, of these the smallest set with a total probability of
//! `top_p` (nucleus sampling; Holtzman et al. 2020, arXiv:1904.09751), and draws one. Random numbers come from SplitMix64 (Steele, Lea and
//! Flood 2014, doi:10.1145/2660193.2660195), with a stream for each text: the same seed gives the same texts.

use super::processors::Rules;
use super::{Decoder, GenerationSettings, Hypothesis, checked_logits, log_normalizer, nothing_allowed};
use crate::ModelError;
use crate::random::SplitMix64;

/// A text that is still growing.
struct Running {
    /// Prompt and generated tokens.
    sequence: Vec<u32>,
    /// Sum of the model's log-probabilities.
    score: f64,
    /// Index of its hypothesis in the decoder.
    row: usize,
    random: SplitMix64,
}

/// Greedy generation, or sampling if the settings ask for it.
pub(super) fn search(
    decoder: &mut impl Decoder,
    prompt: &[u32],
    settings: &GenerationSettings,
) -> Result<Vec<Hypothesis>, ModelError> {
    let rules = Rules::new(settings, prompt.len());
    let mut done = Vec::new();
    // All start from the decoder's single hypothesis.
    let mut running: Vec<Running> = (0..settings.num_return_sequences)
        .map(|text| Running {
            sequence: prompt.to_vec(),
            score: 0.0,
            row: 0,
            random: SplitMix64::stream(settings.seed, text as u64),
        })
        .collect();
    let mut hypotheses = 1;
    let mut scores = Vec::new();
    for position in 0..settings.max_new_tokens {
        let rows = checked_logits(decoder, hypotheses, position)?;
        let (mut parents, mut tokens, mut next) = (Vec::new(), Vec::new(), Vec::new());
        for mut text in running {
            let logits = &rows[text.row];
            scores.clear();
            scores.extend_from_slice(logits);
            rules.apply(&text.sequence, &mut scores);
            let token =
                if settings.do_sample { draw(&scores, settings, &mut text.random) } else { most_likely(&scores) };
            let token = token.ok_or_else(|| nothing_allowed(position, logits.len()))?;
            let (greatest, log_sum) = log_normalizer(logits);
            text.score += f64::from(logits[token as usize] - greatest - log_sum);
            text.sequence.push(token);
            let finished = settings.eos.contains(&token);
            if finished || position + 1 == settings.max_new_tokens {
                let ids = text.sequence.split_off(prompt.len());
                done.push(Hypothesis { ids, score: text.score, finished });
            } else {
                parents.push(text.row);
                text.row = tokens.len();
                tokens.push(token);
                next.push(text);
            }
        }
        running = next;
        if running.is_empty() {
            break;
        }
        hypotheses = running.len();
        decoder.advance(&parents, &tokens)?;
    }
    done.sort_by(|a, b| b.score.total_cmp(&a.score));
    Ok(done)
}

/// The token with the highest score, the lowest id among ties; `None` if no score is above −∞.
fn most_likely(scores: &[f32]) -> Option<u32> {
    let mut best = (None, f32::NEG_INFINITY);
    for (id, &score) in scores.iter().enumerate() {
        if score > best.1 {
            best = (Some(id as u32), score);
        }
    }
    best.0
}

/// A random token; `None` if no score is above −∞.
pub(super) fn draw(scores: &[f32], settings: &GenerationSettings, random: &mut SplitMix64) -> Option<u32> {
    let temperature = settings.temperature as f32;
    let mut allowed: Vec<(f32, u32)> = scores
        .iter()
        .enumerate()
        .filter(|&(_, &score)| score > f32::NEG_INFINITY)
        .map(|(id, &score)| (score / temperature, id as u32))
        .collect();
    let best_first = |a: &(f32, u32), b: &(f32, u32)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
    if (1..allowed.len()).contains(&settings.top_k) {
        allowed.select_nth_unstable_by(settings.top_k - 1, best_first);
        allowed.truncate(settings.top_k);
    }
    allowed.sort_unstable_by(best_first);
    let greatest = allowed.first()?.0;
    let weights: Vec<f64> = allowed.iter().map(|&(score, _)| f64::from((score - greatest).exp())).collect();
    let mut total: f64 = weights.iter().sum();
    let mut kept = weights.len();
    if settings.top_p < 1.0 {
        let nucleus = settings.top_p * total;
        (kept, total) = (0, 0.0);
        while kept < weights.len() && (kept == 0 || total < nucleus) {
            total += weights[kept];
            kept += 1;
        }
    }
    let mut left = random.uniform() * total;
    let chosen = weights[..kept].iter().position(|&weight| {
        left -= weight;
        left < 0.0
    });
    // Rounding may leave a small remainder after the last token.
    Some(allowed[chosen.unwrap_or(kept - 1)].1)
}
