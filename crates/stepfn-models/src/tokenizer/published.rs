//! Builds the tokenizers of folders without a `tokenizer.json`, as the published classes of transformers do.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::blenderbot_small::blenderbot_small;
use super::classes::{Class, tokenizer_json};
use super::frame::Frame;
use super::languages::{M2M_100, Multilingual, WMT_21};
use super::merges::read_merges;
use super::sentence_piece::SentencePiece;
use super::settings::{Settings, added_token};
use super::vocabulary::Vocabulary;
use super::word_piece::{self, word_piece};
use super::{Tokenizer, file_error};
use crate::ModelError;
use crate::checkpoint::files::{LFS_POINTER, is_lfs_pointer};

/// What a folder has.
pub(super) enum Build {
    One(Tokenizer),
    /// For several languages, whatever its class is called.
    Multilingual(Multilingual, Tokenizer),
    /// One for sources and one for targets.
    Two(Box<[Tokenizer; 2]>),
}

/// The files that tokenizers are made of.
const FILES: [&str; 10] = [
    "tokenizer.json",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "source.spm",
    "target.spm",
    "vocab.json",
    "target_vocab.json",
    "merges.txt",
    "vocab.txt",
];

/// The tokenizer or tokenizers of a folder.
///
/// # Errors
/// [`ModelError::File`] if there is none, or a file is malformed.
pub(super) fn build(folder: &Path, settings: &Settings, config_json: &Value) -> Result<Build, ModelError> {
    // What is there and can't be read is an error, and no reason to take another file.
    let mut there = BTreeSet::new();
    for name in FILES {
        let path = folder.join(name);
        if crate::is_there(&path).map_err(|error| file_error(&path, error))? {
            there.insert(name);
        }
    }
    let has = |name: &str| there.contains(name);
    if has("tokenizer.json") {
        return Tokenizer::from_folder(folder).map(Build::One);
    }
    if has("source.spm") && has("target.spm") {
        return marian(folder, settings, has("target_vocab.json"));
    }
    let family = config_json["model_type"].as_str().unwrap_or_default();
    let class = settings.class.as_deref();
    let is = |of_class: &str, of_family: &str| class.map_or(family == of_family, |class| class == of_class);
    if is("FSMTTokenizer", "fsmt") {
        let advice = "make token ids with transformers, and give the model those, in Rust";
        return Err(file_error(
            folder,
            format!("the tokenizer of FSMT models, with Moses' rules, is not supported; {advice}"),
        ));
    }
    if has("vocab.json") && has("merges.txt") && is("BlenderbotSmallTokenizer", "blenderbot-small") {
        return blenderbot_small(folder, settings).map(Build::One);
    }
    if has("vocab.json") && has("sentencepiece.bpe.model") && (class == Some("M2M100Tokenizer") || family == "m2m_100")
    {
        return m2m_100(folder, settings);
    }
    if let Some(file) =
        ["tokenizer.model", "spiece.model", "sentencepiece.bpe.model"].into_iter().find(|file| has(file))
    {
        let path = folder.join(file);
        let model = sentence_piece(&path)?;
        let class = class_of(class, family, settings).ok_or_else(|| {
            let named = settings.class.as_deref().unwrap_or(family);
            file_error(&path, format!("how a {named} tokenizer is made of this file is not known; save its tokenizer.json, with `AutoTokenizer.from_pretrained(…).save_pretrained(…)`"))
        })?;
        let multilingual = match class {
            Class::MBart => Some(Multilingual::MBart),
            Class::MBart50 => Some(Multilingual::MBart50),
            Class::Nllb => Some(Multilingual::Nllb),
            Class::PlBart { .. } => Some(Multilingual::PlBart),
            _ => None,
        };
        let json = tokenizer_json(&model, class, settings).map_err(|error| file_error(&path, error))?;
        let tokenizer = finished(json, path, settings)?;
        return Ok(match multilingual {
            None => Build::One(tokenizer),
            Some(kind) => Build::Multilingual(kind, tokenizer),
        });
    }
    if has("vocab.txt")
        && class.map_or(word_piece::FAMILIES.contains(&family), |class| word_piece::CLASSES.contains(&class))
    {
        return word_piece(folder, settings).map(Build::One);
    }
    if has("vocab.json") && has("merges.txt") {
        return byte_level(folder, settings, family).map(Build::One);
    }
    if class == Some("ByT5Tokenizer") || (family == "t5" && class.is_none()) {
        return bytes(folder, settings).map(Build::One);
    }
    let known = "tokenizer.json, tokenizer.model, spiece.model, sentencepiece.bpe.model, source.spm with target.spm, vocab.json with merges.txt, or BERT's vocab.txt";
    Err(file_error(folder, format!("there is no tokenizer: expected {known}")))
}

