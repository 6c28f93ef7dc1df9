//! Names of models on a hub, as people write or paste them.

use core::fmt;
use core::str::FromStr;

use crate::ModelError;

/// A model's name on a hub: `org/name`, `org/name@revision`, `org/name:file.gguf` or `org/name@revision:file.gguf`.
///
/// The address of a model's page at `huggingface.co`, or of one of its files there, is understood as well.
///
/// ```
/// use stepfn_models::hub::HubName;
///
/// let name: HubName = "org/name@v1.0".parse()?;
/// assert_eq!((name.repository(), name.revision(), name.file()), ("org/name", "v1.0", None));
/// let name: HubName = "org/name:name-Q4_K_M.gguf".parse()?;
/// assert_eq!((name.revision(), name.file()), ("main", Some("name-Q4_K_M.gguf")));
/// let name: HubName = "https://huggingface.co/org/name/tree/v1.0".parse()?;
/// assert_eq!(name.to_string(), "org/name@v1.0");
/// assert!("../name".parse::<HubName>().is_err());
/// # Ok::<(), stepfn_models::ModelError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubName {
    repository: String,
    revision: String,
    file: Option<String>,
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

    /// The GGUF file to load, for a repository with several.
    pub fn file(&self) -> Option<&str> {
        self.file.as_deref()
    }

    /// Whether the revision is a commit, which never changes.
    pub(super) fn is_commit(&self) -> bool {
        self.revision.len() == 40 && self.revision.bytes().all(|byte| byte.is_ascii_hexdigit())
    }

    /// The same name with a file.
    pub(super) fn with_file(&self, file: &str) -> Self {
        Self { file: Some(file.to_owned()), ..self.clone() }
    }

    pub(super) fn error(&self, message: impl fmt::Display) -> ModelError {
        ModelError::Hub { name: self.to_string(), message: message.to_string() }
    }

    /// Checks every part, because they end up in paths and URLs.
    fn new(repository: &str, revision: &str, file: Option<&str>) -> Option<Self> {
        let is_repository = repository.split('/').count() <= 2 && repository.split('/').all(is_repository_part);
        let is_revision = revision.split('/').all(is_revision_part);
        let is_file = file.is_none_or(|file| {
            // `C:/file.gguf` is a path.
            is_inside(file) && file.to_ascii_lowercase().ends_with(".gguf") && repository.len() > 1
        });
        (is_repository && is_revision && is_file).then(|| Self {
            repository: repository.to_owned(),
            revision: revision.to_owned(),
            file: file.map(str::to_owned),
        })
    }

    /// Reads what follows the host in a page's address: `org/name`, `org/name/tree/REVISION` or `org/name/blob/REVISION/FILE`.
    fn from_address(path: &str) -> Option<Self> {
        const VIEWS: [&str; 6] = ["tree", "blob", "resolve", "raw", "commit", "commits"];
        let path = path.split(['?', '#']).next().unwrap_or_default().trim_matches('/');
        let parts: Vec<String> = path.split('/').map(decoded).collect::<Option<_>>()?;
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let is_view = |part: &str| VIEWS.contains(&part);
        match *parts.as_slice() {
            ["datasets" | "spaces", ..] => None,
            [name] => Self::new(name, "main", None),
            [org, name] => Self::new(&format!("{org}/{name}"), "main", None),
            [org, name, view, revision, ref file @ ..] if is_view(view) => {
                Self::of_page(&format!("{org}/{name}"), revision, file)
            }
            [name, view, revision, ref file @ ..] if is_view(view) => Self::of_page(name, revision, file),
            _ => None,
        }
    }

    /// The page of a file stands for its model, or for the file if it is a model of its own. A folder is neither.
    fn of_page(repository: &str, revision: &str, file: &[&str]) -> Option<Self> {
        let path = file.join("/");
        match file {
            _ if path.to_ascii_lowercase().ends_with(".gguf") => Self::new(repository, revision, Some(&path)),
            [] => Self::new(repository, revision, None),
            [file] if file.contains('.') => Self::new(repository, revision, None),
            _ => None,
        }
    }
}

impl fmt::Display for HubName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repository)?;
        if self.revision != "main" {
            write!(f, "@{}", self.revision)?;
        }
        self.file.iter().try_for_each(|file| write!(f, ":{file}"))
    }
}

impl FromStr for HubName {
    type Err = ModelError;

    fn from_str(text: &str) -> Result<Self, ModelError> {
        const HOSTS: [&str; 4] = ["huggingface.co/", "www.huggingface.co/", "hf.co/", "www.hf.co/"];
        let address = ["https://", "http://"].into_iter().find_map(|scheme| text.strip_prefix(scheme));
        let at_host = |address: &str| HOSTS.into_iter().find_map(|host| address.strip_prefix(host).map(str::to_owned));
        let name = if let Some(path) = at_host(address.unwrap_or(text)) {
            Self::from_address(&path)
        } else {
            let (name, file) = text.split_once(':').map_or((text, None), |(name, file)| (name, Some(file)));
            let (repository, revision) = name.split_once('@').unwrap_or((name, "main"));
            Self::new(repository, revision, file)
        };
        name.ok_or_else(|| ModelError::Hub {
            name: text.to_owned(),
            message:
                "neither an existing folder nor a name like `org/name`, `org/name@revision` or `org/name:file.gguf`"
                    .to_owned(),
        })
    }
}

/// The hub's own rule. Without `--`, no two repositories have the same folder in the cache.
fn is_repository_part(part: &str) -> bool {
    let is_word = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    let bytes = part.as_bytes();
    is_revision_part(part) && is_word(bytes.first()) && is_word(bytes.last()) && !part.contains("--")
}

fn is_revision_part(part: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !part.is_empty() && part.bytes().all(allowed) && !part.starts_with('.') && !part.contains("..")
}

/// Whether a file's path stays inside its folder on every system.
pub(super) fn is_inside(path: &str) -> bool {
    let is_plain = |part: &str| {
        let forbidden = |c: char| c.is_control() || matches!(c, '\\' | ':' | '<' | '>' | '"' | '|' | '?' | '*');
        !part.is_empty() && part != "." && part != ".." && !part.contains(forbidden)
    };
    path.len() <= 512 && path.split('/').all(is_plain)
}

/// A part of a URL's path without its escapes.
fn decoded(part: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.bytes();
    while let Some(byte) = rest.next() {
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        bytes.push(match byte {
            b'%' => u8::try_from(digit(rest.next())? * 16 + digit(rest.next())?).ok()?,
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

/// A path with escapes for a URL, except for `/`.
pub(super) fn encoded(path: &str) -> String {
    let mut url = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'/' | b'-' | b'_' | b'.' | b'~' => url.push(char::from(byte)),
            byte if byte.is_ascii_alphanumeric() => url.push(char::from(byte)),
            byte => url.push_str(&format!("%{byte:02X}")),
        }
    }
    url
}
