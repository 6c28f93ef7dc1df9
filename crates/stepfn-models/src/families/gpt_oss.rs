//! gpt-oss 20B and 120B.
//!
//! Llama with biases, a sink for each head, windows in every other layer, YaRN, and a mixture of experts in every layer. The gate of an expert is
//! clamped. Files have the matrices of all experts of a layer in one tensor, and mostly as MXFP4.

use super::experts::{Fields as ExpertFields, experts};
use super::rotary::{RotaryFields, WHOLE_HEAD};
use super::{Family, llama_like};
use crate::ModelError;
use crate::config::{Activation, Positions, RotaryScaling, SpecialTokens, TransformerConfig, Weighing};
use crate::json::Fields;
use crate::names::{Layout, Packed, exact, whole};

pub(super) const GPT_OSS: Family = Family {
    name: "gpt_oss",
    configure,
    names: |config| {
        const GATE_UP: &str = "model.layers.{}.mlp.experts.gate_up_proj";
        const GATE_UP_BIAS: &str = "model.layers.{}.mlp.experts.gate_up_proj_bias";
        const DOWN: &str = "model.layers.{}.mlp.experts.down_proj";
        const DOWN_BIAS: &str = "model.layers.{}.mlp.experts.down_proj_bias";
        const GATE: Layout = Layout::StackedColumns(Some(Packed::Gate));
        const UP: Layout = Layout::StackedColumns(Some(Packed::Up));
        const ALL: Layout = Layout::StackedColumns(None);
        let layers = [
            exact("decoder.layers.{}.self_attention.sinks", "model.layers.{}.self_attn.sinks", Layout::Whole),
            whole("decoder.layers.{}.feed_forward.router", "model.layers.{}.mlp.router"),
            exact("decoder.layers.{}.feed_forward.experts.{}.gate.weight", GATE_UP, GATE),
            exact("decoder.layers.{}.feed_forward.experts.{}.gate.bias", GATE_UP_BIAS, GATE),
            exact("decoder.layers.{}.feed_forward.experts.{}.up.weight", GATE_UP, UP),
            exact("decoder.layers.{}.feed_forward.experts.{}.up.bias", GATE_UP_BIAS, UP),
            exact("decoder.layers.{}.feed_forward.experts.{}.down.weight", DOWN, ALL),
            exact("decoder.layers.{}.feed_forward.experts.{}.down.bias", DOWN_BIAS, ALL),
        ];
        let output = &llama_like::OUTPUT_DOWN[..1];
        [&llama_like::outer_names(config)[..], &llama_like::QUERY_KEY_VALUE, output, &layers, &llama_like::PRE_NORMS]
            .concat()
    },
    prefixes: &["model."],
    ignored: &["rotary_emb.inv_freq"],
};

fn configure(f: &Fields) -> Result<TransformerConfig, ModelError> {
    let rotary = RotaryFields { default_positions: Some(131_072), default_theta: 150_000.0, ..WHOLE_HEAD };
    let defaults = llama_like::Defaults {
        n_kv_heads: Some(8),
        head_dim: Some(64),
        epsilon: 1e-5,
        rotary,
        special: SpecialTokens::default(),
        ..llama_like::Defaults::llama("gpt_oss")
    };
    let mut config = llama_like::configure(f, defaults)?;
    let window = llama_like::window(f, Some(128))?;
    let is_scaled = f.optional_object("rope_scaling")?.is_some() || f.optional_object("rope_parameters")?.is_some();
    let stack = &mut config.decoder;
    if let Positions::Rotary(rotary) = &mut stack.positions
        && !is_scaled
    {
        let factor = 32.0_f64;
        rotary.scaling =
            RotaryScaling::Yarn { factor, fast: 32.0, slow: 1.0, original_positions: 4096.0, truncate: false };
        rotary.attention_factor = 0.1 * factor.ln() + 1.0;
    }
    let bias = f.bool_or("attention_bias", true)?;
    stack.attention.qkv_bias = bias;
    stack.attention.output_bias = bias;
    stack.attention.sinks = true;
    stack.attention.windows = llama_like::windows_by_layer(f, stack.n_layers, window, |layer| layer % 2 == 0)?;
    // `x · sigmoid(1.702 x)`, whatever `hidden_act` says.
    stack.feed_forward.activation = Activation::GeluQuick;
    f.check(f.positive_or("swiglu_alpha", 1.702)? == 1.702, "swiglu_alpha", "1.702: other gates are not implemented")?;
    stack.feed_forward.gate_limit = Some(f.positive_or("swiglu_limit", 7.0)?);
    stack.feed_forward.bias = true;
    let fields = ExpertFields { count: ("num_local_experts", 128), per_token: 4, size: ("intermediate_size", 2880) };
    let mut experts = experts(f, stack.n_layers, Weighing::OfChosen, fields)?;
    experts.router_bias = true;
    stack.experts = Some(experts);
    Ok(config)
}
