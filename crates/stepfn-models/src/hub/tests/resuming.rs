//! Downloads that end early, run at the same time, or bring something else; and how far they are.

use core::cell::RefCell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use super::server::{Reply, Request, sha256};
use super::*;

const WEIGHTS: &str = "model.safetensors";

/// Some content that is not the same everywhere.
fn content() -> Vec<u8> {
    (0..1_000_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

/// A hub with one model, whose weights are served by `serve`.
fn server(content: &[u8], serve: impl Fn(&Request, &Reply) -> Reply + Send + Sync + 'static) -> Server {
    let replies: std::collections::HashMap<_, _> =
        published(&[("config.json", b"{}"), (WEIGHTS, content)]).into_iter().collect();
    Server::answering(move |request| {
        let reply = &replies[&request.path];
        if request.path.ends_with(WEIGHTS) { serve(request, reply) } else { reply.clone() }
    })
}

/// What a storage server does with a request for the rest of a file.
fn ranged(request: &Request, reply: &Reply) -> Reply {
    let (_, headers, body) = reply.clone();
    let all = body.len() as u64;
    match request.from {
        None => (200, headers, body),
        Some(from) if from >= all => (416, headers, vec![]),
        Some(from) => {
            let range = ("Content-Range", format!("bytes {from}-{}/{all}", all - 1));
            (206, headers.into_iter().chain([range]).collect(), body[from as usize..].to_vec())
        }
    }
}

/// Announces all of a reply and sends no more than `most` bytes.
fn cut((status, mut headers, mut body): Reply, most: usize) -> Reply {
    headers.push(("Content-Length", body.len().to_string()));
    body.truncate(most);
    (status, headers, body)
}

/// Where each request for the weights began.
fn starts(server: &Server) -> Vec<Option<u64>> {
    let requests = server.requests();
    requests.iter().filter(|request| request.path.ends_with(WEIGHTS)).map(|request| request.from).collect()
}

/// Puts the beginning of a download there.
fn begin(scratch: &Scratch, etag: &str, bytes: &[u8]) {
    fs::create_dir_all(scratch.file("blobs")).unwrap();
    fs::write(scratch.file(&format!("blobs/{etag}.incomplete")), bytes).unwrap();
}

fn weights(snapshot: &Path) -> Vec<u8> {
    fs::read(snapshot.join(WEIGHTS)).unwrap()
}

#[test]
fn a_download_goes_on_where_it_ended() {
    let scratch = Scratch::new("resume");
    let content = content();
    begin(&scratch, &sha256(&content), &content[..400_000]);
    // Two of three connections are lost after a while.
    let times = AtomicUsize::new(0);
    let server = server(&content, move |request, reply| match times.fetch_add(1, Ordering::Relaxed) {
        0 | 1 => cut(ranged(request, reply), 150_000),
        _ => ranged(request, reply),
    });
    let hub = scratch.hub(&server.endpoint);
    let snapshot = hub.fetch(&name("org/name")).unwrap();
    assert!(weights(&snapshot) == content);
    assert_eq!(starts(&server), [Some(400_000), Some(550_000), Some(700_000)]);
    assert_eq!(scratch.blobs().iter().filter(|blob| blob.ends_with("incomplete")).count(), 0);
}

#[test]
fn what_has_come_is_kept_for_the_next_time() {
    let scratch = Scratch::new("kept");
    let content = content();
    let failing = server(&content, |request, reply| match request.from {
        None => cut(reply.clone(), 300_000),
        Some(_) => cut(ranged(request, reply), 0),
    });
    let error = message(scratch.hub(&failing.endpoint).fetch(&name("org/name")));
    assert!(error.contains("model.safetensors: the download ended early (") && error.contains("try again"), "{error}");
    assert_eq!(starts(&failing), [None, Some(300_000), Some(300_000)], "attempts that bring nothing come to an end");
    assert!(!scratch.file("refs").exists() && !scratch.file("snapshots").join(COMMIT).join(WEIGHTS).exists());

    let working = server(&content, ranged);
    let snapshot = scratch.hub(&working.endpoint).fetch(&name("org/name")).unwrap();
    assert!(weights(&snapshot) == content);
    assert_eq!(starts(&working), [Some(300_000)]);
    assert_eq!(working.files(), ["main", WEIGHTS], "the small files are here already");
}

#[test]
fn a_complete_partial_file_is_only_checked() {
    let scratch = Scratch::new("complete");
    let content = content();
    begin(&scratch, &sha256(&content), &content);
    let server = server(&content, ranged);
    assert!(weights(&scratch.hub(&server.endpoint).fetch(&name("org/name")).unwrap()) == content);
    assert_eq!(starts(&server), []);
}

#[test]
fn a_server_that_sends_all_again_is_understood() {
    for (number, there) in [1_usize, 999_999, 1_000_001].into_iter().enumerate() {
        let scratch = Scratch::new(&format!("again-{number}"));
        let content = content();
        // Not the beginning of the content: all must be replaced.
        begin(&scratch, &sha256(&content), &vec![7; there]);
        let server = server(&content, |_, reply| reply.clone());
        assert!(weights(&scratch.hub(&server.endpoint).fetch(&name("org/name")).unwrap()) == content);
        assert_eq!(starts(&server), [Some(there as u64).filter(|there| *there < 1_000_000)]);
    }
}

/// Without a list that says lengths and hashes, the answer's etag names the partial file.
#[test]
fn partial_files_of_other_contents_are_not_used() {
    let scratch = Scratch::new("etag");
    let content = content();
    begin(&scratch, "etag-of-before", &content[..10]);
    begin(&scratch, "etag-of-today", &content[..10]);
    let (body, times) = (content.clone(), AtomicUsize::new(0));
    let (path, reply) = listing("main", COMMIT, &["config.json", WEIGHTS]);
    let server = Server::answering(move |request| {
        let etag = |etag: &str| vec![("ETag", format!("\"{etag}\""))];
        match request.path.as_str() {
            listing if listing == path => reply.clone(),
            path if path.ends_with(WEIGHTS) => match times.fetch_add(1, Ordering::Relaxed) {
                0 => (200, etag("etag-of-today"), body.clone()),
                // It changes between two requests.
                1 => ranged(request, &(200, etag("etag-of-tomorrow"), body.clone())),
                _ => (200, etag("etag-of-today"), body.clone()),
            },
            _ => tagged("{}", "etag-of-config"),
        }
    });
    assert!(weights(&scratch.hub(&server.endpoint).fetch(&name("org/name")).unwrap()) == content);
    assert_eq!(starts(&server), [None, Some(10), None]);
    assert_eq!(scratch.blobs(), ["etag-of-before.incomplete", "etag-of-config", "etag-of-today"]);
}

#[test]
fn another_part_or_length_is_not_taken() {
    let content = content();
    let wrong: [fn(&Request, &Reply) -> Reply; 2] = [
        // Another part, or none that is known.
        |_, reply| (206, vec![("Content-Range", "bytes 5-999999/1000000".to_owned())], reply.2[5..].to_vec()),
        |_, reply| (206, vec![], reply.2.clone()),
    ];
    for (number, serve) in wrong.into_iter().enumerate() {
        let scratch = Scratch::new(&format!("part-{number}"));
        begin(&scratch, &sha256(&content), &content[..10]);
        let server = server(&content, serve);
        let error = message(scratch.hub(&server.endpoint).fetch(&name("org/name")));
        assert!(error.contains("part"), "{error}");
        assert!(!scratch.file("snapshots").join(COMMIT).join(WEIGHTS).exists());
    }
    let scratch = Scratch::new("longer");
    let server = server(&content, |_, reply| {
        let longer = [reply.2.as_slice(), b"more"].concat();
        (200, vec![], longer)
    });
    let error = message(scratch.hub(&server.endpoint).fetch(&name("org/name")));
    assert!(error.contains("its length differs") && error.contains("deleted"), "{error}");
}

#[test]
fn damaged_files_are_deleted() {
    let scratch = Scratch::new("damaged");
    let content = content();
    let damaging = server(&content, |_, (status, headers, body)| {
        let mut body = body.clone();
        body[500_000] ^= 1;
        (*status, headers.clone(), body)
    });
    let error = message(scratch.hub(&damaging.endpoint).fetch(&name("org/name")));
    assert!(error.contains("model.safetensors: ") && error.contains("its SHA-256 differs"), "{error}");
    assert_eq!(scratch.blobs().len(), 1, "only config.json: {:?}", scratch.blobs());
    // The beginning is checked as well, if it was there before.
    begin(&scratch, &sha256(&content), &[0; 10]);
    let working = server(&content, ranged);
    let hub = scratch.hub(&working.endpoint);
    assert!(message(hub.fetch(&name("org/name"))).contains("its SHA-256 differs"));
    assert!(weights(&hub.fetch(&name("org/name")).unwrap()) == content);
}

#[test]
fn weights_of_a_wrong_length_are_downloaded_again() {
    let scratch = Scratch::new("short");
    let content = content();
    let server = server(&content, ranged);
    let hub = scratch.hub(&server.endpoint);
    let snapshot = hub.fetch(&name("org/name")).unwrap();
    fs::write(snapshot.join(WEIGHTS), b"short").unwrap();
    fs::write(snapshot.join("config.json"), b"edited").unwrap();
    assert!(weights(&hub.fetch(&name("org/name")).unwrap()) == content);
    assert_eq!(fs::read(snapshot.join("config.json")).unwrap(), b"edited", "small files may be edited");
}

#[test]
fn two_at_once_share_a_download() {
    let scratch = Scratch::new("two");
    let content = content();
    // The first is held until the second has looked for the lock, or has had time to.
    let server = server(&content, |request, reply| {
        thread::sleep(core::time::Duration::from_millis(300));
        ranged(request, reply)
    });
    let start = Barrier::new(4);
    let fetch = || {
        start.wait();
        scratch.hub(&server.endpoint).fetch(&name("org/name")).unwrap()
    };
    let found: Vec<PathBuf> = thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(fetch)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(found.iter().all(|path| *path == found[0]) && weights(&found[0]) == content);
    assert_eq!(starts(&server), [None], "only one downloads");
    assert_eq!(scratch.blobs().len(), 2);
    assert_eq!(files_in(&found[0]).len(), 2, "nothing else is left: {:?}", files_in(&found[0]));
}

/// Names of revisions may differ in their last part only, and several threads may be done at the same time.
#[test]
fn revisions_are_recorded_side_by_side() {
    let scratch = Scratch::new("refs");
    const ROUNDS: usize = 200;
    let (start, errors) = (Barrier::new(4), Mutex::new(Vec::new()));
    let write = |revision: &str| {
        for round in 0..ROUNDS {
            start.wait();
            // A thread that ended here would leave the others waiting.
            if let Err(error) = record(&scratch.file(&format!("refs/{round}/{revision}")), revision) {
                errors.lock().unwrap().push(error);
            }
        }
    };
    thread::scope(|scope| {
        for revision in ["v1.0", "v1.1", "v1.1", "v1"] {
            let write = &write;
            scope.spawn(move || write(revision));
        }
    });
    assert!(errors.lock().unwrap().is_empty(), "{errors:?}");
    for round in 0..ROUNDS {
        let folder = scratch.file(&format!("refs/{round}"));
        assert_eq!(files_in(&folder), ["v1", "v1.0", "v1.1"].map(str::to_owned).into());
        for revision in ["v1", "v1.0", "v1.1"] {
            assert_eq!(fs::read_to_string(folder.join(revision)).unwrap(), revision);
        }
    }
}

/// The lock is the one of huggingface_hub.
#[test]
fn locks_of_other_programs_are_waited_for() {
    let scratch = Scratch::new("locked");
    let content = content();
    let etag = sha256(&content);
    let locks = scratch.0.join(".locks/models--org--name");
    fs::create_dir_all(&locks).unwrap();
    let lock = fs::File::create(locks.join(format!("{etag}.lock"))).unwrap();
    lock.lock().unwrap();
    begin(&scratch, &etag, &content[..123]);
    let server = server(&content, ranged);
    let told = RefCell::new(Vec::new());
    let blob = scratch.file(&format!("blobs/{etag}"));
    let progress = |download: &Download<'_>| {
        told.borrow_mut().push(download.done);
        // The other program gets on, and is done.
        if download.file == WEIGHTS && !blob.exists() {
            fs::rename(scratch.file(&format!("blobs/{etag}.incomplete")), &blob).unwrap();
            fs::write(&blob, &content).unwrap();
            lock.unlock().unwrap();
        }
    };
    let snapshot = scratch.hub(&server.endpoint).fetch_with(&name("org/name"), &|_| Ok(()), &progress).unwrap();
    assert!(weights(&snapshot) == content);
    assert_eq!(starts(&server), []);
    assert!(told.borrow().contains(&(2 + 123)), "{told:?}");
}

#[test]
fn shards_come_side_by_side() {
    let scratch = Scratch::new("parallel");
    let names: Vec<String> = (0..8).map(|number| format!("model-{number}.safetensors")).collect();
    let map: serde_json::Map<String, Value> = names.iter().map(|name| (name.clone(), json!(name))).collect();
    let index = json!({"weight_map": map}).to_string();
    let mut files: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), name.as_bytes())).collect();
    files.extend([("config.json", b"{}".as_slice()), ("model.safetensors.index.json", index.as_bytes())]);
    let replies: std::collections::HashMap<_, _> = published(&files).into_iter().collect();
    let (now, most) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
    let (four, seen) = (Barrier::new(4), most.clone());
    let server = Server::answering(move |request| {
        if request.path.ends_with(".safetensors") {
            seen.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            // Nobody gets an answer until four have asked.
            four.wait();
            now.fetch_sub(1, Ordering::SeqCst);
        }
        replies[&request.path].clone()
    });
    let told = RefCell::new(Vec::new());
    let progress = |download: &Download<'_>| told.borrow_mut().push((download.done, download.all));
    let hub = scratch.hub(&server.endpoint);
    let snapshot = hub.fetch_with(&name("org/name"), &|_| Ok(()), &progress).unwrap();
    for name in &names {
        assert_eq!(fs::read_to_string(snapshot.join(name)).unwrap(), *name);
    }
    assert_eq!(most.load(Ordering::SeqCst), 4);
    let small = 2 + index.len() as u64;
    let all = small + 8 * names[0].len() as u64;
    let told = told.into_inner();
    assert!(told.is_sorted(), "{told:?}");
    assert_eq!((told[0].1, told.last().unwrap()), (Some(small), &(all, Some(all))));
}

