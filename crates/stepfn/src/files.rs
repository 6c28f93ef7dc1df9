//! What a model is read from, found by the name that a user gives.

use std::fs;
use std::io::ErrorKind as IoErrorKind;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use stepfn_core::catalog::nearest;
use stepfn_models::checkpoint::{Checkpoint, MemoryTensor, adapter_base};
use stepfn_models::tokenizer::{Languages, Tokenizers};
use stepfn_models::{ModelError, from_json, read_file};

use crate::{Error, ErrorKind, Result, models};

/// What a model is read from.
pub(crate) struct Files {
    pub(crate) checkpoint: Checkpoint,
    pub(crate) tokenizers: Tokenizers,
    /// `generation_config.json`, or what says the same.
    pub(crate) generation: Value,
}

impl Files {
    /// A folder or file of that name, a model that is compiled in, or one on a hub: in this order.
    ///
    /// `base` is the model that an adapter changes, if not the one that it names itself. `progress` is told about downloads.
    pub(crate) fn find(
        name: &str,
        base: Option<&str>,
        languages: &Languages,
        progress: OnDownload<'_>,
    ) -> Result<Self> {
        #[cfg(feature = "zoo")]
        if let Some(embedded) = stepfn_zoo::find(name).filter(|_| !Path::new(name).exists()) {
            if let Some(base) = base {
                return Err(no_adapter(name, base));
            }
            let generation = serde_json::from_str(embedded.generation_config).unwrap_or_default();
            let tokenizers = Tokenizers::of(embedded.tokenizer()?, languages)?;
            return Ok(Self { checkpoint: embedded.checkpoint()?, tokenizers, generation });
        }
        let folder = locate(name, &|folder| judge(folder, languages), progress)?;
        let own = named_base(&folder)?;
        let (checkpoint, of_model) = match (base.map(str::to_owned), own) {
            (None, None) => (Checkpoint::open(&folder)?, folder.clone()),
            (Some(base), None) => return Err(no_adapter(name, &base)),
            (given, Some(own)) => {
                let is_own = given.is_none();
                let base = locate(&given.unwrap_or(own), &|folder| judge(folder, languages), progress);
                let base = base.map_err(|error| match is_own {
                    true => error.at(format!("the model that the adapter {name} changes")),
                    false => error,
                })?;
                (Checkpoint::open(&base)?.with_adapter(&folder)?, base)
            }
        };
        let generation = generation_config(&of_model, &checkpoint)?;
        // Adapters may come with tokens of their own.
        let tokenizers = match Tokenizers::open(&folder, checkpoint.config(), languages) {
            Err(_) if of_model != folder => Tokenizers::open(&of_model, checkpoint.config(), languages),
            tokenizers => tokenizers,
        }?;
        Ok(Self { checkpoint, tokenizers, generation })
    }
}

impl Files {
    /// A model whose weights are in memory, and whose other files are in a folder.
    pub(crate) fn with_tensors(
        folder: &Path,
        tensors: impl IntoIterator<Item = MemoryTensor>,
        languages: &Languages,
    ) -> Result<Self> {
        let path = folder.join("config.json");
        let unreadable = |error: std::io::Error| ModelError::File { path: path.clone(), message: error.to_string() };
        let config = read_file(&path).map_err(unreadable)?;
        let checkpoint =
            Checkpoint::from_tensors(&folder.to_string_lossy(), &String::from_utf8_lossy(&config), tensors)?;
        let generation = generation_config(folder, &checkpoint)?;
        let tokenizers = Tokenizers::open(folder, checkpoint.config(), languages)?;
        Ok(Self { checkpoint, tokenizers, generation })
    }
}

/// The error of a base that is given for a model of its own.
fn no_adapter(name: &str, base: &str) -> Error {
    let what = format!("{name} is no adapter, so it changes no other model, such as {base}");
    Error::new(ErrorKind::Option, what, "give no base, or the folder of an adapter")
}

