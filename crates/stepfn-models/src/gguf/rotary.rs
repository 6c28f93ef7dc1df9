//! Rotary positions in GGUF's metadata, and the tensors with a factor for each frequency.

use serde_json::{Value, json};

use super::metadata::Fields;
use super::reader::TensorRow;
use crate::ModelError;

/// Factors of frequencies, for texts of any length, and for short and long ones.
pub(super) const FACTORS: &str = "rope_freqs.weight";
/// Factors for texts of up to the original length.
pub(super) const SHORT: &str = "rope_factors_short.weight";
/// Factors for longer texts.
pub(super) const LONG: &str = "rope_factors_long.weight";

const KIND: &str = "rope.scaling.type";
const FACTOR: &str = "rope.scaling.factor";
/// The name that it had in 2023.
const OLD_FACTOR: &str = "rope.scale_linear";
const ORIGINAL: &str = "rope.scaling.original_context_length";
const ATTENTION: &str = "rope.scaling.attn_factor";
const YARN_ATTENTION: &str = "rope.scaling.yarn_attn_factor";

/// The field `rope_scaling`.
pub(super) fn scaling(f: &Fields) -> Result<Value, ModelError> {
    let factor = match f.float(FACTOR)? {
        Some(factor) => Some(factor),
        None => f.float(OLD_FACTOR)?,
    };
    let factor = factor.filter(|factor| *factor != 0.0 && *factor != 1.0);
    if let Some((short, long)) = factors(f)? {
        if factor.is_some() {
            let key = if f.float(FACTOR)?.is_some() { FACTOR } else { OLD_FACTOR };
            return Err(f.error(key, "nothing beside a factor for each frequency"));
        }
        return Ok(json!({
            "rope_type": "longrope", "short_factor": short, "long_factor": long,
            "original_max_position_embeddings": original_positions(f)?, "attention_factor": f.float(ATTENTION)?.unwrap_or(1.0),
        }));
    }
    for key in [ATTENTION, YARN_ATTENTION] {
        if f.float(key)?.is_some_and(|factor| factor != 1.0) {
            return Err(f.error(key, "1: other factors are not implemented"));
        }
    }
    match (f.text(KIND)?, factor) {
        (None | Some("none"), None) | (Some("none"), _) | (Some("linear"), None) => Ok(Value::Null),
        (None | Some("linear"), Some(factor)) => Ok(json!({"rope_type": "linear", "factor": factor})),
        (Some("yarn"), Some(factor)) => yarn(f, factor),
        (Some("yarn"), None) => Err(f.error(FACTOR, "a number above 1, because positions are scaled")),
        (Some("longrope"), _) => Err(f.error(KIND, format!("none, because there is no tensor `{LONG}`"))),
        _ => Err(f.error(KIND, "none, linear, yarn or longrope")),
    }
}

/// Positions without stretching.
pub(super) fn original_positions(f: &Fields) -> Result<Value, ModelError> {
    match f.number(ORIGINAL)? {
        Some(positions) => Ok(json!(positions)),
        None => Ok(json!(f.needed("context_length")?)),
    }
}

fn yarn(f: &Fields, factor: f64) -> Result<Value, ModelError> {
    const EXTRAPOLATION: &str = "rope.scaling.yarn_ext_factor";
    // A negative number stands for the usual one.
    if f.float(EXTRAPOLATION)?.is_some_and(|factor| factor >= 0.0 && factor != 1.0) {
        return Err(f.error(EXTRAPOLATION, "1: other ramps are not implemented"));
    }
    let mut scaling = json!({
        "rope_type": "yarn", "factor": factor,
        "beta_fast": f.float("rope.scaling.yarn_beta_fast")?.unwrap_or(32.0),
        "beta_slow": f.float("rope.scaling.yarn_beta_slow")?.unwrap_or(1.0),
    });
    if let Some(positions) = f.number(ORIGINAL)? {
        scaling["original_max_position_embeddings"] = json!(positions);
    }
    if let Some(weight) = f.float("rope.scaling.yarn_log_multiplier")?.filter(|weight| *weight != 0.0) {
        scaling["mscale"] = json!(1.0);
        scaling["mscale_all_dim"] = json!(weight);
    }
    Ok(scaling)
}

/// A factor for each frequency in short texts, and in long ones.
type Factors = (Vec<f32>, Vec<f32>);

fn factors(f: &Fields) -> Result<Option<Factors>, ModelError> {
    if let Some((row, bytes)) = f.tensor(FACTORS) {
        let factors = read(f, row, bytes)?;
        return Ok(Some((factors.clone(), factors)));
    }
    match (f.tensor(SHORT), f.tensor(LONG)) {
        (Some(short), Some(long)) => Ok(Some((read(f, short.0, short.1)?, read(f, long.0, long.1)?))),
        (None, None) => Ok(None),
        (short, _) => {
            let tensor = if short.is_none() { SHORT } else { LONG };
            Err(ModelError::MissingTensor { path: f.path.to_owned(), tensor: tensor.to_owned() })
        }
    }
}

fn read(f: &Fields, row: &TensorRow, bytes: &[u8]) -> Result<Vec<f32>, ModelError> {
    let factors = row.blocks.values(bytes);
    if factors.iter().all(|factor| factor.is_finite() && *factor > 0.0) {
        return Ok(factors);
    }
    Err(ModelError::Tensor {
        path: f.path.to_owned(),
        tensor: row.name.clone(),
        expected: "factors above 0".to_owned(),
        found: "another number".to_owned(),
    })
}
