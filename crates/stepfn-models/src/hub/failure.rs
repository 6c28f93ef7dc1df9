//! What can go wrong with a request, told apart, each with what to do.

use core::fmt;
use std::io::{self, ErrorKind};
use std::path::Path;

use ureq::Error;
use ureq::http::Uri;

use super::name::HubName;

/// Why a request or a download failed. The messages are sentences without a full stop.
#[derive(Debug)]
pub(super) enum Failure {
    /// The hub doesn't answer as it should for now, so that earlier downloads have to do.
    Unreachable(String),
    /// The hub asks to wait before the next request; else like `Unreachable`.
    Busy(String),
    /// A download ended early. What has come is kept.
    Interrupted(String),
    /// Final.
    Refused(String),
    /// Another file's download failed.
    Stopped,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(reason) | Self::Busy(reason) | Self::Refused(reason) => f.write_str(reason),
            Self::Interrupted(reason) => {
                write!(f, "the download ended early ({reason}); try again to go on with it")
            }
            Self::Stopped => f.write_str("stopped after another download failed"),
        }
    }
}

/// An answer that is an error.
#[derive(Debug, Default)]
pub(super) struct Refusal {
    pub(super) status: u16,
    /// The header `x-error-code`.
    pub(super) code: Option<String>,
    /// The header `x-error-message`.
    pub(super) message: Option<String>,
    /// Seconds to wait, if the hub says so.
    pub(super) wait: Option<u64>,
}

/// What was asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Question<'a> {
    pub(super) endpoint: &'a str,
    pub(super) name: &'a HubName,
    /// One file, or the list of files.
    pub(super) file: Option<&'a str>,
    pub(super) has_token: bool,
}

impl Question<'_> {
    /// The hub's refusal.
    pub(super) fn refused(&self, refusal: &Refusal) -> Failure {
        let Refusal { status, code, message, wait } = refusal;
        let Self { endpoint, name, file, has_token } = self;
        let page = format!("{endpoint}/{}", name.repository());
        let text = message.as_deref().unwrap_or_default();
        let said = if text.is_empty() { String::new() } else { format!(" ({})", shortened(text)) };
        Failure::Refused(match (status, code.as_deref()) {
            (_, Some("GatedRepo")) if *has_token => format!(
                "its owner gives access on request: accept the terms at {page}, with the account that the token (HF_TOKEN) belongs to; \
                 if you have, the owner may still have to agree, or the token may lack the permission to read gated models{said}"
            ),
            (_, Some("GatedRepo")) => format!(
                "its owner gives access on request: accept the terms at {page}, and set HF_TOKEN to a token of your account, from \
                 {endpoint}/settings/tokens"
            ),
            (_, Some("RevisionNotFound")) => format!(
                "it has no branch, tag or commit `{}`; those that it has are listed at {page}/tree/main",
                name.revision()
            ),
            (_, Some("EntryNotFound")) | (404, None) if file.is_some() => format!(
                "the hub lists this file, but doesn't have it (404); try again later, or another revision from {page}/tree/main"
            ),
            // What a valid token can't read is 403 or 404.
            (401, code) if *has_token && (code.is_none() || text.starts_with("Invalid")) => format!(
                "the hub doesn't accept the token{said}; set HF_TOKEN to a valid one from {endpoint}/settings/tokens, or remove it from \
                 HF_TOKEN and from the file that `hf auth login` writes: public models need none"
            ),
            _ if text.contains("is disabled.") => "the hub has disabled this model".to_owned(),
            (_, Some("RepoNotFound")) | (401 | 404, _) => match has_token {
                true => "the hub has no model of that name, or the token (HF_TOKEN) may not read it; check the spelling, and whose \
                         token it is"
                    .to_owned(),
                false => "the hub has no model of that name, or it is private; check the spelling, or set HF_TOKEN to a token that \
                          may read it"
                    .to_owned(),
            },
            (403, _) if *has_token => format!(
                "the hub denies access{said}; check what the token (HF_TOKEN) may read at {endpoint}/settings/tokens"
            ),
            (403, _) => format!("the hub denies access{said}; set HF_TOKEN to a token that may read this model"),
            (407, _) => return Failure::Unreachable(PROXY_LOGIN.to_owned()),
            (429, _) => {
                let wait = match wait {
                    Some(1) => "a second".to_owned(),
                    Some(seconds) if *seconds < 120 => format!("{seconds} seconds"),
                    Some(seconds) => format!("{} minutes", seconds.div_ceil(60)),
                    None => "a few minutes".to_owned(),
                };
                let token = if *has_token { "" } else { "; with a token (HF_TOKEN), more requests are allowed" };
                return Failure::Busy(format!(
                    "the hub had too many requests from here (429); try again in {wait}{token}"
                ));
            }
            (500.., _) => {
                return Failure::Unreachable(format!("the hub has a fault (it answers {status}{said}); try again later"));
            }
            _ => format!("{endpoint} answers {status}{said}; is it a hub? Check HF_ENDPOINT"),
        })
    }

    /// A web page in place of what was asked for.
    pub(super) fn page(&self) -> Failure {
        Failure::Unreachable(format!(
            "a web page came in place of {}, perhaps from a proxy, or from a network that wants you to log in; open {} in a browser, \
             and check HTTPS_PROXY and HF_ENDPOINT",
            self.file.unwrap_or("the list of files"),
            self.endpoint
        ))
    }

    /// An answer that isn't the list of files.
    pub(super) fn no_list(&self) -> Failure {
        Failure::Refused(format!("{} did not return a list of files; is it a hub? Check HF_ENDPOINT", self.endpoint))
    }
}

