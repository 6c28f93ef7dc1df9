//! GGUF files: the same model as from safetensors, ggml's own values for quantized blocks, tokenizers, and malformed files.

#![allow(clippy::unwrap_used, reason = "a test that can't continue should fail")]

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::DType;
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::Value;
use stepfn_models::checkpoint::Checkpoint;
use stepfn_models::tokenizer::Tokenizer;
use stepfn_models::transformer::{Dropout, PaddingSide, Pass, TokenBatch};
use stepfn_models::{Model, ModelError};
use stepfn_tests::gguf::{GgufFile, Metadata};
use stepfn_tests::golden::folder;
use stepfn_tests::models::states;

type Flex = stepfn_cpu::flex::Backend;

fn json(path: impl AsRef<Path>) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// The golden Llama as a GGUF file.
fn llama() -> GgufFile {
    let golden = folder().join("models/llama");
    GgufFile::llama(&json(golden.join("config.json")), &fs::read(golden.join("model.safetensors")).unwrap())
}

fn load(file: &GgufFile) -> Result<Model<Flex>, ModelError> {
    load_bytes(file.bytes())
}

fn load_bytes(bytes: Vec<u8>) -> Result<Model<Flex>, ModelError> {
    let checkpoint = Checkpoint::from_gguf_bytes("model.gguf", bytes)?;
    Model::from_checkpoint(&checkpoint, DType::F32, &Default::default())
}

fn outputs(model: &Model<Flex>) -> Vec<Vec<f64>> {
    let texts = vec![vec![1, 5, 9, 30, 7, 61, 12], vec![44, 3, 8]];
    let batch = TokenBatch::new(texts, model.config().vocab_size, PaddingSide::Right).unwrap();
    states(model, &batch, &Dropout::Off)
}

#[test]
fn a_gguf_file_gives_the_model_it_was_converted_from() {
    let golden = Model::<Flex>::load(folder().join("models/llama"), DType::F32, &Default::default()).unwrap();
    let mut expected = golden.config().clone();
    let model = load(&llama()).unwrap();
    // GGUF has no dropout.
    expected.decoder.dropout = model.config().decoder.dropout;
    assert_eq!(*model.config(), expected);
    assert_eq!(outputs(&model), outputs(&golden), "bit for bit");
}

/// Files of every architecture, with metadata and tensors as llama.cpp's converter writes them.
#[test]
fn every_architecture_agrees_with_transformers() {
    #[derive(Deserialize)]
    struct Case {
        name: String,
        texts: Vec<Vec<u32>>,
        targets: Option<Vec<Vec<u32>>>,
        logits: Vec<Vec<Vec<f64>>>,
    }
    let cases: Vec<Case> = serde_json::from_value(json(folder().join("gguf/models.json"))).unwrap();
    assert_eq!(cases.len(), 19);
    for case in cases {
        let path = folder().join("gguf").join(format!("{}.gguf", case.name));
        let model = Model::<Flex>::load(&path, DType::F32, &Default::default()).unwrap();
        let batch = |text: &Vec<u32>| {
            TokenBatch::new(vec![text.clone()], model.config().vocab_size, PaddingSide::Right).unwrap()
        };
        for (number, expected) in case.logits.iter().enumerate() {
            let text = batch(&case.texts[number]);
            let decoder = model.decoder();
            let output = match (model.encoder(), &case.targets) {
                (Some(encoder), Some(targets)) => {
                    let encoded = encoder.forward(encoder.embed(&text), Pass::new(&text)).unwrap();
                    let target = batch(&targets[number]);
                    let pass = Pass::new(&target).with_memory(&encoded.last, &text);
                    decoder.forward(decoder.embed(&target), pass).unwrap()
                }
                _ => decoder.forward(decoder.embed(&text), Pass::new(&text)).unwrap(),
            };
            let logits: Vec<f64> = model.logits(output.last).into_data().iter::<f64>().collect();
            let expected = expected.concat();
            assert_eq!(logits.len(), expected.len(), "{}", case.name);
            for (found, expected) in logits.iter().zip(&expected) {
                assert!((found - expected).abs() < 1e-4, "{}, text {number}: {found} instead of {expected}", case.name);
            }
        }
    }
}

