//! Every family of models against transformers, in batches padded on either side.

#![allow(clippy::unwrap_used, reason = "a test that can't continue should fail")]

use std::fs;

use burn::tensor::DType;
use burn::tensor::backend::Backend;
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::Value;
use stepfn_attribution::{ScoringOptions, Text, score};
use stepfn_core::StepFunction;
use stepfn_core::functions::{McDropoutProbAvg, NoisyStatistic};
use stepfn_models::config::DropoutRates;
use stepfn_models::generation::GenerationSettings;
use stepfn_models::tape::StackInput;
use stepfn_models::transformer::{Dropout, NoisyPass, PaddingSide, Pass, TokenBatch};
use stepfn_models::{Model, ModelError};
use stepfn_tests::golden::folder;
use stepfn_tests::models::{agrees_with_transformers, folders, noisy_states, states, writes_what_transformers_writes};

type Flex = stepfn_cpu::flex::Backend;
type NdArray = stepfn_cpu::ndarray::Backend;

/// Largest allowed difference, for values with a spread of 10.
const TOLERANCE: f64 = 2e-5;

#[test]
fn every_family_agrees_with_transformers() {
    let folders = folders();
    assert!(folders.len() >= 20, "golden models are missing: {folders:?}");
    for folder in folders {
        for side in [PaddingSide::Right, PaddingSide::Left] {
            agrees_with_transformers::<Flex>(&folder, side, TOLERANCE, &Default::default());
        }
    }
}

#[test]
fn other_backends_agree_with_transformers_too() {
    for folder in folders() {
        agrees_with_transformers::<NdArray>(&folder, PaddingSide::Right, TOLERANCE, &Default::default());
    }
}

#[test]
fn every_family_generates_the_same_as_transformers() {
    for folder in folders() {
        let json: Value = serde_json::from_slice(&fs::read(folder.join("expected.json")).unwrap()).unwrap();
        if json["kind"] == "masked" {
            let model = Model::<Flex>::load(&folder, DType::F32, &Default::default()).unwrap();
            let error = model.generate(None, &[5], &Default::default()).unwrap_err().to_string();
            assert!(error.contains("one that predicts masked tokens"), "{error}");
            continue;
        }
        writes_what_transformers_writes::<Flex>(&folder, &Default::default());
    }
}

/// The last block computes only the places that are asked for; what texts begin with runs once, and what is in a cache not at all.
fn last_places_are_those_of_all<B: Backend>() {
    for folder in folders() {
        let model = Model::<B>::load(&folder, DType::F32, &Default::default()).unwrap();
        let (decoder, name) = (model.decoder(), folder.display());
        let texts: Vec<Vec<u32>> = vec![vec![7, 12, 17, 22, 27, 32], vec![7, 12, 17], vec![7, 12, 17, 22, 9, 8]];
        let sources = model.encoder().map(|encoder| {
            let source = TokenBatch::new(vec![vec![13, 8, 25]; 3], encoder.vocab_size(), PaddingSide::Right).unwrap();
            let hidden = encoder.embed(&source);
            (source, hidden)
        });
        let source = sources.as_ref().map(|(batch, hidden)| StackInput::embedded(batch, hidden.clone()));
        let context = model.encode(source, &Dropout::Off).unwrap();
        for side in [PaddingSide::Right, PaddingSide::Left] {
            let batch = TokenBatch::new(texts.clone(), decoder.vocab_size(), side).unwrap();
            let target = StackInput::embedded(&batch, decoder.embed(&batch));
            let all = model.decode(&context, target, &Dropout::Off, None).unwrap();
            let [_, size] = all.dims();
            let all: Vec<f64> = all.into_data().iter::<f64>().collect();
            for (first, cached) in [(0, 0), (2, 0), (5, 0), (4, 3), (1, 3)] {
                let mut cache = decoder.cache();
                if cached > 0 {
                    if model.config().is_masked() || side == PaddingSide::Left {
                        continue;
                    }
                    let beginning = texts.iter().map(|text| text[..cached].to_vec()).collect();
                    let beginning = TokenBatch::new(beginning, decoder.vocab_size(), side).unwrap();
                    model.decode_tokens(&context, &beginning, Some(&mut cache), 0).unwrap();
                }
                let found = model.decode_tokens(&context, &batch, Some(&mut cache), first).unwrap();
                let (first, width) = (first.max(cached), batch.width());
                assert_eq!(found.dims(), [texts.len() * (width - first), size], "{name}");
                let found: Vec<f64> = found.into_data().iter::<f64>().collect();
                // What is in the padding means nothing.
                let read = |&(text, place): &(usize, usize)| match side {
                    PaddingSide::Right => place < texts[text].len(),
                    PaddingSide::Left => place >= width - texts[text].len(),
                };
                let places = (0..texts.len()).flat_map(|text| (first..width).map(move |place| (text, place)));
                for (text, place) in places.filter(read) {
                    let ours = &found[(text * (width - first) + place - first) * size..][..size];
                    for (ours, whole) in ours.iter().zip(&all[(text * width + place) * size..]) {
                        let error = (ours - whole).abs();
                        assert!(error <= 1e-4 * (1.0 + whole.abs()), "{name}, {side:?}, {first}, {cached}: {error}");
                    }
                }
            }
            let beyond = model.decode_tokens(&context, &batch, None, batch.width()).unwrap_err().to_string();
            assert!(beyond.contains("a place below 6"), "{beyond}");
        }
    }
}

