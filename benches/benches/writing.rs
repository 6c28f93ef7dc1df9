//! Texts that a model writes, and texts that it scores, compared with CTranslate2 on the same random weights; calls alternate within one run.
//!
//! `STEPFN_PYTHON=… cargo bench -p stepfn-benches --bench writing [-- --quick] [--beams=4] [--score] [--type=int8] [--weights=bfloat16] [--texts=1,8,32] [shape…]`
//!
//! Greedy search, or a beam search, over prompts (or sources) of 16 to 32 tokens, 64 new tokens each, no end token before them. The peer builds
//! the models, which both sides read from a temporary folder. With `--score`, 96 texts of 8 to 96 tokens are scored instead. With `--type=int8`, both sides have
//! weights of 8 bits, and the errors of their log-probabilities are against ours in single precision. With `--weights=bfloat16`, or `float16`, the model's file has weights
//! of 16 bits, which stay so here, while CTranslate2 reads them as single precision; both compute in that.
//!
//! Prints a Markdown table: tokens per second on both sides, the median of pairwise ratios with minimum and maximum, and how many of the texts
//! have the same ids (or the greatest difference between log-probabilities), from the runs that are timed.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the program prints a table")]

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use burn::tensor::DType;
use serde_json::{Value, json};
use stepfn_attribution::{ScoringOptions, Text, score};
use stepfn_bench::shapes::ids;
use stepfn_benches::peer::Peer;
use stepfn_benches::{Measured as B, median, wait};
use stepfn_core::StepFunction;
use stepfn_core::functions::Crossentropy;
use stepfn_models::generation::GenerationSettings;
use stepfn_models::{Model, Opening};

#[global_allocator]
static ALLOCATOR: stepfn_cpu::allocator::Allocator = stepfn_cpu::allocator::Allocator;

const SHAPES: [&str; 3] = ["gpt2-small", "smollm2-135m", "opus-mt-base"];
const NEW_TOKENS: usize = 64;
/// Pairs of times.
const RUNS: usize = 5;
/// Pause between turns: a library's threads keep spinning for a few milliseconds after their work, on cores that the other one needs.
const PAUSE: Duration = Duration::from_millis(20);

/// What one side did in one run.
struct Run {
    seconds: f64,
    /// Ids or log-probabilities of each text.
    result: Vec<Vec<f64>>,
}

fn timed(work: impl FnOnce() -> Vec<Vec<f64>>) -> Run {
    std::thread::sleep(PAUSE);
    let start = Instant::now();
    let result = work();
    wait::<B>(&Default::default()).expect("the device answers");
    Run { seconds: start.elapsed().as_secs_f64(), result }
}

/// The ids of what is written on each text.
fn write(model: &Model<B>, texts: &[Vec<u32>], beams: usize) -> Vec<Vec<f64>> {
    let special = &model.config().special;
    let settings = GenerationSettings {
        max_new_tokens: NEW_TOKENS,
        min_new_tokens: NEW_TOKENS,
        num_beams: beams,
        eos: special.eos.clone(),
        // CTranslate2 leaves out Marian's padding, with which targets start.
        bad_words_ids: special.decoder_start.into_iter().map(|start| vec![start]).collect(),
        ..GenerationSettings::default()
    };
    let start: Vec<u32> = special.decoder_start.into_iter().collect();
    let opening = |text| match model.encoder() {
        Some(_) => Opening { source: Some(text), prompt: &start, settings: &settings },
        None => Opening { source: None, prompt: text, settings: &settings },
    };
    let openings: Vec<Opening<'_>> = texts.iter().map(|text| opening(text.as_slice())).collect();
    let written = model.generate_many(&openings).into_iter();
    let best = |hypotheses: Vec<stepfn_models::generation::Hypothesis>| {
        hypotheses[0].ids.iter().map(|&id| f64::from(id)).collect()
    };
    written.map(|text| best(text.expect("the text can be written"))).collect()
}

/// The log-probabilities of the texts' tokens; of an encoder–decoder, those of each text as the target of the one before it.
fn log_probabilities(model: &Model<B>, texts: &[Vec<u32>]) -> Vec<Vec<f64>> {
    let special = &model.config().special;
    let text = |number: usize| match special.decoder_start.filter(|_| model.encoder().is_some()) {
        Some(start) => {
            let target = &texts[(number + 1) % texts.len()];
            let end = special.eos.first().copied();
            let target = core::iter::once(start).chain(target.iter().copied()).chain(end).collect();
            Text::seq2seq(texts[number].clone(), target)
        }
        None => Text::causal(texts[number].clone(), 1),
    };
    let texts: Vec<Text> = (0..texts.len()).map(text).collect();
    let functions: [Box<dyn StepFunction<B>>; 1] = [Box::new(Crossentropy::default())];
    let scores = score(model, &texts, &functions, &ScoringOptions::default()).expect("the texts can be scored");
    let of_text =
        |text: stepfn_attribution::TextScores| text.scores[0].1.iter().map(|&entropy| -f64::from(entropy)).collect();
    scores.into_iter().map(|text| of_text(text.expect("the text can be scored"))).collect()
}

/// Mean and greatest difference of log-probabilities.
fn error(of: &[Vec<f64>], exact: &[Vec<f64>]) -> String {
    let each: Vec<f64> =
        of.iter().flatten().zip(exact.iter().flatten()).map(|(of, exact)| (of - exact).abs()).collect();
    let mean = each.iter().sum::<f64>() / each.len() as f64;
    format!("{mean:.1e}, {:.1e}", each.iter().copied().fold(0.0, f64::max))
}

