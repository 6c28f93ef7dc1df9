//! `adapter_config.json`.

use serde_json::{Map, Value};

/// What it says about merging.
#[derive(Debug)]
pub(super) struct Settings {
    alpha: f64,
    /// Other values of alpha, by modules.
    alphas: Map<String, Value>,
    /// Whether the scale has the square root of the rank.
    by_root: bool,
    /// Whether weights are stored as `[in, out]`.
    pub(super) fan_in_fan_out: bool,
    modules_to_save: Vec<String>,
}

/// Settings with which an adapter is more than a product of two matrices. None of them may be set.
const REFUSED: [&str; 8] = [
    "lora_bias",
    "layer_replication",
    "megatron_config",
    "target_parameters",
    "trainable_token_indices",
    "alora_invocation_tokens",
    "arrow_config",
    "use_dora",
];
/// Settings that look like others of that sort, but don't matter for merging.
const HARMLESS: [&str; 6] =
    ["use_rslora", "loftq_config", "eva_config", "corda_config", "lora_ga_config", "runtime_config"];
/// Ways to start training that change the base model as well.
const STARTS: [&str; 6] = ["pissa", "olora", "corda", "loftq", "lora_ga", "mica"];

const ADVICE: &str = "; merge it in PEFT: `merge_and_unload()`, then `save_pretrained`";

impl Settings {
    pub(super) fn of(config: &Value) -> Result<Self, String> {
        let map = config.as_object().ok_or("expected an object")?;
        let kind = map.get("peft_type").and_then(Value::as_str).unwrap_or_default();
        if kind != "LORA" {
            return Err(format!("`peft_type`: only adapters of type `LORA` are read, found `{kind}`{ADVICE}"));
        }
        let is_set = |value: &Value| match value {
            Value::Null | Value::Bool(false) => false,
            Value::Array(items) => !items.is_empty(),
            Value::Object(map) => !map.is_empty(),
            _ => true,
        };
        let refused = map.iter().find(|(name, value)| {
            let name = name.as_str();
            let looks_so = name.starts_with("use_") || name.ends_with("_config");
            is_set(value) && (REFUSED.contains(&name) || (looks_so && !HARMLESS.contains(&name)))
        });
        if let Some((name, _)) = refused {
            return Err(format!("an adapter with `{name}` is not read{ADVICE}"));
        }
        let start = map.get("init_lora_weights").and_then(Value::as_str).unwrap_or_default();
        if STARTS.iter().any(|refused| start.starts_with(refused)) {
            return Err(format!(
                "`init_lora_weights`: training that starts with `{start}` changes the base model as well, which is not read{ADVICE}"
            ));
        }
        let alpha = map.get("lora_alpha").and_then(Value::as_f64).ok_or("`lora_alpha`: expected a number")?;
        let flag = |name: &str| map.get(name) == Some(&Value::Bool(true));
        let saved = map.get("modules_to_save").and_then(Value::as_array).into_iter().flatten();
        Ok(Self {
            alpha,
            alphas: map.get("alpha_pattern").and_then(Value::as_object).cloned().unwrap_or_default(),
            by_root: flag("use_rslora"),
            fan_in_fan_out: flag("fan_in_fan_out"),
            modules_to_save: saved.filter_map(Value::as_str).map(str::to_owned).collect(),
        })
    }

    /// The factor of a module's change.
    pub(super) fn scale(&self, module: &str, rank: usize) -> Result<f32, String> {
        let rank = rank.max(1) as f64;
        let alpha = self.alpha_of(module)?;
        Ok((alpha / if self.by_root { rank.sqrt() } else { rank }) as f32)
    }

    fn alpha_of(&self, module: &str) -> Result<f64, String> {
        let mut found: Option<f64> = None;
        for (pattern, value) in &self.alphas {
            // Patterns are regular expressions for the end of a name; those that are plain names are read.
            let (name, is_whole) = pattern.strip_prefix('^').map_or((pattern.as_str(), false), |name| (name, true));
            if name.contains(|letter: char| !letter.is_ascii_alphanumeric() && !matches!(letter, '_' | '.' | '-')) {
                return Err(format!("`alpha_pattern`: only names are read, found the pattern `{pattern}`{ADVICE}"));
            }
            let before = module.strip_suffix(name);
            let fits = before.is_some_and(|before| before.is_empty() || (!is_whole && before.ends_with('.')));
            let alpha = value.as_f64().ok_or_else(|| format!("`alpha_pattern`: expected numbers, found {value}"))?;
            if fits && found.is_some_and(|found| found != alpha) {
                return Err(format!("`alpha_pattern`: several names fit `{module}`{ADVICE}"));
            }
            found = found.or(fits.then_some(alpha));
        }
        Ok(found.unwrap_or(self.alpha))
    }

    /// Whether a tensor belongs to a module that was trained as a whole.
    pub(super) fn saves(&self, tensor: &str) -> bool {
        let module = tensor.rsplit_once('.').map_or(tensor, |(module, _)| module);
        self.modules_to_save.iter().any(|saved| module == saved || module.ends_with(&format!(".{saved}")))
    }
}
