//! Time and peak memory as texts get longer and as batches grow, compared with inseq as far as it goes.
//!
//! `STEPFN_PYTHON=… cargo bench -p stepfn-benches --bench scaling [-- --quick] [--shape=smollm2-135m] [--seconds=60] [--svg=FILE]`
//!
//! A row is skipped if, extrapolated from the last two rows, it would take longer than `--seconds`. Each of our rows runs in its own
//! process, so that its peak memory is its own. inseq uses one process per kind of work, and its peak grows with the rows. Prints Markdown
//! tables with exponents fitted to the last rows, and plots them. `--cell=SHAPE,WORK,PROMPT,TARGET,TEXTS` measures one row and prints it as
//! JSON.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the program prints tables")]

use std::process::{Command, ExitCode};
use std::time::Instant;

use burn::tensor::DType;
use serde_json::{Value, json};
use stepfn_bench::machine::peak_memory;
use stepfn_bench::workload::Limits;
use stepfn_bench::{Lengths, Shape, Work, Workload};
use stepfn_benches::peer::Peer;
use stepfn_benches::plot::{Curve, Panel, exponent, svg};
use stepfn_benches::{Measured as B, wait};

#[global_allocator]
static ALLOCATOR: stepfn_cpu::allocator::Allocator = stepfn_cpu::allocator::Allocator;

/// Prompt tokens of every text.
const PROMPT: usize = 8;
/// The kinds of work to measure.
const WORK: [Work; 2] = [Work::StepScores, Work::Saliency];
/// The exponent is fitted to this many of the longest rows, where lower-order terms are negligible.
const FITTED: usize = 3;

/// The result of one measurement.
#[derive(Debug, Clone, Copy)]
struct Cell {
    /// Number of tokens or texts.
    size: f64,
    seconds: f64,
    /// Peak memory.
    bytes: f64,
}

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
    if let Some(cell) = named("cell") {
        println!("{}", measured(&cell));
        return ExitCode::SUCCESS;
    }
    let quick = std::env::args().any(|argument| argument == "--quick");
    let shape = named("shape").unwrap_or_else(|| if quick { "tiny" } else { "smollm2-135m" }.to_owned());
    let Some(shape) = Shape::find(&shape) else {
        eprintln!("unknown shape {shape:?}; available: {}", Shape::ALL.map(Shape::name).join(", "));
        return ExitCode::from(2);
    };
    let seconds = named("seconds").unwrap_or_else(|| if quick { "1" } else { "60" }.to_owned());
    let Ok(limit) = seconds.parse::<f64>() else {
        eprintln!("--seconds={seconds}: expected a number");
        return ExitCode::from(2);
    };
    let path = named("svg").unwrap_or_else(|| concat!(env!("CARGO_TARGET_TMPDIR"), "/scaling.svg").to_owned());

    let most = if quick { 7 } else { 12 };
    let lengths: Vec<Lengths> = (5..=most).map(|log| Lengths { prompt: PROMPT, target: 1 << log, batch: 1 }).collect();
    let batches: Vec<Lengths> = (0..=7).map(|log| Lengths { prompt: PROMPT, target: 32, batch: 1 << log }).collect();
    let mut panels = Vec::new();
    for (across, all_lengths, size) in [
        ("target tokens", lengths, (|lengths| lengths.target) as fn(&Lengths) -> usize),
        ("texts of 8 + 32 tokens", batches, |lengths| lengths.batch),
    ] {
        println!(
            "\n{}:\n\n| {across} | work | ours, s | inseq, s | times as fast | ours, GiB | inseq, GiB |",
            shape.name()
        );
        println!("|---|---|---|---|---|---|---|");
        let (mut times, mut memory) = (Vec::new(), Vec::new());
        for work in WORK {
            // The tiny shape only checks that everything runs.
            let mut peer = match shape {
                Shape::Tiny => None,
                _ => Peer::start("attribution.py").inspect_err(|error| eprintln!("inseq is missing: {error}")).ok(),
            };
            let (mut ours, mut theirs): (Vec<Cell>, Vec<Cell>) = (Vec::new(), Vec::new());
            for lengths in &all_lengths {
                let size = size(lengths) as f64;
                if foretold(&ours) > limit {
                    break;
                }
                let one = Cell { size, ..child(shape, work, lengths) };
                ours.push(one);
                let other = (foretold(&theirs) <= limit).then_some(peer.as_mut()).flatten();
                let other = other.map(|peer| Cell { size, ..of_peer(peer, shape, work, lengths) });
                theirs.extend(other);
                let show =
                    |value: Option<f64>, digits| value.map_or("–".to_owned(), |value| format!("{value:.digits$}"));
                println!(
                    "| {size} | {work} | {:.3} | {} | {} | {:.2} | {} |",
                    one.seconds,
                    show(other.map(|other| other.seconds), 2),
                    show(other.map(|other| other.seconds / one.seconds), 1),
                    one.bytes / GIB,
                    show(other.map(|other| other.bytes / GIB), 2)
                );
            }
            for (name, cells, dashed) in [("stepfn", &ours, false), ("inseq", &theirs, true)] {
                let curve = |of: fn(&Cell) -> f64| Curve {
                    name: format!("{work}, {name}"),
                    points: cells.iter().map(|cell| (cell.size, of(cell))).collect(),
                    dashed,
                };
                times.push(curve(|cell| cell.seconds));
                memory.push(curve(|cell| cell.bytes / GIB));
            }
        }
        println!("\n| exponent in {across} | of time | of memory |\n|---|---|---|");
        for (time, memory) in times.iter().zip(&memory).filter(|(time, _)| time.points.len() >= FITTED) {
            let last = |curve: &Curve| exponent(&curve.points[curve.points.len() - FITTED..]);
            println!("| {} | {:.2} | {:.2} |", time.name, last(time), last(memory));
        }
        let panel = |title: &str, curves| Panel { title: title.to_owned(), across: across.to_owned(), curves };
        panels.extend([panel("seconds", times), panel("peak memory, GiB", memory)]);
    }
    match std::fs::write(&path, svg(&panels)) {
        Ok(()) => {
            println!("\nPlot written to {path}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{path}: {error}");
            ExitCode::FAILURE
        }
    }
}

