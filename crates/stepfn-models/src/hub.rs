//! Checkpoints by name from a hub, `org/name` or `org/name@revision`: downloaded once into the cache that Hugging Face's tools use, and
//! found there afterwards.
//!
//! Layout of the cache folder (`HF_HUB_CACHE`, or `hub` in `HF_HOME`):
//!
//! | path | content |
//! |---|---|
//! | `models--org--name/refs/REVISION` | the commit of a branch or tag at the last request |
//! | `models--org--name/snapshots/COMMIT/FILE` | a link to the file's content |
//! | `models--org--name/blobs/ETAG` | the content |
//! | `models--org--name/blobs/ETAG.incomplete` | what has come of it so far |
//! | `.locks/models--org--name/ETAG.lock` | locked by the process that downloads it |
//!
//! The hub is first asked for its list of files. If it can't be reached, earlier downloads are used. Only files needed for loading are
//! downloaded, up to four at once:
//!
//! 1. configuration, tokenizer and chat templates. [`Hub::fetch_with`] lets the caller look at them before it downloads more;
//! 2. the weights: the first of `model.safetensors`, `pytorch_model.bin` (whole, or an index with its shards), an adapter's
//!    `adapter_model.safetensors` or `adapter_model.bin`, and a GGUF file. A GGUF file has its configuration and tokenizer in itself, so it
//!    comes alone. Of several, the name says which: `org/name:file.gguf`.
//!
//! A download that ended early goes on where it ended. Lengths are checked, and the SHA-256 of large files, which is their etag.

mod choice;
mod client;
mod content;
mod crew;
mod failure;
mod listing;
mod name;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::ModelError;
use crate::checkpoint::shards;
use choice::{Weights, choose, has_tokenizer, small_files};
use client::Client;
use content::{Folders, Source, Temporary, is_whole};
pub use crew::Download;
use crew::{Job, Sum, work};
use failure::{Failure, of_disk};
use listing::Listing;
pub use name::HubName;

/// Judges a model by its other files, in a folder without weights yet.
pub type Judge<'a> = dyn Fn(&Path) -> Result<(), ModelError> + 'a;

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
    /// A PEM file with the certificates to trust, for networks that inspect connections; by default, those that browsers trust.
    pub certificates: Option<PathBuf>,
}

