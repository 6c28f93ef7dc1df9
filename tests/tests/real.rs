//! Published files, compared with transformers: SmolLM2-135M with its weights (`real/smollm2.py`), and the tokenizer of Mistral 7B
//! (`real/mistral.py`).
//!
//! The files are not in the repository: `STEPFN_SMOLLM2` and `STEPFN_MISTRAL` are their paths, and `.ci/run` downloads them. Without them, the
//! tests print that they were skipped.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that can't continue should fail")]

use std::path::{Path, PathBuf};

use burn::tensor::DType;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use stepfn_models::Model;
use stepfn_models::generation::GenerationSettings;
use stepfn_models::tokenizer::{Languages, Tokenizer, Tokenizers};
use stepfn_models::transformer::{PaddingSide, Pass, TokenBatch};

type Flex = stepfn_cpu::flex::Backend;

#[derive(Deserialize)]
struct Case {
    text: String,
    ids: Vec<u32>,
    /// Top ids of every position.
    top_ids: Vec<Vec<usize>>,
    top_logits: Vec<Vec<f64>>,
    greedy: Vec<u32>,
}

/// The path in an environment variable. `script` says how to get what is there.
fn published(variable: &str, script: &str) -> Option<PathBuf> {
    let path = std::env::var_os(variable).map(PathBuf::from);
    match &path {
        None => println!(
            "SKIPPED: a published file. Get it with `python3 tests/real/{script} get FOLDER`, and set {variable} to what that prints."
        ),
        Some(path) => assert!(path.exists(), "{variable}: {} does not exist", path.display()),
    }
    path
}

fn golden<T: DeserializeOwned>(name: &str) -> T {
    let golden = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("real").join(name)).unwrap();
    serde_json::from_slice(&golden).unwrap()
}

#[derive(Deserialize)]
struct Cut {
    text: String,
    ids: Vec<u32>,
}

#[test]
fn mistral_cuts_texts_as_transformers_does() {
    let Some(folder) = published("STEPFN_MISTRAL", "mistral.py") else { return };
    let family = serde_json::json!({"model_type": "mistral"});
    let tokenizers = Tokenizers::open(&folder, &family, &Languages::default()).unwrap();
    let cases: Vec<Cut> = golden("mistral.json");
    assert!(cases.len() > 30);
    for Cut { text, ids } in cases {
        let tokens = tokenizers.source().encode(&text, true).unwrap();
        assert_eq!(tokens.iter().map(|token| token.id).collect::<Vec<_>>(), ids, "{text:?}");
        assert!(tokens.iter().all(|token| text.get(token.span.clone()).is_some()), "{text:?}");
    }
}

#[test]
fn smollm2_agrees_with_transformers() {
    let Some(path) = published("STEPFN_SMOLLM2", "smollm2.py") else { return };
    let cases: Vec<Case> = golden("smollm2.json");
    let tokenizer = Tokenizer::open(&path).unwrap();
    let model = Model::<Flex>::load(&path, DType::F32, &Default::default()).unwrap();
    let vocab = model.config().vocab_size;
    let tokenizer = tokenizer.limited_to(vocab);
    for case in &cases {
        let ids: Vec<u32> = tokenizer.encode(&case.text, false).unwrap().iter().map(|token| token.id).collect();
        assert_eq!(ids, case.ids, "{:?}", case.text);
        assert_eq!(tokenizer.decode(&ids, false).unwrap(), case.text);
        let batch = TokenBatch::new(vec![ids.clone()], vocab, PaddingSide::Right).unwrap();
        let decoder = model.decoder();
        let output = decoder.forward(decoder.embed(&batch), Pass::new(&batch)).unwrap();
        let logits: Vec<f64> = model.logits(output.last).into_data().iter::<f64>().collect();
        let mut largest = 0.0_f64;
        for (position, (top, expected)) in case.top_ids.iter().zip(&case.top_logits).enumerate() {
            for (id, expected) in top.iter().zip(expected) {
                largest = largest.max((logits[position * vocab + id] - expected).abs());
            }
        }
        println!("{:?}: largest difference of logits {largest:.1e}", case.text);
        // Logits are about 20, in f32 through 30 layers; the difference was 5e-5 when this test was written.
        assert!(largest < 5e-4, "{:?}: logits differ by {largest}", case.text);
        let settings = GenerationSettings { max_new_tokens: case.greedy.len(), ..GenerationSettings::default() };
        let written = model.generate(None, &ids, &settings).unwrap();
        assert_eq!(written[0].ids, case.greedy, "{:?}", case.text);
    }
    let paris = tokenizer.decode(&cases[0].greedy[..1], false).unwrap();
    assert_eq!((cases[0].text.as_str(), paris.as_str()), ("The capital of France is", " Paris"));
}
