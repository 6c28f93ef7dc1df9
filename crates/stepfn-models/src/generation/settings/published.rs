//! Reads `generation_config.json`.

use serde::Deserialize;
use serde_json::Value;

use super::{COUNTS, GenerationSettings};
use crate::ModelError;

/// Unsupported fields that would change the result: the numeric value that has no effect, and what is supported instead.
const UNSUPPORTED: [(&str, Option<f64>, &str); 23] = [
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
            return Err(ModelError::setting("generation_config.json", "an object", generation_config));
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
        let max_length: Option<usize> = count(json, "max_length")?;
        let min_length: usize = count(json, "min_length")?.unwrap_or(0);
        let eos = match &json["eos_token_id"] {
            Value::Array(_) => read(json, "eos_token_id", "a token id or a list of them")?.unwrap_or_default(),
            _ => read(json, "eos_token_id", "a token id or a list of them")?.into_iter().collect(),
        };
        Ok(Self {
            max_new_tokens: count(json, "max_new_tokens")?
                .or(max_length.map(|length| length.saturating_sub(1)))
                .unwrap_or(default.max_new_tokens),
            min_new_tokens: count(json, "min_new_tokens")?.unwrap_or(min_length.saturating_sub(1)),
            num_beams: count(json, "num_beams")?.unwrap_or(default.num_beams),
            length_penalty: read(json, "length_penalty", "a number")?.unwrap_or(default.length_penalty),
            early_stopping: read(json, "early_stopping", "true or false (`never` is not supported)")?
                .unwrap_or(default.early_stopping),
            num_return_sequences: count(json, "num_return_sequences")?.unwrap_or(default.num_return_sequences),
            do_sample: read(json, "do_sample", "true or false")?.unwrap_or(default.do_sample),
            temperature: read(json, "temperature", "a number")?.unwrap_or(default.temperature),
            top_k: count(json, "top_k")?.unwrap_or(default.top_k),
            top_p: read(json, "top_p", "a number")?.unwrap_or(default.top_p),
            seed: default.seed,
            repetition_penalty: read(json, "repetition_penalty", "a number")?.unwrap_or(default.repetition_penalty),
            no_repeat_ngram_size: count(json, "no_repeat_ngram_size")?.unwrap_or(default.no_repeat_ngram_size),
            bad_words_ids: read(json, "bad_words_ids", "a list of lists of token ids")?
                .unwrap_or(default.bad_words_ids),
            renormalize_logits: read(json, "renormalize_logits", "true or false")?
                .unwrap_or(default.renormalize_logits),
            eos,
            forced_bos: read(json, "forced_bos_token_id", "a token id")?,
            forced_eos: read(json, "forced_eos_token_id", "a token id (one, not a list)")?,
            prefix: default.prefix,
        })
    }
}

/// A field that counts something.
fn count(json: &Value, field: &str) -> Result<Option<usize>, ModelError> {
    let range = COUNTS.into_iter().find(|(name, _)| *name == field);
    let expected = range.map_or_else(|| "a whole number, 0 or greater".to_owned(), |(_, range)| range.expected());
    read(json, field, &expected)
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
                "`num_beam_groups` must be null or 1 (supported: plain beam search), not 2",
            ),
            (json!({"penalty_alpha": 0.6}), "penalty_alpha"),
            (json!({"typical_p": 0.9}), "top_p"),
            (json!({"constraints": [1]}), "`prefix`"),
            (json!({"renormalize_logits": 1}), "`renormalize_logits` must be true or false, not 1"),
            (json!({"early_stopping": "never"}), "not supported"),
            (json!({"eos_token_id": -1}), "a token id or a list of them, not -1"),
            (json!({"max_new_tokens": 1.5}), "max_new_tokens"),
            (json!([]), "an object"),
        ] {
            let error = GenerationSettings::from_json(&file).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
