//! Theirs as ours.

use core::ops::Range;
use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use stepfn_models::json_error;
use stepfn_models::tokenizer::Token;

use super::{DELTAS, tensor};
use crate::{Attribution, AttributionError, Axis, MERGED, Provenance, Scores};

/// An object of theirs: its class and its attributes.
#[derive(Deserialize)]
struct Instance<T> {
    #[serde(rename = "__instance_type__")]
    class: (Option<String>, String),
    attributes: T,
}

#[derive(Deserialize)]
struct Output {
    sequence_attributions: Vec<Instance<Sequence>>,
    #[serde(default)]
    info: Map<String, Value>,
}

#[derive(Deserialize)]
struct Sequence {
    source: Vec<Instance<TokenWithId>>,
    target: Vec<Instance<TokenWithId>>,
    source_attributions: Option<String>,
    target_attributions: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    step_scores: BTreeMap<String, String>,
    #[serde(default)]
    attr_pos_start: usize,
    attr_pos_end: Option<usize>,
}

#[derive(Deserialize, PartialEq)]
struct TokenWithId {
    token: String,
    id: i64,
}

fn or_default<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Reads a file that `FeatureAttributionOutput.save` wrote, uncompressed and not with `use_primitives`.
///
/// # Errors
/// [`AttributionError::Format`] with what is wrong, and where.
pub fn read(text: &str) -> Result<Vec<Attribution>, AttributionError> {
    let wrong = |expected: &str, found: String| AttributionError::Format {
        what: "inseq's JSON".to_owned(),
        expected: expected.to_owned(),
        found,
    };
    let file: Instance<Output> = serde_json::from_str(text).map_err(|error| {
        wrong("what `FeatureAttributionOutput.save` writes without `use_primitives`", json_error(text, &error))
    })?;
    if file.class.1 != "FeatureAttributionOutput" {
        return Err(wrong("an object of class FeatureAttributionOutput", file.class.1));
    }
    let Output { sequence_attributions, info } = file.attributes;
    let texts = |key: &str, at: usize| info.get(key).and_then(|texts| texts.get(at)?.as_str());
    let sequences = sequence_attributions.into_iter().enumerate();
    sequences
        .map(|(at, sequence)| {
            let own = info.get("stepfn_texts").and_then(|texts| texts.get(at));
            let text = |ours: &str, theirs| own.and_then(|own| own.get(ours)?.as_str()).or_else(|| texts(theirs, at));
            let (source, target) = (text("source_text", "input_texts"), text("target_text", "generated_texts"));
            let read = read_sequence(sequence, &info, source, target).map(|read| with_own(read, own));
            read.map_err(|error| match error {
                AttributionError::Format { what, expected, found } => {
                    AttributionError::Format { what: format!("{what} of text {}", at + 1), expected, found }
                }
                other => other,
            })
        })
        .collect()
}

/// With what we wrote beside their format.
fn with_own(read: Attribution, own: Option<&Value>) -> Attribution {
    let field = |name: &str| own.and_then(|own| own.get(name));
    let text = |name: &str| field(name).and_then(Value::as_str).map(str::to_owned);
    Attribution {
        id: field("id").cloned().unwrap_or_default(),
        fields: field("fields").and_then(Value::as_object).cloned().unwrap_or_default(),
        source_text: text("source_text"),
        target_text: text("target_text"),
        ..read
    }
}

fn read_sequence(
    Instance { class: (_, class), attributes }: Instance<Sequence>,
    info: &Map<String, Value>,
    input: Option<&str>,
    generated: Option<&str>,
) -> Result<Attribution, AttributionError> {
    let same = |one: &[Instance<TokenWithId>], other: &[Instance<TokenWithId>]| {
        one.len() == other.len() && one.iter().zip(other).all(|(one, other)| one.attributes == other.attributes)
    };
    let Sequence { source, target, attr_pos_start: start, attr_pos_end, .. } = &attributes;
    let end = attr_pos_end.unwrap_or(target.len());
    if *start > end || end > target.len() {
        return Err(AttributionError::Format {
            what: "steps".to_owned(),
            expected: format!("`attr_pos_start` and `attr_pos_end` among {} target tokens", target.len()),
            found: format!("{start} and {end}"),
        });
    }
    let causal = attributes.source_attributions.is_none() && same(source, &target[..*start]);
    let source = if causal { Vec::new() } else { tokens(source, input) };
    let mut attribution = Attribution::new(source, tokens(target, generated), *start..end);
    let steps = end - start;
    let scores = |what: &str, text: &Option<String>, rows: usize| match text {
        Some(text) => read_scores(what, text, &class, rows, steps).map(Some),
        None => Ok(None),
    };
    attribution.source_scores =
        scores("source_attributions", &attributes.source_attributions, attribution.source.len())?;
    attribution.target_scores =
        scores("target_attributions", &attributes.target_attributions, attribution.target.len())?;
    for (name, text) in &attributes.step_scores {
        attribution.step_scores.insert(name.clone(), tensor::decode(name, text)?.1);
    }
    attribution.deltas = attribution.step_scores.remove(DELTAS);
    attribution.about = about(info, attribution.step_scores.keys());
    attribution.check()?;
    Ok(attribution)
}