#[test]
fn the_last_places_of_a_pass_are_those_of_all() {
    last_places_are_those_of_all::<Flex>();
    last_places_are_those_of_all::<NdArray>();
}

#[derive(Deserialize)]
struct Spread {
    mean: Vec<f64>,
    std: Vec<f64>,
    /// The fourth central moment.
    fourth: Vec<f64>,
}

/// Log-probabilities under dropout have the mean and the spread that they have in PyTorch (`goldens/dropout`), to five standard errors: masks differ,
/// their effect doesn't.
#[test]
fn dropout_has_the_effect_that_it_has_in_pytorch() {
    const OURS: f64 = 1000.0;
    let read = |path: &std::path::Path| -> Value { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() };
    let mut golden = read(&folder().join("dropout/expected.json")).as_object().unwrap().clone();
    let theirs = golden.remove("passes").unwrap().as_f64().unwrap();
    golden.remove("versions");
    assert!(golden.len() >= 8);
    for (name, spread) in golden {
        let Spread { mean, std, fourth } = serde_json::from_value(spread).unwrap();
        let model_folder = folder().join("models").join(&name);
        let model = Model::<Flex>::load(&model_folder, DType::F32, &Default::default()).unwrap();
        let ids = &read(&model_folder.join("expected.json"))["texts"][0];
        let ids = |field: &str| serde_json::from_value::<Vec<u32>>(ids[field].clone()).unwrap();
        let text = match model.config().is_encoder_decoder() {
            true => Text::seq2seq(ids("input_ids"), ids("decoder_input_ids")),
            false => Text::causal(ids("input_ids"), 1),
        };
        let of = |statistic| {
            let function = McDropoutProbAvg { n_mcd_steps: OURS as usize, statistic, logprob: true };
            let functions: [Box<dyn StepFunction<Flex>>; 1] = [Box::new(function)];
            let scores = score(&model, core::slice::from_ref(&text), &functions, &ScoringOptions::default()).unwrap();
            scores[0].as_ref().unwrap().scores[0].1.iter().map(|&value| f64::from(value)).collect::<Vec<_>>()
        };
        let (our_mean, our_std) = (of(NoisyStatistic::Mean), of(NoisyStatistic::Std));
        assert_eq!(our_mean.len(), mean.len(), "{name}");
        for step in 0..mean.len() {
            let variance = std[step].powi(2);
            let both = (1.0 / OURS + 1.0 / theirs).sqrt();
            let (mean_error, variance_error) =
                (std[step] * both, (fourth[step] - variance.powi(2)).max(0.0).sqrt() * both);
            let moved = (our_mean[step] - mean[step]).abs();
            assert!(
                moved <= 5.0 * mean_error + 1e-7,
                "{name}, step {step}: mean {} instead of {}",
                our_mean[step],
                mean[step]
            );
            let spread = (our_std[step].powi(2) - variance).abs();
            assert!(
                spread <= 5.0 * variance_error + 1e-9,
                "{name}, step {step}: spread {} instead of {}",
                our_std[step],
                std[step]
            );
        }
    }
}