/// The class that makes a tokenizer of a SentencePiece model.
fn class_of(class: Option<&str>, family: &str, settings: &Settings) -> Option<Class> {
    let legacy = settings.flag("legacy").unwrap_or(true);
    let add_prefix_space = settings.flag("add_prefix_space").unwrap_or(true);
    let add_bos = settings.flag("add_bos_token").unwrap_or(true);
    let add_eos = settings.flag("add_eos_token").unwrap_or(false);
    let t5 = || {
        let extra_ids = settings.fields.get("extra_ids").and_then(Value::as_u64);
        let extra_ids = extra_ids.and_then(|count| usize::try_from(count).ok()).unwrap_or(100).min(10_000);
        Class::T5 { extra_ids, legacy, add_prefix_space }
    };
    let pegasus = || {
        let offset = settings.fields.get("offset").and_then(Value::as_u64);
        Class::Pegasus { offset: offset.and_then(|offset| usize::try_from(offset).ok()).unwrap_or(103).min(10_000) }
    };
    let plbart = || Class::PlBart { multi: settings.text("language_codes") == Some("multi") };
    match (class, family) {
        (Some("LlamaTokenizer" | "CodeLlamaTokenizer"), _) | (None, "llama" | "mistral" | "phi3") => {
            Some(Class::Llama { legacy, add_prefix_space, add_bos, add_eos })
        }
        (Some("GemmaTokenizer"), _) | (None, "gemma2" | "t5gemma") => Some(Class::Gemma { add_bos, add_eos }),
        (Some("T5Tokenizer" | "MT5Tokenizer"), _)
        | (None, "t5" | "mt5" | "umt5" | "longt5" | "switch_transformers") => Some(t5()),
        (Some("PegasusTokenizer"), _) | (None, "pegasus") => Some(pegasus()),
        (Some("PLBartTokenizer"), _) | (None, "plbart") => Some(plbart()),
        (Some("MBart50Tokenizer"), _) => Some(Class::MBart50),
        (Some("NllbTokenizer"), _) => Some(Class::Nllb),
        (Some("MBartTokenizer"), _) | (None, "mbart") => Some(Class::MBart),
        (Some("XLMRobertaTokenizer"), _) | (None, "xlm-roberta") => Some(Class::XlmRoberta),
        (Some("XGLMTokenizer"), _) => Some(Class::Xglm),
        _ => None,
    }
}

/// The contents of a file, if they are its own.
pub(super) fn contents(path: &Path) -> Result<Vec<u8>, ModelError> {
    let bytes = crate::read_file(path).map_err(|error| file_error(path, error))?;
    match is_lfs_pointer(&bytes) {
        true => Err(file_error(path, LFS_POINTER)),
        false => Ok(bytes),
    }
}

fn sentence_piece(path: &Path) -> Result<SentencePiece, ModelError> {
    let bytes = contents(path)?;
    SentencePiece::parse(&bytes).map_err(|error| file_error(path, error))
}

/// A tokenizer of a `tokenizer.json`, with the names of special tokens.
pub(super) fn finished(json: Value, path: PathBuf, settings: &Settings) -> Result<Tokenizer, ModelError> {
    let tokenizer = Tokenizer::parse(json.to_string().as_bytes(), path.clone()).map_err(|error| {
        // What is right without the added tokens is wrong where these are from.
        let mut without = json.clone();
        without["added_tokens"] = json!([]);
        match (error, Tokenizer::parse(without.to_string().as_bytes(), path.clone())) {
            (ModelError::File { message, .. }, Ok(_)) => {
                file_error(&path.with_file_name("tokenizer_config.json"), format!("the added tokens: {message}"))
            }
            (error, _) => error,
        }
    })?;
    Ok(Tokenizer {
        named: settings.named.clone(),
        mask: settings.mask(),
        chat_template: settings.chat_template.clone(),
        ..tokenizer
    })
}

fn vocabulary(path: &Path) -> Result<Vocabulary, ModelError> {
    let bytes = contents(path)?;
    Vocabulary::parse(&bytes, "<unk>").map_err(|error| file_error(path, error))
}

/// A tokenizer that cuts with a SentencePiece model and numbers with a vocabulary. `whole` are tokens that are never cut.
fn numbered(
    path: PathBuf,
    vocabulary: Vocabulary,
    whole: &[String],
    settings: &Settings,
) -> Result<Tokenizer, ModelError> {
    let model = sentence_piece(&path)?;
    let mut json = tokenizer_json(&model, Class::Plain, settings).map_err(|error| file_error(&path, error))?;
    let of_model = |token: &String| model.pieces.iter().position(|piece| piece.text == *token);
    let added = (model.pieces.len()..).zip(whole).map(|(next, token)| {
        let id = of_model(token).unwrap_or(next);
        added_token(u32::try_from(id).unwrap_or(u32::MAX), token, true)
    });
    json["added_tokens"] = added.collect();
    let tokenizer = finished(json, path, settings)?;
    let special = whole.iter().filter_map(|token| vocabulary.id(token)).collect();
    Ok(Tokenizer { special, added: Default::default(), vocabulary: Some(vocabulary), ..tokenizer })
}