/// The model that an adapter names as the one that it changes; none where a folder has a model of its own.
fn named_base(folder: &Path) -> Result<Option<String>> {
    let has_config = is_there(&folder.join("config.json"))?;
    let own = adapter_base(folder)?.filter(|_| !has_config);
    // A path in an adapter may be meant from its folder on.
    Ok(own.map(|own| {
        let near = folder.join(&own);
        if near.join("config.json").is_file() { near.to_string_lossy().into_owned() } else { own }
    }))
}

/// The folder of a model, or its GGUF file; from a hub, if there is none here and the name can be one there.
#[cfg_attr(not(feature = "hub"), allow(unused_variables, reason = "without a hub, nothing is judged or downloaded"))]
fn locate(name: &str, judge: &Judge<'_>, progress: OnDownload<'_>) -> Result<PathBuf> {
    let path = PathBuf::from(name);
    if path.exists() {
        return resolved(path);
    }
    #[cfg(feature = "hub")]
    if let Some(on_hub) = name_on_hub(name) {
        let progress = |download: &stepfn_models::hub::Download<'_>| {
            progress(&Download { file: download.file.to_owned(), bytes_done: download.done, bytes: download.all });
        };
        let found = stepfn_models::hub::Hub::from_env().fetch_with(&on_hub, judge, &progress);
        // A word may also be meant for a model that is compiled in, or for a folder.
        return match found {
            Err(error) if !name.contains('/') => Err(no_model(name, &format!("; {error}"))),
            found => Ok(found?),
        };
    }
    Err(no_model(name, ""))
}

/// How far the download of a model is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Download {
    /// The file of which more has come.
    pub file: String,
    /// Bytes of all files that have come.
    pub bytes_done: u64,
    /// Bytes of all files, if the hub says so. The weights join when it is clear that they are needed.
    pub bytes: Option<u64>,
}

/// Is told how far downloads are.
pub(crate) type OnDownload<'a> = &'a dyn Fn(&Download);

/// Judges a model by its small files, before its weights are downloaded.
type Judge<'a> = dyn Fn(&Path) -> core::result::Result<(), ModelError> + 'a;

/// Whether a model can be run, as far as its configuration and its tokenizer say.
fn judge(folder: &Path, languages: &Languages) -> core::result::Result<(), ModelError> {
    let path = folder.join("config.json");
    let unreadable = |error: String| ModelError::File { path: path.clone(), message: error };
    let bytes = read_file(&path).map_err(|error| unreadable(error.to_string()))?;
    let config: Value = from_json(&bytes).map_err(unreadable)?;
    // A quantized model's configuration is judged with its tensors.
    if config.get("quantization_config").is_none() {
        stepfn_models::families::of(&config)?.configure(&config)?;
    }
    Tokenizers::open(folder, &config, languages).map(drop)
}

/// Where the model is that a path on this machine stands for: the path itself, or what it leads to.
fn resolved(path: PathBuf) -> Result<PathBuf> {
    let path = stepfn_models::checkpoint::resolve(&path);
    // A configuration that can't be read is an error there, and no reason to take another model.
    if path.is_file() || fs::symlink_metadata(path.join("config.json")).is_ok() {
        return Ok(path);
    }
    let mut gguf = names_in(&path);
    gguf.retain(|name| name.ends_with(".gguf"));
    match gguf.as_slice() {
        [one] => Ok(path.join(one)),
        // The parts of one model; opening one opens all.
        [first, ..] if gguf.iter().all(|name| name.contains("-of-")) => Ok(path.join(first)),
        [first, ..] => {
            let what = format!("{} has several GGUF files: {}", path.display(), gguf.join(", "));
            Err(Error::new(ErrorKind::Model, what, format!("give one of them: {}", path.join(first).display())))
        }
        [] => Ok(path),
    }
}

/// Whether a model is read from a file of this name.
fn is_read(name: &str) -> bool {
    const ENDINGS: [&str; 11] =
        ["safetensors", "bin", "json", "pt", "pth", "ckpt", "model", "spm", "txt", "jinja", "gguf"];
    let ending = Path::new(name).extension().and_then(|ending| ending.to_str());
    ending.is_some_and(|ending| ENDINGS.contains(&ending))
}

