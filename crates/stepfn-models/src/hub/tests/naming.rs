//! What people write or paste as a name.

use proptest::prelude::*;

use super::*;

#[test]
fn a_folder_takes_precedence() {
    let hub = Scratch::new("precedence").hub("http://127.0.0.1:9");
    assert_eq!(hub.locate("src/hub").unwrap(), Path::new("src/hub"));
}

#[test]
fn names_are_validated() {
    for wrong in [
        "",
        "org/",
        "/name",
        "a/b/c",
        "../x",
        "org/..",
        "org/.name",
        "org/-name",
        "org/name.",
        "org/na--me",
        "org/na me",
        "org/name@",
        "org/name@a/../b",
        "org/näme",
        "org/name:",
        "org/name:config.json",
        "org/name:../x.gguf",
        "org/name:/x.gguf",
        "org/name:a//x.gguf",
        "org/name:a\\x.gguf",
        "org/name:C:x.gguf",
        "org/name:a\nx.gguf",
        "C:/models/x.gguf",
        "C:\\models\\x.gguf",
    ] {
        let error = wrong.parse::<HubName>().unwrap_err().to_string();
        assert!(error.contains("neither an existing folder"), "{error}");
    }
    for whole in ["gpt2", "org/name@v1", "org/name@refs/pr/1", "org/name:a b/x+y.gguf", "org/name@v1:x.GGUF", "_a/b_"] {
        assert_eq!(name(whole).to_string(), whole);
    }
    assert_eq!(name("org/name@main").to_string(), "org/name");
    let whole = name("org/name@refs/pr/1:q4/x.gguf");
    assert_eq!((whole.repository(), whole.revision(), whole.file()), ("org/name", "refs/pr/1", Some("q4/x.gguf")));
}

#[test]
fn addresses_of_pages_are_names() {
    for (address, expected) in [
        ("https://huggingface.co/org/name", "org/name"),
        ("http://www.huggingface.co/org/name/", "org/name"),
        ("huggingface.co/org/name", "org/name"),
        ("hf.co/gpt2", "gpt2"),
        ("https://huggingface.co/gpt2/tree/main", "gpt2"),
        ("https://huggingface.co/org/name?library=transformers", "org/name"),
        ("https://huggingface.co/org/name#usage", "org/name"),
        ("https://huggingface.co/org/name/tree/main", "org/name"),
        ("https://huggingface.co/org/name/tree/v1.0", "org/name@v1.0"),
        ("https://huggingface.co/org/name/tree/refs%2Fpr%2F1", "org/name@refs/pr/1"),
        ("https://huggingface.co/org/name/commit/0123456789", "org/name@0123456789"),
        ("https://huggingface.co/org/name/blob/main/config.json", "org/name"),
        ("https://huggingface.co/org/name/blob/main/q4/x.gguf", "org/name:q4/x.gguf"),
        ("https://huggingface.co/org/name/resolve/v1/x%20y.gguf?download=true", "org/name@v1:x y.gguf"),
        ("https://huggingface.co/org/tree", "org/tree"),
        ("https://huggingface.co/org/tree/tree/v1", "org/tree@v1"),
    ] {
        assert_eq!(name(address).to_string(), expected, "{address}");
    }
    for wrong in [
        "https://huggingface.co/",
        "https://huggingface.co/datasets/org/name",
        "https://huggingface.co/datasets/name",
        "https://huggingface.co/spaces/org/name",
        "https://huggingface.co/org/name/tree/main/onnx",
        "https://huggingface.co/org/name/tree/%2E%2E%2F%2E%2E",
        "https://huggingface.co/org/name/resolve/main/%2E%2E%2Fx.gguf",
        "https://huggingface.co/org/name/tree/%zz",
        "https://example.org/org/name",
    ] {
        assert!(wrong.parse::<HubName>().is_err(), "{wrong}");
    }
}

#[test]
fn one_word_is_followed_to_where_the_model_went() {
    let scratch = Scratch::new("moved");
    let mut replies = published(&[("config.json", b"{}"), ("model.safetensors", b"weights")]);
    for (path, _) in replies.clone() {
        let old = path.replace("org/name", "name");
        replies.push((old, (307, vec![("Location", path)], vec![])));
    }
    let server = Server::start(replies);
    let snapshot = scratch.hub(&server.endpoint).fetch(&name("name")).unwrap();
    assert_eq!(snapshot, scratch.0.join("models--name/snapshots").join(COMMIT));
    assert_eq!(fs::read(snapshot.join("model.safetensors")).unwrap(), b"weights");
}

proptest! {
    /// No name, however strange, leads out of the cache.
    #[test]
    fn names_stay_inside(text in "(https://huggingface.co/)?[a-zA-Z0-9@:/.%_\\\\ -]{0,40}(.gguf)?") {
        if let Ok(name) = text.parse::<HubName>() {
            let folder = folder_name(&name);
            let parts = [&folder, name.revision()].into_iter().chain(name.file()).flat_map(|path| path.split('/'));
            for part in parts {
                prop_assert!(!part.is_empty() && part != "." && part != ".." && !part.contains(['\\', ':']), "{name}");
            }
            prop_assert!(!folder.contains('/'));
            prop_assert_eq!(name.to_string().parse::<HubName>().unwrap(), name);
        }
    }
}
