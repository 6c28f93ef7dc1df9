//! Which files of a folder hold a model's weights, and what to say where none does.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use serde_json::Value;

use super::{Contents, adapter_base};
use crate::file::{is_there, open_file, read_file};
use crate::{ModelError, from_json, plain_words};

/// The file or files with the weights, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Weights {
    /// One file.
    Whole(String),
    /// An index, a JSON file that lists several.
    Sharded(String),
}

/// Chooses the weights among the files of a folder. Of several, safetensors come first, then full precision.
pub(crate) fn weights(files: &BTreeSet<String>) -> Option<Weights> {
    /// What precision is called in the names of files.
    const VARIANTS: [&str; 5] = ["", "fp32", "bf16", "fp16", "fp8"];
    let named = |name: String| files.contains(&name).then_some(name);
    let between = |variant: &str| if variant.is_empty() { String::new() } else { format!(".{variant}") };
    let of = |start: &str, end: &str| {
        VARIANTS.into_iter().find_map(|variant| {
            let variant = between(variant);
            let whole = named(format!("{start}{variant}.{end}")).map(Weights::Whole);
            whole
                .or_else(|| named(format!("{start}.{end}.index{variant}.json")).map(Weights::Sharded))
                .or_else(|| named(format!("{start}{variant}.{end}.index.json")).map(Weights::Sharded))
        })
    };
    of("model", "safetensors").or_else(|| of("pytorch_model", "bin"))
}

/// The paths of the weights in a folder.
pub(super) fn weight_files(folder: &Path) -> Result<Vec<PathBuf>, ModelError> {
    let files = names_in(folder);
    match weights(&files) {
        Some(Weights::Whole(name)) => Ok(vec![folder.join(name)]),
        Some(Weights::Sharded(index)) => {
            Ok(shards(&folder.join(index))?.iter().map(|name| folder.join(name)).collect())
        }
        None => {
            let message = format!("not found, and neither is pytorch_model.bin{}", instead(&files));
            Err(file_error(&folder.join("model.safetensors"), message))
        }
    }
}

/// The names of the files in a folder, and of those in its folders, as `onnx/model.onnx`.
fn names_in(folder: &Path) -> BTreeSet<String> {
    let names = |folder: &Path| {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect::<Vec<_>>()
    };
    let mut all = BTreeSet::new();
    for name in names(folder) {
        let inner = folder.join(&name);
        // A folder of the name of a file is an error where the file is read, and not absent.
        match inner.is_dir() && !is_weight_name(&inner) && inner.extension().is_none_or(|ending| ending != "json") {
            true => all.extend(names(&inner).into_iter().map(|file| format!("{name}/{file}"))),
            false => drop(all.insert(name)),
        }
    }
    all
}

/// What a folder has instead of weights that are read, as the end of a sentence, with what to do.
pub(crate) fn instead(files: &BTreeSet<String>) -> String {
    const MOST: usize = 6;
    let ending = |ends: &[&str]| -> Vec<&str> {
        files.iter().map(String::as_str).filter(|name| ends.iter().any(|end| name.ends_with(end))).collect()
    };
    let shown = |names: &[&str]| {
        let more = if names.len() > MOST { ", …" } else { "" };
        format!("{}{more}", names.iter().take(MOST).copied().collect::<Vec<_>>().join(", "))
    };
    let has = |name: &str| files.contains(name);
    let gguf = ending(&[".gguf"]);
    if !gguf.is_empty() {
        return format!("; there is {}: pass the path of one GGUF file", shown(&gguf));
    }
    if has("adapter_config.json") {
        return "; this is an adapter, which needs the model that it was trained on".to_owned();
    }
    if has("model.bin")
        && (has("shared_vocabulary.json")
            || has("shared_vocabulary.txt")
            || has("vocabulary.json")
            || has("vocabulary.txt"))
    {
        return "; model.bin is in the format of CTranslate2, which is not read: take the model that it was converted from".to_owned();
    }
    let onnx = ending(&[".onnx"]);
    if !onnx.is_empty() {
        return format!("; there is {}, and ONNX is not read: take the model that it was exported from", shown(&onnx));
    }
    let other = ending(&["tf_model.h5", "flax_model.msgpack"]);
    if let Some(name) = other.first() {
        let from = if name.ends_with("h5") { "from_tf" } else { "from_flax" };
        return format!(
            "; there is {name}, which transformers 4 converts: `from_pretrained(…, {from}=True)`, then `save_pretrained`"
        );
    }
    let original = ending(&["consolidated.safetensors", ".pth"]);
    if !original.is_empty() {
        return format!(
            "; there is {}, in the layout of the model's authors: take the version for transformers, often with `-hf` in its name",
            shown(&original)
        );
    }
    let single = ending(&[".safetensors", ".bin", ".pt", ".ckpt"]);
    if !single.is_empty() {
        return format!("; there is {}: if that is the model, pass the path of the file", shown(&single));
    }
    String::new()
}

