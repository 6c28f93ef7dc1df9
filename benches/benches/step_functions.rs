//! Every step function compared with PyTorch on the same shapes; calls alternate within one run.
//!
//! `STEPFN_PYTHON=… cargo bench -p stepfn-benches --bench step_functions [-- --quick]`
//!
//! Prints two Markdown tables: the speedup over PyTorch (median of pairwise ratios), and our milliseconds.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the program prints tables")]

use std::time::{Duration, Instant};

use burn::tensor::{Int, Tensor, TensorData};
use serde_json::json;
use stepfn_benches::peer::Peer;
use stepfn_benches::{logits, median};
use stepfn_core::functions::{self, KlDivergence, NoisyStatistic};
use stepfn_core::{NoisyPredictions, Registry, StepBatch};

type B = stepfn_cpu::flex::Backend;

const VOCABS: [usize; 3] = [1_000, 32_000, 128_000];
const ROWS: [usize; 3] = [1, 64, 1024];
/// Elements of all noisy passes of a case: 1 GiB.
const NOISY_ELEMENTS: usize = 1 << 28;
/// Seconds for each side per function and shape, after the minimum number of runs.
const BUDGET: f64 = 0.3;
const LEAST_RUNS: usize = 3;
const MOST_RUNS: usize = 15;
/// Pause between turns: a library's threads keep spinning for a few milliseconds after their work, on cores that the other one needs.
const PAUSE: Duration = Duration::from_millis(20);

/// The tensors of one shape.
struct Steps {
    logits: Tensor<B, 2>,
    contrast_logits: Tensor<B, 2>,
    noisy_logits: Tensor<B, 3>,
    target_ids: Tensor<B, 1, Int>,
    ids: Vec<u32>,
}

impl Steps {
    fn new(rows: usize, vocab: usize, n_noisy: usize) -> Self {
        let device = Default::default();
        let ids: Vec<u32> = (0..rows).map(|row| (row * 7919 % vocab) as u32).collect();
        let target_ids: Vec<i32> = ids.iter().map(|&id| id as i32).collect();
        let original = logits::<B>(rows, vocab, 1, &device);
        // Noisy and contrastive logits differ from the original ones by a third of their spread.
        let near = |n: usize, seed| {
            let noise = logits::<B>(n * rows, vocab, seed, &device).div_scalar(3).reshape([n, rows, vocab]);
            noise + original.clone().unsqueeze()
        };
        Self {
            contrast_logits: near(1, 2).squeeze_dim(0),
            noisy_logits: near(n_noisy, 3),
            logits: original,
            target_ids: Tensor::from_data(TensorData::new(target_ids, [rows]), &device),
            ids,
        }
    }

    /// Runs the function under the name that the peer uses for it.
    fn run(&self, name: &str) -> Vec<Tensor<B, 1>> {
        let (z, y) = (|| self.logits.clone(), || self.target_ids.clone());
        let other = || self.contrast_logits.clone();
        let noisy = || NoisyPredictions::unchecked(self.noisy_logits.clone());
        let noisy_log_prob = || noisy().log_prob(y(), noisy().n_samples());
        vec![match name {
            "all_five" => return self.all_five(),
            "logit" => functions::logit(z(), y()),
            "probability" => functions::probability(z(), y()),
            "entropy" => functions::entropy(z()),
            "crossentropy" => functions::crossentropy(z(), y()),
            "perplexity" => functions::perplexity(z(), y()),
            "surprisal" => functions::surprisal(z(), y()),
            "rank" => functions::rank(z(), y()),
            "margin" => functions::margin(z(), y()),
            "typicality" => functions::typicality(z(), y()),
            // The peer also has a variant that few people write: growing a top-k until its mass suffices.
            "top_p_size" | "top_p_size_topk" => functions::top_p_size(z(), 0.9),
            "renyi_entropy" => functions::renyi_entropy(z(), 2.0),
            "contrast_logits" => functions::contrast_logits(other(), y()),
            "contrast_prob" => functions::contrast_prob(other(), y()),
            "contrast_logits_diff" => functions::contrast_logits_diff(z(), y(), other(), y()),
            "contrast_prob_diff" => functions::contrast_prob_diff(z(), y(), other(), y()),
            "pcxmi" => functions::pcxmi(z(), y(), other(), y()),
            "in_context_pvi" => functions::in_context_pvi(z(), y(), other(), y()),
            "kl_divergence" => functions::kl_divergence(z(), other(), &KlDivergence::default()),
            "kl_divergence_top_p" => {
                functions::kl_divergence(z(), other(), &KlDivergence { top_p: 0.9, ..Default::default() })
            }
            "js_divergence" => functions::js_divergence(z(), other()),
            "mc_dropout_prob_avg" => functions::mc_dropout_prob_avg(
                functions::probability(z(), y()),
                noisy_log_prob().exp(),
                NoisyStatistic::Mean,
            ),
            "mc_dropout_variance" => functions::mc_dropout_variance(noisy_log_prob().exp()),
            "mc_dropout_entropy" => functions::mc_dropout_entropy(self.noisy_logits.clone()),
            "mc_dropout_mutual_information" => functions::mc_dropout_mutual_information(self.noisy_logits.clone()),
            other => panic!("{other} is not benchmarked"),
        }]
    }

