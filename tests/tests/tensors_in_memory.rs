//! Models from tensors in memory and from embedded bytes equal those from files, and each tensor has a gradient.

#![allow(clippy::unwrap_used, reason = "a test that can't continue should fail")]

use burn::backend::Autodiff;
use burn::tensor::{DType, Tensor, activation};
use stepfn_models::checkpoint::Checkpoint;
use stepfn_models::source::{StoredTensor, Tensors};
use stepfn_models::transformer::{Dropout, NoisyPass, PaddingSide, Pass, TokenBatch};
use stepfn_models::{Model, ModelError};
use stepfn_tests::golden::folder;
use stepfn_tests::models::{folders, states};

type Flex = stepfn_cpu::flex::Backend;
type Tracked = Autodiff<Flex>;

fn checkpoint(name: &str) -> Checkpoint {
    Checkpoint::open(folder().join("models").join(name)).unwrap()
}

/// The tensors that a checkpoint's outline requests, as leaves of a graph.
fn leaves(checkpoint: &Checkpoint) -> Tensors<Tracked> {
    let is_stored = |tensor: &str| checkpoint.contains(tensor);
    let shapes = Model::<Flex>::outline(checkpoint.config(), is_stored, &Default::default()).unwrap();
    let leaf = |(name, shape): (String, Vec<usize>)| {
        assert_eq!(checkpoint.shape(&name), Some(shape.as_slice()), "{name}");
        let data = checkpoint.read(&name).unwrap();
        let leaf = match StoredTensor::from_data(data, DType::F32, &Default::default()) {
            StoredTensor::Vector(vector) => StoredTensor::Vector(vector.require_grad()),
            StoredTensor::Matrix(matrix) => StoredTensor::Matrix(matrix.require_grad()),
        };
        (name, leaf)
    };
    shapes.into_iter().map(leaf).collect()
}

fn batch(vocab: usize) -> TokenBatch {
    let texts = vec![vec![5, 9, 30, 7, 61, 12], vec![44, 3, 8]];
    TokenBatch::new(texts, vocab, PaddingSide::Left).unwrap()
}

#[test]
fn models_from_tensors_in_memory_match_the_file() {
    for folder in folders() {
        let checkpoint = Checkpoint::open(&folder).unwrap();
        let device = Default::default();
        let tracked = Model::<Tracked>::from_tensors(checkpoint.config(), &leaves(&checkpoint), &device).unwrap();
        let loaded = Model::<Flex>::from_checkpoint(&checkpoint, DType::F32, &device).unwrap();
        let batch = batch(loaded.config().vocab_size);
        let passes = [7, 8].map(|text| NoisyPass { text, sample: 1 }).to_vec();
        for dropout in [Dropout::Off, Dropout::On { seed: 3, passes, rates: None }] {
            let pairs = states(&tracked, &batch, &dropout).into_iter().zip(states(&loaded, &batch, &dropout));
            for (a, b) in pairs.flat_map(|(a, b)| a.into_iter().zip(b)) {
                assert!((a - b).abs() <= 2e-5 * b.abs().max(1.0), "{}: {a} and {b}", folder.display());
            }
        }
    }
}

#[test]
fn every_tensor_in_memory_has_a_gradient() {
    for name in ["marian", "llama"] {
        let checkpoint = checkpoint(name);
        let leaves = leaves(&checkpoint);
        let model = Model::<Tracked>::from_tensors(checkpoint.config(), &leaves, &Default::default()).unwrap();
        let batch = batch(model.config().vocab_size);
        let encoded = model.encoder().map(|encoder| encoder.forward(encoder.embed(&batch), Pass::new(&batch)).unwrap());
        let pass = match &encoded {
            Some(encoded) => Pass::new(&batch).with_memory(&encoded.last, &batch),
            None => Pass::new(&batch),
        };
        let hidden = model.decoder().forward(model.decoder().embed(&batch), pass).unwrap().last;
        let loss: Tensor<Tracked, 1> = activation::log_softmax(model.logits(hidden), 1).slice([0..12, 0..3]).sum();
        let gradients = loss.backward();
        for (tensor, leaf) in &leaves {
            let gradient: Vec<f32> = match leaf {
                StoredTensor::Vector(vector) => vector.grad(&gradients).unwrap().into_data().to_vec().unwrap(),
                StoredTensor::Matrix(matrix) => matrix.grad(&gradients).unwrap().into_data().to_vec().unwrap(),
            };
            // Softmax ignores what is equal for all keys, up to rounding.
            let nothing = tensor.ends_with("k_proj.bias");
            assert!(nothing || gradient.iter().any(|&value| value.abs() > 1e-6), "{name}: nothing depends on {tensor}");
        }
    }
}

#[test]
fn tensors_that_do_not_fit_are_errors() {
    let checkpoint = checkpoint("llama");
    let load = |leaves: &Tensors<Tracked>| {
        Model::from_tensors(checkpoint.config(), leaves, &Default::default()).map(|_| ()).unwrap_err()
    };
    let mut missing = leaves(&checkpoint);
    let (name, norm) = missing.pop_last().unwrap();
    assert!(matches!(load(&missing), ModelError::MissingTensor { tensor, .. } if tensor == name));
    missing.insert(name.clone(), Tensor::<Tracked, 1>::zeros([1], &Default::default()).into());
    let error = load(&missing).to_string();
    assert!(error.contains(&name) && error.contains("expected shape"), "{error}");
    missing.insert(name, norm);
    missing.insert("model.other.weight".to_owned(), Tensor::<Tracked, 1>::zeros([1], &Default::default()).into());
    let error = load(&missing).to_string();
    assert!(error.contains("model.other.weight") && error.contains("is not part of"), "{error}");
}

#[test]
fn embedded_checkpoints_match_the_file() {
    let path = folder().join("models/llama");
    let config = std::fs::read_to_string(path.join("config.json")).unwrap();
    let weights: &'static [u8] = std::fs::read(path.join("model.safetensors")).unwrap().leak();
    let compiled = Checkpoint::from_bytes("tiny", &config, weights).unwrap();
    let file = checkpoint("llama");
    assert!(compiled.names().eq(file.names()));
    for tensor in file.names() {
        assert_eq!(compiled.read(tensor).unwrap(), file.read(tensor).unwrap(), "{tensor}");
    }
    let error = Checkpoint::from_bytes("tiny", &config, &weights[..weights.len() - 1]).unwrap_err().to_string();
    assert!(error.starts_with("tiny") && error.contains("model.safetensors: incomplete"), "{error}");
    let error = Checkpoint::from_bytes("tiny", "{", weights).unwrap_err().to_string();
    assert!(error.contains("config.json"), "{error}");
}
