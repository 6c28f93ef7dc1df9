//! Rules that change the scores of the next token before the choice, in the order of transformers' `LogitsProcessor`s: repetition penalty,
//! no repeated n-grams, bad words, minimum length, prefix, forced BOS, forced EOS.

use std::collections::BTreeSet;

use super::GenerationSettings;

/// The rules for one generation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules<'a> {
    settings: &'a GenerationSettings,
    prompt_len: usize,
}

impl<'a> Rules<'a> {
    /// The rules of these settings, after a prompt of `prompt_len` tokens.
    pub(super) fn new(settings: &'a GenerationSettings, prompt_len: usize) -> Self {
        Self { settings, prompt_len }
    }

    /// Changes the `vocab` scores (logits or log-probabilities) of the token after `sequence`, which includes the prompt.
    pub(super) fn apply(&self, sequence: &[u32], scores: &mut [f32]) {
        let settings = self.settings;
        let generated = sequence.len() - self.prompt_len;
        if settings.repetition_penalty != 1.0 {
            penalize_repetition(sequence, settings.repetition_penalty as f32, scores);
        }
        // The caller asked for this prefix explicitly, so no ban applies to its tokens.
        if let Some(&token) = settings.prefix.get(generated) {
            keep_only(token, scores);
        } else {
            ban_repeated_ngrams(sequence, settings.no_repeat_ngram_size, scores);
            for word in &settings.bad_words_ids {
                // As in transformers, an end token as a bad word is ignored: generation has to end.
                let ends = word.len() == 1 && settings.eos.contains(&word[0]);
                if let (false, Some((&last, before))) = (ends, word.split_last())
                    && sequence.ends_with(before)
                {
                    ban(last, scores);
                }
            }
            if generated < settings.min_new_tokens {
                settings.eos.iter().for_each(|&eos| ban(eos, scores));
            }
        }
        if let Some(bos) = settings.forced_bos_at(sequence.len()) {
            force(bos, scores);
        }
        if let Some(eos) = settings.forced_eos
            && generated + 1 == settings.max_new_tokens
        {
            force(eos, scores);
        }
    }
}

/// Makes each token that is in the sequence less likely, once (Keskar et al. 2019, arXiv:1909.05858, with a fix for negative scores).
fn penalize_repetition(sequence: &[u32], penalty: f32, scores: &mut [f32]) {
    for token in sequence.iter().collect::<BTreeSet<_>>() {
        if let Some(score) = scores.get_mut(*token as usize) {
            *score = if *score < 0.0 { *score * penalty } else { *score / penalty };
        }
    }
}

/// Bans tokens that would complete an n-gram already in the sequence; with `size` 0, bans nothing.
fn ban_repeated_ngrams(sequence: &[u32], size: usize, scores: &mut [f32]) {
    if size == 0 || sequence.len() < size {
        return;
    }
    let tail = &sequence[sequence.len() + 1 - size..];
    for ngram in sequence.windows(size) {
        if let Some((&last, before)) = ngram.split_last()
            && before == tail
        {
            ban(last, scores);
        }
    }
}

fn ban(token: u32, scores: &mut [f32]) {
    if let Some(score) = scores.get_mut(token as usize) {
        *score = f32::NEG_INFINITY;
    }
}

fn keep_only(token: u32, scores: &mut [f32]) {
    for (id, score) in scores.iter_mut().enumerate() {
        if id != token as usize {
            *score = f32::NEG_INFINITY;
        }
    }
}

fn force(token: u32, scores: &mut [f32]) {
    scores.fill(f32::NEG_INFINITY);
    if let Some(score) = scores.get_mut(token as usize) {
        *score = 0.0;
    }
}
