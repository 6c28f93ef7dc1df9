//! The step function that is attributed, on the backend and on its differentiating twin.

use std::sync::Arc;

use burn::backend::Autodiff;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use serde_json::{Map, Value};
use stepfn_core::{CatalogError, Join, Named, Needs, Registry, StepBatch, StepError, StepFunction, StepScore};

/// Step functions by name, where values are computed and where derivatives are.
///
/// A function that is registered once is a step score and an attribution target:
///
/// ```
/// use stepfn_attribution::Registries;
/// use stepfn_core::StepScore;
///
/// let registries = Registries::<stepfn_cpu::Backend>::default();
/// let function = registries.attributed("probability", &Default::default())?;
/// assert_eq!(function.name(), "probability");
/// # Ok::<(), stepfn_core::StepError>(())
/// ```
#[derive(Debug, Default)]
pub struct Registries<B: Backend> {
    plain: Registry<B>,
    tracked: Registry<Autodiff<B>>,
}

impl<B: Backend> Registries<B> {
    /// Adds a function under its name.
    ///
    /// # Errors
    /// [`CatalogError::DuplicateName`] if the name is taken.
    pub fn register<F>(&mut self) -> Result<(), CatalogError>
    where
        F: StepFunction<B> + StepFunction<Autodiff<B>> + Named + 'static,
    {
        self.plain.register::<F>()?;
        self.tracked.register::<F>()
    }

    /// The functions that step scores are made from.
    pub fn plain(&self) -> &Registry<B> {
        &self.plain
    }

    /// A function as attribution target.
    ///
    /// # Errors
    /// If there is no such function, or a parameter is out of its range.
    pub fn attributed(&self, name: &str, parameters: &Map<String, Value>) -> Result<AttributedFn<B>, StepError> {
        let (plain, tracked) = (self.plain.make(name, parameters)?, self.tracked.make(name, parameters)?);
        Ok(AttributedFn { plain: plain.into(), tracked: tracked.into() })
    }
}

/// A step function whose values are attributed to input tokens.
#[derive(Clone)]
pub struct AttributedFn<B: Backend> {
    plain: Arc<dyn StepFunction<B>>,
    tracked: Arc<dyn StepFunction<Autodiff<B>>>,
}

impl<B: Backend> AttributedFn<B> {
    /// This function.
    pub fn new<F: StepFunction<B> + StepFunction<Autodiff<B>> + 'static>(function: F) -> Self {
        let function = Arc::new(function);
        Self { plain: function.clone(), tracked: function }
    }

    /// The function where values are computed.
    pub fn plain(&self) -> &dyn StepFunction<B> {
        self.plain.as_ref()
    }

    /// The function where derivatives are computed.
    pub fn tracked(&self) -> &dyn StepFunction<Autodiff<B>> {
        self.tracked.as_ref()
    }
}

impl<B: Backend> core::fmt::Debug for AttributedFn<B> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "AttributedFn({})", self.name())
    }
}

impl<B: Backend> StepScore for AttributedFn<B> {
    fn name(&self) -> &str {
        self.plain.name()
    }

    fn parameters(&self) -> Map<String, Value> {
        self.plain.parameters()
    }

    fn join(&self) -> Join {
        self.plain.join()
    }

    fn needs(&self) -> Needs {
        self.plain.needs()
    }

    fn is_differentiable(&self) -> bool {
        self.plain.is_differentiable()
    }
}

// A function that was made by name can be used like one of a known type.
impl<B: Backend> StepFunction<B> for AttributedFn<B> {
    fn score(&self, steps: &StepBatch<B>) -> Result<Tensor<B, 1>, StepError> {
        self.plain.score(steps)
    }

    fn gradient(&self, steps: &StepBatch<B>) -> Option<Tensor<B, 2>> {
        self.plain.gradient(steps)
    }
}

impl<B: Backend> StepFunction<Autodiff<B>> for AttributedFn<B> {
    fn score(&self, steps: &StepBatch<Autodiff<B>>) -> Result<Tensor<Autodiff<B>, 1>, StepError> {
        self.tracked.score(steps)
    }
}
