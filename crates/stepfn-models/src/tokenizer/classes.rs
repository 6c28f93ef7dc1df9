//! What transformers' published classes make of a SentencePiece model: the order of ids, what is done before
//! the text is cut and put around it after.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::added::Added;
use super::languages::{MBART, MBART_50, NLLB, PLBART, PLBART_MULTI};
use super::published::template;
use super::sentence_piece::{Algorithm, Kind, Piece, SentencePiece};
use super::settings::Settings;

/// A published class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Llama {
        legacy: bool,
        add_prefix_space: bool,
        add_bos: bool,
        add_eos: bool,
    },
    Gemma {
        add_bos: bool,
        add_eos: bool,
    },
    T5 {
        extra_ids: usize,
        legacy: bool,
        add_prefix_space: bool,
    },
    XlmRoberta,
    MBart,
    MBart50,
    Nllb,
    Xglm,
    Pegasus {
        /// Tokens before the pieces, besides those for padding and the end.
        offset: usize,
    },
    PlBart {
        /// Whether it has all seven languages, not three.
        multi: bool,
    },
    /// Pieces have the ids of the model, and nothing is put around a text.
    Plain,
}

/// The `tokenizer.json` of a class for a model.
///
/// # Errors
/// What is wrong with the model.
pub(super) fn tokenizer_json(model: &SentencePiece, class: Class, settings: &Settings) -> Result<Value, String> {
    let (vocabulary, unknown) = vocabulary(model, class, settings);
    let added = Added::new(model, class, settings, &vocabulary);
    let id = |name: &str| added.id(name);
    let steps = steps(model, class);
    let byte_fallback = matches!(class, Class::Llama { .. } | Class::Gemma { .. }) && model.has_bytes;
    Ok(json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": added.tokens.values().collect::<Vec<_>>(),
        "normalizer": steps.normalizer,
        "pre_tokenizer": steps.pre_tokenizer,
        "post_processor": around(class, settings, &id),
        "decoder": steps.decoder,
        "model": match model.algorithm {
            Algorithm::Unigram => json!({
                "type": "Unigram", "unk_id": unknown, "vocab": vocabulary, "byte_fallback": byte_fallback,
            }),
            Algorithm::Bpe => json!({
                "type": "BPE", "dropout": null, "unk_token": vocabulary.get(unknown).map(|(piece, _)| piece),
                "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": true,
                "byte_fallback": byte_fallback, "ignore_merges": false, "merges": model.merges(&vocabulary)?,
                "vocab": ids(&vocabulary),
            }),
        },
    }))
}

/// Pieces and their ids. Of two with one text, the last.
fn ids(vocabulary: &[(String, f32)]) -> Map<String, Value> {
    vocabulary.iter().enumerate().map(|(id, (piece, _))| (piece.clone(), id.into())).collect()
}

/// Pieces by id, and the id of the unknown one.
fn vocabulary(model: &SentencePiece, class: Class, settings: &Settings) -> (Vec<(String, f32)>, usize) {
    let pieces = || model.pieces.iter().map(|piece| (piece.text.clone(), piece.score));
    let named = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), 0.0)).collect::<Vec<_>>();
    let codes = |codes: &str| codes.split_whitespace().map(|code| (code.to_owned(), 0.0)).collect::<Vec<_>>();
    // fairseq has four special tokens of its own, where SentencePiece has three.
    let fairseq = |more: Vec<(String, f32)>| {
        let first = named(&["<s>", "<pad>", "</s>", "<unk>"]);
        (first.into_iter().chain(pieces().skip(3)).chain(more).collect(), 3)
    };
    match class {
        Class::XlmRoberta => fairseq(named(&["<mask>"])),
        Class::MBart => fairseq(in_their_order(model, settings, [codes(MBART), named(&["<mask>"])].concat())),
        Class::MBart50 => fairseq(in_their_order(model, settings, [codes(MBART_50), named(&["<mask>"])].concat())),
        Class::Nllb => fairseq(in_their_order(model, settings, [codes(NLLB), named(&["<mask>"])].concat())),
        Class::PlBart { multi: true } => fairseq(in_their_order(model, settings, codes(PLBART_MULTI))),
        Class::PlBart { multi: false } => {
            fairseq(in_their_order(model, settings, [codes(PLBART), named(&["<mask>"])].concat()))
        }
        Class::Pegasus { offset: 0 } => (pieces().collect(), model.unknown),
        Class::Pegasus { offset } => {
            let gaps = (2..offset).map(|gap| (format!("<unk_{gap}>"), -100.0));
            let first = named(&["<pad>", "</s>", "<mask_1>", "<mask_2>"]).into_iter().chain(gaps);
            (first.chain(pieces().skip(2)).collect(), model.unknown + offset)
        }
        Class::Xglm => fairseq((0..7).map(|word| (format!("<madeupword{word}>"), 0.0)).collect()),
        Class::T5 { extra_ids, .. } => {
            let gaps = (0..extra_ids).rev().map(|gap| (format!("<extra_id_{gap}>"), 0.0));
            (pieces().chain(gaps).collect(), model.unknown)
        }
        Class::Gemma { .. } => {
            let mut all: Vec<(String, f32)> = pieces().collect();
            // Old files lack the tab.
            if !all.iter().any(|(piece, _)| piece == "\t")
                && let Some(tab) = all.iter_mut().find(|(piece, _)| piece == "<0x09>")
            {
                *tab = ("\t".to_owned(), 0.0);
            }
            (all, model.unknown)
        }
        Class::Llama { .. } => (pieces().collect(), model.unknown),
        // SentencePiece finds no control piece in a text, even if it is written there.
        Class::Plain => {
            let of_text = |(id, piece): (usize, &Piece)| match piece.kind {
                Kind::Control | Kind::Unknown => (format!("\u{10ffff}{id}"), piece.score),
                _ => (piece.text.clone(), piece.score),
            };
            (model.pieces.iter().enumerate().map(of_text).collect(), model.unknown)
        }
    }
}

