//! LoRA adapters in the layout of PEFT: `adapter_config.json` with `adapter_model.safetensors` or `adapter_model.bin`. They are merged into
//! the weights of their base model, one at a time, when these are read: `w + scale · b a`.
//!
//! Tensors are named after modules of the base model: `base_model.model.M.lora_A.weight` and `….lora_B.weight` change `M.weight`;
//! `lora_embedding_A` and `lora_embedding_B` do so for an embedding; any other tensor takes the place of the base model's.

mod delta;
mod settings;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::Contents;
use super::files::{file_error, map, read_json};
use super::stored::{Stored, StoredEntry};
use crate::ModelError;
use crate::file::is_there;
use delta::Delta;
use settings::Settings;

const CONFIG: &str = "adapter_config.json";

/// An adapter that fits a base model.
#[derive(Debug)]
pub(super) struct Adapter {
    stored: Stored,
    /// By the names of the base model's tensors.
    deltas: BTreeMap<String, Delta>,
    replaced: BTreeMap<String, StoredEntry>,
}

/// What an adapter is fitted to.
pub(super) struct Base<'a> {
    /// The shapes of its tensors.
    pub(super) shapes: BTreeMap<String, Vec<usize>>,
    pub(super) config: &'a mut Value,
}

impl Adapter {
    /// Opens the adapter in a folder and fits it to a base model, whose configuration it may change.
    ///
    /// # Errors
    /// [`ModelError::File`], [`ModelError::Tensor`] or [`ModelError::MissingTensor`] if files are missing, if it is of a kind that can't be
    /// merged, or if it belongs to another model.
    pub(super) fn open(folder: &Path, base: &mut Base) -> Result<Self, ModelError> {
        let path = folder.join(CONFIG);
        let settings = Settings::of(&read_json(&path)?).map_err(|message| file_error(&path, message))?;
        let weights = ["adapter_model.safetensors", "adapter_model.bin"].map(|name| folder.join(name));
        let [first, second] = weights;
        let has = |path: &Path| is_there(path).map_err(|error| file_error(path, error));
        let weights = if has(&first)? || !has(&second)? { first } else { second };
        let contents = map(&weights)?;
        Self::of(&settings, weights, contents, base)
    }

    fn of(settings: &Settings, path: PathBuf, contents: Contents, base: &mut Base) -> Result<Self, ModelError> {
        let mut stored = Stored::default();
        stored.add(path.clone(), contents)?;
        let error = |tensor: &str, expected: String, found: String| ModelError::Tensor {
            path: path.clone(),
            tensor: tensor.to_owned(),
            expected,
            found,
        };
        let tied = is_tied(base);
        let (mut deltas, mut replaced) = (BTreeMap::new(), BTreeMap::new());
        let of_settings = |message| file_error(&path.with_file_name(CONFIG), message);
        let mut changed = Vec::new();
        for (name, entry) in &stored.tensors {
            let Some((module, part)) = split(name) else {
                let (module, parameter) = plain(name);
                let target = find(base, &format!("{module}.{parameter}"))
                    .or_else(|| is_head(&module).then(|| format!("{module}.{parameter}")));
                let target = target.ok_or_else(|| error(name, UNKNOWN.to_owned(), "no such tensor".to_owned()))?;
                if replaced.insert(target, entry.clone()).is_some() {
                    return Err(error(name, TWICE.0.to_owned(), TWICE.1.to_owned()));
                }
                continue;
            };
            // Its partner is looked up below.
            if part.is_second {
                if !stored.tensors.contains_key(&part.partner) {
                    return Err(error(name, format!("its partner `{}`", part.partner), "none".to_owned()));
                }
                continue;
            }
            let partner = stored.tensors.get(&part.partner);
            let partner =
                partner.ok_or_else(|| error(name, format!("its partner `{}`", part.partner), "none".to_owned()))?;
            let target = find(base, &format!("{module}.weight"))
                .ok_or_else(|| error(name, UNKNOWN.to_owned(), format!("no `{module}.weight`")))?;
            if part.is_embedding && tied {
                let found = "an embedding that is the output layer as well".to_owned();
                return Err(error(name, "a change of one layer".to_owned(), found));
            }
            let shape = base.shapes.get(&target).map(Vec::as_slice).unwrap_or_default();
            let rank = entry.shape.first().copied().unwrap_or(0);
            settings.check_rank(&module, rank).map_err(of_settings)?;
            let scale = settings.scale(&module, rank).map_err(of_settings)?;
            let is_turned = part.is_embedding || (settings.fan_in_fan_out && !is_head(&module));
            let delta = Delta::of([entry, partner], shape, is_turned, scale).ok_or_else(|| {
                let found = format!("{:?} and {:?}", entry.shape, partner.shape);
                error(name, format!("two matrices of numbers for a weight of shape {shape:?}"), found)
            })?;
            if deltas.insert(target, delta).is_some() {
                return Err(error(name, TWICE.0.to_owned(), TWICE.1.to_owned()));
            }
            changed.push(module);
        }
        let of_base: Vec<&str> = base.shapes.keys().filter_map(|name| name.strip_suffix(".weight")).collect();
        settings.check_targets(&changed, &of_base).map_err(of_settings)?;
        let adapter = Self { stored, deltas, replaced };
        adapter.change_config(settings, base, tied).map_err(|message| file_error(&path, message))?;
        Ok(adapter)
    }

