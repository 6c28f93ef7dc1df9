//! Models from weight files that aren't plain safetensors: the same outputs as from the safetensors.

#![allow(clippy::unwrap_used, reason = "a test that can't continue should fail")]

use std::fs;
use std::path::Path;

use safetensors::SafeTensors;
use stepfn_models::Model;
use stepfn_models::transformer::PaddingSide;
use stepfn_tests::models::{agrees_with_transformers, folders};
use stepfn_tests::torch::saved;

type Flex = stepfn_cpu::flex::Backend;

/// Names under which PyTorch saves the one embedding again, by the name that it has in safetensors files.
const EMBEDDINGS: [(&str, &[&str]); 7] = [
    ("transformer.wte.weight", &["lm_head.weight"]),
    ("transformer.word_embeddings.weight", &["lm_head.weight"]),
    ("gpt_neox.embed_in.weight", &["embed_out.weight"]),
    ("model.embed_tokens.weight", &["lm_head.weight"]),
    ("model.decoder.embed_tokens.weight", &["lm_head.weight"]),
    (
        "model.shared.weight",
        &["lm_head.weight", "model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight"],
    ),
    ("shared.weight", &["lm_head.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight"]),
];

/// A copy of a golden model with other weights.
fn with_weights(golden: &Path, file: &str, weights: &[u8]) -> std::path::PathBuf {
    let name = format!("checkpoints-{}-{}", std::process::id(), golden.file_name().unwrap().to_string_lossy());
    let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&copy).unwrap();
    for small in ["config.json", "generation_config.json", "expected.safetensors"] {
        fs::copy(golden.join(small), copy.join(small)).unwrap();
    }
    fs::write(copy.join(file), weights).unwrap();
    copy
}

#[test]
fn a_pytorch_file_gives_the_same_outputs() {
    for golden in folders() {
        let weights = fs::read(golden.join("model.safetensors")).unwrap();
        let weights = SafeTensors::deserialize(&weights).unwrap();
        let names = weights.names();
        let saved_again = |(embedding, aliases): &(&'static str, &'static [&'static str])| {
            let missing = |alias: &&&str| names.contains(embedding) && !names.contains(alias);
            aliases.iter().filter(missing).map(|alias| (*alias, *embedding)).collect::<Vec<_>>()
        };
        let aliases: Vec<_> = EMBEDDINGS.iter().flat_map(saved_again).collect();
        let copy = with_weights(&golden, "pytorch_model.bin", &saved(&weights, &aliases));
        agrees_with_transformers::<Flex>(&copy, PaddingSide::Right, 1e-4, &Default::default());
        fs::remove_dir_all(copy).unwrap();
    }
}

/// Tiny models of PEFT's golden adapters.
#[test]
fn a_model_with_an_adapter_loads() {
    let adapters = stepfn_tests::golden::folder().join("checkpoints/adapters");
    for name in ["gpt2", "gpt2_bias", "llama", "llama_bin", "llama_patterns", "llama_saved", "llama_tied"] {
        Model::<Flex>::load(adapters.join(name), burn::tensor::DType::F32, &Default::default())
            .unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}