/// Scores, with axes that depend on the class. Target tokens after the last step, which inseq omits, are NaN.
fn read_scores(what: &str, text: &str, class: &str, rows: usize, steps: usize) -> Result<Scores, AttributionError> {
    let (mut shape, mut values) = tensor::decode(what, text)?;
    let inner: &[Axis] = match (shape.len(), class.starts_with("MultiDimensional")) {
        (2, _) => &[],
        (3, true) => &[Axis::Layer],
        (4, true) => &[Axis::Layer, Axis::Head],
        (3, false) => &[Axis::Hidden],
        _ => {
            return Err(AttributionError::Format {
                what: what.to_owned(),
                expected: format!("2 to 4 dimensions for {class}"),
                found: format!("shape {shape:?}"),
            });
        }
    };
    let depth: usize = shape[1..].iter().product();
    if shape[0] < rows && shape[1] == steps {
        values.resize(rows * depth, f32::NAN);
        shape[0] = rows;
    }
    Scores::new([&[Axis::Token, Axis::Step], inner].concat(), shape, values)
}

fn about<'a>(info: &Map<String, Value>, step_scores: impl Iterator<Item = &'a String>) -> Provenance {
    if let Some(ours) = info.get("stepfn").and_then(|about| Provenance::deserialize(about).ok()) {
        return ours;
    }
    let text = |key: &str| info.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let arguments = |key: &str| info.get(key).and_then(Value::as_object).filter(|arguments| !arguments.is_empty());
    let mut parameters = arguments("attribution_args").cloned().unwrap_or_default();
    if let Some(of) = arguments("attributed_fn_args") {
        parameters.insert("attributed_fn".to_owned(), of.clone().into());
    }
    // inseq's are not separated by step function.
    if let Some(of) = arguments("step_scores_args") {
        parameters.extend(step_scores.map(|name| (name.clone(), of.clone().into())));
    }
    Provenance {
        method: text("attribution_method"),
        // The name of a Python function.
        attributed_fn: text("attributed_fn").trim_end_matches("_fn").to_owned(),
        parameters,
        model: text("model_name"),
        family: text("model_class"),
        seconds: info.get("exec_time").and_then(Value::as_f64).unwrap_or_default(),
        ..Provenance::default()
    }
}

/// Tokens with spans in `text`, or in what the tokens say if the file doesn't have it.
fn tokens(theirs: &[Instance<TokenWithId>], text: Option<&str>) -> Vec<Token> {
    let byte_level = theirs.iter().any(|token| token.attributes.token.contains(['Ġ', 'Ċ']));
    let surface = |token: &str| match byte_level {
        true => from_byte_level(token),
        false => from_pieces(token),
    };
    let said: String = theirs.iter().map(|token| surface(&token.attributes.token)).collect();
    let text = text.unwrap_or(&said);
    let (mut first, mut at) = (true, 0);
    (theirs.iter())
        .map(|Instance { attributes: TokenWithId { token, id }, .. }| {
            let mut surface = surface(token);
            // The marker that a tokenizer puts before a text is not in the text.
            if first && surface.trim() != "" && !text.starts_with(' ') {
                surface = surface.strip_prefix(' ').unwrap_or(&surface).to_owned();
            }
            let span = find(text, at, &surface);
            let special = is_special(token) || (is_angled(token) && span.is_empty());
            let (surface, span) = if special { (token.clone(), at..at) } else { (surface, span) };
            first &= special;
            at = span.end;
            Token { id: u32::try_from(*id).unwrap_or(MERGED), surface, span, special }
        })
        .collect()
}

/// The span of a surface in a text, at a position or after whitespace there; an empty span if it is not there.
fn find(text: &str, at: usize, surface: &str) -> Range<usize> {
    let rest = &text[at..];
    let blank = rest.len() - rest.trim_start().len();
    if rest.starts_with(surface) {
        at..at + surface.len()
    } else if !surface.trim_start().is_empty() && rest.trim_start().starts_with(surface.trim_start()) {
        // A space that the surface doesn't have is not the token's.
        let start = if surface.starts_with(char::is_whitespace) { at } else { at + blank };
        start..at + blank + surface.trim_start().len()
    } else {
        at..at
    }
}

