//! Attention at length: time and memory beside PyTorch's `scaled_dot_product_attention`.
//!
//! `STEPFN_PYTHON=… cargo bench -p stepfn-benches --bench attention [-- --quick] [--tokens=512,1024,…]`
//!
//! Prints a Markdown table. One causal text, the heads of GPT-2 small (12 of 64), single precision. "Backward" is forward and then the gradients of queries, keys and
//! values for one cotangent. Calls alternate; ratios are medians of pairs with minimum and maximum. Memory is what a process takes at most for one call, beyond what it
//! has when the inputs are there; each is measured in a process of its own.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the program prints a table")]
#![allow(clippy::unwrap_used, reason = "a benchmark that can't continue should fail")]

use std::hint::black_box;
use std::process::Command;
use std::time::{Duration, Instant};

use burn::tensor::Tensor;
use serde_json::json;
use stepfn_bench::machine::{peak_memory, reset_peak_memory};
use stepfn_benches::peer::Peer;
use stepfn_benches::{Measured as B, logits, median, wait};
use stepfn_kernels::attention::{AttentionInputs, AttentionShape, Visible, attention, attention_backward};

#[global_allocator]
static ALLOCATOR: stepfn_cpu::allocator::Allocator = stepfn_cpu::allocator::Allocator;

const HEADS: usize = 12;
const HEAD_DIM: usize = 64;
const TOKENS: [usize; 6] = [512, 1024, 2048, 4096, 8192, 16_384];
const MIB: f64 = (1 << 20) as f64;
/// Pause between turns: a library's threads keep spinning for a few milliseconds after their work, on cores that the other one needs.
const PAUSE: Duration = Duration::from_millis(20);

#[derive(Debug, Clone, Copy)]
enum Work {
    Forward,
    Backward,
}

impl Work {
    const ALL: [Self; 2] = [Self::Forward, Self::Backward];

    fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Backward => "backward",
        }
    }
}

/// Queries, keys and values of one text, and a cotangent.
struct Heads {
    parts: [Tensor<B, 2>; 4],
    visible: Visible<B>,
}

impl Heads {
    fn new(tokens: usize) -> Self {
        let parts = [1, 2, 3, 4].map(|seed| logits(tokens, HEADS * HEAD_DIM, seed, &Default::default()) / 3.0);
        let ranges = (1..=tokens as u32).map(|end| 0..end).collect();
        Self { parts, visible: Visible::new(ranges, 1, tokens, tokens, &Default::default()) }
    }

    fn seconds(&self, work: Work) -> f64 {
        let [query, key, value, cotangent] = &self.parts;
        let scale = 1.0 / (HEAD_DIM as f64).sqrt();
        let shape =
            AttentionShape { texts: 1, n_heads: HEADS, n_kv_heads: HEADS, head_dim: HEAD_DIM, scale, soft_cap: None };
        let inputs = AttentionInputs {
            query,
            key,
            value,
            shape,
            visible: &self.visible,
            bias: None,
            sinks: None,
            dropout: None,
        };
        std::thread::sleep(PAUSE);
        let start = Instant::now();
        black_box(attention(&inputs));
        if matches!(work, Work::Backward) {
            black_box(attention_backward(&inputs, cotangent.clone(), 1));
        }
        wait::<B>(&Default::default()).expect("the device answers");
        start.elapsed().as_secs_f64()
    }
}

/// What one call takes beyond the inputs, in bytes: said by another process of this program.
fn memory(work: Work, tokens: usize) -> f64 {
    let program = std::env::current_exe().unwrap();
    let output = Command::new(program).arg(format!("--memory-of={}:{tokens}", work.name())).output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().parse().expect("a number of bytes")
}

/// Prints what [`memory`] asks for.
fn say_memory(of: &str) {
    let (name, tokens) = of.split_once(':').unwrap();
    let work = Work::ALL.into_iter().find(|work| work.name() == name).unwrap();
    let heads = Heads::new(tokens.parse().unwrap());
    reset_peak_memory();
    let before = peak_memory().unwrap_or(0);
    heads.seconds(work);
    println!("{}", peak_memory().unwrap_or(0) - before);
}

fn main() {
    let given = |name: &str| std::env::args().find_map(|argument| argument.strip_prefix(name).map(str::to_owned));
    if let Some(of) = given("--memory-of=") {
        return say_memory(&of);
    }
    // SAFETY: no other thread exists yet.
    #[allow(unsafe_code, reason = "setting up the allocator is unsafe while other threads run")]
    unsafe {
        stepfn_cpu::allocator::keep_memory();
    }
    let quick = std::env::args().any(|argument| argument == "--quick");
    let tokens: Vec<usize> = match given("--tokens=") {
        Some(tokens) => tokens.split(',').map(|tokens| tokens.parse().expect("numbers of tokens")).collect(),
        None => TOKENS[..if quick { 2 } else { TOKENS.len() }].to_vec(),
    };
    let start = || {
        let peer = Peer::start("attention.py");
        peer.inspect_err(|error| eprintln!("no ratios: {error}")).ok()
    };
    let mut peer = start().inspect(|peer| println!("Peer: {}\n", peer.about));
    println!("| tokens | work | ours, ms | SDPA, ms | times as fast (least–most) | ours, MiB | SDPA, MiB |");
    println!("|---|---|---|---|---|---|---|");
    for tokens in tokens {
        let heads = Heads::new(tokens);
        let setup = json!({ "heads": HEADS, "head_dim": HEAD_DIM, "tokens": tokens });
        for work in Work::ALL {
            let theirs = |peer: &mut Peer| {
                std::thread::sleep(PAUSE);
                peer.time(work.name(), 1)[0]
            };
            if let Some(peer) = &mut peer {
                peer.setup(&setup).unwrap();
                theirs(peer);
            }
            heads.seconds(work);
            let mut pairs = Vec::new();
            for _ in 0..if quick { 1 } else { 5 } {
                pairs.push((heads.seconds(work), peer.as_mut().map_or(f64::NAN, &theirs)));
            }
            let mut ratios: Vec<f64> = pairs.iter().map(|(ours, theirs)| theirs / ours).collect();
            ratios.sort_by(f64::total_cmp);
            let of = |pick: fn(&(f64, f64)) -> f64| 1e3 * median(&pairs.iter().map(pick).collect::<Vec<_>>());
            let their_memory = start().map_or(f64::NAN, |mut peer| {
                peer.setup(&setup).unwrap();
                let before = peer.peak_memory();
                theirs(&mut peer);
                peer.peak_memory() - before
            });
            println!(
                "| {tokens} | {} | {:.1} | {:.1} | {:.2} ({:.2}–{:.2}) | {:.0} | {:.0} |",
                work.name(),
                of(|pair| pair.0),
                of(|pair| pair.1),
                median(&ratios),
                ratios[0],
                ratios[ratios.len() - 1],
                memory(work, tokens) / MIB,
                their_memory / MIB
            );
        }
    }
}
