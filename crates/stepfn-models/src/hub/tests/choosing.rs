//! Which files are downloaded, and when.

use super::*;

/// The files that come, of all that there are.
fn downloaded(test: &str, text: &str, files: &[(&str, &[u8])]) -> (Result<String, ModelError>, Vec<String>) {
    let scratch = Scratch::new(test);
    let server = Server::start(published(files));
    let found = scratch.hub(&server.endpoint).fetch(&name(text));
    let snapshot = scratch.file("snapshots").join(COMMIT);
    let mut came: Vec<String> = files_in(&snapshot).into_iter().collect();
    for (path, content) in files.iter().filter(|(path, _)| came.iter().any(|file| file == path)) {
        assert_eq!(fs::read(snapshot.join(path)).unwrap(), *content);
    }
    came.sort();
    (found.map(|found| found.strip_prefix(&snapshot).unwrap().to_str().unwrap().to_owned()), came)
}

const INDEX: &[u8] = br#"{"weight_map": {"a": "x-1.bin", "b": "x-2.bin"}}"#;

#[test]
fn small_files_of_every_tokenizer_come() {
    let needed = [
        "adapter_config.json",
        "added_tokens.json",
        "additional_chat_templates/rag.jinja",
        "chat_template.jinja",
        "chat_template.json",
        "config.json",
        "generation_config.json",
        "merges.txt",
        "model.safetensors",
        "quant_config.json",
        "quantize_config.json",
        "sentencepiece.bpe.model",
        "source.spm",
        "special_tokens_map.json",
        "spiece.model",
        "target.spm",
        "target_vocab.json",
        "tokenizer.json",
        "tokenizer.model",
        "tokenizer_config.json",
        "vocab.json",
        "vocab.txt",
    ];
    let others = [
        "README.md",
        "additional_chat_templates/sub/x.jinja",
        "model.gguf",
        "onnx/model.onnx",
        "optimizer.bin",
        "pytorch_model.bin",
        "sub/config.json",
        "tf_model.h5",
    ];
    let files: Vec<(&str, &[u8])> = needed.into_iter().chain(others).map(|path| (path, path.as_bytes())).collect();
    let (found, came) = downloaded("small", "org/name", &files);
    assert_eq!((found.unwrap().as_str(), came), ("", needed.map(str::to_owned).to_vec()));
}

