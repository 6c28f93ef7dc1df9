//! Whole answers: saliency of an answer as one, and which of its sources it came from.
//!
//! `STEPFN_PYTHON=… cargo bench -p stepfn-benches --bench answers [-- --quick] [--only=spans,contexts] [--peer=inseq] [--method=gradient] [shape…]`
//!
//! Prints two Markdown tables. Spans: saliency of all tokens of an answer as one, and token by token, by stepfn and, if the peer has it, by inseq
//! (`--peer=inseq`). Contexts: sources left out, by stepfn and by plain PyTorch. All calls of a row alternate; ratios are medians of pairs with minimum and
//! maximum.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the program prints a table")]

use std::time::Instant;

use burn::tensor::DType;
use serde_json::json;
use stepfn_attribution::contexts::{ContextMethod, ContextText, Operator, context};
use stepfn_attribution::methods::Saliency;
use stepfn_attribution::{AttributedFn, AttributionOptions, Baseline, Side, SpanTarget, Text, attribute};
use stepfn_bench::Shape;
use stepfn_bench::machine::peak_memory;
use stepfn_benches::peer::Peer;
use stepfn_benches::{Measured as B, median, wait};
use stepfn_core::functions::Probability;
use stepfn_models::Model;

#[global_allocator]
static ALLOCATOR: stepfn_cpu::allocator::Allocator = stepfn_cpu::allocator::Allocator;

/// Shape, tokens of the prompt, tokens of the answer.
const SPANS: [(&str, usize, usize); 3] =
    [("gpt2-small", 13, 128), ("gpt2-small", 512, 128), ("smollm2-135m", 2048, 256)];
/// Sources, tokens of each, tokens of the answer.
const CONTEXTS: (usize, usize, usize) = (32, 40, 64);
/// Budget of the spans: with the weights, less than 2 GiB.
const MEMORY: usize = 1300 << 20;
/// Budget of the contexts: that of `stepfn context` on a machine with 16 GiB or more.
const MEMORY_OF_CONTEXTS: usize = 4 << 30;
const GIB: f64 = (1_u64 << 30) as f64;
/// Tokens before the first source.
const BEFORE: usize = 4;

fn ids(count: usize) -> Vec<u32> {
    (0..count as u32).map(|at| 10 + at * 7919 % 30_000).collect()
}

fn seconds<T>(run: impl FnOnce() -> T) -> f64 {
    let start = Instant::now();
    run();
    wait::<B>(&Default::default()).expect("the device answers");
    start.elapsed().as_secs_f64()
}

fn model(shape: &str, length: usize) -> Model<B> {
    let shape = Shape::find(shape).expect("a published shape");
    shape.model::<B>(length, DType::F32, &Default::default()).expect("a published shape is a model")
}

fn function() -> AttributedFn<B> {
    AttributedFn::new(Probability { logprob: true })
}

/// Median, least and greatest of `b / a`.
fn ratio(pairs: &[(f64, f64)]) -> String {
    let mut ratios: Vec<f64> = pairs.iter().map(|(a, b)| b / a).collect();
    ratios.sort_by(f64::total_cmp);
    format!("{:.1} ({:.1}–{:.1})", median(&ratios), ratios[0], ratios[ratios.len() - 1])
}

