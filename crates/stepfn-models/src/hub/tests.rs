//! The hub client against a small local server.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use super::*;

const INDEX: &str = "model.safetensors.index.json";
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const OLD: &str = "89abcdef0123456789abcdef0123456789abcdef";

/// A response: status, headers, body.
type Reply = (u16, Vec<(&'static str, String)>, Vec<u8>);

/// A request: path and authorization header.
type Request = (String, Option<String>);

/// Serves responses from a table and records requests. Its thread ends with the test process.
struct Server {
    endpoint: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    fn start(replies: impl IntoIterator<Item = (String, Reply)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::<Mutex<Vec<Request>>>::default();
        let (replies, seen): (HashMap<_, _>, _) = (replies.into_iter().collect(), requests.clone());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let _ = answer(stream.unwrap(), &replies, &seen);
            }
        });
        Self { endpoint, requests }
    }

    fn paths(&self) -> Vec<String> {
        self.requests.lock().unwrap().iter().map(|(path, _)| path.clone()).collect()
    }
}

fn answer(stream: TcpStream, replies: &HashMap<String, Reply>, seen: &Mutex<Vec<Request>>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let path = lines.next().unwrap()?.split(' ').nth(1).unwrap().to_owned();
    let headers: Vec<String> = lines.map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
    let authorization = headers.iter().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("authorization").then(|| value.to_owned())
    });
    seen.lock().unwrap().push((path.clone(), authorization));
    let missing = (404, vec![], b"not here".to_vec());
    let (status, headers, body) = replies.get(&path).unwrap_or(&missing);
    let mut stream = stream;
    write!(stream, "HTTP/1.1 {status} Status\r\nConnection: close\r\n")?;
    if !headers.iter().any(|(name, _)| *name == "Content-Length") {
        write!(stream, "Content-Length: {}\r\n", body.len())?;
    }
    for (name, value) in headers {
        write!(stream, "{name}: {value}\r\n")?;
    }
    stream.write_all(b"\r\n")?;
    stream.write_all(body)
}

