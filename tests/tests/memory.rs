//! Memory use of loading, measured in a separate process.
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

use burn::tensor::DType;
use safetensors::tensor::{Dtype, TensorView};
use stepfn_models::Model;

type Flex = stepfn_cpu::flex::Backend;

/// Passes the checkpoint's path to the second process.
const CHECKPOINT: &str = "STEPFN_MEMORY_TEST_CHECKPOINT";
const LAYERS: usize = 4;
const HIDDEN: usize = 1024;
const FEED_FORWARD: usize = 2816;
const VOCAB: usize = 4096;

/// A Llama of 240 MB.
fn write(folder: &Path) -> usize {
    let config = serde_json::json!({
        "model_type": "llama", "vocab_size": VOCAB, "hidden_size": HIDDEN, "intermediate_size": FEED_FORWARD,
        "num_hidden_layers": LAYERS, "num_attention_heads": 16, "max_position_embeddings": 64, "tie_word_embeddings": false,
    });
    fs::write(folder.join("config.json"), config.to_string()).unwrap();
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
    let bytes = |shape: &[usize]| shape.iter().product::<usize>() * 4;
    let largest = shapes.iter().map(|(_, shape)| bytes(shape)).max().unwrap();
    let elements = vec![1_u8; largest];
    let views = shapes.iter().map(|(name, shape)| {
        (name.clone(), TensorView::new(Dtype::F32, shape.clone(), &elements[..bytes(shape)]).unwrap())
    });
    safetensors::serialize_to_file(views, None, &folder.join("model.safetensors")).unwrap();
    shapes.iter().map(|(_, shape)| bytes(shape)).sum()
}

/// A line of `/proc/self/status`, in bytes.
fn status(name: &str) -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

#[test]
fn loading_holds_little_more_than_the_weights() {
    let folder = std::env::temp_dir().join(format!("stepfn-memory-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let weights = write(&folder);
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "in_a_process_of_its_own", "--nocapture"])
        .env(CHECKPOINT, &folder)
        .output()
        .unwrap();
    fs::remove_dir_all(&folder).unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    let number = |name: &str| -> f64 {
        let rest = text.split(name).nth(1).unwrap_or_else(|| panic!("no {name} in {text}"));
        rest.split_whitespace().next().unwrap().parse().unwrap()
    };
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

/// Does nothing unless the environment variable is set.
#[test]
fn in_a_process_of_its_own() {
    let Some(folder) = std::env::var_os(CHECKPOINT) else { return };
    let start = Instant::now();
    let length = fs::read(Path::new(&folder).join("model.safetensors")).unwrap().len();
    let read = start.elapsed();
    assert!(length > 0);
    let before = (status("RssAnon"), status("VmRSS"));
    let done = Arc::new(AtomicBool::new(false));
    let watch = thread::spawn({
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
    let start = Instant::now();
    let model = Model::<Flex>::load(&folder, DType::F32, &Default::default()).unwrap();
    let load = start.elapsed();
    done.store(true, Ordering::Relaxed);
    let most = watch.join().unwrap();
    drop(model);
    let (anonymous, resident) = (most.0 - before.0, most.1 - before.1);
    let (load, read) = (load.as_secs_f64(), read.as_secs_f64());
    println!("anonymous: {anonymous} resident: {resident} load: {load} read: {read}");
}
