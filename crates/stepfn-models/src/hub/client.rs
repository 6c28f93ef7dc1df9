//! The two requests to a hub: a repository's list of files, and one file.

use core::fmt;
use core::time::Duration;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;
use ureq::http::{HeaderMap, Response, Uri};
use ureq::{Agent, Body};

use super::{HubName, Listing};

/// A hub's URL and the access token for it.
pub(super) struct Client<'a> {
    agent: Agent,
    endpoint: &'a str,
    token: Option<&'a str>,
}

/// Why a request failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// Trying again later may help.
    Unreachable(String),
    /// Final; the message comes from the hub or the file system.
    Refused(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(reason) | Self::Refused(reason) => f.write_str(reason),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Refused(error.to_string())
    }
}

/// A response, after following redirections.
struct Answer {
    response: Response<Body>,
    /// The hub's own etag for the content, from before any redirection.
    etag: Option<String>,
    size: Option<u64>,
}

impl<'a> Client<'a> {
    pub(super) fn new(endpoint: &'a str, token: Option<&'a str>) -> Self {
        const CONNECT: Duration = Duration::from_secs(20);
        /// A connection without data for this long is lost. A whole download may take hours.
        const SILENCE: Duration = Duration::from_secs(60);
        let config = Agent::config_builder()
            // Redirections are followed manually, so that the token goes only to the hub.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(SILENCE))
            .timeout_per_read(Some(SILENCE))
            .user_agent(concat!("stepfn/", env!("CARGO_PKG_VERSION")))
            .build();
        Self { agent: config.new_agent(), endpoint: endpoint.trim_end_matches('/'), token }
    }

    /// The files of a repository at a revision.
    pub(super) fn listing(&self, name: &HubName) -> Result<Listing, Failure> {
        /// Repositories with thousands of checkpoints have listings of a few hundred kilobytes.
        const LONGEST: u64 = 64 << 20;
        let revision = name.revision().replace('/', "%2F");
        let mut answer =
            self.get(&format!("{}/api/models/{}/revision/{revision}", self.endpoint, name.repository()))?;
        let body = answer.response.body_mut().with_config().limit(LONGEST).read_to_vec();
        let body = body.map_err(|error| Failure::Unreachable(format!("the list of files: {error}")))?;
        let json: Option<Value> = serde_json::from_slice(&body).ok();
        json.as_ref()
            .and_then(Listing::parse)
            .ok_or_else(|| Failure::Refused(format!("{} did not return a list of files; is it a hub?", self.endpoint)))
    }

