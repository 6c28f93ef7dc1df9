//! Properties of generation, tested on a model small enough to enumerate.

use proptest::prelude::*;

use super::greedy::draw;
use super::*;
use crate::random::SplitMix64;

/// A random model whose next token depends on the last two.
#[derive(Clone)]
struct Toy {
    seed: u64,
    vocabulary: usize,
    texts: Vec<Vec<u32>>,
}

impl Toy {
    fn new(seed: u64, vocabulary: usize, prompt: &[u32]) -> Self {
        Self { seed, vocabulary, texts: vec![prompt.to_vec()] }
    }

    /// Logits after a text, in [−3, 3].
    fn after(&self, text: &[u32]) -> Vec<f32> {
        let last = text.iter().rev().take(2).fold(1_u64, |state, &token| state * 1009 + u64::from(token));
        (0..self.vocabulary as u64)
            .map(|id| {
                let mixed = (self.seed * 7919 + last * 104_729 + id + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
                let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
                (mixed >> 40) as f32 / (1_u64 << 24) as f32 * 6.0 - 3.0
            })
            .collect()
    }

    fn log_probs(&self, text: &[u32]) -> Vec<f64> {
        let logits: Vec<f64> = self.after(text).into_iter().map(f64::from).collect();
        let log_sum = logits.iter().map(|logit| logit.exp()).sum::<f64>().ln();
        logits.into_iter().map(|logit| logit - log_sum).collect()
    }

    /// The best of all texts that end with an end token or reach the maximum length, with its score.
    fn best(&self, text: &mut Vec<u32>, sum: f64, settings: &GenerationSettings) -> (f64, Vec<u32>) {
        let length = text.len() - 1;
        if length == settings.max_new_tokens || length > 0 && settings.eos.contains(&text[length]) {
            return (sum / (length as f64).powf(settings.length_penalty), text[1..].to_vec());
        }
        let mut best = (f64::NEG_INFINITY, vec![]);
        for (id, log_prob) in self.log_probs(text).into_iter().enumerate() {
            text.push(id as u32);
            let found = self.best(text, sum + log_prob, settings);
            text.pop();
            if found.0 > best.0 {
                best = found;
            }
        }
        best
    }
}

impl Decoder for Toy {
    fn logits(&mut self) -> Result<Vec<f32>, ModelError> {
        Ok(self.texts.iter().flat_map(|text| self.after(text)).collect())
    }

