//! Rotary positions in `config.json`: `rope_parameters` (transformers 5), or `rope_theta` with `rope_scaling` (earlier).

use crate::ModelError;
use crate::config::{Positions, RotaryConfig, RotaryScaling, StackConfig};
use crate::json::Fields;

/// What differs between families.
pub(super) struct RotaryFields {
    /// Names of the base outside `rope_parameters`.
    pub(super) theta: &'static [&'static str],
    /// Names of the rotated share of a head outside `rope_parameters`, and its default; `None` if whole heads are rotated.
    pub(super) share: Option<(&'static [&'static str], f64)>,
    /// Kinds of scaling that the family supports.
    pub(super) scalings: &'static [&'static str],
    /// The number of positions where files don't say it.
    pub(super) default_positions: Option<usize>,
    /// The base where files don't say it.
    pub(super) default_theta: f64,
    /// Whether neighbouring dimensions are rotated together.
    pub(super) interleaved: bool,
    /// Whether `rope_parameters` has an object for each type of layers: then [`rotary`] reads that of layers without a window.
    pub(super) by_layer_type: bool,
}

/// Whole heads are rotated, with the usual scalings.
pub(super) const WHOLE_HEAD: RotaryFields = RotaryFields {
    theta: &["rope_theta"],
    share: None,
    default_positions: None,
    default_theta: 10_000.0,
    interleaved: false,
    by_layer_type: false,
    scalings: &USUAL,
};

/// The scalings of transformers.
pub(super) const USUAL: [&str; 6] = ["default", "linear", "llama3", "dynamic", "yarn", "longrope"];

/// Reads the rotary configuration for heads of the given width.
pub(super) fn rotary(f: &Fields, head_dim: usize, fields: &RotaryFields) -> Result<RotaryConfig, ModelError> {
    // An old name takes precedence over a new one, and the inner θ over the outer.
    let parameters = match f.optional_object("rope_scaling")? {
        Some(scaling) => Some(scaling),
        None if fields.by_layer_type => of_layer_type(f, "full_attention")?,
        None => f.optional_object("rope_parameters")?,
    };
    if let Some(parameters) = &parameters
        && let Some(layer_type) = parameters.nested()
    {
        return Err(parameters.error(
            layer_type,
            "not an object: separate rotary positions by the type of layers are not implemented for this family",
        ));
    }
    let theta = f.positive_or(f.any_of(fields.theta), fields.default_theta)?;
    with_parameters(f, parameters, theta, head_dim, fields)
}

