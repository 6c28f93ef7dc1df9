//! CMUdict as training examples, and error rates of predicted pronunciations.

#![allow(dead_code, reason = "each example uses a part of this module")]

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;

use burn::tensor::{Tensor, backend::Backend};
use serde_json::{Value, json};
use stepfn_models::Model;
use stepfn_models::tokenizer::Tokenizer;
use stepfn_models::transformer::{PaddingSide, Pass, TokenBatch};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Ends the source and the target.
pub(crate) const END: u32 = 0;
/// Pads batches; the decoder starts from it.
pub(crate) const PAD: u32 = 2;
/// More than any word has.
const MOST_PHONEMES: usize = 40;

/// Spellings, each with its pronunciations (space-separated phonemes).
pub(crate) type Dictionary = BTreeMap<String, Vec<String>>;

/// Reads `cmudict.dict`: lines of `word` or `word(2)`, phonemes, and optionally a comment after `#`.
pub(crate) fn dictionary(path: &Path) -> Outcome<Dictionary> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("{}: {error}; crates/stepfn-zoo/fetch.sh fetches it", path.display()))?;
    let mut words = Dictionary::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let Some((entry, phonemes)) = line.trim().split_once(' ') else { continue };
        let word = entry.split('(').next().filter(|word| !word.is_empty()).unwrap_or(entry);
        words.entry(word.to_owned()).or_default().push(phonemes.to_owned());
    }
    Ok(words)
}

/// Whether a word is held out: FNV-1a of its bytes is a multiple of 20.
pub(crate) fn is_held_out(word: &str) -> bool {
    let hash = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    word.bytes().fold(0xcbf2_9ce4_8422_2325, hash).is_multiple_of(20)
}

/// The vocabulary: single letters, and phonemes as whole words, so that both ordinary text and a forced pronunciation can be encoded.
///
/// Phonemes are added tokens. They match only between word boundaries, before the text is lowercased; all other text is split into letters.
pub(crate) fn tokenizer_json() -> Value {
    const VOWELS: [&str; 15] =
        ["AA", "AE", "AH", "AO", "AW", "AY", "EH", "ER", "EY", "IH", "IY", "OW", "OY", "UH", "UW"];
    const CONSONANTS: [&str; 24] = [
        "B", "CH", "D", "DH", "F", "G", "HH", "JH", "K", "L", "M", "N", "NG", "P", "R", "S", "SH", "T", "TH", "V", "W",
        "Y", "Z", "ZH",
    ];
    let special = ["</s>", "<unk>", "<pad>"].map(str::to_owned).into_iter();
    let letters = ('a'..='z').chain(['\'', '-', '.']).map(String::from);
    let vowels = VOWELS.iter().flat_map(|vowel| ["0", "1", "2"].map(|stress| format!("{vowel}{stress}")));
    let phonemes = vowels.chain(CONSONANTS.map(str::to_owned));
    let (mut vocab, mut added) = (serde_json::Map::new(), vec![]);
    let add = |id: usize, token: &str, special: bool| {
        json!({ "id": id, "content": token, "single_word": !special, "lstrip": false, "rstrip": false,
                "normalized": false, "special": special })
    };
    for (id, token) in special.chain(letters).chain(phonemes).enumerate() {
        match id {
            0..=2 => added.push(add(id, &token, true)),
            3..=31 => {}
            _ => added.push(add(id, &token, false)),
        }
        vocab.insert(token, json!(id));
    }
    let end = json!({ "SpecialToken": { "id": "</s>", "type_id": 0 } });
    let text = |which: &str| json!({ "Sequence": { "id": which, "type_id": 0 } });
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": { "type": "Sequence", "normalizers": [
            { "type": "NFD" }, { "type": "StripAccents" }, { "type": "Lowercase" }
        ] },
        "pre_tokenizer": { "type": "Sequence", "pretokenizers": [
            { "type": "WhitespaceSplit" },
            { "type": "Split", "pattern": { "Regex": "." }, "behavior": "Isolated", "invert": false }
        ] },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [text("A"), end],
            "pair": [text("A"), text("B"), end],
            "special_tokens": { "</s>": { "id": "</s>", "ids": [END], "tokens": ["</s>"] } }
        },
        "decoder": null,
        "model": { "type": "WordLevel", "vocab": vocab, "unk_token": "<unk>" }
    })
}

