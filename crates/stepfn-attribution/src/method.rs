//! The trait of attribution methods, and the registry that finds them by name.

use burn::tensor::backend::Backend;
use serde_json::{Map, Value};
use stepfn_core::{Catalog, CatalogError, Description, Named, ParameterError};

use crate::methods::for_each_method;
use crate::{AttributionError, InputScores, Passes};

/// A way to attribute a text's steps to its input tokens.
///
/// A method sees a text through [`Passes`]: the attributed function's values for variants of the text, their derivatives, and the inside of
/// the model. It never handles batches of texts, targets, contrasts or dropout; these come with `Passes`. A method that is also [`Named`] can be
/// registered in [`Methods`] and is then found by name like the built-in ones.
pub trait AttributionMethod<B: Backend>: Send + Sync {
    /// The name, in `snake_case`.
    fn name(&self) -> &str;

    /// Its parameters, for the record of what was computed; see [`parameters`](stepfn_core::catalog::parameters).
    fn parameters(&self) -> Map<String, Value> {
        Map::new()
    }

    /// Whether it attributes a step function. If not, it looks inside the model.
    fn is_of_function(&self) -> bool {
        true
    }

    /// Whether it can attribute the sum of a function's values over a [span](crate::SpanTarget): its scores then have a column for each of
    /// [`Question::spans`](crate::Question::spans).
    fn takes_spans(&self) -> bool {
        self.is_of_function()
    }

    /// Whether it hides tokens, and so can hide groups of them together ([`Features`](crate::Features)).
    fn hides_tokens(&self) -> bool {
        false
    }

    /// Whether its scores are of what is at each token's place in a layer. Then the place of a masked token has one too, which other methods leave out.
    fn is_of_layer(&self) -> bool {
        false
    }

    /// Checks the parameters before any text runs. A method that was made by name is already checked.
    ///
    /// # Errors
    /// [`ParameterError`] for one that is out of its range.
    fn check(&self) -> Result<(), ParameterError> {
        Ok(())
    }

    /// The scores of one text.
    ///
    /// # Errors
    /// If the method does not apply to the model or the function, the model fails, or the call was cancelled.
    fn attribute(&self, passes: &Passes<'_, B>) -> Result<InputScores, AttributionError>;
}

impl<B: Backend> AttributionMethod<B> for Box<dyn AttributionMethod<B>> {
    fn name(&self) -> &str {
        (**self).name()
    }

    fn parameters(&self) -> Map<String, Value> {
        (**self).parameters()
    }

    fn is_of_function(&self) -> bool {
        (**self).is_of_function()
    }

    fn takes_spans(&self) -> bool {
        (**self).takes_spans()
    }

    fn hides_tokens(&self) -> bool {
        (**self).hides_tokens()
    }

    fn is_of_layer(&self) -> bool {
        (**self).is_of_layer()
    }

    fn check(&self) -> Result<(), ParameterError> {
        (**self).check()
    }

    fn attribute(&self, passes: &Passes<'_, B>) -> Result<InputScores, AttributionError> {
        (**self).attribute(passes)
    }
}

/// Attribution methods by name. [`Methods::default`] knows all that this crate has; [`register`](Methods::register) adds yours.
///
/// ```
/// use serde_json::json;
/// use stepfn_attribution::Methods;
///
/// let methods = Methods::<stepfn_cpu::Backend>::default();
/// let lime = methods.make("lime", json!({ "n_samples": 20 }).as_object().unwrap())?;
/// assert!(lime.hides_tokens());
/// # Ok::<(), stepfn_core::CatalogError>(())
/// ```
#[derive(Debug)]
pub struct Methods<B: Backend> {
    catalog: Catalog<dyn AttributionMethod<B>>,
}

impl<B: Backend> Default for Methods<B> {
    fn default() -> Self {
        let mut methods = Self { catalog: Catalog::new("method") };
        macro_rules! register {
            ($($method:ty),* $(,)?) => {
                $(methods.register::<$method>().expect("built-in names are different");)*
            };
        }
        for_each_method!(register);
        methods
    }
}

impl<B: Backend> Methods<B> {
    /// Adds a method under its name.
    ///
    /// # Errors
    /// [`CatalogError::DuplicateName`] if the name is taken.
    pub fn register<M: AttributionMethod<B> + Named + 'static>(&mut self) -> Result<(), CatalogError> {
        self.catalog.register::<M>(|method| Box::new(method))
    }

    /// The method called `name`, with `parameters` where they differ from the defaults.
    ///
    /// # Errors
    /// As [`Catalog::make`].
    pub fn make(
        &self,
        name: &str,
        parameters: &Map<String, Value>,
    ) -> Result<Box<dyn AttributionMethod<B>>, CatalogError> {
        self.catalog.make(name, parameters)
    }

    /// What is known of a method.
    pub fn get(&self, name: &str) -> Option<&Description> {
        self.catalog.get(name)
    }

    /// All methods, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Description> {
        self.catalog.iter()
    }

    /// The names of the methods that hide tokens.
    pub fn hiding_tokens(&self) -> Vec<String> {
        let hides = |name: &String| self.make(name, &Map::new()).is_ok_and(|method| method.hides_tokens());
        self.iter().map(|description| description.name.clone()).filter(hides).collect()
    }
}
