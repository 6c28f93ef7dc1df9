//! Folders as people have them.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

use std::collections::BTreeSet;
use std::fs;

use safetensors::tensor::{Dtype, TensorView, serialize};
use stepfn_kernels::weight::{Panels, Weight};
use tempfile::TempDir;

use super::files::{Weights, weights};
use super::*;

const GOLDENS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/goldens/checkpoints");

fn golden(file: &str) -> Vec<u8> {
    fs::read(format!("{GOLDENS}/{file}")).unwrap()
}

/// A folder with files; `config.json` as well, unless it is among them.
fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, contents) in [("config.json", &b"{}"[..])].iter().chain(files) {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
    }
    folder
}

fn open(files: &[(&str, &[u8])]) -> Result<Checkpoint, ModelError> {
    Checkpoint::open(folder(files).path())
}

fn error(files: &[(&str, &[u8])]) -> String {
    open(files).unwrap_err().to_string()
}

/// A safetensors file with scalars of these names and types.
fn file(tensors: &[(&str, Dtype)]) -> Vec<u8> {
    let views = tensors.iter().map(|(name, dtype)| {
        let bytes = &[1; 8][..dtype.bitsize() / 8];
        (*name, TensorView::new(*dtype, vec![], bytes).unwrap())
    });
    serialize(views, None).unwrap()
}

fn floats(names: &[&str]) -> Vec<u8> {
    file(&names.iter().map(|name| (*name, Dtype::F32)).collect::<Vec<_>>())
}

fn names(checkpoint: &Checkpoint) -> Vec<&str> {
    checkpoint.names().collect()
}

/// Name, shape and contents of a tensor.
type Contents = (String, Vec<usize>, Option<(DType, Vec<u8>)>);

/// Everything in a checkpoint, to compare.
fn contents(checkpoint: &Checkpoint) -> Vec<Contents> {
    let read = |name: &str| checkpoint.read(name).ok().map(|data| (data.dtype, data.bytes.to_vec()));
    checkpoint.names().map(|name| (name.to_owned(), checkpoint.shape(name).unwrap().to_vec(), read(name))).collect()
}

#[test]
fn a_pytorch_file_gives_what_safetensors_give() {
    for name in ["module", "training", "nested", "views"] {
        let expected = open(&[("model.safetensors", &golden(&format!("torch/{name}.safetensors")))]).unwrap();
        for format in ["zip", "legacy"] {
            let file = golden(&format!("torch/{name}.{format}.bin"));
            let in_memory = Checkpoint::from_bytes("memory", "{}", file.clone()).unwrap();
            for found in [open(&[("pytorch_model.bin", &file)]).unwrap(), in_memory] {
                let left_out = |name: &str| format == "legacy" && ["f8_e4m3", "f8_e5m2", "u16"].contains(&name);
                let expected: Vec<_> = contents(&expected).into_iter().filter(|(name, ..)| !left_out(name)).collect();
                assert_eq!(contents(&found), expected, "{name} {format}");
            }
        }
    }
}

#[test]
fn shards_of_pytorch_files_are_found_by_their_index() {
    let module = golden("torch/module.zip.bin");
    let index =
        br#"{"weight_map": {"a": "pytorch_model-00001-of-00002.bin", "b": "pytorch_model-00002-of-00002.bin"}}"#;
    let files: [(&str, &[u8]); 3] = [
        ("pytorch_model.bin.index.json", index),
        ("pytorch_model-00001-of-00002.bin", &module),
        ("pytorch_model-00002-of-00002.bin", &golden("torch/views.legacy.bin")),
    ];
    let opened = folder(&files);
    let checkpoint = Checkpoint::open(opened.path()).unwrap();
    assert!(checkpoint.contains("embedding.weight") && checkpoint.contains("transposed"));
    assert!(checkpoint.file_of("transposed").ends_with("pytorch_model-00002-of-00002.bin"));
    // One of them stands for all.
    let by_shard = Checkpoint::open(opened.path().join("pytorch_model-00001-of-00002.bin")).unwrap();
    assert_eq!(names(&by_shard), names(&checkpoint));
    assert!(error(&files[..2]).contains("pytorch_model-00002-of-00002.bin"));
}

#[test]
fn the_best_of_several_files_is_taken() {
    let chosen = |files: &[&str]| weights(&files.iter().map(|file| (*file).to_owned()).collect::<BTreeSet<_>>());
    let whole = |name: &str| Some(Weights::Whole(name.to_owned()));
    let sharded = |name: &str| Some(Weights::Sharded(name.to_owned()));
    assert_eq!(chosen(&["pytorch_model.bin", "model.safetensors", "tf_model.h5"]), whole("model.safetensors"));
    assert_eq!(
        chosen(&["pytorch_model.bin", "model.safetensors.index.json", "model-00001-of-00002.safetensors"]),
        sharded("model.safetensors.index.json")
    );
    assert_eq!(chosen(&["pytorch_model.bin", "model.fp16.safetensors"]), whole("model.fp16.safetensors"));
    assert_eq!(chosen(&["model.fp16.safetensors", "model.safetensors"]), whole("model.safetensors"));
    assert_eq!(chosen(&["model.fp16.safetensors", "model.fp32.safetensors"]), whole("model.fp32.safetensors"));
    assert_eq!(chosen(&["model.safetensors.index.fp16.json"]), sharded("model.safetensors.index.fp16.json"));
    assert_eq!(chosen(&["pytorch_model.bin.index.json"]), sharded("pytorch_model.bin.index.json"));
    assert_eq!(chosen(&["model.bin", "optimizer.bin", "adapter_model.safetensors"]), None);
}