fn spans(quick: bool, mut peer: Option<Peer>) {
    println!(
        "| shape | prompt + answer | one forward pass, s | as one, s | ÷ forward | token by token, s | ÷ as one | inseq, s | ÷ as one | peak memory so far, GiB |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    let named: Vec<String> = std::env::args().collect();
    let is_chosen = |shape: &str| named.iter().any(|name| name == shape);
    let any = SPANS.iter().any(|(shape, ..)| is_chosen(shape));
    for (shape, prompt, answer) in SPANS.into_iter().filter(|(shape, ..)| !any || is_chosen(shape)) {
        let (prompt, answer) = if quick { (prompt.min(16), answer.min(16)) } else { (prompt, answer) };
        let model = model(shape, prompt + answer);
        let text = Text::causal(ids(prompt + answer), prompt);
        let target = [SpanTarget::new(core::iter::once(prompt..prompt + answer).collect())];
        let saliency = |spans: &[SpanTarget]| {
            let options = AttributionOptions { spans, memory: MEMORY, ..AttributionOptions::new(Baseline::token(0)) };
            let texts = core::slice::from_ref(&text);
            attribute(&model, texts, &Saliency::default(), &function(), &[], &options).expect("the text fits")
        };
        let forward = || {
            let functions: [Box<dyn stepfn_core::StepFunction<B>>; 1] = [Box::new(Probability { logprob: true })];
            stepfn_attribution::score(&model, core::slice::from_ref(&text), &functions, &Default::default())
        };
        // Token by token takes minutes behind a long prompt.
        let rounds = if quick {
            1
        } else if prompt > 600 {
            3
        } else {
            2
        };
        let (mut ones, mut tokens, mut theirs, mut forwards) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        seconds(|| saliency(&target));
        if let Some(peer) = &mut peer {
            peer.setup(&json!({ "shape": shape, "prompt": prompt, "target": answer })).expect("the peer has the shape");
        }
        for _ in 0..rounds {
            let whole = seconds(forward);
            let one = seconds(|| saliency(&target));
            forwards.push((whole, one));
            ones.push(one);
            if prompt <= 600 {
                tokens.push((one, seconds(|| saliency(&[]))));
                theirs.extend(peer.as_mut().map(|peer| (one, peer.time("saliency", 1)[0])));
            }
        }
        let second = |pairs: &[(f64, f64)]| match pairs {
            [] => ["–".to_owned(), "–".to_owned()],
            pairs => [format!("{:.2}", median(&pairs.iter().map(|pair| pair.1).collect::<Vec<_>>())), ratio(pairs)],
        };
        println!(
            "| {shape} | {prompt} + {answer} | {:.2} | {:.2} | {} | {} | {} | {:.2} |",
            median(&forwards.iter().map(|pair| pair.0).collect::<Vec<_>>()),
            median(&ones),
            ratio(&forwards),
            second(&tokens).join(" | "),
            second(&theirs).join(" | "),
            peak_memory().map_or(f64::NAN, |bytes| bytes as f64 / GIB)
        );
    }
}

fn contexts(quick: bool, mut peer: Option<Peer>) {
    let (sources, tokens, answer) = if quick { (4, 8, 8) } else { CONTEXTS };
    let length = BEFORE + sources * tokens + answer;
    let (shape, first) = ("smollm2-135m", length - answer);
    let model = model(shape, length);
    let text = ContextText {
        text: Text::causal(ids(length), first),
        side: Side::Target,
        sources: (0..sources).map(|source| BEFORE + source * tokens..BEFORE + (source + 1) * tokens).collect(),
        groups: (0..sources).map(|source| source..source + 1).collect(),
        statements: core::iter::once(first..length).collect(),
    };
    // Eight of the sources, evenly spread; the others are part of the prompt.
    let spread: Vec<_> = (0..8).map(|number| text.sources[(2 * number + 1) * sources / 16].clone()).collect();
    let spread =
        ContextText { groups: (0..8).map(|source| source..source + 1).collect(), sources: spread, ..text.clone() };
    let run = |text: &ContextText, method: &ContextMethod| {
        let options = AttributionOptions { memory: MEMORY_OF_CONTEXTS, ..AttributionOptions::new(Baseline::token(0)) };
        context(&model, text, (method, Operator::Remove), None, &options).expect("the text fits")
    };
    if let Some(peer) = &mut peer {
        let setup = json!({ "shape": shape, "sources": sources, "tokens": tokens, "answer": answer });
        peer.setup(&setup).expect("the peer has the shape");
    }
    println!(
        "\n| {shape}, {sources} sources of {tokens} tokens, answer of {answer} | ours, s | PyTorch, s | times as fast (least–most) |\n|---|---|---|---|"
    );
    let works = [
        (
            "context_cite, 64 ablations",
            &text,
            ContextMethod::ContextCite { n_ablations: 64, alpha: 0.01 },
            "context_cite",
        ),
        ("leave_one_out", &text, ContextMethod::LeaveOneOut, "leave_one_out"),
        ("gradient", &text, ContextMethod::Gradient { prefilter: None }, "saliency"),
        (
            "gradient, then 8 left out, beside leave_one_out",
            &text,
            ContextMethod::Gradient { prefilter: Some(8) },
            "leave_one_out",
        ),
        (
            "gradient, then 8 left out, evenly spread",
            &spread,
            ContextMethod::Gradient { prefilter: Some(8) },
            "leave_one_out",
        ),
    ];
    let chosen = std::env::args().find_map(|argument| argument.strip_prefix("--method=").map(str::to_owned));
    let is_chosen = |name: &str| chosen.as_ref().is_none_or(|chosen| name.starts_with(chosen.as_str()));
    for (name, text, method, work) in works.into_iter().filter(|(name, ..)| is_chosen(name)) {
        let mut pairs = Vec::new();
        for _ in 0..if quick { 1 } else { 2 } {
            let mut scores = Vec::new();
            let ours = seconds(|| scores = run(text, &method).scores);
            if matches!(method, ContextMethod::Gradient { prefilter: Some(_) }) {
                let left_out = (0..scores.len()).filter(|&source| scores[source][0].is_finite());
                let first: Vec<usize> = left_out.map(|source| text.sources[source].start).collect();
                eprintln!("{name}: sources that begin at {first:?} of {length}");
            }
            pairs.push((ours, peer.as_mut().map_or(f64::NAN, |peer| peer.time(work, 1)[0])));
        }
        let of = |pick: fn(&(f64, f64)) -> f64| median(&pairs.iter().map(pick).collect::<Vec<_>>());
        println!("| {name} | {:.2} | {:.2} | {} |", of(|pair| pair.0), of(|pair| pair.1), ratio(&pairs));
    }
}

fn main() {
    // SAFETY: no other thread exists yet.
    #[allow(unsafe_code, reason = "setting up the allocator is unsafe while other threads run")]
    unsafe {
        stepfn_cpu::allocator::keep_memory();
    }
    let has = |name: &str| std::env::args().any(|argument| argument == name);
    let quick = has("--quick");
    let wanted = |part: &str| {
        let only = std::env::args().find_map(|argument| argument.strip_prefix("--only=").map(str::to_owned));
        only.is_none_or(|only| only.split(',').any(|name| name == part))
    };
    let start = |script: &str| {
        let peer = Peer::start(script).inspect(|peer| println!("Peer: {}\n", peer.about));
        peer.inspect_err(|error| eprintln!("no ratios: {error}")).ok()
    };
    if wanted("spans") {
        spans(quick, if has("--peer=inseq") { start("attribution.py") } else { None });
    }
    if wanted("contexts") {
        contexts(quick, start("contexts.py"));
    }
}