const GIB: f64 = (1u64 << 30) as f64;

/// Predicted time of the next row, which is twice as large, extrapolated from the last two.
fn foretold(rows: &[Cell]) -> f64 {
    match rows {
        [.., before, last] => last.seconds * (last.seconds / before.seconds).max(2.0),
        _ => 0.0,
    }
}

/// Measures our side in another process.
fn child(shape: Shape, work: Work, lengths: &Lengths) -> Cell {
    let Lengths { prompt, target, batch } = lengths;
    let program = std::env::current_exe().expect("this program is a file");
    let cell = format!("--cell={},{work},{prompt},{target},{batch}", shape.name());
    let done = Command::new(program).arg(&cell).output().expect("this program starts");
    let said: Value = serde_json::from_slice(&done.stdout)
        .unwrap_or_else(|_| panic!("{cell}: {}", String::from_utf8_lossy(&done.stderr)));
    let number = |name: &str| said[name].as_f64().unwrap_or(f64::NAN);
    Cell { size: f64::NAN, seconds: number("seconds"), bytes: number("bytes") }
}

/// Runs in the other process.
fn measured(cell: &str) -> Value {
    let parts: Vec<&str> = cell.split(',').collect();
    let [shape, work, prompt, target, batch] = parts[..] else { panic!("{cell}: expected five parts") };
    let number = |text: &str| text.parse().unwrap_or_else(|_| panic!("{text}: expected a number"));
    let (shape, work) = (Shape::find(shape).expect("a shape"), Work::find(work).expect("known work"));
    let lengths = Lengths { prompt: number(prompt), target: number(target), batch: number(batch) };
    let model =
        shape.model::<B>(lengths.prompt + lengths.target, DType::F32, &Default::default()).expect("random weights fit");
    let workload = Workload::new(&model, lengths, Limits::default());
    let run = || {
        let start = Instant::now();
        workload.run(work).expect("the text fits");
        wait::<B>(&Default::default()).expect("the device answers");
        start.elapsed().as_secs_f64()
    };
    json!({ "seconds": warm(run), "bytes": peak_memory() })
}

/// Seconds of the second call, or of the first if that takes so long that warming up makes no difference.
fn warm(mut run: impl FnMut() -> f64) -> f64 {
    let first = run();
    if first < 10.0 { run() } else { first }
}

fn of_peer(peer: &mut Peer, shape: Shape, work: Work, lengths: &Lengths) -> Cell {
    let Lengths { prompt, target, batch } = lengths;
    let lengths = json!({ "shape": shape.name(), "prompt": prompt, "target": target, "batch": batch });
    peer.setup(&lengths).expect("it knows that shape");
    let seconds = warm(|| peer.time(work.name(), 1)[0]);
    Cell { size: f64::NAN, seconds, bytes: peer.peak_memory() }
}
