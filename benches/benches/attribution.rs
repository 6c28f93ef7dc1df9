//! Step scores and attributions against inseq, in turns, in one run.
//!
//! `STEPFN_PYTHON=… cargo bench -p stepfn-benches --bench attribution [-- --quick] [shape:prompt+target…]`
//!
//! Prints a Markdown table: seconds of ours and inseq's, and the median of pairwise ratios with the least and the most.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a table is what this program is for")]

use std::time::{Duration, Instant};

use burn::tensor::DType;
use serde_json::json;
use stepfn_bench::workload::Limits;
use stepfn_bench::{Question, Shape, Work, Workload};
use stepfn_benches::median;
use stepfn_benches::peer::Peer;

#[global_allocator]
static ALLOCATOR: stepfn_cpu::allocator::Allocator = stepfn_cpu::allocator::Allocator;

type B = stepfn_cpu::flex::Backend;

/// Shape, tokens of the prompt or source, tokens of the target.
const QUESTIONS: [(&str, usize, usize); 2] = [("gpt2-small", 13, 22), ("opus-mt-base", 13, 22)];
/// Work, and whether it takes the peer so long that once must do.
const WORK: [(Work, bool); 8] = [
    (Work::Forward, false),
    (Work::StepScores, false),
    (Work::Saliency, false),
    (Work::InputXGradient, false),
    (Work::Attention, false),
    (Work::McDropout, true),
    (Work::IntegratedGradients, true),
    (Work::Occlusion, true),
];
/// Between turns: a library's threads spin for some milliseconds after their work, on cores that are the other's now.
const PAUSE: Duration = Duration::from_millis(20);

fn seconds(workload: &Workload<'_, B>, work: Work) -> f64 {
    std::thread::sleep(PAUSE);
    let start = Instant::now();
    workload.run(work).expect("the text fits");
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

fn main() {
    stepfn_cpu::allocator::keep_memory();
    let quick = std::env::args().any(|argument| argument == "--quick");
    let only: Option<String> =
        std::env::args().find_map(|argument| argument.strip_prefix("--only=").map(str::to_owned));
    let mut peer = Peer::start("attribution.py")
        .inspect(|peer| println!("Peer: {}\n", peer.about))
        .inspect_err(|error| eprintln!("NO RATIOS, for there is no inseq: {error}"))
        .ok();
    println!(
        "| shape | prompt + target | work | ours, s | inseq, s | times as fast (least–most) |\n|---|---|---|---|---|---|"
    );
    for (shape, prompt, target) in questions() {
        let Some(shape) = Shape::find(&shape) else {
            eprintln!("unknown shape {shape:?}; known: {}", Shape::ALL.map(Shape::name).join(", "));
            continue;
        };
        let model = shape.model::<B>(0, DType::F32, &Default::default()).expect("a published shape is a model");
        let workload = Workload::new(&model, Question { prompt, target, batch: 1 }, Limits::default());
        let shape = shape.name();
        if let Some(peer) = &mut peer {
            peer.setup(&json!({ "shape": shape, "prompt": prompt, "target": target }));
        }
        for (work, slow) in WORK {
            if quick && slow || only.as_ref().is_some_and(|only| !only.split(',').any(|name| name == work.name())) {
                continue;
            }
            // Caches and threads are warm, as in a loop.
            workload.run(work).expect("the text fits");
            let runs = if slow { 2 } else { 5 };
            if let (Some(peer), false) = (&mut peer, slow) {
                peer.time(work.name(), 1);
            }
            let pairs: Vec<(f64, f64)> = (0..runs)
                .map(|_| {
                    (seconds(&workload, work), peer.as_mut().map_or(f64::NAN, |peer| peer.time(work.name(), 1)[0]))
                })
                .collect();
            let mut ratios: Vec<f64> = pairs.iter().map(|(ours, theirs)| theirs / ours).collect();
            ratios.sort_by(f64::total_cmp);
            let of = |pick: fn(&(f64, f64)) -> f64| median(&pairs.iter().map(pick).collect::<Vec<_>>());
            println!(
                "| {shape} | {prompt} + {target} | {work} | {:.3} | {:.2} | {:.1} ({:.1}–{:.1}) |",
                of(|pair| pair.0),
                of(|pair| pair.1),
                median(&ratios),
                ratios[0],
                ratios[runs - 1]
            );
        }
    }
}
