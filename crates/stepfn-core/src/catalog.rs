//! Things that people find by name and make from JSON: step functions here, attribution methods in `stepfn-attribution`.
//!
//! A type is [`Named`] if its fields are its parameters. A [`Catalog`] makes it from its name and the parameters that differ from the
//! defaults, lists what it knows, and answers an unknown name with the nearest one.

mod names;
mod values;

use std::collections::BTreeMap;

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

pub use names::nearest;
pub use values::{Count, ParameterError};

/// A type that a [`Catalog`] can make: its fields are its parameters, and `Default` gives their defaults.
pub trait Named: Default + Serialize + DeserializeOwned {
    /// The name, in `snake_case`.
    const NAME: &'static str;
    /// What it computes, in one line.
    const SUMMARY: &'static str;
    /// What its number counts: nats, bits, probability, tokens… Empty where that depends on something else.
    const UNIT: &'static str = "";
    /// What else people call it: abbreviations, names in other libraries. Errors suggest the name for these; they are not names.
    const ALSO_CALLED: &'static [&'static str] = &[];
    /// The parameters that count something, with their ranges. Each has a greatest value, because what it counts takes time or memory.
    const COUNTS: &'static [Count] = &[];

    /// Checks that the parameters are in their ranges. An implementation of your own starts with [`check_counts`](Self::check_counts).
    ///
    /// # Errors
    /// [`ParameterError`] with the parameter and its range.
    fn validate(&self) -> Result<(), ParameterError> {
        self.check_counts()
    }

    /// Checks the parameters that are in [`COUNTS`](Self::COUNTS).
    ///
    /// # Errors
    /// [`ParameterError`] with the parameter and its range.
    fn check_counts(&self) -> Result<(), ParameterError> {
        values::check_counts(self)
    }

    /// The error of a parameter that is out of its range.
    fn out_of_range(parameter: &str, expected: impl Into<String>, found: impl core::fmt::Display) -> ParameterError {
        ParameterError::new(Self::NAME, parameter, expected, found)
    }
}

/// The parameters of a value: its fields, as JSON.
pub fn parameters(named: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(named) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    }
}

/// Why a catalog could not make something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CatalogError {
    /// Nothing has that name.
    #[error("there is no {kind} `{name}`{}; choose one of {}", suggestion(nearest), available.join(", "))]
    UnknownName {
        /// What was looked for: "step function", "method".
        kind: &'static str,
        /// The name that was asked for.
        name: String,
        /// The known name most like it.
        nearest: Option<String>,
        /// All known names.
        available: Vec<String>,
    },
    /// The name is taken.
    #[error("the name `{name}` is taken by another {kind}; choose another one")]
    DuplicateName {
        /// What was to be added.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// It has no such parameter.
    #[error("{owner} has no parameter `{parameter}`{}; {}", suggestion(nearest), has(available))]
    UnknownParameter {
        /// What was to be made.
        owner: &'static str,
        /// The parameter that was given.
        parameter: String,
        /// The parameter most like it.
        nearest: Option<String>,
        /// Its parameters.
        available: Vec<String>,
    },
    /// A parameter has a value that it can't have.
    #[error(transparent)]
    Parameter(#[from] ParameterError),
}

fn suggestion(nearest: &Option<String>) -> String {
    nearest.as_ref().map_or_else(String::new, |nearest| format!(" (did you mean `{nearest}`?)"))
}

fn has(parameters: &[String]) -> String {
    if parameters.is_empty() { "it has none".to_owned() } else { format!("it has {}", parameters.join(", ")) }
}

/// What a catalog says about one of its entries.
#[derive(Debug, Clone, PartialEq)]
pub struct Description {
    /// The name.
    pub name: String,
    /// What it computes, in one line.
    pub summary: String,
    /// What its number counts; empty where that depends on something else.
    pub unit: String,
    /// The parameters with their defaults.
    pub parameters: Map<String, Value>,
    /// The ranges of the parameters that count something.
    pub counts: &'static [Count],
    /// What else people call it.
    pub also_called: &'static [&'static str],
}

type Make<T> = dyn Fn(&Map<String, Value>) -> Result<Box<T>, ParameterError> + Send + Sync;

struct Entry<T: ?Sized> {
    description: Description,
    make: Box<Make<T>>,
}

/// Makes values of one kind from their names and parameters. `T` is the trait object that they become.
pub struct Catalog<T: ?Sized> {
    kind: &'static str,
    entries: BTreeMap<&'static str, Entry<T>>,
}

