//! How a model writes: `generation_config.json`, with some of its fields changed.

use core::ops::RangeInclusive;

use serde_json::{Map, Value};
use stepfn_core::catalog::nearest;
use stepfn_core::{CatalogError, ParameterError};
use stepfn_models::ModelError;
use stepfn_models::config::TransformerConfig;
use stepfn_models::generation::GenerationSettings;
use stepfn_models::tokenizer::TargetStart;

use crate::AttributionError;

/// How the model writes a target if none is given.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerationOptions {
    /// How tokens are chosen.
    pub settings: GenerationSettings,
    /// The greatest number of tokens, those of the prompt included, if the checkpoint counts them so.
    pub(crate) max_length: Option<usize>,
    /// What an encoder–decoder's target starts with.
    pub(crate) decoder_start: Option<u32>,
    /// Why the model can't write as its checkpoint says. Given texts can be scored nevertheless.
    pub(crate) cannot_write: Option<AttributionError>,
}

/// The fields of `generation_config.json` that also matter where the target is given.
const OF_TARGETS: [&str; 2] = ["eos_token_id", "forced_bos_token_id"];

impl GenerationOptions {
    /// Checks fields that are to be changed, as far as that is possible without a model: their names, types and ranges.
    ///
    /// # Errors
    /// [`AttributionError::Catalog`] with the first field that can't be used.
    pub fn check(changes: &Map<String, Value>) -> Result<(), AttributionError> {
        let known = known_fields();
        if let Some(unknown) = changes.keys().find(|field| !known.contains(field)) {
            let nearest = nearest(unknown, known.iter().map(String::as_str)).map(str::to_owned);
            let (owner, parameter) = (OWNER, unknown.clone());
            return Err(CatalogError::UnknownParameter { owner, parameter, nearest, available: known }.into());
        }
        for (field, range, expected) in WHOLE_TEXT {
            let value = changes.get(field).filter(|value| !value.is_null());
            if let Some(value) = value.filter(|value| value.as_u64().is_none_or(|number| !range.contains(&number))) {
                return Err(ParameterError::new(OWNER, field, expected, value).into());
            }
        }
        let settings = GenerationSettings::from_json(&Value::Object(changes.clone()));
        let checked = settings.and_then(|settings| settings.validate_each());
        checked.map_err(|error| of_change(error, changes))
    }

    /// What a checkpoint says in `generation_config.json` (`null` if it has none), with some fields changed.
    ///
    /// # Errors
    /// [`AttributionError::Catalog`] for a changed field that does not exist or can't be used, [`AttributionError::Model`] for one of the
    /// checkpoint's that a given target needs. Other fields of the checkpoint are errors only where the model writes.
    pub fn new(
        generation_config: &Value,
        changes: &Map<String, Value>,
        config: &TransformerConfig,
    ) -> Result<Self, AttributionError> {
        Self::check(changes)?;
        let mut fields = generation_config.as_object().cloned().unwrap_or_default();
        // A length of new tokens takes precedence over one that counts the prompt, unless only the latter is asked for.
        for (asked, outweighed) in [("max_length", "max_new_tokens"), ("min_length", "min_new_tokens")] {
            if changes.contains_key(asked) {
                fields.remove(outweighed);
            }
        }
        fields.extend(changes.clone());
        let number = |field: &str| fields.get(field).and_then(Value::as_u64);
        let max_length = number("max_length").filter(|_| number("max_new_tokens").is_none());
        let decoder_start = number("decoder_start_token_id").and_then(|id| u32::try_from(id).ok());
        let (mut settings, cannot_write) = match GenerationSettings::from_json(&Value::Object(fields.clone())) {
            Ok(settings) => (settings, None),
            Err(error) => match of_change(error, changes) {
                error @ AttributionError::Catalog(_) => return Err(error),
                error => {
                    fields.retain(|field, _| OF_TARGETS.contains(&field.as_str()));
                    (GenerationSettings::from_json(&Value::Object(fields))?, Some(error))
                }
            },
        };
        if let Err(error @ AttributionError::Catalog(_)) =
            settings.validate().map_err(|error| of_change(error, changes))
        {
            return Err(error);
        }
        check_used(changes, &settings)?;
        check_tokens(changes, config.vocab_size)?;
        if settings.eos.is_empty() {
            settings.eos.clone_from(&config.special.eos);
        }
        Ok(Self {
            settings,
            max_length: max_length.map(|length| usize::try_from(length).unwrap_or(usize::MAX)),
            decoder_start: decoder_start.or(config.special.decoder_start).or(config.special.bos),
            cannot_write,
        })
    }

