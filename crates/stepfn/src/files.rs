//! What a model is read from, found by the name that a user gives.

use std::fs;
use std::io::ErrorKind as IoErrorKind;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use stepfn_core::catalog::nearest;
use stepfn_models::checkpoint::Checkpoint;
use stepfn_models::tokenizer::Tokenizer;

use crate::{Error, ErrorKind, Result, models};

/// What a model is read from.
pub(crate) struct Files {
    pub(crate) checkpoint: Checkpoint,
    pub(crate) tokenizer: Tokenizer,
    /// `generation_config.json`, or what says the same.
    pub(crate) generation: Value,
}

impl Files {
    /// A folder or file of that name, a model that is compiled in, or one on a hub: in this order.
    pub(crate) fn find(name: &str) -> Result<Self> {
        #[cfg(feature = "zoo")]
        if let Some(embedded) = stepfn_zoo::find(name).filter(|_| !Path::new(name).exists()) {
            let generation = serde_json::from_str(embedded.generation_config).unwrap_or_default();
            return Ok(Self { checkpoint: embedded.checkpoint()?, tokenizer: embedded.tokenizer()?, generation });
        }
        let folder = locate(name)?;
        let checkpoint = Checkpoint::open(&folder)?;
        let generation = generation_config(&folder, &checkpoint)?;
        Ok(Self { checkpoint, tokenizer: Tokenizer::open(&folder)?, generation })
    }
}

/// The folder of a model, or its GGUF file; from a hub, if there is none here and the name can be one there.
fn locate(name: &str) -> Result<PathBuf> {
    let path = PathBuf::from(name);
    if path.exists() {
        return resolved(path);
    }
    #[cfg(feature = "hub")]
    if let Some(on_hub) = name_on_hub(name) {
        let found = stepfn_models::hub::Hub::from_env().fetch(&on_hub);
        // A word may also be meant for a model that is compiled in, or for a folder.
        return match found {
            Err(error) if !name.contains('/') => Err(no_model(name, &format!("; {error}"))),
            found => Ok(found?),
        };
    }
    Err(no_model(name, ""))
}

/// Where the model is that a path on this machine stands for: the path itself, or what it leads to.
fn resolved(path: PathBuf) -> Result<PathBuf> {
    if path.is_file() {
        return match of_folder(&path) {
            None => Ok(path),
            Some(folder) => {
                let what = format!("{} is one file of a model", path.display());
                Err(Error::new(ErrorKind::Model, what, format!("give its folder: {}", folder.display())))
            }
        };
    }
    if path.join(CONFIG).is_file() {
        return Ok(path);
    }
    if let Some(snapshot) = snapshot(&path) {
        return Ok(snapshot);
    }
    let mut gguf = names_in(&path);
    gguf.retain(|name| name.ends_with(".gguf"));
    match gguf.as_slice() {
        [] => Ok(path),
        [one] => Ok(path.join(one)),
        [first, ..] => {
            let what = format!("{} has several GGUF files: {}", path.display(), gguf.join(", "));
            Err(Error::new(ErrorKind::Model, what, format!("give one of them: {}", path.join(first).display())))
        }
    }
}

const CONFIG: &str = "config.json";

/// The folder of a file that is only a part of a model.
fn of_folder(file: &Path) -> Option<&Path> {
    const PARTS: [&str; 8] = ["safetensors", "bin", "json", "pt", "pth", "model", "spm", "txt"];
    let ending = file.extension()?.to_str()?;
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    PARTS.contains(&ending).then_some(folder)
}

/// The snapshot in a cache folder of the hub, `models--org--name`: of its main branch, or the only one.
fn snapshot(folder: &Path) -> Option<PathBuf> {
    let snapshots = folder.join("snapshots");
    let commit = fs::read_to_string(folder.join("refs").join("main")).ok().map(|commit| commit.trim().to_owned());
    let commit = commit.filter(|commit| !commit.is_empty() && !commit.contains(['/', '\\', '.']));
    let commit = commit.or_else(|| match names_in(&snapshots).as_slice() {
        [one] => Some(one.clone()),
        _ => None,
    })?;
    Some(snapshots.join(commit)).filter(|snapshot| snapshot.is_dir())
}

/// What is in a folder, in order; nothing if it can't be read.
fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// The name that something which is not here may have on a hub. A path with a typing error has none.
#[cfg(feature = "hub")]
fn name_on_hub(name: &str) -> Option<stepfn_models::hub::HubName> {
    let is_file = ["gguf", "safetensors", "bin", "json"].iter().any(|ending| name.ends_with(&format!(".{ending}")));
    if is_file { None } else { name.parse().ok() }
}

/// The error of a model that is not there; `more` says where else it is not.
fn no_model(name: &str, more: &str) -> Error {
    let compiled_in = models();
    let nearest = nearest(name, compiled_in.iter().map(|[name, ..]| name.as_str()));
    let meant = nearest.map_or_else(String::new, |nearest| format!(" (did you mean `{nearest}`?)"));
    let hint = "give a folder with config.json, model.safetensors and tokenizer.json, a GGUF file, or a name on a hub (org/name or name)";
    Error::new(ErrorKind::Model, format!("there is no model `{name}`{meant}{more}"), hint)
}

/// `generation_config.json`; if there is none, `config.json` has these settings.
fn generation_config(folder: &Path, checkpoint: &Checkpoint) -> Result<Value> {
    let path = folder.join("generation_config.json");
    let unreadable = |error: String| {
        let hint = "repair the file, or remove it: config.json then says how the model writes";
        Error::new(ErrorKind::Model, format!("{}: {error}", path.display()), hint)
    };
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        // A GGUF file is not a folder.
        Err(error) if matches!(error.kind(), IoErrorKind::NotFound | IoErrorKind::NotADirectory) => {
            return Ok(checkpoint.config().clone());
        }
        Err(error) => return Err(unreadable(error.to_string())),
    };
    let settings: Map<String, Value> = serde_json::from_slice(&bytes).map_err(|error| unreadable(error.to_string()))?;
    Ok(settings.into())
}

/// The folder that a model of this name is read from, or its GGUF file; downloaded from a hub if it is not here.
///
/// # Errors
/// [`ErrorKind::Model`] if there is no such model on this machine or on a hub.
pub fn model_folder(name: &str) -> Result<PathBuf> {
    locate(name)
}

/// The files on this machine that a model of this name is read from; none for a model that is compiled in or not here yet.
pub fn model_files(name: &str) -> Vec<PathBuf> {
    let path = PathBuf::from(name);
    if !path.exists() {
        return Vec::new();
    }
    let path = resolved(path.clone()).unwrap_or(path);
    if path.is_file() {
        return vec![path];
    }
    let is_read = |name: &String| of_folder(Path::new(name)).is_some() || name.ends_with(".jinja");
    names_in(&path).iter().filter(|name| is_read(name)).map(|name| path.join(name)).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;

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
        let error = found("whole/model.safetensors").unwrap_err();
        assert!(error.what().ends_with("model.safetensors is one file of a model"), "{error}");
        assert!(error.hint().ends_with("/whole"), "{error}");
        let one = make("gguf/a.gguf");
        assert_eq!(found("gguf").unwrap(), one);
        assert_eq!(found("gguf/a.gguf").unwrap(), one);
        make("gguf/b.gguf");
        assert!(found("gguf").unwrap_err().what().ends_with("a.gguf, b.gguf"));
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
