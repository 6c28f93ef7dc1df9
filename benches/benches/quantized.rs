//! A model whose weights stay in the blocks of a GGUF file, compared with the same weights in single precision: time of forward passes, and
//! peak memory of scores and gradients.
//!
//! `cargo bench -p stepfn-benches --bench quantized -- FILE.gguf [--memory-only] [--tokens=128,256,512] [--pairs=5] [--peer=llama-cpp]`
//!
//! `peers/random_gguf.py` writes such files. Times alternate within one process, which needs memory for the file and the weights in single
//! precision. Each row of memory is that of its own process: all pages that it has at its peak, those of the file included. `--memory-only`
//! leaves the times out.
//!
//! `--peer=llama-cpp` compares scores of a text, so with the logits of all tokens, with llama.cpp instead: weights in their blocks, and rounded to 8 bits. Errors are
//! those of log-probabilities, against weights in their blocks, which are multiplied in single precision here; llama.cpp rounds the other factor too.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the program prints tables")]

use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use burn::tensor::DType;
use serde_json::json;
use stepfn_attribution::{ScoringOptions, Text, score};
use stepfn_bench::machine::peak_memory;
use stepfn_bench::shapes::ids;
use stepfn_bench::workload::Limits;
use stepfn_bench::{Lengths, Work, Workload};
use stepfn_benches::peer::Peer;
use stepfn_benches::{Measured as B, median, wait};
use stepfn_core::StepFunction;
use stepfn_core::functions::Crossentropy;
use stepfn_models::Model;
use stepfn_models::checkpoint::Checkpoint;
use stepfn_models::source::{StoredTensor, Tensors};
use stepfn_models::tape::{ModelInput, StackInput};
use stepfn_models::transformer::{Dropout, PaddingSide, TokenBatch};

#[global_allocator]
static ALLOCATOR: stepfn_cpu::allocator::Allocator = stepfn_cpu::allocator::Allocator;

/// Pause between turns: a library's threads keep spinning for a few milliseconds after their work, on cores that the other one needs.
const PAUSE: Duration = Duration::from_millis(20);
/// The budget of scores and gradients.
const MEMORY: usize = 512 << 20;
/// The texts of scores and gradients, and which of them.
const WORK: [(Work, Lengths); 3] = [
    (Work::StepScores, Lengths { prompt: 128, target: 128, batch: 1 }),
    (Work::Saliency, Lengths { prompt: 16, target: 16, batch: 1 }),
    (Work::Saliency, Lengths { prompt: 120, target: 8, batch: 1 }),
];

fn main() -> ExitCode {
    // SAFETY: no other thread exists yet.
    #[allow(unsafe_code, reason = "setting up the allocator is unsafe while other threads run")]
    unsafe {
        stepfn_cpu::allocator::keep_memory();
    }
    let named = |name: &str| {
        let start = format!("--{name}=");
        std::env::args().find_map(|argument| argument.strip_prefix(&start).map(str::to_owned))
    };
    let Some(path) = std::env::args().skip(1).find(|argument| !argument.starts_with("--")) else {
        eprintln!("no file: expected the path of a GGUF file");
        // `cargo bench` without arguments runs all benchmarks.
        return ExitCode::SUCCESS;
    };
    if let Some(at) = named("cell").and_then(|at| at.parse().ok()).filter(|at: &usize| *at < WORK.len()) {
        println!("{}", seconds_of_work(&path, WORK[at]));
        println!("{}", peak_memory().expect("this system tells"));
        return ExitCode::SUCCESS;
    }
    let file = std::fs::metadata(&path).expect("the file exists").len() as f64;
    println!("File: {:.3} GB\n", file / 1e9);
    if named("peer").is_none() {
        memory(&path, file);
    }
    if !std::env::args().any(|argument| argument == "--memory-only") {
        let tokens = named("tokens").unwrap_or_else(|| "128,256,512".to_owned());
        let tokens = tokens.split(',').map(|tokens| tokens.parse().expect("numbers of tokens")).collect::<Vec<_>>();
        let pairs = named("pairs").map_or(5, |pairs| pairs.parse().expect("a number of pairs"));
        match named("peer") {
            Some(_) => beside_llama_cpp(&path, &tokens, pairs),
            None => speed(&path, &tokens, pairs),
        }
    }
    ExitCode::SUCCESS
}

/// The model with its weights as they are in the file.
fn stored(checkpoint: &Checkpoint) -> Model<B> {
    Model::from_checkpoint(checkpoint, DType::F32, &Default::default()).expect("the file is a model")
}

/// Loads the model, and does the work once.
fn seconds_of_work(path: &str, (work, lengths): (Work, Lengths)) -> f64 {
    let model = stored(&Checkpoint::open(path).expect("the file can be read"));
    let workload = Workload::new(&model, lengths, Limits { memory: MEMORY, ..Limits::default() });
    let start = Instant::now();
    workload.run(work).expect("the texts fit");
    start.elapsed().as_secs_f64()
}

fn memory(path: &str, file: f64) {
    println!("| work | prompt + target | s | peak, GB | 1.15 × file + budget, GB |");
    println!("|---|---|---|---|---|");
    let limit = 1.15 * file + MEMORY as f64;
    for (at, (work, lengths)) in WORK.into_iter().enumerate() {
        let program = std::env::current_exe().expect("the program exists");
        let output = Command::new(program).args([path, &format!("--cell={at}")]).output().expect("it runs again");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let numbers: Vec<f64> = text.lines().filter_map(|line| line.parse().ok()).collect();
        let &[seconds, peak] = numbers.as_slice() else {
            println!("| {work} | fails: {} |", String::from_utf8_lossy(&output.stderr));
            continue;
        };
        let Lengths { prompt, target, .. } = lengths;
        println!("| {work} | {prompt} + {target} | {seconds:.1} | {:.3} | {:.3} |", peak / 1e9, limit / 1e9);
    }
}