impl Hub {
    /// Reads the environment variables of Hugging Face's tools. The cache: `HF_HUB_CACHE`, `HF_HOME`, `XDG_CACHE_HOME` or `HOME`, in this
    /// order. The endpoint: `HF_ENDPOINT`. The token: `HF_TOKEN`, the file `HF_TOKEN_PATH`, or the file `token` in `HF_HOME`. Offline mode:
    /// `HF_HUB_OFFLINE` or `TRANSFORMERS_OFFLINE`. Certificates: `SSL_CERT_FILE` or `REQUESTS_CA_BUNDLE`.
    ///
    /// A proxy is taken from `ALL_PROXY`, `HTTPS_PROXY` or `HTTP_PROXY` when a request is made, except for hosts in `NO_PROXY`.
    pub fn from_env() -> Self {
        Self::from_variables(|name| env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Self {
        const TRUE: [&str; 4] = ["1", "on", "yes", "true"];
        let home = variable("HOME").or_else(|| variable("USERPROFILE")).map_or_else(PathBuf::new, PathBuf::from);
        let user_cache = variable("XDG_CACHE_HOME").map_or_else(|| home.join(".cache"), PathBuf::from);
        let hf_home = variable("HF_HOME").map_or_else(|| user_cache.join("huggingface"), PathBuf::from);
        let token_file = variable("HF_TOKEN_PATH").map_or_else(|| hf_home.join("token"), PathBuf::from);
        // The second names of the token and of the cache are older.
        let token = variable("HF_TOKEN").or_else(|| variable("HUGGING_FACE_HUB_TOKEN"));
        let token = token.or_else(|| fs::read_to_string(token_file).ok());
        let cache = variable("HF_HUB_CACHE").or_else(|| variable("HUGGINGFACE_HUB_CACHE"));
        let is_set = |name| variable(name).is_some_and(|value| TRUE.contains(&value.to_lowercase().as_str()));
        Self {
            cache: cache.map_or_else(|| hf_home.join("hub"), PathBuf::from),
            endpoint: variable("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_owned()),
            token: token.map(|token| token.trim().to_owned()).filter(|token| !token.is_empty()),
            offline: is_set("HF_HUB_OFFLINE") || is_set("TRANSFORMERS_OFFLINE"),
            certificates: variable("SSL_CERT_FILE").or_else(|| variable("REQUESTS_CA_BUNDLE")).map(PathBuf::from),
        }
    }

    /// The folder of a checkpoint, or its GGUF file: `name` itself if it exists, otherwise where [`fetch`](Self::fetch) puts it.
    ///
    /// # Errors
    /// As for [`fetch`](Self::fetch), or [`ModelError::Hub`] if `name` is not a valid name.
    pub fn locate(&self, name: &str) -> Result<PathBuf, ModelError> {
        if Path::new(name).exists() {
            return Ok(PathBuf::from(name));
        }
        self.fetch(&name.parse()?)
    }

    /// The folder of a checkpoint with all files needed for loading, or its GGUF file, from the cache or the hub.
    ///
    /// # Errors
    /// [`ModelError::Hub`], with what to do: the hub has no such model or denies this token access, a download ended early, or there is no
    /// network and nothing in the cache.
    pub fn fetch(&self, name: &HubName) -> Result<PathBuf, ModelError> {
        self.fetch_judged(name, &|_| Ok(()))
    }

    /// Like [`fetch`](Self::fetch), but before weights are downloaded, `judge` is given the folder with all other files: `config.json` and the
    /// tokenizer's. If it refuses, no weights are downloaded. It isn't asked about an adapter, which has no `config.json`, about a GGUF file,
    /// which has all in itself, and if the weights are here already.
    ///
    /// # Errors
    /// As for [`fetch`](Self::fetch), or the error of `judge`.
    pub fn fetch_judged(&self, name: &HubName, judge: &Judge<'_>) -> Result<PathBuf, ModelError> {
        self.fetch_with(name, judge, &|_| ())
    }

    /// Like [`fetch_judged`](Self::fetch_judged), and calls `progress`, on this thread, while files come.
    ///
    /// # Errors
    /// As for [`fetch_judged`](Self::fetch_judged).
    pub fn fetch_with(
        &self,
        name: &HubName,
        judge: &Judge<'_>,
        progress: &dyn Fn(&Download<'_>),
    ) -> Result<PathBuf, ModelError> {
        let folder = self.cache.join(folder_name(name));
        let cached = || cached(name, &folder);
        if self.offline {
            let found = cached().map_err(|reason| {
                let cache = self.cache.display();
                name.error(format!(
                    "{reason} in {cache}, and downloads are off; unset HF_HUB_OFFLINE and TRANSFORMERS_OFFLINE, or copy the files there"
                ))
            });
            return found.map(|found| found.path);
        }
        // A commit never changes. Another program may have left out the tokenizer.
        if name.is_commit()
            && let Ok(Found { path, has_tokenizer: true }) = cached()
        {
            return Ok(path);
        }
        let client = Client::new(self).map_err(|failure| name.error(failure))?;
        let listing = match client.listing(name) {
            Ok(listing) => listing,
            // A refusal by the hub is final, but a lost connection is not.
            Err(Failure::Unreachable(reason) | Failure::Busy(reason)) => {
                return cached().map(|found| found.path).map_err(|_| name.error(reason));
            }
            Err(failure) => return Err(name.error(failure)),
        };
        let fetch = Fetch {
            name,
            client: &client,
            listing: &listing,
            folders: Folders {
                blobs: folder.join("blobs"),
                locks: self.cache.join(".locks").join(folder_name(name)),
                snapshot: folder.join("snapshots").join(&listing.commit),
            },
            progress,
        };
        let path = fetch.all(judge)?;
        let reference = folder.join("refs").join(name.revision());
        record(&reference, &listing.commit).map_err(|error| name.error(of_disk(&reference, None, &error)))?;
        Ok(path)
    }
}

/// The download of a model whose list of files is known.
struct Fetch<'a> {
    name: &'a HubName,
    client: &'a Client<'a>,
    listing: &'a Listing,
    folders: Folders,
    progress: &'a dyn Fn(&Download<'_>),
}

impl Fetch<'_> {
    fn all(&self, judge: &Judge<'_>) -> Result<PathBuf, ModelError> {
        let Self { name, listing, folders, .. } = self;
        let snapshot = &folders.snapshot;
        let weights = choose(name, &listing.files).map_err(|message| name.error(message))?;
        let mut sum = Sum::default();
        if !matches!(weights, Weights::Gguf(_)) {
            let index = match &weights {
                Weights::Sharded(index) => Some(index.as_str()),
                _ => None,
            };
            let needed = small_files(&listing.files).chain(index);
            sum = self.some(needed.filter(|file| !is_whole(&snapshot.join(file), None)), sum)?;
        }
        let files = weight_files(snapshot, &weights)?;
        if let Some(absent) = files.iter().find(|file| !listing.files.contains(*file)) {
            return Err(name.error(format!("its index of weights lists {absent}, which it doesn't have")));
        }
        let missing = |file: &&str| !is_whole(&snapshot.join(file), listing.known(file).size);
        let missing: Vec<&str> = files.iter().map(String::as_str).filter(missing).collect();
        if !missing.is_empty() {
            if matches!(weights, Weights::Whole(_) | Weights::Sharded(_)) {
                judge(snapshot)?;
            }
            self.some(missing.into_iter(), sum)?;
        }
        Ok(place(snapshot, &weights))
    }

    /// Downloads files; `sum` is what came before.
    fn some<'f>(&self, files: impl Iterator<Item = &'f str>, sum: Sum) -> Result<Sum, ModelError> {
        let Self { name, client, listing, folders, .. } = self;
        let jobs: Vec<Job> = files.map(|file| Job { file: file.to_owned(), size: listing.known(file).size }).collect();
        let run = |file: &str, tell: content::Tell<'_>| {
            Source { client, name, commit: &listing.commit, file, known: listing.known(file) }.download(folders, tell)
        };
        work(&jobs, sum, self.progress, &run).map_err(|(file, failure)| name.error(format!("{file}: {failure}")))
    }
}

