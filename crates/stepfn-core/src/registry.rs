//! Step functions by name.

use burn::tensor::backend::Backend;
use serde_json::{Map, Value};

use crate::catalog::{Catalog, CatalogError, Description, Named};
use crate::functions::for_each_builtin;
use crate::{StepError, StepFunction};

/// Makes step functions from their names and parameters. [`Registry::default`] knows all that this crate has;
/// [`register`](Registry::register) adds yours.
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
#[derive(Debug)]
pub struct Registry<B: Backend> {
    catalog: Catalog<dyn StepFunction<B>>,
}

impl<B: Backend> Default for Registry<B> {
    fn default() -> Self {
        let mut registry = Self::empty();
        macro_rules! insert {
            ($($function:ty),* $(,)?) => {
                $(registry.register::<$function>().expect("built-in names are different");)*
            };
        }
        for_each_builtin!(insert);
        registry
    }
}

impl<B: Backend> Registry<B> {
    /// A registry that knows no function.
    pub const fn empty() -> Self {
        Self { catalog: Catalog::new("step function") }
    }

    /// Adds a function under its name.
    ///
    /// # Errors
    /// [`CatalogError::DuplicateName`] if the name is taken.
    pub fn register<F: StepFunction<B> + Named + 'static>(&mut self) -> Result<(), CatalogError> {
        self.catalog.register::<F>(|function| Box::new(function))
    }

    /// The function called `name`, with `parameters` where they differ from the defaults.
    ///
    /// # Errors
    /// As [`Catalog::make`].
    pub fn make(&self, name: &str, parameters: &Map<String, Value>) -> Result<Box<dyn StepFunction<B>>, StepError> {
        Ok(self.catalog.make(name, parameters)?)
    }

    /// What is known of a function.
    pub fn get(&self, name: &str) -> Option<&Description> {
        self.catalog.get(name)
    }

    /// All functions, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Description> {
        self.catalog.iter()
    }
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
        // Each file is a function, but for `mod.rs`.
        let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/functions")).unwrap().count();
        assert_eq!(registry.iter().count(), files - 1);
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
        assert_eq!(error, "kl_divergence: `top_k` must be a whole number from 0 to 16777216, not \"three\"");
        let error = make("top_p_size", json!({ "top_p": 1.5 })).unwrap_err().to_string();
        assert_eq!(error, "top_p_size: `top_p` must be a number in (0, 1], not 1.5");
        let error = make("probability", json!({ "log": true })).unwrap_err().to_string();
        assert!(error.contains("logprob"), "{error}");
    }

    #[test]
    fn a_taken_name_is_refused() {
        let mut registry = Registry::<B>::default();
        let error = registry.register::<crate::functions::Entropy>().unwrap_err();
        assert_eq!(error, CatalogError::DuplicateName { kind: "step function", name: "entropy".into() });
    }
}