/// Names of special tokens: those of the files, or the usual ones.
pub(super) fn named(settings: &Settings, usual: [Option<&str>; 4]) -> Settings {
    let mut settings = settings.clone();
    for (name, usual) in settings.named.iter_mut().zip(usual) {
        if name.is_none() {
            *name = usual.map(str::to_owned);
        }
    }
    settings
}

/// Marian: a SentencePiece model for each side, ids from `vocab.json`, or from a vocabulary for each side.
fn marian(folder: &Path, settings: &Settings, has_target_vocabulary: bool) -> Result<Build, ModelError> {
    let settings = named(settings, [None, Some("</s>"), Some("<pad>"), Some("<unk>")]);
    let of_source = vocabulary(&folder.join("vocab.json"))?;
    let separate = folder.join("target_vocab.json");
    let of_target = if has_target_vocabulary { vocabulary(&separate)? } else { of_source.clone() };
    let side = |file: &str, vocabulary: Vocabulary| {
        let whole: Vec<String> = settings.named.iter().flatten().cloned().collect();
        let tokenizer = numbered(folder.join(file), vocabulary, &whole, &settings)?;
        let after = tokenizer.eos().map(|(_, id)| id).into_iter().collect();
        let mut tokenizer =
            Tokenizer { frame: Some(Frame { before: Vec::new(), after, has_codes: true }), ..tokenizer };
        tokenizer.special.extend(
            tokenizer.language_codes().iter().filter_map(|code| tokenizer.token_to_id(code)).collect::<Vec<_>>(),
        );
        Ok::<_, ModelError>(tokenizer)
    };
    Ok(Build::Two(Box::new([side("source.spm", of_source)?, side("target.spm", of_target)?])))
}

impl Tokenizer {
    /// Language codes like `>>fra<<`.
    pub(super) fn language_codes(&self) -> Vec<String> {
        let all = self.vocabulary.iter().flat_map(Vocabulary::tokens).map(|(_, token)| token);
        all.filter(|token| token.starts_with(">>") && token.ends_with("<<")).map(str::to_owned).collect()
    }
}

/// M2M-100: a SentencePiece model, ids from `vocab.json`, and behind them the codes of the languages.
fn m2m_100(folder: &Path, settings: &Settings) -> Result<Build, ModelError> {
    let settings = named(settings, [Some("<s>"), Some("</s>"), Some("<pad>"), Some("<unk>")]);
    let mut vocabulary = vocabulary(&folder.join("vocab.json"))?;
    let codes = if settings.text("language_codes") == Some("wmt21") { WMT_21 } else { M2M_100 };
    let codes: Vec<String> = codes.split_whitespace().map(|code| format!("__{code}__")).collect();
    let first = vocabulary.len();
    for (id, code) in (first..).zip(&codes) {
        vocabulary.add(code, u32::try_from(id).unwrap_or(u32::MAX));
    }
    let whole: Vec<String> = settings.named.iter().flatten().chain(&codes).cloned().collect();
    let path = folder.join("sentencepiece.bpe.model");
    Ok(Build::Multilingual(Multilingual::M2m100, numbered(path, vocabulary, &whole, &settings)?))
}

