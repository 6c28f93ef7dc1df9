//! A small local hub.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use sha2::{Digest, Sha256};

use super::*;

pub(super) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A response: status, headers, body.
pub(super) type Reply = (u16, Vec<(&'static str, String)>, Vec<u8>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    /// Without its query.
    pub(super) path: String,
    pub(super) authorization: Option<String>,
    /// The first byte that is asked for.
    pub(super) from: Option<u64>,
}

/// Serves responses and records requests. Its threads end with the test process.
pub(super) struct Server {
    pub(super) endpoint: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// Replies by path; 404 to others.
    pub(super) fn start(replies: impl IntoIterator<Item = (String, Reply)>) -> Self {
        let replies: HashMap<_, _> = replies.into_iter().collect();
        let missing = (404, vec![], b"not here".to_vec());
        Self::answering(move |request| replies.get(&request.path).unwrap_or(&missing).clone())
    }

    pub(super) fn answering(reply: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::<Mutex<Vec<Request>>>::default();
        let (reply, seen) = (Arc::new(reply), requests.clone());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (reply, seen) = (reply.clone(), seen.clone());
                thread::spawn(move || answer(stream.unwrap(), &*reply, &seen));
            }
        });
        Self { endpoint, requests }
    }

    pub(super) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// The last part of each path.
    pub(super) fn files(&self) -> Vec<String> {
        self.requests().iter().map(|request| request.path.rsplit('/').next().unwrap().to_owned()).collect()
    }
}

fn answer(mut stream: TcpStream, reply: &dyn Fn(&Request) -> Reply, seen: &Mutex<Vec<Request>>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    // Something else than a request, such as the start of a secure connection.
    let Some(Ok(start)) = lines.next() else { return Ok(()) };
    let Some(path) = start.split(' ').nth(1) else { return Ok(()) };
    let path = path.split('?').next().unwrap().to_owned();
    let headers: Vec<String> = lines.map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
    let header = |wanted: &str| {
        headers.iter().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case(wanted).then(|| value.to_owned())
        })
    };
    let from = header("range").map(|range| range.trim_matches(|c: char| !c.is_ascii_digit()).parse().unwrap());
    let request = Request { path, authorization: header("authorization"), from };
    seen.lock().unwrap().push(request.clone());
    let (status, headers, body) = reply(&request);
    write!(stream, "HTTP/1.1 {status} Status\r\nConnection: close\r\n")?;
    if !headers.iter().any(|(name, _)| *name == "Content-Length") {
        write!(stream, "Content-Length: {}\r\n", body.len())?;
    }
    for (name, value) in headers {
        write!(stream, "{name}: {value}\r\n")?;
    }
    stream.write_all(b"\r\n")?;
    stream.write_all(&body)
}

/// A temporary cache folder, removed after the test.
pub(super) struct Scratch(pub(super) PathBuf);

impl Scratch {
    pub(super) fn new(test: &str) -> Self {
        let folder = env::temp_dir().join(format!("stepfn-hub-{}-{test}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        Self(folder)
    }

    pub(super) fn hub(&self, endpoint: &str) -> Hub {
        Hub { cache: self.0.clone(), endpoint: endpoint.to_owned(), token: None, offline: false, certificates: None }
    }

    /// A file of the cached repository.
    pub(super) fn file(&self, path: &str) -> PathBuf {
        self.0.join("models--org--name").join(path)
    }

    pub(super) fn blobs(&self) -> Vec<String> {
        let entries = fs::read_dir(self.file("blobs")).into_iter().flatten();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(super) fn ok(body: impl Into<Vec<u8>>) -> Reply {
    (200, vec![], body.into())
}

/// A file as the hub serves it, with an etag.
pub(super) fn tagged(body: &str, etag: &str) -> Reply {
    (200, vec![("ETag", format!("\"{etag}\""))], body.into())
}

/// A list of files with nothing else about them, as simple mirrors have it.
pub(super) fn listing(revision: &str, commit: &str, files: &[&str]) -> (String, Reply) {
    let siblings: Vec<Value> = files.iter().map(|file| json!({"rfilename": file})).collect();
    let json = json!({"sha": commit, "siblings": siblings});
    (format!("/api/models/org/name/revision/{revision}"), ok(json.to_string()))
}

pub(super) fn file(commit: &str, name: &str, reply: Reply) -> (String, Reply) {
    (format!("/org/name/resolve/{commit}/{name}"), reply)
}

pub(super) fn sha256(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A repository as the hub has it: the list says lengths and hashes, small files come with Git's hash, and large ones (`.safetensors`,
/// `.bin`, `.gguf`) with their SHA-256.
pub(super) fn published(files: &[(&str, &[u8])]) -> Vec<(String, Reply)> {
    let mut replies = Vec::new();
    let mut siblings = Vec::new();
    for (path, content) in files {
        let is_large = [".safetensors", ".bin", ".gguf"].iter().any(|end| path.ends_with(end));
        let hash = sha256(content);
        let short = &hash[..40];
        siblings.push(match is_large {
            true => json!({
                "rfilename": path, "size": content.len(), "blobId": "f".repeat(40),
                "lfs": {"sha256": hash, "size": content.len(), "pointerSize": 134}
            }),
            false => json!({"rfilename": path, "size": content.len(), "blobId": short}),
        });
        let etag = if is_large { &hash } else { short };
        replies.push(file(COMMIT, path, (200, vec![("ETag", format!("\"{etag}\""))], content.to_vec())));
    }
    let json = json!({"sha": COMMIT, "siblings": siblings});
    replies.push(("/api/models/org/name/revision/main".to_owned(), ok(json.to_string())));
    replies
}

pub(super) fn name(text: &str) -> HubName {
    text.parse().unwrap()
}

pub(super) fn message(result: Result<PathBuf, ModelError>) -> String {
    result.unwrap_err().to_string()
}