/// How the results of both sides compare.
fn compared(ours: &[Vec<f64>], theirs: &[Vec<f64>], scores: bool) -> String {
    if !scores {
        let same = ours.iter().zip(theirs).filter(|(ours, theirs)| ours == theirs).count();
        return format!("{same} of {}", ours.len());
    }
    let same_lengths = ours.iter().map(Vec::len).eq(theirs.iter().map(Vec::len));
    assert!(same_lengths, "both sides score the same tokens");
    let pairs = ours.iter().flatten().zip(theirs.iter().flatten());
    format!("{:.0e}", pairs.map(|(ours, theirs)| (ours - theirs).abs()).fold(0.0, f64::max))
}

fn main() -> ExitCode {
    // SAFETY: no other thread exists yet.
    #[allow(unsafe_code, reason = "setting up the allocator is unsafe while other threads run")]
    unsafe {
        stepfn_cpu::allocator::keep_memory();
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    let given = |name: &str| arguments.iter().find_map(|argument| argument.strip_prefix(name));
    let (quick, scores) = (has("--quick"), has("--score"));
    let beams: usize = given("--beams=").map_or(1, |beams| beams.parse().expect("a number of beams"));
    let numbers = given("--texts=").unwrap_or(if scores { "96" } else { "1,8,32" });
    let numbers: Vec<usize> = numbers.split(',').map(|texts| texts.parse().expect("numbers of texts")).collect();
    let kind = given("--type=").unwrap_or("float32");
    let weights = given("--weights=").unwrap_or("float32");
    let chosen: Vec<&str> = SHAPES.into_iter().filter(|shape| has(shape)).collect();
    let chosen = if chosen.is_empty() { SHAPES.to_vec() } else { chosen };
    let mut peer = match Peer::start("ctranslate2.py") {
        Ok(peer) => peer,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    println!("Peer: {}; it computes in {kind}, of weights in {weights}\n", peer.about);
    let same = match (scores, kind) {
        (true, "int8") => "errors, mean and greatest: ours; theirs",
        (true, _) => "greatest difference",
        (false, _) => "same ids",
    };
    println!("| shape | texts | ours, tokens/s | CTranslate2, tokens/s | times as fast (least–most) | {same} |");
    println!("|---|---|---|---|---|---|");
    let all = std::env::temp_dir().join(format!("stepfn-writing-{}", std::process::id()));
    let mut failed = false;
    for shape in chosen {
        let folder = all.join(shape);
        for &number in &numbers {
            if let Err(error) = row(&mut peer, &folder, shape, number, (beams, scores, kind, weights, quick)) {
                println!("\n{shape}, {number} texts: {error}\n");
                failed = true;
            }
        }
        // The models take a gigabyte.
        let _ = std::fs::remove_dir_all(&folder);
    }
    let _ = std::fs::remove_dir_all(&all);
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Measures and prints a row of the table.
fn row(
    peer: &mut Peer,
    folder: &Path,
    shape: &str,
    number: usize,
    (beams, scores, kind, weights, quick): (usize, bool, &str, &str, bool),
) -> Result<(), String> {
    let published = stepfn_bench::Shape::find(shape).ok_or("it has no published shape")?;
    let vocab = published.config(0)["vocab_size"].as_u64().unwrap_or(0) as usize;
    // Lengths in no order.
    let length = |text: usize| if scores { 8 + text * 37 % 89 } else { 16 + text * 7 % 17 };
    let texts: Vec<Vec<u32>> = (0..number).map(|text| ids(vocab, length(text), 1 + text as u64)).collect();
    let setup = json!({
        "shape": shape, "folder": folder, "texts": texts, "new_tokens": NEW_TOKENS, "beams": beams, "type": kind, "weights": weights
    });
    peer.setup(&setup)?;
    let load = |dtype| Model::<B>::load(folder, dtype, &Default::default()).map_err(|error| error.to_string());
    let model = load(if kind == "int8" { DType::I8 } else { DType::F32 })?;
    let work = if scores { "score" } else { "generate" };
    let ours = || timed(|| if scores { log_probabilities(&model, &texts) } else { write(&model, &texts, beams) });
    let mut theirs = || {
        std::thread::sleep(PAUSE);
        let (seconds, result): (f64, Value) = peer.result(work);
        Run { seconds, result: serde_json::from_value(result).expect("numbers of each text") }
    };
    // The first of each warms up.
    let (mut last, mut other) = (ours(), theirs());
    let mut pairs = Vec::new();
    for _ in 0..if quick { 1 } else { RUNS } {
        (last, other) = (ours(), theirs());
        pairs.push((last.seconds, other.seconds));
    }
    let tokens = last.result.iter().map(Vec::len).sum::<usize>() as f64;
    let per_second = |side: fn(&(f64, f64)) -> f64| tokens / median(&pairs.iter().map(side).collect::<Vec<_>>());
    let mut ratios: Vec<f64> = pairs.iter().map(|(ours, theirs)| theirs / ours).collect();
    ratios.sort_by(f64::total_cmp);
    println!(
        "| {shape} | {number} | {:.0} | {:.0} | {:.2} ({:.2}–{:.2}) | {} |",
        per_second(|pair| pair.0),
        per_second(|pair| pair.1),
        median(&ratios),
        ratios[0],
        ratios[ratios.len() - 1],
        match kind {
            "int8" if scores => {
                let exact = log_probabilities(&load(DType::F32)?, &texts);
                format!("{}; {}", error(&last.result, &exact), error(&other.result, &exact))
            }
            _ => compared(&last.result, &other.result, scores),
        }
    );
    Ok(())
}
