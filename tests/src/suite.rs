//! The tests that every backend must pass.

use std::io::Write as _;

use burn::tensor::{DType, backend::Backend};
use stepfn_core::device::DeviceError;
use stepfn_kernels::dropout::{DropRate, MaskRow, MaskStream, Site, Stack};
use stepfn_models::transformer::PaddingSide;

use crate::case::{Case, uniform};
use crate::{golden, gradients, identities, models, values};

/// Golden models that have every kind of every part: one for each kind of positions, of norms, activations and feed-forwards, and both kinds of
/// encoder–decoder. A test below compares them with all others.
const FAMILIES: [&str; 29] = [
    "apertus",
    "blenderbot_small",
    "bloom",
    "cohere_norm",
    "falcon_new",
    "fsmt",
    "gemma2",
    "gemma3_text",
    "gpt2",
    "gpt_oss",
    "gptj",
    "granite",
    "hunyuan_v1_dense",
    "led",
    "llama3_rope",
    "llama_dynamic",
    "marian",
    "ministral3",
    "mixtral",
    "nemotron",
    "olmo",
    "olmo2",
    "opt_post",
    "phi3_longrope",
    "qwen2_moe",
    "smollm3",
    "switch_transformers",
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use stepfn_models::Model;

    use super::*;
    use crate::models::folders;

    /// What a model's configuration chooses: every field with a variant, `true` or something optional. They are read from its debug form, so
    /// that a new field is among them.
    fn choices(folder: &Path) -> BTreeSet<String> {
        let model = Model::<stepfn_cpu::flex::Backend>::load(folder, DType::F32, &Default::default()).unwrap();
        let (mut choices, mut field) = (BTreeSet::new(), "");
        let text = format!("{:?}", model.config());
        for word in text.split([' ', ',', '(', '[', ']', ')', '{', '}']).filter(|word| !word.is_empty()) {
            match word.strip_suffix(':') {
                Some(name) => field = name,
                None if word == "true" || (word != "None" && word.starts_with(char::is_uppercase)) => {
                    choices.insert(format!("{field}: {word}"));
                }
                None => {}
            }
        }
        choices
    }

    /// Those that predict masked tokens write nothing, so that not all of the suite applies to them.
    #[test]
    fn the_suite_has_every_part_of_causal_models_and_pairs() {
        let tested: BTreeSet<String> =
            FAMILIES.iter().flat_map(|family| choices(&golden::folder().join("models").join(family))).collect();
        assert!(tested.contains("positions: Alibi") && tested.contains("soft_cap: Some"), "{tested:?}");
        let is_written = |folder: &Path| {
            let expected = std::fs::read_to_string(folder.join("expected.json")).unwrap();
            serde_json::from_str::<serde_json::Value>(&expected).unwrap()["kind"] != "masked"
        };
        let missing = |folder: std::path::PathBuf| {
            let missing: Vec<String> = choices(&folder).difference(&tested).cloned().collect();
            (!missing.is_empty()).then(|| format!("{}: {missing:?}", folder.display()))
        };
        let missing: Vec<String> =
            folders().into_iter().filter(|folder| is_written(folder)).filter_map(missing).collect();
        assert!(missing.is_empty(), "add one of these to FAMILIES for what it has:\n{}", missing.join("\n"));
    }
}
