//! Each failure has its own sentence, with what to do.

use std::io::{Read, Write};
use std::thread;

use super::server::Reply;
use super::*;

const LIST: &str = "/api/models/org/name/revision/main";

fn fetch_from(endpoint: &str, token: Option<&str>) -> String {
    let scratch = Scratch::new(&format!("failing-{}", endpoint.replace(['/', ':'], "-")));
    message(Hub { token: token.map(str::to_owned), ..scratch.hub(endpoint) }.fetch(&name("org/name")))
}

/// The error for a reply to the request for the list of files.
fn list(reply: Reply, token: Option<&str>) -> String {
    let server = Server::start([(LIST.to_owned(), reply)]);
    fetch_from(&server.endpoint, token).replace(&server.endpoint, "HUB")
}

/// The error for a reply to the request for config.json.
fn config(reply: Reply, token: Option<&str>) -> String {
    let files = [listing("main", COMMIT, &["config.json", "model.safetensors"]), file(COMMIT, "config.json", reply)];
    let server = Server::start(files);
    fetch_from(&server.endpoint, token).replace(&server.endpoint, "HUB")
}

fn refused(status: u16, code: &str, text: &str) -> Reply {
    let headers = [("X-Error-Code", code.to_owned()), ("X-Error-Message", text.to_owned())];
    (status, headers.into_iter().filter(|(_, value)| !value.is_empty()).collect(), vec![])
}

#[test]
fn no_network() {
    // A port without a listener.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = fetch_from(&format!("http://{closed}"), None);
    assert!(error.contains(&format!("{closed} refuses connections; check the network")), "{error}");
    // A name that never exists.
    let error = fetch_from("http://hub.invalid", None);
    assert!(error.contains("the address of hub.invalid can't be found; check the network"), "{error}");
    assert!(error.contains("or pass the path of a folder"), "{error}");
    let error = fetch_from("not a url", None);
    assert!(error.contains("no valid address; check HF_ENDPOINT"), "{error}");
}

#[test]
fn no_secure_connection() {
    // This server knows only plain HTTP.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("https://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut hello = [0; 5];
            stream.read_exact(&mut hello).unwrap();
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        }
    });
    let error = fetch_from(&endpoint, None);
    assert!(
        error.contains("there is no secure connection to 127.0.0.1:") && error.contains("SSL_CERT_FILE"),
        "{error}"
    );
}

#[test]
fn certificates_that_cannot_be_read() {
    let scratch = Scratch::new("certificates");
    fs::create_dir_all(&scratch.0).unwrap();
    let path = scratch.0.join("certificates.pem");
    let fetch = || {
        let hub = Hub { certificates: Some(path.clone()), ..scratch.hub("https://127.0.0.1:9") };
        message(hub.fetch(&name("org/name")))
    };
    let error = fetch();
    assert!(error.contains("certificates.pem: ") && error.contains("check SSL_CERT_FILE"), "{error}");
    fs::write(&path, "no certificate").unwrap();
    let error = fetch();
    assert!(error.contains("expected certificates in PEM format"), "{error}");
}

#[test]
fn no_such_model() {
    for reply in [refused(401, "RepoNotFound", "Repository not found"), (401, vec![], vec![]), (404, vec![], vec![])] {
        let error = list(reply, None);
        assert_eq!(
            error,
            "org/name on the hub: the hub has no model of that name, or it is private; check the spelling, or set HF_TOKEN to a token \
             that may read it"
        );
    }
    for reply in [refused(401, "RepoNotFound", "Repository not found"), (404, vec![], vec![])] {
        let error = list(reply, Some("hf_x"));
        assert!(error.contains("no model of that name, or the token (HF_TOKEN) may not read it"), "{error}");
    }
}

#[test]
fn no_such_revision() {
    let error = list(refused(404, "RevisionNotFound", "Invalid rev id: main"), Some("hf_x"));
    assert!(error.contains("no branch, tag or commit `main`") && error.contains("HUB/org/name/tree/main"), "{error}");
}

#[test]
fn no_such_file() {
    for reply in [refused(404, "EntryNotFound", "Entry not found"), (404, vec![], vec![])] {
        let error = config(reply, None);
        assert!(error.starts_with("org/name on the hub: config.json: the hub lists this file, but doesn't"), "{error}");
    }
}