/// Whether a path names a file of weights to be read with the `config.json` beside it.
pub(super) fn is_weight_file(path: &Path) -> bool {
    is_weight_name(path) && path.is_file()
}

fn is_weight_name(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    matches!(extension, "safetensors" | "bin" | "pt" | "pth" | "ckpt")
}

/// The folder that a file is in.
pub(super) fn folder_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(folder) if folder != Path::new("") => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// The folder of a model in place of what people also name: the folder of a model in the cache of Hugging Face's tools, which has the model
/// a few folders further down, a folder of sentence-transformers that has it in another, or a file in the folder.
pub fn resolve(path: &Path) -> PathBuf {
    if is_weight_file(path) {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        let parent = folder_of(path);
        let is_shard = name.contains("-of-");
        let is_usual = is_shard || weights(&BTreeSet::from([name])).is_some();
        return if is_usual { in_cache(&parent).unwrap_or(parent) } else { path.to_owned() };
    }
    let folder = in_cache(path).unwrap_or_else(|| path.to_owned());
    transformer_of(&folder).unwrap_or(folder)
}

/// Of a folder in the layout of sentence-transformers without a model of its own, that of its first module, which is the model: `0_Transformer`.
fn transformer_of(folder: &Path) -> Option<PathBuf> {
    if is_there(&folder.join("config.json")).unwrap_or(true) {
        return None;
    }
    let modules: Value = from_json(&fs::read(folder.join("modules.json")).ok()?).ok()?;
    let path = modules.get(0)?.get("path")?.as_str()?;
    let inner = folder.join(path);
    (!path.is_empty() && inner.join("config.json").is_file()).then_some(inner)
}

/// The snapshot of `main`, or the only one.
fn in_cache(folder: &Path) -> Option<PathBuf> {
    let snapshots = folder.join("snapshots");
    if fs::symlink_metadata(folder.join("config.json")).is_ok() || !snapshots.is_dir() {
        return None;
    }
    let main = fs::read_to_string(folder.join("refs/main")).ok().map(|commit| snapshots.join(commit.trim()));
    main.filter(|main| main.is_dir()).or_else(|| {
        let mut entries = fs::read_dir(&snapshots).ok()?.flatten();
        entries.next().map(|only| only.path()).filter(|_| entries.next().is_none())
    })
}

/// The error for a folder without a `config.json`.
pub(super) fn no_config(folder: &Path) -> Option<ModelError> {
    if folder.exists() && !folder.is_dir() {
        return Some(file_error(folder, "this is a device or a pipe, and should be a file or a folder"));
    }
    let path = folder.join("config.json");
    match is_there(&path) {
        Ok(false) if folder.is_dir() => {}
        Ok(_) => return None,
        Err(error) => return Some(file_error(&path, error)),
    }
    let files = names_in(folder);
    let is_weights = |name: &String| !name.contains('/') && is_weight_name(Path::new(name));
    let has_weights = files.iter().any(is_weights) && !files.contains("adapter_config.json");
    let advice = match has_weights {
        true => ": the weights say too little without it; take it from where they come from".to_owned(),
        false => instead(&files),
    };
    Some(file_error(&path, format!("not found{advice}")))
}

