//! Whole forward passes compared with transformers; calls alternate within one run.
//!
//! `STEPFN_PYTHON=… cargo bench -p stepfn-benches --bench forward [-- --quick] [--compile] [shape…]`
//!
//! Prints a Markdown table: our milliseconds, and how many times faster that is than transformers' eager attention on PyTorch or, with
//! `--compile`, than its `torch.compile` version. If the peer fails, the row says `fails` and the reason is printed below the table.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the program prints a table")]

use std::time::{Duration, Instant};

use burn::tensor::{DType, Tensor};
use serde_json::json;
use stepfn_bench::Shape;
use stepfn_bench::machine::product;
use stepfn_bench::shapes::ids;
use stepfn_benches::peer::Peer;
use stepfn_benches::{Measured as B, median, wait};
use stepfn_models::Model;
use stepfn_models::tape::{ModelInput, StackInput};
use stepfn_models::transformer::{Dropout, PaddingSide, TokenBatch};

#[global_allocator]
static ALLOCATOR: stepfn_cpu::allocator::Allocator = stepfn_cpu::allocator::Allocator;

/// Number of texts, and tokens per text.
const SIZES: [(usize, usize); 5] = [(1, 32), (1, 128), (8, 64), (32, 32), (1, 512)];
/// Pause between turns: a library's threads keep spinning for a few milliseconds after their work, on cores that the other one needs.
const PAUSE: Duration = Duration::from_millis(20);
/// Seconds per cell.
const BUDGET: f64 = 6.0;
/// Time budget for measuring the machine's peak.
const PEAK: Duration = Duration::from_secs(2);

/// One forward pass, with logits at the last position of each text or at all positions.
fn forward(model: &Model<B>, batch: &TokenBatch, all: bool) -> Tensor<B, 2> {
    let input = |stack: &stepfn_models::transformer::Stack<B>| StackInput::embedded(batch, stack.embed(batch));
    let (source, target) = (model.encoder().map(input), input(model.decoder()));
    let hidden = model.hidden(ModelInput { source, target, dropout: &Dropout::Off }).expect("it fits");
    if all {
        return model.logits(hidden);
    }
    let last = (1..=batch.len()).map(|text| text * batch.width() - 1);
    model.logits(Tensor::cat(last.map(|row| hidden.clone().slice(row..row + 1)).collect(), 0))
}

fn seconds(model: &Model<B>, batch: &TokenBatch, all: bool) -> f64 {
    std::thread::sleep(PAUSE);
    let run = || {
        std::hint::black_box(forward(model, batch, all));
        wait::<B>(&Default::default()).expect("the device answers");
    };
    run();
    let start = Instant::now();
    run();
    start.elapsed().as_secs_f64()
}

fn seconds_of(peer: &mut Peer, all: bool) -> f64 {
    std::thread::sleep(PAUSE);
    peer.time(if all { "all" } else { "last" }, 2)[1]
}

/// Operations per token of a forward pass without the head: two per weight.
fn operations(model: &Model<B>) -> f64 {
    let config = model.config();
    let of_stack = |stack: &stepfn_models::config::StackConfig, cross: usize| {
        let attention = &stack.attention;
        let heads = 2 * (attention.n_heads + attention.n_kv_heads) * attention.head_dim;
        let feed_forward = (2 + usize::from(stack.feed_forward.gated)) * stack.feed_forward.size;
        stack.n_layers * config.hidden_size * (heads * (1 + cross) + feed_forward)
    };
    let decoder = of_stack(&config.decoder, usize::from(config.encoder.is_some()));
    2.0 * (decoder + config.encoder.as_ref().map_or(0, |encoder| of_stack(encoder, 0))) as f64
}

fn main() {
    // SAFETY: no other thread exists yet.
    #[allow(unsafe_code, reason = "setting up the allocator is unsafe while other threads run")]
    unsafe {
        stepfn_cpu::allocator::keep_memory();
    }
    let arguments: Vec<String> = std::env::args().collect();
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let chosen: Vec<Shape> = arguments.iter().filter_map(|argument| Shape::find(argument)).collect();
    let chosen = if chosen.is_empty() { Shape::PUBLISHED.to_vec() } else { chosen };
    let compile = arguments.iter().any(|argument| argument == "--compile");
    let theirs = if compile { "transformers, compiled" } else { "transformers" };
    let mut peer = Peer::start("forward.py")
        .inspect(|peer| println!("Peer: {}", peer.about))
        .inspect_err(|error| eprintln!("no ratios, because the peer is missing: {error}"))
        .ok();
    let peak = product::<B>(&Default::default(), DType::F32, PEAK).expect("a CPU does not fail");
    println!("Peak of a large product: {:.0} GFLOP/s\n", peak / 1e9);
    println!("| shape | texts × tokens | ms, last logits | share of peak | × {theirs} | ms, all logits | × {theirs} |");
    println!("|---|---|---|---|---|---|---|");
    let mut failures = Vec::new();
    for shape in chosen {
        let model = shape.model::<B>(0, DType::F32, &Default::default()).expect("a published shape is a model");
        let (shape, vocab) = (shape.name(), model.config().vocab_size);
        for (texts, tokens) in SIZES.into_iter().filter(|(texts, tokens)| !quick || texts * tokens <= 128) {
            let ids = (0..texts).map(|text| ids(vocab, tokens, text as u64)).collect();
            let batch = TokenBatch::new(ids, vocab, PaddingSide::Right).expect("these ids are tokens");
            let setup = json!({ "shape": shape, "batch": texts, "length": tokens, "compile": compile });
            let (mut peer, without) = match peer.as_mut().map(|peer| peer.setup(&setup).map(|()| peer)) {
                Some(Ok(peer)) => (Some(peer), ""),
                Some(Err(error)) => {
                    failures.push(format!("{shape}, {texts} × {tokens}: {error}"));
                    (None, "fails")
                }
                None => (None, "–"),
            };
            let mut cells = Vec::new();
            for all in [false, true] {
                let first = seconds(&model, &batch, all);
                let runs = if quick { 3 } else { ((BUDGET / 4.0 / first) as usize).clamp(5, 25) };
                let pairs: Vec<(f64, f64)> = (0..runs)
                    .map(|_| {
                        (seconds(&model, &batch, all), peer.as_mut().map_or(f64::NAN, |peer| seconds_of(peer, all)))
                    })
                    .collect();
                let ours = median(&pairs.iter().map(|pair| pair.0).collect::<Vec<_>>());
                let mut ratios: Vec<f64> = pairs.iter().map(|(ours, theirs)| theirs / ours).collect();
                ratios.sort_by(f64::total_cmp);
                if !all {
                    let share = operations(&model) * (texts * tokens) as f64 / ours / peak;
                    cells.push(format!("{:.1} | {:.0} %", ours * 1e3, share * 100.0));
                } else {
                    cells.push(format!("{:.1}", ours * 1e3));
                }
                cells.push(match peer {
                    Some(_) => format!("{:.2} ({:.2}–{:.2})", median(&ratios), ratios[0], ratios[runs - 1]),
                    None => without.to_owned(),
                });
            }
            println!("| {shape} | {texts} × {tokens} | {} |", cells.join(" | "));
        }
    }
    for failure in failures {
        println!("\n{failure}");
    }
}
