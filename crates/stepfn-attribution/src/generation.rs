//! How a model writes: `generation_config.json`, with some of its fields changed.

use serde_json::{Map, Value};
use stepfn_core::CatalogError;
use stepfn_core::catalog::nearest;
use stepfn_models::config::TransformerConfig;
use stepfn_models::generation::GenerationSettings;

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
}

impl GenerationOptions {
    /// What a checkpoint says in `generation_config.json` (`null` if it has none), with some fields changed.
    ///
    /// # Errors
    /// [`AttributionError::Catalog`] for an unknown field, [`AttributionError::Model`] for a value that is out of range or not supported.
    pub fn new(
        generation_config: &Value,
        changes: &Map<String, Value>,
        config: &TransformerConfig,
    ) -> Result<Self, AttributionError> {
        let known = known_fields();
        if let Some(unknown) = changes.keys().find(|field| !known.contains(field)) {
            let nearest = nearest(unknown, known.iter().map(String::as_str)).map(str::to_owned);
            return Err(CatalogError::UnknownParameter {
                owner: "generation",
                parameter: unknown.clone(),
                nearest,
                available: known,
            }
            .into());
        }
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
        let mut settings = GenerationSettings::from_json(&Value::Object(fields))?;
        if settings.eos.is_empty() {
            settings.eos.clone_from(&config.special.eos);
        }
        Ok(Self {
            settings,
            max_length: max_length.map(|length| usize::try_from(length).unwrap_or(usize::MAX)),
            decoder_start: decoder_start.or(config.special.decoder_start).or(config.special.bos),
        })
    }
}

/// The fields that can be changed: those of `generation_config.json` that are supported.
fn known_fields() -> Vec<String> {
    let settings = serde_json::to_value(GenerationSettings::default()).unwrap_or_default();
    let ours = settings.as_object().into_iter().flat_map(Map::keys);
    let renamed = ["eos", "forced_bos", "forced_eos", "prefix", "seed"];
    let theirs = [
        "eos_token_id",
        "forced_bos_token_id",
        "forced_eos_token_id",
        "max_length",
        "min_length",
        "decoder_start_token_id",
    ];
    ours.filter(|field| !renamed.contains(&field.as_str())).cloned().chain(theirs.map(str::to_owned)).collect()
}
