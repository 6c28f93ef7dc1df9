#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;
use serde_json::{Value, json};
use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer, Tokenizer};

use super::blocks::Blocks;
use super::*;
use crate::checkpoint::Checkpoint;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens/gguf")
}

fn golden(name: &str) -> Vec<u8> {
    fs::read(folder().join(name)).unwrap()
}

fn golden_json(name: &str) -> Value {
    serde_json::from_slice(&golden(name)).unwrap()
}

fn parse(bytes: &[u8]) -> Result<Gguf, ModelError> {
    Gguf::parse(&[(Path::new("model.gguf"), bytes)])
}

/// A key with a string in place of another.
fn with_text(bytes: &[u8], key: &str, value: &str) -> Vec<u8> {
    let at = bytes.windows(key.len()).position(|window| window == key.as_bytes()).unwrap() + key.len();
    let length = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
    assert_eq!(bytes[at..at + 4], 8_u32.to_le_bytes(), "a string");
    let mut changed = bytes[..at + 4].to_vec();
    changed.extend((value.len() as u64).to_le_bytes());
    changed.extend(value.as_bytes());
    changed.extend(&bytes[at + 12 + length(at + 4)..]);
    changed
}

#[test]
fn metadata_that_nothing_needs_may_be_anything() {
    let bytes = golden("llama.gguf");
    let expected = parse(&bytes).unwrap().config;
    // One more key with [[1, 2], []] in lists in a list, and one with a string that is not UTF-8.
    let mut more = Vec::new();
    let name = |more: &mut Vec<u8>, name: &str| {
        more.extend((name.len() as u64).to_le_bytes());
        more.extend(name.as_bytes());
    };
    let list = |more: &mut Vec<u8>, of: u32, count: u64| {
        more.extend(of.to_le_bytes());
        more.extend(count.to_le_bytes());
    };
    name(&mut more, "general.lists");
    more.extend(9_u32.to_le_bytes());
    list(&mut more, 9, 2);
    list(&mut more, 0, 2);
    more.extend([1, 2]);
    list(&mut more, 8, 0);
    name(&mut more, "general.author");
    more.extend(8_u32.to_le_bytes());
    more.extend(2_u64.to_le_bytes());
    more.extend([0xFF, 0xFE]);
    let mut changed = bytes[..24].to_vec();
    changed[16] += 2;
    changed.extend(&more);
    changed.extend(&bytes[24..]);
    // Tensors start at a multiple of 32.
    let before: usize =
        bytes.len() - parse(&bytes).unwrap().tensors.iter().map(|t| t.bytes.len().next_multiple_of(32)).sum::<usize>();
    let gap = (before + more.len()).next_multiple_of(32) - before - more.len();
    let at = before + more.len();
    changed.splice(at..at, vec![0; gap]);
    assert_eq!(parse(&changed).unwrap().config, expected);
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn blocks_have_the_values_of_the_python_package() {
    let cases = golden_json("blocks.json");
    assert_eq!(cases.as_array().unwrap().len(), 23);
    for case in cases.as_array().unwrap() {
        let blocks = Blocks::numbered(case["number"].as_u64().unwrap() as u32).unwrap();
        let expected: Vec<f32> = serde_json::from_value(case["values"].clone()).unwrap();
        let bytes = hex(case["bytes"].as_str().unwrap());
        assert_eq!((bytes.len(), expected.len()), (2 * blocks.bytes, 2 * blocks.elements), "{}", case["type"]);
        assert_eq!(blocks.values(&bytes), expected, "{}", case["type"]);
    }
}

#[test]
fn plain_numbers_are_read_as_they_are() {
    let read = |number: u32, bytes: &[u8]| Blocks::numbered(number).unwrap().values(bytes);
    assert_eq!(read(0, &1.5_f32.to_le_bytes()), [1.5]);
    assert_eq!(read(1, &[0, 0x3E]), [1.5]);
    assert_eq!(read(30, &[0xC0, 0x3F]), [1.5]);
    assert_eq!(read(24, &[0xFF, 2]), [-1.0, 2.0]);
    assert_eq!(read(25, &(-300_i16).to_le_bytes()), [-300.0]);
    assert_eq!(read(26, &70_000_i32.to_le_bytes()), [70_000.0]);
    assert_eq!(read(27, &(-70_000_i64).to_le_bytes()), [-70_000.0]);
    assert_eq!(read(28, &(-0.25_f64).to_le_bytes()), [-0.25]);
    // The Python package doesn't read Q8_K.
    let mut block = vec![0; 292];
    block[..4].copy_from_slice(&0.5_f32.to_le_bytes());
    (block[4], block[259]) = (3, 0xFE);
    let values = read(15, &block);
    assert_eq!((values.len(), values[0], values[255]), (256, 1.5, -1.0));
}

/// Matrices stay in the file: as they are published, or as the transpose that linear layers need.
#[test]
fn rows_in_the_file_have_the_values_of_tensors() {
    let mut transposed_ones = 0;
    for name in ["bloom", "gpt2", "gpt_neox", "llama", "phi3", "t5"] {
        let checkpoint = Checkpoint::open(folder().join(format!("{name}.gguf"))).unwrap();
        for tensor in checkpoint.names() {
            let [whole, transposed] = [false, true].map(|transposed| checkpoint.rows_in_file(tensor, transposed));
            let expected: Vec<f32> = checkpoint.read(tensor).unwrap().iter::<f32>().collect();
            let &[rows, columns] = checkpoint.shape(tensor).unwrap() else {
                assert!(whole.is_none() && transposed.is_none(), "{name}: {tensor}");
                continue;
            };
            assert!(whole.is_some() != transposed.is_some(), "{name}: {tensor}");
            transposed_ones += usize::from(transposed.is_some());
            let expected = |row: usize, column: usize| match whole {
                Some(_) => expected[row * columns + column],
                None => expected[column * columns + row],
            };
            let stored = whole.as_ref().or(transposed.as_ref()).unwrap();
            let [width, height] = if whole.is_some() { [columns, rows] } else { [rows, columns] };
            assert_eq!(stored.size(), [height, width], "{name}: {tensor}");
            let mut values = vec![0.0; width];
            for row in 0..height {
                stored.expand(row, 0..width, &mut values);
                let expected: Vec<f32> = (0..width).map(|column| expected(row, column)).collect();
                assert_eq!(values, expected, "{name}: {tensor}, row {row}");
            }
        }
    }
    // Four matrices in each of the two layers of GPT-2.
    assert_eq!(transposed_ones, 8);
}

/// All numbers that 16 bits have. Which NaN it is doesn't matter.
#[test]
fn half_precision_has_the_values_of_another_implementation() {
    let all: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
    let agrees = |number: u32, expected: fn(u16) -> f32| {
        for (bits, value) in (0..=u16::MAX).zip(Blocks::numbered(number).unwrap().values(&all)) {
            let expected = expected(bits);
            let same = value.to_bits() == expected.to_bits() || value.is_nan() && expected.is_nan();
            assert!(same, "{bits:#x}: {value} instead of {expected}");
        }
    };
    agrees(1, |bits| half::f16::from_bits(bits).to_f32());
    agrees(30, |bits| half::bf16::from_bits(bits).to_f32());
}

/// The shapes and values of tensors are checked with the models' outputs, in `tests/tests/gguf.rs`.
#[test]
fn configurations_are_translated() {
    let config = |name: &str| parse(&golden(name)).unwrap().config;
    let llama = config("llama.gguf");
    assert_eq!(llama["model_type"], "llama");
    assert_eq!(
        (&llama["head_dim"], &llama["attention_bias"], &llama["mlp_bias"]),
        (&json!(6), &json!(true), &json!(true))
    );
    assert_eq!((&llama["tie_word_embeddings"], &llama["rope_scaling"]), (&json!(false), &Value::Null));
    let linear = config("linear.gguf");
    assert_eq!(linear["rope_scaling"], json!({"rope_type": "linear", "factor": 2.5}));
    let yarn = config("yarn.gguf");
    assert_eq!((&yarn["rope_scaling"]["rope_type"], &yarn["rope_scaling"]["factor"]), (&json!("yarn"), &json!(4.0)));
    assert_eq!(yarn["rope_scaling"]["original_max_position_embeddings"], 16);
    let llama_3 = &config("llama3.gguf")["rope_scaling"];
    assert_eq!((&llama_3["rope_type"], &llama_3["attention_factor"]), (&json!("longrope"), &json!(1.0)));
    assert_eq!(llama_3["short_factor"], llama_3["long_factor"]);
    assert_eq!((&llama_3["short_factor"][0], &llama_3["short_factor"][3]), (&json!(1.0), &json!(8.0)));
    let phi3 = config("phi3.gguf");
    assert_eq!((&phi3["partial_rotary_factor"], &phi3["sliding_window"]), (&json!(0.75), &json!(5)));
    assert_eq!(
        (&phi3["rope_scaling"]["long_factor"][2], &phi3["original_max_position_embeddings"]),
        (&json!(5.5), &json!(4))
    );
    let gemma2 = config("gemma2.gguf");
    assert_eq!((&gemma2["query_pre_attn_scalar"], &gemma2["attn_logit_softcapping"]), (&json!(6), &json!(4.0)));
    assert_eq!(config("gpt_neox.gguf")["use_parallel_residual"], false);
    assert_eq!(config("t5_gated.gguf")["feed_forward_proj"], "gated-gelu");
}

#[test]
fn unknown_architectures_are_named() {
    let error = parse(&with_text(&golden("llama.gguf"), "general.architecture", "mamba")).unwrap_err().to_string();
    assert_eq!(
        error,
        "model.gguf: metadata `general.architecture`: expected one of llama, mistral3, qwen2, qwen3, gemma2, gemma, gemma3, olmo2, starcoder2, granite, smollm3, phi3, gpt2, gptneox, bloom, t5; \
         found `mamba`"
    );
}

#[test]
fn names_say_which_files_belong_together() {
    let path = |name: &str| Path::new("/models").join(name);
    for alone in ["a.gguf", "a-1-of-2.gguf", "a-00003-of-00002.gguf", "a-00000-of-00002.gguf", "a-00001-of-00002.bin"] {
        assert_eq!(paths(&path(alone)).unwrap(), [path(alone)]);
        assert_eq!(first_part(&path(alone)), path(alone));
    }
    assert_eq!(first_part(&path("a-00002-of-00003.gguf")), path("a-00001-of-00003.gguf"));
    let error = paths(&path("a-00002-of-00009.gguf")).unwrap_err().to_string();
    assert!(error.contains("one of 9 files"), "{error}");
    assert!(
        error.contains(": a-00001-of-00009.gguf, ") && error.ends_with("a-00005-of-00009.gguf and 4 more"),
        "{error}"
    );
}

fn tokenizer(bytes: &[u8]) -> Result<(Tokenizer, GgufTokenizer), String> {
    let parsed = GgufTokenizer::parse(Path::new("model.gguf"), bytes).map_err(|error| error.to_string())?;
    let tokenizer = Tokenizer::from_bytes(parsed.json.to_string().as_bytes()).map_err(|error| error.to_string())?;
    Ok((tokenizer, parsed))
}

#[test]
fn sentence_piece_vocabularies_cut_texts_as_sentence_piece_does() {
    let expected = golden_json("spm.json");
    for name in ["spm_llama", "spm_gemma", "spm_t5"] {
        let (tokenizer, parsed) = tokenizer(&golden(&format!("{name}.gguf"))).unwrap();
        for case in expected[name].as_array().unwrap() {
            let text = case["text"].as_str().unwrap();
            let encoding = tokenizer.encode(text, false).unwrap();
            assert_eq!(json!(encoding.get_ids()), case["ids"], "{name}: {text:?}, {:?}", encoding.get_tokens());
        }
        let around = tokenizer.encode("a", true).unwrap().get_tokens().to_vec();
        let (first, last) = (around.first().unwrap().as_str(), around.last().unwrap().as_str());
        assert_eq!((first == "<s>", last == "</s>"), (name != "spm_t5", name == "spm_t5"), "{name}: {around:?}");
        let unknown = "<unk>".to_owned();
        assert_eq!((&parsed.named[1], &parsed.named[3]), (&Some("</s>".to_owned()), &Some(unknown)));
        assert_eq!(parsed.chat_template.get(None), Some("{{ messages }}"));
    }
}

#[test]
fn texts_are_split_as_published() {
    let mut expected = golden_json("splitting.json");
    let texts: Vec<String> = serde_json::from_value(expected["texts"].take()).unwrap();
    let expected = expected.as_object().unwrap();
    let bytes = golden("spm_llama.gguf");
    let mut compared = 0;
    for (name, pieces) in expected.iter().filter(|(name, _)| *name != "texts") {
        // A vocabulary of another kind, read as this one: only its splitting is looked at.
        let changed = with_text(&with_text(&bytes, "tokenizer.ggml.model", "gpt2"), "tokenizer.ggml.pre", name);
        let merges = GgufTokenizer::parse(Path::new("model.gguf"), &changed).unwrap_err().to_string();
        assert!(merges.contains("`tokenizer.ggml.merges`: expected a list of strings, found nothing"), "{merges}");
        let json = tokenizer::splitting_json(name);
        let model = json!({"type": "BPE", "vocab": {"a": 0}, "merges": []});
        let json = json!({"version": "1.0", "normalizer": json[0], "pre_tokenizer": json[1], "model": model});
        let tokenizer = Tokenizer::from_bytes(json.to_string().as_bytes()).unwrap();
        for (text, pieces) in texts.iter().zip(pieces.as_array().unwrap()) {
            let mut split = PreTokenizedString::from(text.as_str());
            if let Some(normalizer) = tokenizer.get_normalizer() {
                split.normalize(|text| tokenizers::Normalizer::normalize(normalizer, text)).unwrap();
            }
            tokenizer.get_pre_tokenizer().unwrap().pre_tokenize(&mut split).unwrap();
            let found = split.get_splits(OffsetReferential::Original, OffsetType::Byte);
            let found: Vec<&str> = found.into_iter().map(|(piece, _, _)| piece).collect();
            assert_eq!(json!(found), *pieces, "{name}");
            compared += 1;
        }
    }
    assert_eq!(compared, 21 * 3);
}

#[test]
fn unknown_ways_to_split_are_named() {
    let changed = |pre| {
        with_text(&with_text(&golden("spm_llama.gguf"), "tokenizer.ggml.model", "gpt2"), "tokenizer.ggml.pre", pre)
    };
    let error = |pre| GgufTokenizer::parse(Path::new("model.gguf"), &changed(pre)).unwrap_err().to_string();
    assert!(
        error("kimi-k2").contains("expected one of gpt-2, phi-2, ") && error("kimi-k2").ends_with("found `kimi-k2`")
    );
    assert!(error("default").contains("take a newer one, found `default`"), "{}", error("default"));
    let bert = with_text(&golden("spm_llama.gguf"), "tokenizer.ggml.model", "bert");
    let error = GgufTokenizer::parse(Path::new("model.gguf"), &bert).unwrap_err().to_string();
    assert!(error.contains("expected gpt2, llama or t5") && error.ends_with("found `bert`"), "{error}");
}

const FILES: [&str; 6] =
    ["llama3.gguf", "phi3.gguf", "t5_gated.gguf", "gpt_neox.gguf", "spm_t5.gguf", "spm_gemma.gguf"];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

    /// However a file is damaged, reading it returns what it has or an error.
    #[test]
    fn damaged_files_never_panic(
        name in prop::sample::select(&FILES[..]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        kept in prop::option::weighted(0.3, any::<prop::sample::Index>()),
    ) {
        let mut bytes = golden(name);
        // Most of a file of a model is numbers, which may be anything.
        let head = bytes.len().min(6000);
        for (at, byte) in changes {
            bytes[at.index(head)] = byte;
        }
        if let Some(kept) = kept {
            bytes.truncate(kept.index(bytes.len()));
        }
        if let Ok(gguf) = parse(&bytes) {
            for tensor in &gguf.tensors {
                let elements: usize = tensor.shape.iter().product();
                prop_assert!(elements <= 8 * bytes.len(), "{:?}", tensor.shape);
                tensor.stored.read(&bytes[tensor.bytes.clone()], &tensor.shape);
            }
        }
        let _ = GgufTokenizer::parse(Path::new("model.gguf"), &bytes);
    }
}