/// The ids of a text, including the end token.
pub(crate) fn ids(tokenizer: &Tokenizer, text: &str) -> Outcome<Vec<u32>> {
    Ok(tokenizer.encode(text, true)?.into_iter().map(|token| token.id).collect())
}

/// Greedy pronunciations of spellings that all have the same number of letters.
pub(crate) fn pronounce<B: Backend>(model: &Model<B>, sources: Vec<Vec<u32>>) -> Outcome<Vec<Vec<u32>>> {
    let vocab = model.config().vocab_size;
    let encoder = model.encoder().ok_or("the model has no encoder")?;
    let decoder = model.decoder();
    let mut targets = vec![vec![PAD]; sources.len()];
    let source = TokenBatch::new(sources, vocab, PaddingSide::Right)?;
    let memory = encoder.forward(encoder.embed(&source), Pass::new(&source))?.last;
    let mut cache = decoder.cache();
    for _ in 0..MOST_PHONEMES {
        let batch = TokenBatch::new(targets.clone(), vocab, PaddingSide::Left)?;
        let pass = Pass { cache: Some(&mut cache), ..Pass::new(&batch).with_memory(&memory, &source) };
        let last: Tensor<B, 2> = decoder.forward(decoder.embed_last(&batch, 1), pass)?.last;
        let best: Vec<u32> = model.logits(last).argmax(1).into_data().iter::<u32>().collect();
        let is_done = |target: &Vec<u32>| target[1..].contains(&END);
        for (target, best) in targets.iter_mut().zip(best) {
            let next = if is_done(target) { END } else { best };
            target.push(next);
        }
        if targets.iter().all(is_done) {
            break;
        }
    }
    let until_end = |target: Vec<u32>| target.into_iter().skip(1).take_while(|&id| id != END).collect();
    Ok(targets.into_iter().map(until_end).collect())
}

/// Error rates of phonemes and of words.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ErrorRates {
    /// Insertions, deletions and substitutions, divided by the phonemes of the closest pronunciation.
    pub(crate) phonemes: f64,
    /// Share of words whose pronunciation is not in the dictionary.
    pub(crate) words: f64,
}

/// Error rates over words, first with stress marks, then without.
pub(crate) fn error_rates<B: Backend>(
    model: &Model<B>,
    tokenizer: &Tokenizer,
    words: &[(&String, &Vec<String>)],
) -> Outcome<[ErrorRates; 2]> {
    let mut sources =
        words.iter().map(|(word, right)| Ok((ids(tokenizer, word)?, *right))).collect::<Outcome<Vec<_>>>()?;
    sources.sort_by_key(|(source, _)| source.len());
    let mut wrong = [[0usize; 2]; 2];
    let mut phonemes = [0usize; 2];
    let of_one_length = sources.chunk_by(|(a, _), (b, _)| a.len() == b.len());
    for group in of_one_length.flat_map(|group| group.chunks(256)) {
        let outputs = pronounce(model, group.iter().map(|(source, _)| source.clone()).collect())?;
        for (output, (_, pronunciations)) in outputs.iter().zip(group) {
            let output = tokenizer.decode(output, true)?;
            for (stressless, (wrong, phonemes)) in wrong.iter_mut().zip(&mut phonemes).enumerate() {
                let split = |text: &str| -> Vec<String> {
                    let bare = |phoneme: &str| phoneme.trim_end_matches(|c: char| c.is_ascii_digit()).to_owned();
                    text.split(' ')
                        .map(|phoneme| if stressless == 1 { bare(phoneme) } else { phoneme.to_owned() })
                        .collect()
                };
                let output = split(&output);
                let distances = pronunciations.iter().map(|right| {
                    let right = split(right);
                    (distance(&output, &right), right.len())
                });
                let (distance, length) = distances.min().ok_or("a word has no pronunciation")?;
                wrong[0] += distance;
                wrong[1] += usize::from(distance > 0);
                *phonemes += length;
            }
        }
    }
    let rates = |which: usize| ErrorRates {
        phonemes: wrong[which][0] as f64 / phonemes[which] as f64,
        words: wrong[which][1] as f64 / words.len() as f64,
    };
    Ok([rates(0), rates(1)])
}

/// The smallest number of insertions, deletions and substitutions (Levenshtein 1966).
pub(crate) fn distance(a: &[String], b: &[String]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = (diagonal + usize::from(x != y)).min(above + 1).min(row[j] + 1);
            diagonal = above;
        }
    }
    row[b.len()]
}