#[test]
fn the_first_kind_of_weights_is_taken() {
    type Kind = (&'static [(&'static str, &'static [u8])], &'static [&'static str]);
    let kinds: [Kind; 6] = [
        (&[("model.safetensors", b"1")], &["config.json", "model.safetensors"]),
        (
            &[("model.safetensors.index.json", INDEX), ("x-1.bin", b"1"), ("x-2.bin", b"2"), ("x-3.bin", b"3")],
            &["config.json", "model.safetensors.index.json", "x-1.bin", "x-2.bin"],
        ),
        (&[("pytorch_model.bin", b"1")], &["config.json", "pytorch_model.bin"]),
        (
            &[("pytorch_model.bin.index.json", INDEX), ("x-1.bin", b"1"), ("x-2.bin", b"2")],
            &["config.json", "pytorch_model.bin.index.json", "x-1.bin", "x-2.bin"],
        ),
        (&[("model.fp16.safetensors", b"1")], &["config.json", "model.fp16.safetensors"]),
        (&[("a.gguf", b"1")], &["a.gguf"]),
    ];
    for (number, (files, expected)) in kinds.iter().enumerate() {
        let files: Vec<_> = files.iter().copied().chain([("config.json", b"{}".as_slice())]).collect();
        let (found, came) = downloaded(&format!("kind-{number}"), "org/name", &files);
        assert_eq!(came, *expected);
        assert_eq!(found.unwrap(), if number == 5 { "a.gguf" } else { "" });
    }
    // In the order of preference, all that come after may be there too.
    let all: Vec<&str> = kinds.iter().flat_map(|(files, _)| files.iter().map(|(path, _)| *path)).collect();
    let order = [
        "model.safetensors",
        "model.safetensors.index.json",
        "model.fp16.safetensors",
        "pytorch_model.bin",
        "pytorch_model.bin.index.json",
        "a.gguf",
    ];
    let mut files: BTreeSet<String> = all.iter().chain(&["config.json"]).map(|file| (*file).to_owned()).collect();
    for first in order {
        let weights = choose(&name("org/name"), &files).unwrap();
        assert_eq!(weights.files(), [first]);
        files.remove(first);
    }
}

#[test]
fn adapters_come_without_the_model_that_they_change() {
    for file in ["adapter_model.safetensors", "adapter_model.bin"] {
        let files: [(&str, &[u8]); 4] =
            [("adapter_config.json", b"{}"), (file, b"1"), ("tokenizer.json", b"[]"), ("training_args.bin", b"2")];
        let (found, came) = downloaded(file, "org/name", &files);
        assert_eq!(
            (found.unwrap().as_str(), came),
            ("", ["adapter_config.json", file, "tokenizer.json"].map(str::to_owned).to_vec())
        );
    }
}

#[test]
fn of_several_gguf_files_one_is_named() {
    let files: [(&str, &[u8]); 7] = [
        ("config.json", b"{}"),
        ("x-Q4.gguf", b"1"),
        ("x-Q8.gguf", b"2"),
        ("mmproj-x.gguf", b"3"),
        ("F16/x-00001-of-00002.gguf", b"4"),
        ("F16/x-00002-of-00002.gguf", b"5"),
        ("F32/x-00001-of-00002.gguf", b"6"),
    ];
    let (found, came) = downloaded("several", "org/name", &files);
    assert_eq!(
        found.unwrap_err().to_string(),
        "org/name on the hub: it has several GGUF files, so name one, as in `org/name:F16/x-00001-of-00002.gguf`: \
         F16/x-00001-of-00002.gguf, F32/x-00001-of-00002.gguf, x-Q4.gguf, x-Q8.gguf"
    );
    assert!(came.is_empty());
    let (found, came) = downloaded("named", "org/name:x-Q8.gguf", &files);
    assert_eq!((found.unwrap().as_str(), came), ("x-Q8.gguf", vec!["x-Q8.gguf".to_owned()]));
    for part in 1..=2 {
        let (found, came) = downloaded("parts", &format!("org/name:F16/x-0000{part}-of-00002.gguf"), &files);
        assert_eq!(found.unwrap(), "F16/x-00001-of-00002.gguf");
        assert_eq!(came, ["F16/x-00001-of-00002.gguf", "F16/x-00002-of-00002.gguf"]);
    }
    let (found, _) = downloaded("absent", "org/name:x-Q5.gguf", &files);
    let error = found.unwrap_err().to_string();
    assert!(error.starts_with("org/name:x-Q5.gguf on the hub: it has no file `x-Q5.gguf`, but it has F16/"), "{error}");
    let (found, _) = downloaded("part", "org/name:F32/x-00001-of-00002.gguf", &files);
    let error = found.unwrap_err().to_string();
    assert!(error.contains("2 files, and there is no `F32/x-00002-of-00002.gguf`"), "{error}");
    let (found, _) = downloaded("none", "org/name:x.gguf", &files[..1]);
    assert!(found.unwrap_err().to_string().contains("no GGUF file at all"));
}

#[test]
fn gguf_files_are_found_in_the_cache() {
    let scratch = Scratch::new("cached-gguf");
    let server = Server::start(published(&[("a/x.gguf", b"1"), ("y.gguf", b"2")]));
    let hub = scratch.hub(&server.endpoint);
    let first = hub.fetch(&name("org/name:a/x.gguf")).unwrap();
    assert_eq!(fs::read(&first).unwrap(), b"1");
    let offline = Hub { offline: true, ..hub.clone() };
    assert_eq!(offline.fetch(&name("org/name")).unwrap(), first);
    let second = hub.fetch(&name("org/name:y.gguf")).unwrap();
    assert_eq!(offline.fetch(&name("org/name:a/x.gguf")).unwrap(), first);
    assert_eq!(offline.fetch(&name("org/name:y.gguf")).unwrap(), second);
    let error = message(offline.fetch(&name("org/name")));
    assert!(error.contains("several GGUF files") && error.contains("downloads are off"), "{error}");
    let asked = server.requests().len();
    assert_eq!(hub.fetch(&name(&format!("org/name@{COMMIT}:y.gguf"))).unwrap(), second);
    assert_eq!(server.requests().len(), asked, "a commit never changes");
}

#[test]
fn refused_models_have_no_weights_downloaded() {
    let refusing = |folder: &Path| {
        assert!(folder.join("config.json").is_file() && folder.join("tokenizer.json").is_file());
        assert!(!folder.join("model-1.safetensors").exists());
        Err(ModelError::File { path: folder.join("config.json"), message: "not for us".to_owned() })
    };
    let index = br#"{"weight_map": {"a": "model-1.safetensors"}}"#;
    for weights in ["model.safetensors", "model.safetensors.index.json", "pytorch_model.bin"] {
        let scratch = Scratch::new(&format!("refused-{weights}"));
        let server = Server::start(published(&[
            ("config.json", b"{}"),
            ("tokenizer.json", b"[]"),
            ("model-1.safetensors", b"weights"),
            (weights, index),
        ]));
        let hub = scratch.hub(&server.endpoint);
        let error = message(hub.fetch_judged(&name("org/name"), &refusing));
        assert!(error.ends_with("config.json: not for us"), "{error}");
        let asked = server.files();
        assert!(asked.iter().all(|file| !file.ends_with(".safetensors") && !file.ends_with(".bin")), "{asked:?}");
        assert!(!scratch.file("refs").exists());
        // Once the weights are here, they are not judged again.
        hub.fetch_judged(&name("org/name"), &|_| Ok(())).unwrap();
        hub.fetch_judged(&name("org/name"), &refusing).unwrap();
    }
}

#[test]
fn a_commit_without_tokenizer_is_completed() {
    let scratch = Scratch::new("tokenizer");
    let server = Server::start(
        published(&[("config.json", b"{}"), ("model.safetensors", b"1"), ("tokenizer.json", b"[]")])
            .into_iter()
            .map(|(path, reply)| (path.replace("/revision/main", &format!("/revision/{COMMIT}")), reply)),
    );
    let hub = scratch.hub(&server.endpoint);
    let pinned = name(&format!("org/name@{COMMIT}"));
    let snapshot = hub.fetch(&pinned).unwrap();
    fs::remove_file(snapshot.join("tokenizer.json")).unwrap();
    assert_eq!(Hub { offline: true, ..hub.clone() }.fetch(&pinned).unwrap(), snapshot);
    assert_eq!(hub.fetch(&pinned).unwrap(), snapshot);
    assert!(snapshot.join("tokenizer.json").is_file());
}

#[test]
fn paths_from_a_hub_stay_in_their_folder() {
    let scratch = Scratch::new("outside");
    let (_, reply) = listing("main", COMMIT, &["../../x.gguf", "/tmp/y.gguf", "a\\z.gguf", "config.json"]);
    let server = Server::start([("/api/models/org/name/revision/main".to_owned(), reply)]);
    let error = message(scratch.hub(&server.endpoint).fetch(&name("org/name")));
    assert!(error.ends_with("; it has config.json"), "{error}");
    let index = br#"{"weight_map": {"a": "../../../../x.safetensors"}}"#;
    let (found, _) =
        downloaded("outside-index", "org/name", &[("config.json", b"{}"), ("model.safetensors.index.json", index)]);
    assert!(found.unwrap_err().to_string().contains("a file in the same folder"));
    let index = br#"{"weight_map": {"a": "x.safetensors"}}"#;
    let (found, _) =
        downloaded("absent-shard", "org/name", &[("config.json", b"{}"), ("model.safetensors.index.json", index)]);
    assert!(found.unwrap_err().to_string().contains("lists x.safetensors, which it doesn't have"));
}
