//! Models of masked tokens against transformers: pseudo-log-likelihoods, with the token alone masked and within its word from left to right, and
//! what single predictions come from.

#![allow(clippy::unwrap_used, reason = "a test that can't continue should fail")]

use std::fs;
use std::path::PathBuf;

use burn::tensor::DType;
use serde_json::Value;
use stepfn_attribution::methods::{Attention, DeepLift, IntegratedGradients, LayerDeepLift, Occlusion, Saliency};
use stepfn_attribution::{
    AttributedFn, AttributionMethod, AttributionOptions, Baseline, ContrastText, Layer, Masked, Masking, Methods,
    Scores, ScoringOptions, StackName, Text, attribute, score,
};
use stepfn_core::functions::{ContrastProbDiff, McDropoutProbAvg, NoisyStatistic, Probability, Rank, Surprisal};
use stepfn_core::{Alignment, StepFunction};
use stepfn_models::Model;
use stepfn_tests::models::{Golden, folders};

type B = stepfn_cpu::flex::Backend;

const BOTH: [Masking; 2] = [Masking::Token, Masking::Word];

/// A golden model of masked tokens.
struct Case {
    name: String,
    model: Model<B>,
    golden: Golden,
    /// What a text starts and ends with, and what masks a token.
    special: [u32; 3],
}

impl Case {
    fn all() -> Vec<Self> {
        let found: Vec<Self> = folders().into_iter().filter_map(Self::read).collect();
        assert!(found.len() >= 9, "golden models of masked tokens are missing");
        found
    }

    fn read(folder: PathBuf) -> Option<Self> {
        let json: Value = serde_json::from_slice(&fs::read(folder.join("expected.json")).unwrap()).unwrap();
        let mask = json["mask_token_id"].as_u64()?;
        let golden = Golden::read(&folder);
        let ids = &golden.ids("input_ids")[0];
        Some(Self {
            name: folder.file_name().unwrap().to_string_lossy().into_owned(),
            model: Model::load(&folder, DType::F32, &Default::default()).unwrap(),
            special: [ids[0], *ids.last().unwrap(), mask as u32],
            golden,
        })
    }

    fn text(&self, number: usize, masking: Masking) -> Text {
        let ids = self.golden.ids("input_ids")[number].clone();
        let words = self.golden.whole(number, "words").unwrap();
        let end = ids.len() - 1;
        let end_of = |token: usize| (token + 1..end).find(|&other| words[other] != words[token]).unwrap_or(end);
        let until = match masking {
            Masking::Token => (1..=end).collect(),
            Masking::Word => (0..end).map(|token| end_of(token).max(token + 1)).collect(),
        };
        Text::masked(ids, Masked { id: self.special[2], until }, 1)
    }

    fn options(&self) -> AttributionOptions<'static> {
        AttributionOptions::new(Baseline { id: self.special[2], kept: self.special.to_vec() })
    }

    fn expected(&self, number: usize, masking: Masking, what: &str) -> Vec<f64> {
        self.golden.whole(number, &format!("masked.{}.{what}", masking.name())).unwrap().to_vec()
    }

    fn attributed(
        &self,
        text: &Text,
        method: &dyn AttributionMethod<B>,
        options: &AttributionOptions<'_>,
    ) -> Option<Scores> {
        let function = AttributedFn::new(Probability::default());
        let texts = core::slice::from_ref(text);
        let found = attribute(&self.model, texts, method, &function, &[], options).unwrap().remove(0);
        found.unwrap_or_else(|error| panic!("{}: {error}", self.name)).scores.target
    }

    /// Compares scores with golden ones, `[steps, tokens, units]`; what was masked has none.
    fn compare(&self, text: &Text, found: Option<Scores>, expected: &[f64], what: &str) {
        let found = found.unwrap();
        let (steps, tokens) = (text.steps.len(), text.target.len());
        let units = expected.len() / (steps * tokens);
        let masked = text.masked.as_ref().unwrap();
        let largest = expected.iter().fold(1e-3f64, |largest, value| largest.max(value.abs()));
        for (index, step) in text.steps.clone().enumerate() {
            for token in 0..tokens {
                let ours = found.at(token, index);
                assert_eq!(ours.len(), units, "{}: {what}", self.name);
                if (step..masked.until[step]).contains(&token) {
                    assert!(ours.iter().all(|value| value.is_nan()), "{}: {what}: {token} was not read", self.name);
                    continue;
                }
                let theirs = &expected[(index * tokens + token) * units..][..units];
                for (ours, theirs) in ours.iter().zip(theirs) {
                    let error = (f64::from(*ours) - theirs).abs();
                    assert!(
                        error <= 5e-5 * largest,
                        "{}: {what} of {token} at {step}: {ours} instead of {theirs}",
                        self.name
                    );
                }
            }
        }
    }
}

