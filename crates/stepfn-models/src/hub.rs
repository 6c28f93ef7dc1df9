//! Checkpoints by name from a hub, `org/name` or `org/name@revision`: downloaded once into the cache that Hugging Face's tools use, and
//! found there afterwards.
//!
//! Layout of the cache folder (`HF_HUB_CACHE`, or `hub` in `HF_HOME`):
//!
//! | path in `models--org--name` | content |
//! |---|---|
//! | `refs/REVISION` | the commit of a branch or tag at the last request |
//! | `snapshots/COMMIT/FILE` | a link to the file's content |
//! | `blobs/ETAG` | the content; downloaded to a temporary file, checked for size, then renamed |
//!
//! Only files needed for loading are downloaded: configuration, tokenizer, and one form of the weights. The hub is first asked for its list of
//! files; if it can't be reached, earlier downloads are used. The weights come last, after the other files were judged: a model that
//! can't be run isn't downloaded.

mod client;
#[cfg(test)]
mod tests;

use core::fmt;
use core::str::FromStr;
use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::ModelError;
use crate::checkpoint::files::{Weights, instead, weights};
use crate::checkpoint::shards;
use client::{Client, Failure};

/// The files needed besides the weights. All are optional except the first.
const SMALL_FILES: [&str; 18] = [
    CONFIG,
    "generation_config.json",
    "quantize_config.json",
    "quant_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "vocab.json",
    "target_vocab.json",
    "merges.txt",
    "source.spm",
    "target.spm",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
];
const CONFIG: &str = "config.json";

/// Judges a model by its small files, in a folder without weights yet.
pub type Judge<'a> = dyn Fn(&Path) -> Result<(), ModelError> + 'a;

/// A checkpoint's name on a hub.
///
/// ```
/// use stepfn_models::hub::HubName;
///
/// let name: HubName = "org/name@v1.0".parse()?;
/// assert_eq!((name.repository(), name.revision()), ("org/name", "v1.0"));
/// assert!("../name".parse::<HubName>().is_err());
/// # Ok::<(), stepfn_models::ModelError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubName {
    repository: String,
    revision: String,
}

impl HubName {
    /// `org/name`, or just `name` for some of the oldest models.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// A branch, a tag or a commit; `main` by default.
    pub fn revision(&self) -> &str {
        &self.revision
    }

    /// Whether the revision is a commit, which never changes.
    fn is_commit(&self) -> bool {
        self.revision.len() == 40 && self.revision.bytes().all(|byte| byte.is_ascii_hexdigit())
    }

    fn error(&self, message: impl fmt::Display) -> ModelError {
        ModelError::Hub { name: self.to_string(), message: message.to_string() }
    }
}

impl fmt::Display for HubName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.revision.as_str() {
            "main" => write!(f, "{}", self.repository),
            revision => write!(f, "{}@{revision}", self.repository),
        }
    }
}

impl FromStr for HubName {
    type Err = ModelError;

    fn from_str(text: &str) -> Result<Self, ModelError> {
        let (repository, revision) = text.split_once('@').unwrap_or((text, "main"));
        // Parts end up in paths and URLs, so only characters that the hub allows are accepted.
        let is_part = |part: &str| {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
            !part.is_empty() && part.bytes().all(allowed) && !part.starts_with('.') && !part.contains("..")
        };
        let repository_fits = repository.split('/').count() <= 2 && repository.split('/').all(is_part);
        if !repository_fits || !revision.split('/').all(is_part) {
            return Err(ModelError::Hub {
                name: text.to_owned(),
                message: "neither an existing folder nor a name like `org/name` or `org/name@revision`".to_owned(),
            });
        }
        Ok(Self { repository: repository.to_owned(), revision: revision.to_owned() })
    }
}

/// A hub and its download cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hub {
    /// The folder that contains `models--org--name`.
    pub cache: PathBuf,
    /// The hub's URL.
    pub endpoint: String,
    /// Access token; sent only to the hub.
    pub token: Option<String>,
    /// Whether to use only the cache.
    pub offline: bool,
}

