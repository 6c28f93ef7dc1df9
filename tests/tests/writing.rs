//! Texts that a model writes together, of every family.

#![allow(clippy::unwrap_used, reason = "a test that can't continue should fail")]

use burn::tensor::DType;
use stepfn_models::generation::{GenerationSettings, Hypothesis};
use stepfn_models::{Model, ModelError, Opening};
use stepfn_tests::golden::folder;
use stepfn_tests::models::folders;

type Flex = stepfn_cpu::flex::Backend;

/// Texts of different lengths, each in several ways: together, where some are done before others, and each alone.
#[test]
fn texts_written_together_are_as_each_alone() {
    let plain = GenerationSettings { max_new_tokens: 24, ..GenerationSettings::default() };
    let ways = [
        plain.clone(),
        GenerationSettings { max_new_tokens: 5, repetition_penalty: 1.3, ..plain.clone() },
        GenerationSettings { do_sample: true, num_return_sequences: 2, seed: 3, ..plain.clone() },
        GenerationSettings { num_beams: 3, num_return_sequences: 2, ..plain },
    ];
    let lengths = [[1, 7], [14, 3], [5, 1]];
    for folder in folders() {
        let model = Model::<Flex>::load(&folder, DType::F32, &Default::default()).unwrap();
        if model.config().is_masked() {
            continue;
        }
        // End tokens that come now and then.
        let ways = ways.clone().map(|way| GenerationSettings { eos: (40..50).collect(), ..way });
        let ids = |length: usize| (0..length as u32).map(|id| 5 + (id * 17 + length as u32 * 7) % 55).collect();
        let texts: Vec<[Vec<u32>; 2]> = lengths.iter().map(|lengths| lengths.map(ids)).collect();
        let mut openings = Vec::new();
        for [prompt, source] in &texts {
            let source = model.encoder().map(|_| source.as_slice());
            openings.extend(ways.iter().map(|settings| Opening { source, prompt, settings }));
        }
        let together = model.generate_many(&openings);
        assert_eq!(together.len(), openings.len());
        for (number, (opening, together)) in openings.iter().zip(together).enumerate() {
            let alone = model.generate(opening.source, opening.prompt, opening.settings).unwrap();
            let together = together.unwrap();
            let what = format!("{}, text {number}", folder.display());
            let parts = |texts: &[Hypothesis]| -> Vec<(Vec<u32>, bool)> {
                texts.iter().map(|text| (text.ids.clone(), text.finished)).collect()
            };
            assert_eq!(parts(&together), parts(&alone), "{what}");
            for (together, alone) in together.iter().zip(&alone) {
                let allowed = 1e-4 * alone.score.abs().max(1.0);
                assert!((together.score - alone.score).abs() <= allowed, "{what}: {} {}", together.score, alone.score);
            }
        }
    }
}

/// What is wrong with one text is its own error.
#[test]
fn a_text_that_cannot_be_written_does_not_lose_the_others() {
    let settings = GenerationSettings { max_new_tokens: 4, ..GenerationSettings::default() };
    let nothing = GenerationSettings { bad_words_ids: (0..101).map(|id| vec![id]).collect(), ..settings.clone() };
    let broken = GenerationSettings { num_beams: 0, ..settings.clone() };
    for (name, source) in [("gpt2", None), ("marian", Some(&[5, 9, 2][..]))] {
        let model = Model::<Flex>::load(folder().join("models").join(name), DType::F32, &Default::default()).unwrap();
        let good = Opening { source, prompt: &[5, 6], settings: &settings };
        let expected = model.generate(source, &[5, 6], &settings);
        assert!(expected.is_ok());
        let unlike = source.is_none().then_some(&[5][..]);
        let bad = [
            Opening { prompt: &[], ..good },
            Opening { prompt: &[101], ..good },
            Opening { prompt: &[5; 65], ..good },
            Opening { source: unlike, ..good },
            Opening { settings: &nothing, ..good },
            Opening { settings: &broken, ..good },
        ];
        for bad in bad {
            let alone = model.generate(bad.source, bad.prompt, bad.settings);
            assert!(alone.is_err(), "{name}: {bad:?}");
            // Scores are the same to rounding.
            let ids = |texts: &Result<Vec<Hypothesis>, ModelError>| texts.clone().map(|texts| texts[0].ids.clone());
            let found = model.generate_many(&[good, bad, good]);
            assert!(found.iter().map(ids).eq([&expected, &alone, &expected].map(ids)), "{name}: {found:?}");
        }
    }
}