fn log_prob() -> Box<dyn StepFunction<B>> {
    Box::new(Probability { logprob: true })
}

#[test]
fn pseudo_log_likelihoods_are_those_of_transformers() {
    for case in Case::all() {
        for masking in BOTH {
            let texts: Vec<Text> = (0..3).map(|number| case.text(number, masking)).collect();
            let scores = score(&case.model, &texts, &[log_prob()], &ScoringOptions::default()).unwrap();
            for (number, scores) in scores.into_iter().enumerate() {
                let scores = scores.unwrap();
                let expected = case.expected(number, masking, "logprobs");
                assert_eq!((scores.first, scores.scores[0].1.len()), (1, expected.len()));
                for (ours, theirs) in scores.scores[0].1.iter().zip(&expected) {
                    let error = (f64::from(*ours) - theirs).abs();
                    assert!(error < 1e-4, "{}, {masking:?}: {ours} instead of {theirs}", case.name);
                }
                let sum: f64 = expected.iter().sum();
                assert!((scores.sequence.logprob - sum).abs() < 1e-3 * sum.abs(), "{}", case.name);
                let perplexity = (-sum / expected.len() as f64).exp();
                assert!((scores.sequence.perplexity / perplexity - 1.0).abs() < 1e-3, "{}", case.name);
            }
        }
    }
}

#[test]
fn attributions_are_those_of_transformers() {
    for case in Case::all() {
        for masking in BOTH {
            let text = case.text(1, masking);
            let raw = AttributionOptions { raw: true, ..case.options() };
            let found = case.attributed(&text, &Saliency { abs: false }, &raw);
            case.compare(&text, found, &case.expected(1, masking, "gradient"), "gradient");
            let occlusion = Occlusion { abs: false, ..Occlusion::default() };
            let found = case.attributed(&text, &occlusion, &case.options());
            case.compare(&text, found, &case.expected(1, masking, "occlusion"), "occlusion");
            let found = case.attributed(&text, &Attention::default(), &case.options());
            case.compare(&text, found, &case.expected(1, masking, "attention"), "attention");
        }
    }
}

#[test]
fn every_method_attributes_a_masked_token_to_what_was_read() {
    const STRUCTURES: [&str; 4] = ["bert", "electra", "albert", "modernbert"];
    let methods = Methods::<B>::default();
    for case in Case::all().into_iter().filter(|case| STRUCTURES.contains(&case.name.as_str())) {
        // Two steps, of which the first hides the second.
        let text = Text { steps: 2..4, ..case.text(1, Masking::Word) };
        let masked = text.masked.clone().unwrap();
        for description in methods.iter() {
            let method = methods.make(&description.name, &Default::default()).unwrap();
            let Some(found) = case.attributed(&text, &*method, &case.options()) else {
                assert_eq!(method.name(), "dummy", "the one without scores");
                continue;
            };
            assert_eq!(found.shape(), [text.target.len(), text.steps.len()], "{}: {}", case.name, method.name());
            for (index, step) in text.steps.clone().enumerate() {
                for token in 0..text.target.len() {
                    let is_masked = (step..masked.until[step]).contains(&token) && !method.is_of_layer();
                    let value = found.at(token, index)[0];
                    assert_eq!(value.is_nan(), is_masked, "{}, {}: {value}", case.name, method.name());
                }
            }
        }
    }
}

#[test]
fn integrated_gradients_add_up_on_both_sides_of_the_mask() {
    for case in Case::all() {
        let text = case.text(1, Masking::Token);
        let function = AttributedFn::new(Probability::default());
        let method =
            IntegratedGradients { n_steps: serde_json::from_value("auto".into()).unwrap(), ..Default::default() };
        let texts = core::slice::from_ref(&text);
        let found = attribute(&case.model, texts, &method, &function, &[], &case.options()).unwrap().remove(0).unwrap();
        let completeness = found.scores.completeness.unwrap();
        let target = found.scores.target.unwrap();
        for step in 0..text.steps.len() {
            let sum: f32 = (0..text.target.len()).map(|token| target.at(token, step)[0]).filter(|x| !x.is_nan()).sum();
            assert!(sum.is_finite());
            let (delta, change) = (completeness.deltas[step], completeness.changes[step]);
            assert!(delta.abs() <= 0.05 * change.abs().max(1e-4), "{}: {delta} of {change}", case.name);
        }
    }
}