    /// The same for targets in another language.
    #[must_use]
    pub fn starting(self, start: TargetStart) -> Self {
        match start {
            TargetStart::Forced(id) => {
                Self { settings: GenerationSettings { forced_bos: Some(id), ..self.settings }, ..self }
            }
            TargetStart::Start(id) => Self { decoder_start: Some(id), ..self },
        }
    }
}

/// What errors call the fields that are changed.
const OWNER: &str = "generation";

/// The fields that [`GenerationSettings`] does not have, because they count the prompt or belong to the model: their range, and how errors say it.
const WHOLE_TEXT: [(&str, RangeInclusive<u64>, &str); 3] = [
    ("max_length", 2..=1 << 20, "a whole number from 2 to 1048576"),
    ("min_length", 0..=1 << 20, "a whole number from 0 to 1048576"),
    ("decoder_start_token_id", 0..=u32::MAX as u64, "a token id"),
];

/// Checks that nothing is changed that the way of choosing tokens does not read. What a checkpoint says beyond that is its own matter.
fn check_used(changes: &Map<String, Value>, settings: &GenerationSettings) -> Result<(), AttributionError> {
    const OF_SAMPLING: [&str; 3] = ["temperature", "top_k", "top_p"];
    const OF_BEAMS: [&str; 3] = ["length_penalty", "early_stopping", "renormalize_logits"];
    let groups = [
        (OF_SAMPLING, settings.do_sample, "left out, or do_sample=true with it: only drawing tokens uses it"),
        (OF_BEAMS, settings.num_beams > 1, "left out, or num_beams=2 or more with it: only beam search uses it"),
    ];
    let unused = groups.into_iter().filter(|(_, is_used, _)| !is_used);
    let found = unused.into_iter().find_map(|(fields, _, expected)| {
        let field = fields.into_iter().find(|field| changes.get(*field).is_some_and(|value| !value.is_null()))?;
        Some(ParameterError::new(OWNER, field, expected, &changes[field]))
    });
    found.map_or(Ok(()), |error| Err(error.into()))
}

/// Checks that tokens that are named are tokens of the model.
fn check_tokens(changes: &Map<String, Value>, vocab_size: usize) -> Result<(), AttributionError> {
    const OF_TOKENS: [&str; 4] =
        ["eos_token_id", "forced_bos_token_id", "forced_eos_token_id", "decoder_start_token_id"];
    let is_beyond = |value: &Value| value.as_u64().is_some_and(|id| id >= vocab_size as u64);
    let is_wrong = |value: &Value| is_beyond(value) || value.as_array().is_some_and(|ids| ids.iter().any(is_beyond));
    match OF_TOKENS.into_iter().find(|field| changes.get(*field).is_some_and(is_wrong)) {
        Some(field) => {
            let expected = format!("a token id below {vocab_size}, as the model has so many tokens");
            Err(ParameterError::new(OWNER, field, expected, &changes[field]).into())
        }
        None => Ok(()),
    }
}

/// The error of a changed field names the change; any other error is the checkpoint's.
fn of_change(error: ModelError, changes: &Map<String, Value>) -> AttributionError {
    /// Settings, and the fields that they are also read from.
    const ALSO: [(&str, &str); 5] = [
        ("max_new_tokens", "max_length"),
        ("min_new_tokens", "min_length"),
        ("eos", "eos_token_id"),
        ("forced_bos", "forced_bos_token_id"),
        ("forced_eos", "forced_eos_token_id"),
    ];
    let ModelError::Setting { field, expected, found } = error else { return error.into() };
    if changes.contains_key(&field) {
        return ParameterError::new(OWNER, field, expected, found).into();
    }
    match ALSO.into_iter().find(|(setting, other)| *setting == field && changes.contains_key(*other)) {
        Some((_, other)) => ParameterError::new(OWNER, other, expected, &changes[other]).into(),
        None => ModelError::Setting { field, expected, found }.into(),
    }
}

/// The fields that can be changed: those of `generation_config.json` that are supported.
fn known_fields() -> Vec<String> {
    let settings = serde_json::to_value(GenerationSettings::default()).unwrap_or_default();
    let ours = settings.as_object().into_iter().flat_map(Map::keys);
    let renamed = ["eos", "forced_bos", "forced_eos", "prefix", "seed"];
    let theirs = ["eos_token_id", "forced_bos_token_id", "forced_eos_token_id"].into_iter();
    let theirs = theirs.chain(WHOLE_TEXT.map(|(field, ..)| field)).map(str::to_owned);
    ours.filter(|field| !renamed.contains(&field.as_str())).cloned().chain(theirs).collect()
}