/// GPT-2; RoBERTa and BART, which put `<s>` and `</s>` around a text; Blenderbot, which puts `</s>` behind it.
fn byte_level(folder: &Path, settings: &Settings, family: &str) -> Result<Tokenizer, ModelError> {
    let path = folder.join("vocab.json");
    let bytes = contents(&path)?;
    let vocab: Map<String, Value> = crate::from_json(&bytes).map_err(|error| file_error(&path, error))?;
    let path = folder.join("merges.txt");
    let added: BTreeSet<&str> = settings.special().collect();
    let merges = read_merges(&path, &vocab, &added)?;
    let class = settings.class.as_deref();
    let of_bart = ["RobertaTokenizer", "BartTokenizer", "LEDTokenizer", "LongformerTokenizer", "MvpTokenizer"];
    let is_blenderbot = class.map_or(family == "blenderbot", |class| class == "BlenderbotTokenizer");
    let is_bart = is_blenderbot
        || class.map_or(["bart", "led", "mvp", "roberta"].contains(&family), |class| of_bart.contains(&class));
    let usual = match is_bart {
        true => [Some("<s>"), Some("</s>"), Some("<pad>"), Some("<unk>")],
        false => [Some("<|endoftext|>"), Some("<|endoftext|>"), None, Some("<|endoftext|>")],
    };
    let settings = named(settings, usual);
    let id = |name: &str| {
        let of_vocab = vocab.get(name).and_then(Value::as_u64).and_then(|id| u32::try_from(id).ok());
        let added = || settings.added.iter().find(|(_, token)| token["content"] == name).map(|(id, _)| *id);
        of_vocab.or_else(added)
    };
    let mut added = settings.added.clone();
    let mask = ["<mask>"].into_iter().filter(|_| is_bart);
    for name in settings.named.iter().flatten().map(String::as_str).chain(mask) {
        if let Some(id) = id(name) {
            added.entry(id).or_insert_with(|| {
                let mut token = added_token(id, name, true);
                token["lstrip"] = (name == "<mask>").into();
                token
            });
        }
    }
    let named = |index: usize| settings.named.get(index).and_then(Option::as_deref).filter(|name| id(name).is_some());
    let begin = named(0).filter(|_| (is_bart && !is_blenderbot) || settings.flag("add_bos_token").unwrap_or(false));
    let end = named(1).filter(|_| is_bart || settings.flag("add_eos_token").unwrap_or(false));
    let prefix_space = settings.flag("add_prefix_space").unwrap_or(false);
    let bytes = |prefix: bool| json!({"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": true, "use_regex": true});
    let json = json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null,
        "added_tokens": added.into_values().collect::<Vec<_>>(),
        "pre_tokenizer": bytes(prefix_space),
        "post_processor": template(begin, end, id),
        "decoder": bytes(true),
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "", "end_of_word_suffix": "",
            "fuse_unk": false, "byte_fallback": false, "ignore_merges": false, "vocab": vocab, "merges": merges,
        },
    });
    finished(json, folder.join("vocab.json"), &settings)
}

/// ByT5: a token for each byte, behind those for padding, end and unknown, and before those that stand for gaps.
fn bytes(folder: &Path, settings: &Settings) -> Result<Tokenizer, ModelError> {
    const SPECIAL: [&str; 3] = ["<pad>", "</s>", "<unk>"];
    const GAPS: u64 = 125;
    const MOST_GAPS: u64 = 10_000;
    let settings = named(settings, [None, Some("</s>"), Some("<pad>"), Some("<unk>")]);
    let bytes = (0..=u8::MAX).map(|byte| (super::spelling::character_of(byte).to_string(), u32::from(byte) + 3));
    let gaps = settings.fields.get("extra_ids").and_then(Value::as_u64).unwrap_or(GAPS).min(MOST_GAPS) as u32;
    let gaps = (0..gaps).map(|gap| (format!("<extra_id_{gap}>"), 259 + gap));
    let special: Vec<(String, u32)> = SPECIAL.map(str::to_owned).into_iter().zip(0..).chain(gaps).collect();
    let added = special.iter().map(|(name, id)| {
        let mut token = added_token(*id, name, true);
        // The class takes the spaces around its first three for theirs.
        ["lstrip", "rstrip"].into_iter().filter(|_| *id < 3).for_each(|side| token[side] = true.into());
        (*id, token)
    });
    let mut added: std::collections::BTreeMap<u32, Value> = added.collect();
    added.extend(settings.added.clone());
    let vocab: Map<String, Value> = bytes.chain(special.clone()).map(|(name, id)| (name, id.into())).collect();
    let json = json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null,
        "added_tokens": added.into_values().collect::<Vec<_>>(),
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false},
        "post_processor": template(None, Some("</s>"), |_| Some(1)),
        "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false},
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "", "end_of_word_suffix": "",
            "fuse_unk": false, "byte_fallback": false, "ignore_merges": false, "vocab": vocab, "merges": [],
        },
    });
    finished(json, folder.join("tokenizer_config.json"), &settings)
}

/// What is put around a text, as `tokenizer.json` says it.
pub(super) fn template(begin: Option<&str>, end: Option<&str>, id: impl Fn(&str) -> Option<u32>) -> Value {
    let token = |name: &str| json!({"SpecialToken": {"id": name, "type_id": 0}});
    let text = |id: &str| json!({"Sequence": {"id": id, "type_id": 0}});
    let single: Vec<Value> = begin.map(token).into_iter().chain([text("A")]).chain(end.map(token)).collect();
    let special: Map<String, Value> = begin
        .into_iter()
        .chain(end)
        .map(|name| (name.to_owned(), json!({"id": name, "ids": [id(name).unwrap_or_default()], "tokens": [name]})))
        .collect();
    json!({"type": "TemplateProcessing", "single": single, "pair": [text("A"), text("B")], "special_tokens": special})
}
