//! The benefit of sharing one pass over the logits: five step functions of one [`StepBatch`], compared with the same five called separately
//! and with one log-softmax, on burn-flex with fused kernels and on burn-ndarray with composed operations.
//!
//! `cargo bench -p stepfn-benches --bench shared_pass`

#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "criterion's macros create undocumented items; a benchmark that can't continue should fail"
)]

use burn::tensor::activation::log_softmax;
use burn::tensor::{Int, Tensor, TensorData, backend::Backend};
use criterion::{Criterion, criterion_group, criterion_main};
use stepfn_benches::logits;
use stepfn_core::functions::{crossentropy, entropy, logit, perplexity, probability};
use stepfn_core::{Registry, StepBatch};

const ROWS: usize = 64;
const VOCAB: usize = 32_768;

fn on<B: Backend>(criterion: &mut Criterion, backend: &str, device: &B::Device) {
    let logits = logits::<B>(ROWS, VOCAB, 1, device);
    let ids: Vec<u32> = (0..ROWS as u32).map(|row| row * 31).collect();
    let target_ids = ids.iter().map(|&id| id as i32).collect::<Vec<_>>();
    let target_ids = Tensor::<B, 1, Int>::from_data(TensorData::new(target_ids, [ROWS]), device);
    let registry = Registry::<B>::default();
    let five = ["logit", "probability", "entropy", "crossentropy", "perplexity"]
        .map(|name| registry.make(name, &Default::default()).unwrap());

    let mut group = criterion.benchmark_group(format!("{backend}, {ROWS} x {VOCAB}"));
    group.sample_size(20);
    group.bench_function("one log_softmax", |bencher| bencher.iter(|| log_softmax(logits.clone(), 1)));
    group.bench_function("five of one batch", |bencher| {
        bencher.iter(|| {
            let steps = StepBatch::new(logits.clone(), &ids).unwrap();
            five.iter().map(|function| function.score(&steps).unwrap()).collect::<Vec<_>>()
        });
    });
    group.bench_function("five one by one", |bencher| {
        bencher.iter(|| {
            let (z, y) = (|| logits.clone(), || target_ids.clone());
            [logit(z(), y()), probability(z(), y()), entropy(z()), crossentropy(z(), y()), perplexity(z(), y())]
        });
    });
    group.finish();
}

fn shared_pass(criterion: &mut Criterion) {
    on::<stepfn_cpu::flex::Backend>(criterion, "flex", &Default::default());
    on::<stepfn_cpu::ndarray::Backend>(criterion, "ndarray", &Default::default());
}

criterion_group!(benches, shared_pass);
criterion_main!(benches);