/// One forward pass, with logits at the last position.
fn seconds_of_pass(model: &Model<B>, batch: &TokenBatch) -> f64 {
    let start = Instant::now();
    let target = StackInput::embedded(batch, model.decoder().embed(batch));
    let hidden = model.hidden(ModelInput { source: None, target, dropout: &Dropout::Off }).expect("it fits");
    let last = batch.width() - 1;
    std::hint::black_box(model.logits(hidden.slice(last..last + 1)));
    wait::<B>(&Default::default()).expect("the device answers");
    start.elapsed().as_secs_f64()
}

fn speed(path: &str, tokens: &[usize], pairs: usize) {
    let checkpoint = Checkpoint::open(path).expect("the file can be read");
    let in_blocks = stored(&checkpoint);
    let tensor = |name: &str| {
        let data = checkpoint.read(name).expect("the tensor can be read");
        (name.to_owned(), StoredTensor::from_data(data, DType::F32, &Default::default()))
    };
    let tensors: Tensors<B> = checkpoint.names().map(tensor).collect();
    let single = Model::from_tensors(checkpoint.config(), &tensors, &Default::default()).expect("the same model");
    println!("\n| tokens | in blocks, s | in f32, s | times the speed of f32 |");
    println!("|---|---|---|---|");
    let vocab = single.config().vocab_size;
    for &tokens in tokens {
        let batch = TokenBatch::new(vec![ids(vocab, tokens, 1)], vocab, PaddingSide::Right).expect("these are tokens");
        let _ = [&in_blocks, &single].map(|model| seconds_of_pass(model, &batch));
        let times: Vec<[f64; 2]> =
            (0..pairs).map(|_| [&in_blocks, &single].map(|model| seconds_of_pass(model, &batch))).collect();
        let [ours, theirs] = [0, 1].map(|side| median(&times.iter().map(|pair| pair[side]).collect::<Vec<_>>()));
        let mut ratios: Vec<f64> = times.iter().map(|[ours, theirs]| theirs / ours).collect();
        ratios.sort_by(f64::total_cmp);
        let middle = median(&ratios);
        println!(
            "| {tokens} | {ours:.2} | {theirs:.2} | {middle:.2} ({:.2}–{:.2}) |",
            ratios[0],
            ratios[ratios.len() - 1]
        );
    }
}

/// The log-probabilities of a text's tokens but the first, and the time that they take.
fn scored(model: &Model<B>, ids: &[u32]) -> (f64, Vec<f64>) {
    let functions: [Box<dyn StepFunction<B>>; 1] = [Box::new(Crossentropy::default())];
    std::thread::sleep(PAUSE);
    let start = Instant::now();
    let mut scores = score(model, &[Text::causal(ids.to_vec(), 1)], &functions, &ScoringOptions::default())
        .expect("the text can be scored");
    let seconds = start.elapsed().as_secs_f64();
    let scores = scores.swap_remove(0).expect("the text can be scored");
    (seconds, scores.scores[0].1.iter().map(|&entropy| -f64::from(entropy)).collect())
}

fn beside_llama_cpp(path: &str, tokens: &[usize], pairs: usize) {
    let mut peer = match Peer::start("llama.py") {
        Ok(peer) => peer,
        Err(error) => return eprintln!("{error}"),
    };
    println!("Peer: {}\n", peer.about);
    let checkpoint = Checkpoint::open(path).expect("the file can be read");
    let in_blocks = stored(&checkpoint);
    let rounded = Model::from_checkpoint(&checkpoint, DType::I8, &Default::default()).expect("the same model");
    let error = |of: &[f64], exact: &[f64]| {
        let each = of.iter().zip(exact).map(|(of, exact)| (of - exact).abs());
        format!("{:.1e}, {:.1e}", each.clone().sum::<f64>() / of.len() as f64, each.fold(0.0, f64::max))
    };
    println!(
        "| tokens | weights | ours, s | llama.cpp, s | times as fast (least–most) | errors, mean and greatest: ours; theirs |"
    );
    println!("|---|---|---|---|---|---|");
    let vocab = in_blocks.config().vocab_size;
    for &tokens in tokens {
        let ids = ids(vocab, tokens, 1);
        if let Err(error) = peer.setup(&json!({ "file": path, "ids": ids })) {
            return eprintln!("{error}");
        }
        let theirs = |peer: &mut Peer| {
            std::thread::sleep(PAUSE);
            peer.result("score")
        };
        let (_, exact) = scored(&in_blocks, &ids);
        for (name, model) in [("in blocks", &in_blocks), ("8 bits", &rounded)] {
            let (_, found) = scored(model, &ids);
            let their_result: Vec<f64> = serde_json::from_value(theirs(&mut peer).1).expect("log-probabilities");
            let times: Vec<(f64, f64)> = (0..pairs).map(|_| (scored(model, &ids).0, theirs(&mut peer).0)).collect();
            let mut ratios: Vec<f64> = times.iter().map(|(ours, theirs)| theirs / ours).collect();
            ratios.sort_by(f64::total_cmp);
            let of = |pick: fn(&(f64, f64)) -> f64| median(&times.iter().map(pick).collect::<Vec<_>>());
            println!(
                "| {tokens} | {name} | {:.2} | {:.2} | {:.2} ({:.2}–{:.2}) | {}; {} |",
                of(|pair| pair.0),
                of(|pair| pair.1),
                median(&ratios),
                ratios[0],
                ratios[ratios.len() - 1],
                error(&found, &exact),
                error(&their_result, &exact)
            );
        }
    }
}