#[test]
fn keys_with_two_names_are_read() {
    let changed = |keys: &[(&str, Metadata)]| {
        let mut file = llama();
        keys.iter().for_each(|(key, value)| file.set(key, value.clone()));
        load(&file).unwrap()
    };
    let old = changed(&[("llama.rope.scale_linear", Metadata::Float(2.0))]);
    let kind = Metadata::Text("linear".to_owned());
    let new = changed(&[("llama.rope.scaling.type", kind), ("llama.rope.scaling.factor", Metadata::Float(2.0))]);
    assert_eq!(outputs(&old), outputs(&new), "bit for bit");
    assert_ne!(outputs(&old), outputs(&load(&llama()).unwrap()));
    // A turn of a conversation ends with another token than a text.
    assert_eq!(old.config().special.eos, [2]);
    let both = changed(&[("tokenizer.ggml.eot_token_id", Metadata::Number(5))]);
    assert_eq!(both.config().special.eos, [2, 5]);
}

/// A folder of its own, which is removed in the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("stepfn-gguf-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn write(&self, name: &str, file: &GgufFile) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, file.bytes()).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The golden Llama with a vocabulary, in three files: the first has the metadata, the others have the tensors.
fn three_files() -> [GgufFile; 3] {
    let vocabulary = GgufFile::byte_level(&json(folder().join("models/tokenizers/byte_bpe/tokenizer.json")));
    let mut files = [llama(), GgufFile::default(), GgufFile::default()];
    for (key, value) in vocabulary.metadata {
        files[0].set(&key, value);
    }
    let tensors = std::mem::take(&mut files[0].tensors);
    let half = tensors.len() / 2;
    for (at, tensor) in tensors.into_iter().enumerate() {
        files[if at < half { 1 } else { 2 }].tensors.push(tensor);
    }
    for (part, file) in files.iter_mut().enumerate() {
        file.set("split.no", Metadata::Number(part as u32));
        file.set("split.count", Metadata::Number(3));
    }
    files
}

#[test]
fn a_model_in_several_files_is_one_model() {
    let scratch = Scratch::new("parts");
    let files = three_files();
    let name = |part: usize| format!("model-{part:05}-of-00003.gguf");
    let paths: Vec<PathBuf> = files.iter().enumerate().map(|(at, file)| scratch.write(&name(at + 1), file)).collect();
    let whole = outputs(&load(&llama()).unwrap());
    for path in &paths {
        let model = Model::<Flex>::load(path, DType::F32, &Default::default()).unwrap();
        assert_eq!(outputs(&model), whole, "bit for bit");
        assert_eq!(Tokenizer::open(path).unwrap().vocab_size(), 400);
    }
    let checkpoint = Checkpoint::open(&paths[0]).unwrap();
    assert_eq!(checkpoint.file_of("model.embed_tokens.weight").parent(), Some(scratch.0.as_path()));
    assert_ne!(checkpoint.file_of("model.embed_tokens.weight"), paths[0]);

    let error = |path: &Path| Checkpoint::open(path).unwrap_err().to_string();
    let alone = scratch.write("alone.gguf", &files[1]);
    assert!(error(&alone).contains("part 2 of 3 of a model") && error(&alone).contains("-00002-of-00003.gguf"));
    fs::copy(&paths[0], &paths[1]).unwrap();
    assert!(error(&paths[0]).ends_with("its name says part 2 of 3 of a model, but it is part 1 of 3"));
    fs::remove_file(&paths[1]).unwrap();
    assert!(error(&paths[0]).contains("put the others into the same folder: model-00002-of-00003.gguf"));
}

/// Half-precision elements of both types, which lose digits.
#[test]
fn half_precision_elements_are_read() {
    let full = outputs(&load(&llama()).unwrap());
    for (kind, tolerance) in [(1, 0.02), (30, 0.15)] {
        let mut file = llama();
        for (_, _, number, bytes) in &mut file.tensors {
            *number = kind;
            let values = bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
            *bytes = match kind {
                1 => values.flat_map(|value| burn::tensor::f16::from_f32(value).to_le_bytes()).collect(),
                _ => values.flat_map(|value| burn::tensor::bf16::from_f32(value).to_le_bytes()).collect(),
            };
        }
        let half = outputs(&load(&file).unwrap());
        assert_ne!(half, full);
        let pairs = half.iter().flatten().zip(full.iter().flatten());
        let mean = pairs.clone().map(|(a, b)| (a - b).abs()).sum::<f64>() / pairs.count() as f64;
        assert!(mean < tolerance, "type {kind}: {mean}");
    }
}

