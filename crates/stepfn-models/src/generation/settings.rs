//! Generation settings, from `generation_config.json` or a caller, with the names and defaults of transformers.

use serde::{Deserialize, Serialize};
use serde_json::Value;

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
    /// Tokens that end the text.
    pub eos: Vec<u32>,
    /// The token generated after a prompt of one token, whatever the model predicts; for example a translation's language.
    pub forced_bos: Option<u32>,
    /// The token generated at position `max_new_tokens`, whatever the model predicts.
    pub forced_eos: Option<u32>,
    /// The tokens that the generated text must start with. Bans (n-grams, bad words, minimum length) don't apply to them.
    pub prefix: Vec<u32>,
}

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
            eos: Vec::new(),
            forced_bos: None,
            forced_eos: None,
            prefix: Vec::new(),
        }
    }
}

/// Unsupported fields that would change the result: the numeric value that has no effect, and what is supported instead.
const UNSUPPORTED: [(&str, Option<f64>, &str); 24] = [
    ("num_beam_groups", Some(1.0), "plain beam search"),
    ("diversity_penalty", Some(0.0), "plain beam search"),
    ("constraints", None, "`prefix` and `bad_words_ids`"),
    ("force_words_ids", None, "`prefix` and `bad_words_ids`"),
    ("penalty_alpha", Some(0.0), "greedy, sampling and beam search"),
    ("dola_layers", None, "greedy, sampling and beam search"),
    ("guidance_scale", Some(1.0), "greedy, sampling and beam search"),
    ("typical_p", Some(1.0), "temperature, top_k and top_p"),
    ("epsilon_cutoff", Some(0.0), "temperature, top_k and top_p"),
    ("eta_cutoff", Some(0.0), "temperature, top_k and top_p"),
    ("min_p", Some(0.0), "temperature, top_k and top_p"),
    ("top_h", None, "temperature, top_k and top_p"),
    ("renormalize_logits", None, "scores as left by the rules"),
    ("watermarking_config", None, "text without a watermark"),
    ("suppress_tokens", None, "`bad_words_ids`"),
    ("begin_suppress_tokens", None, "`bad_words_ids`"),
    ("sequence_bias", None, "`bad_words_ids`"),
    ("encoder_repetition_penalty", Some(1.0), "`repetition_penalty`"),
    ("encoder_no_repeat_ngram_size", Some(0.0), "`no_repeat_ngram_size`"),
    ("exponential_decay_length_penalty", None, "`length_penalty`"),
    ("forced_decoder_ids", None, "`prefix` and `forced_bos_token_id`"),
    ("token_healing", None, "`prefix`"),
    ("stop_strings", None, "`eos_token_id`"),
    ("max_time", None, "`max_new_tokens`"),
];

