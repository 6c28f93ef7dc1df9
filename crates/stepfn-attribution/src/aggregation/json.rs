//! Pipelines as JSON: a list of stages, with errors that say which stage is wrong.

use serde_json::Value;

use super::names::unknown_stage;
use super::{Pipeline, Stage};
use crate::{AttributionError, ParameterError};

/// The values of the field `stage`.
const STAGES: [&str; 12] = [
    "reduce",
    "select",
    "normalize",
    "characters",
    "spans",
    "subwords",
    "sentences",
    "lines",
    "split",
    "messages",
    "slices",
    "pair",
];

/// Reads a list of stages.
pub(super) fn read(text: &str) -> Result<Pipeline, AttributionError> {
    let stages: Vec<Value> = serde_json::from_str(text).map_err(|error| {
        let found = format!("a text that is not JSON from line {}, column {} on", error.line(), error.column());
        wrong("pipeline", r#"a list of stages such as [{"stage": "normalize"}]"#, found)
    })?;
    let stage = |(number, value): (usize, Value)| {
        let name = value.get("stage").and_then(Value::as_str).map(str::to_owned);
        // A stage without fields would be read from an object with any fields.
        let has_fields = value.as_object().is_some_and(|fields| fields.len() > 1);
        match (serde_json::from_value::<Stage>(value.clone()), name) {
            (Ok(stage), _) if !(has_fields && stage.has_no_fields()) => Ok(stage),
            (_, Some(name)) if !STAGES.contains(&name.as_str()) => Err(unknown_stage(&name)),
            (_, Some(name)) => {
                let expected =
                    format!("the fields of `{name}` with their values (see the short forms for what they are)");
                Err(wrong(&format!("stage {}", number + 1), expected, value))
            }
            (_, None) => {
                let expected = r#"an object with a field `stage`, such as {"stage": "normalize"}"#;
                Err(wrong(&format!("stage {}", number + 1), expected, value))
            }
        }
    };
    stages.into_iter().enumerate().map(stage).collect::<Result<_, _>>().map(Pipeline)
}

fn wrong(part: &str, expected: impl Into<String>, found: impl core::fmt::Display) -> AttributionError {
    ParameterError::new("aggregation", part, expected, found).into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_stage_name_is_known_and_every_mistake_is_said_in_plain_words() {
        for name in STAGES {
            let error = read(&json!([{ "stage": name, "wrong": 1 }]).to_string()).unwrap_err().to_string();
            assert!(error.contains("`stage 1`: expected the fields of"), "{name}: {error}");
        }
        for (text, part) in [
            ("[", "column 1"),
            ("[3]", "`stage 1`: expected an object"),
            (r#"[{"stage": "normalize"}, {"stage": "splt"}]"#, "did you mean `split`?"),
            (r#"[{"stage": "spans", "targets": ["0:2"]}]"#, "`stage 1`: expected the fields of `spans`"),
            (r#"[{"stage": "reduce", "function": "median"}]"#, "`stage 1`: expected the fields of `reduce`"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
            assert!(["variant", "untagged", "struct"].iter().all(|word| !error.contains(word)), "{error}");
        }
    }
}