impl Hub {
    /// Reads the environment variables of Hugging Face's tools. The cache: `HF_HUB_CACHE`, `HF_HOME`, `XDG_CACHE_HOME` or `HOME`, in this
    /// order. The endpoint: `HF_ENDPOINT`. The token: `HF_TOKEN`, the file `HF_TOKEN_PATH`, or the file `token` in `HF_HOME`. Offline mode:
    /// `HF_HUB_OFFLINE` or `TRANSFORMERS_OFFLINE`.
    pub fn from_env() -> Self {
        Self::from_variables(|name| env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Self {
        const TRUE: [&str; 4] = ["1", "on", "yes", "true"];
        let home = variable("HOME").or_else(|| variable("USERPROFILE")).map_or_else(PathBuf::new, PathBuf::from);
        let user_cache = variable("XDG_CACHE_HOME").map_or_else(|| home.join(".cache"), PathBuf::from);
        let hf_home = variable("HF_HOME").map_or_else(|| user_cache.join("huggingface"), PathBuf::from);
        let token_file = variable("HF_TOKEN_PATH").map_or_else(|| hf_home.join("token"), PathBuf::from);
        let token = variable("HF_TOKEN").or_else(|| fs::read_to_string(token_file).ok());
        let is_set = |name| variable(name).is_some_and(|value| TRUE.contains(&value.to_lowercase().as_str()));
        Self {
            cache: variable("HF_HUB_CACHE").map_or_else(|| hf_home.join("hub"), PathBuf::from),
            endpoint: variable("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_owned()),
            token: token.map(|token| token.trim().to_owned()).filter(|token| !token.is_empty()),
            offline: is_set("HF_HUB_OFFLINE") || is_set("TRANSFORMERS_OFFLINE"),
        }
    }

    /// The folder of a checkpoint: `name` itself if it is an existing file or folder, otherwise where [`fetch`](Self::fetch) puts it.
    ///
    /// # Errors
    /// As for [`fetch`](Self::fetch), or [`ModelError::Hub`] if `name` is not a valid name.
    pub fn locate(&self, name: &str) -> Result<PathBuf, ModelError> {
        if Path::new(name).exists() {
            return Ok(PathBuf::from(name));
        }
        self.fetch(&name.parse()?)
    }

    /// The folder of a checkpoint with all files needed for loading, from the cache or the hub.
    ///
    /// # Errors
    /// [`ModelError::Hub`], with what to do: the hub has no such model or denies this token access, a download ended early, or there is no
    /// network and nothing in the cache.
    pub fn fetch(&self, name: &HubName) -> Result<PathBuf, ModelError> {
        self.fetch_judged(name, &|_| Ok(()))
    }

    /// The same, where weights are downloaded only if `judge` accepts the other files.
    ///
    /// # Errors
    /// As [`fetch`](Self::fetch), or the error of `judge`.
    pub fn fetch_judged(&self, name: &HubName, judge: &Judge<'_>) -> Result<PathBuf, ModelError> {
        let folder = self.cache.join(format!("models--{}", name.repository.replace('/', "--")));
        let cached = || self.cached(name, &folder);
        if self.offline {
            return cached().ok_or_else(|| {
                let cache = self.cache.display();
                name.error(format!(
                    "not complete in {cache}, and downloads are off; unset HF_HUB_OFFLINE, or copy the files there"
                ))
            });
        }
        // A commit never changes.
        if name.is_commit()
            && let Some(snapshot) = cached()
        {
            return Ok(snapshot);
        }
        let client = Client::new(&self.endpoint, self.token.as_deref());
        let listing = match client.listing(name) {
            Ok(listing) => listing,
            // A refusal by the hub is final, but a lost connection is not.
            Err(Failure::Unreachable(reason)) => {
                return cached().ok_or_else(|| {
                    name.error(format!("{reason}; check the network and HF_ENDPOINT, or pass the path of a folder"))
                });
            }
            Err(failure) => return Err(name.error(failure)),
        };
        let snapshot = self.download(name, &client, &folder, &listing, judge)?;
        record(&folder.join("refs").join(&name.revision), &listing.commit).map_err(|error| name.error(error))?;
        Ok(snapshot)
    }

    /// The cached snapshot of a revision, if it is complete.
    fn cached(&self, name: &HubName, folder: &Path) -> Option<PathBuf> {
        let commit = match name.is_commit() {
            true => name.revision.clone(),
            false => fs::read_to_string(folder.join("refs").join(&name.revision)).ok()?.trim().to_owned(),
        };
        let snapshot = folder.join("snapshots").join(commit);
        let entries = fs::read_dir(&snapshot).ok()?;
        let files: BTreeSet<String> = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
        let has_all = |index: &String| {
            shards(&snapshot.join(index)).is_ok_and(|shards| shards.iter().all(|shard| snapshot.join(shard).is_file()))
        };
        let has_weights = match weights(&files)? {
            Weights::Whole(file) => snapshot.join(file).is_file(),
            Weights::Sharded(index) => has_all(&index),
        };
        (snapshot.join(CONFIG).is_file() && has_weights).then_some(snapshot)
    }

    fn download(
        &self,
        name: &HubName,
        client: &Client,
        folder: &Path,
        listing: &Listing,
        judge: &Judge<'_>,
    ) -> Result<PathBuf, ModelError> {
        let snapshot = folder.join("snapshots").join(&listing.commit);
        let fetch = |file: &str| {
            let target = snapshot.join(file);
            if target.is_file() {
                return Ok(());
            }
            client
                .download(name, &listing.commit, file, folder, &target)
                .map_err(|failure| name.error(format!("{file}: {failure}")))
        };
        let has = |file: &str| listing.files.contains(file);
        if !has(CONFIG) {
            return Err(name.error(format!("has no {CONFIG}{}; it has {}", instead(&listing.files), listing.shown())));
        }
        let Some(weights) = weights(&listing.files) else {
            let advice = "has neither model.safetensors nor pytorch_model.bin";
            return Err(name.error(format!("{advice}{}; it has {}", instead(&listing.files), listing.shown())));
        };
        SMALL_FILES.into_iter().filter(|file| has(file)).try_for_each(fetch)?;
        judge(&snapshot)?;
        match weights {
            Weights::Whole(file) => fetch(&file)?,
            Weights::Sharded(index) => {
                fetch(&index)?;
                shards(&snapshot.join(&index))?.iter().try_for_each(|shard| fetch(shard))?;
            }
        }
        Ok(snapshot)
    }
}

/// The files of a repository at a revision.
#[derive(Debug)]
struct Listing {
    commit: String,
    /// Paths in the repository.
    files: BTreeSet<String>,
}

impl Listing {
    fn parse(json: &Value) -> Option<Self> {
        let commit = json.get("sha")?.as_str()?;
        // The commit becomes part of a path.
        if commit.is_empty() || !commit.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return None;
        }
        let files = json.get("siblings")?.as_array()?.iter();
        let files = files.filter_map(|file| file.get("rfilename")?.as_str()).map(str::to_owned).collect();
        Some(Self { commit: commit.to_owned(), files })
    }

    /// The first few files, for an error message.
    fn shown(&self) -> String {
        const MOST: usize = 8;
        let shown: Vec<&str> = self.files.iter().take(MOST).map(String::as_str).collect();
        let more = if self.files.len() > MOST { ", …" } else { "" };
        if shown.is_empty() { "no files".to_owned() } else { format!("{}{more}", shown.join(", ")) }
    }
}

/// Writes a small file atomically.
fn record(path: &Path, content: &str) -> std::io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let temporary = path.with_extension(format!("{}.new", std::process::id()));
    fs::write(&temporary, content)?;
    fs::rename(temporary, path)
}
