//! Step scores and attributions against inseq, in turns, in one run.
//!
//! `STEPFN_PYTHON=… cargo bench -p stepfn-benches --bench attribution [-- --quick] [shape:prompt+target…]`
//!
//! Prints a Markdown table: seconds of ours and inseq's, and the median of pairwise ratios with the least and the most.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a table is what this program is for")]

use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use stepfn_attribution::{AttributionOptions, Method, Registries, Text, attribute};
use stepfn_benches::peer::Peer;
use stepfn_benches::{median, shapes};
use stepfn_models::Model;
use stepfn_models::tape::{ModelInput, StackInput};
use stepfn_models::transformer::{Dropout, PaddingSide, TokenBatch};

#[global_allocator]
static ALLOCATOR: stepfn_cpu::allocator::Allocator = stepfn_cpu::allocator::Allocator;

type B = stepfn_cpu::flex::Backend;

/// Shape, tokens of the prompt or source, tokens of the target.
const QUESTIONS: [(&str, usize, usize); 2] = [("gpt2-small", 13, 22), ("opus-mt-base", 13, 22)];
/// What the peer calls it, and whether it takes it so long that once must do.
const WORK: [(&str, bool); 8] = [
    ("forward", false),
    ("step_scores", false),
    ("saliency", false),
    ("input_x_gradient", false),
    ("attention", false),
    ("mc_dropout_prob_avg", true),
    ("integrated_gradients", true),
    ("occlusion", true),
];
/// Between turns: a library's threads spin for some milliseconds after their work, on cores that are the other's now.
const PAUSE: Duration = Duration::from_millis(20);

struct Side<'a> {
    model: &'a Model<B>,
    registries: Registries<B>,
    text: Text,
}

impl Side<'_> {
    fn run(&self, work: &str) {
        if work == "forward" {
            return self.forward();
        }
        let none = Map::new();
        let step = |name: &str, parameters: &Map<String, Value>| {
            self.registries.plain().make(name, parameters).expect("it is built in")
        };
        let ten = Map::from_iter([("n_mcd_steps".to_owned(), json!(10))]);
        let twenty = Map::from_iter([("n_steps".to_owned(), json!(20))]);
        let (name, parameters, functions) = match work {
            "step_scores" => ("dummy", &none, ["logit", "probability", "entropy"].map(|name| step(name, &none)).into()),
            "mc_dropout_prob_avg" => ("dummy", &none, vec![step("mc_dropout_prob_avg", &ten)]),
            "integrated_gradients" => (work, &twenty, vec![]),
            _ => (work, &none, vec![]),
        };
        let method = Method::make(name, parameters).expect("it is built in");
        let function = self.registries.attributed("probability", &none).expect("it is built in");
        let options = AttributionOptions { attribute_target: true, ..Default::default() };
        let texts = [self.text.clone()];
        let done = attribute(self.model, &texts, &method, &function, &functions, &options).expect("options are fine");
        done.into_iter().for_each(|text| drop(std::hint::black_box(text.expect("the text fits"))));
    }

    fn forward(&self) {
        let batch = |ids: &[u32]| {
            TokenBatch::new(vec![ids.to_vec()], self.model.config().vocab_size, PaddingSide::Right).expect("tokens")
        };
        let source = self.text.source.as_deref().map(batch);
        let target = batch(&self.text.target[..self.text.target.len() - 1]);
        let embedded = source.as_ref().zip(self.model.encoder());
        let input = ModelInput {
            source: embedded.map(|(batch, encoder)| StackInput::embedded(batch, encoder.embed(batch))),
            target: StackInput::embedded(&target, self.model.decoder().embed(&target)),
            dropout: &Dropout::Off,
        };
        std::hint::black_box(self.model.logits(self.model.hidden(input).expect("it fits")));
    }

    fn seconds(&self, work: &str) -> f64 {
        std::thread::sleep(PAUSE);
        let start = Instant::now();
        self.run(work);
        start.elapsed().as_secs_f64()
    }
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
        let model = shapes::model::<B>(&shape, &Default::default());
        let ids = shapes::ids(&shape, prompt + target, 1);
        let text = match &model.config().special.decoder_start {
            Some(start) if model.encoder().is_some() => {
                let target = core::iter::once(*start).chain(ids[prompt..].iter().copied());
                Text::seq2seq(ids[..prompt].to_vec(), target.collect())
            }
            _ => Text::causal(ids, prompt),
        };
        let side = Side { model: &model, registries: Registries::default(), text };
        if let Some(peer) = &mut peer {
            peer.setup(&json!({ "shape": shape, "prompt": prompt, "target": target }));
        }
        for (work, slow) in WORK {
            if quick && slow || only.as_ref().is_some_and(|only| !only.split(',').any(|name| name == work)) {
                continue;
            }
            // Caches and threads are warm, as in a loop.
            side.run(work);
            let runs = if slow { 2 } else { 5 };
            if let (Some(peer), false) = (&mut peer, slow) {
                peer.time(work, 1);
            }
            let pairs: Vec<(f64, f64)> = (0..runs)
                .map(|_| (side.seconds(work), peer.as_mut().map_or(f64::NAN, |peer| peer.time(work, 1)[0])))
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
