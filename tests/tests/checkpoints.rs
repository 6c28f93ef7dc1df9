//! Models from weight files that aren't plain safetensors: the same outputs as from the safetensors.

#![allow(clippy::unwrap_used, reason = "a test that can't continue should fail")]

use std::fs;
use std::path::Path;

use burn::tensor::DType;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors, serialize};
use serde_json::Value;
use stepfn_models::Model;
use stepfn_models::checkpoint::Checkpoint;
use stepfn_models::transformer::{PaddingSide, Pass, TokenBatch};
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
        // Models of masked tokens write nothing.
        if golden.join(small).exists() {
            fs::copy(golden.join(small), copy.join(small)).unwrap();
        }
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
        // Their heads are other modules.
        let other = golden.ends_with("fsmt") || golden.ends_with("t5gemma");
        let embeddings = EMBEDDINGS.iter().filter(|_| !other);
        let aliases: Vec<_> = embeddings.flat_map(saved_again).collect();
        let copy = with_weights(&golden, "pytorch_model.bin", &saved(&weights, &aliases));
        agrees_with_transformers::<Flex>(&copy, PaddingSide::Right, 1e-4, &Default::default());
        fs::remove_dir_all(copy).unwrap();
    }
}

/// A model whose matrices are integers with a scale per row, as bitsandbytes saves them, is the model of the numbers that these stand for.
#[test]
fn a_quantized_model_is_that_of_its_dequantized_weights() {
    let golden = stepfn_tests::golden::folder().join("models/llama");
    let bytes = fs::read(golden.join("model.safetensors")).unwrap();
    let weights = SafeTensors::deserialize(&bytes).unwrap();
    let (mut quantized, mut plain) = (Vec::new(), Vec::new());
    for (name, view) in weights.iter() {
        let values: Vec<f32> =
            view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        let shape = view.shape().to_vec();
        if !name.ends_with("proj.weight") {
            quantized.push((name.to_owned(), Dtype::F32, shape.clone(), view.data().to_vec()));
            plain.push((name.to_owned(), Dtype::F32, shape, view.data().to_vec()));
            continue;
        }
        let rows = values.chunks_exact(shape[1]);
        let scales: Vec<f32> =
            rows.clone().map(|row| row.iter().fold(0.0f32, |most, value| most.max(value.abs()))).collect();
        let whole = |(row, scale): (&[f32], &f32)| {
            row.iter().map(|value| (value / scale * 127.0).round() as i8).collect::<Vec<i8>>()
        };
        let integers: Vec<i8> = rows.zip(&scales).flat_map(whole).collect();
        let number = |(at, integer): (usize, &i8)| f32::from(*integer) * scales[at / shape[1]] / 127.0;
        let numbers: Vec<u8> = integers.iter().enumerate().map(number).flat_map(f32::to_le_bytes).collect();
        let integers: Vec<u8> = integers.into_iter().map(|integer| integer as u8).collect();
        let rows = vec![scales.len()];
        let scales: Vec<u8> = scales.into_iter().flat_map(f32::to_le_bytes).collect();
        plain.push((name.to_owned(), Dtype::F32, shape.clone(), numbers));
        quantized.push((name.to_owned(), Dtype::I8, shape, integers));
        quantized.push((name.replace(".weight", ".SCB"), Dtype::F32, rows, scales));
    }
    let saved = |tensors: &[(String, Dtype, Vec<usize>, Vec<u8>)]| {
        let views = tensors
            .iter()
            .map(|(name, dtype, shape, data)| (name.as_str(), TensorView::new(*dtype, shape.clone(), data).unwrap()));
        serialize(views, None).unwrap()
    };
    let mut config: Value = serde_json::from_slice(&fs::read(golden.join("config.json")).unwrap()).unwrap();
    let load = |config: &Value, weights: Vec<u8>| {
        let checkpoint = Checkpoint::from_bytes("quantized", &config.to_string(), weights).unwrap();
        Model::<Flex>::from_checkpoint(&checkpoint, DType::F32, &Default::default()).unwrap()
    };
    let expected = load(&config, saved(&plain));
    config["quantization_config"] = serde_json::json!({"quant_method": "bitsandbytes", "load_in_8bit": true});
    let found = load(&config, saved(&quantized));
    let logits = |model: &Model<Flex>| {
        let batch = TokenBatch::new(vec![(5..15).collect()], model.config().vocab_size, PaddingSide::Right).unwrap();
        let decoder = model.decoder();
        model.logits(decoder.forward(decoder.embed(&batch), Pass::new(&batch)).unwrap().last).into_data()
    };
    logits(&found).assert_approx_eq::<f32>(&logits(&expected), burn::tensor::Tolerance::absolute(1e-4));
}

/// Tiny models of PEFT's golden adapters.
#[test]
fn a_model_with_an_adapter_loads() {
    let adapters = stepfn_tests::golden::folder().join("checkpoints/adapters");
    for name in ["gpt2", "gpt2_bias", "llama", "llama_bin", "llama_patterns", "llama_saved", "llama_tied"] {
        Model::<Flex>::load(adapters.join(name), DType::F32, &Default::default())
            .unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

/// Matrices in half precision stay in half precision, also those of all experts of a layer in one tensor, unless gate and up take turns in it: the
/// model is that of the same numbers in single precision.
#[test]
fn experts_in_one_tensor_are_read_from_half_precision() {
    ["granitemoe", "gpt_oss"].into_iter().for_each(halves_say_what_singles_say);
}

fn halves_say_what_singles_say(family: &str) {
    let golden = stepfn_tests::golden::folder().join("models").join(family);
    let config = fs::read_to_string(golden.join("config.json")).unwrap();
    let bytes = fs::read(golden.join("model.safetensors")).unwrap();
    let weights = SafeTensors::deserialize(&bytes).unwrap();
    let logits = |dtype: Dtype| {
        // The upper half of a number is one in `bf16`.
        let numbers = |data: &[u8]| -> Vec<u8> {
            let number = |number: &[u8]| match dtype {
                Dtype::BF16 => number[2..].to_vec(),
                _ => [&[0, 0], &number[2..]].concat(),
            };
            data.chunks_exact(4).flat_map(number).collect()
        };
        let tensors: Vec<(String, Vec<usize>, Vec<u8>)> =
            weights.iter().map(|(name, view)| (name.to_owned(), view.shape().to_vec(), numbers(view.data()))).collect();
        let views = tensors
            .iter()
            .map(|(name, shape, data)| (name.as_str(), TensorView::new(dtype, shape.clone(), data).unwrap()));
        let checkpoint = Checkpoint::from_bytes("halves", &config, serialize(views, None).unwrap()).unwrap();
        let model = Model::<Flex>::from_checkpoint(&checkpoint, DType::F32, &Default::default()).unwrap();
        let batch = TokenBatch::new(vec![(3..40).collect()], model.config().vocab_size, PaddingSide::Right).unwrap();
        let decoder = model.decoder();
        let last = decoder.forward(decoder.embed(&batch), Pass::new(&batch)).unwrap().last;
        model.logits(last).into_data().iter::<f64>().collect::<Vec<f64>>()
    };
    let (halves, singles) = (logits(Dtype::BF16), logits(Dtype::F32));
    for (half, single) in halves.iter().zip(&singles) {
        assert!((half - single).abs() < 1e-4, "{family}: {half} instead of {single}");
    }
}