    fn advance(&mut self, parents: &[usize], tokens: &[u32]) -> Result<(), ModelError> {
        assert_eq!(parents.len(), tokens.len());
        self.texts = parents
            .iter()
            .zip(tokens)
            .map(|(&parent, &token)| self.texts[parent].iter().copied().chain([token]).collect())
            .collect();
        Ok(())
    }
}

fn generated(seed: u64, prompt: &[u32], settings: &GenerationSettings) -> Vec<Hypothesis> {
    generate(&mut Toy::new(seed, 12, prompt), prompt, settings).unwrap()
}

/// Greedy, a beam search and sampling.
fn ways() -> impl Strategy<Value = GenerationSettings> {
    let plain = GenerationSettings { max_new_tokens: 10, eos: vec![1], ..GenerationSettings::default() };
    (0..3, 2_usize..5, any::<u64>(), any::<bool>()).prop_map(move |(way, several, seed, early_stopping)| match way {
        0 => plain.clone(),
        1 => GenerationSettings { num_beams: several, num_return_sequences: 2, early_stopping, ..plain.clone() },
        _ => GenerationSettings { do_sample: true, num_return_sequences: several, seed, ..plain.clone() },
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) })]

    #[test]
    fn greedy_takes_the_most_likely_token_each_time(seed in 0_u64..1_000_000) {
        let toy = Toy::new(seed, 12, &[3]);
        let settings = GenerationSettings { max_new_tokens: 10, eos: vec![1, 2], ..GenerationSettings::default() };
        let (mut text, mut score) = (vec![3], 0.0);
        while text.len() < 11 {
            let log_probs = toy.log_probs(&text);
            let best = (0..12).max_by(|&a, &b| log_probs[a].total_cmp(&log_probs[b])).unwrap();
            score += log_probs[best];
            text.push(best as u32);
            if best == 1 || best == 2 {
                break;
            }
        }
        let found = generated(seed, &[3], &settings).remove(0);
        prop_assert_eq!(&found.ids, &text[1..]);
        prop_assert!((found.score - score).abs() < 1e-4);
        prop_assert_eq!(found.finished, matches!(found.ids.last(), Some(1 | 2)));
    }

    #[test]
    fn one_beam_is_greedy(seed in 0_u64..1_000_000) {
        let settings = GenerationSettings {
            max_new_tokens: 10, eos: vec![1, 2], early_stopping: true, length_penalty: 0.0, ..GenerationSettings::default()
        };
        let search = search::Search::Beam(beam::Search::new(&[3], &settings));
        let beam = search::drive(&mut Toy::new(seed, 12, &[3]), vec![Ok(search)]).unwrap().remove(0).unwrap();
        let greedy = generated(seed, &[3], &settings);
        prop_assert_eq!(&beam[0].ids, &greedy[0].ids);
        prop_assert_eq!(beam[0].finished, greedy[0].finished);
        prop_assert!((beam[0].score - greedy[0].score).abs() < 1e-4);
    }

    #[test]
    fn a_beam_search_over_all_texts_finds_the_best(seed in 0_u64..1_000_000, length_penalty in 0..2, eos in 0_usize..3) {
        let settings = GenerationSettings {
            max_new_tokens: 4,
            num_beams: 256,
            length_penalty: f64::from(length_penalty),
            eos: (0..eos as u32).collect(),
            ..GenerationSettings::default()
        };
        let mut toy = Toy::new(seed, 4, &[3]);
        let (score, ids) = toy.best(&mut vec![3], 0.0, &settings);
        let found = generate(&mut toy, &[3], &settings).unwrap().remove(0);
        prop_assert!((found.score - score).abs() < 1e-4, "{found:?} is not {ids:?}, {score}");
        prop_assert_eq!(found.ids, ids);
    }

    #[test]
    fn texts_keep_to_the_limits(seed in 0_u64..1_000_000, settings in ways(), min_new_tokens in 0_usize..10) {
        let found = generated(seed, &[3, 4], &GenerationSettings { min_new_tokens, ..settings.clone() });
        prop_assert_eq!(found.len(), settings.num_return_sequences);
        prop_assert!(found.is_sorted_by(|a, b| a.score >= b.score));
        for text in found {
            let end = text.ids.iter().position(|id| *id == 1);
            prop_assert_eq!(text.finished, end.is_some());
            prop_assert_eq!(text.ids.len(), end.map_or(10, |end| end + 1));
            prop_assert!(end.is_none_or(|end| end >= min_new_tokens));
        }
    }

    #[test]
    fn no_ngram_is_repeated(seed in 0_u64..1_000_000, settings in ways(), size in 1_usize..4) {
        let settings = GenerationSettings { no_repeat_ngram_size: size, max_new_tokens: 8, ..settings };
        for text in generated(seed, &[3, 4], &settings) {
            let text = [&[3, 4], &text.ids[..]].concat();
            for (start, ngram) in text.windows(size).enumerate() {
                prop_assert!(!text[..start + size - 1].windows(size).any(|earlier| earlier == ngram), "{text:?}");
            }
        }
    }

    #[test]
    fn bad_words_are_not_written(
        seed in 0_u64..1_000_000,
        settings in ways(),
        bad in prop::collection::vec(prop::collection::vec(2_u32..8, 1..4), 0..6),
    ) {
        let settings = GenerationSettings { bad_words_ids: bad.clone(), ..settings };
        for text in generated(seed, &[8], &settings) {
            for word in &bad {
                prop_assert!(!text.ids.windows(word.len()).any(|written| written == word), "{text:?}");
            }
        }
    }

    #[test]
    fn forced_tokens_and_the_prefix_are_in_place(
        seed in 0_u64..1_000_000,
        settings in ways(),
        mut prefix in prop::collection::vec(2_u32..12, 1..6),
        bos in 2_u32..12,
    ) {
        prefix[0] = bos;
        let settings = GenerationSettings {
            forced_bos: Some(bos),
            forced_eos: Some(1),
            prefix: prefix.clone(),
            bad_words_ids: vec![vec![bos]],
            no_repeat_ngram_size: 3,
            ..settings
        };
        for text in generated(seed, &[0], &settings) {
            prop_assert!(text.ids.starts_with(&prefix));
            prop_assert_eq!(text.ids.last(), Some(&1));
            prop_assert!(text.finished && text.ids.len() <= 10);
        }
        let free = GenerationSettings { prefix: vec![], ..settings };
        for text in generated(seed, &[0], &free) {
            prop_assert_eq!(text.ids[0], bos);
        }
    }

    #[test]
    fn repetition_is_penalized_once_a_token(
        scores in prop::collection::vec(-5_f32..5.0, 6),
        text in prop::collection::vec(0_u32..6, 0..10),
        penalty in 1_u8..40,
    ) {
        let penalty = f64::from(penalty) / 8.0;
        let settings = GenerationSettings { repetition_penalty: penalty, ..GenerationSettings::default() };
        let mut changed = scores.clone();
        processors::Rules::new(&settings, 0).apply(&text, &mut changed);
        for (id, (&before, after)) in scores.iter().zip(changed).enumerate() {
            let penalty = if text.contains(&(id as u32)) { penalty as f32 } else { 1.0 };
            prop_assert_eq!(after, if before < 0.0 { before * penalty } else { before / penalty });
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_text(seed in any::<u64>()) {
        let settings = GenerationSettings {
            do_sample: true, seed, max_new_tokens: 30, num_return_sequences: 3, ..GenerationSettings::default()
        };
        let found = generated(5, &[3], &settings);
        prop_assert_eq!(&found, &generated(5, &[3], &settings));
        prop_assert_ne!(&found[0].ids, &found[1].ids);
        let other = GenerationSettings { seed: seed.wrapping_add(1), ..settings };
        prop_assert_ne!(found, generated(5, &[3], &other));
    }

    #[test]
    fn texts_together_are_as_each_alone(
        seed in 0_u64..1_000_000,
        texts in prop::collection::vec((prop::collection::vec(2_u32..12, 1..5), ways(), 1_usize..12, 0..4), 1..6),
    ) {
        let texts: Vec<(Vec<u32>, GenerationSettings)> = texts
            .into_iter()
            .map(|(prompt, settings, max_new_tokens, way)| {
                // One of some allows no token, at once or later.
                let bad_words_ids = if way == 0 { (0..12).map(|id| vec![prompt[0], id]).collect() } else { vec![] };
                (prompt, GenerationSettings { max_new_tokens, bad_words_ids, ..settings })
            })
            .collect();
        let mut decoder = Toy { texts: texts.iter().map(|text| text.0.clone()).collect(), ..Toy::new(seed, 12, &[]) };
        let prompts: Vec<Prompt<'_>> = texts.iter().map(|(ids, settings)| Prompt { ids, settings }).collect();
        let together = generate_many(&mut decoder, &prompts).unwrap();
        for ((prompt, settings), found) in texts.iter().zip(together) {
            prop_assert_eq!(found, generate(&mut Toy::new(seed, 12, prompt), prompt, settings));
        }
    }

    #[test]
    fn sampling_from_one_token_is_greedy(seed in 0_u64..1_000_000, random in any::<u64>(), nucleus in any::<bool>()) {
        let greedy = GenerationSettings { eos: vec![1], ..GenerationSettings::default() };
        let (top_k, top_p) = if nucleus { (0, 1e-9) } else { (1, 1.0) };
        let sampling = GenerationSettings { do_sample: true, top_k, top_p, seed: random, ..greedy.clone() };
        prop_assert_eq!(generated(seed, &[3], &greedy), generated(seed, &[3], &sampling));
    }
}

#[test]
fn samples_follow_the_distribution() {
    let probabilities: [f64; 5] = [0.4, 0.05, 0.3, 0.0, 0.25];
    let scores = probabilities.map(|probability| probability.ln() as f32);
    let draws = 40_000;
    for (settings, expected) in [
        (GenerationSettings { top_k: 0, ..Default::default() }, probabilities),
        (GenerationSettings { top_k: 2, ..Default::default() }, [4.0 / 7.0, 0.0, 3.0 / 7.0, 0.0, 0.0]),
        (GenerationSettings { top_p: 0.75, ..Default::default() }, [8.0 / 19.0, 0.0, 6.0 / 19.0, 0.0, 5.0 / 19.0]),
        (
            GenerationSettings { temperature: 0.5, top_k: 3, ..Default::default() },
            [0.16 / 0.3125, 0.0, 0.09 / 0.3125, 0.0, 0.0625 / 0.3125],
        ),
    ] {
        let mut random = SplitMix64::stream(3, 0);
        let mut counts = [0; 5];
        for _ in 0..draws {
            counts[draw(&scores, &settings, &mut random).unwrap() as usize] += 1;
        }
        for (count, expected) in counts.into_iter().zip(expected) {
            let frequency = f64::from(count) / f64::from(draws);
            // Five standard deviations; a token with probability 0 is never drawn.
            let tolerance = 5.0 * (expected * (1.0 - expected) / f64::from(draws)).sqrt();
            assert!((frequency - expected).abs() <= tolerance, "{frequency} is not {expected}");
        }
    }
}

#[test]
fn predictions_that_are_not_numbers_are_an_error_of_the_model_and_not_of_the_settings() {
    struct Broken(f32);

    impl Decoder for Broken {
        fn logits(&mut self) -> Result<Vec<f32>, ModelError> {
            Ok(vec![0.0, self.0, 1.0])
        }

        fn advance(&mut self, _parents: &[usize], _tokens: &[u32]) -> Result<(), ModelError> {
            Ok(())
        }
    }

    for (num_beams, do_sample) in [(1, false), (1, true), (3, false)] {
        for broken in [f32::NAN, f32::INFINITY] {
            let settings = GenerationSettings { num_beams, do_sample, ..GenerationSettings::default() };
            let error = generate(&mut Broken(broken), &[0], &settings).unwrap_err();
            assert_eq!(error, ModelError::NonFinite { position: 1 });
        }
    }
}

#[test]
fn banning_every_token_is_an_error() {
    for num_beams in [1, 3] {
        let bad_words_ids = (0..12).map(|id| vec![id]).collect();
        let settings = GenerationSettings { bad_words_ids, num_beams, ..GenerationSettings::default() };
        let error = generate(&mut Toy::new(1, 12, &[3]), &[3], &settings).unwrap_err().to_string();
        assert_eq!(error, "the generation settings allow none of the 12 tokens as new token 1");
        let outside = GenerationSettings { prefix: vec![12], num_beams, ..GenerationSettings::default() };
        assert!(generate(&mut Toy::new(1, 12, &[3]), &[3], &outside).is_err());
    }
}

#[test]
fn ties_go_to_the_lowest_token() {
    struct Flat(usize);
    impl Decoder for Flat {
        fn logits(&mut self) -> Result<Vec<f32>, ModelError> {
            Ok(vec![0.0; 6 * self.0])
        }
        fn advance(&mut self, parents: &[usize], _tokens: &[u32]) -> Result<(), ModelError> {
            self.0 = parents.len();
            Ok(())
        }
    }
    for num_beams in [1, 3] {
        let settings = GenerationSettings { max_new_tokens: 3, num_beams, ..GenerationSettings::default() };
        assert_eq!(generate(&mut Flat(1), &[], &settings).unwrap()[0].ids, [0, 0, 0]);
    }
}