/// What is in a folder, in order; nothing if it can't be read.
fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// The name that something which is not here may have on a hub. A path with a typing error has none; `org/name:file.gguf` and addresses do.
#[cfg(feature = "hub")]
fn name_on_hub(name: &str) -> Option<stepfn_models::hub::HubName> {
    let is_file = ["gguf", "safetensors", "bin", "json"].iter().any(|ending| name.ends_with(&format!(".{ending}")));
    let is_path = !name.contains(':') && name.matches('/').count() < 2;
    if is_file && is_path { None } else { name.parse().ok() }
}

/// The error of a model that is not there; `more` says where else it is not.
fn no_model(name: &str, more: &str) -> Error {
    let compiled_in = models();
    let nearest = nearest(name, compiled_in.iter().map(|[name, ..]| name.as_str()));
    let meant = nearest.map_or_else(String::new, |nearest| format!(" (did you mean `{nearest}`?)"));
    let hint =
        "give a folder with config.json, weights and a tokenizer, a GGUF file, or a name on a hub (org/name or name)";
    Error::new(ErrorKind::Model, format!("there is no model `{name}`{meant}{more}"), hint)
}

/// `generation_config.json`; if there is none, `config.json` has these settings.
fn generation_config(folder: &Path, checkpoint: &Checkpoint) -> Result<Value> {
    let path = folder.join("generation_config.json");
    let unreadable = |error: String| {
        let hint = "repair the file, or remove it: config.json then says how the model writes";
        Error::new(ErrorKind::Model, format!("{}: {error}", path.display()), hint)
    };
    let bytes = match read_file(&path) {
        Ok(bytes) => bytes,
        // A GGUF file is not a folder.
        Err(error) if matches!(error.kind(), IoErrorKind::NotFound | IoErrorKind::NotADirectory) => {
            return Ok(checkpoint.config().clone());
        }
        Err(error) => return Err(unreadable(error.to_string())),
    };
    let settings: Map<String, Value> = from_json(&bytes).map_err(unreadable)?;
    Ok(settings.into())
}

/// Whether a file of a model is there.
///
/// # Errors
/// [`ErrorKind::Model`] if something is there that can't be read: a folder, a device, a link to a file that is not there.
pub fn is_there(path: &Path) -> Result<bool> {
    let failed = |error: std::io::Error| ModelError::File { path: path.to_owned(), message: error.to_string() };
    Ok(stepfn_models::is_there(path).map_err(failed)?)
}

/// The folder that a model of this name is read from, or its GGUF file; downloaded from a hub if it is not here.
///
/// # Errors
/// [`ErrorKind::Model`] if there is no such model on this machine or on a hub.
pub fn model_folder(name: &str) -> Result<PathBuf> {
    locate(name, &|_| Ok(()), &|_| ())
}

/// The files on this machine that a model of this name is read from, those of the model that an adapter names included; none for a model that
/// is compiled in or not here yet.
pub fn model_files(name: &str) -> Vec<PathBuf> {
    let Some(path) = here(name) else { return Vec::new() };
    let base = named_base(&path).ok().flatten().and_then(|base| here(&base));
    base.iter().chain([&path]).flat_map(|path| files_at(path)).collect()
}

/// Where a model of this name is on this machine: at a path, or where earlier downloads are.
fn here(name: &str) -> Option<PathBuf> {
    let path = PathBuf::from(name);
    if path.exists() {
        return Some(resolved(path.clone()).unwrap_or(path));
    }
    #[cfg(feature = "hub")]
    if let Some(on_hub) = name_on_hub(name) {
        let hub = stepfn_models::hub::Hub { offline: true, ..stepfn_models::hub::Hub::from_env() };
        return hub.fetch(&on_hub).ok();
    }
    None
}

