//! The names that nonlinearities have in `config.json`.

use crate::ModelError;
use crate::config::Activation;
use crate::json::Fields;

/// The nonlinearity named by a field.
pub(super) fn activation(f: &Fields, field: &str, default: &str) -> Result<Activation, ModelError> {
    let name = f.str_or(field, default)?;
    named(name).ok_or_else(|| f.error(field, "relu, silu, swish, gelu, gelu_new, gelu_pytorch_tanh or quick_gelu"))
}

/// The nonlinearity of a name.
pub(super) fn named(name: &str) -> Option<Activation> {
    match name {
        "relu" => Some(Activation::Relu),
        "silu" | "swish" => Some(Activation::Silu),
        "gelu" | "gelu_python" => Some(Activation::Gelu),
        // One formula, written in different ways.
        "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" => Some(Activation::GeluTanh),
        "quick_gelu" => Some(Activation::GeluQuick),
        _ => None,
    }
}
