//! Reads `config.json` with checks: a missing value, a wrong type or a value out of range is an error that names the field.
//!
//! `null` counts as absent, as transformers writes it, except in [`Fields::is_absent`].

use serde_json::{Map, Value};

use crate::ModelError;
use crate::config::{MOST_LAYERS, SpecialTokens};

/// The fields of `config.json`, or of an object in it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fields<'a> {
    map: &'a Map<String, Value>,
    /// Name of the enclosing field, for errors; empty at the top level.
    within: &'static str,
}

/// How some files write that there is no token.
const NO_TOKEN: Option<i64> = Some(-1);

/// What families call the fields that a finished configuration is checked for.
const OTHER_NAMES: [&[&str]; 10] = [
    &["num_hidden_layers", "n_layer", "num_layers", "encoder_layers", "decoder_layers", "num_decoder_layers"],
    &["num_attention_heads", "n_head", "num_heads", "encoder_attention_heads", "decoder_attention_heads"],
    &["num_key_value_heads"],
    &["head_dim", "d_kv", "hidden_size", "n_embd", "d_model"],
    &["hidden_size", "n_embd", "d_model"],
    &["intermediate_size", "n_inner", "ffn_dim", "d_ff", "encoder_ffn_dim", "decoder_ffn_dim"],
    &["word_embed_proj_dim"],
    &["max_position_embeddings", "n_positions", "n_ctx"],
    &["rms_norm_eps", "layer_norm_epsilon", "layer_norm_eps"],
    &["rope_theta", "rotary_emb_base"],
];

impl<'a> Fields<'a> {
    /// The fields of `config.json`.
    pub(crate) fn new(config_json: &'a Value) -> Result<Self, ModelError> {
        match config_json {
            Value::Object(map) => Ok(Self { map, within: "" }),
            other => Err(ModelError::config("(the whole file)", "an object", shortened(other))),
        }
    }

