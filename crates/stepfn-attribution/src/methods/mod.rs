//! The methods, one file each; a method is its parameters, as data.

mod attention;
mod attention_flow;
mod attention_rollout;
mod attn_lrp;
mod deeplift;
mod discretized_integrated_gradients;
mod dummy;
mod grad_x_attention;
mod gradient;
mod gradient_shap;
mod input_x_gradient;
mod inside;
mod integrated_gradients;
mod kernel_shap;
mod layer;
mod layer_deeplift;
mod layer_gradient_x_activation;
mod layer_integrated_gradients;
mod least_squares;
mod lime;
mod occlusion;
mod players;
mod reagent;
mod saliency;
mod sequential_integrated_gradients;
mod shapley_sampling;
mod value_zeroing;

use burn::tensor::backend::Backend;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

pub use attention::Attention;
pub use attention_flow::AttentionFlow;
pub use attention_rollout::AttentionRollout;
pub use attn_lrp::AttnLrp;
pub use deeplift::DeepLift;
pub use discretized_integrated_gradients::{DiscretizedIntegratedGradients, PathStrategy};
pub use dummy::Dummy;
pub use grad_x_attention::GradXAttention;
pub use gradient_shap::GradientShap;
pub use input_x_gradient::InputXGradient;
pub use integrated_gradients::{Auto, IntegratedGradients, PathSteps};
pub use kernel_shap::KernelShap;
pub use layer::{Layer, StackName};
pub use layer_deeplift::LayerDeepLift;
pub use layer_gradient_x_activation::LayerGradientXActivation;
pub use layer_integrated_gradients::LayerIntegratedGradients;
pub use lime::{Lime, Similarity};
pub use occlusion::Occlusion;
pub use reagent::{Reagent, Replacement};
pub use saliency::Saliency;
pub use sequential_integrated_gradients::SequentialIntegratedGradients;
pub use shapley_sampling::ShapleySampling;
pub use value_zeroing::{Metric, ValueZeroing};

use crate::AttributionError;
use crate::engine::Subject;
use crate::grid::Found;

/// A method that can be made from its name and its parameters, the fields of the type.
pub(crate) trait Attribute: Default + Serialize + DeserializeOwned {
    /// The name, in `snake_case`.
    const NAME: &'static str;
    /// What it does in one line.
    const SUMMARY: &'static str;
    /// Whether it attributes a step function; else it looks inside the model.
    const OF_FUNCTION: bool = true;
    /// Whether it hides tokens, and groups of them ([`Features`](crate::Features)) together.
    const HIDES_TOKENS: bool = false;

    /// Whether parameters are in their ranges.
    fn validate(&self) -> Result<(), AttributionError> {
        Ok(())
    }

