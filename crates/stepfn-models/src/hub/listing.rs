//! What a hub says about a repository's files.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::name::is_inside;

/// The files of a repository at a revision.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) commit: String,
    /// Paths in the repository.
    pub(super) files: BTreeSet<String>,
    known: BTreeMap<String, Known>,
}

/// What is known of a file before it is asked for. Not every hub tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Known {
    /// The SHA-256 of a large file, or Git's hash of a small one.
    pub(super) etag: Option<String>,
    /// Its length in bytes.
    pub(super) size: Option<u64>,
}

impl Listing {
    pub(super) fn parse(json: &Value) -> Option<Self> {
        let commit = json.get("sha")?.as_str()?;
        // The commit becomes part of a path.
        if commit.is_empty() || !commit.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return None;
        }
        let mut listing = Self { commit: commit.to_owned(), files: BTreeSet::new(), known: BTreeMap::new() };
        for file in json.get("siblings")?.as_array()? {
            let path = file.get("rfilename").and_then(Value::as_str);
            if let Some(path) = path.filter(|path| is_inside(path)) {
                listing.files.insert(path.to_owned());
                listing.known.insert(path.to_owned(), Known::parse(file));
            }
        }
        Some(listing)
    }

    /// What is known of a file.
    pub(super) fn known(&self, file: &str) -> Known {
        self.known.get(file).cloned().unwrap_or_default()
    }
}

impl Known {
    fn parse(file: &Value) -> Self {
        let large = file.get("lfs").filter(|large| large.is_object());
        let etag = match large {
            Some(large) => large.get("sha256"),
            None => file.get("blobId"),
        };
        let size = large.and_then(|large| large.get("size")).or_else(|| file.get("size"));
        let etag = etag.and_then(Value::as_str).filter(|etag| is_plain(etag));
        Self { etag: etag.map(str::to_owned), size: size.and_then(Value::as_u64) }
    }
}

/// Whether an etag can serve as a file's name.
pub(super) fn is_plain(etag: &str) -> bool {
    (8..=128).contains(&etag.len()) && etag.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}
