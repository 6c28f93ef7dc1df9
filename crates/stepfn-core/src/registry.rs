//! Step functions by name.

use std::collections::BTreeMap;

use burn::tensor::backend::Backend;
use serde_json::{Map, Value};

use crate::functions::for_each_builtin;
use crate::{Named, StepError, StepFunction};

/// Makes step functions from their names and parameters; [`Registry::default`] knows all that this crate has, and
/// [`register`](Registry::register) adds one's own.
///
/// ```
/// use serde_json::json;
/// use stepfn_core::Registry;
///
/// let registry = Registry::<stepfn_cpu::Backend>::default();
/// let parameters = json!({ "top_k": 20 });
/// let kl = registry.make("kl_divergence", parameters.as_object().unwrap()).unwrap();
/// assert_eq!(kl.name(), "kl_divergence");
///
/// let error = registry.make("entrpy", &Default::default()).err().unwrap();
/// assert!(error.to_string().contains("did you mean `entropy`?"));
/// ```
pub struct Registry<B: Backend> {
    entries: BTreeMap<String, Entry<B>>,
}

type Make<B> = dyn Fn(&Map<String, Value>) -> Result<Box<dyn StepFunction<B>>, StepError> + Send + Sync;

struct Entry<B: Backend> {
    about: About,
    make: Box<Make<B>>,
}

/// What a registry tells of a function.
#[derive(Debug, Clone, PartialEq)]
pub struct About {
    /// The name.
    pub name: String,
    /// The value in one line.
    pub summary: String,
    /// What the number counts.
    pub unit: String,
    /// The parameters with their defaults.
    pub parameters: Map<String, Value>,
}

impl<B: Backend> Default for Registry<B> {
    fn default() -> Self {
        let mut registry = Self::empty();
        macro_rules! insert {
            ($($function:ty),* $(,)?) => {
                $(registry.insert::<$function>();)*
            };
        }
        for_each_builtin!(insert);
        registry
    }
}

impl<B: Backend> Registry<B> {
    /// A registry that knows no function.
    pub fn empty() -> Self {
        Self { entries: BTreeMap::new() }
    }

    /// Adds a function under its name.
    ///
    /// # Errors
    /// [`StepError::DuplicateFunction`] if the name is taken.
    pub fn register<F: StepFunction<B> + Named + 'static>(&mut self) -> Result<(), StepError> {
        if self.entries.contains_key(F::NAME) {
            return Err(StepError::DuplicateFunction { name: F::NAME.to_owned() });
        }
        self.insert::<F>();
        Ok(())
    }

    fn insert<F: StepFunction<B> + Named + 'static>(&mut self) {
        let parameters = match serde_json::to_value(F::default()) {
            Ok(Value::Object(parameters)) => parameters,
            _ => Map::new(),
        };
        let about =
            About { name: F::NAME.to_owned(), summary: F::SUMMARY.to_owned(), unit: F::UNIT.to_owned(), parameters };
        self.entries.insert(F::NAME.to_owned(), Entry { about, make: Box::new(make::<B, F>) });
    }

    /// The function called `name`, with `parameters` where they differ from the defaults.
    ///
    /// # Errors
    /// [`StepError::UnknownFunction`] with the nearest name, [`StepError::Parameters`] for a parameter that the function does not have or
    /// of the wrong type, [`StepError::Parameter`] for one out of its range.
    pub fn make(&self, name: &str, parameters: &Map<String, Value>) -> Result<Box<dyn StepFunction<B>>, StepError> {
        match self.entries.get(name) {
            Some(entry) => (entry.make)(parameters),
            None => Err(StepError::UnknownFunction {
                name: name.to_owned(),
                nearest: nearest(name, self.entries.keys()),
                available: self.entries.keys().cloned().collect(),
            }),
        }
    }

    /// All functions, by name.
    pub fn iter(&self) -> impl Iterator<Item = &About> {
        self.entries.values().map(|entry| &entry.about)
    }
}

fn make<B: Backend, F: StepFunction<B> + Named + 'static>(
    parameters: &Map<String, Value>,
) -> Result<Box<dyn StepFunction<B>>, StepError> {
    let wrong =
        |error: serde_json::Error| StepError::Parameters { function: F::NAME.to_owned(), message: error.to_string() };
    // Also for a type that has no fields, of which serde makes no object.
    let function: F = match parameters.is_empty() {
        true => F::default(),
        false => serde_json::from_value(Value::Object(parameters.clone())).map_err(wrong)?,
    };
    function.validate()?;
    Ok(Box::new(function))
}

/// The name most like `name`, if any is like it at all.
fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a String>) -> Option<String> {
    /// Below this Jaro–Winkler similarity two names have little but length in common.
    const ALIKE: f64 = 0.75;
    names
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(similarity, _)| *similarity >= ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    type B = stepfn_cpu::flex::Backend;

    fn make(name: &str, parameters: Value) -> Result<String, StepError> {
        let made = Registry::<B>::default().make(name, parameters.as_object().unwrap())?;
        Ok(made.name().to_owned())
    }

    #[test]
    fn every_function_is_made_from_its_own_defaults_and_keeps_its_name() {
        let registry = Registry::<B>::default();
        assert_eq!(registry.iter().count(), 23);
        for about in registry.iter() {
            let made = registry.make(&about.name, &about.parameters).unwrap();
            assert_eq!(made.name(), about.name);
            assert!(!about.summary.is_empty() && !about.unit.is_empty());
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_nearest_and_the_list() {
        let error = make("cross_entropy", json!({})).unwrap_err().to_string();
        assert!(error.contains("did you mean `crossentropy`?"), "{error}");
        assert!(error.contains("kl_divergence, logit, margin"), "{error}");
        let error = make("zzz", json!({})).unwrap_err().to_string();
        assert!(!error.contains("did you mean"), "{error}");
    }

    #[test]
    fn a_wrong_parameter_says_what_is_right() {
        let error = make("kl_divergence", json!({ "topk": 3 })).unwrap_err().to_string();
        assert!(error.contains("`topk`") && error.contains("`top_k`"), "{error}");
        let error = make("kl_divergence", json!({ "top_k": "three" })).unwrap_err().to_string();
        assert!(error.starts_with("parameters of `kl_divergence`: "), "{error}");
        let error = make("top_p_size", json!({ "top_p": 1.5 })).unwrap_err().to_string();
        assert_eq!(error, "parameter `top_p` of `top_p_size`: expected a number in (0, 1], found 1.5");
        let error = make("probability", json!({ "log": true })).unwrap_err().to_string();
        assert!(error.contains("logprob"), "{error}");
    }

    #[test]
    fn a_taken_name_is_refused() {
        let mut registry = Registry::<B>::default();
        let error = registry.register::<crate::functions::Entropy>().unwrap_err();
        assert_eq!(error, StepError::DuplicateFunction { name: "entropy".into() });
    }
}