impl GenerationSettings {
    /// Reads a `generation_config.json`. `null` counts as absent, and an absent field gets its default.
    ///
    /// `max_length` and `min_length` include the prompt, whose length is not known here. Without `max_new_tokens` or `min_new_tokens`, they
    /// are read for a prompt of one token, which is right for encoder–decoders; for a causal model, subtract the rest of the prompt. The
    /// file has no fields for `prefix` and `seed`.
    ///
    /// # Errors
    /// If a value has the wrong type, or an unsupported field would change the result. Ranges are checked by
    /// [`validate`](Self::validate).
    pub fn from_json(generation_config: &Value) -> Result<Self, ModelError> {
        if !generation_config.is_object() {
            return Err(ModelError::setting("(the whole file)", "an object", generation_config));
        }
        for (field, neutral, instead) in UNSUPPORTED {
            let value = &generation_config[field];
            let off = match value {
                Value::Null | Value::Bool(false) => true,
                Value::Array(values) => values.is_empty(),
                _ => neutral.is_some() && value.as_f64() == neutral,
            };
            if !off {
                let neutral = neutral.map_or_else(String::new, |neutral| format!(" or {neutral}"));
                return Err(ModelError::setting(field, format!("null{neutral} (supported: {instead})"), value));
            }
        }
        let json = generation_config;
        let default = Self::default();
        let max_length: Option<usize> = read(json, "max_length", "a count")?;
        let min_length: usize = read(json, "min_length", "a count")?.unwrap_or(0);
        let eos = match &json["eos_token_id"] {
            Value::Array(_) => read(json, "eos_token_id", "a token id or a list of them")?.unwrap_or_default(),
            _ => read(json, "eos_token_id", "a token id or a list of them")?.into_iter().collect(),
        };
        Ok(Self {
            max_new_tokens: read(json, "max_new_tokens", "a count")?
                .or(max_length.map(|length| length.saturating_sub(1)))
                .unwrap_or(default.max_new_tokens),
            min_new_tokens: read(json, "min_new_tokens", "a count")?.unwrap_or(min_length.saturating_sub(1)),
            num_beams: read(json, "num_beams", "a count")?.unwrap_or(default.num_beams),
            length_penalty: read(json, "length_penalty", "a number")?.unwrap_or(default.length_penalty),
            early_stopping: read(json, "early_stopping", "true or false (\"never\" is not supported)")?
                .unwrap_or(default.early_stopping),
            num_return_sequences: read(json, "num_return_sequences", "a count")?
                .unwrap_or(default.num_return_sequences),
            do_sample: read(json, "do_sample", "true or false")?.unwrap_or(default.do_sample),
            temperature: read(json, "temperature", "a number")?.unwrap_or(default.temperature),
            top_k: read(json, "top_k", "a count")?.unwrap_or(default.top_k),
            top_p: read(json, "top_p", "a number")?.unwrap_or(default.top_p),
            seed: default.seed,
            repetition_penalty: read(json, "repetition_penalty", "a number")?.unwrap_or(default.repetition_penalty),
            no_repeat_ngram_size: read(json, "no_repeat_ngram_size", "a count")?
                .unwrap_or(default.no_repeat_ngram_size),
            bad_words_ids: read(json, "bad_words_ids", "a list of lists of token ids")?
                .unwrap_or(default.bad_words_ids),
            eos,
            forced_bos: read(json, "forced_bos_token_id", "a token id")?,
            forced_eos: read(json, "forced_eos_token_id", "a token id (one, not a list)")?,
            prefix: default.prefix,
        })
    }