/// Texts of different lengths, each in two noisy passes.
fn noisy_texts() -> Vec<(Vec<u32>, NoisyPass)> {
    let texts = [vec![5, 9, 30, 7, 61, 12], vec![44, 3, 8], vec![17, 50, 2, 33]];
    let pass = |text: usize, sample| NoisyPass { text: 100 + text as u32, sample };
    let twice = |(number, text): (usize, &Vec<u32>)| [0, 1].map(|sample| (text.clone(), pass(number, sample)));
    texts.iter().enumerate().flat_map(twice).collect()
}

/// A seed drops the same neurons in any batch and with any padding, passes differ from each other, and dropout has an effect in every
/// family that publishes a rate.
#[test]
fn dropout_depends_on_seed_text_and_sample_alone() {
    for folder in folders() {
        let model = Model::<Flex>::load(&folder, DType::F32, &Default::default()).unwrap();
        let texts = noisy_texts();
        let together = noisy_states(&model, &texts, PaddingSide::Right, 7, None);
        let close =
            |left: &[f64], right: &[f64]| left.iter().zip(right).all(|(a, b)| (a - b).abs() < 1e-4 * a.abs().max(1.0));
        let left = noisy_states(&model, &texts, PaddingSide::Left, 7, None);
        for (index, text) in texts.iter().enumerate() {
            let alone = noisy_states(&model, std::slice::from_ref(text), PaddingSide::Right, 7, None);
            assert!(close(&together[index], &alone[0]), "{}: text {index} alone", folder.display());
            assert!(close(&together[index], &left[index]), "{}: text {index} padded on the left", folder.display());
        }
        if !model.config().decoder.dropout.rates().any(|rate| rate > 0.0) {
            assert_eq!(together[0], together[1], "{}: dropout without a rate", folder.display());
            continue;
        }
        assert!(!close(&together[0], &together[1]), "{}: samples are alike", folder.display());
        let other_seed = noisy_states(&model, &texts, PaddingSide::Right, 8, None);
        assert!(!close(&together[0], &other_seed[0]), "{}: seeds are alike", folder.display());
    }
}

/// Dropout off and dropout rates of 0 give the same output bit for bit.
#[test]
fn dropout_of_rate_0_is_no_dropout() {
    for folder in folders() {
        let model = Model::<Flex>::load(&folder, DType::F32, &Default::default()).unwrap();
        let texts = noisy_texts();
        let batch: Vec<Vec<u32>> = texts.iter().map(|text| text.0.clone()).collect();
        let batch = TokenBatch::new(batch, model.config().vocab_size, PaddingSide::Right).unwrap();
        let off = states(&model, &batch, &Dropout::Off);
        for rates in [DropoutRates::default(), model.config().decoder.dropout.at_rate(0.0)] {
            let found = noisy_states(&model, &texts, PaddingSide::Right, 7, Some(rates));
            assert_eq!(found, off, "{}: {rates:?}", folder.display());
        }
    }
}

