//! Our own JSON: an [`Attribution`] is an object, several are a list of them, or one per line (JSON Lines).

use crate::{Attribution, AttributionError};

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
pub fn read(text: &str) -> Result<Vec<Attribution>, AttributionError> {
    let failed = |at: usize, error: &serde_json::Error| AttributionError::Format {
        what: format!("attribution {at} of the file"),
        expected: "the JSON of an attribution".to_owned(),
        found: error.to_string(),
    };
    let attributions: Vec<Attribution> = if text.trim_start().starts_with('[') {
        serde_json::from_str(text).map_err(|error| AttributionError::Format {
            what: "the file".to_owned(),
            expected: "a JSON list of attributions".to_owned(),
            found: error.to_string(),
        })?
    } else {
        let objects = serde_json::Deserializer::from_str(text).into_iter::<Attribution>();
        objects.enumerate().map(|(at, object)| object.map_err(|error| failed(at, &error))).collect::<Result<_, _>>()?
    };
    if attributions.is_empty() {
        return Err(AttributionError::Format {
            what: "the file".to_owned(),
            expected: "at least one attribution".to_owned(),
            found: "none".to_owned(),
        });
    }
    for (at, attribution) in attributions.iter().enumerate() {
        attribution.check().map_err(|error| match error {
            AttributionError::Format { what, expected, found } => {
                AttributionError::Format { what: format!("{what} of attribution {at}"), expected, found }
            }
            other => other,
        })?;
    }
    Ok(attributions)
}

#[cfg(test)]
mod tests {
    use core::slice::from_ref;

    use proptest::prelude::*;

    use super::super::samples;
    use super::*;

    #[test]
    fn one_or_several_or_lines() {
        let both = [samples::translation(), samples::causal()];
        for text in [write(&both), write_lines(&both)] {
            let back = read(&text).unwrap();
            assert_eq!(back.len(), 2);
            assert!(back.iter().zip(&both).all(|(back, sample)| samples::same(back, sample)), "{text}");
        }
        assert!(write(&both[..1]).starts_with("{\"format\":1,"));
    }

    #[test]
    fn files_of_the_future_are_not_misread() {
        let newer = write(&[samples::translation()]).replace("\"format\":1", "\"format\":2");
        let message = read(&newer).unwrap_err().to_string();
        assert!(message.contains("format 1 or older, found 2") && message.contains("newer stepfn"), "{message}");
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let mut sample = samples::translation();
        sample.step_scores.insert("entropy".to_owned(), vec![1.0]);
        let message = read(&write(&[sample.clone()])).unwrap_err().to_string();
        assert_eq!(message, "step score `entropy` of attribution 0: expected 3, one per step, found 1");
        sample = samples::translation();
        sample.source.pop();
        let message = read(&write(&[samples::causal(), sample])).unwrap_err().to_string();
        assert!(message.starts_with("source_scores of attribution 1: expected 2 tokens and 3 steps"), "{message}");
        let cut = write(&[samples::translation()]);
        for text in ["", "[]", "{}", "[1]", "null", &cut[..cut.len() / 2]] {
            assert!(matches!(read(text), Err(AttributionError::Format { .. })), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(sample in samples::any_output()) {
            let back = read(&write(from_ref(&sample))).unwrap();
            prop_assert!(samples::same(&back[0], &sample), "{:?}\n{:?}", back[0], sample);
        }

        #[test]
        fn no_text_panics(text in "[\\[{\"a-z:,0-9}\\]]{0,32}") {
            drop(read(&text));
        }
    }
}