/// What a layer holds at the place of the mask is part of what adds up.
#[test]
fn layers_add_up_with_the_place_of_the_mask() {
    let case = Case::read(stepfn_tests::golden::folder().join("models/bert")).unwrap();
    let text = case.text(1, Masking::Token);
    let function = AttributedFn::new(Probability { logprob: true });
    let options = AttributionOptions { raw: true, ..case.options() };
    let run = |stack| {
        let method = LayerDeepLift { layer: Layer { stack, layer: 0 } };
        let texts = core::slice::from_ref(&text);
        attribute(&case.model, texts, &method, &function, &[], &options).unwrap().remove(0).unwrap().scores
    };
    let scores = run(StackName::Auto);
    let (completeness, target) = (scores.completeness.clone().unwrap(), scores.target.clone().unwrap());
    for (step, change) in completeness.changes.iter().enumerate() {
        let sum: f32 = (0..text.target.len()).flat_map(|token| target.at(token, step)).sum();
        assert!((sum - change).abs() <= 1e-3 * change.abs().max(1.0), "{sum} of {change}");
    }
    assert_eq!(run(StackName::Encoder), scores, "the only stack is an encoder");
}

/// DeepLIFT's multipliers add up through the head's transform and the projections of embeddings, too.
#[test]
fn deeplift_adds_up() {
    for case in Case::all() {
        let text = case.text(1, Masking::Word);
        let function = AttributedFn::new(Probability { logprob: true });
        let (texts, options) = (core::slice::from_ref(&text), AttributionOptions { raw: true, ..case.options() });
        let found = attribute(&case.model, texts, &DeepLift::default(), &function, &[], &options).unwrap().remove(0);
        let scores = found.unwrap().scores;
        let (completeness, target) = (scores.completeness.unwrap(), scores.target.unwrap());
        for step in 0..text.steps.len() {
            // What was masked is masked in the baseline too, and has no share.
            let read = (0..text.target.len()).flat_map(|token| target.at(token, step)).filter(|share| !share.is_nan());
            let (sum, change) = (read.sum::<f32>(), completeness.changes[step]);
            assert!((sum - change).abs() <= 1e-3 * change.abs().max(1.0), "{}: {sum} of {change}", case.name);
        }
    }
}

/// A text has the same scores alone or in a batch, with much memory or little, and of a part of its steps.
#[test]
fn copies_are_scored_alike_in_any_batch() {
    for case in Case::all() {
        let texts: Vec<Text> = (0..3).map(|number| case.text(number, Masking::Word)).collect();
        let functions = || -> Vec<Box<dyn StepFunction<B>>> {
            let noisy = McDropoutProbAvg { n_mcd_steps: 3, statistic: NoisyStatistic::Mean, logprob: false };
            vec![Box::new(Surprisal::default()), Box::new(Rank::default()), Box::new(noisy)]
        };
        let of = |texts: &[Text], options: &ScoringOptions<'_>| {
            let scores = score(&case.model, texts, &functions(), options).unwrap();
            scores.into_iter().map(|scores| scores.unwrap().scores).collect::<Vec<_>>()
        };
        let together = of(&texts, &ScoringOptions { alternatives: 3, ..ScoringOptions::default() });
        let little = of(&texts, &ScoringOptions { memory: 1, batch_tokens: 1, ..ScoringOptions::default() });
        let close = |a: &[(String, Vec<f32>)], b: &[(String, Vec<f32>)], what: &str| {
            for ((name, a), (_, b)) in a.iter().zip(b) {
                for (a, b) in a.iter().zip(b) {
                    assert!((a - b).abs() <= 1e-4 * b.abs().max(1.0), "{}, {what}: {name}: {a} and {b}", case.name);
                }
            }
        };
        for (number, text) in texts.iter().enumerate() {
            close(&together[number], &little[number], "little memory");
            let alone = ScoringOptions { first_number: number as u32, ..ScoringOptions::default() };
            let mut alone = of(core::slice::from_ref(text), &alone).remove(0);
            close(&alone, &together[number], "alone");
            let part = Text { steps: 2..3, ..text.clone() };
            let options = ScoringOptions { first_number: number as u32, ..ScoringOptions::default() };
            let part = of(&[part], &options).remove(0);
            alone.iter_mut().for_each(|(_, values)| *values = vec![values[1]]);
            close(&part, &alone, "one step");
        }
    }
}

