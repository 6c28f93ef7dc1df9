//! `adapter_config.json`.

use serde_json::{Map, Value};

/// What it says about merging.
#[derive(Debug)]
pub(super) struct Settings {
    alpha: f64,
    /// Other values of alpha, by modules.
    alphas: Map<String, Value>,
    rank: Option<usize>,
    /// Other ranks, by modules.
    ranks: Map<String, Value>,
    /// The names of the modules that it changes, if they are a list.
    pub(super) targets: Vec<String>,
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
        let names = |name: &str| {
            let names = map.get(name).and_then(Value::as_array).into_iter().flatten();
            names.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let object = |name: &str| map.get(name).and_then(Value::as_object).cloned().unwrap_or_default();
        let rank = map.get("r").filter(|rank| !rank.is_null()).map(|rank| {
            let number = rank.as_u64().and_then(|rank| usize::try_from(rank).ok()).filter(|&rank| rank > 0);
            number.ok_or_else(|| format!("`r`: expected a whole number, 1 or greater, found {rank}"))
        });
        Ok(Self {
            alpha,
            alphas: object("alpha_pattern"),
            rank: rank.transpose()?,
            ranks: object("rank_pattern"),
            targets: names("target_modules"),
            by_root: flag("use_rslora"),
            fan_in_fan_out: flag("fan_in_fan_out"),
            modules_to_save: names("modules_to_save"),
        })
    }

    /// The factor of a module's change.
    pub(super) fn scale(&self, module: &str, rank: usize) -> Result<f32, String> {
        let rank = rank.max(1) as f64;
        let alpha = by_module("alpha_pattern", &self.alphas, module)?.unwrap_or(self.alpha);
        let scale = (alpha / if self.by_root { rank.sqrt() } else { rank }) as f32;
        match scale.is_finite() {
            true => Ok(scale),
            false => Err(format!("`lora_alpha`: expected a number that fits into single precision, found {alpha:e}")),
        }
    }

    /// Checks that a module's change has the rank that is said.
    pub(super) fn check_rank(&self, module: &str, found: usize) -> Result<(), String> {
        let said = match by_module("rank_pattern", &self.ranks, module)? {
            Some(rank) => Some(rank),
            None => self.rank.map(|rank| rank as f64),
        };
        match said.filter(|&rank| rank != found as f64) {
            Some(rank) => Err(format!(
                "`r`: says that changes have the rank {rank}, but that of `{module}` has {found}; the file of weights belongs to other settings"
            )),
            None => Ok(()),
        }
    }

    /// Checks that the modules that it says to change are changed, as far as the base model has them.
    pub(super) fn check_targets(&self, changed: &[String], of_base: &[&str]) -> Result<(), String> {
        let is = |module: &str, name: &str| {
            module.strip_suffix(name).is_some_and(|before| before.is_empty() || before.ends_with('.'))
        };
        let in_changed = |name: &String| changed.iter().any(|module| is(module, name));
        let in_base = |name: &String| of_base.iter().any(|module| is(module, name));
        let lost = self.targets.iter().find(|name| in_base(name) && !in_changed(name));
        // Names that the base model doesn't have are harmless, if there are others.
        let lost = lost.or_else(|| self.targets.first().filter(|_| !self.targets.iter().any(in_changed)));
        match lost {
            Some(name) => Err(format!(
                "`target_modules`: names `{name}`, and the adapter's weights have no change of it; they belong to other settings, or are not complete"
            )),
            None => Ok(()),
        }
    }

    /// Whether a tensor belongs to a module that was trained as a whole.
    pub(super) fn saves(&self, tensor: &str) -> bool {
        let module = tensor.rsplit_once('.').map_or(tensor, |(module, _)| module);
        self.modules_to_save.iter().any(|saved| module == saved || module.ends_with(&format!(".{saved}")))
    }
}

/// The number that a pattern gives to a module, if any does.
fn by_module(field: &str, patterns: &Map<String, Value>, module: &str) -> Result<Option<f64>, String> {
    let mut found: Option<f64> = None;
    for (pattern, value) in patterns {
        // Patterns are regular expressions for the end of a name; those that are plain names are read.
        let (name, is_whole) = pattern.strip_prefix('^').map_or((pattern.as_str(), false), |name| (name, true));
        if name.contains(|letter: char| !letter.is_ascii_alphanumeric() && !matches!(letter, '_' | '.' | '-')) {
            return Err(format!("`{field}`: only names are read, found the pattern `{pattern}`{ADVICE}"));
        }
        let before = module.strip_suffix(name);
        let fits = before.is_some_and(|before| before.is_empty() || (!is_whole && before.ends_with('.')));
        let number = value.as_f64().ok_or_else(|| format!("`{field}`: expected numbers, found {value}"))?;
        if fits && found.is_some_and(|found| found != number) {
            return Err(format!("`{field}`: several names fit `{module}`{ADVICE}"));
        }
        found = found.or(fits.then_some(number));
    }
    Ok(found)
}