#[test]
fn gated_models() {
    // The list of a gated model's files is public.
    let error = config(refused(401, "GatedRepo", "Access to model org/name is restricted."), None);
    assert!(error.contains("accept the terms at HUB/org/name, and set HF_TOKEN"), "{error}");
    let error = config(refused(403, "GatedRepo", "Access to model org/name is restricted."), Some("hf_x"));
    assert!(error.contains("accept the terms at HUB/org/name, with the account that the token"), "{error}");
    assert!(error.contains("(Access to model org/name is restricted)"), "{error}");
}

#[test]
fn a_bad_token() {
    let reply = refused(401, "", "Invalid credentials in Authorization header");
    let error = list(reply.clone(), Some("hf_x"));
    assert!(error.contains("doesn't accept the token (Invalid credentials in Authorization header)"), "{error}");
    assert!(error.contains("HUB/settings/tokens"), "{error}");
    let error = list(refused(403, "", "This token has no permission"), Some("hf_x"));
    assert!(error.contains("denies access (This token has no permission); check what the token"), "{error}");
    let error = list((403, vec![], vec![]), None);
    assert!(error.contains("denies access; set HF_TOKEN"), "{error}");
    let error = list(refused(403, "", "Access to this resource is disabled."), None);
    assert!(error.ends_with("the hub has disabled this model"), "{error}");
    // Who sends a valid token learns of a missing model by 404.
    for text in ["", "User Access Token \"laptop\" is expired"] {
        for error in [list(refused(401, "", text), Some("hf_x")), config(refused(401, "", text), Some("hf_x"))] {
            assert!(error.contains("the hub doesn't accept the token") && error.contains(text), "{error}");
        }
    }
    // A token that can't be sent at all.
    let error = list(reply, Some("hf_\nx"));
    assert!(error.contains("HF_TOKEN"), "{error}");
}

#[test]
fn too_many_requests() {
    let limited = |headers: &[(&'static str, &str)]| {
        (429, headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect(), vec![])
    };
    let error = list(limited(&[("Retry-After", "17")]), None);
    assert!(error.contains("(429); try again in 17 seconds; with a token (HF_TOKEN)"), "{error}");
    let error = list(limited(&[("RateLimit", "\"api\";r=0;t=290")]), Some("hf_x"));
    assert!(error.ends_with("try again in 5 minutes"), "{error}");
    let error = list(limited(&[("Retry-After", "Wed, 21 Oct 2026 07:28:00 GMT")]), Some("hf_x"));
    assert!(error.ends_with("try again in a few minutes"), "{error}");
}

/// Asking again at once would only make it worse.
#[test]
fn a_hub_that_asks_to_wait_is_not_asked_again() {
    let scratch = Scratch::new("waiting");
    let limited = (429, vec![("Retry-After", "17".to_owned())], vec![]);
    let server = Server::start([
        listing("main", COMMIT, &["config.json", "model.safetensors"]),
        file(COMMIT, "config.json", tagged("{}", "aaaaaaaaaa")),
        file(COMMIT, "model.safetensors", limited.clone()),
    ]);
    let error = message(scratch.hub(&server.endpoint).fetch(&name("org/name")));
    assert!(error.contains("model.safetensors: the hub had too many requests from here (429)"), "{error}");
    assert_eq!(server.files(), ["main", "config.json", "model.safetensors"]);

    // Where the list says what the etag is, as the hub does, requests are repeated; but not this one.
    let scratch = Scratch::new("waiting-published");
    let files = published(&[("config.json", b"{}"), ("model.safetensors", b"weights")]);
    let server = Server::start(files.into_iter().map(|(path, reply)| match path.ends_with("safetensors") {
        true => (path, limited.clone()),
        false => (path, reply),
    }));
    let error = message(scratch.hub(&server.endpoint).fetch(&name("org/name")));
    assert!(error.contains("try again in 17 seconds"), "{error}");
    assert_eq!(server.files(), ["main", "config.json", "model.safetensors"]);
}

#[test]
fn faults_of_the_hub() {
    let error = list(refused(503, "", "Maintenance"), None);
    assert!(error.contains("the hub has a fault (it answers 503 (Maintenance)); try again later"), "{error}");
    let error = list((407, vec![], vec![]), None);
    assert!(error.contains("the proxy wants a user and a password"), "{error}");
    let error = list((418, vec![], vec![]), None);
    assert!(error.contains("HUB answers 418; is it a hub? Check HF_ENDPOINT"), "{error}");
    let error = list((302, vec![("Location", LIST.to_owned())], vec![]), None);
    assert!(error.contains("more than 10 redirections"), "{error}");
    let error = list((302, vec![], vec![]), None);
    assert!(error.contains("without a location"), "{error}");
}

#[test]
fn pages_in_place_of_answers() {
    let page = || (200, vec![("Content-Type", "text/html; charset=utf-8".to_owned())], b"<html>Log in".to_vec());
    for reply in [page(), ok(" <!DOCTYPE html>")] {
        let error = list(reply, None);
        assert!(error.contains("a web page came in place of the list of files, perhaps from a proxy"), "{error}");
        assert!(error.contains("open HUB in a browser"), "{error}");
    }
    let error = config(page(), None);
    assert!(error.contains("config.json: a web page came in place of config.json"), "{error}");
    for other in ["{}", "[]", "", "{\"sha\": 1}", r#"{"sha": "../../x", "siblings": []}"#] {
        let error = list(ok(other), None);
        assert!(error.contains("HUB did not return a list of files; is it a hub?"), "{error}");
    }
}

#[test]
fn what_is_here_is_used_while_the_hub_fails() {
    let scratch = Scratch::new("fallback");
    let server = Server::start(repository());
    let snapshot = scratch.hub(&server.endpoint).fetch(&name("org/name")).unwrap();
    let fetch = |reply: Reply| {
        let server = Server::start([(LIST.to_owned(), reply)]);
        scratch.hub(&server.endpoint).fetch(&name("org/name"))
    };
    for passing in [(503, vec![], vec![]), (429, vec![], vec![]), ok("<html>Log in")] {
        assert_eq!(fetch(passing).unwrap(), snapshot);
    }
    assert!(fetch((404, vec![], vec![])).is_err(), "a refusal is final");
    fs::remove_file(snapshot.join("model.safetensors")).unwrap();
    let error = message(fetch((503, vec![], vec![])));
    assert!(error.contains("the hub has a fault"), "{error}");
    let offline = Hub { offline: true, ..scratch.hub("") };
    let error = message(offline.fetch(&name("org/name")));
    assert!(error.contains("it is not complete (it has neither model.safetensors"), "{error}");
    let error = message(offline.fetch(&name("org/name@v2")));
    assert!(error.contains("revision `v2` is not complete in "), "{error}");
}

/// The partial file is a device on which nothing fits.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk() {
    let scratch = Scratch::new("full");
    let content = b"weights";
    let etag = server::sha256(content);
    fs::create_dir_all(scratch.file("blobs")).unwrap();
    std::os::unix::fs::symlink("/dev/full", scratch.file(&format!("blobs/{etag}.incomplete"))).unwrap();
    let server = Server::start(published(&[("config.json", b"{}"), ("model.safetensors", content)]));
    let error = message(scratch.hub(&server.endpoint).fetch(&name("org/name")));
    assert!(error.contains("model.safetensors: the disk is full (the file has 7 bytes); make room in"), "{error}");
    assert!(error.contains("set HF_HUB_CACHE to a folder on another disk"), "{error}");
}