/// Tokens behind the pieces: those that the files have there, by their ids; else the usual ones.
fn in_their_order(model: &SentencePiece, settings: &Settings, usual: Vec<(String, f32)>) -> Vec<(String, f32)> {
    let first = model.pieces.len() + 1;
    let behind = |(id, token): (&u32, &Value)| {
        let content = token["content"].as_str()?.to_owned();
        (*id as usize >= first).then_some((*id as usize, content))
    };
    let listed: Vec<(usize, String)> = settings.added.iter().filter_map(behind).collect();
    let follows = (first..).zip(&listed).all(|(at, (id, _))| at == *id);
    match listed.len() >= usual.len() && follows {
        true => listed.into_iter().map(|(_, content)| (content, 0.0)).collect(),
        false => usual,
    }
}

/// What is done before a text is cut, and after its pieces are joined.
struct Steps {
    normalizer: Value,
    pre_tokenizer: Value,
    decoder: Value,
}

fn steps(model: &SentencePiece, class: Class) -> Steps {
    let replace = |from: &str, to: &str| json!({"type": "Replace", "pattern": {"String": from}, "content": to});
    let sequence = |kind: &str, of: Vec<Value>| json!({"type": "Sequence", kind: of});
    let metaspace = |scheme: &str, split: bool| json!({"type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": scheme, "split": split});
    let bytes = |strip: bool| {
        let mut steps = vec![replace("\u{2581}", " "), json!({"type": "ByteFallback"}), json!({"type": "Fuse"})];
        steps.extend(strip.then(|| json!({"type": "Strip", "content": " ", "start": 1, "stop": 0})));
        sequence("decoders", steps)
    };
    match class {
        Class::Llama { legacy, add_prefix_space, .. } => {
            let prepend = json!({"type": "Prepend", "prepend": "\u{2581}"});
            let normalize = [prepend].into_iter().filter(|_| add_prefix_space).chain([replace(" ", "\u{2581}")]);
            let scheme = if add_prefix_space { "first" } else { "never" };
            Steps {
                normalizer: if legacy { sequence("normalizers", normalize.collect()) } else { Value::Null },
                pre_tokenizer: if legacy { Value::Null } else { metaspace(scheme, false) },
                decoder: bytes(add_prefix_space),
            }
        }
        Class::Gemma { .. } => Steps {
            normalizer: replace(" ", "\u{2581}"),
            pre_tokenizer: json!({
                "type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": false
            }),
            decoder: bytes(false),
        },
        // As SentencePiece itself, which takes the mark for a space in a text, too.
        Class::Plain | Class::PlBart { .. } => {
            let joins = [
                // Other white space stays.
                json!({"type": "Replace", "pattern": {"Regex": "^ +| +$"}, "content": ""}),
                json!({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}),
            ];
            let prepend = json!({"type": "Prepend", "prepend": "\u{2581}"});
            let joins = joins.into_iter().filter(|_| model.joins_spaces);
            let marks = [prepend].into_iter().filter(|_| model.adds_space).chain([replace(" ", "\u{2581}")]);
            Steps {
                normalizer: sequence("normalizers", map(model).into_iter().chain(joins).chain(marks).collect()),
                pre_tokenizer: metaspace("never", true),
                decoder: metaspace("never", true),
            }
        }
        _ => {
            let joins = [
                json!({"type": "Strip", "strip_left": false, "strip_right": true}),
                json!({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "\u{2581}"}),
            ];
            let scheme = match class {
                Class::T5 { add_prefix_space: false, .. } => "never",
                Class::T5 { legacy: false, .. } => "first",
                _ => "always",
            };
            Steps {
                normalizer: sequence("normalizers", map(model).into_iter().chain(joins).collect()),
                pre_tokenizer: match class {
                    Class::Pegasus { .. } => {
                        sequence("pretokenizers", vec![json!({"type": "WhitespaceSplit"}), metaspace(scheme, true)])
                    }
                    _ => metaspace(scheme, true),
                },
                decoder: metaspace(scheme, true),
            }
        }
    }
}

/// The model's table of what is replaced in a text.
fn map(model: &SentencePiece) -> Option<Value> {
    let table = || json!({"type": "Precompiled", "precompiled_charsmap": STANDARD.encode(&model.character_map)});
    (!model.character_map.is_empty()).then(table)
}

/// What is put around a text.
fn around(class: Class, settings: &Settings, id: &impl Fn(&str) -> Option<u32>) -> Value {
    let named = |index: usize, usual: &'static str| {
        let name = settings.named.get(index).and_then(Option::as_deref).unwrap_or(usual);
        Some(name).filter(|name| id(name).is_some())
    };
    let (begin, end) = match class {
        Class::Llama { add_bos, add_eos, .. } => {
            (named(0, "<s>").filter(|_| add_bos), named(1, "</s>").filter(|_| add_eos))
        }
        Class::Gemma { add_bos, add_eos } => {
            (named(0, "<bos>").filter(|_| add_bos), named(1, "<eos>").filter(|_| add_eos))
        }
        Class::T5 { .. } | Class::Pegasus { .. } => (None, named(1, "</s>")),
        Class::XlmRoberta => (Some("<s>"), Some("</s>")),
        Class::Xglm => (Some("</s>"), None),
        // Their languages are put around a text by whoever knows them.
        Class::MBart | Class::MBart50 | Class::Nllb | Class::PlBart { .. } => (None, Some("</s>")),
        Class::Plain => return Value::Null,
    };
    template(begin, end, id)
}