#[test]
fn prefixes_that_all_names_have_are_removed() {
    let open = |names: &[&str]| open(&[("model.safetensors", &floats(names))]).unwrap();
    assert_eq!(names(&open(&["_orig_mod.a", "_orig_mod.b.c"])), ["a", "b.c"]);
    assert_eq!(names(&open(&["module._orig_mod.a", "module._orig_mod.b"])), ["a", "b"]);
    assert_eq!(names(&open(&["module.a", "b"])), ["b", "module.a"]);
    assert_eq!(names(&open(&["module."])), ["module."]);
    assert_eq!(names(&open(&[])), [""; 0]);
}

#[test]
fn what_is_no_parameter_needs_no_place_in_the_model() {
    let bytes = file(&[
        ("w", Dtype::BF16),
        ("position_ids", Dtype::I64),
        ("attn.bias", Dtype::BOOL),
        ("num_batches_tracked", Dtype::I64),
        ("v_head.summary.weight", Dtype::F32),
        ("f64", Dtype::F64),
    ]);
    let checkpoint = open(&[("model.safetensors", &bytes)]).unwrap();
    let parameters: Vec<&str> = checkpoint.names().filter(|name| checkpoint.is_parameter(name)).collect();
    assert_eq!(parameters, ["f64", "w"]);
    let error = checkpoint.read("position_ids").unwrap_err().to_string();
    assert!(error.contains("`position_ids`") && error.contains("I64"), "{error}");
    assert_eq!(checkpoint.read("f64").unwrap().dtype, DType::F64);
}

#[test]
fn eight_bit_floats_are_widened() {
    let views = [("w", TensorView::new(Dtype::F8_E4M3, vec![2], &[0x38, 0xfe]).unwrap())];
    let checkpoint = open(&[("model.safetensors", &serialize(views, None).unwrap())]).unwrap();
    let data = checkpoint.read("w").unwrap();
    assert_eq!((data.dtype, &data.bytes[..]), (DType::F32, &[1.0_f32, -448.0].map(f32::to_le_bytes).concat()[..]));
}

#[test]
fn pointers_of_git_lfs_are_recognized() {
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n";
    for file in ["model.safetensors", "pytorch_model.bin", "config.json", "model.safetensors.index.json"] {
        let error = error(&[(file, pointer)]);
        assert!(error.contains(file) && error.contains("git lfs pull"), "{error}");
    }
}

#[test]
fn a_folder_without_weights_says_what_it_has() {
    for (files, part) in [
        (&["a.Q4_K_M.gguf", "b.gguf"][..], "there is a.Q4_K_M.gguf, b.gguf: pass the path of one"),
        (&["onnx/model.onnx", "onnx/model_q4.onnx"], "onnx/model.onnx, onnx/model_q4.onnx"),
        (&["model.bin", "shared_vocabulary.json"], "CTranslate2"),
        (&["tf_model.h5"], "from_tf=True"),
        (&["flax_model.msgpack"], "from_flax=True"),
        (&["adapter_config.json", "adapter_model.safetensors"], "adapter"),
        (&["consolidated.00.pth", "params.json"], "consolidated.00.pth"),
        (&["weights.pt", "README.md"], "there is weights.pt: if that is the model, pass the path of the file"),
        (&["README.md"], "model.safetensors: not found, and neither is pytorch_model.bin"),
    ] {
        let files: Vec<(&str, &[u8])> = files.iter().map(|file| (*file, &b"x"[..])).collect();
        let error = error(&files);
        assert!(error.contains(part), "{error}");
    }
    let only_gguf = folder(&[("a.gguf", b"x")]);
    fs::remove_file(only_gguf.path().join("config.json")).unwrap();
    let error = Checkpoint::open(only_gguf.path()).unwrap_err().to_string();
    assert!(error.contains("config.json: not found; there is a.gguf"), "{error}");
    let only_weights = folder(&[("model.safetensors", b"x")]);
    fs::remove_file(only_weights.path().join("config.json")).unwrap();
    for path in [only_weights.path().to_owned(), only_weights.path().join("model.safetensors")] {
        let error = Checkpoint::open(path).unwrap_err().to_string();
        assert!(error.contains("config.json: not found: the weights say too little"), "{error}");
    }
    let error = Checkpoint::open("no/such/folder").unwrap_err().to_string();
    assert!(error.contains("config.json") && !error.contains("there is"), "{error}");
}

