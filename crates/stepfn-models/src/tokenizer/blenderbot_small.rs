//! Blenderbot Small's tokenizer: merges within words of lower-case letters, where punctuation begins a word.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Map, Value, json};

use super::merges::text_of;
use super::published::{contents, finished, named};
use super::settings::{Settings, added_token};
use super::vocabulary::Vocabulary;
use super::{Tokenizer, file_error};
use crate::ModelError;

/// The tokenizer of `vocab.json` and `merges.txt`. Nothing is put around a text.
pub(super) fn blenderbot_small(folder: &Path, settings: &Settings) -> Result<Tokenizer, ModelError> {
    let settings = named(settings, [Some("__start__"), Some("__end__"), Some("__null__"), Some("__unk__")]);
    let path = folder.join("vocab.json");
    let unknown = settings.named[3].as_deref().unwrap_or_default();
    let vocabulary = Vocabulary::parse(&contents(&path)?, unknown).map_err(|error| file_error(&path, error))?;
    let whole: Vec<String> = settings.named.iter().flatten().cloned().collect();

    let path = folder.join("merges.txt");
    let text = text_of(&path)?;
    // The first line of the published files is their version.
    let lines = text.lines().skip(1).filter(|line| !line.trim().is_empty());
    let pair = |line: &str| {
        let mut symbols = line.split_whitespace().map(str::to_owned);
        match (symbols.next(), symbols.next(), symbols.next()) {
            (Some(first), Some(second), None) => Ok([first, second]),
            _ => Err(file_error(&path, format!("{line:?}: expected two symbols with a space between them"))),
        }
    };
    let merges: Vec<[String; 2]> = lines.map(pair).collect::<Result<_, _>>()?;
    // What merges make of a word are the pieces in the vocabulary.
    let made: BTreeSet<String> = merges.iter().map(|[one, other]| format!("{one}{other}")).collect();
    let is_made = |token: &str| {
        let piece = token.strip_suffix("@@").map_or_else(|| format!("{token}</w>"), str::to_owned);
        piece.strip_suffix("</w>").unwrap_or(&piece).chars().count() < 2 || made.contains(&piece)
    };
    let words =
        || vocabulary.tokens().map(|(_, token)| token).filter(|token| !whole.iter().any(|whole| whole == token));
    let missing = words().filter(|token| !is_made(token)).count();
    if merges.is_empty() || missing * 2 > words().count() {
        let has = merges.len();
        let what = format!(
            "not all is there: it has {has} merges, and {missing} tokens of vocab.json are made by none; was the download interrupted?"
        );
        return Err(file_error(&path, what));
    }
    let inner = json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [],
        "normalizer": {"type": "Sequence", "normalizers": steps()},
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": null,
        "decoder": null,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": unknown, "continuing_subword_prefix": null,
            "end_of_word_suffix": "</w>", "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": symbols(&vocabulary, &whole, &merges), "merges": merges,
        },
    });
    let mut inner = inner;
    inner["added_tokens"] = whole
        .iter()
        .filter_map(|token| Some(added_token(inner["model"]["vocab"][token].as_u64()?.try_into().ok()?, token, true)))
        .collect();
    let tokenizer = finished(inner, folder.join("vocab.json"), &settings)?;
    let special = whole.iter().filter_map(|token| vocabulary.id(token)).collect();
    let vocabulary = Some(vocabulary.of_words(whole));
    Ok(Tokenizer { special, added: Default::default(), vocabulary, ..tokenizer })
}

/// Small letters; spaces before marks, and around apostrophes; a word for a line break after a word.
fn steps() -> Vec<Value> {
    let replace = |from: Value, to: &str| json!({"type": "Replace", "pattern": from, "content": to});
    let marks = [".", ",", "!", "?", "(", ")"].map(|mark| replace(json!({"String": mark}), &format!(" {mark}")));
    let mut steps = vec![replace(json!({"Regex": "(?<=\\S)\\n"}), " __newln__ ")];
    steps.extend(marks);
    steps.extend([replace(json!({"String": "'"}), " ' "), json!({"type": "Lowercase"})]);
    steps
}

/// Everything that merges may make, numbered: also what has no id of its own.
fn symbols(vocabulary: &Vocabulary, whole: &[String], merges: &[[String; 2]]) -> Map<String, Value> {
    let mut ids: BTreeMap<String, usize> = BTreeMap::new();
    let mut add = |symbol: String| {
        let next = ids.len();
        ids.entry(symbol).or_insert(next);
    };
    whole.iter().cloned().for_each(&mut add);
    for (_, token) in vocabulary.tokens().filter(|(_, token)| !whole.iter().any(|other| other == token)) {
        add(token.strip_suffix("@@").map_or_else(|| format!("{token}</w>"), str::to_owned));
    }
    for [first, second] in merges {
        [first.clone(), second.clone(), format!("{first}{second}")].into_iter().for_each(&mut add);
    }
    ids.into_iter().map(|(symbol, id)| (symbol, id.into())).collect()
}