    /// The scores of one text.
    fn attribute<B: Backend>(&self, subject: &Subject<'_, B>) -> Result<Found, AttributionError>;

    /// The error of a parameter that is out of its range.
    fn out_of_range(parameter: &str, expected: &str, found: impl core::fmt::Display) -> AttributionError {
        AttributionError::Parameter {
            of: Self::NAME.to_owned(),
            parameter: parameter.to_owned(),
            expected: expected.to_owned(),
            found: found.to_string(),
        }
    }
}

/// All methods, by type.
macro_rules! for_each_method {
    ($apply:ident) => {
        $apply!(
            Saliency,
            InputXGradient,
            IntegratedGradients,
            SequentialIntegratedGradients,
            DiscretizedIntegratedGradients,
            GradientShap,
            DeepLift,
            AttnLrp,
            LayerGradientXActivation,
            LayerIntegratedGradients,
            LayerDeepLift,
            Occlusion,
            Lime,
            KernelShap,
            ShapleySampling,
            Reagent,
            GradXAttention,
            Attention,
            AttentionRollout,
            AttentionFlow,
            ValueZeroing,
            Dummy,
        );
    };
}

macro_rules! define {
    ($($method:ident),* $(,)?) => {
        /// A method with its parameters.
        #[derive(Debug, Clone, PartialEq)]
        #[non_exhaustive]
        pub enum Method {
            $(
                #[doc = concat!("See [`", stringify!($method), "`].")]
                $method($method),
            )*
        }

        impl Method {
            /// Makes a method from its name and parameters; what isn't given has its default.
            ///
            /// # Errors
            /// [`AttributionError::UnknownMethod`]; [`AttributionError::Parameter`] for one that is unknown, of the wrong type or out of range.
            pub fn make(name: &str, parameters: &Map<String, Value>) -> Result<Self, AttributionError> {
                $(
                    if name == $method::NAME {
                        return Ok(Self::$method(made::<$method>(parameters)?));
                    }
                )*
                Err(unknown(name))
            }

            /// The name.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$method(_) => $method::NAME,)*
                }
            }

            /// The parameters.
            pub fn parameters(&self) -> Map<String, Value> {
                match self {
                    $(Self::$method(method) => fields(method),)*
                }
            }

            /// Whether it attributes a step function; else it looks inside the model.
            pub fn is_of_function(&self) -> bool {
                match self {
                    $(Self::$method(_) => $method::OF_FUNCTION,)*
                }
            }

            /// Whether it hides tokens, and so can hide groups of them together: [`AttributionOptions::features`](crate::AttributionOptions).
            pub fn hides_tokens(&self) -> bool {
                match self {
                    $(Self::$method(_) => $method::HIDES_TOKENS,)*
                }
            }

            pub(crate) fn validate(&self) -> Result<(), AttributionError> {
                match self {
                    $(Self::$method(method) => method.validate(),)*
                }
            }

            pub(crate) fn attribute<B: Backend>(&self, subject: &Subject<'_, B>) -> Result<Found, AttributionError> {
                match self {
                    $(Self::$method(method) => method.attribute(subject),)*
                }
            }
        }

        /// All methods.
        pub fn methods() -> Vec<AboutMethod> {
            vec![$(
                AboutMethod {
                    name: $method::NAME,
                    summary: $method::SUMMARY,
                    of_function: $method::OF_FUNCTION,
                    hides_tokens: $method::HIDES_TOKENS,
                    parameters: fields(&$method::default()),
                },
            )*]
        }
    };
}

for_each_method!(define);

/// What there is to know of a method before it is chosen.
#[derive(Debug, Clone, PartialEq)]
pub struct AboutMethod {
    /// The name.
    pub name: &'static str,
    /// What it does in one line.
    pub summary: &'static str,
    /// Whether it attributes a step function; else it looks inside the model.
    pub of_function: bool,
    /// Whether it hides tokens, and so can hide groups of them together.
    pub hides_tokens: bool,
    /// The parameters with their defaults.
    pub parameters: Map<String, Value>,
}

fn fields(method: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(method) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    }
}

fn made<M: Attribute>(parameters: &Map<String, Value>) -> Result<M, AttributionError> {
    let known = fields(&M::default());
    if let Some(parameter) = parameters.keys().find(|name| !known.contains_key(*name)) {
        let names: Vec<&str> = known.keys().map(String::as_str).collect();
        let expected =
            if names.is_empty() { "no parameters".to_owned() } else { format!("one of {}", names.join(", ")) };
        return Err(M::out_of_range(parameter, &expected, "an unknown parameter"));
    }
    // One by one, so that an error can name the parameter.
    for (name, value) in parameters {
        let alone = Map::from_iter([(name.clone(), value.clone())]);
        if let Err(error) = serde_json::from_value::<M>(Value::Object(alone)) {
            return Err(M::out_of_range(name, &error.to_string(), value));
        }
    }
    let method = serde_json::from_value::<M>(Value::Object(parameters.clone()));
    let method = method.map_err(|error| M::out_of_range("parameters", &error.to_string(), "others"))?;
    method.validate()?;
    Ok(method)
}

fn unknown(name: &str) -> AttributionError {
    let supported: Vec<&'static str> = methods().into_iter().map(|method| method.name).collect();
    let distance = |known: &&'static str| strsim::damerau_levenshtein(known, name);
    let nearest = supported.iter().copied().min_by_key(distance).filter(|known| distance(known) <= 1 + name.len() / 3);
    AttributionError::UnknownMethod { found: name.to_owned(), nearest, supported }
}
