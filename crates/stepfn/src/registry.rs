//! Step functions and methods by name, built-in ones and yours.

use burn::backend::Autodiff;
use burn::tensor::backend::Backend;
use serde_json::{Map, Value};
use stepfn_attribution::{AttributedFn, AttributionMethod, Methods, Registries};
use stepfn_core::{CatalogError, Description, Named, ParameterError, StepFunction};

use crate::Result;

/// Step functions and attribution methods by name. By default it knows all that stepfn has.
#[derive(Debug, Default)]
pub struct Registry<B: Backend> {
    functions: Registries<B>,
    methods: Methods<B>,
}

impl<B: Backend> Registry<B> {
    /// Adds a step function under its name: as a score, and as what methods attribute.
    ///
    /// # Errors
    /// [`ErrorKind::Name`](crate::ErrorKind::Name) if the name is taken.
    pub fn register_function<F>(&mut self) -> Result<()>
    where
        F: StepFunction<B> + StepFunction<Autodiff<B>> + Named + 'static,
    {
        Ok(self.functions.register::<F>()?)
    }

    /// Adds an attribution method under its name.
    ///
    /// # Errors
    /// [`ErrorKind::Name`](crate::ErrorKind::Name) if the name is taken.
    pub fn register_method<M: AttributionMethod<B> + Named + 'static>(&mut self) -> Result<()> {
        Ok(self.methods.register::<M>()?)
    }

    /// The method of that name; `parameters` is a JSON object of those that differ from the defaults, or `null`.
    ///
    /// # Errors
    /// [`ErrorKind::Name`](crate::ErrorKind::Name) if there is none, [`ErrorKind::Parameter`](crate::ErrorKind::Parameter) for a parameter that
    /// it does not have or can't use.
    pub fn method(&self, name: &str, parameters: &Value) -> Result<Box<dyn AttributionMethod<B>>> {
        Ok(self.methods.make(name, &object(name, parameters)?)?)
    }

    /// The step function of that name; parameters and errors as those of [`method`](Self::method).
    ///
    /// # Errors
    /// As [`method`](Self::method).
    pub fn function(&self, name: &str, parameters: &Value) -> Result<AttributedFn<B>> {
        Ok(self.functions.attributed(name, &object(name, parameters)?)?)
    }

    /// All methods.
    pub fn methods(&self) -> impl Iterator<Item = &Description> {
        self.methods.iter()
    }

    /// All step functions.
    pub fn functions(&self) -> impl Iterator<Item = &Description> {
        self.functions.plain().iter()
    }

    /// The names of the methods that hide tokens.
    pub fn methods_that_hide_tokens(&self) -> Vec<String> {
        self.methods.hiding_tokens()
    }
}

