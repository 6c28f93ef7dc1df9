//! The two requests to a hub: a repository's list of files, and one file.

use core::time::Duration;
use std::path::Path;

use serde_json::Value;
use ureq::http::{HeaderMap, Response, Uri};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body};

use super::Hub;
use super::failure::{Failure, Question, Refusal, host, unanswered};
use super::listing::{Listing, is_plain};
use super::name::{HubName, encoded};

/// A hub's URL and the access token for it.
pub(super) struct Client<'a> {
    agent: Agent,
    endpoint: &'a str,
    token: Option<&'a str>,
}

/// A file's content, or what is left of it.
pub(super) struct Answer {
    response: Response<Body>,
    /// The hub's own etag for the content, from before any redirection.
    pub(super) etag: Option<String>,
    /// The length of the whole file.
    pub(super) size: Option<u64>,
    /// Where in the file the body begins.
    pub(super) from: u64,
}

impl Answer {
    pub(super) fn into_reader(self) -> impl std::io::Read {
        self.response.into_body().into_with_config().limit(u64::MAX).reader()
    }
}

impl<'a> Client<'a> {
    pub(super) fn new(hub: &'a Hub) -> Result<Self, Failure> {
        const CONNECT: Duration = Duration::from_secs(20);
        /// A connection without data for this long is lost. A whole download may take hours.
        const SILENCE: Duration = Duration::from_secs(60);
        let mut config = Agent::config_builder()
            // Redirections are followed manually, so that the token goes only to the hub.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(SILENCE))
            .timeout_per_read(Some(SILENCE))
            .user_agent(concat!("stepfn/", env!("CARGO_PKG_VERSION")));
        if let Some(path) = &hub.certificates {
            config = config.tls_config(TlsConfig::builder().root_certs(certificates(path)?).build());
        }
        let endpoint = hub.endpoint.trim_end_matches('/');
        Ok(Self { agent: config.build().new_agent(), endpoint, token: hub.token.as_deref() })
    }

    /// The files of a repository at a revision.
    pub(super) fn listing(&self, name: &HubName) -> Result<Listing, Failure> {
        /// Repositories with thousands of checkpoints have listings of a few hundred kilobytes.
        const LONGEST: u64 = 64 << 20;
        let question = self.question(name, None);
        let revision = name.revision().replace('/', "%2F");
        let url = format!("{}/api/models/{}/revision/{revision}?blobs=true", self.endpoint, name.repository());
        let mut answer = self.get(question, &url, 0)?;
        let body = answer.response.body_mut().with_config().limit(LONGEST).read_to_vec();
        let body = body.map_err(|error| {
            Failure::Unreachable(format!("the list of files ended early ({error}); check the network and try again"))
        })?;
        if body.trim_ascii_start().starts_with(b"<") {
            return Err(question.page());
        }
        let json: Option<Value> = serde_json::from_slice(&body).ok();
        json.as_ref().and_then(Listing::parse).ok_or_else(|| question.no_list())
    }

    /// A file of a commit, if possible only what follows the first `from` bytes.
    pub(super) fn content(&self, name: &HubName, commit: &str, file: &str, from: u64) -> Result<Answer, Failure> {
        let url = format!("{}/{}/resolve/{commit}/{}", self.endpoint, name.repository(), encoded(file));
        self.get(self.question(name, Some(file)), &url, from)
    }

