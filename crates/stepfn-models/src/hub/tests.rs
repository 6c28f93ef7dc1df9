//! The hub client against a small local server.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

mod choosing;
mod failing;
mod naming;
mod resuming;
mod server;

use std::net::TcpListener;

use serde_json::{Value, json};

use super::*;
use server::{COMMIT, Scratch, Server, file, listing, message, name, ok, published, tagged};

const OLD: &str = "89abcdef0123456789abcdef0123456789abcdef";

/// A repository with one file of each kind, including some that are not needed.
fn repository() -> Vec<(String, server::Reply)> {
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
    let unneeded = |file: &String| file.ends_with(".bin") || file.ends_with(".md");
    assert!(!server.files().iter().any(unneeded), "{:?}", server.files());

    let asked = server.requests().len();
    assert_eq!(asked, 4);
    assert_eq!(hub.fetch(&name("org/name")).unwrap(), snapshot);
    assert_eq!(server.requests().len(), asked + 1, "asks only whether there is a newer commit");
    assert_eq!(hub.fetch(&name(&format!("org/name@{COMMIT}"))).unwrap(), snapshot);
    assert_eq!(server.requests().len(), asked + 1, "a commit never changes");
    let offline = Hub { offline: true, ..hub };
    assert_eq!(offline.locate("org/name").unwrap(), snapshot);
    assert_eq!(server.requests().len(), asked + 1);
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
            &[
                "config.json",
                "model.safetensors.index.json",
                "model-1.safetensors",
                "model-2.safetensors",
                "extra.safetensors",
            ],
        ),
        file(COMMIT, "config.json", ok("{}")),
        file(COMMIT, "model.safetensors.index.json", ok(index)),
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
    let requests = server.requests();
    let is_sent = |request: &server::Request| request.authorization.as_deref() == Some("Bearer hf_secret");
    assert!(requests.iter().all(is_sent), "{requests:?}");
    assert!(requests.iter().any(|request| request.path == "/elsewhere/config.json"));
    let away = server::Request { path: "/content".to_owned(), authorization: None, from: None };
    assert_eq!(store.requests(), [away]);
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