fn object(owner: &str, parameters: &Value) -> core::result::Result<Map<String, Value>, CatalogError> {
    match parameters {
        Value::Object(parameters) => Ok(parameters.clone()),
        Value::Null => Ok(Map::new()),
        other => Err(ParameterError::new(owner, "parameters", "a JSON object", other).into()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use std::time::{Duration, Instant};

    use stepfn_attribution::GenerationOptions;

    use super::*;
    use crate::Error;
    use crate::backend::DefaultBackend;

    /// Words of Rust and of serde, which mean nothing to someone who sets a parameter.
    const INTERNAL: [&str; 11] = [
        "variant",
        "struct",
        "untagged",
        "invalid type",
        "invalid value",
        "expected ",
        "usize",
        "f64",
        "enum",
        "sequence",
        "serde",
    ];

    const TOO_MANY: u64 = 1_000_000_000_000;

    /// Makes something from its parameters.
    type Make<'a> = Box<dyn Fn(&Value) -> Result<()> + 'a>;

    /// Something that has parameters, and how it is made from them.
    struct Owner<'a> {
        about: Description,
        make: Make<'a>,
    }

    fn owners(registry: &Registry<DefaultBackend>) -> Vec<Owner<'_>> {
        let method = |about: &Description| {
            let name = about.name.clone();
            Owner { about: about.clone(), make: Box::new(move |given| registry.method(&name, given).map(drop)) }
        };
        let function = |about: &Description| {
            let name = about.name.clone();
            Owner { about: about.clone(), make: Box::new(move |given| registry.function(&name, given).map(drop)) }
        };
        registry.methods().map(method).chain(registry.functions().map(function)).collect()
    }

    fn wrong_values() -> Vec<Value> {
        let texts = ["NaN", "-inf", "auto?", "", "0", "\0"].map(Value::from);
        let numbers =
            [serde_json::json!(0), (-1).into(), 1.5.into(), (-1e300).into(), u64::MAX.into(), TOO_MANY.into()];
        let others = [Value::Null, true.into(), serde_json::json!([]), serde_json::json!([-1]), serde_json::json!({})];
        let long = Value::from("x".repeat(100_000));
        texts.into_iter().chain(numbers).chain(others).chain([long]).collect()
    }

    fn in_plain_words(error: &Error, parameter: &str) {
        let what = error.what();
        assert!(what.contains(&format!("`{parameter}` must be ")), "{what}");
        let expected = what.rsplit_once(", not ").map_or(what, |(expected, _)| expected).replace(parameter, "");
        assert!(INTERNAL.iter().all(|word| !expected.contains(word)), "{what}");
        assert!(what.len() < 500 && !error.hint().is_empty(), "{what}");
    }

    #[test]
    fn every_count_of_every_method_and_function_has_a_greatest_value() {
        let registry = Registry::default();
        let start = Instant::now();
        for Owner { about, make } in owners(&registry) {
            for (parameter, default) in about.parameters.iter().filter(|(_, default)| default.is_u64()) {
                assert!(about.counts.iter().any(|count| count.parameter == parameter), "{}, {parameter}", about.name);
                make(&serde_json::json!({ parameter: default })).unwrap();
                let error = make(&serde_json::json!({ parameter: TOO_MANY })).unwrap_err();
                in_plain_words(&error, parameter);
            }
            for count in about.counts {
                assert!(about.parameters.contains_key(count.parameter), "{}, {}", about.name, count.parameter);
                let error = make(&serde_json::json!({ count.parameter: TOO_MANY })).unwrap_err();
                in_plain_words(&error, count.parameter);
            }
        }
        assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    }

    #[test]
    fn every_wrong_value_of_every_parameter_is_answered_in_plain_words_that_name_it() {
        let registry = Registry::default();
        let mut answered = 0;
        for Owner { about, make } in owners(&registry) {
            for parameter in about.parameters.keys() {
                for value in wrong_values() {
                    if let Err(error) = make(&serde_json::json!({ parameter: value })) {
                        assert!(error.what().starts_with(&format!("{}: ", about.name)), "{error}");
                        in_plain_words(&error, parameter);
                        answered += 1;
                    }
                }
            }
        }
        assert!(answered > 500, "{answered}");
    }

    #[test]
    fn every_wrong_value_of_every_generation_setting_is_answered_in_plain_words_that_name_it() {
        let unknown = GenerationOptions::check(serde_json::json!({ "x": 0 }).as_object().unwrap()).unwrap_err();
        let stepfn_attribution::AttributionError::Catalog(CatalogError::UnknownParameter { available, .. }) = unknown
        else {
            panic!("{unknown}");
        };
        let start = Instant::now();
        for setting in &available {
            for value in wrong_values() {
                let changes = serde_json::json!({ setting: value });
                if let Err(error) = GenerationOptions::check(changes.as_object().unwrap()) {
                    in_plain_words(&error.into(), setting);
                }
            }
            let counts = ["max_", "min_", "num_", "top_k", "no_repeat"];
            if counts.iter().any(|count| setting.starts_with(count)) {
                let changes = serde_json::json!({ setting: TOO_MANY });
                assert!(GenerationOptions::check(changes.as_object().unwrap()).is_err(), "{setting}");
            }
        }
        assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    }

    #[test]
    fn every_other_name_of_a_method_or_function_is_answered_with_its_name_and_means_nothing_else() {
        let registry = Registry::default();
        let names: Vec<String> = owners(&registry).into_iter().map(|owner| owner.about.name).collect();
        let mut seen = std::collections::BTreeSet::new();
        for about in registry.methods() {
            for other in about.also_called {
                let error = registry.method(other, &Value::Null).map(drop).unwrap_err().to_string();
                assert!(error.contains(&format!("did you mean `{}`?", about.name)), "{error}");
            }
        }
        for about in registry.functions() {
            for other in about.also_called {
                let error = registry.function(other, &Value::Null).map(drop).unwrap_err().to_string();
                assert!(error.contains(&format!("did you mean `{}`?", about.name)), "{error}");
            }
        }
        let others = registry.methods().chain(registry.functions()).flat_map(|about| about.also_called);
        others.for_each(|other| assert!(seen.insert(*other) && !names.iter().any(|name| name == other), "{other}"));
    }
}