    fn all_five(&self) -> Vec<Tensor<B, 1>> {
        let registry = Registry::default();
        let steps = StepBatch::new(self.logits.clone(), &self.ids).expect("these logits are finite");
        let five = ["logit", "probability", "entropy", "crossentropy", "perplexity"];
        let score = |name| registry.make(name, &Default::default()).and_then(|function| function.score(&steps));
        five.map(|name| score(name).expect("it needs nothing else")).to_vec()
    }

    /// Seconds of the second of two runs, so that caches and threads are warm as in a loop.
    fn seconds(&self, name: &str) -> f64 {
        std::thread::sleep(PAUSE);
        std::hint::black_box(self.run(name));
        let start = Instant::now();
        std::hint::black_box(self.run(name));
        start.elapsed().as_secs_f64()
    }
}

/// The peer's seconds, measured in the same way.
fn seconds_of(peer: &mut Peer, name: &str) -> f64 {
    std::thread::sleep(PAUSE);
    peer.time(name, 2)[1]
}

/// All step functions of the registry, and combinations that share work.
fn names() -> Vec<String> {
    let registry = Registry::<B>::default();
    let extra = ["all_five", "kl_divergence_top_p", "top_p_size_topk"].map(str::to_owned);
    registry.iter().map(|about| about.name.clone()).chain(extra).collect()
}

/// One cell: pairwise ratios (if there is a peer) and our seconds.
fn measure(steps: &Steps, name: &str, peer: Option<&mut Peer>) -> (Vec<f64>, f64) {
    let first = steps.seconds(name);
    let Some(peer) = peer else {
        let runs = ((BUDGET / first) as usize).clamp(LEAST_RUNS, MOST_RUNS);
        return (Vec::new(), median(&(0..runs).map(|_| steps.seconds(name)).collect::<Vec<_>>()));
    };
    let runs = ((BUDGET / first.max(seconds_of(peer, name))) as usize).clamp(LEAST_RUNS, MOST_RUNS);
    let pairs: Vec<(f64, f64)> = (0..runs).map(|_| (steps.seconds(name), seconds_of(peer, name))).collect();
    let ratios = pairs.iter().map(|(ours, theirs)| theirs / ours).collect();
    (ratios, median(&pairs.iter().map(|pair| pair.0).collect::<Vec<_>>()))
}

fn main() {
    let quick = std::env::args().any(|arg| arg == "--quick");
    let mut peer = Peer::start("step_functions.py")
        .inspect(|peer| println!("PyTorch: {}", peer.about))
        .inspect_err(|error| eprintln!("no ratios, because PyTorch is missing: {error}"))
        .ok();
    let shapes: Vec<(usize, usize)> = VOCABS.iter().flat_map(|&vocab| ROWS.map(|rows| (vocab, rows))).collect();
    let shapes: Vec<_> = shapes.into_iter().filter(|(vocab, rows)| !quick || vocab * rows <= 1 << 21).collect();
    let names = names();
    let mut cells = vec![Vec::new(); names.len()];
    for &(vocab, rows) in &shapes {
        let n_noisy = (NOISY_ELEMENTS / (rows * vocab)).clamp(2, 10);
        eprintln!("{rows} rows of {vocab}, {n_noisy} noisy passes");
        let steps = Steps::new(rows, vocab, n_noisy);
        if let Some(peer) = &mut peer {
            peer.setup(&json!({ "rows": rows, "vocab": vocab, "n_noisy": n_noisy })).expect("it knows that setup");
        }
        for (name, cells) in names.iter().zip(&mut cells) {
            cells.push(measure(&steps, name, peer.as_mut()));
        }
    }

    let heading = |title: &str| {
        let columns: Vec<String> = shapes.iter().map(|(vocab, rows)| format!("{}k × {rows}", vocab / 1000)).collect();
        println!("\n| {title} | {} |\n|---|{}", columns.join(" | "), "---|".repeat(shapes.len()));
    };
    if peer.is_some() {
        heading("times PyTorch's speed (least–most)");
        for (name, cells) in names.iter().zip(&cells) {
            let cell = |(ratios, _): &(Vec<f64>, f64)| {
                let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
                let most = ratios.iter().copied().fold(0.0, f64::max);
                format!("{:.1} ({least:.1}–{most:.1})", median(ratios))
            };
            println!("| {name} | {} |", cells.iter().map(cell).collect::<Vec<_>>().join(" | "));
        }
    }
    heading("milliseconds");
    for (name, cells) in names.iter().zip(&cells) {
        let cell = |(_, seconds): &(Vec<f64>, f64)| format!("{:.3}", seconds * 1e3);
        println!("| {name} | {} |", cells.iter().map(cell).collect::<Vec<_>>().join(" | "));
    }
}
