//! Generation settings, from `generation_config.json` or a caller, with the names and defaults of transformers.

mod published;

use serde::{Deserialize, Serialize};

use crate::ModelError;

/// How [`generate`](super::generate) chooses tokens. Defaults are those of transformers, except for `max_new_tokens`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GenerationSettings {
    /// Maximum number of tokens to generate, including the end token; 1 or more.
    pub max_new_tokens: usize,
    /// Minimum number of tokens before an end token.
    pub min_new_tokens: usize,
    /// Number of beams; with 1, the search is greedy or samples.
    pub num_beams: usize,
    /// Beam search divides the sum of log-probabilities by the length to this power; larger values favour longer texts.
    pub length_penalty: f64,
    /// Whether beam search stops as soon as `num_beams` texts have ended, or only when running ones seem unable to beat them.
    pub early_stopping: bool,
    /// Number of texts to return: 1 if greedy, at most `num_beams` for a beam search.
    pub num_return_sequences: usize,
    /// Whether to draw tokens at random.
    pub do_sample: bool,
    /// Sampling divides the logits by this; above 0. Values below 1 favour likely tokens.
    pub temperature: f64,
    /// Sampling keeps this many of the most likely tokens; 0 for all.
    pub top_k: usize,
    /// Sampling keeps the smallest set of most likely tokens with this total probability, in (0, 1].
    pub top_p: f64,
    /// Seed of the random numbers.
    pub seed: u64,
    /// Positive logits of tokens that are already in the text (including the prompt) are divided by this, negative ones multiplied; above
    /// 0. In a beam search this applies to log-probabilities instead, as in transformers.
    pub repetition_penalty: f64,
    /// No n-gram of this size occurs twice in the text, including the prompt; 0 for no such limit.
    pub no_repeat_ngram_size: usize,
    /// Token sequences that must not be generated. A sequence that is just an end token is ignored.
    pub bad_words_ids: Vec<Vec<u32>>,
    /// Whether a beam search divides what the rules leave of a prediction by its sum again, so that a ban makes the other tokens likelier.
    pub renormalize_logits: bool,
    /// Tokens that end the text.
    pub eos: Vec<u32>,
    /// The token generated after a prompt of one token, whatever the model predicts; for example a translation's language.
    pub forced_bos: Option<u32>,
    /// The token generated at position `max_new_tokens`, whatever the model predicts.
    pub forced_eos: Option<u32>,
    /// The tokens that the generated text must start with. Bans (n-grams, bad words, minimum length) don't apply to them.
    pub prefix: Vec<u32>,
}

/// The values that a count may have.
#[derive(Debug, Clone, Copy)]
struct Range {
    least: usize,
    most: usize,
}

impl Range {
    fn contains(self, count: &usize) -> bool {
        (self.least..=self.most).contains(count)
    }

    fn expected(self) -> String {
        format!("a whole number from {} to {}", self.least, self.most)
    }
}

/// The ranges of the settings that count something. Beams and texts are in memory together; more tokens than that no model keeps apart.
const COUNTS: [(&str, Range); 6] = [
    ("max_new_tokens", Range { least: 1, most: 1 << 20 }),
    ("min_new_tokens", Range { least: 0, most: 1 << 20 }),
    ("num_beams", Range { least: 1, most: 1000 }),
    ("num_return_sequences", Range { least: 1, most: 1000 }),
    ("top_k", Range { least: 0, most: 1 << 24 }),
    ("no_repeat_ngram_size", Range { least: 0, most: 1 << 20 }),
];

impl Default for GenerationSettings {
    fn default() -> Self {
        Self {
            max_new_tokens: 64,
            min_new_tokens: 0,
            num_beams: 1,
            length_penalty: 1.0,
            early_stopping: false,
            num_return_sequences: 1,
            do_sample: false,
            temperature: 1.0,
            top_k: 50,
            top_p: 1.0,
            seed: 0,
            repetition_penalty: 1.0,
            no_repeat_ngram_size: 0,
            bad_words_ids: Vec::new(),
            renormalize_logits: false,
            eos: Vec::new(),
            forced_bos: None,
            forced_eos: None,
            prefix: Vec::new(),
        }
    }
}

impl GenerationSettings {
    /// Checks that every setting is in its range and that they go together.
    ///
    /// # Errors
    /// The first invalid setting, with the values that it may have.
    pub fn validate(&self) -> Result<(), ModelError> {
        self.validate_each()?;
        if self.min_new_tokens > self.max_new_tokens {
            let expected = format!("at most {}, as max_new_tokens", self.max_new_tokens);
            return Err(ModelError::setting("min_new_tokens", expected, self.min_new_tokens));
        }
        if self.num_beams > 1 && self.do_sample {
            let expected = format!("false with {} beams (sampling in a beam search is not supported)", self.num_beams);
            return Err(ModelError::setting("do_sample", expected, true));
        }
        let (most, why) = match (self.num_beams, self.do_sample) {
            (1, true) => (usize::MAX, String::new()),
            (1, false) => {
                (1, "1, because greedy search returns one text (set num_beams or do_sample for more)".to_owned())
            }
            (beams, _) => (beams, format!("at most {beams}, as num_beams")),
        };
        if self.num_return_sequences > most {
            return Err(ModelError::setting("num_return_sequences", why, self.num_return_sequences));
        }
        if self.prefix.len() > self.max_new_tokens {
            let expected = format!("at most {} tokens long, as max_new_tokens", self.max_new_tokens);
            return Err(ModelError::setting("prefix", expected, self.prefix.len()));
        }
        if let Some(eos) = self.forced_eos
            && let Some(&last) = self.prefix.get(self.max_new_tokens - 1)
            && last != eos
        {
            let expected = format!("token {eos} (forced_eos) at its token {} (max_new_tokens)", self.max_new_tokens);
            return Err(ModelError::setting("prefix", expected, format!("token {last}")));
        }
        Ok(())
    }