#[test]
fn unknown_lengths_are_not_invented() {
    let scratch = Scratch::new("unknown");
    let server = Server::start(repository());
    let told = RefCell::new(Vec::new());
    let progress = |download: &Download<'_>| told.borrow_mut().push((download.done, download.all));
    scratch.hub(&server.endpoint).fetch_with(&name("org/name"), &|_| Ok(()), &progress).unwrap();
    let told = told.into_inner();
    assert_eq!(told[0].1, None, "the other file has not been asked for");
    assert_eq!(*told.last().unwrap(), (2 + 2 + 7, Some(2 + 2 + 7)));
}

/// A server without etags, which can't name what it sends.
#[test]
fn content_without_a_name_is_stored_whole_or_not_at_all() {
    let scratch = Scratch::new("nameless");
    let mut replies = vec![
        listing("main", COMMIT, &["config.json", WEIGHTS]),
        file(COMMIT, "config.json", ok("{}")),
        file(COMMIT, WEIGHTS, (200, vec![("Content-Length", "1000".to_owned())], b"only a part".to_vec())),
    ];
    let server = Server::start(replies.clone());
    assert!(message(scratch.hub(&server.endpoint).fetch(&name("org/name"))).contains("ended early"));
    assert_eq!(scratch.blobs(), Vec::<String>::new());
    replies.push(file(COMMIT, WEIGHTS, ok("weights")));
    let server = Server::start(replies);
    assert_eq!(weights(&scratch.hub(&server.endpoint).fetch(&name("org/name")).unwrap()), b"weights");
}

/// Addresses of storage servers expire.
#[test]
fn an_expired_address_is_asked_for_again() {
    let scratch = Scratch::new("expired");
    let content = content();
    let (body, times) = (content.clone(), AtomicUsize::new(0));
    let store = Server::answering(move |request| match times.fetch_add(1, Ordering::Relaxed) {
        0 => (403, vec![], b"<Error>expired</Error>".to_vec()),
        _ => ranged(request, &(200, vec![("ETag", "\"of-the-store\"".to_owned())], body.clone())),
    });
    let (address, etag) = (format!("{}/content", store.endpoint), sha256(&content));
    begin(&scratch, &etag, &content[..10]);
    let server = server(&content, move |_, _| {
        let headers = [("Location", address.clone()), ("X-Linked-Etag", format!("\"{etag}\""))];
        (302, headers.into_iter().chain([("X-Linked-Size", "1000000".to_owned())]).collect(), vec![])
    });
    assert!(weights(&scratch.hub(&server.endpoint).fetch(&name("org/name")).unwrap()) == content);
    assert_eq!(store.requests().iter().map(|request| request.from).collect::<Vec<_>>(), [Some(10), Some(10)]);
}
