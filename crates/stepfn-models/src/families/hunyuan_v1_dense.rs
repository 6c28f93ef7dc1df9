//! Hunyuan 0.5B to 7B without experts.
//!
//! Llama with queries and keys normalized per head after the rotation. Scaling `dynamic` with an `alpha` is one larger base, whatever the length.

use super::{Family, llama_like};
use crate::config::{NormOver, Positions, QueryKeyNorm, RotaryScaling, SpecialTokens};
use crate::names::whole;

pub(super) const HUNYUAN_V1_DENSE: Family = Family {
    name: "hunyuan_v1_dense",
    configure: |f| {
        let defaults = llama_like::Defaults {
            epsilon: 1e-5,
            special: SpecialTokens { bos: Some(1), eos: vec![2], pad: Some(0), decoder_start: None },
            ..llama_like::Defaults::llama("hunyuan_v1_dense")
        };
        let mut config = llama_like::configure(f, defaults)?;
        llama_like::attention_bias(f, &mut config)?;
        let norm = llama_like::query_key_norm(&config, NormOver::Head);
        config.decoder.attention.query_key_norm = norm.map(|norm| QueryKeyNorm { after_rotation: true, ..norm });
        let scaling = f.optional_object(f.any_of(&["rope_scaling", "rope_parameters"]))?;
        let alpha = scaling.map_or(Ok(None), |scaling| scaling.optional_positive("alpha"))?;
        if let (Some(alpha), Positions::Rotary(rotary)) = (alpha, &mut config.decoder.positions)
            && matches!(rotary.scaling, RotaryScaling::Dynamic { .. })
        {
            let dim = rotary.dim as f64;
            rotary.theta *= alpha.powf(dim / (dim - 2.0));
            rotary.scaling = RotaryScaling::None;
        }
        Ok(config)
    },
    names: |config| {
        let mut names = llama_like::names(config);
        names.extend([
            whole("decoder.layers.{}.self_attention.query_norm", "model.layers.{}.self_attn.query_layernorm"),
            whole("decoder.layers.{}.self_attention.key_norm", "model.layers.{}.self_attn.key_layernorm"),
        ]);
        names
    },
    prefixes: &["model."],
    ignored: &["rotary_emb.inv_freq"],
};
