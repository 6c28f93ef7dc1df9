//! Weights that stay in the blocks of their file: logits and gradients are those of the dequantized model.

#![allow(clippy::unwrap_used, reason = "a test that can't continue should fail")]

use burn::tensor::DType;
use safetensors::tensor::{Dtype, TensorView};
use serde::Deserialize;
use stepfn_models::Model;
use stepfn_models::checkpoint::Checkpoint;
use stepfn_models::source::{StoredTensor, Tensors};
use stepfn_tests::blocks::RandomBlocks;
use stepfn_tests::golden::folder;
use stepfn_tests::tape::computes_what_another_does;

type Flex = stepfn_cpu::flex::Backend;

/// The model with every tensor dequantized.
fn dequantized(checkpoint: &Checkpoint) -> Model<Flex> {
    let tensor = |name: &str| {
        let data = checkpoint.read(name).unwrap();
        (name.to_owned(), StoredTensor::from_data(data, DType::F32, &Default::default()))
    };
    let tensors: Tensors<Flex> = checkpoint.names().map(tensor).collect();
    Model::from_tensors(checkpoint.config(), &tensors, &Default::default()).unwrap()
}

fn agrees(what: &str, checkpoint: &Checkpoint) {
    let model = Model::from_checkpoint(checkpoint, DType::F32, &Default::default()).unwrap();
    computes_what_another_does(what, &model, &dequantized(checkpoint), DType::F32, 2e-4);
}

/// Every type with a scale in `tests/goldens/gguf/blocks.json`, the one that only this crate reads, and half precision.
#[test]
fn blocks_of_every_type_compute_what_their_values_do() {
    #[derive(Deserialize)]
    struct Case {
        #[serde(rename = "type")]
        name: String,
        number: u32,
        bytes: String,
        values: Vec<f32>,
    }
    let json = std::fs::read(folder().join("gguf/blocks.json")).unwrap();
    let cases: Vec<Case> = serde_json::from_slice(&json).unwrap();
    // Each case is two blocks.
    let mut kinds: Vec<(String, u32, usize, usize)> =
        cases.into_iter().map(|case| (case.name, case.number, case.values.len() / 2, case.bytes.len() / 4)).collect();
    let others = [("F16", 1, 1, 2), ("BF16", 30, 1, 2), ("Q8_K", 15, 256, 292)];
    kinds.extend(others.map(|(name, number, elements, bytes)| (name.to_owned(), number, elements, bytes)));
    assert_eq!(kinds.len(), 26);
    for (at, (name, number, elements, bytes)) in kinds.into_iter().enumerate() {
        let tied = at % 2 == 0;
        let file = RandomBlocks::new(number, elements, bytes).llama(tied);
        let checkpoint = Checkpoint::from_gguf_bytes("model.gguf", file.bytes()).unwrap();
        agrees(&format!("{name}, tied {tied}"), &checkpoint);
    }
}

/// Matrices that the converter transposed, or whose rows it moved, and several parameters in one matrix.
#[test]
fn every_architecture_computes_what_its_values_do() {
    for name in ["bloom", "gemma2", "gpt2", "gpt_neox", "llama", "mistral", "phi3", "qwen3", "t5", "t5_gated"] {
        let checkpoint = Checkpoint::open(folder().join(format!("gguf/{name}.gguf"))).unwrap();
        agrees(name, &checkpoint);
    }
}

/// Published layouts of matrices: whole, several in one, transposed.
#[test]
fn half_precision_computes_what_its_values_do() {
    for name in ["llama", "phi3", "gpt2", "bloom", "gpt_neox", "gemma2", "t5", "bart", "marian", "opt_post"] {
        let folder = folder().join("models").join(name);
        let config = std::fs::read_to_string(folder.join("config.json")).unwrap();
        let golden = Checkpoint::open(&folder).unwrap();
        for (dtype, element) in [(DType::F16, Dtype::F16), (DType::BF16, Dtype::BF16)] {
            let half = |tensor: &str| {
                let data = golden.read(tensor).unwrap().convert_dtype(dtype);
                (tensor.to_owned(), data.shape.to_vec(), data.bytes.to_vec())
            };
            let tensors: Vec<_> = golden.names().map(half).collect();
            let view = |(name, shape, bytes)| (name, TensorView::new(element, shape, bytes).unwrap());
            let views = tensors.iter().map(|(name, shape, bytes)| view((name, shape.clone(), bytes)));
            let weights = safetensors::serialize(views, None).unwrap();
            let checkpoint = Checkpoint::from_bytes(name, &config, weights).unwrap();
            agrees(&format!("{name} in {dtype:?}"), &checkpoint);
        }
    }
}
