//! Our own JSON: an [`Attribution`] is an object, several are a list of them, or one per line (JSON Lines). A text that failed has an object with
//! an `error` instead: [`Failed`].

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use stepfn_models::{json_error, plain_words};

use crate::{Attribution, AttributionError};

/// A text without a result, in a file of results.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Failed {
    /// What its user calls the text.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub id: Value,
    /// Fields of its user's own that travel with the text.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub fields: Map<String, Value>,
    /// What is wrong.
    pub error: String,
    /// What to do.
    #[serde(default)]
    pub help: String,
}

/// One text as an object, several as a list.
pub fn write(attributions: &[Attribution]) -> String {
    match attributions {
        [one] => object(one),
        several => format!("[\n{}\n]", several.iter().map(object).collect::<Vec<_>>().join(",\n")),
    }
}

/// One line per text, each ended by a line break.
pub fn write_lines(attributions: &[Attribution]) -> String {
    attributions.iter().map(|attribution| object(attribution) + "\n").collect()
}

fn object(attribution: &Attribution) -> String {
    serde_json::to_string(attribution).expect("keys are text and NaN is null, so nothing in it can't be written")
}

/// Reads an object, a list of objects, or one object per line, and checks that their parts fit each other.
///
/// # Errors
/// [`AttributionError::Format`] with what is wrong, and where: not JSON, of a newer version, cut short, or sizes that don't fit.
pub fn read(text: &str) -> Result<Vec<Result<Attribution, Failed>>, AttributionError> {
    let objects = match text.trim_start().starts_with('[') {
        true => serde_json::from_str::<Vec<&RawValue>>(text),
        false => serde_json::Deserializer::from_str(text).into_iter().collect(),
    };
    let objects = objects.map_err(|error| wrong("the file", "attributions as JSON", json_error(text, &error)))?;
    if objects.is_empty() {
        return Err(wrong("the file", "at least one attribution", "none".to_owned()));
    }
    objects.into_iter().enumerate().map(|(at, object)| entry(at, object.get())).collect()
}

/// One object: an attribution, or why there is none.
fn entry(at: usize, object: &str) -> Result<Result<Attribution, Failed>, AttributionError> {
    let what = format!("text {} of the file", at + 1);
    // Otherwise a list would be taken for the values of an object's fields, in their order.
    if !object.starts_with('{') {
        return Err(wrong(&what, "an object", object.chars().take(24).collect()));
    }
    let attribution: Attribution = match serde_json::from_str(object) {
        Ok(attribution) => attribution,
        Err(error) => {
            let failed = serde_json::from_str::<Failed>(object);
            return failed.map(Err).map_err(|_| unreadable(&what, object, &error));
        }
    };
    attribution.check().map_err(|error| match error {
        AttributionError::Format { what, expected, found } => {
            AttributionError::Format { what: format!("{what} of text {}", at + 1), expected, found }
        }
        other => other,
    })?;
    Ok(Ok(attribution))
}

/// What is wrong with an object that is no attribution.
fn unreadable(what: &str, object: &str, error: &serde_json::Error) -> AttributionError {
    let fields = serde_json::from_str::<Map<String, Value>>(object).unwrap_or_default();
    // Any other object: lines of texts, for instance.
    if !fields.contains_key("format") {
        let names: Vec<String> = fields.keys().take(4).map(|name| format!("`{name}`")).collect();
        let found = if names.is_empty() { "no fields".to_owned() } else { format!("the fields {}", names.join(", ")) };
        return wrong(what, "an attribution, which has the fields `format`, `target`, `steps`, …", found);
    }
    let message = error.to_string();
    let message = message.rsplit_once(" at line").map_or(message.as_str(), |(message, _)| message);
    let plain = TYPES.iter().fold(message.to_owned(), |message, (theirs, plain)| match message.strip_suffix(theirs) {
        Some(start) => format!("{start}{plain}"),
        None => message,
    });
    let place = format!("line {}, column {} of {what}", error.line(), error.column());
    let plain = plain_words(&plain);
    match plain.strip_prefix("invalid type: ").or_else(|| plain.strip_prefix("invalid value: ")) {
        Some(found) => {
            let (found, expected) = found.rsplit_once(", expected ").unwrap_or((found, "something else"));
            wrong(&place, expected, found.to_owned())
        }
        None => wrong(&place, "an attribution as stepfn writes it", plain),
    }
}

/// How the parser names what it expects, and how people do.
const TYPES: [(&str, &str); 2] = [
    ("expected struct Range", "expected an object with `start` and `end`"),
    ("expected struct Token", "expected a token: an object with `id`, `surface`, `span` and `special`"),
];

fn wrong(what: &str, expected: &str, found: String) -> AttributionError {
    AttributionError::Format { what: what.to_owned(), expected: expected.to_owned(), found }
}

#[cfg(test)]
mod tests {
    use core::slice::from_ref;

    use proptest::prelude::*;

    use super::super::samples;
    use super::*;
    use crate::Scores;