    /// A layer that is replaced is no longer the same as another, and may have another size.
    fn change_config(&self, settings: &Settings, base: &mut Base, tied: bool) -> Result<(), String> {
        let rows = |entry: &StoredEntry| entry.shape.first().copied().unwrap_or(0);
        let embedding = self.replaced.iter().find(|(name, _)| is_embedding(name));
        let head = self.replaced.keys().any(|name| is_head(name.trim_end_matches(".weight")));
        if let Some((name, _)) = embedding
            && tied
            && !head
            && settings.saves(name)
        {
            return Err(format!(
                "has a new `{name}`, but not the output layer that is the same in the base model: which of the two is meant is unclear; \
                 merge it in PEFT: `merge_and_unload()`, then `save_pretrained`"
            ));
        }
        let Some(config) = base.config.as_object_mut() else { return Ok(()) };
        if head {
            config.insert("tie_word_embeddings".to_owned(), false.into());
        }
        if let Some((name, entry)) = embedding
            && base.shapes.get(name).and_then(|shape| shape.first()).is_some_and(|before| *before != rows(entry))
        {
            config.insert("vocab_size".to_owned(), rows(entry).into());
        }
        Ok(())
    }

    /// The names of tensors that it brings.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.replaced.keys().map(String::as_str)
    }

    /// The shape of a tensor that takes the place of the base model's.
    pub(super) fn shape(&self, name: &str) -> Option<&[usize]> {
        self.replaced.get(name).map(|entry| entry.shape.as_slice())
    }

    /// Where such a tensor lies.
    pub(super) fn stored(&self, name: &str) -> Option<(&Stored, &StoredEntry)> {
        self.replaced.get(name).map(|entry| (&self.stored, entry))
    }

    /// Whether it changes a tensor of the base model.
    pub(super) fn changes(&self, name: &str) -> bool {
        self.deltas.contains_key(name)
    }

    /// Adds its change to the values of a tensor of the base model.
    pub(super) fn merge(&self, name: &str, values: &mut [f32]) {
        if let Some(delta) = self.deltas.get(name) {
            delta.add_to(values, &self.stored);
        }
    }
}

const TWICE: (&str, &str) = ("one change of each weight", "several");
const UNKNOWN: &str = "the name of a part of the base model; is it the right one";

/// The name or path of the model that the adapter in a folder was trained on; `None` if the folder has no adapter.
///
/// # Errors
/// [`ModelError::File`] if `adapter_config.json` is malformed or doesn't say it.
pub fn adapter_base(folder: impl AsRef<Path>) -> Result<Option<String>, ModelError> {
    let path = folder.as_ref().join(CONFIG);
    if !is_there(&path).map_err(|error| file_error(&path, error))? {
        return Ok(None);
    }
    let config = read_json(&path)?;
    let base = config.get("base_model_name_or_path").and_then(Value::as_str).filter(|base| !base.is_empty());
    base.map(|base| Some(base.to_owned())).ok_or_else(|| file_error(&path, "has no `base_model_name_or_path`"))
}

/// One of the two matrices of a change.
struct Part {
    is_second: bool,
    is_embedding: bool,
    /// The name of the other one.
    partner: String,
}

/// The module that a tensor changes.
fn split(name: &str) -> Option<(String, Part)> {
    const PAIRS: [(&str, &str, bool); 2] =
        [(".lora_A", ".lora_B", false), (".lora_embedding_A", ".lora_embedding_B", true)];
    PAIRS.into_iter().find_map(|(first, second, is_embedding)| {
        let part = |own: &str, other: &str, is_second| {
            let (module, end) = name.rsplit_once(own)?;
            let is_end = matches!(end, "" | ".weight" | ".default" | ".default.weight");
            let partner = format!("{module}{other}{end}");
            is_end.then(|| (without_wrappers(module), Part { is_second, is_embedding, partner }))
        };
        part(first, second, false).or_else(|| part(second, first, true))
    })
}

/// Module and parameter of a tensor that is whole.
fn plain(name: &str) -> (String, String) {
    let (module, parameter) = name.rsplit_once('.').unwrap_or(("", name));
    (without_wrappers(module), parameter.to_owned())
}

fn without_wrappers(module: &str) -> String {
    let module = module.strip_prefix("base_model.model.").unwrap_or(module);
    let module = module.replace(".modules_to_save.default", "").replace(".modules_to_save", "");
    module.replace(".base_layer", "").replace(".original_module", "")
}

/// The name of a tensor in the base model's files, which may lack the first part of the name that it has in the model, or have one more.
fn find(base: &Base, name: &str) -> Option<String> {
    if base.shapes.contains_key(name) {
        return Some(name.to_owned());
    }
    let shorter = name.split_once('.').map(|(_, rest)| rest).filter(|rest| base.shapes.contains_key(*rest));
    let longer = ["model.", "transformer.", "decoder.", "gpt_neox."].map(|prefix| format!("{prefix}{name}"));
    shorter.map(str::to_owned).or_else(|| longer.into_iter().find(|name| base.shapes.contains_key(name)))
}

fn is_head(module: &str) -> bool {
    matches!(module, "lm_head" | "embed_out") || module.ends_with(".lm_head")
}

fn is_embedding(name: &str) -> bool {
    ["embed_tokens.weight", "wte.weight", "word_embeddings.weight", "embed_in.weight", "shared.weight"]
        .iter()
        .any(|end| name.ends_with(end))
}

/// Whether the output layer is the embedding.
fn is_tied(base: &Base) -> bool {
    let says_not = base.config.get("tie_word_embeddings") == Some(&Value::Bool(false));
    !says_not && !base.shapes.keys().any(|name| is_head(name.trim_end_matches(".weight")))
}