/// The path of the model that the adapter in a folder was trained on; `None` if the folder has a model of its own.
pub(super) fn local_base(folder: &Path) -> Result<Option<PathBuf>, ModelError> {
    if weights(&names_in(folder)).is_some() {
        return Ok(None);
    }
    let Some(name) = adapter_base(folder)? else { return Ok(None) };
    let path = [folder.join(&name), PathBuf::from(&name)].into_iter().find(|path| path.join("config.json").is_file());
    path.map(Some).ok_or_else(|| {
        let message = format!(
            "this is an adapter of `{name}`, which is no folder here: give the folder of that model as its base"
        );
        file_error(&folder.join("adapter_config.json"), message)
    })
}

/// Adds what GPTQ's and AWQ's first programs wrote into a file of its own to the configuration.
pub(super) fn add_quantization(folder: &Path, config: &mut Value) -> Result<(), ModelError> {
    const FILES: [(&str, &str); 2] = [("quantize_config.json", "gptq"), ("quant_config.json", "awq")];
    let Some(config) = config.as_object_mut().filter(|config| !config.contains_key("quantization_config")) else {
        return Ok(());
    };
    for (file, method) in FILES.map(|(file, method)| (folder.join(file), method)) {
        if is_there(&file).map_err(|error| file_error(&file, error))? {
            let mut settings = read_json(&file)?;
            if let Some(settings) = settings.as_object_mut() {
                settings.entry("quant_method").or_insert_with(|| method.into());
            }
            config.insert("quantization_config".to_owned(), settings);
            break;
        }
    }
    Ok(())
}

/// The distinct file names in an index, such as `model.safetensors.index.json`; all are in its folder.
pub(crate) fn shards(index: &Path) -> Result<BTreeSet<String>, ModelError> {
    let json = read_json(index)?;
    let map = json.get("weight_map").and_then(Value::as_object);
    let map = map.ok_or_else(|| file_error(index, "expected an object `weight_map`"))?;
    let name_of = |file: &Value| {
        let name = file.as_str().ok_or_else(|| file_error(index, "`weight_map`: expected file names"))?;
        // Only plain names: an index must not reach outside its folder.
        if Path::new(name).file_name().is_none_or(|file| file != name) {
            return Err(file_error(
                index,
                format!("`weight_map`: expected the name of a file in the same folder, found {name:?}"),
            ));
        }
        Ok(name.to_owned())
    };
    map.values().map(name_of).collect()
}

/// Maps a file into memory, so that its bytes are loaded when they are accessed.
///
/// The file must not be changed or truncated while it is mapped. Public functions that call this repeat that in their docs.
pub(crate) fn map(path: &Path) -> Result<Contents, ModelError> {
    let file = open_file(path).map_err(|error| file_error(path, error))?;
    #[allow(
        unsafe_code,
        reason = "without mapping, loading would hold every weight twice: in the file's bytes and on the device"
    )]
    // SAFETY: the map is read-only and private to this crate. Its bytes must not change while it exists, which the docs of the public
    // functions that get here, `Checkpoint::open` and `Tokenizer::open`, require. Every range in it is checked against its
    // length.
    let map = unsafe { Mmap::map(&file) }.map_err(|error| file_error(path, error))?;
    Ok(map.into())
}

/// Whether the contents of a file are what git-lfs leaves in place of a large one.
pub(crate) fn is_lfs_pointer(bytes: &[u8]) -> bool {
    bytes.starts_with(b"version https://git-lfs")
}

/// What to do about such a file.
pub(crate) const LFS_POINTER: &str = "is a pointer of git-lfs, not the file itself: run `git lfs pull` in its folder";

pub(super) fn read_json(path: &Path) -> Result<Value, ModelError> {
    let bytes = read_file(path).map_err(|error| file_error(path, error))?;
    if is_lfs_pointer(&bytes) {
        return Err(file_error(path, LFS_POINTER));
    }
    from_json(&bytes).map_err(|error| file_error(path, error))
}

pub(super) fn file_error(path: &Path, message: impl ToString) -> ModelError {
    ModelError::File { path: path.to_owned(), message: plain_words(&message.to_string()) }
}
