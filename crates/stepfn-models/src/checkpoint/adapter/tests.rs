//! Against what PEFT merges.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

use std::collections::BTreeSet;
use std::fs;

use burn::tensor::DType;
use proptest::prelude::*;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::checkpoint::Checkpoint;

const GOLDENS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/goldens/checkpoints/adapters");

const FOLDERS: [&str; 7] = ["gpt2", "gpt2_bias", "llama", "llama_bin", "llama_patterns", "llama_saved", "llama_tied"];

fn golden(path: &str) -> Vec<u8> {
    fs::read(format!("{GOLDENS}/{path}")).unwrap()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

#[test]
fn an_adapter_changes_what_peft_changes() {
    for folder in FOLDERS {
        let merged = Checkpoint::open(format!("{GOLDENS}/{folder}")).unwrap();
        let base = adapter_base(format!("{GOLDENS}/{folder}")).unwrap().unwrap();
        let base = Checkpoint::open(format!("{GOLDENS}/{folder}/{base}")).unwrap();
        let expected = golden(&format!("{folder}/expected.safetensors"));
        let expected = SafeTensors::deserialize(&expected).unwrap();
        let known: BTreeSet<&str> = merged.names().collect();
        for (name, view) in expected.tensors() {
            assert!(known.contains(name.as_str()), "{folder}: {name}");
            assert_eq!(merged.shape(&name).unwrap(), view.shape(), "{folder}: {name}");
            let data = merged.read(&name).unwrap();
            assert_eq!(data.dtype, DType::F32);
            let (found, expected) = (floats(&data.bytes), floats(view.data()));
            assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() <= 2e-6 * expected.abs().max(1.0), "{folder}: {name}");
            }
        }
        for name in base.names().filter(|name| expected.tensor(name).is_err()) {
            assert_eq!(merged.read(name).unwrap().bytes[..], base.read(name).unwrap().bytes[..], "{folder}: {name}");
        }
    }
}

/// Matrices in half precision stay in the file, but not those that an adapter changes.
#[test]
fn changed_matrices_are_not_those_of_the_file() {
    let folder = format!("{GOLDENS}/llama");
    let base = adapter_base(&folder).unwrap().unwrap();
    let config = fs::read_to_string(format!("{folder}/{base}/config.json")).unwrap();
    let weights = golden(&format!("llama/{base}/model.safetensors"));
    let weights = SafeTensors::deserialize(&weights).unwrap();
    let half = |bytes: &[u8]| -> Vec<u8> {
        floats(bytes).into_iter().flat_map(|value| half::bf16::from_f32(value).to_le_bytes()).collect()
    };
    let halves: Vec<_> =
        weights.tensors().into_iter().map(|(name, view)| (name, view.shape().to_vec(), half(view.data()))).collect();
    let views = halves
        .iter()
        .map(|(name, shape, bytes)| (name.clone(), TensorView::new(Dtype::BF16, shape.clone(), bytes).unwrap()));
    let base = Checkpoint::from_bytes("base", &config, safetensors::serialize(views, None).unwrap()).unwrap();
    let matrices: BTreeSet<String> = halves.into_iter().filter(|half| half.1.len() == 2).map(|half| half.0).collect();
    assert!(matrices.iter().all(|name| base.rows_in_file(name, false).is_some()));
    let merged = base.with_adapter(&folder).unwrap();
    let expected = golden("llama/expected.safetensors");
    let changed: BTreeSet<String> =
        SafeTensors::deserialize(&expected).unwrap().names().into_iter().map(str::to_owned).collect();
    assert!(changed.iter().any(|name| matrices.contains(name)) && !matrices.is_subset(&changed));
    for name in &matrices {
        assert_eq!(merged.rows_in_file(name, false).is_none(), changed.contains(name), "{name}");
    }
}

#[test]
fn a_saved_output_layer_is_no_longer_tied() {
    let tied = |folder: &str| {
        Checkpoint::open(format!("{GOLDENS}/{folder}")).unwrap().config().get("tie_word_embeddings").cloned()
    };
    assert_eq!(tied("llama_tied"), Some(false.into()));
    assert_eq!(tied("base_llama_tied"), Some(true.into()));
}

