//! Golden outputs of tiny models, computed by transformers (`goldens/models/make.py`).

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;

use burn::tensor::{DType, Tensor, backend::Backend};
use safetensors::SafeTensors;
use serde_json::Value;
use stepfn_models::Model;
use stepfn_models::config::DropoutRates;
use stepfn_models::generation::GenerationSettings;
use stepfn_models::transformer::{Dropout, NoisyPass, PaddingSide, Pass, StackOutput, TokenBatch, Trace};

use crate::golden::folder;

/// The folders of golden models, sorted.
pub fn folders() -> Vec<PathBuf> {
    let entries = fs::read_dir(folder().join("models")).unwrap().map(|entry| entry.unwrap().path());
    let mut folders: Vec<PathBuf> = entries.filter(|path| path.join("expected.safetensors").is_file()).collect();
    folders.sort();
    folders
}

/// Golden tensors by name.
#[derive(Debug)]
pub struct Golden {
    tensors: HashMap<String, (Vec<usize>, Vec<f64>)>,
}

impl Golden {
    /// Those in a folder.
    pub fn read(folder: &std::path::Path) -> Self {
        let bytes = fs::read(folder.join("expected.safetensors")).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let values = |view: &safetensors::tensor::TensorView| -> Vec<f64> {
            match view.dtype() {
                safetensors::Dtype::F32 => {
                    let (values, _) = view.data().as_chunks::<4>();
                    values.iter().map(|bytes| f64::from(f32::from_le_bytes(*bytes))).collect()
                }
                safetensors::Dtype::I64 => {
                    let (values, _) = view.data().as_chunks::<8>();
                    values.iter().map(|bytes| i64::from_le_bytes(*bytes) as f64).collect()
                }
                other => panic!("golden of type {other:?}"),
            }
        };
        let tensors = tensors.iter().map(|(name, view)| (name.to_owned(), (view.shape().to_vec(), values(&view))));
        Self { tensors: tensors.collect() }
    }

    /// Token ids of the three texts.
    pub fn ids(&self, name: &str) -> Vec<Vec<u32>> {
        (0..3).map(|text| self.tensors[&format!("text{text}.{name}")].1.iter().map(|&id| id as u32).collect()).collect()
    }

    /// Elements per text of a golden `[layers, …]`, for layer `layer`.
    fn layer(&self, text: usize, name: &str, layer: usize) -> &[f64] {
        let (shape, values) = &self.tensors[&format!("text{text}.{name}")];
        let size = values.len() / shape[0];
        &values[layer * size..(layer + 1) * size]
    }

    /// All values of one of a text's tensors.
    pub fn whole(&self, text: usize, name: &str) -> Option<&[f64]> {
        self.tensors.get(&format!("text{text}.{name}")).map(|(_, values)| values.as_slice())
    }
}

/// Checks logits, hidden states and attention of a golden model. A padded batch of its three texts must match what transformers computes
/// for each text alone, within `tolerance` for values with a spread of about 10.
pub fn agrees_with_transformers<B: Backend>(
    folder: &std::path::Path,
    side: PaddingSide,
    tolerance: f64,
    device: &B::Device,
) {
    let golden = Golden::read(folder);
    let model =
        Model::<B>::load(folder, DType::F32, device).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let what = folder.file_name().unwrap().to_string_lossy().into_owned();
    let vocab = model.config().vocab_size;
    let trace = Trace { hidden_states: true, attentions: true };
    let compare = Compare { golden: &golden, what: &what, tolerance };
    let inputs = TokenBatch::new(golden.ids("input_ids"), model.config().source_vocab_size(), side).unwrap();
    let (output, batch) = match model.encoder() {
        None => {
            let decoder = model.decoder();
            (decoder.forward(decoder.embed(&inputs), Pass::new(&inputs).with_trace(trace)).unwrap(), inputs)
        }
        Some(encoder) => {
            let encoded = encoder.forward(encoder.embed(&inputs), Pass::new(&inputs).with_trace(trace)).unwrap();
            compare.stack(&encoded, &inputs, "encoder_hidden_states", "encoder_attentions");
            let targets = TokenBatch::new(golden.ids("decoder_input_ids"), vocab, side).unwrap();
            let decoder = model.decoder();
            let pass = Pass::new(&targets).with_memory(&encoded.last, &inputs).with_trace(trace);
            let output = decoder.forward(decoder.embed(&targets), pass).unwrap();
            for (layer, attention) in output.cross_attentions.iter().enumerate() {
                compare.attention(attention, &targets, &inputs, "cross_attentions", layer);
            }
            (output, targets)
        }
    };
    let (hidden_states, attentions) = match model.encoder() {
        None => ("hidden_states", "attentions"),
        Some(_) => ("decoder_hidden_states", "decoder_attentions"),
    };
    compare.stack(&output, &batch, hidden_states, attentions);
    let logits = model.logits(output.last);
    for text in 0..batch.len() {
        compare.rows(&logits, &batch, text, golden.whole(text, "logits").unwrap(), "logits");
    }
}

struct Compare<'a> {
    golden: &'a Golden,
    what: &'a str,
    tolerance: f64,
}

