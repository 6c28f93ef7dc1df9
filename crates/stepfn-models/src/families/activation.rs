//! The names of nonlinearities in `config.json`.

use crate::ModelError;
use crate::config::{Activation, Xielu};
use crate::json::Fields;

/// The nonlinearity that a field names.
pub(super) fn activation(f: &Fields, field: &str, default: &str) -> Result<Activation, ModelError> {
    let name = f.str_or(field, default)?;
    named(name).ok_or_else(|| {
        f.error(field, "relu, silu, swish, gelu, gelu_new, gelu_pytorch_tanh, quick_gelu, relu2 or xielu")
    })
}

/// The nonlinearity with the given name.
pub(super) fn named(name: &str) -> Option<Activation> {
    match name {
        "relu" => Some(Activation::Relu),
        "silu" | "swish" => Some(Activation::Silu),
        "gelu" | "gelu_python" => Some(Activation::Gelu),
        // These are different names of the same formula.
        "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" => Some(Activation::GeluTanh),
        "quick_gelu" => Some(Activation::GeluQuick),
        "relu2" => Some(Activation::ReluSquared),
        // Its numbers are in the checkpoint.
        "xielu" => Some(Activation::Xielu(Xielu { positive: 0.0, negative: 0.0, linear: 0.0 })),
        _ => None,
    }
}