    #[test]
    fn one_or_several_or_lines() {
        let both = [samples::translation(), samples::causal()];
        for text in [write(&both), write_lines(&both)] {
            let back = read(&text).unwrap();
            assert_eq!(back.len(), 2);
            assert!(
                back.iter().zip(&both).all(|(back, sample)| samples::same(back.as_ref().unwrap(), sample)),
                "{text}"
            );
        }
        assert!(write(&both[..1]).starts_with("{\"format\":1,"));
    }

    #[test]
    fn files_of_the_future_are_not_misread() {
        let newer = write(&[samples::translation()]).replace("\"format\":1", "\"format\":2");
        let message = read(&newer).unwrap_err().to_string();
        assert!(message.contains("format 1, found 2") && message.contains("newer stepfn"), "{message}");
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let mut sample = samples::translation();
        sample.step_scores.insert("entropy".to_owned(), vec![1.0]);
        let message = read(&write(&[sample.clone()])).unwrap_err().to_string();
        assert_eq!(message, "step score `entropy` of text 1: expected 3, one per step, found 1");
        sample = samples::translation();
        sample.source.pop();
        let message = read(&write(&[samples::causal(), sample])).unwrap_err().to_string();
        assert!(message.starts_with("source_scores of text 2: expected 2 tokens and 3 steps"), "{message}");
        let cut = write(&[samples::translation()]);
        let fields = format!("[[{}]]", "[],".repeat(20).trim_end_matches(','));
        for text in ["", "[]", "{}", "[1]", "null", "[[]]", &fields, &cut[..cut.len() / 2]] {
            assert!(matches!(read(text), Err(AttributionError::Format { .. })), "{text}");
        }
    }

    /// Whoever edits a file by hand is told what is wrong, in words of the file.
    #[test]
    fn edits_that_break_a_file_are_named_in_its_own_words() {
        let mut sample = samples::translation();
        sample.target_text = Some("ab".to_owned());
        sample.source.iter_mut().for_each(|token| token.span = 0..1);
        sample.target.iter_mut().for_each(|token| token.span = 0..2);
        let good = write(&[sample]);
        assert!(read(&good).is_ok());
        let edited = |from: &str, to: &str| {
            assert!(good.contains(from), "{from}: {good}");
            read(&good.replacen(from, to, 1)).unwrap_err().to_string()
        };
        for (from, to, says) in [
            ("\"format\":1", "\"format\":0", "expected format 1, found 0"),
            ("\"format\":1", "\"format\":\"1\"", "expected a whole number"),
            ("\"target\":[", "\"target\":5,\"x\":[", "expected a list, found integer `5`"),
            ("\"source_scores\"", "\"source_score\"", "unknown field `source_score`"),
            ("\"about\":", "\"aboot\":", "unknown field `aboot`"),
            ("\"start\":0,\"end\":2", "\"start\":2,\"end\":0", "target of text 1: expected spans of whole characters"),
            ("\"start\":0,\"end\":2", "\"start\":0,\"end\":3", "among the 2 bytes of `target_text`, found 0..3"),
            ("[\"token\",\"step\"", "[\"step\",\"token\"", "found [step, token"),
        ] {
            let message = edited(from, to);
            assert!(message.contains(says), "{from} -> {to}: {message}");
            assert!(
                !["u32", "usize", "struct", "sequence", "Token,"].iter().any(|word| message.contains(word)),
                "{message}"
            );
        }
        let message = read("{\"source\": \"a\", \"target\": \"b\"}").unwrap_err().to_string();
        assert!(message.contains("found the fields `source`, `target`"), "{message}");
        let mut infinite = samples::causal();
        let scores = infinite.target_scores.as_ref().unwrap();
        let mut values = scores.values().to_vec();
        values[0] = f32::INFINITY;
        infinite.target_scores = Scores::new(scores.axes().to_vec(), scores.shape().to_vec(), values).ok();
        let message = read(&write(&[infinite])).unwrap_err().to_string();
        assert!(message.contains("target_scores of text 1: expected numbers, or null"), "{message}");
    }

    #[test]
    fn texts_that_failed_keep_their_place() {
        let failed =
            Failed { id: 7.into(), fields: Map::new(), error: "the text is empty".to_owned(), help: String::new() };
        let mut sample = samples::translation();
        sample.id = "a".into();
        sample.fields.insert("item".to_owned(), 3.into());
        let objects = [object(&sample), serde_json::to_string(&failed).unwrap()];
        for text in [objects.join("\n"), format!("[{}]", objects.join(","))] {
            let back = read(&text).unwrap();
            let first = back[0].as_ref().unwrap();
            assert!(samples::same(first, &sample), "{text}");
            assert_eq!(back[1].as_ref().unwrap_err(), &failed);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(sample in samples::any_output()) {
            let back = read(&write(from_ref(&sample))).unwrap();
            prop_assert!(samples::same(back[0].as_ref().unwrap(), &sample), "{:?}\n{:?}", back[0], sample);
        }

        #[test]
        fn no_text_panics(text in "[\\[{\"a-z:,0-9}\\]]{0,32}") {
            drop(read(&text));
        }
    }
}
