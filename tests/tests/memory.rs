//! Memory use of loading, and of scores and gradients of a model in blocks, measured in a separate process.
//!
//! Pages of the mapped file count as resident, but the system can reclaim them at any time. The memory of the process itself is `RssAnon`
//! in `/proc/self/status`, read every millisecond.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that can't continue should fail")]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use burn::tensor::{DType, Tensor};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::Value;
use stepfn_models::Model;
use stepfn_models::tape::{ModelInput, StackInput};
use stepfn_models::transformer::{Dropout, Keep, PaddingSide, Rule, Starts, TokenBatch};
use stepfn_tests::gguf::GgufFile;

type Flex = stepfn_cpu::flex::Backend;

/// Passes the checkpoint's path to the second process.
const CHECKPOINT: &str = "STEPFN_MEMORY_TEST_CHECKPOINT";
/// The same for a GGUF file.
const GGUF: &str = "STEPFN_MEMORY_TEST_GGUF";
const LAYERS: usize = 4;
const HIDDEN: usize = 1024;
const FEED_FORWARD: usize = 2816;
const VOCAB: usize = 4096;

/// A Llama of 240 MB in single precision.
fn config() -> Value {
    serde_json::json!({
        "model_type": "llama", "vocab_size": VOCAB, "hidden_size": HIDDEN, "intermediate_size": FEED_FORWARD,
        "num_hidden_layers": LAYERS, "num_attention_heads": 16, "num_key_value_heads": 16, "head_dim": HIDDEN / 16,
        "max_position_embeddings": 64, "tie_word_embeddings": false, "rms_norm_eps": 1e-6, "bos_token_id": 1,
        "eos_token_id": 2,
    })
}

fn shapes() -> Vec<(String, Vec<usize>)> {
    let mut shapes = vec![
        ("model.embed_tokens.weight".to_owned(), vec![VOCAB, HIDDEN]),
        ("lm_head.weight".to_owned(), vec![VOCAB, HIDDEN]),
        ("model.norm.weight".to_owned(), vec![HIDDEN]),
    ];
    for layer in 0..LAYERS {
        let mut add = |name: &str, shape: &[usize]| {
            shapes.push((format!("model.layers.{layer}.{name}.weight"), shape.to_vec()));
        };
        ["q", "k", "v", "o"].iter().for_each(|name| add(&format!("self_attn.{name}_proj"), &[HIDDEN, HIDDEN]));
        ["gate", "up"].iter().for_each(|name| add(&format!("mlp.{name}_proj"), &[FEED_FORWARD, HIDDEN]));
        add("mlp.down_proj", &[HIDDEN, FEED_FORWARD]);
        add("input_layernorm", &[HIDDEN]);
        add("post_attention_layernorm", &[HIDDEN]);
    }
    shapes
}

fn safetensors(shapes: &[(String, Vec<usize>)]) -> (Vec<u8>, usize) {
    let bytes = |shape: &[usize]| shape.iter().product::<usize>() * 4;
    let largest = shapes.iter().map(|(_, shape)| bytes(shape)).max().unwrap();
    let elements = vec![1_u8; largest];
    let views = shapes.iter().map(|(name, shape)| {
        (name.clone(), TensorView::new(Dtype::F32, shape.clone(), &elements[..bytes(shape)]).unwrap())
    });
    let file = safetensors::serialize(views, None).unwrap();
    (file, shapes.iter().map(|(_, shape)| bytes(shape)).sum())
}

fn write(folder: &Path) -> usize {
    fs::write(folder.join("config.json"), config().to_string()).unwrap();
    let (file, weights) = safetensors(&shapes());
    fs::write(folder.join("model.safetensors"), file).unwrap();
    weights
}

/// The same model with its matrices in Q4_K, 4.5 bits per weight.
fn write_gguf(path: &Path) -> usize {
    const Q4_K: u32 = 12;
    // A scale of 0.0001 in half precision, an offset of seven times that, and random scales of groups and elements.
    let mut block = [0x8E, 0x06, 0xBB, 0x13].to_vec();
    block.extend((0..140_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8));
    let mut file = GgufFile::llama(&config(), &safetensors(&shapes()).0);
    for (_, shape, number, bytes) in &mut file.tensors {
        match **shape {
            [rows, columns] => (*number, *bytes) = (Q4_K, block.repeat(rows * columns / 256)),
            _ => *bytes = 1_f32.to_le_bytes().repeat(shape[0]),
        }
    }
    let bytes = file.bytes();
    fs::write(path, &bytes).unwrap();
    bytes.len()
}

/// A line of `/proc/self/status`, in bytes.
fn status(name: &str) -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