#[test]
fn a_cache_that_cannot_be_written() {
    let scratch = Scratch::new("unwritable");
    // A file where the cache's folder should be.
    fs::write(&scratch.0, b"").unwrap();
    let server = Server::start(repository());
    let error = message(scratch.hub(&server.endpoint).fetch(&name("org/name")));
    assert!(error.contains("stepfn-hub-"), "{error}");
    fs::remove_file(&scratch.0).unwrap();
    for kind in [std::io::ErrorKind::PermissionDenied, std::io::ErrorKind::ReadOnlyFilesystem] {
        let error = failure::of_disk(Path::new("cache/file"), None, &kind.into()).to_string();
        assert!(error.starts_with("can't write to cache (") && error.contains("set HF_HUB_CACHE"), "{error}");
    }
    let error =
        failure::of_disk(Path::new("cache/file"), Some(5_300_000_000), &std::io::ErrorKind::FileTooLarge.into());
    assert!(error.to_string().contains("can't hold such a large file (5.3 GB)"), "{error}");
}

#[test]
fn models_that_are_none() {
    let error = list(listing("main", COMMIT, &["config.json", "flax_model.msgpack"]).1, None);
    assert!(
        error.contains("it has neither model.safetensors nor pytorch_model.bin, and no GGUF file; there is flax"),
        "{error}"
    );
    assert!(error.ends_with("it has config.json, flax_model.msgpack"), "{error}");
    let error = list(listing("main", COMMIT, &["model.onnx"]).1, None);
    assert!(error.contains("it has neither config.json nor a GGUF file; there is model.onnx"), "{error}");
    assert!(error.ends_with("it has model.onnx"), "{error}");
    let error = list(listing("main", COMMIT, &[]).1, None);
    assert!(error.ends_with("it has no files"), "{error}");
}