fn folder_name(name: &HubName) -> String {
    format!("models--{}", name.repository().replace('/', "--"))
}

/// The names of all files with weights; an index must be in the snapshot.
fn weight_files(snapshot: &Path, weights: &Weights) -> Result<Vec<String>, ModelError> {
    match weights {
        Weights::Sharded(index) => Ok(shards(&snapshot.join(index))?.into_iter().collect()),
        weights => Ok(weights.files().to_vec()),
    }
}

/// What is opened: the folder, or the first GGUF file.
fn place(snapshot: &Path, weights: &Weights) -> PathBuf {
    match weights {
        Weights::Gguf(files) => files.first().map_or_else(|| snapshot.to_owned(), |file| snapshot.join(file)),
        _ => snapshot.to_owned(),
    }
}

/// A model in the cache.
struct Found {
    path: PathBuf,
    has_tokenizer: bool,
}

/// The cached model of a revision, or why there is none.
fn cached(name: &HubName, folder: &Path) -> Result<Found, String> {
    let absent = || match folder.is_dir() {
        true => format!("revision `{}` is not complete", name.revision()),
        false => "it is not".to_owned(),
    };
    let commit = match name.is_commit() {
        true => name.revision().to_owned(),
        false => fs::read_to_string(folder.join("refs").join(name.revision())).map_err(|_| absent())?.trim().to_owned(),
    };
    let snapshot = folder.join("snapshots").join(commit);
    // A link to content that was removed is no reason to take other weights.
    let listed = files_in(&snapshot);
    let files: BTreeSet<String> = listed.iter().filter(|file| snapshot.join(file).is_file()).cloned().collect();
    if files.is_empty() {
        return Err(absent());
    }
    let weights = choose(name, &listed).map_err(|message| format!("it is not complete ({message})"))?;
    let needed = weight_files(&snapshot, &weights).map_err(|error| format!("it is not complete ({error})"))?;
    match needed.iter().find(|file| !files.contains(*file)) {
        Some(missing) => Err(format!("it is not complete (without {missing})")),
        None => {
            let has_tokenizer = matches!(weights, Weights::Gguf(_)) || has_tokenizer(&files);
            Ok(Found { path: place(&snapshot, &weights), has_tokenizer })
        }
    }
}

/// The files below a folder, by their paths in it, and links whatever they lead to.
fn files_in(folder: &Path) -> BTreeSet<String> {
    /// Snapshots have fewer; a folder that is something else is not read to its end.
    const MOST: usize = 100_000;
    let mut files = BTreeSet::new();
    let mut folders = vec![String::new()];
    while let Some(inner) = folders.pop() {
        for entry in fs::read_dir(folder.join(&inner)).into_iter().flatten().flatten() {
            let Ok(name) = entry.file_name().into_string() else { continue };
            let path = if inner.is_empty() { name } else { format!("{inner}/{name}") };
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(path);
            } else {
                files.insert(path);
            }
            if files.len() + folders.len() >= MOST {
                return files;
            }
        }
    }
    files
}

/// Writes a small file atomically, if it doesn't say the same already.
fn record(path: &Path, content: &str) -> io::Result<()> {
    if fs::read_to_string(path).is_ok_and(|found| found == content) {
        return Ok(());
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    fs::create_dir_all(folder)?;
    // Other threads and processes may be writing the same file, or one with a similar name.
    let temporary = Temporary::new(folder);
    fs::write(&temporary.0, content)?;
    fs::rename(&temporary.0, path)
}
