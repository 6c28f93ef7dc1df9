//! Faithfulness of ten methods on one text, beside the same metrics by loops in PyTorch.
//!
//! `STEPFN_PYTHON=… cargo bench -p stepfn-benches --bench evaluate [-- --quick] [--only=token,answer] [--all] [--text=20+20] [--rounds=3]`
//!
//! Prints a Markdown table. The scores are given, and the same on both sides; measured is what the metrics take: comprehensiveness, sufficiency and the areas
//! under both curves, with two operators, for all methods and the seven orders beside them. "Loop" is one forward pass for each hidden set and step; "batches" is the
//! same sets, each once, in batches of like length. Calls alternate; ratios are medians of pairs with minimum and maximum. The loop over all steps takes many minutes
//! and runs with `--all`.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the program prints a table")]

use std::time::Instant;

use burn::tensor::DType;
use serde_json::json;
use stepfn_attribution::{AttributedFn, AttributionOptions, Baseline, Passes, Question, SpanTarget, Text};
use stepfn_bench::Shape;
use stepfn_benches::peer::Peer;
use stepfn_benches::{Measured as B, median, wait};
use stepfn_core::functions::Probability;
use stepfn_evaluate::{Candidate, Given, Task, evaluate};

#[global_allocator]
static ALLOCATOR: stepfn_cpu::allocator::Allocator = stepfn_cpu::allocator::Allocator;

/// The shape, and the tokens of prompt and answer.
const SHAPE: (&str, usize, usize) = ("gpt2-small", 20, 20);
const METHODS: usize = 10;

fn ids(count: usize) -> Vec<u32> {
    (0..count as u32).map(|at| 10 + at * 7919 % 30_000).collect()
}

/// The scores that both sides have.
fn candidates(methods: usize, tokens: usize, columns: usize) -> Vec<Candidate> {
    let score = |method: usize, token: usize, column: usize| {
        ((method * 7919 + token * 104_729 + column * 1_299_709 + token * token * 31) % 1009) as f64
    };
    let of_token = |method: usize, token: usize| (0..columns).map(|column| score(method, token, column)).collect();
    let of_method = |method: usize| Candidate {
        name: format!("method {method}"),
        source: Vec::new(),
        target: (0..tokens).map(|token| of_token(method, token)).collect(),
        with_noise: Vec::new(),
    };
    (0..methods).map(of_method).collect()
}

fn seconds<T>(run: impl FnOnce() -> T) -> f64 {
    let start = Instant::now();
    run();
    wait::<B>(&Default::default()).expect("the device answers");
    start.elapsed().as_secs_f64()
}

/// Median, least and greatest of `b / a`.
fn ratio(pairs: &[(f64, f64)]) -> String {
    let mut ratios: Vec<f64> = pairs.iter().map(|(a, b)| b / a).collect();
    ratios.sort_by(f64::total_cmp);
    match ratios.is_empty() {
        true => "–".to_owned(),
        false => format!("{:.1} ({:.1}–{:.1})", median(&ratios), ratios[0], ratios[ratios.len() - 1]),
    }
}

/// What follows `--name=`.
fn given(name: &str) -> Option<String> {
    std::env::args().find_map(|arg| arg.strip_prefix(name).map(str::to_owned))
}

fn row(unit: &str, [quick, all]: [bool; 2], peer: &mut Option<Peer>) {
    let (shape, prompt, answer) = SHAPE;
    let (prompt, answer, methods) = if quick { (6, 4, 2) } else { (prompt, answer, METHODS) };
    let number = |text: &str| text.parse::<usize>().expect("a number");
    let (prompt, answer) = given("--text=").map_or((prompt, answer), |text| {
        let (prompt, answer) = text.split_once('+').expect("two numbers, as in 20+20");
        (number(prompt), number(answer))
    });
    let rounds = given("--rounds=").map_or(if quick { 1 } else { 3 }, |rounds| number(&rounds));
    let shape_of = Shape::find(shape).expect("a published shape");
    let length = prompt + answer;
    let model = shape_of.model::<B>(length, DType::F32, &Default::default()).expect("a published shape is a model");
    let text = Text::causal(ids(length), prompt);
    let spans = [SpanTarget::new(core::iter::once(prompt..length).collect())];
    let spans: &[SpanTarget] = if unit == "answer" { &spans } else { &[] };
    let columns = if unit == "answer" { 1 } else { answer };
    let candidates = candidates(methods, length, columns);
    let task = Task { special: vec![true], ..Task::default() };
    let ours = || {
        let options = AttributionOptions { spans, ..AttributionOptions::new(Baseline::token(0)) };
        let function = AttributedFn::new(Probability { logprob: true });
        let question = Question::new(&text, &options, 0, 1).expect("the text has steps");
        let passes = Passes::new(question, &model, &function).expect("the text fits");
        evaluate(&passes, Given::new(&candidates), &task).expect("the text has tokens to hide")
    };
    let setup = json!({
        "shape": shape, "prompt": prompt, "answer": answer, "methods": methods, "unit": unit, "orders": task.orders,
    });
    if let Some(peer) = peer {
        peer.setup(&setup).expect("the peer has the shape");
    }
    seconds(ours);
    let (mut own, mut batches, mut loops) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let taken = seconds(ours);
        own.push(taken);
        if let Some(peer) = peer {
            batches.push((taken, peer.time("batches", 1)[0]));
            if unit == "answer" || quick || all {
                loops.push((taken, peer.time("loop", 1)[0]));
            }
        }
    }
    let second = |pairs: &[(f64, f64)]| match pairs {
        [] => "–".to_owned(),
        pairs => format!("{:.2}", median(&pairs.iter().map(|pair| pair.1).collect::<Vec<_>>())),
    };
    println!(
        "| {shape}, {prompt} + {answer} | {methods} | {unit} | {:.2} | {} | {} | {} | {} |",
        median(&own),
        second(&batches),
        ratio(&batches),
        second(&loops),
        ratio(&loops)
    );
}

fn main() {
    let has = |option: &str| std::env::args().any(|arg| arg == option);
    let (quick, all) = (has("--quick"), has("--all"));
    let only = given("--only=");
    let mut peer = Peer::start("evaluate.py").map_err(|error| eprintln!("without a peer: {error}")).ok();
    if let Some(peer) = &peer {
        println!("peer: {}\n", peer.about);
    }
    println!("| text | methods | unit | ours, s | batches, s | times as fast (least–most) | loop, s | times as fast |");
    println!("|---|---|---|---|---|---|---|---|");
    for unit in ["answer", "token"] {
        if only.as_ref().is_none_or(|only| only.split(',').any(|asked| asked == unit)) {
            row(unit, [quick, all], &mut peer);
        }
    }
}