    /// Checks that every setting is in its range, whatever the others are.
    ///
    /// # Errors
    /// The first setting that is not, with the values that it may have.
    pub fn validate_each(&self) -> Result<(), ModelError> {
        let positive = |number: f64| number.is_finite() && number > 0.0;
        let counts = [
            self.max_new_tokens,
            self.min_new_tokens,
            self.num_beams,
            self.num_return_sequences,
            self.top_k,
            self.no_repeat_ngram_size,
        ];
        for ((field, range), count) in COUNTS.into_iter().zip(counts) {
            if !range.contains(&count) {
                return Err(ModelError::setting(field, range.expected(), count));
            }
        }
        if !self.length_penalty.is_finite() {
            return Err(ModelError::setting("length_penalty", "a number", self.length_penalty));
        }
        // Beyond, logits in single precision are infinite or the same.
        if self.do_sample && !(1e-5..=1e5).contains(&self.temperature) {
            let expected = "a number above 0, from 1e-5 to 1e5 (for the most likely token, set do_sample to false)";
            return Err(ModelError::setting("temperature", expected, self.temperature));
        }
        if self.do_sample && !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return Err(ModelError::setting("top_p", "a number above 0 and at most 1", self.top_p));
        }
        if !positive(self.repetition_penalty) {
            return Err(ModelError::setting("repetition_penalty", "a number above 0", self.repetition_penalty));
        }
        if self.bad_words_ids.iter().any(Vec::is_empty) {
            return Err(ModelError::setting("bad_words_ids", "sequences of at least one token", "an empty one"));
        }
        Ok(())
    }

    /// The same settings for a text with room for at most `room` new tokens. What would come later is dropped, including a forced end
    /// token.
    pub(crate) fn within(&self, room: usize) -> Self {
        let mut settings = self.clone();
        if room < settings.max_new_tokens {
            settings.max_new_tokens = room;
            settings.min_new_tokens = settings.min_new_tokens.min(room);
            settings.prefix.truncate(room);
            settings.forced_eos = None;
        }
        settings
    }

    /// Checks that a forced BOS and the prefix agree, given a prompt of `prompt_len` tokens.
    pub(super) fn validate_start(&self, prompt_len: usize) -> Result<(), ModelError> {
        match (self.forced_bos_at(prompt_len), self.prefix.first()) {
            (Some(bos), Some(&first)) if bos != first => {
                let expected = format!("token {bos} (forced_bos) first, because the prefix includes it");
                Err(ModelError::setting("prefix", expected, format!("token {first}")))
            }
            _ => Ok(()),
        }
    }

    /// The forced token after `length` tokens, including the prompt.
    pub(super) fn forced_bos_at(&self, length: usize) -> Option<u32> {
        self.forced_bos.filter(|_| length == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_named() {
        let good = GenerationSettings::default;
        for (settings, says) in [
            (
                GenerationSettings { max_new_tokens: 0, ..good() },
                "`max_new_tokens` must be a whole number from 1 to 1048576, not 0",
            ),
            (GenerationSettings { min_new_tokens: 65, ..good() }, "at most 64, as max_new_tokens, not 65"),
            (GenerationSettings { num_beams: 0, ..good() }, "num_beams"),
            (GenerationSettings { num_beams: 1_000_000_000, ..good() }, "num_beams"),
            (GenerationSettings { num_beams: 2, do_sample: true, ..good() }, "not supported"),
            (GenerationSettings { num_return_sequences: 2, ..good() }, "greedy"),
            (GenerationSettings { num_beams: 2, num_return_sequences: 3, ..good() }, "at most 2, as num_beams, not 3"),
            (GenerationSettings { num_return_sequences: 0, do_sample: true, ..good() }, "from 1 to 1000, not 0"),
            (GenerationSettings { length_penalty: f64::NAN, ..good() }, "length_penalty"),
            (GenerationSettings { temperature: 0.0, do_sample: true, ..good() }, "above 0"),
            (GenerationSettings { temperature: 1e-300, do_sample: true, ..good() }, "from 1e-5 to 1e5"),
            (GenerationSettings { temperature: 1e300, do_sample: true, ..good() }, "from 1e-5 to 1e5"),
            (GenerationSettings { top_p: 0.0, do_sample: true, ..good() }, "at most 1"),
            (GenerationSettings { repetition_penalty: -1.0, ..good() }, "not -1"),
            (GenerationSettings { bad_words_ids: vec![vec![]], ..good() }, "an empty one"),
            (GenerationSettings { max_new_tokens: 1, prefix: vec![1, 2], ..good() }, "not 2"),
            (GenerationSettings { max_new_tokens: 1, prefix: vec![1], forced_eos: Some(2), ..good() }, "token 2"),
        ] {
            let error = settings.validate().unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
        good().validate().unwrap();
        let clash = GenerationSettings { forced_bos: Some(3), prefix: vec![4], ..good() };
        assert!(clash.validate_start(1).unwrap_err().to_string().contains("forced_bos"));
        clash.validate_start(2).unwrap();
    }

    #[test]
    fn survives_serde() {
        let settings = GenerationSettings { eos: vec![1], prefix: vec![2], ..GenerationSettings::default() };
        let text = serde_json::to_string(&settings).unwrap();
        assert_eq!(serde_json::from_str::<GenerationSettings>(&text).unwrap(), settings);
        assert!(serde_json::from_str::<GenerationSettings>(r#"{"max_tokens": 3}"#).is_err());
    }
}