#[test]
fn invalid_model_inputs_are_errors() {
    let gpt2 = folder().join("models/gpt2");
    let model = Model::<Flex>::load(&gpt2, DType::F32, &Default::default()).unwrap();
    let batch = |texts: Vec<Vec<u32>>| TokenBatch::new(texts, model.config().vocab_size, PaddingSide::Right);
    let message = |error: ModelError| error.to_string();
    assert_eq!(message(batch(vec![]).unwrap_err()), "the model's input: expected at least one text, found none");
    assert_eq!(
        message(batch(vec![vec![1], vec![]]).unwrap_err()),
        "the model's input: expected at least one token, found none in text 1 of a batch of 2"
    );
    let error = message(batch(vec![vec![1, 2, 101]]).unwrap_err());
    assert_eq!(error, "the model's input: expected token ids below 101, found 101 at position 2");
    let long = batch(vec![vec![1; 65]]).unwrap();
    let decoder = model.decoder();
    let error = message(decoder.forward(decoder.embed(&long), Pass::new(&long)).unwrap_err());
    assert_eq!(error, "the model's input: expected at most 64 tokens, as many as the model can read, found 65");
    let marian = Model::<Flex>::load(folder().join("models/marian"), DType::F32, &Default::default()).unwrap();
    let short = batch(vec![vec![1, 2]]).unwrap();
    let decoder = marian.decoder();
    let error = message(decoder.forward(decoder.embed(&short), Pass::new(&short)).unwrap_err());
    assert_eq!(error, "the model's input: expected an encoder's output for the decoder to read, found none");
    let error = marian.encode(None, &Dropout::Off).unwrap_err();
    assert_eq!(message(error), "the model's input: expected a source for the encoder, found none");
    let embedded = StackInput::embedded(&short, marian.encoder().unwrap().embed(&short));
    let copies = marian.encode(Some(embedded), &Dropout::Off).unwrap().repeated(2);
    let targets = batch(vec![vec![1], vec![2]]).unwrap();
    let target = StackInput::embedded(&targets, decoder.embed(&targets));
    let error = message(marian.decode(&copies, target, &Dropout::Off, None).unwrap_err());
    assert!(error.contains("an encoder's output, or a cache of it, for each of the 2 texts"), "{error}");
    let rates = Some(DropoutRates { attention: Some(1.0), ..DropoutRates::default() });
    let dropout = Dropout::On { seed: 1, passes: vec![NoisyPass { text: 0, sample: 0 }], rates };
    let decoder = model.decoder();
    let pass = Pass::new(&short).with_dropout(&dropout);
    let error = message(decoder.forward(decoder.embed(&short), pass).unwrap_err());
    assert_eq!(error, "the model's input: expected dropout rates in [0, 1), found 1");
    let error = model.generate(Some(&[1]), &[1], &Default::default()).unwrap_err();
    assert!(message(error).contains("the model is causal"));
}

/// A text ends at the model's last position; only a prompt that is longer is an error.
#[test]
fn generation_stops_where_positions_end() {
    let plain = GenerationSettings { max_new_tokens: 500, min_new_tokens: 400, ..GenerationSettings::default() };
    let ways = [
        plain.clone(),
        GenerationSettings { do_sample: true, num_return_sequences: 2, ..plain.clone() },
        GenerationSettings { num_beams: 3, num_return_sequences: 2, ..plain.clone() },
        // What would come after the end is never generated.
        GenerationSettings { forced_eos: Some(0), prefix: vec![7; 300], ..plain },
    ];
    let mut with_an_end = 0;
    for folder in folders() {
        let model = Model::<Flex>::load(&folder, DType::F32, &Default::default()).unwrap();
        let Some(most) = model.config().decoder.positions.most() else { continue };
        let name = model.config().family;
        if model.config().is_masked() {
            continue;
        }
        with_an_end += 1;
        let source = model.encoder().map(|_| &[5, 9, 2][..]);
        assert_eq!(most, 64, "{name}");
        for prompt in [1, 60, 64].map(|tokens| vec![5; tokens]) {
            for settings in &ways {
                let texts = model.generate(source, &prompt, settings).unwrap();
                assert_eq!(texts.len(), settings.num_return_sequences);
                for text in texts {
                    // The last token is generated but never read.
                    assert_eq!((text.ids.len(), text.finished), (most + 1 - prompt.len(), false), "{name}");
                }
            }
        }
        let error = model.generate(source, &[5; 65], &ways[0]).unwrap_err().to_string();
        assert_eq!(
            error,
            "the model's input: expected a prompt of at most 64 tokens, as many as the model can read, found 65"
        );
    }
    assert!(with_an_end >= 5, "{with_an_end}");
    let folder = folder().join("models/gpt2");
    let model = Model::<Flex>::load(folder, DType::F32, &Default::default()).unwrap();
    let eager = GenerationSettings { min_new_tokens: 501, ..ways[0].clone() };
    assert!(
        model.generate(None, &[5], &eager).unwrap_err().to_string().contains("min_new_tokens"),
        "as they were given"
    );
}