    /// Downloads a file to the repository's `blobs` and links `target` to it.
    pub(super) fn download(
        &self,
        name: &HubName,
        commit: &str,
        file: &str,
        folder: &Path,
        target: &Path,
    ) -> Result<(), Failure> {
        let answer = self.get(&format!("{}/{}/resolve/{commit}/{file}", self.endpoint, name.repository()))?;
        let blobs = folder.join("blobs");
        fs::create_dir_all(&blobs)?;
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)?;
        }
        let etag = answer.etag.clone().filter(|etag| is_plain(etag));
        let temporary = Temporary::new(&blobs);
        let written = write(answer, &temporary.0)?;
        match etag {
            Some(etag) => {
                let blob = blobs.join(&etag);
                fs::rename(&temporary.0, blob)?;
                link(&etag, target)?;
            }
            // Without an etag to name the content, the file is stored directly.
            None => fs::rename(&temporary.0, target)?,
        }
        debug_assert!(target.metadata().is_ok_and(|found| found.len() == written));
        Ok(())
    }

    fn get(&self, url: &str) -> Result<Answer, Failure> {
        const MOST_REDIRECTIONS: usize = 10;
        let (mut url, mut etag, mut size) = (url.to_owned(), None, None);
        for _ in 0..=MOST_REDIRECTIONS {
            let mut request = self.agent.get(&url);
            if let Some(token) = self.token
                && self.is_hub(&url)
            {
                request = request.header("authorization", format!("Bearer {token}"));
            }
            let response =
                request.call().map_err(|error| Failure::Unreachable(format!("can't reach {url}: {error}")))?;
            let headers = response.headers();
            // The hub's etag is a hash of the content, but a storage server behind it may use another; the first response is the hub's.
            etag = etag.or_else(|| header(headers, "x-linked-etag")).or_else(|| header(headers, "etag"));
            size = size.or_else(|| header(headers, "x-linked-size")?.parse().ok());
            let status = response.status();
            if status.is_success() {
                return Ok(Answer { response, etag, size });
            }
            if !status.is_redirection() {
                return Err(self.refused(status.as_u16(), &url));
            }
            let location = header(headers, "location");
            url = location
                .and_then(|location| target(&url, &location))
                .ok_or_else(|| Failure::Refused(format!("{url} answered {status} without a location")))?;
        }
        Err(Failure::Refused(format!("more than {MOST_REDIRECTIONS} redirections, the last to {url}")))
    }

    /// Whether a URL belongs to the hub.
    fn is_hub(&self, url: &str) -> bool {
        let origin = |url: &str| url.parse::<Uri>().ok().map(|url| (url.scheme().cloned(), url.authority().cloned()));
        origin(url).is_some_and(|url| origin(self.endpoint) == Some(url))
    }

    fn refused(&self, status: u16, url: &str) -> Failure {
        let token = match self.token {
            Some(_) => "the token (HF_TOKEN) has no access; has the owner granted it?",
            None => "it may be private or gated; set HF_TOKEN",
        };
        match status {
            401 | 403 => Failure::Refused(format!("{url} answered {status}: {token}")),
            404 => Failure::Refused(format!("{url} answered 404: no such model or revision, or {token}")),
            429 | 500.. => Failure::Unreachable(format!("{url} answered {status}")),
            _ => Failure::Refused(format!("{url} answered {status}")),
        }
    }
}

/// A temporary file that is deleted unless it is renamed.
struct Temporary(PathBuf);

impl Temporary {
    fn new(folder: &Path) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Self(folder.join(format!("{}-{number}.incomplete", std::process::id())))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // Already gone if it was renamed.
        let _ = fs::remove_file(&self.0);
    }
}

/// Writes the content, and checks its length if the server announced one.
fn write(answer: Answer, path: &Path) -> Result<u64, Failure> {
    let announced = answer.size.or_else(|| answer.response.body().content_length());
    let mut file = File::create(path)?;
    let mut body = answer.response.into_body().into_with_config().limit(u64::MAX).reader();
    let written = io::copy(&mut body, &mut file)
        .map_err(|error| Failure::Unreachable(format!("the download ended early ({error}); try again")))?;
    match announced {
        Some(announced) if announced != written => {
            Err(Failure::Unreachable(format!("received {written} of {announced} bytes; try again")))
        }
        _ => {
            file.sync_all()?;
            Ok(written)
        }
    }
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    let value = headers.get(name)?.to_str().ok()?;
    Some(value.trim_start_matches("W/").trim_matches('"').to_owned())
}

/// Whether an etag can serve as a file name.
fn is_plain(etag: &str) -> bool {
    (8..=128).contains(&etag.len()) && etag.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// The target of a redirection.
fn target(from: &str, location: &str) -> Option<String> {
    if location.starts_with("http://") || location.starts_with("https://") {
        return Some(location.to_owned());
    }
    let from: Uri = from.parse().ok()?;
    let origin = format!("{}://{}", from.scheme_str()?, from.authority()?);
    location.starts_with('/').then(|| format!("{origin}{location}"))
}

/// Links a snapshot's file to its blob; copies it on systems without links.
fn link(etag: &str, target: &Path) -> io::Result<()> {
    // Relative to `snapshots/COMMIT/FILE`.
    let blob = Path::new("../../blobs").join(etag);
    // A dangling link, for example because its blob was deleted.
    if target.symlink_metadata().is_ok() {
        fs::remove_file(target)?;
    }
    #[cfg(unix)]
    return std::os::unix::fs::symlink(blob, target);
    #[cfg(not(unix))]
    {
        let folder = target.parent().unwrap_or(Path::new(""));
        fs::copy(folder.join(blob), target).map(|_| ())
    }
}
