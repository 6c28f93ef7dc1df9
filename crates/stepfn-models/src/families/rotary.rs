//! Rotary positions in `config.json`: `rope_parameters` (transformers 5), or `rope_theta` with `rope_scaling` (earlier).

use crate::ModelError;
use crate::config::{RotaryConfig, RotaryScaling};
use crate::json::Fields;

/// What differs between families.
pub(super) struct RotaryFields {
    /// Names of the base outside `rope_parameters`.
    pub(super) theta: &'static [&'static str],
    /// Names of the rotated share of a head outside `rope_parameters`, and its default; `None` if whole heads are rotated.
    pub(super) share: Option<(&'static [&'static str], f64)>,
    /// Kinds of scaling that the family supports.
    pub(super) scalings: &'static [&'static str],
}

/// Whole heads are rotated, with the usual scalings.
pub(super) const WHOLE_HEAD: RotaryFields =
    RotaryFields { theta: &["rope_theta"], share: None, scalings: &["default", "linear", "llama3"] };

/// Reads the rotary configuration for heads of the given width.
pub(super) fn rotary(f: &Fields, head_dim: usize, fields: &RotaryFields) -> Result<RotaryConfig, ModelError> {
    let max_positions = f.usize("max_position_embeddings")?;
    // An old name takes precedence over a new one, and the inner θ over the outer.
    let parameters = match f.optional_object("rope_scaling")? {
        Some(scaling) => Some(scaling),
        None => f.optional_object("rope_parameters")?,
    };
    if let Some(parameters) = &parameters
        && let Some(layer_type) = parameters.nested()
    {
        return Err(parameters
            .error(layer_type, "not an object: separate rotary embeddings per layer type are not implemented"));
    }
    let outer_theta = f.positive_or(f.any_of(fields.theta), 10_000.0)?;
    let theta = match &parameters {
        Some(parameters) => parameters.positive_or("rope_theta", outer_theta)?,
        None => outer_theta,
    };

    let (names, default_share) = fields.share.unwrap_or((&["partial_rotary_factor"], 1.0));
    let share_source = match parameters {
        Some(parameters) if parameters.has("partial_rotary_factor") => (parameters, "partial_rotary_factor"),
        _ => (*f, f.any_of(names)),
    };
    let share = share_source.0.positive_or(share_source.1, default_share)?;
    share_source.0.check(share <= 1.0, share_source.1, "a number above 0, at most 1")?;
    let is_known = fields.share.is_some() || share == 1.0;
    share_source.0.check(is_known, share_source.1, "1: this family rotates whole heads")?;

    let scaling = match parameters {
        Some(parameters) => scaling(&parameters, fields.scalings, max_positions)?,
        None => RotaryScaling::None,
    };
    // Truncates like Python's `int`.
    Ok(RotaryConfig { dim: (head_dim as f64 * share) as usize, theta, scaling, max_positions })
}

fn scaling(parameters: &Fields, allowed: &[&str], max_positions: usize) -> Result<RotaryScaling, ModelError> {
    let field = parameters.any_of(&["rope_type", "type"]);
    let kind = parameters.str_or(field, "default")?;
    parameters.check(allowed.contains(&kind), field, format!("one of: {}", allowed.join(", ")))?;
    match kind {
        "default" => Ok(RotaryScaling::None),
        "linear" => Ok(RotaryScaling::Linear { factor: parameters.positive("factor")? }),
        "llama3" => {
            let low_freq_factor = parameters.positive("low_freq_factor")?;
            let high_freq_factor = parameters.positive("high_freq_factor")?;
            let expected = format!("a number above low_freq_factor, {low_freq_factor}");
            parameters.check(high_freq_factor > low_freq_factor, "high_freq_factor", expected)?;
            Ok(RotaryScaling::Llama3 {
                factor: parameters.positive("factor")?,
                low_freq_factor,
                high_freq_factor,
                original_positions: parameters.positive_or("original_max_position_embeddings", max_positions as f64)?,
            })
        }
        _ => Err(parameters.error(field, format!("one of: {}", allowed.join(", ")))),
    }
}
