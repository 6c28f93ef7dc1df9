//! What a folder of shards was made with.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Extent, Fingerprint};

/// A file that was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputFile {
    /// Its name.
    pub name: String,
    /// What it is recognized by; `None` for standard input.
    #[serde(flatten)]
    pub fingerprint: Option<Fingerprint>,
}

/// All that the bytes of the results depend on. Nothing in it depends on when or where they were made, unless the results do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// What the shards' names begin with.
    pub name: String,
    /// The format of the shards.
    pub format: String,
    /// How the records were asked to be divided: `14 shards`, or `1000 records each`.
    pub division: String,
    /// The types of columns, by name.
    pub columns: Map<String, Value>,
    /// What was computed, and how.
    pub run: Map<String, Value>,
    /// The files that were read.
    pub input: Vec<InputFile>,
    /// Their extents, if they can be read more than once.
    #[serde(default)]
    pub extents: Vec<Extent>,
}

impl Manifest {
    /// What another manifest has otherwise, in words. Extents follow from the input.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let flat = |manifest: &Self| {
            let without = Self { extents: Vec::new(), ..manifest.clone() };
            let mut values = BTreeMap::new();
            flatten("", &serde_json::to_value(without).unwrap_or_default(), &mut values);
            values
        };
        let (ours, theirs) = (flat(self), flat(other));
        let names: std::collections::BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
        let shown = |value: Option<&Value>| value.map_or_else(|| "nothing".to_owned(), Value::to_string);
        let differs = names.into_iter().filter(|name| ours.get(*name) != theirs.get(*name));
        differs
            .map(|name| format!("{name} was {}, and is {}", shown(ours.get(name)), shown(theirs.get(name))))
            .collect()
    }
}

/// The simple values in a value, by their paths.
fn flatten(path: &str, value: &Value, into: &mut BTreeMap<String, Value>) {
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match value {
        Value::Object(object) => object.iter().for_each(|(name, value)| flatten(&below(name), value, into)),
        Value::Array(list) if list.iter().any(|value| value.is_object()) => {
            list.iter().enumerate().for_each(|(index, value)| flatten(&below(&index.to_string()), value, into));
        }
        _ => drop(into.insert(path.to_owned(), value.clone())),
    }
}