const PROXY_LOGIN: &str =
    "the proxy wants a user and a password; give them in HTTPS_PROXY, as in `http://user:password@host:port`";

/// A request without an answer.
pub(super) fn unanswered(url: &str, error: &Error) -> Failure {
    let host = host(url);
    let secure = |reason: &dyn fmt::Display| {
        format!(
            "there is no secure connection to {host} ({reason}); check the clock of this machine, and if the network inspects \
             connections, set SSL_CERT_FILE to a file with its certificates"
        )
    };
    let network = |reason: String| {
        format!(
            "{reason}; check the network, HTTPS_PROXY and HF_ENDPOINT, or pass the path of a folder in place of the name"
        )
    };
    Failure::Unreachable(match error {
        Error::BadUri(_) | Error::Http(_) => {
            return Failure::Refused(format!(
                "`{url}` is no valid address; check HF_ENDPOINT, and HF_TOKEN for characters that no token has"
            ));
        }
        Error::HostNotFound => network(format!("the address of {host} can't be found")),
        Error::Timeout(_) => network(format!("{host} doesn't answer in time")),
        Error::ConnectProxyFailed(reason) if reason.contains("407") => PROXY_LOGIN.to_owned(),
        Error::ConnectProxyFailed(reason) => {
            format!("the proxy doesn't connect to {host} ({}); check HTTPS_PROXY", shortened(reason))
        }
        Error::InvalidProxyUrl => "the proxy's address is not valid; check HTTPS_PROXY".to_owned(),
        Error::Rustls(error) => secure(error),
        Error::Tls(reason) => secure(reason),
        Error::Io(error) => match error.kind() {
            ErrorKind::ConnectionRefused => network(format!("{host} refuses connections")),
            ErrorKind::InvalidData if url.starts_with("https:") => secure(error),
            _ if is_lookup(error) => network(format!("the address of {host} can't be found")),
            _ => network(format!("{host} can't be reached ({error})")),
        },
        other => network(format!("{host} can't be reached ({other})")),
    })
}

/// Whether a name server failed to find an address, for which the library has no kind of its own.
fn is_lookup(error: &io::Error) -> bool {
    error.to_string().contains("lookup address") || matches!(error.raw_os_error(), Some(11001..=11004))
}

/// A failure of the file system; `size` is that of the file to be written, if it is known.
pub(super) fn of_disk(path: &Path, size: Option<u64>, error: &io::Error) -> Failure {
    let folder = path.parent().unwrap_or(path).display();
    Failure::Refused(match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => format!(
            "the disk is full{}; make room in {folder}, or set HF_HUB_CACHE to a folder on another disk",
            size.map_or_else(String::new, |size| format!(" (the file has {})", in_units(size)))
        ),
        ErrorKind::FileTooLarge => format!(
            "the disk can't hold such a large file{}; set HF_HUB_CACHE to a folder on another disk than {folder}",
            size.map_or_else(String::new, |size| format!(" ({})", in_units(size)))
        ),
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            format!("can't write to {folder} ({error}); set HF_HUB_CACHE to a folder that you may write")
        }
        _ => format!("{}: {error}", path.display()),
    })
}

fn in_units(bytes: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")];
    match UNITS.into_iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, name)) => format!("{:.1} {name}", bytes as f64 / unit as f64),
        None => format!("{bytes} bytes"),
    }
}

/// A URL's host and port, for a message.
pub(super) fn host(url: &str) -> String {
    let uri: Option<Uri> = url.parse().ok();
    let host = uri.as_ref().and_then(Uri::authority).map(|authority| {
        let authority = authority.as_str();
        // Never a password.
        authority.rsplit_once('@').map_or(authority, |(_, host)| host).to_owned()
    });
    host.unwrap_or_else(|| url.to_owned())
}

/// What others wrote, of a length that fits into a message.
fn shortened(text: &str) -> String {
    const MOST: usize = 160;
    let text = text.trim().trim_end_matches('.');
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}