    /// Checks that every setting is in range and that they are consistent.
    ///
    /// # Errors
    /// The first invalid setting, with the values that it may have.
    pub fn validate(&self) -> Result<(), ModelError> {
        let positive = |number: f64| number.is_finite() && number > 0.0;
        if self.max_new_tokens == 0 {
            return Err(ModelError::setting("max_new_tokens", "1 or more", 0));
        }
        if self.min_new_tokens > self.max_new_tokens {
            let expected = format!("at most max_new_tokens, {}", self.max_new_tokens);
            return Err(ModelError::setting("min_new_tokens", expected, self.min_new_tokens));
        }
        if self.num_beams == 0 {
            return Err(ModelError::setting("num_beams", "1 or more", 0));
        }
        if self.num_beams > 1 && self.do_sample {
            let found = format!("true with {} beams", self.num_beams);
            return Err(ModelError::setting(
                "do_sample",
                "false, or num_beams 1: sampling in a beam search is not supported",
                found,
            ));
        }
        let (most, why) = match (self.num_beams, self.do_sample) {
            (1, true) => (usize::MAX, "1 or more".to_owned()),
            (1, false) => (1, "1: greedy search returns one text (set num_beams or do_sample for more)".to_owned()),
            (beams, _) => (beams, format!("1 to num_beams, {beams}")),
        };
        if self.num_return_sequences == 0 || self.num_return_sequences > most {
            return Err(ModelError::setting("num_return_sequences", why, self.num_return_sequences));
        }
        if !self.length_penalty.is_finite() {
            return Err(ModelError::setting("length_penalty", "a finite number", self.length_penalty));
        }
        if self.do_sample && !positive(self.temperature) {
            let expected = "a finite number above 0 (for the most likely token, set do_sample to false)";
            return Err(ModelError::setting("temperature", expected, self.temperature));
        }
        if self.do_sample && !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return Err(ModelError::setting("top_p", "a number above 0, at most 1", self.top_p));
        }
        if !positive(self.repetition_penalty) {
            return Err(ModelError::setting("repetition_penalty", "a finite number above 0", self.repetition_penalty));
        }
        if self.bad_words_ids.iter().any(Vec::is_empty) {
            return Err(ModelError::setting("bad_words_ids", "sequences of at least one token", "an empty one"));
        }
        if self.prefix.len() > self.max_new_tokens {
            let expected = format!("at most max_new_tokens, {}, tokens", self.max_new_tokens);
            return Err(ModelError::setting("prefix", expected, format!("{} tokens", self.prefix.len())));
        }
        if let Some(eos) = self.forced_eos
            && let Some(&last) = self.prefix.get(self.max_new_tokens - 1)
            && last != eos
        {
            let expected = format!("token {eos} (forced_eos) at position max_new_tokens, {}", self.max_new_tokens);
            return Err(ModelError::setting("prefix", expected, format!("token {last}")));
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

/// A field of the file; `None` if absent or null.
fn read<'a, T: Deserialize<'a>>(json: &'a Value, field: &str, expected: &str) -> Result<Option<T>, ModelError> {
    Option::deserialize(&json[field]).map_err(|_| ModelError::setting(field, expected, &json[field]))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn reads_a_published_file() {
        let settings = GenerationSettings::from_json(&json!({
            "_from_model_config": true, "bad_words_ids": [[58100]], "bos_token_id": 0, "decoder_start_token_id": 58100,
            "eos_token_id": 0, "forced_eos_token_id": 0, "max_length": 512, "num_beams": 6, "pad_token_id": 58100,
            "forced_bos_token_id": null, "num_beam_groups": 1, "typical_p": 1.0, "transformers_version": "4.32.0.dev0",
        }))
        .unwrap();
        let expected = GenerationSettings {
            bad_words_ids: vec![vec![58100]],
            eos: vec![0],
            forced_eos: Some(0),
            max_new_tokens: 511,
            num_beams: 6,
            ..GenerationSettings::default()
        };
        assert_eq!(settings, expected);
        let settings = GenerationSettings::from_json(&json!({"eos_token_id": [2, 5], "min_length": 4})).unwrap();
        assert_eq!((settings.eos, settings.min_new_tokens, settings.max_new_tokens), (vec![2, 5], 3, 64));
        assert_eq!(GenerationSettings::from_json(&json!({})).unwrap(), GenerationSettings::default());
    }

    #[test]
    fn unsupported_fields_that_change_the_result_are_refused() {
        for (file, says) in [
            (
                json!({"num_beam_groups": 2}),
                "`num_beam_groups`: expected null or 1 (supported: plain beam search), found 2",
            ),
            (json!({"penalty_alpha": 0.6}), "penalty_alpha"),
            (json!({"typical_p": 0.9}), "top_p"),
            (json!({"constraints": [1]}), "`prefix`"),
            (json!({"renormalize_logits": true}), "renormalize_logits"),
            (json!({"early_stopping": "never"}), "not supported"),
            (json!({"eos_token_id": -1}), "a token id or a list of them, found -1"),
            (json!({"max_new_tokens": 1.5}), "max_new_tokens"),
            (json!([]), "an object"),
        ] {
            let error = GenerationSettings::from_json(&file).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn ranges_are_named() {
        let good = GenerationSettings::default;
        for (settings, says) in [
            (GenerationSettings { max_new_tokens: 0, ..good() }, "`max_new_tokens`: expected 1 or more, found 0"),
            (GenerationSettings { min_new_tokens: 65, ..good() }, "at most max_new_tokens, 64, found 65"),
            (GenerationSettings { num_beams: 0, ..good() }, "num_beams"),
            (GenerationSettings { num_beams: 2, do_sample: true, ..good() }, "not supported"),
            (GenerationSettings { num_return_sequences: 2, ..good() }, "greedy"),
            (GenerationSettings { num_beams: 2, num_return_sequences: 3, ..good() }, "1 to num_beams, 2, found 3"),
            (GenerationSettings { num_return_sequences: 0, do_sample: true, ..good() }, "1 or more, found 0"),
            (GenerationSettings { length_penalty: f64::NAN, ..good() }, "length_penalty"),
            (GenerationSettings { temperature: 0.0, do_sample: true, ..good() }, "above 0"),
            (GenerationSettings { top_p: 0.0, do_sample: true, ..good() }, "at most 1"),
            (GenerationSettings { repetition_penalty: -1.0, ..good() }, "found -1"),
            (GenerationSettings { bad_words_ids: vec![vec![]], ..good() }, "an empty one"),
            (GenerationSettings { max_new_tokens: 1, prefix: vec![1, 2], ..good() }, "found 2 tokens"),
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
