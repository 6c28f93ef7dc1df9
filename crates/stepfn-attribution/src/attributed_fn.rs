//! The step function that is attributed, on the backend and on its differentiating twin.

use burn::backend::Autodiff;
use burn::tensor::backend::Backend;
use serde_json::{Map, Value};
use stepfn_core::{Named, Passes, Registry, StepError, StepFunction};

/// Step functions by name, where values are computed and where derivatives are.
///
/// Custom functions, registered once, are step scores and attribution targets alike:
///
/// ```
/// use stepfn_attribution::Registries;
///
/// let registries = Registries::<stepfn_cpu::Backend>::default();
/// let function = registries.attributed("probability", &Default::default())?;
/// assert_eq!(function.name(), "probability");
/// # Ok::<(), stepfn_core::StepError>(())
/// ```
#[derive(Default)]
pub struct Registries<B: Backend> {
    plain: Registry<B>,
    tracked: Registry<Autodiff<B>>,
}

impl<B: Backend> Registries<B> {
    /// Adds a function under its name.
    ///
    /// # Errors
    /// [`StepError::DuplicateFunction`] if the name is taken.
    pub fn register<F>(&mut self) -> Result<(), StepError>
    where
        F: StepFunction<B> + StepFunction<Autodiff<B>> + Named + 'static,
    {
        self.plain.register::<F>()?;
        self.tracked.register::<F>()
    }

    /// The functions as step scores are made of.
    pub fn plain(&self) -> &Registry<B> {
        &self.plain
    }

    /// A function as attribution target.
    ///
    /// # Errors
    /// If there is no such function, or a parameter is out of its range.
    pub fn attributed(&self, name: &str, parameters: &Map<String, Value>) -> Result<AttributedFn<B>, StepError> {
        let (plain, tracked) = (self.plain.make(name, parameters)?, self.tracked.make(name, parameters)?);
        Ok(AttributedFn { plain, tracked, parameters: parameters.clone() })
    }
}

/// A step function whose values come from input tokens.
pub struct AttributedFn<B: Backend> {
    plain: Box<dyn StepFunction<B>>,
    tracked: Box<dyn StepFunction<Autodiff<B>>>,
    parameters: Map<String, Value>,
}

impl<B: Backend> AttributedFn<B> {
    /// The name.
    pub fn name(&self) -> &str {
        self.plain.name()
    }

    /// The parameters that it was made with.
    pub fn parameters(&self) -> &Map<String, Value> {
        &self.parameters
    }

    /// The passes that it needs.
    pub fn needs(&self) -> Passes {
        self.plain.needs()
    }

    pub(crate) fn plain(&self) -> &dyn StepFunction<B> {
        self.plain.as_ref()
    }

    pub(crate) fn tracked(&self) -> &dyn StepFunction<Autodiff<B>> {
        self.tracked.as_ref()
    }
}
