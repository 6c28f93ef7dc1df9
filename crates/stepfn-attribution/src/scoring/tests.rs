#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use core::ops::ControlFlow;
use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use burn::tensor::DType;
use proptest::prelude::*;
use safetensors::SafeTensors;
use serde_json::{Value, json};
use stepfn_core::{Alignment, PassKind, Registry};

use super::*;

type B = stepfn_cpu::Backend;
type Scored = Result<TextScores, AttributionError>;

static CAUSAL: LazyLock<Model<B>> = LazyLock::new(|| load(&folder("gpt2")));
static PAIRS: LazyLock<Model<B>> = LazyLock::new(|| load(&folder("marian")));

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens/models").join(name)
}

fn load(folder: &Path) -> Model<B> {
    Model::load(folder, DType::F32, &Default::default()).unwrap()
}

fn functions(list: &[(&str, Value)]) -> Vec<Box<dyn StepFunction<B>>> {
    let registry = Registry::default();
    list.iter().map(|(name, parameters)| registry.make(name, parameters.as_object().unwrap()).unwrap()).collect()
}

/// Plain, contrastive and noisy ones.
fn all_kinds() -> Vec<Box<dyn StepFunction<B>>> {
    functions(&[
        ("probability", json!({})),
        ("entropy", json!({})),
        ("contrast_prob", json!({})),
        ("mc_dropout_prob_avg", json!({ "n_mcd_steps": 3 })),
        ("mc_dropout_mutual_information", json!({ "n_mcd_steps": 2 })),
    ])
}

fn run(model: &Model<B>, texts: &[Text], list: &[(&str, Value)]) -> Vec<Scored> {
    score(model, texts, &functions(list), &ScoringOptions::default()).unwrap()
}

fn column<'a>(scored: &'a Scored, name: &str) -> &'a [f32] {
    let scores = &scored.as_ref().unwrap().scores;
    &scores.iter().find(|(other, _)| other == name).unwrap().1
}

fn close(a: &Scored, b: &Scored) -> Result<(), TestCaseError> {
    let (a, b) = (a.as_ref().unwrap(), b.as_ref().unwrap());
    prop_assert_eq!(a.first, b.first);
    for ((name, ours), (other, theirs)) in a.scores.iter().zip(&b.scores) {
        prop_assert_eq!((name, ours.len()), (other, theirs.len()));
        for (ours, theirs) in ours.iter().zip(theirs) {
            let same = (ours - theirs).abs() <= 1e-4 * ours.abs().max(1.0) || (ours.is_nan() && theirs.is_nan());
            prop_assert!(same, "{}: {} and {}", name, ours, theirs);
        }
    }
    prop_assert!((a.sequence.logprob - b.sequence.logprob).abs() < 1e-3 * a.sequence.logprob.abs().max(1.0));
    Ok(())
}

