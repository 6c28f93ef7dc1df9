//! Step scores and attributions compared with inseq or captum; calls alternate within one run.
//!
//! `STEPFN_PYTHON=… cargo bench -p stepfn-benches --bench attribution [-- --quick] [--peer=captum] [--only=WORK,…] [shape:prompt+target…]`
//!
//! Prints a Markdown table: our seconds, the peer's seconds, and the median of pairwise ratios with minimum and maximum. Each cell takes
//! five pairs of times, or as many as fit into half a minute. Work that the peer doesn't support is left out.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the program prints a table")]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use burn::tensor::DType;
use serde_json::json;
use stepfn_bench::workload::Limits;
use stepfn_bench::{Lengths, Shape, Work, Workload};
use stepfn_benches::peer::Peer;
use stepfn_benches::{Measured as B, median, wait};

#[global_allocator]
static ALLOCATOR: stepfn_cpu::allocator::Allocator = stepfn_cpu::allocator::Allocator;

/// The peers and their scripts; the first is the default.
const PEERS: [(&str, &str); 2] = [("inseq", "attribution.py"), ("captum", "captum_llm.py")];
/// Shape, prompt or source tokens, target tokens.
const QUESTIONS: [(&str, usize, usize); 4] =
    [("gpt2-small", 13, 22), ("opus-mt-base", 13, 22), ("gpt2-small", 13, 128), ("gpt2-small", 13, 256)];
/// The default work for long texts; the rest would take the peer hours.
const OF_LONG_TEXTS: [Work; 4] = [Work::Forward, Work::StepScores, Work::Attention, Work::Saliency];
/// Number of target tokens from which on a text is long.
const LONG: usize = 64;
/// Maximum number of pairs of times, and how long to take them; always at least one.
const RUNS: usize = 5;
const BUDGET: Duration = Duration::from_secs(30);
/// If the peer's first call takes longer than this, warming up makes no difference.
const WARM: f64 = 10.0;
/// Pause between turns: a library's threads keep spinning for a few milliseconds after their work, on cores that the other one needs.
const PAUSE: Duration = Duration::from_millis(20);

fn seconds(workload: &Workload<'_, B>, work: Work) -> f64 {
    std::thread::sleep(PAUSE);
    let start = Instant::now();
    workload.run(work).expect("the text fits");
    wait::<B>(&Default::default()).expect("the device answers");
    start.elapsed().as_secs_f64()
}

fn questions() -> Vec<(String, usize, usize)> {
    let parse = |argument: String| {
        let (shape, lengths) = argument.split_once(':')?;
        let (prompt, target) = lengths.split_once('+')?;
        Some((shape.to_owned(), prompt.parse().ok()?, target.parse().ok()?))
    };
    let given: Vec<_> = std::env::args().filter_map(parse).collect();
    let default = || QUESTIONS.map(|(shape, prompt, target)| (shape.to_owned(), prompt, target)).to_vec();
    if given.is_empty() { default() } else { given }
}

fn main() -> ExitCode {
    // SAFETY: no other thread exists yet.
    #[allow(unsafe_code, reason = "setting up the allocator is unsafe while other threads run")]
    unsafe {
        stepfn_cpu::allocator::keep_memory();
    }
    let quick = std::env::args().any(|argument| argument == "--quick");
    let named = |name: &str| {
        let start = format!("--{name}=");
        std::env::args().find_map(|argument| argument.strip_prefix(&start).map(str::to_owned))
    };
    let only = named("only");
    let asked = named("peer").unwrap_or_else(|| PEERS[0].0.to_owned());
    let Some((theirs, script)) = PEERS.into_iter().find(|(name, _)| *name == asked) else {
        eprintln!("unknown peer {asked:?}; available: {}", PEERS.map(|(name, _)| name).join(", "));
        return ExitCode::from(2);
    };
    let mut peer = Peer::start(script)
        .inspect(|peer| println!("Peer: {}\n", peer.about))
        .inspect_err(|error| eprintln!("no ratios, because {theirs} is missing: {error}"))
        .ok();
    println!(
        "| shape | prompt + target | work | ours, s | {theirs}, s | times as fast (least–most) |\n|---|---|---|---|---|---|"
    );
    for (shape, prompt, target) in questions() {
        let Some(shape) = Shape::find(&shape) else {
            eprintln!("unknown shape {shape:?}; available: {}", Shape::ALL.map(Shape::name).join(", "));
            continue;
        };
        let model =
            shape.model::<B>(prompt + target, DType::F32, &Default::default()).expect("a published shape is a model");
        let workload = Workload::new(&model, Lengths { prompt, target, batch: 1 }, Limits::default());
        let shape = shape.name();
        let question = json!({ "shape": shape, "prompt": prompt, "target": target });
        if let Some(Err(error)) = peer.as_mut().map(|peer| peer.setup(&question)) {
            eprintln!("{shape}, {prompt} + {target}: {error}");
            continue;
        }
        let wanted = |work: &Work| match &only {
            Some(only) => only.split(',').any(|name| name == work.name()),
            None => !(quick || target >= LONG) || OF_LONG_TEXTS.contains(work),
        };
        for work in Work::ALL.into_iter().filter(wanted) {
            if peer.as_mut().is_some_and(|peer| !peer.can(work.name())) {
                continue;
            }
            let mut pair = || {
                let ours = seconds(&workload, work);
                (ours, peer.as_mut().map_or(f64::NAN, |peer| peer.time(work.name(), 1)[0]))
            };
            let started = Instant::now();
            let first = pair();
            let mut pairs: Vec<(f64, f64)> =
                if first.1 > WARM { vec![(seconds(&workload, work), first.1)] } else { vec![] };
            while pairs.len() < RUNS && (pairs.is_empty() || started.elapsed() < BUDGET) {
                pairs.push(pair());
            }
            let mut ratios: Vec<f64> = pairs.iter().map(|(ours, theirs)| theirs / ours).collect();
            ratios.sort_by(f64::total_cmp);
            let of = |pick: fn(&(f64, f64)) -> f64| median(&pairs.iter().map(pick).collect::<Vec<_>>());
            println!(
                "| {shape} | {prompt} + {target} | {work} | {:.3} | {:.2} | {:.1} ({:.1}–{:.1}) |",
                of(|pair| pair.0),
                of(|pair| pair.1),
                median(&ratios),
                ratios[0],
                ratios[ratios.len() - 1]
            );
        }
    }
    ExitCode::SUCCESS
}