/// Runs a test of this file in a process of its own, and returns what it prints.
fn alone(test: &str, variable: &str, path: &Path) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let output = command.args(["--exact", test, "--nocapture"]).env(variable, path).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// A number in what it printed.
fn number(text: &str, name: &str) -> f64 {
    let rest = text.split(name).nth(1).unwrap_or_else(|| panic!("no {name} in {text}"));
    rest.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn loading_holds_little_more_than_the_weights() {
    let folder = std::env::temp_dir().join(format!("stepfn-memory-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let weights = write(&folder);
    let text = alone("in_a_process_of_its_own", CHECKPOINT, &folder);
    fs::remove_dir_all(&folder).unwrap();
    let number = |name: &str| number(&text, name);
    let ratio = number("anonymous:") / weights as f64;
    println!(
        "{:.0} MB of weights: peak {ratio:.2} times that, {:.2} times including file pages; loaded in {:.2} s, read in {:.2} s",
        weights as f64 / 1e6,
        number("resident:") / weights as f64,
        number("load:"),
        number("read:"),
    );
    assert!(weights > 200_000_000);
    // The limit is 1.3. Less than 1 would mean that the measurement failed.
    assert!((0.95..1.3).contains(&ratio), "{ratio}");
}

/// Scores and gradients of a model of 34 MB. They take 40 MB if its weights stay in their blocks, and 240 MB more if they don't.
#[test]
fn scores_and_gradients_take_the_size_of_the_file() {
    let path = std::env::temp_dir().join(format!("stepfn-memory-{}.gguf", std::process::id()));
    let file = write_gguf(&path) as f64;
    let text = alone("scores_and_gradients_in_a_process_of_its_own", GGUF, &path);
    fs::remove_file(&path).unwrap();
    let (loaded, resident) = (number(&text, "loaded:"), number(&text, "resident:"));
    println!("{:.1} MB: {:.1} MB anonymous after loading, {:.1} MB at most", file / 1e6, loaded / 1e6, resident / 1e6);
    assert!((33e6..36e6).contains(&file));
    // Norms, and what the parser makes.
    assert!(loaded < 0.2 * file, "{loaded}");
    // All of the file was read.
    assert!(resident > file, "{resident}");
    assert!(resident < 1.15 * file + BUDGET, "{resident}");
}

/// Memory for activations: 48 tokens, and 4 cotangents at each of them.
const BUDGET: f64 = 32e6;

/// Does nothing unless the environment variable is set.
#[test]
fn scores_and_gradients_in_a_process_of_its_own() {
    let Some(path) = std::env::var_os(GGUF) else { return };
    let before = (status("RssAnon"), status("VmRSS"));
    let watch = Watch::start();
    let model = Model::<Flex>::load(&path, DType::F32, &Default::default()).unwrap();
    let loaded = status("RssAnon") - before.0;
    let batch = TokenBatch::new(vec![(3..51).collect()], VOCAB, PaddingSide::Right).unwrap();
    let target = StackInput::embedded(&batch, model.decoder().embed(&batch));
    let input = ModelInput { source: None, target, dropout: &Dropout::Off };
    let tape = model.record(input, Keep::Blocks(0), None).unwrap();
    let places = [10, 20, 30, 47];
    let rows = places.map(|place| tape.hidden().clone().slice(place..place + 1));
    let hidden = Tensor::cat(rows.to_vec(), 0);
    let logits = model.logits(hidden.clone());
    assert!(logits.to_data().iter::<f32>().all(f32::is_finite));
    let grad = model.logits_backward(&hidden, Rule::Gradient, logits).unwrap();
    let gradients = model.pull_back(&tape, Rule::Gradient, grad, &Starts::one_each(&places)).unwrap();
    assert!(gradients.target.to_data().iter::<f32>().all(f32::is_finite));
    println!("loaded: {loaded} resident: {}", watch.most().1 - before.1);
}

/// Reads the memory of this process every millisecond.
struct Watch {
    done: Arc<AtomicBool>,
    thread: thread::JoinHandle<(usize, usize)>,
}

impl Watch {
    fn start() -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let done = done.clone();
            move || {
                let mut most = (0, 0);
                while !done.load(Ordering::Relaxed) {
                    most = (most.0.max(status("RssAnon")), most.1.max(status("VmRSS")));
                    thread::sleep(Duration::from_millis(1));
                }
                most
            }
        });
        Self { done, thread }
    }

    /// The most that was anonymous, and that was resident.
    fn most(self) -> (usize, usize) {
        self.done.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// Does nothing unless the environment variable is set.
#[test]
fn in_a_process_of_its_own() {
    let Some(folder) = std::env::var_os(CHECKPOINT) else { return };
    let start = Instant::now();
    let length = fs::read(Path::new(&folder).join("model.safetensors")).unwrap().len();
    let read = start.elapsed();
    assert!(length > 0);
    let before = (status("RssAnon"), status("VmRSS"));
    let watch = Watch::start();
    let start = Instant::now();
    let model = Model::<Flex>::load(&folder, DType::F32, &Default::default()).unwrap();
    let load = start.elapsed();
    let most = watch.most();
    drop(model);
    let (anonymous, resident) = (most.0 - before.0, most.1 - before.1);
    let (load, read) = (load.as_secs_f64(), read.as_secs_f64());
    println!("anonymous: {anonymous} resident: {resident} load: {load} read: {read}");
}
