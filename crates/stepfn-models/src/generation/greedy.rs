//! One token at a time: the most likely (greedy), or one drawn from the model's distribution (sampling).
//!
//! Sampling divides the logits by the temperature, keeps the `top_k` best tokens, of these the smallest set with a total probability of
//! `top_p` (nucleus sampling; Holtzman et al. 2020, arXiv:1904.09751), and draws one. Random numbers come from SplitMix64 (Steele, Lea and
//! Flood 2014, doi:10.1145/2660193.2660195), with a stream for each text: the same seed gives the same texts.

use stepfn_kernels::row::first_largest;

use super::processors::Rules;
use super::search::{Next, Rows};
use super::{GenerationSettings, Hypothesis, nothing_allowed};
use crate::ModelError;
use crate::random::SplitMix64;

/// A text that is still growing.
struct Running {
    /// Prompt and generated tokens.
    sequence: Vec<u32>,
    /// Sum of the model's log-probabilities.
    score: f64,
    /// Index of its hypothesis in the decoder, counted from the search's first.
    row: usize,
    random: SplitMix64,
}

/// Greedy generation, or sampling if the settings ask for it.
pub(super) struct Search<'a> {
    settings: &'a GenerationSettings,
    rules: Rules<'a>,
    prompt_len: usize,
    /// New tokens so far.
    position: usize,
    running: Vec<Running>,
    done: Vec<Hypothesis>,
}

impl<'a> Search<'a> {
    pub(super) fn new(prompt: &[u32], settings: &'a GenerationSettings) -> Self {
        let start = |text: usize| Running {
            sequence: prompt.to_vec(),
            score: 0.0,
            row: 0,
            random: SplitMix64::stream(settings.seed, text as u64),
        };
        Self {
            settings,
            rules: Rules::new(settings, prompt.len()),
            prompt_len: prompt.len(),
            position: 0,
            // All start from the decoder's single hypothesis.
            running: (0..settings.num_return_sequences).map(start).collect(),
            done: Vec::new(),
        }
    }

    /// Chooses the next token of every text that is still growing.
    pub(super) fn step(&mut self, rows: Rows<'_>) -> Result<Next, ModelError> {
        let Self { settings, rules, prompt_len, position, .. } = *self;
        if position == settings.max_new_tokens {
            return Ok(Next::default());
        }
        let normalizers = rows.normalizers(position)?;
        let mut next = Next::default();
        let mut scores = Vec::new();
        for mut text in core::mem::take(&mut self.running) {
            let logits = rows.row(text.row);
            scores.clear();
            scores.extend_from_slice(logits);
            rules.apply(&text.sequence, &mut scores);
            let token =
                if settings.do_sample { draw(&scores, settings, &mut text.random) } else { most_likely(&scores) };
            let token = token.ok_or_else(|| nothing_allowed(position, logits.len()))?;
            text.score += f64::from(normalizers[text.row].log_prob(logits[token as usize]));
            text.sequence.push(token);
            let finished = settings.eos.contains(&token);
            if finished || position + 1 == settings.max_new_tokens {
                let ids = text.sequence.split_off(prompt_len);
                self.done.push(Hypothesis { ids, score: text.score, finished });
            } else {
                next.parents.push(text.row);
                text.row = next.tokens.len();
                next.tokens.push(token);
                self.running.push(text);
            }
        }
        self.position += 1;
        Ok(next)
    }

    /// What was written, best first.
    pub(super) fn finish(mut self) -> Vec<Hypothesis> {
        self.done.sort_by(|a, b| b.score.total_cmp(&a.score));
        self.done
    }
}

/// The token with the highest score, the lowest id among ties; `None` if no score is above −∞.
fn most_likely(scores: &[f32]) -> Option<u32> {
    first_largest(scores).map(|id| id as u32)
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
