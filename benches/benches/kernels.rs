//! Every transformer kernel of `stepfn-kernels`, with its fused and its generic route, on tensors of the same backend, at the sizes of
//! GPT-2 small.
//!
//! `cargo bench -p stepfn-benches --bench kernels [-- PART OF A NAME …]`
//!
//! Prints a Markdown table: milliseconds of the fastest run, the fused route's speedup, and the share of its time that its matrix products
//! would take at the speed of a large product.

#![allow(clippy::print_stdout, reason = "the program prints a table")]

use std::time::{Duration, Instant};

use burn::backend::Autodiff;
use burn::tensor::{Tensor, backend::Backend};
use stepfn_benches::logits;
use stepfn_kernels::Cotangents;
use stepfn_kernels::activation::{Activation, activate, activate_backward};
use stepfn_kernels::attention::{AttentionInputs, AttentionShape, Visible, attention, attention_backward};
use stepfn_kernels::linear::linear;
use stepfn_kernels::norm::{NormKind, normalize, normalize_backward};

#[global_allocator]
static ALLOCATOR: stepfn_cpu::allocator::Allocator = stepfn_cpu::allocator::Allocator;

type Fused = stepfn_cpu::flex::Backend;
/// The same memory and products, but not the type that the fused routes match.
type Generic = Autodiff<Fused>;

const HIDDEN: usize = 768;
const FEED_FORWARD: usize = 3072;
const HEADS: usize = 12;
/// Cotangents per backward pass.
const COTANGENTS: usize = 8;
const RUNS: usize = 50;
const BUDGET: Duration = Duration::from_secs(1);

/// One kernel at one width, with the number of multiplications in its matrix products.
struct Case<B: Backend> {
    name: String,
    multiplications: usize,
    run: Box<dyn Fn() -> Vec<Tensor<B, 2>>>,
}

fn noise<B: Backend>(rows: usize, columns: usize) -> Tensor<B, 2> {
    logits(rows, columns, (rows + columns) as u64, &B::Device::default())
}

fn forward<B: Backend>(width: usize) -> Vec<Case<B>> {
    let mut cases = Vec::new();
    for [inputs, outputs] in [[HIDDEN, HIDDEN], [HIDDEN, 3 * HIDDEN], [HIDDEN, FEED_FORWARD], [FEED_FORWARD, HIDDEN]] {
        for transposed in [false, true] {
            let weight: Tensor<B, 2> =
                if transposed { noise(outputs, inputs).transpose() } else { noise(inputs, outputs) };
            let (x, bias) = (noise::<B>(width, inputs), noise::<B>(1, outputs));
            cases.push(Case {
                name: format!("linear {inputs} → {outputs}{}", if transposed { ", transposed view" } else { "" }),
                multiplications: width * inputs * outputs,
                run: Box::new(move || vec![linear(x.clone(), &weight, Some(&bias))]),
            });
        }
    }
    let (x, weight, bias) = (noise::<B>(width, HIDDEN), noise::<B>(1, HIDDEN), noise::<B>(1, HIDDEN));
    cases.push(Case {
        name: "LayerNorm".to_owned(),
        multiplications: 0,
        run: Box::new(move || vec![normalize(x.clone(), &weight, Some(&bias), NormKind::Layer, 1e-5)]),
    });
    for activation in [Activation::GeluTanh, Activation::Gelu] {
        let x = noise::<B>(width, FEED_FORWARD);
        cases.push(Case {
            name: format!("{activation:?}"),
            multiplications: 0,
            run: Box::new(move || vec![activate(x.clone(), activation)]),
        });
    }
    let heads = Heads::<B>::new(width);
    cases.push(Case {
        name: "attention".to_owned(),
        // Half of the scores are above the diagonal.
        multiplications: width * width * HIDDEN,
        run: Box::new(move || vec![attention(&heads.inputs())]),
    });
    cases
}