impl<T: ?Sized + 'static> Catalog<T> {
    /// A catalog that knows nothing yet; `kind` is what errors call its entries.
    pub const fn new(kind: &'static str) -> Self {
        Self { kind, entries: BTreeMap::new() }
    }

    /// Adds a type under its name; `boxed` makes a trait object of it.
    ///
    /// # Errors
    /// [`CatalogError::DuplicateName`] if the name is taken.
    pub fn register<N: Named + 'static>(&mut self, boxed: fn(N) -> Box<T>) -> Result<(), CatalogError> {
        if self.entries.contains_key(N::NAME) {
            return Err(CatalogError::DuplicateName { kind: self.kind, name: N::NAME.to_owned() });
        }
        let description = Description {
            name: N::NAME.to_owned(),
            summary: N::SUMMARY.to_owned(),
            unit: N::UNIT.to_owned(),
            parameters: parameters(&N::default()),
            counts: N::COUNTS,
            also_called: N::ALSO_CALLED,
        };
        let make = move |parameters: &Map<String, Value>| Ok(boxed(values::read::<N>(parameters)?));
        self.entries.insert(N::NAME, Entry { description, make: Box::new(make) });
        Ok(())
    }

    /// The entry called `name`, with `parameters` where they differ from the defaults.
    ///
    /// # Errors
    /// [`CatalogError::UnknownName`] with the nearest name; [`CatalogError::UnknownParameter`];
    /// [`CatalogError::Parameter`] for a value of the wrong type or out of its range.
    pub fn make(&self, name: &str, parameters: &Map<String, Value>) -> Result<Box<T>, CatalogError> {
        let Some((&owner, entry)) = self.entries.get_key_value(name) else {
            return Err(CatalogError::UnknownName {
                kind: self.kind,
                name: name.to_owned(),
                nearest: self.nearest(name).map(str::to_owned),
                available: self.entries.keys().map(|&name| name.to_owned()).collect(),
            });
        };
        let known = &entry.description.parameters;
        if let Some(parameter) = parameters.keys().find(|parameter| !known.contains_key(*parameter)) {
            return Err(CatalogError::UnknownParameter {
                owner,
                parameter: parameter.clone(),
                nearest: nearest(parameter, known.keys().map(String::as_str)).map(str::to_owned),
                available: known.keys().cloned().collect(),
            });
        }
        Ok((entry.make)(parameters)?)
    }

    /// The name that someone who wrote `name` probably means.
    pub fn nearest(&self, name: &str) -> Option<&str> {
        let called = |entry: &&Entry<T>| entry.description.also_called.iter().any(|other| names::same(name, other));
        match self.entries.values().find(called) {
            Some(entry) => Some(&entry.description.name),
            None => nearest(name, self.entries.keys().copied()),
        }
    }

    /// What is known of `name`.
    pub fn get(&self, name: &str) -> Option<&Description> {
        self.entries.get(name).map(|entry| &entry.description)
    }

    /// All entries, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Description> {
        self.entries.values().map(|entry| &entry.description)
    }
}

impl<T: ?Sized> core::fmt::Debug for Catalog<T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_set().entries(self.entries.keys()).finish()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Serialize, Deserialize, PartialEq)]
    #[serde(default)]
    struct Window {
        size: usize,
        shape: Shape,
    }

    #[derive(Debug, Clone, Copy, Serialize, Deserialize, PartialEq)]
    #[serde(rename_all = "snake_case")]
    enum Shape {
        Round,
        Square,
    }

    impl Default for Window {
        fn default() -> Self {
            Self { size: 3, shape: Shape::Round }
        }
    }

    impl Named for Window {
        const NAME: &'static str = "window";
        const SUMMARY: &'static str = "a window";
        const ALSO_CALLED: &'static [&'static str] = &["pane"];
        const COUNTS: &'static [Count] = &[Count::new("size", 1, 100)];
    }

    fn catalog() -> Catalog<Window> {
        let mut catalog = Catalog::new("opening");
        catalog.register::<Window>(Box::new).unwrap();
        catalog
    }

    fn failure(name: &str, parameters: Value) -> String {
        catalog().make(name, parameters.as_object().unwrap()).unwrap_err().to_string()
    }

    #[test]
    fn parameters_that_are_given_replace_the_defaults() {
        let window = catalog().make("window", json!({"shape": "square"}).as_object().unwrap()).unwrap();
        assert_eq!(*window, Window { size: 3, shape: Shape::Square });
    }

    #[test]
    fn errors_are_sentences_that_name_what_is_there() {
        assert_eq!(
            failure("windows", json!({})),
            "there is no opening `windows` (did you mean `window`?); choose one of window"
        );
        assert_eq!(
            failure("window", json!({"sice": 3})),
            "window has no parameter `sice` (did you mean `size`?); it has shape, size"
        );
        assert!(failure("Pane", json!({})).starts_with("there is no opening `Pane` (did you mean `window`?)"));
        for size in [json!(0), json!(-1), json!(1_000_000_000_000_u64), json!(1.5), json!("big"), json!(null)] {
            assert_eq!(
                failure("window", json!({"size": size})),
                format!("window: `size` must be a whole number from 1 to 100, not {size}")
            );
        }
        for shape in [json!("oval"), json!(3), json!(["round"])] {
            assert_eq!(
                failure("window", json!({"shape": shape})),
                format!("window: `shape` must be `round` or `square`, not {shape}")
            );
        }
    }

    #[test]
    fn a_name_is_taken_once() {
        let error = catalog().register::<Window>(Box::new).unwrap_err();
        assert_eq!(error.to_string(), "the name `window` is taken by another opening; choose another one");
    }
}