#[test]
fn quantized_blocks_match_ggml() {
    #[derive(Deserialize)]
    struct Case {
        #[serde(rename = "type")]
        name: String,
        number: u32,
        bytes: String,
        values: Vec<f32>,
    }
    let cases: Vec<Case> = serde_json::from_value(json(folder().join("gguf/blocks.json"))).unwrap();
    assert_eq!(cases.len(), 23);
    for case in cases {
        let byte = |at: usize| u8::from_str_radix(&case.bytes[at..at + 2], 16).unwrap();
        let bytes: Vec<u8> = (0..case.bytes.len()).step_by(2).map(byte).collect();
        let mut file = llama();
        file.tensors.push(("quantized.weight".to_owned(), vec![2, case.values.len() / 2], case.number, bytes));
        let checkpoint = Checkpoint::from_gguf_bytes("model.gguf", file.bytes()).unwrap();
        let data = checkpoint.read("quantized.weight").unwrap();
        let values: Vec<f32> = data.iter::<f32>().collect();
        for (at, (value, expected)) in values.iter().zip(&case.values).enumerate() {
            let close = (value - expected).abs() <= 1e-6 * expected.abs().max(1.0);
            assert!(close, "{}, element {at}: {value} instead of {expected}", case.name);
        }
        assert_eq!(values.len(), case.values.len());
    }
}

fn agrees(file: &GgufFile, golden: &Path) {
    let tokenizer = Tokenizer::from_gguf_bytes(Path::new("model.gguf"), &file.bytes()).unwrap();
    let expected = json(golden.join("expected.json"));
    for case in expected["cases"].as_array().unwrap() {
        let text = case["text"].as_str().unwrap();
        let ids = |special| tokenizer.encode(text, special).unwrap().iter().map(|token| token.id).collect::<Vec<_>>();
        assert_eq!(serde_json::json!(ids(true)), case["ids"], "{text:?}");
        assert_eq!(tokenizer.decode(&ids(true), true).unwrap(), case["decoded"], "{text:?}");
    }
}

#[test]
fn byte_level_tokenizers_are_read() {
    let golden = folder().join("models/tokenizers/byte_bpe");
    let tokenizer = json(golden.join("tokenizer.json"));
    let mut file = GgufFile::byte_level(&tokenizer);
    agrees(&file, &golden);
    let read = Tokenizer::from_gguf_bytes(Path::new("model.gguf"), &file.bytes()).unwrap();
    assert_eq!(read.eos(), Some(("<|endoftext|>", 0)));
    assert_eq!(read.bos(), None);
    file.set("tokenizer.ggml.pre", Metadata::Text("kimi-k2".to_owned()));
    let error = Tokenizer::from_gguf_bytes(Path::new("model.gguf"), &file.bytes()).unwrap_err().to_string();
    assert!(error.starts_with("model.gguf: metadata `tokenizer.ggml.pre`: expected one of gpt-2, phi-2, "), "{error}");
    assert!(error.ends_with(", found `kimi-k2`"), "{error}");
}

#[test]
fn sentence_piece_tokenizers_get_their_merges_from_scores() {
    let golden = folder().join("models/tokenizers/byte_fallback");
    agrees(&GgufFile::sentence_piece(&json(golden.join("tokenizer.json"))), &golden);
}

fn error(change: impl FnOnce(&mut GgufFile)) -> String {
    let mut file = llama();
    change(&mut file);
    let message = load(&file).map(|_| ()).unwrap_err().to_string();
    assert!(message.starts_with("model.gguf") || message.starts_with("config.json"), "{message}");
    message
}

