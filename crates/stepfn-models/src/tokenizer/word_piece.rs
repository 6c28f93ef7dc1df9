//! BERT's tokenizer of a `vocab.txt`: words are cut at spaces, punctuation and Chinese characters, and each into the longest pieces that the
//! vocabulary has (WordPiece; Schuster & Nakajima 2012). Pieces inside a word begin with `##`.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::published::{contents, finished, named, template};
use super::settings::{ROLES, Settings, added_token, content};
use super::{Tokenizer, file_error};
use crate::ModelError;

/// The published classes.
pub(super) const CLASSES: [&str; 3] = ["BertTokenizer", "DistilBertTokenizer", "ElectraTokenizer"];

/// The families whose folders have such a file, where they say no class.
pub(super) const FAMILIES: [&str; 3] = ["bert", "distilbert", "electra"];

/// The names of tokens with a role where the files say none, in the order of [`ROLES`].
const USUAL: [Option<&str>; ROLES.len()] =
    [None, None, Some("[UNK]"), Some("[SEP]"), Some("[PAD]"), Some("[CLS]"), Some("[MASK]")];

/// The tokenizer of a folder.
pub(super) fn word_piece(folder: &Path, settings: &Settings) -> Result<Tokenizer, ModelError> {
    let path = folder.join("vocab.txt");
    if settings.flag("do_basic_tokenize") == Some(false) {
        let what =
            "`do_basic_tokenize` is false, and words are not cut in another way; save the folder's tokenizer.json";
        return Err(file_error(&folder.join("tokenizer_config.json"), what));
    }
    let text = String::from_utf8(contents(&path)?).map_err(|error| file_error(&path, error))?;
    // An empty line is a token too, and of two with one text the last counts.
    let vocab: Map<String, Value> = text.lines().zip(0u32..).map(|(token, id)| (token.to_owned(), id.into())).collect();
    let settings = named(settings, [None, None, Some("[PAD]"), Some("[UNK]")]);
    let added_id = |name: &str| settings.added.iter().find(|(_, token)| token["content"] == name).map(|(id, _)| *id);
    let of_vocab = |name: &str| vocab.get(name).and_then(Value::as_u64).and_then(|id| u32::try_from(id).ok());
    let id = |name: &str| of_vocab(name).or_else(|| added_id(name));
    let roles: Vec<Option<String>> = settings
        .roles
        .iter()
        .zip(USUAL)
        .map(|(role, usual)| role.as_ref().and_then(content).or(usual).map(str::to_owned))
        .collect();
    let role = |name: &str| {
        let at = ROLES.iter().position(|role| *role == name)?;
        roles[at].as_deref().filter(|name| id(name).is_some())
    };
    let mut added = settings.added.clone();
    let additional = settings.additional.iter().flatten().filter_map(content);
    for name in roles.iter().flatten().map(String::as_str).chain(additional) {
        if let Some(id) = id(name) {
            added.entry(id).or_insert_with(|| added_token(id, name, true));
        }
    }
    let lowercase = settings.flag("do_lower_case").unwrap_or(true);
    let json = json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": added.into_values().collect::<Vec<_>>(),
        "normalizer": {
            "type": "BertNormalizer", "clean_text": true,
            "handle_chinese_chars": settings.flag("tokenize_chinese_chars").unwrap_or(true),
            "strip_accents": settings.flag("strip_accents"), "lowercase": lowercase,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": template(role("cls_token"), role("sep_token"), id),
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
        "model": {
            "type": "WordPiece", "unk_token": role("unk_token").unwrap_or("[UNK]"), "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": vocab,
        },
    });
    finished(json, path, &settings)
}