/// Inputs and logits of one text, as transformers has them.
fn golden(name: &str, ids: &str) -> (Vec<u32>, Vec<Vec<f64>>) {
    let bytes = fs::read(folder(name).join("expected.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let ids = tensors.tensor(ids).unwrap();
    let ids = ids.data().as_chunks::<8>().0.iter().map(|id| i64::from_le_bytes(*id) as u32).collect();
    let logits = tensors.tensor("text0.logits").unwrap();
    let vocab = logits.shape()[1];
    let values: Vec<f64> =
        logits.data().as_chunks::<4>().0.iter().map(|bytes| f64::from(f32::from_le_bytes(*bytes))).collect();
    (ids, values.chunks(vocab).map(<[f64]>::to_vec).collect())
}

fn log_softmax(logits: &[f64]) -> Vec<f64> {
    let greatest = logits.iter().copied().fold(f64::MIN, f64::max);
    let norm = greatest + logits.iter().map(|logit| (logit - greatest).exp()).sum::<f64>().ln();
    logits.iter().map(|logit| logit - norm).collect()
}

#[test]
fn scores_are_those_of_the_logits_of_transformers() {
    let (source, _) = golden("marian", "text0.input_ids");
    for (model, name, ids, source) in
        [(&CAUSAL, "gpt2", "input_ids", None), (&PAIRS, "marian", "decoder_input_ids", Some(source))]
    {
        let (target, logits) = golden(name, &format!("text0.{ids}"));
        let text = Text { source, steps: 3..target.len(), target: target.clone(), contrast: None, masked: None };
        let scored = run(model, &[text], &[("surprisal", json!({})), ("entropy", json!({}))]);
        let (mut logprob, mut entropy) = (0.0, 0.0);
        for (step, position) in (3..target.len()).enumerate() {
            let log_probs = log_softmax(&logits[position - 1]);
            let own = log_probs[target[position] as usize];
            let spread = -log_probs.iter().map(|log_prob| log_prob.exp() * log_prob).sum::<f64>();
            (logprob, entropy) = (logprob + own, entropy + spread);
            let surprisal = f64::from(column(&scored[0], "surprisal")[step]);
            assert!((surprisal + own / core::f64::consts::LN_2).abs() < 1e-4, "{name}, step {step}");
            assert!((f64::from(column(&scored[0], "entropy")[step]) - spread).abs() < 1e-4, "{name}, step {step}");
        }
        let TextScores { first, sequence, .. } = scored[0].as_ref().unwrap();
        let steps = (target.len() - 3) as f64;
        assert_eq!(*first, 3);
        assert!((sequence.logprob - logprob).abs() < 1e-3, "{name}");
        assert!((sequence.perplexity.ln() + logprob / steps).abs() < 1e-4, "{name}");
        assert!((sequence.mean_entropy - entropy / steps).abs() < 1e-4, "{name}");
    }
}

fn ids(len: impl Into<proptest::collection::SizeRange>) -> impl Strategy<Value = Vec<u32>> {
    prop::collection::vec(2u32..97, len)
}

prop_compose! {
    /// A text with a prompt, and perhaps a contrast with another one.
    fn text(pairs: bool)(
        source in ids(1..12),
        target in ids(3..20),
        prompt in 1usize..3,
        contrast in prop::option::of((ids(1..12), ids(3..20), 1usize..3)),
    ) -> Text {
        let contrast = contrast.map(|(source, target, first)| {
            let last = target.len() - first - 1;
            let alignment = if first == 1 { Alignment::OneToOne } else { Alignment::Pairs(vec![(0, last)]) };
            ContrastText { source: pairs.then_some(source), target, first, alignment, masked: None }
        });
        Text { source: pairs.then_some(source), steps: prompt..target.len(), target, contrast, masked: None }
    }
}

/// Together, in any order and with any budget, texts score as each alone.
fn company_does_not_matter(model: &Model<B>, texts: &[Text], budget: (usize, usize)) -> Result<(), TestCaseError> {
    let functions = all_kinds();
    let options = ScoringOptions { seed: 7, batch_tokens: budget.0, memory: budget.1, ..ScoringOptions::default() };
    let together = score(model, texts, &functions, &options).unwrap();
    for (number, text) in texts.iter().enumerate() {
        let options = ScoringOptions { seed: 7, first_number: number as u32, ..ScoringOptions::default() };
        let alone = score(model, core::slice::from_ref(text), &functions, &options).unwrap();
        close(&together[number], &alone[0])?;
    }
    // Without dropout, whose masks belong to a text's number.
    let plain: Vec<Text> = texts.iter().rev().cloned().collect();
    let reversed = score(model, &plain, &functions[..3], &options).unwrap();
    let straight = score(model, texts, &functions[..3], &options).unwrap();
    for (one, other) in reversed.iter().rev().zip(&straight) {
        close(one, other)?;
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn causal_texts_score_as_each_alone(
        texts in prop::collection::vec(text(false), 1..7),
        budget in (1usize..200, prop::sample::select(vec![1usize, 20_000, 1 << 30])),
    ) {
        company_does_not_matter(&CAUSAL, &texts, budget)?;
    }

    #[test]
    fn pairs_score_as_each_alone(
        texts in prop::collection::vec(text(true), 1..7),
        budget in (1usize..200, prop::sample::select(vec![1usize, 20_000, 1 << 30])),
    ) {
        company_does_not_matter(&PAIRS, &texts, budget)?;
    }
}

#[test]
fn a_contrast_is_compared_by_its_alignment_and_steps_without_partner_have_no_score() {
    let contrast =
        |alignment| ContrastText { source: None, target: vec![9, 8, 40, 41, 42], first: 2, alignment, masked: None };
    let text = |alignment| Text { contrast: Some(contrast(alignment)), ..Text::causal(vec![3, 4, 5, 6, 7], 1) };
    let pairs = Alignment::Pairs(vec![(0, 2), (3, 1)]);
    let texts = [text(pairs), text(Alignment::OneToOne), Text::causal(vec![9, 8, 40, 41, 42], 2)];
    let plain = run(&CAUSAL, &texts, &[("surprisal", json!({})), ("contrast_prob", json!({}))]);
    let other = column(&plain[2], "surprisal");
    let compared = run(&CAUSAL, &texts[..2], &[("pcxmi", json!({})), ("kl_divergence", json!({}))]);
    for (text, partners) in [[Some(2), None, None, Some(1)], [Some(0), Some(1), Some(2), None]].iter().enumerate() {
        for (step, partner) in partners.iter().enumerate() {
            let value = column(&compared[text], "pcxmi")[step];
            assert_eq!(value.is_nan(), partner.is_none());
            assert_eq!(column(&compared[text], "kl_divergence")[step].is_nan(), partner.is_none());
            if let Some(partner) = partner {
                let expected = column(&plain[text], "surprisal")[step] - other[*partner];
                assert!((value - expected).abs() < 1e-4, "text {text}, step {step}: {value}, not {expected}");
                // Of a function that can do without, too, though the third text of the call has no contrast.
                let expected = (-other[*partner] * core::f32::consts::LN_2).exp();
                assert!((column(&plain[text], "contrast_prob")[step] - expected).abs() < 1e-5);
            }
        }
    }
    let own = column(&plain[2], "contrast_prob")[0];
    assert!((own - (-other[0] * core::f32::consts::LN_2).exp()).abs() < 1e-5);
}

#[test]
fn dropout_comes_from_seed_and_number_and_nothing_else() {
    let noisy = |seed, first_number, rates| {
        let options = ScoringOptions { seed, first_number, rates, ..ScoringOptions::default() };
        let texts = [Text::causal(vec![5; 8], 1), Text::causal(vec![5; 8], 1)];
        let list = [("mc_dropout_prob_avg", json!({ "n_mcd_steps": 4 }))];
        let scored = score(&CAUSAL, &texts, &functions(&list), &options).unwrap();
        scored.iter().map(|scored| column(scored, "mc_dropout_prob_avg").to_vec()).collect::<Vec<_>>()
    };
    let first = noisy(1, 0, None);
    assert_eq!(first, noisy(1, 0, None));
    assert_ne!(first, noisy(2, 0, None));
    assert_ne!(first[0], first[1]);
    let later = noisy(1, 1, None);
    assert!(first[1].iter().zip(&later[0]).all(|(a, b)| (a - b).abs() < 1e-6));
    let none = noisy(1, 0, Some(DropoutRates::default()));
    let plain = run(&CAUSAL, &[Text::causal(vec![5; 8], 1)], &[("probability", json!({}))]);
    assert!(none[0].iter().zip(column(&plain[0], "probability")).all(|(a, b)| (a - b).abs() < 1e-6));
}

#[test]
fn a_text_that_does_not_fit_leaves_the_others_alone() {
    let good = Text::causal(vec![1, 2, 3], 1);
    let wrong = [
        (Text::causal(vec![1, 101, 3], 1), "token 1 of the target has id 101, and the model knows only ids below 101"),
        (Text::causal(vec![1; 66], 1), "the target has 65 tokens, and the model can read 64"),
        (Text::causal(vec![1, 2], 2), "steps 2..2 are not in the text: steps go from position 1 to 2"),
        (Text { source: Some(vec![1]), ..good.clone() }, "this model has no encoder to read a source"),
    ];
    // The last token of a text is never read.
    let longest = Text::causal(vec![1; 65], 1);
    let options = ScoringOptions { first_number: 7, ..ScoringOptions::default() };
    let functions = functions(&[("probability", json!({}))]);
    for (text, says) in wrong {
        let scored = score(&CAUSAL, &[good.clone(), text, longest.clone()], &functions, &options).unwrap();
        assert!(scored[0].is_ok() && scored[2].is_ok());
        let error = scored[1].as_ref().unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    let scored = score(&PAIRS, &[good.clone(), Text::seq2seq(vec![], vec![97, 2])], &functions, &options).unwrap();
    assert!(scored[0].as_ref().unwrap_err().to_string().contains("there is no source for it to read"));
    assert!(scored[1].as_ref().unwrap_err().to_string().contains("the source is empty"));

    let contrast = |target: Vec<u32>, alignment| {
        let contrast = ContrastText { source: None, target, first: 1, alignment, masked: None };
        Text { contrast: Some(contrast), ..good.clone() }
    };
    let texts = [
        contrast(vec![1, 2], Alignment::OneToOne),
        contrast(vec![1, 2], Alignment::Pairs(vec![(1, 1)])),
        contrast(vec![1, 200], Alignment::OneToOne),
        good,
    ];
    let scored = run(&CAUSAL, &texts, &[("pcxmi", json!({}))]);
    let error = |text: usize| scored[text].as_ref().unwrap_err().to_string();
    assert!(scored[0].is_ok());
    assert!(error(1).starts_with("alignment pair 1:1 is out of range"), "{}", error(1));
    assert!(error(2).contains("token 1 of the contrast target has id 200"), "{}", error(2));
    assert!(error(3).starts_with("`pcxmi` needs a contrast"), "{}", error(3));
}

/// A copy of a golden model in which one number is NaN, removed at the end.
struct Broken(PathBuf);

impl Broken {
    /// The first number of the embedding of `token`.
    fn llama(token: usize) -> Self {
        let to = std::env::temp_dir().join(format!("stepfn-scoring-{}", std::process::id()));
        fs::create_dir_all(&to).unwrap();
        fs::copy(folder("llama").join("config.json"), to.join("config.json")).unwrap();
        let mut bytes = fs::read(folder("llama").join("model.safetensors")).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let embedding = tensors.tensor("model.embed_tokens.weight").unwrap();
        let row = 4 * token * embedding.shape()[1];
        let at = embedding.data().as_ptr() as usize - bytes.as_ptr() as usize + row;
        bytes[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
        fs::write(to.join("model.safetensors"), bytes).unwrap();
        Self(to)
    }
}

impl Drop for Broken {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

#[test]
fn logits_that_are_not_finite_are_reported_with_text_and_step() {
    let broken = Broken::llama(50);
    let model = load(&broken.0);
    let contrast = |target: Vec<u32>| {
        let contrast =
            ContrastText { source: None, target, first: 1, alignment: Alignment::Pairs(vec![(2, 1)]), masked: None };
        Text { contrast: Some(contrast), ..Text::causal(vec![1, 2, 3, 4], 1) }
    };
    let texts = [
        Text::causal(vec![1, 2, 3, 4], 1),
        Text::causal(vec![1, 2, 50, 4, 5], 2),
        Text::causal(vec![4, 3, 2, 1], 1),
        contrast(vec![1, 50, 3]),
        contrast(vec![1, 3, 50]),
    ];
    for memory in [1, 1 << 30] {
        let options = ScoringOptions { memory, ..ScoringOptions::default() };
        let scored = score(&model, &texts, &functions(&[("contrast_prob", json!({}))]), &options).unwrap();
        let expected = |step, pass| {
            Err(AttributionError::Step { step: Some(step), error: StepError::NonFinite { pass, row: step } })
        };
        // A token that is not a number shows in all of its text: what attention masks is multiplied with 0.
        assert_eq!(scored[1], expected(0, PassKind::Original));
        assert_eq!(scored[3], expected(2, PassKind::Contrast));
        assert!(scored[0].is_ok() && scored[2].is_ok() && scored[4].is_ok(), "{scored:?}");
        let message = scored[1].as_ref().unwrap_err().to_string();
        assert!(message.starts_with("step 0: row 0 of the original logits contains NaN"), "{message}");
    }
}

#[test]
fn options_and_functions_that_make_no_sense_are_refused() {
    let texts = [Text::causal(vec![1, 2], 1)];
    let once = functions(&[("rank", json!({}))]);
    let refused = |options: ScoringOptions<'_>| score(&CAUSAL, &texts, &once, &options).unwrap_err().to_string();
    let error = refused(ScoringOptions { batch_tokens: 0, ..ScoringOptions::default() });
    assert_eq!(error, "scoring: `batch_tokens` must be 1 or more, not 0");
    let rates = Some(DropoutRates { attention: Some(1.0), ..DropoutRates::default() });
    assert!(refused(ScoringOptions { rates, ..ScoringOptions::default() }).contains("dropout rates in [0, 1), not 1"));
    let twice = functions(&[("rank", json!({})), ("rank", json!({}))]);
    let error = score(&CAUSAL, &texts, &twice, &ScoringOptions::default()).unwrap_err().to_string();
    assert!(error.contains("`rank` twice"), "{error}");
    assert_eq!(score(&CAUSAL, &[], &once, &ScoringOptions::default()), Ok(vec![]));
}

#[test]
fn without_dropout_a_z_score_is_an_error_of_each_text() {
    let options = ScoringOptions { rates: Some(DropoutRates::default()), ..ScoringOptions::default() };
    let list = [("mc_dropout_prob_avg", json!({ "n_mcd_steps": 2, "statistic": "zscore" }))];
    let scored = score(&CAUSAL, &[Text::causal(vec![1, 2, 3], 1)], &functions(&list), &options).unwrap();
    let error = scored[0].as_ref().unwrap_err().to_string();
    assert!(error.contains("is the dropout rate 0?"), "{error}");
}

#[test]
fn progress_is_reported_after_every_batch_and_can_end_the_call() {
    let told = RefCell::new(Vec::new());
    let progress = |progress: Progress| {
        told.borrow_mut().push((progress.texts_done, progress.texts));
        ControlFlow::Continue(())
    };
    let options = ScoringOptions { batch_tokens: 4, progress: Some(&progress), ..ScoringOptions::default() };
    let texts = [Text::causal(vec![1, 2, 3], 1), Text::causal(vec![1], 1), Text::causal(vec![3, 2, 1], 1)];
    let scored = score(&CAUSAL, &[&texts[..], &texts[..1]].concat(), &functions(&[("rank", json!({}))]), &options);
    assert_eq!(scored.unwrap().iter().filter(|scored| scored.is_ok()).count(), 3);
    assert_eq!(told.into_inner(), [(3, 4), (4, 4)]);
}