/// Names that no text has by chance: `</s>`, `<|endoftext|>`, `[CLS]`.
fn is_special(token: &str) -> bool {
    let known =
        ["<s>", "</s>", "<pad>", "<unk>", "<bos>", "<eos>", "<mask>", "[CLS]", "[SEP]", "[PAD]", "[UNK]", "[MASK]"];
    known.contains(&token) || (token.len() > 4 && token.starts_with("<|") && token.ends_with("|>"))
}

/// A name that may be one, such as `<extra_id_0>`, but not the byte `<0x0A>`.
fn is_angled(token: &str) -> bool {
    let angled = token.len() > 2 && token.starts_with('<') && token.ends_with('>');
    angled && !token.starts_with("<0x") && !token.contains(char::is_whitespace)
}

/// A SentencePiece token: `▁` is a space, `<0x0A>` a byte.
fn from_pieces(token: &str) -> String {
    let byte = token.strip_prefix("<0x").and_then(|rest| u8::from_str_radix(rest.strip_suffix('>')?, 16).ok());
    byte.map_or_else(|| token.replace('▁', " "), |byte| shown(&[byte]))
}

/// A byte-level token: each character stands for a byte, the printable ones of Latin-1 for themselves and the others for U+0100 and on
/// (Radford et al. 2019).
fn from_byte_level(token: &str) -> String {
    let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let hidden: Vec<u8> = (0..=255).filter(|&byte| !printable(byte)).collect();
    let byte = |character: char| {
        let code = u32::from(character);
        let shifted = usize::try_from(code.checked_sub(0x100)?).ok()?;
        hidden.get(shifted).copied()
    };
    let of = |character: char| {
        u8::try_from(u32::from(character)).ok().filter(|&own| printable(own)).or_else(|| byte(character))
    };
    match token.chars().map(of).collect::<Option<Vec<u8>>>() {
        Some(bytes) => shown(&bytes),
        None => from_pieces(token),
    }
}

/// Bytes as text, those that are no whole character as `\xF0`.
fn shown(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02X}")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_tokens(theirs: &[&str], text: Option<&str>) -> Vec<(String, Range<usize>, bool)> {
        let instance = |token: &&str| Instance {
            class: (None, "TokenWithId".to_owned()),
            attributes: TokenWithId { token: (*token).to_owned(), id: 3 },
        };
        let theirs: Vec<_> = theirs.iter().map(instance).collect();
        tokens(&theirs, text).into_iter().map(|token| (token.surface, token.span, token.special)).collect()
    }

    #[test]
    fn sentence_pieces() {
        let tokens = read_tokens(&["<s>", "▁It", "▁na", "ï", "ve", "<0x0A>", "</s>"], Some("It naïve\n"));
        let surfaces: Vec<&str> = tokens.iter().map(|(surface, ..)| surface.as_str()).collect();
        assert_eq!(surfaces, ["<s>", "It", " na", "ï", "ve", "\n", "</s>"]);
        let spans: Vec<_> = tokens.iter().map(|(_, span, _)| span.clone()).collect();
        assert_eq!(spans, [0..0, 0..2, 2..5, 5..7, 7..9, 9..10, 10..10]);
        assert_eq!(
            tokens.iter().map(|(.., special)| *special).collect::<Vec<_>>(),
            [true, false, false, false, false, false, true]
        );
    }

    #[test]
    fn byte_level_tokens() {
        let tokens = read_tokens(&["The", "ĠcafÃ©", "Ġ", "ðŁ", "Ċ", "<|endoftext|>"], None);
        let surfaces: Vec<&str> = tokens.iter().map(|(surface, ..)| surface.as_str()).collect();
        assert_eq!(surfaces, ["The", " café", " ", r"\xF0\x9F", "\n", "<|endoftext|>"]);
    }

    #[test]
    fn special_tokens_are_told_by_their_names_and_by_the_text() {
        let tokens = read_tokens(&["<90>", "<x>", "</s>"], Some("<90> </s>"));
        assert_eq!(tokens.iter().map(|(.., special)| *special).collect::<Vec<_>>(), [false, true, true]);
    }

    #[test]
    fn what_is_not_in_the_text_has_an_empty_span() {
        let tokens = read_tokens(&["hello", "▁xyz", "▁world", "again"], Some("hello  world again"));
        assert_eq!(tokens.iter().map(|(_, span, _)| span.clone()).collect::<Vec<_>>(), [0..5, 5..5, 5..12, 13..18]);
    }
}