/// A copy of an adapter with some settings changed.
fn changed(folder: &str, changes: &Value) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    let mut config: Value = serde_json::from_slice(&golden(&format!("{folder}/adapter_config.json"))).unwrap();
    for (name, value) in changes.as_object().unwrap() {
        config[name] = value.clone();
    }
    fs::write(copy.path().join("adapter_config.json"), config.to_string()).unwrap();
    for file in ["adapter_model.safetensors", "adapter_model.bin"] {
        if let Ok(bytes) = fs::read(format!("{GOLDENS}/{folder}/{file}")) {
            fs::write(copy.path().join(file), bytes).unwrap();
        }
    }
    copy
}

fn base(name: &str) -> Checkpoint {
    Checkpoint::open(format!("{GOLDENS}/{name}")).unwrap()
}

#[test]
fn what_cannot_be_merged_is_refused_by_name() {
    for (changes, part) in [
        (json!({"use_dora": true}), "`use_dora`"),
        (json!({"lora_bias": true}), "`lora_bias`"),
        (json!({"target_parameters": ["experts.gate_up_proj"]}), "`target_parameters`"),
        (json!({"use_something_new": true}), "`use_something_new`"),
        (json!({"kasa_config": {"beta": 1}}), "`kasa_config`"),
        (json!({"init_lora_weights": "pissa_niter_4"}), "pissa"),
        (json!({"peft_type": "IA3"}), "`IA3`"),
        (json!({"alpha_pattern": {"[qv]_proj": 3}}), "`[qv]_proj`"),
        (json!({"alpha_pattern": {"q_proj": 3, "self_attn.q_proj": 4}}), "several names"),
        (json!({"lora_alpha": null}), "`lora_alpha`"),
        (json!({"lora_alpha": 1e300}), "single precision, found"),
        (json!({"r": 0}), "`r`: expected a whole number"),
        (json!({"r": 1000}), "rank 1000, but that of"),
        (json!({"rank_pattern": {"q_proj": 77}}), "rank 77, but that of"),
        (json!({"target_modules": ["nothing"]}), "no change of it"),
        (json!({"target_modules": ["q_proj", "up_proj"]}), "names `up_proj`"),
    ] {
        let error = base("base_llama").with_adapter(changed("llama", &changes).path()).unwrap_err().to_string();
        assert!(error.contains(part) && error.contains("adapter_config.json"), "{error}");
    }
    let harmless = json!({"use_dora": false, "init_lora_weights": "gaussian", "eva_config": {"rho": 2.0}});
    assert!(base("base_llama").with_adapter(changed("llama", &harmless).path()).is_ok());
}

#[test]
fn an_adapter_of_another_model_is_an_error() {
    let error =
        |name: &str, folder: &str| base(name).with_adapter(format!("{GOLDENS}/{folder}")).unwrap_err().to_string();
    assert!(error("base_llama", "gpt2").contains("base model"), "{}", error("base_llama", "gpt2"));
    assert!(error("base_gpt2", "llama").contains("base model"));
    // An embedding is the output layer of this one.
    let tied = error("base_llama_tied", "llama_saved");
    assert!(tied.contains("embed_tokens") && tied.contains("output layer"), "{tied}");
}

#[test]
fn an_adapter_without_its_base_says_which_that_is() {
    let alone = changed("llama", &json!({"base_model_name_or_path": "org/llama"}));
    let error = Checkpoint::open(alone.path()).unwrap_err().to_string();
    assert!(error.contains("`org/llama`"), "{error}");
    assert_eq!(adapter_base(alone.path()).unwrap().as_deref(), Some("org/llama"));
    assert_eq!(adapter_base(GOLDENS).unwrap(), None);
    assert!(adapter_base(changed("llama", &json!({"base_model_name_or_path": ""})).path()).is_err());
    // A model that has an adapter beside it is still a model.
    for file in ["config.json", "model.safetensors"] {
        fs::write(alone.path().join(file), golden(&format!("base_llama/{file}"))).unwrap();
    }
    let model = Checkpoint::open(alone.path()).unwrap();
    assert_eq!(
        model.read("lm_head.weight").unwrap().bytes[..],
        base("base_llama").read("lm_head.weight").unwrap().bytes[..]
    );
}

