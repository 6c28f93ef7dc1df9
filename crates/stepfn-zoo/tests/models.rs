//! The compiled-in models load, are as small as promised, and are as good as their cards say on a held-out sample.

#![allow(clippy::unwrap_used, reason = "a test that can't continue should fail")]

#[path = "../examples/pronunciation/mod.rs"]
mod pronunciation;
#[path = "../examples/verses/mod.rs"]
mod verses;

use std::path::Path;

use burn::tensor::DType;
use stepfn_models::Model;
use stepfn_models::tokenizer::Tokenizer;
use stepfn_zoo::EmbeddedModel;

type Backend = stepfn_cpu::Backend;

fn load(embedded: &EmbeddedModel) -> (Model<Backend>, Tokenizer) {
    (embedded.model(DType::F32, &Default::default()).unwrap(), embedded.tokenizer().unwrap())
}

fn sample(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

#[test]
fn models_are_small_and_complete() {
    for embedded in stepfn_zoo::all() {
        let (model, tokenizer) = load(embedded);
        assert!(tokenizer.vocab_size() <= model.config().vocab_size);
        embedded.generation_settings().unwrap().validate().unwrap();
        let checkpoint = embedded.checkpoint().unwrap();
        let size = |tensor: &str| checkpoint.shape(tensor).unwrap().iter().product::<usize>();
        assert!(checkpoint.names().map(size).sum::<usize>() <= 2_000_000, "{} has too many parameters", embedded.name);
        assert!(embedded.weights.len() <= 4 << 20, "{}: the file is too large", embedded.name);
        assert_eq!(stepfn_zoo::find(embedded.name), Some(embedded));
    }
    assert!(stepfn_zoo::g2p().card.contains("Carnegie Mellon University"), "the notice of CMUdict is missing");
    // transformers uses this name too.
    assert_eq!(stepfn_zoo::g2p().checkpoint().unwrap().shape("final_logits_bias"), Some(&[1, 101][..]));
    assert_eq!(stepfn_zoo::find("gpt2"), None);
}

/// The model's output for a spelling, decoded as a user would.
fn pronounced(model: &Model<Backend>, tokenizer: &Tokenizer, spelling: &str) -> String {
    let settings = stepfn_zoo::g2p().generation_settings().unwrap();
    let source = pronunciation::ids(tokenizer, spelling).unwrap();
    let best = model.generate(Some(&source), &[pronunciation::PAD], &settings).unwrap().remove(0);
    assert!(best.finished, "{spelling}: the output has no end");
    tokenizer.decode(&best.ids, true).unwrap()
}

#[test]
fn spellings_are_pronounced() {
    let (model, tokenizer) = load(stepfn_zoo::g2p());
    assert_eq!(pronounced(&model, &tokenizer, "banana"), "B AH0 N AE1 N AH0");
    // Capitals and accents make no difference.
    assert_eq!(pronounced(&model, &tokenizer, "Banána"), "B AH0 N AE1 N AH0");
    for (spelling, right) in HELD_OUT_WORDS {
        assert!(pronunciation::is_held_out(spelling), "{spelling} was in the training data");
        assert_eq!(pronounced(&model, &tokenizer, spelling), right, "{spelling}");
    }
}

/// Words that were held out.
const HELD_OUT_WORDS: [(&str, &str); 3] =
    [("norberto", "N AO0 R B EH1 R T OW0"), ("ridgefield", "R IH1 JH F IY2 L D"), ("shucks", "SH AH1 K S")];

#[test]
fn letters_and_phonemes_are_tokens() {
    let tokenizer = stepfn_zoo::g2p().tokenizer().unwrap();
    let surfaces = |text: &str| -> Vec<String> {
        tokenizer.encode(text, true).unwrap().into_iter().map(|token| token.surface).collect()
    };
    assert_eq!(surfaces("Don't"), ["D", "o", "n", "'", "t", "</s>"]);
    assert_eq!(surfaces("F AH0 N EH1"), ["F", "AH0", "N", "EH1", "</s>"]);
    let ids = pronunciation::ids(&tokenizer, "F AH0 N EH1").unwrap();
    assert_eq!(tokenizer.decode(&ids, true).unwrap(), "F AH0 N EH1");
    assert_eq!(pronunciation::ids(&tokenizer, "word").unwrap(), pronunciation::ids(&tokenizer, "WORD").unwrap());
}

#[test]
fn pronunciations_of_held_out_words_are_as_good_as_the_card_says() {
    let (model, tokenizer) = load(stepfn_zoo::g2p());
    let words = pronunciation::dictionary(&sample("held_out.dict")).unwrap();
    assert_eq!(words.len(), 200);
    assert!(words.keys().all(|word| pronunciation::is_held_out(word)), "a word of the sample was in the training data");
    let [stressed, bare] = pronunciation::error_rates(&model, &tokenizer, &words.iter().collect::<Vec<_>>()).unwrap();
    // The card's figures, plus two standard errors for a sample of 200 words.
    assert!(bare.phonemes <= 0.10 && bare.words <= 0.38, "without stress: {bare:?}");
    assert!(stressed.phonemes <= 0.13 && stressed.words <= 0.44, "with stress: {stressed:?}");
}

#[test]
fn held_out_chapters_are_less_surprising_than_to_a_trigram() {
    /// Perplexity of the trigram model on these chapters, from `--example measure`.
    const TRIGRAM: f64 = 32.38;
    let (model, tokenizer) = load(stepfn_zoo::verse());
    let chapters = verses::chapters(&sample("held_out.txt")).unwrap();
    assert!(
        chapters.len() >= 6 && chapters.iter().all(verses::is_held_out),
        "a chapter of the sample was in the training data"
    );
    let tokens = chapters.iter().map(|chapter| verses::tokens(&tokenizer, chapter).unwrap());
    let windows: Vec<_> = tokens.flat_map(|verses| verses::windows(&verses, 0)).collect();
    let (surprisal, _) = verses::mean_surprisal(&model, &windows).unwrap();
    assert!(surprisal.exp() < 0.75 * TRIGRAM, "perplexity {}", surprisal.exp());
}

#[test]
fn trigram_probabilities_sum_to_1_and_favour_seen_tokens() {
    let texts: [&[u32]; 3] = [&[0, 1, 2, 3, 1, 2], &[4, 1, 2, 3], &[2, 2, 0]];
    let trigram = verses::trigram::Trigram::new(texts.into_iter(), 6);
    for before in [&[][..], &[1], &[1, 2], &[0, 1, 2], &[5, 5], &[3, 0]] {
        let sum: f64 = (0..6).map(|token| trigram.probability(before, token)).sum();
        assert!((sum - 1.0).abs() < 1e-12, "after {before:?}: {sum}");
    }
    assert!(trigram.probability(&[1, 2], 3) > 0.5);
    assert!(trigram.probability(&[1, 2], 5) > 0.0);
}

#[test]
fn distances_count_edits() {
    let phonemes = |text: &str| -> Vec<String> { text.chars().map(String::from).collect() };
    for (a, b, edits) in
        [("kitten", "sitting", 3), ("", "abc", 3), ("abc", "", 3), ("same", "same", 0), ("ab", "ba", 2)]
    {
        assert_eq!(pronunciation::distance(&phonemes(a), &phonemes(b)), edits, "{a}, {b}");
    }
}

#[test]
fn the_verse_model_continues_a_text() {
    let (model, tokenizer) = load(stepfn_zoo::verse());
    let prompt: Vec<u32> = tokenizer.encode("In the beginning", true).unwrap().iter().map(|token| token.id).collect();
    assert_eq!(prompt[0], verses::BEGIN);
    let settings = stepfn_models::generation::GenerationSettings {
        max_new_tokens: 8,
        ..stepfn_zoo::verse().generation_settings().unwrap()
    };
    let best = model.generate(None, &prompt, &settings).unwrap().remove(0);
    let text = tokenizer.decode(&best.ids, true).unwrap();
    assert!(
        text.starts_with(' ') && text.split_whitespace().count() >= 2,
        "`In the beginning` was continued with `{text}`"
    );
}
