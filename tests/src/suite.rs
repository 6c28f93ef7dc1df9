//! The tests that every backend must pass.

use std::io::Write as _;

use burn::tensor::{DType, backend::Backend};
use stepfn_core::device::DeviceError;
use stepfn_kernels::dropout::{DropRate, MaskRow, MaskStream, Site, Stack};
use stepfn_models::transformer::PaddingSide;

use crate::case::{Case, uniform};
use crate::{golden, gradients, identities, models, values};

/// Golden models that have every kind of every part: one for each kind of positions, of norms, activations and feed-forwards, and both kinds of
/// encoder–decoder.
const FAMILIES: [&str; 20] = [
    "apertus",
    "bloom",
    "cohere_norm",
    "falcon_new",
    "fsmt",
    "gemma2",
    "gemma3_text",
    "gpt2",
    "gptj",
    "granite",
    "led",
    "llama3_rope",
    "marian",
    "ministral3",
    "mixtral",
    "nemotron",
    "olmo2",
    "smollm3",
    "t5_gated",
    "umt5",
];

/// Runs them on `device`.
pub fn run<B: Backend>(device: &B::Device) {
    golden::agree_with_pytorch::<B>(device);
    for (seed, (rows, vocab, scale)) in
        [(1, 2, 1.0), (3, 50, 4.0), (4, 300, 8.0), (2, 33, 0.01)].into_iter().enumerate()
    {
        let case = Case::random(rows, vocab, 4, scale, uniform(seed as u64));
        values::agree_with_the_reference::<B>(&case, device);
        identities::all::<B>(&case, device);
    }
    let small = Case::random(2, 5, 4, 2.0, uniform(9));
    gradients::equal_central_differences::<B>(&small, DType::F32, 1e-4, device);
    dropout_masks_are_those_of_the_cpu::<B>(device);
    for family in FAMILIES {
        let folder = golden::folder().join("models").join(family);
        // GPU drivers may compute tangents and exponentials less accurately than a CPU.
        models::agrees_with_transformers::<B>(&folder, PaddingSide::Left, 1e-3, device);
        models::writes_what_transformers_writes::<B>(&folder, device);
    }
}

/// The same address gives the same bits on every backend.
fn dropout_masks_are_those_of_the_cpu<B: Backend>(device: &B::Device) {
    let rate = DropRate::new(0.1).expect("0.1 is a rate");
    let stream = MaskStream::new(0xdead_beef_cafe, Stack::Decoder, 7, Site::SelfAttention);
    let rows: Vec<MaskRow> = (0..20).map(|position| MaskRow { text: 1000, sample: 3, position }).collect();
    let mask: Vec<f32> = stream.mask::<B>(&rows, 129, rate, device).into_data().iter::<f32>().collect();
    let cpu = stream.mask::<stepfn_cpu::flex::Backend>(&rows, 129, rate, &Default::default());
    assert_eq!(mask, cpu.into_data().to_vec::<f32>().expect("masks are f32"));
}

/// Reports that a backend was not tested, and why, bypassing the test runner's capture. Panics if `STEPFN_REQUIRE_DEVICES` names the
/// backend.
pub fn skip(backend: &str, error: &DeviceError) {
    let required = std::env::var("STEPFN_REQUIRE_DEVICES").unwrap_or_default();
    assert!(
        !required.split(',').any(|name| name == backend),
        "{backend} must be tested here, but is not available: {error}"
    );
    let _ = writeln!(std::io::stderr(), "SKIPPED: {backend} was not tested: {error}");
}