/// The files of the model at a path.
fn files_at(path: &Path) -> Vec<PathBuf> {
    /// Files that are read if they are there: written now, they would be part of the model from then on.
    const OPTIONAL: [&str; 9] = [
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
        "chat_template.json",
        "chat_template.jinja",
        "quantize_config.json",
        "quant_config.json",
    ];
    const TEMPLATES: &str = "additional_chat_templates";
    if !path.is_file() {
        let there = names_in(path);
        let optional = OPTIONAL.iter().filter(|name| !there.iter().any(|there| there == *name));
        let own = there.iter().map(String::as_str).filter(|name| is_read(name)).chain(optional.copied());
        let templates = path.join(TEMPLATES);
        let templates = names_in(&templates).into_iter().map(|name| templates.join(name));
        return own.map(|name| path.join(name)).chain(templates).collect();
    }
    let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // A GGUF file has everything, or is one of several. Other weights are read with what is beside them.
    let is_gguf = name.ends_with(".gguf");
    let beside = |other: &String| match is_gguf {
        true => name.contains("-of-") && other.contains("-of-") && other.ends_with(".gguf"),
        false => is_read(&name) && is_read(other),
    };
    let beside = names_in(folder).into_iter().filter(beside).map(|other| folder.join(other));
    beside.chain([path.to_owned()]).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_an_adapter_are_those_of_its_model_too() {
        let root = tempfile::tempdir().unwrap();
        let [adapter, base] = ["adapter", "base"].map(|name| root.path().join(name));
        fs::create_dir_all(&adapter).unwrap();
        fs::create_dir_all(&base).unwrap();
        for file in ["config.json", "odd.safetensors", "notes.md"] {
            fs::write(base.join(file), "{}").unwrap();
        }
        let config = adapter.join("adapter_config.json");
        let of_base = [base.join("config.json"), base.join("odd.safetensors")];
        for named in ["../base".to_owned(), base.to_string_lossy().into_owned()] {
            fs::write(&config, serde_json::json!({ "base_model_name_or_path": named }).to_string()).unwrap();
            let files = model_files(&adapter.to_string_lossy());
            let found = files.iter().filter_map(|file| file.canonicalize().ok());
            let expected = of_base.iter().chain([&config]).map(|file| file.canonicalize().unwrap());
            assert_eq!(found.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
        }
        // What would be read from now on if it were written.
        assert!(model_files(&base.to_string_lossy()).contains(&base.join("generation_config.json")));
        let odd = base.join("odd.safetensors");
        assert!(of_base.iter().all(|file| model_files(&odd.to_string_lossy()).contains(file)));
        for named in ["org/name", "../nowhere"] {
            fs::write(&config, serde_json::json!({ "base_model_name_or_path": named }).to_string()).unwrap();
            let mut files = model_files(&adapter.to_string_lossy());
            files.retain(|file| file.exists());
            assert_eq!(files, [config.as_path()]);
        }
    }

    #[test]
    fn a_path_leads_to_its_model_or_to_what_to_give_instead() {
        let root = tempfile::tempdir().unwrap();
        let make = |file: &str| {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "main").unwrap();
            path
        };
        let found = |path: &str| resolved(root.path().join(path));
        make("whole/config.json");
        make("whole/model.safetensors");
        assert_eq!(found("whole").unwrap(), root.path().join("whole"));
        assert_eq!(found("whole/model.safetensors").unwrap(), root.path().join("whole"));
        let one = make("gguf/a.gguf");
        assert_eq!(found("gguf").unwrap(), one);
        assert_eq!(found("gguf/a.gguf").unwrap(), one);
        make("gguf/b.gguf");
        assert!(found("gguf").unwrap_err().what().ends_with("a.gguf, b.gguf"));
        let first = make("split/a-00001-of-00002.gguf");
        make("split/a-00002-of-00002.gguf");
        assert_eq!(found("split").unwrap(), first);
        let second = root.path().join("split/a-00002-of-00002.gguf");
        assert_eq!(model_files(&first.to_string_lossy()), [first.clone(), second, first.clone()]);
        make("models--a--b/refs/main");
        make("models--a--b/snapshots/main/config.json");
        make("models--a--b/snapshots/other/config.json");
        assert_eq!(found("models--a--b").unwrap(), root.path().join("models--a--b/snapshots/main"));
        make("models--c--d/snapshots/only/config.json");
        assert_eq!(found("models--c--d").unwrap(), root.path().join("models--c--d/snapshots/only"));
        make("models--e--f/refs/main");
        assert_eq!(found("models--e--f").unwrap(), root.path().join("models--e--f"));
    }
}