#[test]
fn files_of_other_formats_are_told_apart() {
    let error_of = |file: &str, contents: &[u8]| error(&[(file, contents)]);
    assert!(error_of("pytorch_model.bin", b"x").contains("not a PyTorch file"));
    assert!(error_of("model.safetensors", b"x").contains("incomplete safetensors file"));
    let system = error_of("pytorch_model.bin", b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00id\x85R.");
    assert!(system.contains("pytorch_model.bin: asks to run `os.system`"), "{system}");
    // Whatever its name is.
    let tensors = floats(&["a"]);
    assert_eq!(names(&open(&[("pytorch_model.bin", &tensors)]).unwrap()), ["a"]);
    assert!(open(&[("model.safetensors", &golden("torch/module.zip.bin"))]).unwrap().contains("norm.weight"));
}

#[test]
fn a_file_or_a_cache_folder_stands_for_its_model() {
    let (a, b) = (floats(&["a"]), floats(&["b"]));
    let by_file = folder(&[("model.safetensors", &a), ("checkpoint-5.safetensors", &b)]);
    let path = |name: &str| by_file.path().join(name);
    assert_eq!(resolve(&path("model.safetensors")), by_file.path());
    assert_eq!(names(&Checkpoint::open(path("model.safetensors")).unwrap()), ["a"]);
    let other = Checkpoint::open(path("checkpoint-5.safetensors")).unwrap();
    assert_eq!((names(&other), other.folder()), (vec!["b"], by_file.path()));

    let cache = folder(&[
        ("refs/main", b"two\n"),
        ("snapshots/one/config.json", b"{}"),
        ("snapshots/two/config.json", b"{}"),
        ("snapshots/two/model.safetensors", &a),
    ]);
    fs::remove_file(cache.path().join("config.json")).unwrap();
    assert_eq!(resolve(cache.path()), cache.path().join("snapshots/two"));
    assert_eq!(names(&Checkpoint::open(cache.path()).unwrap()), ["a"]);
    fs::remove_file(cache.path().join("refs/main")).unwrap();
    assert_eq!(resolve(cache.path()), cache.path());
    fs::remove_dir_all(cache.path().join("snapshots/one")).unwrap();
    assert_eq!(resolve(cache.path()), cache.path().join("snapshots/two"));
}

#[test]
fn settings_of_quantization_may_be_in_a_file_of_their_own() {
    for (method, file, settings) in [
        ("gptq", "quantize_config.json", &br#"{"bits": 4, "group_size": 16, "desc_act": true, "sym": false}"#[..]),
        ("awq", "quant_config.json", br#"{"zero_point": true, "q_group_size": 32, "w_bit": 4, "version": "GEMM"}"#),
    ] {
        let weights = golden(&format!("quantized/{method}/model.safetensors"));
        let expected = Checkpoint::open(format!("{GOLDENS}/quantized/{method}")).unwrap();
        let found = open(&[(file, settings), ("model.safetensors", &weights)]).unwrap();
        assert_eq!(contents(&found), contents(&expected));
        assert!(open(&[("model.safetensors", &weights)]).is_err());
    }
}

#[test]
fn tensors_in_memory_are_a_checkpoint_like_those_of_a_file() {
    let path = format!("{}/../../tests/goldens/models/llama", env!("CARGO_MANIFEST_DIR"));
    let file = Checkpoint::open(&path).unwrap();
    let lent = |name: &str| {
        let data = file.read(name).unwrap();
        let bytes: Arc<dyn AsRef<[u8]> + Send + Sync> = Arc::new(data.as_bytes().to_vec());
        MemoryTensor {
            name: format!("module.{name}"),
            dtype: data.dtype,
            shape: file.shape(name).unwrap().to_vec(),
            bytes,
        }
    };
    let tensors: Vec<MemoryTensor> = file.names().map(lent).collect();
    let config = file.config().to_string();
    let memory = Checkpoint::from_tensors("lent", &config, tensors.clone()).unwrap();
    assert_eq!(contents(&memory), contents(&file));

    let wrong = |change: fn(&mut MemoryTensor)| {
        let mut tensors = tensors.clone();
        change(&mut tensors[0]);
        Checkpoint::from_tensors("lent", &config, tensors).unwrap_err().to_string()
    };
    assert!(wrong(|tensor| tensor.shape.push(2)).contains("the bytes of shape"));
    assert!(wrong(|tensor| tensor.dtype = DType::I64).contains("expected F64, F32, F16 or BF16, found I64"));
}

#[test]
fn half_precision_that_is_lent_is_copied() {
    let bytes: Arc<dyn AsRef<[u8]> + Send + Sync> = Arc::new(vec![0_u8; 4 * 256 * 2]);
    let tensor = MemoryTensor { name: "w".to_owned(), dtype: DType::BF16, shape: vec![4, 256], bytes: bytes.clone() };
    let checkpoint = Checkpoint::from_tensors("lent", "{}", [tensor]).unwrap();
    // Where products don't lay rows out, they are not taken from there, and the tensor is read.
    let weight = checkpoint.rows_in_file("w", false).map(Weight::<stepfn_cpu::flex::Backend>::of_stored);
    assert!(checkpoint.contains("w") && weight.is_some() == Panels::is_supported());
    drop(checkpoint);
    assert_eq!(Arc::strong_count(&bytes), 1);
}