fn with_tensors(tensors: &[(&str, &[usize])]) -> Result<Checkpoint, ModelError> {
    let folder = changed("llama", &json!({"target_modules": "all-linear"}));
    let views: Vec<_> = tensors
        .iter()
        .map(|(name, shape)| (*name, vec![1; shape.iter().product::<usize>() * 4], shape.to_vec()))
        .collect();
    let views =
        views.iter().map(|(name, bytes, shape)| (*name, TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap()));
    fs::write(folder.path().join("adapter_model.safetensors"), safetensors::serialize(views, None).unwrap()).unwrap();
    base("base_llama").with_adapter(folder.path())
}

#[test]
fn names_and_shapes_are_checked() {
    const A: &str = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight";
    const B: &str = "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight";
    assert!(with_tensors(&[(A, &[2, 8]), (B, &[8, 2])]).is_ok());
    // As other programs name them.
    let (a, b) = ("layers.0.self_attn.q_proj.lora_A.default.weight", "layers.0.self_attn.q_proj.lora_B.default.weight");
    assert!(with_tensors(&[(a, &[2, 8]), (b, &[8, 2])]).is_ok());
    for tensors in [
        &[(A, &[2, 8][..])][..],
        &[(B, &[8, 2])],
        &[(A, &[2, 8]), (B, &[8, 3])],
        &[(A, &[2, 7]), (B, &[8, 2])],
        &[(A, &[16]), (B, &[8, 2])],
        &[(A, &[2, 8]), (B, &[8, 2]), (a, &[2, 8]), (b, &[8, 2])],
        &[("base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector", &[8])],
        &[("base_model.model.model.layers.9.self_attn.q_proj.lora_A.weight", &[2, 8])],
    ] {
        assert!(with_tensors(tensors).is_err(), "{tensors:?}");
    }
}

#[test]
fn a_larger_vocabulary_enlarges_the_configuration() {
    let larger =
        [("base_model.model.model.embed_tokens.weight", &[23, 8][..]), ("base_model.model.lm_head.weight", &[23, 8])];
    let model = with_tensors(&larger).unwrap();
    assert_eq!(model.config()["vocab_size"], 23);
    assert_eq!(
        (model.shape("lm_head.weight"), model.shape("model.embed_tokens.weight")),
        (Some(&[23, 8][..]), Some(&[23, 8][..]))
    );
}

/// Two adapters, one after the other.
#[test]
fn adapters_add_up() {
    let open = |folders: &[&str]| {
        let model = folders
            .iter()
            .fold(base("base_llama"), |model, folder| model.with_adapter(format!("{GOLDENS}/{folder}")).unwrap());
        floats(&model.read("model.layers.0.self_attn.q_proj.weight").unwrap().bytes)
    };
    let (none, one, other, both) = (open(&[]), open(&["llama"]), open(&["llama_bin"]), open(&["llama", "llama_bin"]));
    for (((none, one), other), both) in none.iter().zip(one).zip(other).zip(both) {
        assert!((one + other - none - both).abs() < 1e-4);
    }
}

proptest! {
    #[test]
    fn damage_never_panics(flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let folder = changed("llama_saved", &json!({}));
        let path = folder.path().join("adapter_model.safetensors");
        let mut bytes = fs::read(&path).unwrap();
        for (index, byte) in flips {
            let index = index.index(bytes.len());
            bytes[index] ^= byte;
        }
        fs::write(&path, bytes).unwrap();
        if let Ok(model) = base("base_llama").with_adapter(folder.path()) {
            model.names().for_each(|name| drop(model.read(name)));
        }
    }
}