/// A contrast is masked where its own token is, and by default only its token is compared, in the text's own context.
#[test]
fn contrasts_are_other_tokens_at_the_mask_or_other_masked_texts() {
    let case = Case::read(stepfn_tests::golden::folder().join("models/bert")).unwrap();
    let text = case.text(1, Masking::Token);
    let mut other = text.target.clone();
    other[3] = 40;
    let contrast = ContrastText {
        source: None,
        target: other.clone(),
        first: 1,
        alignment: Alignment::OneToOne,
        masked: text.masked.clone(),
    };
    let with_contrast = Text { contrast: Some(contrast), ..text.clone() };
    let probabilities = |text: &Text| {
        let functions: [Box<dyn StepFunction<B>>; 1] = [Box::new(Probability::default())];
        let scores = score(&case.model, core::slice::from_ref(text), &functions, &ScoringOptions::default()).unwrap();
        scores[0].as_ref().unwrap().scores[0].1.clone()
    };
    let (own, others) = (probabilities(&text), probabilities(&Text { target: other, ..text.clone() }));
    let functions: [Box<dyn StepFunction<B>>; 1] = [Box::new(ContrastProbDiff::default())];
    let texts = core::slice::from_ref(&with_contrast);
    let scores = score(&case.model, texts, &functions, &ScoringOptions::default()).unwrap();
    let scores = scores[0].as_ref().unwrap().scores[0].1.clone();
    for (difference, (own, other)) in scores.iter().zip(own.iter().zip(&others)) {
        assert!((difference - (own - other)).abs() < 1e-6, "{difference}: {own} and {other}");
    }
    // In its own context the text differs from the contrast only at the changed token.
    let function = AttributedFn::new(ContrastProbDiff::default());
    let of = |contrast_force_inputs| {
        let options = AttributionOptions { contrast_force_inputs, ..case.options() };
        let found = attribute(&case.model, texts, &Saliency::default(), &function, &[], &options).unwrap().remove(0);
        found.unwrap().scores.target.unwrap()
    };
    let (own_context, other_context) = (of(false), of(true));
    let matters = |scores: &Scores, step: usize| (0..7).any(|token| scores.at(token, step)[0] > 0.0);
    let steps = |scores: &Scores| (0..5).map(|step| matters(scores, step)).collect::<Vec<_>>();
    assert_eq!(steps(&own_context), [false, false, true, false, false]);
    assert_eq!(steps(&other_context), [true; 5]);
}

/// Training for another task, or saving the encoder alone, loses the head.
#[test]
fn a_model_without_its_head_does_not_open() {
    let folder = stepfn_tests::golden::folder().join("models/bert");
    let config =
        fs::read_to_string(folder.join("config.json")).unwrap().replace("ForMaskedLM", "ForTokenClassification");
    let weights = fs::read(folder.join("model.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&weights).unwrap();
    let encoder = tensors.iter().filter(|(name, _)| name.starts_with("bert."));
    let weights = safetensors::serialize(encoder, None).unwrap();
    let checkpoint = stepfn_models::checkpoint::Checkpoint::from_bytes("headless", &config, weights).unwrap();
    let error = Model::<B>::from_checkpoint(&checkpoint, DType::F32, &Default::default()).map(|_| ()).unwrap_err();
    let error = error.to_string();
    assert!(error.contains("with the weights of its head") && error.contains("BertForTokenClassification"), "{error}");
}

#[test]
fn texts_of_the_other_kind_are_refused() {
    let case = Case::read(stepfn_tests::golden::folder().join("models/bert")).unwrap();
    let error = score(&case.model, &[Text::causal(vec![5, 6, 7], 1)], &[log_prob()], &ScoringOptions::default());
    let error = error.unwrap().remove(0).unwrap_err().to_string();
    assert!(error.contains("predicts masked tokens, and the text does not say which token masks others"), "{error}");
    let gpt2 = Model::<B>::load(stepfn_tests::golden::folder().join("models/gpt2"), DType::F32, &Default::default());
    let text = Text::masked(vec![5, 6, 7], Masked::alone(4, 3), 1);
    let error = score(&gpt2.unwrap(), core::slice::from_ref(&text), &[log_prob()], &ScoringOptions::default());
    let error = error.unwrap().remove(0).unwrap_err().to_string();
    assert!(error.contains("predicts what comes next, and the text has tokens to mask"), "{error}");
    let long = Text::masked(vec![5; 65], Masked::alone(4, 65), 1);
    let error = score(&case.model, &[long], &[log_prob()], &ScoringOptions::default()).unwrap().remove(0);
    assert!(error.unwrap_err().to_string().contains("65 tokens, and the model can read 64"));
}