/// A temporary cache folder, removed after the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(test: &str) -> Self {
        let folder = env::temp_dir().join(format!("stepfn-hub-{}-{test}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        Self(folder)
    }

    fn hub(&self, endpoint: &str) -> Hub {
        Hub { cache: self.0.clone(), endpoint: endpoint.to_owned(), token: None, offline: false }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn ok(body: impl Into<Vec<u8>>) -> Reply {
    (200, vec![], body.into())
}

fn listing(revision: &str, commit: &str, files: &[&str]) -> (String, Reply) {
    let siblings: Vec<Value> = files.iter().map(|file| serde_json::json!({"rfilename": file})).collect();
    let json = serde_json::json!({"sha": commit, "siblings": siblings});
    (format!("/api/models/org/name/revision/{revision}"), ok(json.to_string()))
}

fn file(commit: &str, name: &str, reply: Reply) -> (String, Reply) {
    (format!("/org/name/resolve/{commit}/{name}"), reply)
}

/// A file as the hub serves it, with an etag.
fn tagged(body: &str, etag: &str) -> Reply {
    (200, vec![("ETag", format!("\"{etag}\""))], body.into())
}

/// A repository with one file of each kind, including some that are not needed.
fn repository() -> Vec<(String, Reply)> {
    vec![
        listing(
            "main",
            COMMIT,
            &["README.md", "config.json", "model.safetensors", "pytorch_model.bin", "tokenizer.json"],
        ),
        file(COMMIT, "config.json", tagged("{}", "aaaaaaaaaa")),
        file(COMMIT, "tokenizer.json", tagged("[]", "bbbbbbbbbb")),
        file(COMMIT, "model.safetensors", tagged("weights", "cccccccccc")),
    ]
}

fn name(text: &str) -> HubName {
    text.parse().unwrap()
}

fn message(result: Result<PathBuf, ModelError>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn downloads_needed_files_and_reuses_the_cache_offline() {
    let scratch = Scratch::new("download");
    let server = Server::start(repository());
    let hub = scratch.hub(&server.endpoint);
    let snapshot = hub.fetch(&name("org/name")).unwrap();
    let folder = scratch.0.join("models--org--name");
    assert_eq!(snapshot, folder.join("snapshots").join(COMMIT));
    assert_eq!(fs::read_to_string(snapshot.join("model.safetensors")).unwrap(), "weights");
    assert_eq!(fs::read_to_string(folder.join("blobs/cccccccccc")).unwrap(), "weights");
    assert_eq!(fs::read_to_string(folder.join("refs/main")).unwrap(), COMMIT);
    assert_eq!(fs::read_dir(folder.join("blobs")).unwrap().count(), 3, "no unfinished download remains");
    assert!(!server.paths().iter().any(|path| path.ends_with(".bin") || path.ends_with(".md")), "{:?}", server.paths());

    let asked = server.paths().len();
    assert_eq!(asked, 4);
    assert_eq!(hub.fetch(&name("org/name")).unwrap(), snapshot);
    assert_eq!(server.paths().len(), asked + 1, "asks only whether there is a newer commit");
    assert_eq!(hub.fetch(&name(&format!("org/name@{COMMIT}"))).unwrap(), snapshot);
    assert_eq!(server.paths().len(), asked + 1, "a commit never changes");
    let offline = Hub { offline: true, ..hub };
    assert_eq!(offline.locate("org/name").unwrap(), snapshot);
    assert_eq!(server.paths().len(), asked + 1);
    // A port without a listener.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let unreachable = scratch.hub(&format!("http://{closed}"));
    assert_eq!(unreachable.fetch(&name("org/name")).unwrap(), snapshot);
    let error = message(unreachable.fetch(&name("org/other")));
    assert!(error.contains("org/other") && error.contains("check the network"), "{error}");
    let error = message(offline.fetch(&name("org/other")));
    assert!(error.contains("unset HF_HUB_OFFLINE"), "{error}");
}

#[test]
fn revisions_are_separate_and_slashes_in_them_are_escaped() {
    let scratch = Scratch::new("revision");
    let mut replies = repository();
    replies.push(listing("refs%2Fpr%2F1", OLD, &["config.json", "model.safetensors"]));
    replies.push(file(OLD, "config.json", tagged("{}", "aaaaaaaaaa")));
    replies.push(file(OLD, "model.safetensors", tagged("older weights", "dddddddddd")));
    let server = Server::start(replies);
    let hub = scratch.hub(&server.endpoint);
    let read = |snapshot: PathBuf| fs::read_to_string(snapshot.join("model.safetensors")).unwrap();
    assert_eq!(read(hub.fetch(&name("org/name@refs/pr/1")).unwrap()), "older weights");
    assert_eq!(read(hub.fetch(&name("org/name")).unwrap()), "weights");
    let offline = Hub { offline: true, ..hub };
    assert_eq!(read(offline.fetch(&name("org/name@refs/pr/1")).unwrap()), "older weights");
}

#[test]
fn shards_are_downloaded_by_their_index() {
    let scratch = Scratch::new("shards");
    let index =
        r#"{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors", "c": "model-1.safetensors"}}"#;
    let mut replies = vec![
        listing(
            "main",
            COMMIT,
            &["config.json", INDEX, "model-1.safetensors", "model-2.safetensors", "extra.safetensors"],
        ),
        file(COMMIT, "config.json", ok("{}")),
        file(COMMIT, INDEX, ok(index)),
        file(COMMIT, "model-1.safetensors", ok("1")),
    ];
    let server = Server::start(replies.clone());
    let hub = scratch.hub(&server.endpoint);
    let error = message(hub.fetch(&name("org/name")));
    assert!(error.contains("model-2.safetensors: ") && error.contains("404"), "{error}");
    assert!(message(Hub { offline: true, ..hub }.fetch(&name("org/name"))).contains("not complete"));

    replies.push(file(COMMIT, "model-2.safetensors", ok("2")));
    let server = Server::start(replies);
    let snapshot = scratch.hub(&server.endpoint).fetch(&name("org/name")).unwrap();
    assert!(snapshot.join("model-2.safetensors").is_file() && !snapshot.join("extra.safetensors").exists());
    let asked = server.paths();
    assert!(!asked.iter().any(|path| path.ends_with("model-1.safetensors")), "earlier downloads are kept: {asked:?}");
}

/// A model that can't be run isn't downloaded.
#[test]
fn weights_are_downloaded_only_if_the_other_files_are_accepted() {
    let scratch = Scratch::new("judged");
    let server = Server::start(repository());
    let hub = scratch.hub(&server.endpoint);
    let judge = |folder: &Path| {
        assert!(folder.join("config.json").is_file() && folder.join("tokenizer.json").is_file());
        assert!(!folder.join("model.safetensors").exists());
        Err(ModelError::config("model_type", "another", "this"))
    };
    let error = hub.fetch_judged(&name("org/name"), &judge).unwrap_err();
    assert!(matches!(error, ModelError::Config { .. }), "{error}");
    assert!(!server.paths().iter().any(|path| path.contains("safetensors")), "{:?}", server.paths());
    assert!(hub.fetch(&name("org/name")).unwrap().join("model.safetensors").is_file());
}

#[test]
fn a_repository_with_a_pytorch_file_alone_is_downloaded() {
    let scratch = Scratch::new("bin");
    let files = ["config.json", "pytorch_model.bin", "source.spm", "target.spm", "vocab.json", "README.md"];
    let replies = files.map(|file_name| file(COMMIT, file_name, tagged(file_name, "aaaaaaaaaa")));
    let server = Server::start([listing("main", COMMIT, &files)].into_iter().chain(replies));
    let snapshot = scratch.hub(&server.endpoint).fetch(&name("org/name")).unwrap();
    for file in &files[..5] {
        assert!(snapshot.join(file).is_file(), "{file}");
    }
    assert!(!snapshot.join("README.md").exists());
    let offline = Hub { offline: true, ..scratch.hub(&server.endpoint) };
    assert_eq!(offline.fetch(&name("org/name")).unwrap(), snapshot);
}

#[test]
fn the_token_is_sent_only_to_the_hub() {
    let scratch = Scratch::new("token");
    let store = Server::start([("/content".to_owned(), ok("weights"))]);
    let mut replies = repository();
    let away = vec![
        ("Location", format!("{}/content", store.endpoint)),
        ("X-Linked-Etag", "\"eeeeeeeeee\"".to_owned()),
        ("X-Linked-Size", "7".to_owned()),
    ];
    replies.push(file(COMMIT, "model.safetensors", (302, away, vec![])));
    let near = vec![("Location", "/elsewhere/config.json".to_owned())];
    replies.push(file(COMMIT, "config.json", (307, near, vec![])));
    replies.push(("/elsewhere/config.json".to_owned(), ok("{}")));
    let server = Server::start(replies);
    let hub = Hub { token: Some("hf_secret".to_owned()), ..scratch.hub(&server.endpoint) };
    let snapshot = hub.fetch(&name("org/name")).unwrap();
    assert_eq!(fs::read_to_string(snapshot.join("model.safetensors")).unwrap(), "weights");
    assert!(scratch.0.join("models--org--name/blobs/eeeeeeeeee").is_file());
    let requests = server.requests.lock().unwrap();
    assert!(requests.iter().all(|(_, token)| token.as_deref() == Some("Bearer hf_secret")), "{requests:?}");
    assert!(requests.iter().any(|(path, _)| path == "/elsewhere/config.json"));
    assert_eq!(*store.requests.lock().unwrap(), [("/content".to_owned(), None)]);
}

#[test]
fn refusals_say_what_to_do() {
    let scratch = Scratch::new("refusals");
    let path = "/api/models/org/name/revision/main".to_owned();
    let fetch = |reply: Reply, token: Option<&str>| {
        let server = Server::start([(path.clone(), reply)]);
        message(Hub { token: token.map(str::to_owned), ..scratch.hub(&server.endpoint) }.fetch(&name("org/name")))
    };
    let error = fetch((404, vec![], vec![]), None);
    assert!(error.starts_with("org/name on the hub: ") && error.contains("no such model or revision"), "{error}");
    let error = fetch((401, vec![], vec![]), None);
    assert!(error.contains("set HF_TOKEN"), "{error}");
    let error = fetch((403, vec![], vec![]), Some("hf_x"));
    assert!(error.contains("has the owner granted it?"), "{error}");
    let error = fetch(ok("<html>"), None);
    assert!(error.contains("is it a hub?"), "{error}");
    let error = fetch(ok(r#"{"sha": "../../x", "siblings": []}"#), None);
    assert!(error.contains("is it a hub?"), "{error}");
    let error = fetch((302, vec![("Location", path.clone())], vec![]), None);
    assert!(error.contains("redirections"), "{error}");
    let error = fetch((302, vec![], vec![]), None);
    assert!(error.contains("without a location"), "{error}");
    let error = fetch(listing("main", COMMIT, &["config.json", "flax_model.msgpack"]).1, None);
    assert!(error.contains("neither model.safetensors nor pytorch_model.bin; there is flax_model.msgpack"), "{error}");
    let error = fetch(listing("main", COMMIT, &["model.gguf"]).1, None);
    assert!(
        error.contains("has no config.json; there is model.gguf") && error.ends_with("it has model.gguf"),
        "{error}"
    );
}

#[test]
fn an_interrupted_download_leaves_no_files() {
    let scratch = Scratch::new("truncated");
    for short in [
        (200, vec![("Content-Length", "1000".to_owned())], b"only a part".to_vec()),
        (200, vec![("X-Linked-Size", "1000".to_owned())], b"only a part".to_vec()),
    ] {
        let mut replies = repository();
        replies.push(file(COMMIT, "model.safetensors", short));
        let server = Server::start(replies);
        let error = message(scratch.hub(&server.endpoint).fetch(&name("org/name")));
        assert!(error.contains("model.safetensors: ") && error.contains("try again"), "{error}");
        let folder = scratch.0.join("models--org--name");
        let names: Vec<_> =
            fs::read_dir(folder.join("blobs")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(names.iter().all(|name| !name.to_string_lossy().ends_with("incomplete")), "{names:?}");
        assert!(!folder.join("snapshots").join(COMMIT).join("model.safetensors").exists());
        assert!(!folder.join("refs").exists());
    }
}

#[test]
fn a_folder_takes_precedence_and_names_are_validated() {
    let hub = Scratch::new("names").hub("http://127.0.0.1:9");
    assert_eq!(hub.locate("src/hub").unwrap(), Path::new("src/hub"));
    for wrong in [
        "",
        "org/",
        "/name",
        "a/b/c",
        "../x",
        "org/..",
        "org/.name",
        "org/na me",
        "org/name@",
        "org/name@a/../b",
        "org/näme",
    ] {
        let error = wrong.parse::<HubName>().unwrap_err().to_string();
        assert!(error.contains("neither an existing folder"), "{error}");
    }
    assert_eq!(name("gpt2").to_string(), "gpt2");
    assert_eq!(name("org/name@v1").to_string(), "org/name@v1");
}

#[test]
fn environment_variables_of_other_tools_are_respected() {
    let scratch = Scratch::new("environment");
    fs::create_dir_all(&scratch.0).unwrap();
    fs::write(scratch.0.join("token"), " hf_from_file\n").unwrap();
    let home = scratch.0.to_string_lossy().into_owned();
    let from = |variables: &[(&str, &str)]| {
        Hub::from_variables(|name| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned()))
    };
    let hub = from(&[("HOME", "/h")]);
    assert_eq!(hub.cache, Path::new("/h/.cache/huggingface/hub"));
    assert_eq!((hub.endpoint.as_str(), hub.token, hub.offline), ("https://huggingface.co", None, false));
    assert_eq!(from(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/c")]).cache, Path::new("/c/huggingface/hub"));
    let hub = from(&[("HF_HOME", &home), ("HF_HUB_OFFLINE", "True"), ("HF_ENDPOINT", "http://mirror")]);
    assert_eq!(hub.cache, scratch.0.join("hub"));
    assert_eq!(
        (hub.endpoint.as_str(), hub.token.as_deref(), hub.offline),
        ("http://mirror", Some("hf_from_file"), true)
    );
    let hub = from(&[("HF_HOME", &home), ("HF_TOKEN", "hf_x"), ("HF_HUB_CACHE", "/cache"), ("HF_HUB_OFFLINE", "0")]);
    assert_eq!((hub.cache.as_path(), hub.token.as_deref(), hub.offline), (Path::new("/cache"), Some("hf_x"), false));
}