/// Half precision agrees to a few digits, padding included.
#[test]
fn half_precision_stays_close() {
    for folder in folders() {
        let load = |dtype| Model::<Flex>::load(&folder, dtype, &Default::default()).unwrap();
        let single = load(DType::F32);
        let texts: Vec<Vec<u32>> = noisy_texts().into_iter().map(|text| text.0).collect();
        let batch = TokenBatch::new(texts, single.config().vocab_size, PaddingSide::Left).unwrap();
        let expected = states(&single, &batch, &Dropout::Off);
        for (dtype, tolerance) in [(DType::F16, 0.05), (DType::BF16, 0.4)] {
            let values = states(&load(dtype), &batch, &Dropout::Off);
            let error = |(a, b): (&f64, &f64)| (a - b).abs() / b.abs().max(1.0);
            let pairs = values.iter().flatten().zip(expected.iter().flatten());
            let mean = pairs.clone().map(error).sum::<f64>() / pairs.count() as f64;
            assert!(mean <= tolerance, "{}: mean error {mean} in {dtype:?}", folder.display());
        }
    }
}

/// The error message of loading `files` from a temporary folder.
fn load_error(files: &[(&str, &[u8])]) -> String {
    let folder =
        std::env::temp_dir().join(format!("stepfn-models-{}-{:?}", std::process::id(), std::thread::current().id()));
    fs::create_dir_all(&folder).unwrap();
    for (name, bytes) in files {
        fs::write(folder.join(name), bytes).unwrap();
    }
    let error = Model::<Flex>::load(&folder, DType::F32, &Default::default()).map(|_| ()).unwrap_err();
    fs::remove_dir_all(&folder).unwrap();
    error.to_string()
}