fn backward<B: Backend>(width: usize) -> Vec<Case<B>> {
    let cotangents = Cotangents { texts: 1, per_text: COTANGENTS };
    let rows = COTANGENTS * width;
    let (x, weight, grad) = (noise::<B>(width, HIDDEN), noise::<B>(1, HIDDEN), noise::<B>(rows, HIDDEN));
    let norm = move || vec![normalize_backward(&x, &weight, NormKind::Layer, 1e-5, grad.clone(), cotangents)];
    let (x, grad) = (noise::<B>(width, FEED_FORWARD), noise::<B>(rows, FEED_FORWARD));
    let activation = move || vec![activate_backward(&x, Activation::GeluTanh, grad.clone(), cotangents)];
    let (heads, grad) = (Heads::<B>::new(width), noise::<B>(rows, HIDDEN));
    let attention = move || {
        let gradients = attention_backward(&heads.inputs(), grad.clone(), COTANGENTS);
        vec![gradients.query, gradients.key, gradients.value]
    };
    let case = |name: &str, multiplications, run| Case { name: name.to_owned(), multiplications, run };
    vec![
        case("LayerNorm backward", 0, Box::new(norm)),
        case("GeluTanh backward", 0, Box::new(activation)),
        case("attention backward", (4 * COTANGENTS + 1) * width * width / 2 * HIDDEN, Box::new(attention)),
    ]
}

/// Queries, keys and values of one causal text.
struct Heads<B: Backend> {
    query: Tensor<B, 2>,
    key: Tensor<B, 2>,
    value: Tensor<B, 2>,
    visible: Visible<B>,
}

impl<B: Backend> Heads<B> {
    fn new(width: usize) -> Self {
        let [query, key, value] = [1, 2, 3].map(|seed| logits(width, HIDDEN, seed, &B::Device::default()));
        let ranges = (1..=width as u32).map(|end| 0..end).collect();
        Self { query, key, value, visible: Visible::new(ranges, 1, width, width, &B::Device::default()) }
    }

    fn inputs(&self) -> AttentionInputs<'_, B> {
        let head_dim = HIDDEN / HEADS;
        let scale = 1.0 / (head_dim as f64).sqrt();
        AttentionInputs {
            query: &self.query,
            key: &self.key,
            value: &self.value,
            shape: AttentionShape { texts: 1, n_heads: HEADS, n_kv_heads: HEADS, head_dim, scale, soft_cap: None },
            visible: &self.visible,
            bias: None,
            sinks: None,
            dropout: None,
        }
    }
}

/// Milliseconds of the fastest run; other load on the machine only slows runs down.
fn milliseconds<B: Backend>(run: &dyn Fn() -> Vec<Tensor<B, 2>>) -> f64 {
    let mut fastest = f64::INFINITY;
    let started = Instant::now();
    for done in 0..RUNS {
        if done > 2 && started.elapsed() > BUDGET {
            break;
        }
        let start = Instant::now();
        let results = run();
        fastest = fastest.min(start.elapsed().as_secs_f64() * 1e3);
        drop(results);
    }
    fastest
}

fn main() {
    // SAFETY: no other thread exists yet.
    #[allow(unsafe_code, reason = "setting up the allocator is unsafe while other threads run")]
    unsafe {
        stepfn_cpu::allocator::keep_memory();
    }
    let asked: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let wanted = |name: &str| asked.is_empty() || asked.iter().any(|asked| name.contains(asked));
    let (left, right) = (noise::<Fused>(1024, 1024), noise::<Fused>(1024, 1024));
    let large = milliseconds::<Fused>(&|| vec![left.clone().matmul(right.clone())]);
    let per_millisecond = 1024f64.powi(3) / large;
    println!("A product of 1024³: {:.0} GFLOP/s\n", 2.0 * per_millisecond / 1e6);
    println!("| width | kernel | generic, ms | fused, ms | faster | products |");
    println!("|---|---|---|---|---|---|");
    for width in [32, 128, 512, 1024] {
        let generic = forward::<Generic>(width).into_iter().chain(backward(width));
        let fused = forward::<Fused>(width).into_iter().chain(backward(width));
        for (generic, fused) in generic.zip(fused).filter(|(_, fused)| wanted(&fused.name)) {
            let (slow, fast) = (milliseconds(&*generic.run), milliseconds(&*fused.run));
            let products = fused.multiplications as f64 / per_millisecond / fast;
            let ratio = slow / fast;
            println!("| {width} | {} | {slow:.3} | {fast:.3} | {ratio:.1}× | {:.0} % |", fused.name, 100.0 * products);
        }
    }
}