#[test]
fn unsupported_contents_are_errors_that_name_them() {
    let text = |text: &str| Metadata::Text(text.to_owned());
    let message = error(|file| file.set("general.architecture", text("mamba")));
    assert!(
        message.contains("`general.architecture`: expected one of llama, ") && message.ends_with("found `mamba`"),
        "{message}"
    );
    let message = error(|file| file.set("llama.rope.scaling.type", text("ntk")));
    assert!(message.contains("expected none, linear, yarn or longrope, found `ntk`"), "{message}");
    let message = error(|file| file.set("llama.rope.scaling.type", text("yarn")));
    assert!(message.contains("`llama.rope.scaling.factor`: expected a number above 1"), "{message}");
    let message = error(|file| file.set("llama.logit_scale", Metadata::Float(0.5)));
    assert!(message.contains("`llama.logit_scale`: expected 1: scaled logits"), "{message}");
    let message = error(|file| file.set("llama.expert_count", Metadata::Number(8)));
    assert!(message.contains("mixtures of experts"), "{message}");
    let message = error(|file| file.tensors.push(("rope_freqs.weight".to_owned(), vec![4], 0, vec![0; 16])));
    assert!(message.contains("`rope_freqs.weight`: expected factors above 0"), "{message}");
    let message = error(|file| file.tensors[0].2 = 41);
    assert!(message.contains("found Q1_0 (take a Q4_K_M or Q8_0 file of the same model)"), "{message}");
    let message = error(|file| file.tensors[0].2 = 77);
    assert!(message.contains("found type number 77, which this version does not know (take"), "{message}");
    let message = error(|file| file.metadata.retain(|(key, _)| key != "llama.block_count"));
    assert!(message.contains("`llama.block_count`: expected a whole number, found nothing"), "{message}");
    let message = error(|file| file.set("llama.block_count", Metadata::Number(1_000_000_000)));
    assert!(message.contains("num_hidden_layers"), "{message}");
    let message = error(|file| file.set("llama.block_count", Metadata::Number(3)));
    assert!(message.contains("tensor `model.layers.2."), "{message}");
    let message = error(|file| file.set("llama.block_count", Metadata::Number(1)));
    assert!(message.contains("is not part of a llama model"), "{message}");
    let message = error(|file| file.set("llama.feed_forward_length", Metadata::Number(57)));
    assert!(message.contains("expected shape"), "{message}");
    let message = error(|file| file.tensors[1] = file.tensors[0].clone());
    assert!(message.contains("appears twice"), "{message}");
    let message = error(|file| file.set("general.alignment", Metadata::Number(7)));
    assert!(message.contains("a power of two"), "{message}");
    let message = error(|file| file.tensors[0].1 = vec![usize::MAX / 2, usize::MAX / 2]);
    assert!(message.contains("a tensor within"), "{message}");
    let message = error(|file| file.tensors[0].1 = vec![1; 5]);
    assert!(message.contains("at most 4 dimensions"), "{message}");
}

#[test]
fn damaged_files_are_errors_that_name_the_file() {
    let whole = llama().bytes();
    for length in (0..whole.len()).step_by(97).chain([whole.len() - 1]) {
        let error = load_bytes(whole[..length].to_vec()).map(|_| ()).unwrap_err().to_string();
        assert!(error.starts_with("model.gguf"), "{error}");
    }
    let mut other = whole.clone();
    other[4] = 1;
    let error = load_bytes(other).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("version 2 or 3"), "{error}");
    // The number of tensors, the number of keys, and the length of the first key.
    for at in [8, 16, 24] {
        let mut absurd = whole.clone();
        absurd[at..at + 8].copy_from_slice(&u64::MAX.to_le_bytes());
        let error = load_bytes(absurd).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("in the rest of the file, found 18446744073709551615"), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    /// However the bytes before the tensor data are damaged, loading returns a model or an error.
    #[test]
    fn damaged_files_never_panic(at in any::<prop::sample::Index>(), byte: u8) {
        let mut bytes = llama().bytes();
        let elements: usize = llama().tensors.iter().map(|tensor| tensor.3.len()).sum();
        let at = at.index(bytes.len() - elements);
        bytes[at] = byte;
        let _ = load_bytes(bytes);
    }
}
