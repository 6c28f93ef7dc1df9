//! The code that is fuzzed: every file reader, on arbitrary bytes. The targets are in `fuzz/`; `examples/mutate.rs` is a loop that needs no
//! tools.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use burn::tensor::DType;
use stepfn_attribution::aggregation::Pipeline;
use stepfn_attribution::{Attribution, Scores, formats};
use stepfn_models::Model;
use stepfn_models::chat::{ChatOptions, ChatTemplate, Message};
use stepfn_models::checkpoint::Checkpoint;
use stepfn_models::generation::GenerationSettings;
use stepfn_models::tokenizer::{Token, Tokenizer};

use crate::gguf::GgufFile;
use crate::golden::folder;

type Flex = stepfn_cpu::flex::Backend;

/// A fuzz target: its name, its function, and its initial corpus.
pub type Target = (&'static str, fn(&[u8]), fn() -> Vec<Vec<u8>>);

/// All targets.
pub const TARGETS: [Target; 9] = [
    ("checkpoint", checkpoint, checkpoint_seeds),
    ("pickle", pickle, pickle_seeds),
    ("gguf", gguf, gguf_seeds),
    ("tokenizer", tokenizer, || golden_files("models/tokenizers", "tokenizer.json")),
    ("sentencepiece", sentencepiece, sentencepiece_seeds),
    ("generation", generation, || golden_files("models", "generation_config.json")),
    ("jinja", jinja, jinja_seeds),
    ("results", results, results_seeds),
    ("pipeline", pipeline, pipeline_seeds),
];

/// Keeps libFuzzer's hook from ending the process on panics that are caught, namely those of the tokenizers crate, which become errors.
/// Uncaught panics still end it.
pub fn let_caught_panics_pass() {
    drop(std::panic::take_hook());
}

/// A `config.json`, a zero byte, and a `model.safetensors`.
pub fn checkpoint(bytes: &[u8]) {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    let Ok(config) = core::str::from_utf8(&bytes[..end]) else { return };
    let weights = bytes.get(end + 1..).unwrap_or_default().to_vec();
    if let Ok(checkpoint) = Checkpoint::from_bytes("fuzz", config, weights) {
        read_all(&checkpoint);
        let _ = Model::<Flex>::from_checkpoint(&checkpoint, DType::F32, &Default::default());
    }
}

/// A file that PyTorch saved: its tensors.
pub fn pickle(bytes: &[u8]) {
    if let Ok(checkpoint) = Checkpoint::from_bytes("fuzz", "{}", bytes.to_vec()) {
        read_all(&checkpoint);
    }
}

fn read_all(checkpoint: &Checkpoint) {
    for name in checkpoint.names() {
        let shape = checkpoint.shape(name).unwrap_or_default();
        if let Ok(data) = checkpoint.read(name) {
            assert_eq!(data.shape.as_slice(), shape, "{name}");
        }
    }
}

/// A GGUF file: its model and its tokenizer.
pub fn gguf(bytes: &[u8]) {
    if let Ok(checkpoint) = Checkpoint::from_gguf_bytes("fuzz.gguf", bytes.to_vec()) {
        let _ = Model::<Flex>::from_checkpoint(&checkpoint, DType::F32, &Default::default());
    }
    if let Ok(tokenizer) = Tokenizer::from_gguf_bytes(Path::new("fuzz.gguf"), bytes) {
        use_tokenizer(&tokenizer);
    }
}

/// A `tokenizer.json`.
pub fn tokenizer(bytes: &[u8]) {
    if let Ok(tokenizer) = Tokenizer::from_bytes(bytes) {
        use_tokenizer(&tokenizer);
    }
}

/// Models of every kind: unigram and BPE, with bytes and without, with much to replace and little.
fn sentencepiece_seeds() -> Vec<Vec<u8>> {
    let files = ["tokenizer.model", "spiece.model", "source.spm", "sentencepiece.bpe.model"];
    files.into_iter().flat_map(|file| golden_files("tokenizers", file)).collect()
}

/// A SentencePiece model.
pub fn sentencepiece(bytes: &[u8]) {
    if let Ok(tokenizer) = Tokenizer::from_sentence_piece(bytes) {
        use_tokenizer(&tokenizer);
    }
}

fn use_tokenizer(tokenizer: &Tokenizer) {
    let text = "The naïve 東 can't 🦀\n";
    if let Ok(tokens) = tokenizer.encode(text, true) {
        for token in &tokens {
            assert!(text.is_char_boundary(token.span.start) && text.is_char_boundary(token.span.end));
        }
        let _ = tokenizer.decode(&tokens.iter().map(|token| token.id).collect::<Vec<_>>(), false);
    }
    let _ = tokenizer.clone().limited_to(100).encode(text, true);
}

/// A `generation_config.json`.
pub fn generation(bytes: &[u8]) {
    if let Ok(json) = serde_json::from_slice(bytes)
        && let Ok(settings) = GenerationSettings::from_json(&json)
    {
        let _ = settings.validate();
    }
}

/// A chat template. Where it renders, the messages that it leaves as they are stand in the text.
pub fn jinja(bytes: &[u8]) {
    let Ok(source) = core::str::from_utf8(bytes) else { return };
    let special =
        BTreeMap::from([("bos_token".to_owned(), "<s>".to_owned()), ("eos_token".to_owned(), "</s>".to_owned())]);
    let Ok(template) = ChatTemplate::new(source, &special) else { return };
    let messages = [Message::system("Be brief."), Message::user(" naïve 東 🦀\n"), Message::assistant("</think>a")];
    if let Ok(chat) = template.question(&messages, &ChatOptions::default()) {
        for span in chat.messages.iter().flat_map(|span| [&span.content, &span.whole]).flatten().chain(&chat.generated)
        {
            assert!(chat.text.get(span.clone()).is_some(), "{source}");
        }
    }
}

/// A file of attributions: ours, or inseq's. What is read is aggregated and written again.
pub fn results(bytes: &[u8]) {
    let Ok(text) = core::str::from_utf8(bytes) else { return };
    for attribution in formats::read(text).unwrap_or_default().into_iter().flatten() {
        let per_token = attribution.per_token();
        let _ = Pipeline::for_display(&attribution).apply(&attribution);
        let _ = per_token.about.aggregation.len();
    }
}

/// A pipeline, in its short form or as JSON. What is read is written the same.
pub fn pipeline(bytes: &[u8]) {
    let Ok(text) = core::str::from_utf8(bytes) else { return };
    if let Ok(pipeline) = text.parse::<Pipeline>() {
        assert_eq!(pipeline.to_string().parse::<Pipeline>().as_ref(), Ok(&pipeline), "{text}");
    }
}

fn results_seeds() -> Vec<Vec<u8>> {
    let saved =
        ["inseq_gpt2.json", "inseq_t5.json"].map(|name| fs::read(folder().join("attribution").join(name)).unwrap());
    let token = |surface: &str, at: usize| Token {
        id: 7,
        surface: surface.to_owned(),
        span: at..at + surface.len(),
        special: false,
    };
    let mut attribution = Attribution::new(vec![token("a", 0)], vec![token("b", 0), token(" c", 1)], 1..2);
    attribution.source_scores = Scores::per_token(1, 1, vec![0.5]).ok();
    attribution.target_scores = Scores::per_token(2, 1, vec![0.25, f32::NAN]).ok();
    attribution.step_scores.insert("probability".to_owned(), vec![0.75]);
    let two = [attribution.clone(), attribution.clone()];
    let ours = [formats::json::write(&[attribution]), formats::json::write(&two), formats::json::write_lines(&two)];
    saved.into_iter().chain(ours.map(String::into_bytes)).collect()
}

fn pipeline_seeds() -> Vec<Vec<u8>> {
    let texts = [
        "layers=0:4,mean(layer),subwords(target,sum),normalize",
        "spans(source=0:2,source=4:6,target=1:3,mean),slices(source=0:5,target=-3:)",
        "split(\", \",end),split(pattern='[.!?]',sum),pair",
        r#"[{"stage":"spans","target":["0:2"]},{"stage":"reduce","function":"vnorm"},{"stage":"normalize"}]"#,
    ];
    texts.map(|text| text.as_bytes().to_vec()).into()
}

fn jinja_seeds() -> Vec<Vec<u8>> {
    let files = fs::read_dir(folder().join("chats/templates")).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.collect();
    files.sort();
    files.iter().map(|path| fs::read(path).unwrap()).collect()
}

fn golden_files(parent: &str, file: &str) -> Vec<Vec<u8>> {
    let mut folders: Vec<_> = fs::read_dir(folder().join(parent)).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    folders.iter().filter_map(|folder| fs::read(folder.join(file)).ok()).collect()
}

fn checkpoint_seeds() -> Vec<Vec<u8>> {
    let pairs = ["models", "checkpoints/quantized"].into_iter().flat_map(|parent| {
        golden_files(parent, "config.json").into_iter().zip(golden_files(parent, "model.safetensors"))
    });
    pairs.map(|(config, weights)| [config, vec![0], weights].concat()).collect()
}

fn pickle_seeds() -> Vec<Vec<u8>> {
    let files = fs::read_dir(folder().join("checkpoints/torch")).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|extension| extension == "bin")).collect();
    files.sort();
    files.iter().map(|path| fs::read(path).unwrap()).collect()
}

fn gguf_seeds() -> Vec<Vec<u8>> {
    let read = |file: &str| fs::read(folder().join("models/llama").join(file)).unwrap();
    let model = GgufFile::llama(&serde_json::from_slice(&read("config.json")).unwrap(), &read("model.safetensors"));
    let golden = |name: &str, file: &str| {
        let path = folder().join("models/tokenizers").join(name).join(file);
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    };
    let byte_level = GgufFile::byte_level(&golden("byte_bpe", "tokenizer.json"));
    let sentence_piece = GgufFile::sentence_piece(&golden("byte_fallback", "tokenizer.json"));
    let mut seeds: Vec<_> = [model, byte_level, sentence_piece].iter().map(GgufFile::bytes).collect();
    let mut files: Vec<_> = fs::read_dir(folder().join("gguf")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "gguf"));
    files.sort();
    seeds.extend(files.iter().map(|path| fs::read(path).unwrap()));
    seeds
}