impl Compare<'_> {
    fn stack<B: Backend>(&self, output: &StackOutput<B>, batch: &TokenBatch, hidden_states: &str, attentions: &str) {
        for text in 0..batch.len() {
            for (layer, hidden) in output.hidden_states.iter().enumerate() {
                let expected = self.golden.layer(text, hidden_states, layer);
                self.rows(hidden, batch, text, expected, &format!("{hidden_states} {layer}"));
            }
            let last = output.hidden_states.len();
            let expected = self.golden.whole(text, "last_hidden_state");
            let expected = expected.unwrap_or_else(|| self.golden.layer(text, hidden_states, last));
            self.rows(&output.last, batch, text, expected, "the last hidden states");
        }
        for (layer, attention) in output.self_attentions.iter().enumerate() {
            self.attention(attention, batch, batch, attentions, layer);
        }
    }

    /// The rows of one text of `[texts · width, columns]`.
    fn rows<B: Backend>(&self, x: &Tensor<B, 2>, batch: &TokenBatch, text: usize, expected: &[f64], name: &str) {
        let first = text * batch.width() + batch.start(text);
        let rows = x.clone().slice(first..first + batch.texts()[text].len());
        self.close(rows.into_data().iter::<f64>().collect(), expected, &format!("{name} of text {text}"));
    }

    fn attention<B: Backend>(
        &self,
        x: &Tensor<B, 4>,
        queries: &TokenBatch,
        keys: &TokenBatch,
        name: &str,
        layer: usize,
    ) {
        let heads = x.dims()[1];
        for text in 0..queries.len() {
            let range = |batch: &TokenBatch| batch.start(text)..batch.start(text) + batch.texts()[text].len();
            let part = x.clone().slice([text..text + 1, 0..heads, range(queries), range(keys)]);
            let expected = self.golden.layer(text, name, layer);
            self.close(part.into_data().iter::<f64>().collect(), expected, &format!("{name} {layer} of text {text}"));
        }
    }

    fn close(&self, values: Vec<f64>, expected: &[f64], name: &str) {
        assert_eq!(values.len(), expected.len(), "{}: {name}", self.what);
        let spread =
            expected.iter().copied().fold(f64::MIN, f64::max) - expected.iter().copied().fold(f64::MAX, f64::min);
        let allowed = self.tolerance * (spread / 10.0).max(1.0);
        for (index, (value, expected)) in values.iter().zip(expected).enumerate() {
            let error = (value - expected).abs();
            assert!(
                error <= allowed,
                "{}: {name}, element {index}: {value} instead of {expected} (allowed {allowed:e})",
                self.what
            );
        }
    }
}

/// Checks that greedy search, a repetition penalty and beam search of a golden model generate the same ids as transformers.
pub fn writes_what_transformers_writes<B: Backend>(folder: &std::path::Path, device: &B::Device) {
    let golden = Golden::read(folder);
    let model =
        Model::<B>::load(folder, DType::F32, device).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let json = |file: &str| -> Value { serde_json::from_str(&fs::read_to_string(folder.join(file)).unwrap()).unwrap() };
    let (published, expected) = (json("generation_config.json"), json("expected.json"));
    for (mode, changes) in expected["generation"].as_object().unwrap() {
        let mut settings = published.as_object().unwrap().clone();
        settings.extend(changes.as_object().unwrap().clone());
        let settings = GenerationSettings::from_json(&Value::Object(settings)).unwrap();
        for text in 0..2 {
            let input = &golden.ids("input_ids")[text];
            let hypotheses = match model.encoder() {
                None => model.generate(None, input, &settings),
                Some(_) => {
                    let start = published["decoder_start_token_id"].as_u64().unwrap() as u32;
                    model.generate(Some(input), &[start], &settings)
                }
            };
            let what = format!("{}, {mode} of text {text}", folder.display());
            let hypotheses = hypotheses.unwrap_or_else(|error| panic!("{what}: {error}"));
            let (shape, ids) = &golden.tensors[&format!("text{text}.{mode}.ids")];
            let width = *shape.last().unwrap();
            // Shorter texts are padded with −1.
            let expected =
                ids.chunks(width).map(|ids| ids.iter().filter(|&&id| id >= 0.0).map(|&id| id as u32).collect());
            let written: Vec<Vec<u32>> = hypotheses.iter().map(|hypothesis| hypothesis.ids.clone()).collect();
            assert_eq!(written, expected.collect::<Vec<Vec<u32>>>(), "{what}");
            if let Some(scores) = golden.whole(text, &format!("{mode}.scores")) {
                for (hypothesis, score) in hypotheses.iter().zip(scores) {
                    assert!((hypothesis.score - score).abs() < 2e-5, "{what}: {} instead of {score}", hypothesis.score);
                }
            }
        }
    }
}

/// The last hidden states of a golden model's texts with dropout, in the given batches.
pub fn noisy_states<B: Backend>(
    model: &Model<B>,
    texts: &[(Vec<u32>, NoisyPass)],
    side: PaddingSide,
    seed: u64,
    rates: Option<DropoutRates>,
) -> Vec<Vec<f64>> {
    let dropout = Dropout::On { seed, passes: texts.iter().map(|text| text.1).collect(), rates };
    let batch =
        TokenBatch::new(texts.iter().map(|text| text.0.clone()).collect(), model.config().vocab_size, side).unwrap();
    states(model, &batch, &dropout)
}

/// The last hidden states of every text, without padding.
pub fn states<B: Backend>(model: &Model<B>, batch: &TokenBatch, dropout: &Dropout) -> Vec<Vec<f64>> {
    let encoded = model
        .encoder()
        .map(|encoder| encoder.forward(encoder.embed(batch), Pass::new(batch).with_dropout(dropout)).unwrap().last);
    let decoder = model.decoder();
    let mut pass = Pass::new(batch).with_dropout(dropout);
    if let Some(encoded) = &encoded {
        pass = pass.with_memory(encoded, batch);
    }
    let last = decoder.forward(decoder.embed(batch), pass).unwrap().last;
    let of_text = |text: usize| {
        let first = text * batch.width() + batch.start(text);
        last.clone().slice(first..first + batch.texts()[text].len()).into_data().iter::<f64>().collect()
    };
    (0..batch.len()).map(of_text).collect()
}