/// Gives layers with a window a rotation of their own, as Gemma 3 and OLMo 3 have it. In files before transformers 5, its base is in a field
/// with this name and default, and nothing is scaled.
pub(super) fn by_window(
    f: &Fields,
    stack: &mut StackConfig,
    fields: &RotaryFields,
    (local_theta, default): (&'static str, f64),
) -> Result<(), ModelError> {
    let local_theta = f.positive_or(local_theta, default)?;
    let parameters = of_layer_type(f, "sliding_attention")?;
    let local = with_parameters(f, parameters, local_theta, stack.attention.head_dim, fields)?;
    let layers = stack.attention.windows.iter().map(|window| Some(usize::from(window.is_some()))).collect();
    let rotations = stack.positions.rotations().iter().cloned().chain([local]).collect();
    stack.positions = Positions::RotaryByLayer { rotations, layers };
    Ok(())
}

/// The object of a type of layers in `rope_parameters`.
fn of_layer_type<'a>(f: &Fields<'a>, layer_type: &'static str) -> Result<Option<Fields<'a>>, ModelError> {
    let Some(parameters) = f.optional_object("rope_parameters")? else { return Ok(None) };
    let is_nested = parameters.is_empty() || parameters.nested().is_some();
    f.check(is_nested, "rope_parameters", "an object for each type of layers")?;
    parameters.optional_object(layer_type)
}

/// Positions in layers that `has` selects, and none in the others.
pub(super) fn in_layers(positions: &Positions, n_layers: usize, has: impl Fn(usize) -> bool) -> Positions {
    let layers = (0..n_layers).map(|layer| has(layer).then_some(0)).collect();
    Positions::RotaryByLayer { rotations: positions.rotations().to_vec(), layers }
}

/// Of an object with its parameters, and a base where that has none.
fn with_parameters(
    f: &Fields,
    parameters: Option<Fields>,
    outer_theta: f64,
    head_dim: usize,
    fields: &RotaryFields,
) -> Result<RotaryConfig, ModelError> {
    let max_positions = match fields.default_positions {
        Some(default) => f.usize_or("max_position_embeddings", default)?,
        None => f.usize("max_position_embeddings")?,
    };
    f.check(max_positions > 0, "max_position_embeddings", "a whole number, 1 or greater")?;
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

    // Truncates like Python's `int`.
    let dim = (head_dim as f64 * share) as usize;
    let (scaling, attention_factor) = match &parameters {
        Some(parameters) => scaling(f, parameters, fields.scalings, (dim, max_positions))?,
        None => (RotaryScaling::None, 1.0),
    };
    Ok(RotaryConfig { dim, theta, interleaved: fields.interleaved, scaling, attention_factor, max_positions })
}

/// The scaling, and the factor of queries and keys.
fn scaling(
    f: &Fields,
    parameters: &Fields,
    allowed: &[&str],
    (dim, max_positions): (usize, usize),
) -> Result<(RotaryScaling, f64), ModelError> {
    let field = parameters.any_of(&["rope_type", "type"]);
    let kind = parameters.str_or(field, "default")?;
    parameters.check(allowed.contains(&kind), field, format!("one of: {}", allowed.join(", ")))?;
    let outer_positions = f.optional_positive("original_max_position_embeddings")?;
    let original_positions =
        parameters.positive_or("original_max_position_embeddings", outer_positions.unwrap_or(max_positions as f64))?;
    let scaling = match kind {
        "default" => RotaryScaling::None,
        "linear" => RotaryScaling::Linear { factor: parameters.positive("factor")? },
        "llama3" => {
            let low_freq_factor = parameters.positive("low_freq_factor")?;
            let high_freq_factor = parameters.positive("high_freq_factor")?;
            let expected = format!("a number above low_freq_factor, {low_freq_factor}");
            parameters.check(high_freq_factor > low_freq_factor, "high_freq_factor", expected)?;
            RotaryScaling::Llama3 {
                factor: parameters.positive("factor")?,
                low_freq_factor,
                high_freq_factor,
                original_positions,
            }
        }
        "dynamic" => {
            let factor = parameters.positive("factor")?;
            parameters.check(factor >= 1.0, "factor", "a number, 1 or greater")?;
            RotaryScaling::Dynamic { factor, original_positions: max_positions as f64 }
        }
        "yarn" => {
            let factor = parameters.positive_or("factor", max_positions as f64 / original_positions)?;
            let scaling = RotaryScaling::Yarn {
                factor,
                fast: parameters.positive_or("beta_fast", 32.0)?,
                slow: parameters.positive_or("beta_slow", 1.0)?,
                original_positions,
                truncate: parameters.bool_or("truncate", true)?,
            };
            return Ok((scaling, yarn_attention(parameters, factor)?));
        }
        "longrope" | "su" => {
            // As transformers: the ratio where the outer field is there, else the factor.
            let ratio = max_positions as f64 / original_positions;
            let factor = if outer_positions.is_some() { ratio } else { parameters.positive_or("factor", ratio)? };
            let default = if factor > 1.0 { (1.0 + factor.ln() / original_positions.ln()).sqrt() } else { 1.0 };
            let factors = |name| parameters.positive_numbers(name, dim / 2);
            let scaling = RotaryScaling::LongRope {
                short: factors("short_factor")?,
                long: factors("long_factor")?,
                original_positions,
            };
            return Ok((scaling, parameters.positive_or("attention_factor", default)?));
        }
        _ => return Err(parameters.error(field, format!("one of: {}", allowed.join(", ")))),
    };
    Ok((scaling, 1.0))
}

/// YaRN's factor of queries and keys: `0.1 ln(factor) + 1`, unless the file says otherwise.
fn yarn_attention(parameters: &Fields, factor: f64) -> Result<f64, ModelError> {
    let scale = |weight: f64| if factor <= 1.0 { 1.0 } else { 0.1 * weight * factor.ln() + 1.0 };
    let default = match (parameters.optional_f64("mscale")?, parameters.optional_f64("mscale_all_dim")?) {
        (Some(one), Some(all)) if one != 0.0 && all != 0.0 => scale(one) / scale(all),
        _ => scale(1.0),
    };
    parameters.check(
        default.is_finite() && default > 0.0,
        "mscale_all_dim",
        "a number that leaves a factor above 0",
    )?;
    parameters.positive_or("attention_factor", default)
}
