//! Parameters from JSON: their types, their ranges, and errors in the words of someone who sets them.

use serde_json::{Map, Value};

use super::{Named, parameters};

/// A parameter or option has a value that can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", sentence(owner, parameter, expected, found))]
pub struct ParameterError {
    /// What has the parameter: a step function, a method, a group of options.
    pub owner: String,
    /// The parameter.
    pub parameter: String,
    /// What it may be.
    pub expected: String,
    /// What it is.
    pub found: String,
}

impl ParameterError {
    /// The error of `parameter` of `owner`.
    pub fn new(
        owner: impl Into<String>,
        parameter: impl Into<String>,
        expected: impl Into<String>,
        found: impl core::fmt::Display,
    ) -> Self {
        let found = shortened(found.to_string());
        Self { owner: owner.into(), parameter: parameter.into(), expected: expected.into(), found }
    }
}

/// What is wrong. A stage of an aggregation is no parameter, but it has a name, and needs something.
fn sentence(owner: &str, parameter: &str, expected: &str, found: &str) -> String {
    match owner {
        "aggregation" => format!("aggregation, `{parameter}`: expected {expected}, found {found}"),
        _ => format!("{owner}: `{parameter}` must be {expected}, not {found}"),
    }
}

/// The start of a value that is too long for a message.
fn shortened(found: String) -> String {
    const MOST: usize = 100;
    match found.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &found[..end]),
        None => found,
    }
}

/// The range of a parameter that counts something: samples, steps, tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Count {
    /// The parameter.
    pub parameter: &'static str,
    /// The least value.
    pub least: usize,
    /// The greatest value.
    pub most: usize,
    /// A word that may be given instead of a number.
    pub word: Option<&'static str>,
}

impl Count {
    /// A parameter from `least` to `most`.
    pub const fn new(parameter: &'static str, least: usize, most: usize) -> Self {
        Self { parameter, least, most, word: None }
    }

    /// The same parameter, which may also be this word.
    #[must_use]
    pub const fn or(self, word: &'static str) -> Self {
        Self { word: Some(word), ..self }
    }

    /// What it may be, for an error.
    fn expected(&self) -> String {
        let word = self.word.map_or_else(String::new, |word| format!(", or `{word}`"));
        format!("a whole number from {} to {}{word}", self.least, self.most)
    }
}

/// Checks the parameters that count something.
pub(super) fn check_counts<N: Named>(named: &N) -> Result<(), ParameterError> {
    let values = parameters(named);
    for count in N::COUNTS {
        let value = values.get(count.parameter).and_then(Value::as_u64);
        if let Some(value) = value.filter(|value| !(count.least as u64..=count.most as u64).contains(value)) {
            return Err(N::out_of_range(count.parameter, count.expected(), value));
        }
    }
    Ok(())
}

/// Makes a value from the parameters that differ from its defaults.
pub(super) fn read<N: Named>(given: &Map<String, Value>) -> Result<N, ParameterError> {
    // serde does not make an object of a type without fields.
    if given.is_empty() {
        return Ok(N::default());
    }
    // One by one, so that an error can name the parameter.
    for (name, value) in given {
        if let Err(error) = alone::<N>(name, value.clone()) {
            return Err(N::out_of_range(name, expected::<N>(name, value, &error), value));
        }
    }
    let named = serde_json::from_value::<N>(Value::Object(given.clone()));
    let named =
        named.map_err(|_| N::out_of_range("parameters", "values that go together", Value::Object(given.clone())))?;
    named.check_counts()?;
    named.validate()?;
    Ok(named)
}

fn alone<N: Named>(name: &str, value: Value) -> serde_json::Result<N> {
    serde_json::from_value(Value::Object(Map::from_iter([(name.to_owned(), value)])))
}

/// What a parameter may be, as its range or its default shows. serde's words are used only where they are everyone's.
fn expected<N: Named>(name: &str, value: &Value, error: &serde_json::Error) -> String {
    if let Some(count) = N::COUNTS.iter().find(|count| count.parameter == name) {
        return count.expected();
    }
    match parameters(&N::default()).get(name) {
        Some(Value::Number(_)) => "a number".to_owned(),
        Some(Value::Bool(_)) => "true or false".to_owned(),
        Some(Value::String(default)) => choices::<N>(name).unwrap_or_else(|| format!("a text such as `{default}`")),
        _ => readable(value, error).to_owned(),
    }
}

/// The words that a parameter may be, from the error for a word that nothing is called.
fn choices<N: Named>(name: &str) -> Option<String> {
    let error = alone::<N>(name, Value::String("\0".to_owned())).err()?.to_string();
    let (_, choices) = error.rsplit_once(", expected ")?;
    choices.starts_with(['`', 'o']).then(|| choices.to_owned())
}

/// What serde expected, in words.
fn readable(value: &Value, error: &serde_json::Error) -> &'static str {
    let message = error.to_string();
    match message.rsplit_once("expected ").map(|(_, expected)| expected) {
        Some("usize" | "u64" | "u32") if !value.is_array() => "a whole number, 0 or greater",
        Some("usize" | "u64" | "u32" | "a sequence") => "a list of whole numbers, 0 or greater, as in [0, 2]",
        Some("f32" | "f64") => "a number",
        Some("a boolean") => "true or false",
        _ => "a value of the kind that its default has",
    }
}