    /// The object in a field.
    pub(crate) fn optional_object(&self, name: &'static str) -> Result<Option<Self>, ModelError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(Self { map, within: name })),
            Some(_) => Err(self.error(name, "an object or null")),
        }
    }

    /// All fields, with numbers in the place of absent ones; to be read by [`of_map`](Self::of_map).
    pub(crate) fn with_defaults(&self, defaults: &[(&str, u64)]) -> Map<String, Value> {
        let mut map = self.map.clone();
        for (name, default) in defaults.iter().filter(|(name, _)| !self.has(name)) {
            map.insert((*name).to_owned(), Value::from(*default));
        }
        map
    }

    /// The same fields from another map.
    pub(crate) fn of_map<'b>(&self, map: &'b Map<String, Value>) -> Fields<'b> {
        Fields { map, within: self.within }
    }

    /// The first of these names that has a value, or simply the first: for fields with several names.
    pub(crate) fn any_of(&self, names: &[&'static str]) -> &'static str {
        names.iter().copied().find(|name| self.get(name).is_some()).unwrap_or(names[0])
    }

    /// Whether the field has a value other than `null`.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Whether the field is missing altogether, not even `null`.
    pub(crate) fn is_absent(&self, name: &str) -> bool {
        !self.map.contains_key(name)
    }

    /// Whether there are no fields.
    pub(crate) fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// Name of the first field that contains an object.
    pub(crate) fn nested(&self) -> Option<&'a str> {
        self.map.iter().find(|(_, value)| value.is_object()).map(|(name, _)| name.as_str())
    }

    pub(crate) fn optional_usize(&self, name: &str) -> Result<Option<usize>, ModelError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        // Below 2^32, so that the product of two never overflows.
        match value.as_u64().and_then(|number| u32::try_from(number).ok()) {
            Some(number) => Ok(Some(number as usize)),
            None => Err(self.error(name, "a whole number from 0 to 4294967295")),
        }
    }

    pub(crate) fn usize(&self, name: &str) -> Result<usize, ModelError> {
        self.optional_usize(name)?.ok_or_else(|| self.error(name, "a whole number"))
    }

    pub(crate) fn usize_or(&self, name: &str, default: usize) -> Result<usize, ModelError> {
        Ok(self.optional_usize(name)?.unwrap_or(default))
    }

    /// A number of layers, small enough for a list with an entry per layer.
    pub(crate) fn layers(&self, name: &str) -> Result<usize, ModelError> {
        let layers = self.usize(name)?;
        self.check((1..=MOST_LAYERS).contains(&layers), name, format!("a whole number from 1 to {MOST_LAYERS}"))?;
        Ok(layers)
    }

    /// The number of heads, and the width of each if they divide the residual stream.
    pub(crate) fn heads(&self, name: &str, hidden_size: usize) -> Result<(usize, usize), ModelError> {
        let heads = self.usize(name)?;
        let divides = heads > 0 && hidden_size.is_multiple_of(heads);
        self.check(divides, name, format!("a divisor of the hidden size, {hidden_size}"))?;
        Ok((heads, hidden_size / heads))
    }

    pub(crate) fn optional_f64(&self, name: &str) -> Result<Option<f64>, ModelError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        match value.as_f64().filter(|number| number.is_finite()) {
            Some(number) => Ok(Some(number)),
            None => Err(self.error(name, "a number")),
        }
    }

    /// A number above 0.
    pub(crate) fn optional_positive(&self, name: &str) -> Result<Option<f64>, ModelError> {
        let number = self.optional_f64(name)?;
        self.check(number.is_none_or(|number| number > 0.0), name, "a number above 0")?;
        Ok(number)
    }

    /// A number above 0.
    pub(crate) fn positive(&self, name: &str) -> Result<f64, ModelError> {
        self.optional_positive(name)?.ok_or_else(|| self.error(name, "a number above 0"))
    }

    /// A number above 0.
    pub(crate) fn positive_or(&self, name: &str, default: f64) -> Result<f64, ModelError> {
        Ok(self.optional_positive(name)?.unwrap_or(default))
    }

    /// A list of so many numbers above 0.
    pub(crate) fn positive_numbers(&self, name: &str, count: usize) -> Result<Vec<f64>, ModelError> {
        let wrong = || self.error(name, format!("a list of {count} numbers above 0"));
        let items = self.get(name).and_then(Value::as_array).filter(|items| items.len() == count).ok_or_else(wrong)?;
        let number = |item: &Value| item.as_f64().filter(|number| number.is_finite() && *number > 0.0);
        items.iter().map(number).collect::<Option<_>>().ok_or_else(wrong)
    }

    /// A list of so many whole numbers, or one that stands for all of them.
    pub(crate) fn one_or_many(&self, name: &str, count: usize, default: usize) -> Result<Vec<usize>, ModelError> {
        let number = |value: &Value| value.as_u64().and_then(|number| usize::try_from(number).ok());
        let found: Option<Vec<usize>> = match self.get(name) {
            None => Some(vec![default; count]),
            Some(Value::Array(values)) => values.iter().map(number).collect(),
            Some(value) => number(value).map(|number| vec![number; count]),
        };
        let found = found.filter(|numbers| numbers.len() == count);
        found.ok_or_else(|| self.error(name, format!("a whole number, or a list of {count}")))
    }

    /// A dropout rate.
    pub(crate) fn rate_or(&self, name: &str, default: f64) -> Result<f64, ModelError> {
        let rate = self.optional_f64(name)?.unwrap_or(default);
        self.check((0.0..1.0).contains(&rate), name, "a rate of at least 0 and below 1")?;
        Ok(rate)
    }

    pub(crate) fn bool_or(&self, name: &str, default: bool) -> Result<bool, ModelError> {
        match self.get(name) {
            None => Ok(default),
            Some(Value::Bool(value)) => Ok(*value),
            Some(_) => Err(self.error(name, "true or false")),
        }
    }

    pub(crate) fn optional_str(&self, name: &str) -> Result<Option<&'a str>, ModelError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(value)) => Ok(Some(value)),
            Some(_) => Err(self.error(name, "a string")),
        }
    }

    pub(crate) fn str_or(&self, name: &str, default: &'a str) -> Result<&'a str, ModelError> {
        Ok(self.optional_str(name)?.unwrap_or(default))
    }

    /// A list of whole numbers.
    pub(crate) fn optional_numbers(&self, name: &str) -> Result<Option<Vec<u64>>, ModelError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let numbers = value.as_array().and_then(|items| items.iter().map(Value::as_u64).collect());
        numbers.map(Some).ok_or_else(|| self.error(name, "a list of whole numbers"))
    }

    /// A list of strings.
    pub(crate) fn optional_strings(&self, name: &str) -> Result<Option<Vec<&'a str>>, ModelError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let strings = value.as_array().and_then(|items| items.iter().map(Value::as_str).collect());
        strings.map(Some).ok_or_else(|| self.error(name, "a list of strings"))
    }

    /// Strings that are repeated, as lists of strings and a count: `[[["a", "b"], 2]]` is a, b, a, b.
    pub(crate) fn repeated_strings(&self, name: &str) -> Result<Option<Vec<&'a str>>, ModelError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let wrong =
            || self.error(name, format!("lists of strings, each with a count, for at most {MOST_LAYERS} layers"));
        let mut strings = Vec::new();
        for item in value.as_array().ok_or_else(wrong)? {
            let [items, count] = item.as_array().map_or(&[][..], Vec::as_slice) else { return Err(wrong()) };
            let items: Option<Vec<&str>> = items.as_array().and_then(|items| items.iter().map(Value::as_str).collect());
            let (items, count) = items.zip(count.as_u64()).ok_or_else(wrong)?;
            let count = usize::try_from(count).ok().filter(|count| count.saturating_mul(items.len()) <= MOST_LAYERS);
            strings.extend(items.repeat(count.ok_or_else(wrong)?));
        }
        Ok(Some(strings))
    }

    /// The special tokens; `defaults` apply if a field is absent, but not if it is `null`.
    pub(crate) fn special_tokens(&self, defaults: SpecialTokens) -> Result<SpecialTokens, ModelError> {
        let token = |name, default| if self.is_absent(name) { Ok(default) } else { self.optional_token(name) };
        Ok(SpecialTokens {
            bos: token("bos_token_id", defaults.bos)?,
            eos: if self.is_absent("eos_token_id") { defaults.eos } else { self.tokens("eos_token_id")? },
            pad: token("pad_token_id", defaults.pad)?,
            decoder_start: token("decoder_start_token_id", defaults.decoder_start)?,
        })
    }

    fn optional_token(&self, name: &str) -> Result<Option<u32>, ModelError> {
        let value = self.get(name).filter(|value| value.as_i64() != NO_TOKEN);
        value.map(|value| self.token(name, value)).transpose()
    }

    fn tokens(&self, name: &str) -> Result<Vec<u32>, ModelError> {
        match self.get(name) {
            None => Ok(Vec::new()),
            Some(value) if value.as_i64() == NO_TOKEN => Ok(Vec::new()),
            Some(Value::Array(items)) => items.iter().map(|item| self.token(name, item)).collect(),
            Some(value) => Ok(vec![self.token(name, value)?]),
        }
    }

    fn token(&self, name: &str, value: &Value) -> Result<u32, ModelError> {
        let token = value.as_u64().and_then(|number| u32::try_from(number).ok());
        token.ok_or_else(|| self.error(name, "a token's number"))
    }

    /// Checks that a field is absent or has the only supported value; `why` explains what is not supported.
    pub(crate) fn only_bool(&self, name: &str, only: bool, why: &str) -> Result<(), ModelError> {
        let value = self.bool_or(name, only)?;
        self.check(value == only, name, format!("{only}: {why}"))
    }

    /// Checks that a field is absent; `why` explains what is not supported.
    pub(crate) fn refuse(&self, name: &str, why: &str) -> Result<(), ModelError> {
        self.check(!self.has(name), name, format!("no such field: {why}"))
    }

    /// An error with the field's value unless the condition holds.
    pub(crate) fn check(&self, holds: bool, name: &str, expected: impl Into<String>) -> Result<(), ModelError> {
        if holds { Ok(()) } else { Err(self.error(name, expected)) }
    }

    /// An error with the expected value of a field and its actual value.
    pub(crate) fn error(&self, name: &str, expected: impl Into<String>) -> ModelError {
        let field = if self.within.is_empty() { name.to_owned() } else { format!("{}.{name}", self.within) };
        ModelError::config(field, expected, self.map.get(name).map_or_else(|| "nothing".to_owned(), shortened))
    }

    /// The error of a finished configuration, with the name that this file has for the field.
    pub(crate) fn as_written(&self, error: ModelError) -> ModelError {
        let ModelError::Config { field, expected, found } = error else { return error };
        let names = OTHER_NAMES.iter().find(|names| names[0] == field).copied().unwrap_or_default();
        // Of an encoder and a decoder, the one whose value is meant.
        let says = |name: &&&str| self.get(name).is_some_and(|value| shortened(value) == found);
        let has = |name: &&&str| self.has(name);
        let name = names.iter().find(says).or_else(|| names.iter().find(has));
        ModelError::Config { field: name.map_or(field, |name| (*name).to_owned()), expected, found }
    }

    fn get(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }
}

/// A value as JSON, shortened for messages.
pub(crate) fn shortened(value: &impl core::fmt::Display) -> String {
    const MOST: usize = 100;
    let text = value.to_string();
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
