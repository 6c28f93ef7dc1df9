//! Against what the programs that publish each format make of it.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

use std::fs;

use burn::tensor::DType;
use proptest::prelude::*;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::json;

use crate::checkpoint::Checkpoint;

const GOLDENS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/goldens/checkpoints/quantized");

const FOLDERS: [&str; 13] = [
    "gptq",
    "gptq_v2",
    "gptq_gpt2",
    "awq",
    "fp8_blocks",
    "fp8_scales",
    "bitsandbytes_4bit",
    "bitsandbytes_8bit",
    "compressed_pack",
    "compressed_int",
    "compressed_float",
    "mxfp4",
    "mlx",
];

fn file(folder: &str, name: &str) -> Vec<u8> {
    fs::read(format!("{GOLDENS}/{folder}/{name}")).unwrap()
}

fn config(folder: &str) -> String {
    String::from_utf8(file(folder, "config.json")).unwrap()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

#[test]
fn every_method_gives_what_its_own_program_gives() {
    assert_eq!(fs::read_dir(GOLDENS).unwrap().count(), FOLDERS.len());
    for folder in FOLDERS {
        let checkpoint = Checkpoint::open(format!("{GOLDENS}/{folder}")).unwrap();
        let expected = file(folder, "expected.safetensors");
        let expected = SafeTensors::deserialize(&expected).unwrap();
        let mut names = expected.names();
        names.sort_unstable();
        assert_eq!(checkpoint.names().collect::<Vec<_>>(), names, "{folder}");
        for name in names {
            let view = expected.tensor(name).unwrap();
            assert_eq!(checkpoint.shape(name).unwrap(), view.shape(), "{folder}: {name}");
            assert!(checkpoint.file_of(name).ends_with("model.safetensors"));
            let found = floats(&checkpoint.read(name).unwrap().bytes);
            for (found, expected) in found.iter().zip(floats(view.data())) {
                let close = (found - expected).abs() <= 3e-7 * expected.abs();
                assert!(close, "{folder}: {name} has {found} instead of {expected}");
            }
            assert_eq!(found.len() * 4, view.data().len(), "{folder}: {name}");
        }
    }
}

fn error(config: &serde_json::Value, folder: &str) -> String {
    Checkpoint::from_bytes("x", &config.to_string(), file(folder, "model.safetensors")).unwrap_err().to_string()
}

#[test]
fn a_method_that_is_not_read_is_refused_by_name() {
    for (settings, found) in [
        (json!({"quant_method": "hqq"}), "`hqq`"),
        (json!({"quant_method": "aqlm", "bits": 2}), "`aqlm`"),
        (json!({"quant_method": "awq", "bits": 4, "version": "gemv"}), "`gemv`"),
        (json!({"quant_method": "gptq", "bits": 4, "checkpoint_format": "marlin"}), "`marlin`"),
        (json!({"quant_method": "gptq", "bits": 4, "is_marlin_format": true}), "`marlin`"),
        (json!({"quant_method": "compressed-tensors", "format": "nvfp4-pack-quantized"}), "`nvfp4-pack-quantized`"),
        (json!({"group_size": 32, "bits": 4, "mode": "nvfp4"}), "`nvfp4`"),
    ] {
        let error = error(&json!({"quantization_config": settings}), "gptq");
        assert!(error.contains(found) && error.contains("GGUF"), "{error}");
    }
    let error = error(&json!({}), "gptq");
    assert!(error.contains("`quantization_config`") && error.contains(".qweight`"), "{error}");
}

/// A GPTQ weight, one part of which has another shape or type, or is missing.
#[test]
fn an_incomplete_weight_is_an_error_that_names_the_part() {
    let bytes = file("gptq", "model.safetensors");
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let settings = json!({"quantization_config": {"quant_method": "gptq", "bits": 4}}).to_string();
    let open = |changed: &str, view: Option<TensorView>| {
        let kept = ["qweight", "qzeros", "scales", "g_idx"].map(|end| format!("order.{end}"));
        let views =
            kept.iter().filter(|name| *name != changed).map(|name| (name.as_str(), tensors.tensor(name).unwrap()));
        let views = views.chain(view.map(|view| (changed, view)));
        let bytes = safetensors::serialize(views, None).unwrap();
        Checkpoint::from_bytes("x", &settings, bytes)
    };
    let words = [0; 4 * 4 * 32];
    let view = |dtype, shape: &[usize]| {
        Some(TensorView::new(dtype, shape.to_vec(), &words[..shape.iter().product::<usize>() * 4]).unwrap())
    };
    assert!(open("order.qweight", view(Dtype::I32, &[4, 32])).is_ok());
    for (changed, view) in [
        ("order.qweight", view(Dtype::F32, &[4, 32])),
        ("order.qweight", view(Dtype::I32, &[3, 32])),
        ("order.qweight", view(Dtype::I32, &[128])),
        ("order.qzeros", view(Dtype::I32, &[1, 4])),
        ("order.qzeros", None),
        ("order.qzeros", view(Dtype::I32, &[0, 4])),
        ("order.qweight", view(Dtype::I32, &[1 << 60, 0])),
        ("order.scales", view(Dtype::I32, &[2, 32])),
        ("order.scales", None),
    ] {
        let error = open(changed, view).unwrap_err().to_string();
        assert!(error.contains("`order."), "{changed}: {error}");
    }
}

/// As old programs write them for every layer.
#[test]
fn biases_of_zeros_need_no_place_in_the_model() {
    let bytes = file("gptq", "model.safetensors");
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let open = |bias: &[u8]| {
        let bias = ("order.bias".to_owned(), TensorView::new(Dtype::F32, vec![1], bias).unwrap());
        let bytes = safetensors::serialize(tensors.tensors().into_iter().chain([bias]), None).unwrap();
        Checkpoint::from_bytes("x", &config("gptq"), bytes).unwrap()
    };
    assert!(!open(&[0; 4]).is_parameter("order.bias") && open(&[0; 4]).contains("order.bias"));
    assert!(open(&[1; 4]).is_parameter("order.bias") && open(&[0; 4]).is_parameter("order.weight"));
}

#[test]
fn groups_that_do_not_exist_give_no_number() {
    let bytes = file("gptq", "model.safetensors");
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let groups = [7_u8; 32 * 4];
    let views = tensors.tensors().into_iter().map(|(name, view)| match name.as_str() {
        "order.g_idx" => (name, TensorView::new(Dtype::I32, vec![32], &groups).unwrap()),
        _ => (name, view),
    });
    let bytes = safetensors::serialize(views, None).unwrap();
    let checkpoint = Checkpoint::from_bytes("x", &config("gptq"), bytes).unwrap();
    assert!(floats(&checkpoint.read("order.weight").unwrap().bytes).iter().all(|value| value.is_nan()));
}

proptest! {
    /// Shapes, types and names in the header change.
    #[test]
    fn a_damaged_header_never_panics(
        folder in 0..FOLDERS.len(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..4),
    ) {
        let folder = FOLDERS[folder];
        let mut bytes = file(folder, "model.safetensors");
        let header = u64::from_le_bytes(*bytes.first_chunk().unwrap()) as usize;
        let digits: Vec<usize> = (8..8 + header).filter(|at| bytes[*at].is_ascii_digit()).collect();
        for (at, digit) in changes {
            bytes[digits[at.index(digits.len())]] = b'0' + digit.index(10) as u8;
        }
        read_all(&config(folder), bytes);
    }

    /// So does the configuration, and the contents.
    #[test]
    fn another_configuration_never_panics(
        folder in 0..FOLDERS.len(),
        settings in 0..FOLDERS.len(),
        bits in 0..12_u8,
        group in 0..200_u32,
        block in 0..40_u32,
    ) {
        let mut config: serde_json::Value = serde_json::from_str(&config(FOLDERS[settings])).unwrap();
        for name in ["quantization_config", "quantization"] {
            if let Some(settings) = config.get_mut(name) {
                settings["bits"] = bits.into();
                settings["group_size"] = group.into();
                settings["weight_block_size"] = json!([block, 16]);
            }
        }
        read_all(&config.to_string(), file(FOLDERS[folder], "model.safetensors"));
    }

    #[test]
    fn damaged_contents_never_panic(
        folder in 0..FOLDERS.len(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut bytes = file(FOLDERS[folder], "model.safetensors");
        for (index, byte) in flips {
            let index = index.index(bytes.len());
            bytes[index] ^= byte;
        }
        read_all(&config(FOLDERS[folder]), bytes);
    }
}

fn read_all(config: &str, bytes: Vec<u8>) {
    if let Ok(checkpoint) = Checkpoint::from_bytes("x", config, bytes) {
        for name in checkpoint.names() {
            let elements: usize = checkpoint.shape(name).unwrap().iter().product();
            if let Ok(data) = checkpoint.read(name) {
                let size = if matches!(data.dtype, DType::F16 | DType::BF16) { 2 } else { 4 };
                assert_eq!(data.bytes.len(), elements * size, "{name}");
            }
        }
    }
}