    fn question<'q>(&'q self, name: &'q HubName, file: Option<&'q str>) -> Question<'q> {
        Question { endpoint: self.endpoint, name, file, has_token: self.token.is_some() }
    }

    fn get(&self, question: Question<'_>, start: &str, from: u64) -> Result<Answer, Failure> {
        const MOST_REDIRECTIONS: usize = 10;
        let (mut url, mut etag, mut size) = (start.to_owned(), None, None);
        for _ in 0..=MOST_REDIRECTIONS {
            let mut request = self.agent.get(&url);
            if let Some(token) = self.token
                && self.is_hub(&url)
            {
                request = request.header("authorization", format!("Bearer {token}"));
            }
            if from > 0 {
                request = request.header("range", format!("bytes={from}-"));
            }
            let response = request.call().map_err(|error| unanswered(&url, &error))?;
            let headers = response.headers();
            // The hub's etag is a hash of the content, but a storage server behind it may use another; the first response is the hub's.
            etag = etag.or_else(|| header(headers, "x-linked-etag")).or_else(|| header(headers, "etag"));
            size = size.or_else(|| header(headers, "x-linked-size")?.parse().ok());
            let status = response.status();
            if status.is_success() {
                let is_page = header(headers, "content-type").is_some_and(|kind| kind.starts_with("text/html"));
                if is_page {
                    return Err(question.page());
                }
                let (from, whole) = match status.as_u16() {
                    206 => header(headers, "content-range")
                        .and_then(|range| content_range(&range))
                        .ok_or_else(|| Failure::Interrupted(format!("{} sent an unknown part", host(&url))))?,
                    _ => (0, response.body().content_length()),
                };
                return Ok(Answer { etag: etag.filter(|etag| is_plain(etag)), size: size.or(whole), response, from });
            }
            if status.as_u16() == 416 && from > 0 {
                return self.get(question, start, 0);
            }
            if !status.is_redirection() {
                return Err(match self.is_hub(&url) {
                    true => question.refused(&refusal(status.as_u16(), headers)),
                    // Addresses of storage servers expire.
                    false => Failure::Interrupted(format!("{} answered {status}", host(&url))),
                });
            }
            url = header(headers, "location").and_then(|location| target(&url, &location)).ok_or_else(|| {
                Failure::Refused(format!("{} answered {status} without a location; check HF_ENDPOINT", host(&url)))
            })?;
        }
        Err(Failure::Refused(format!(
            "more than {MOST_REDIRECTIONS} redirections, the last to {}; check HF_ENDPOINT and the name",
            host(&url)
        )))
    }

    /// Whether a URL belongs to the hub.
    fn is_hub(&self, url: &str) -> bool {
        let origin = |url: &str| url.parse::<Uri>().ok().map(|url| (url.scheme().cloned(), url.authority().cloned()));
        origin(url).is_some_and(|url| origin(self.endpoint) == Some(url))
    }
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    let value = headers.get(name)?.to_str().ok()?;
    Some(value.trim_start_matches("W/").trim_matches('"').to_owned())
}

fn refusal(status: u16, headers: &HeaderMap) -> Refusal {
    let seconds = |text: &str| text.trim().parse().ok();
    // `"api";r=0;t=55`: no request is left for 55 seconds.
    let limit = || header(headers, "ratelimit")?.split(';').find_map(|part| seconds(part.trim().strip_prefix("t=")?));
    Refusal {
        status,
        code: header(headers, "x-error-code"),
        message: header(headers, "x-error-message"),
        wait: header(headers, "retry-after").and_then(|wait| seconds(&wait)).or_else(limit),
    }
}

/// Start and whole length in `bytes START-END/LENGTH`.
fn content_range(value: &str) -> Option<(u64, Option<u64>)> {
    let (range, length) = value.strip_prefix("bytes ")?.split_once('/')?;
    let (start, _) = range.split_once('-')?;
    Some((start.trim().parse().ok()?, length.trim().parse().ok()))
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

/// The certificates to trust in place of the usual ones.
fn certificates(path: &Path) -> Result<RootCerts, Failure> {
    let failure = |reason: &str| {
        Failure::Refused(format!("{}: {reason}; check SSL_CERT_FILE and REQUESTS_CA_BUNDLE", path.display()))
    };
    let text = crate::read_file(path).map_err(|error| failure(&error.to_string()))?;
    let certificates: Vec<_> = parse_pem(&text)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        return Err(failure("expected certificates in PEM format"));
    }
    Ok(RootCerts::from(certificates))
}
