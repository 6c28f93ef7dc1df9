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