#[test]
fn broken_checkpoints_are_errors_that_name_file_and_tensor() {
    let gpt2 = folder().join("models/gpt2");
    let config = fs::read(gpt2.join("config.json")).unwrap();
    let weights = fs::read(gpt2.join("model.safetensors")).unwrap();
    let config_with = |from: &str, to: &str| {
        let text = String::from_utf8(config.clone()).unwrap();
        assert!(text.contains(from), "{from}");
        text.replace(from, to).into_bytes()
    };

    let error = load_error(&[]);
    assert!(error.contains("config.json"), "{error}");
    let error = load_error(&[("config.json", b"{")]);
    assert!(error.contains("config.json: not all is there"), "{error}");
    let error = load_error(&[("config.json", &config)]);
    assert!(error.contains("model.safetensors: not found"), "{error}");
    let error = load_error(&[("config.json", &config), ("pytorch_model.bin", b"x")]);
    assert!(error.contains("pytorch_model.bin: is not a PyTorch file"), "{error}");
    let index = br#"{"weight_map": {"wte.weight": "../other.safetensors"}}"#;
    let error = load_error(&[("config.json", &config), ("model.safetensors.index.json", index)]);
    assert!(error.contains("expected the name of a file in the same folder"), "{error}");

    for length in [0, 4, 8, 100, weights.len() - 1] {
        let error = load_error(&[("config.json", &config), ("model.safetensors", &weights[..length])]);
        assert!(error.contains("incomplete safetensors file"), "{error}");
    }
    let error = load_error(&[
        ("config.json", &config_with("\"n_embd\": 36", "\"n_embd\": 39")),
        ("model.safetensors", &weights),
    ]);
    assert!(error.contains("expected shape") && error.contains("36"), "{error}");
    let error = load_error(&[
        ("config.json", &config_with("\"n_layer\": 2", "\"n_layer\": 3")),
        ("model.safetensors", &weights),
    ]);
    assert!(error.contains("tensor `transformer.h.2."), "{error}");
    let error = load_error(&[
        ("config.json", &config_with("\"n_layer\": 2", "\"n_layer\": 1")),
        ("model.safetensors", &weights),
    ]);
    assert!(error.contains("`transformer.h.1.") && error.contains("is not part of a gpt2 model"), "{error}");
    let error = load_error(&[
        ("config.json", &config_with("\"n_layer\": 2", "\"n_layer\": 1000000000")),
        ("model.safetensors", &weights),
    ]);
    assert!(error.contains("config.json, `"), "{error}");
    let error = load_error(&[("config.json", &config_with("\"gpt2\"", "\"gpt-2\"")), ("model.safetensors", &weights)]);
    assert!(error.contains("did you mean `gpt2`?"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    /// However the bytes of a checkpoint are damaged, loading returns a model or an error.
    #[test]
    fn damaged_checkpoints_never_panic(at in any::<prop::sample::Index>(), byte: u8, in_config: bool) {
        let gpt2 = folder().join("models/gpt2");
        let (mut config, mut weights) = (fs::read(gpt2.join("config.json")).unwrap(), fs::read(gpt2.join("model.safetensors")).unwrap());
        // The header of the weights; the values themselves may be anything.
        let header = 8 + u64::from_le_bytes(weights[..8].try_into().unwrap()) as usize;
        match in_config {
            true => { let at = at.index(config.len()); config[at] = byte; }
            false => { let at = at.index(header); weights[at] = byte; }
        }
        let folder = std::env::temp_dir().join(format!("stepfn-damaged-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("config.json"), &config).unwrap();
        fs::write(folder.join("model.safetensors"), &weights).unwrap();
        let _ = Model::<Flex>::load(&folder, DType::F32, &Default::default());
        fs::remove_dir_all(&folder).unwrap();
    }
}

/// Files from before the head had a bias, or saved without the head, lack `final_logits_bias`; it is then zero.
#[test]
fn an_absent_bias_of_the_logits_is_zeros() {
    let marian = folder().join("models/marian");
    let config = fs::read_to_string(marian.join("config.json")).unwrap();
    let weights = fs::read(marian.join("model.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&weights).unwrap();
    let zeros = vec![0; tensors.tensor("final_logits_bias").unwrap().data().len()];
    let logits = |bias: Option<&[u8]>| {
        let views = tensors.iter().filter_map(|(name, view)| match (name, bias) {
            ("final_logits_bias", None) => None,
            ("final_logits_bias", Some(bias)) => {
                let view = safetensors::tensor::TensorView::new(view.dtype(), view.shape().to_vec(), bias);
                Some((name, view.unwrap()))
            }
            _ => Some((name, view)),
        });
        let weights = safetensors::serialize(views, None).unwrap();
        let checkpoint = stepfn_models::checkpoint::Checkpoint::from_bytes("marian", &config, weights).unwrap();
        let model = Model::<Flex>::from_checkpoint(&checkpoint, DType::F32, &Default::default()).unwrap();
        let width = model.config().hidden_size;
        let hidden = burn::tensor::Tensor::<Flex, 2>::ones([1, width], &Default::default());
        model.logits(hidden).into_data().iter::<f32>().collect::<Vec<f32>>()
    };
    assert_eq!(logits(None), logits(Some(&zeros)));
    let stored = tensors.tensor("final_logits_bias").unwrap();
    assert_ne!(logits(None), logits(Some(stored.data())), "the golden's bias has an effect");
}
