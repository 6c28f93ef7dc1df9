//! The supported model families, as data: each translates its `config.json` into a [`TransformerConfig`] and its tensor names with a table.
//!
//! A new family is a new file here and a line in `FAMILIES`. An option that changes the computation but that the configuration can't express
//! is an error, never ignored.

mod activation;
mod albert;
mod apertus;
mod arcee;
mod bart;
mod bart_like;
mod bert;
mod bert_like;
mod blenderbot;
mod bloom;
mod cohere;
mod distilbert;
mod electra;
mod ernie4_5;
mod exaone4;
mod experts;
mod falcon;
mod fsmt;
mod gemma;
mod gemma2;
mod glm;
mod gpt2;
mod gpt_bigcode;
mod gpt_like;
mod gpt_neo;
mod gpt_neox;
mod gpt_oss;
mod gptj;
mod granite;
mod helium;
mod hunyuan_v1_dense;
mod internlm3;
mod led;
mod llama;
mod llama_like;
mod longt5;
mod m2m_100;
mod marian;
mod mbart;
mod ministral;
mod mistral;
mod mixtral;
mod modernbert;
mod mpt;
mod mvp;
mod nemotron;
mod olmo;
mod olmo2;
mod olmoe;
mod openai_gpt;
mod opt;
mod pegasus;
mod persimmon;
mod phi;
mod phi3;
mod plbart;
mod qwen2;
mod qwen3;
mod qwen_moe;
mod roberta;
mod rotary;
mod seed_oss;
mod smollm3;
mod stablelm;
mod starcoder2;
mod switch_transformers;
mod t5;
mod t5gemma;
#[cfg(test)]
mod tests;
mod text_part;
mod xglm;

use crate::ModelError;
use crate::config::TransformerConfig;
use crate::json::Fields;
use crate::names::Name;

/// A published model family, as data.
#[derive(Debug)]
pub struct Family {
    /// `model_type` in `config.json`.
    pub name: &'static str,
    configure: fn(&Fields) -> Result<TransformerConfig, ModelError>,
    names: fn(&TransformerConfig) -> Vec<Name>,
    /// Prefixes of the table's names that files saved without the head lack.
    pub(crate) prefixes: &'static [&'static str],
    /// Suffixes of full tensor names (`.weight` included) that are ignored; with a `.` at the end, whole modules, maybe below `model.`.
    ignored: &'static [&'static str],
}

static FAMILIES: [Family; 78] = [
    gpt2::GPT2,
    gpt_neox::GPT_NEOX,
    opt::OPT,
    bloom::BLOOM,
    llama::LLAMA,
    mistral::MISTRAL,
    qwen2::QWEN2,
    qwen3::QWEN3,
    gemma2::GEMMA2,
    phi3::PHI3,
    gemma::GEMMA,
    gemma2::GEMMA3_TEXT,
    text_part::GEMMA3,
    text_part::MISTRAL3,
    olmo::OLMO,
    olmo2::OLMO2,
    olmo2::OLMO3,
    smollm3::SMOLLM3,
    granite::GRANITE,
    starcoder2::STARCODER2,
    stablelm::STABLELM,
    helium::HELIUM,
    arcee::ARCEE,
    seed_oss::SEED_OSS,
    ernie4_5::ERNIE4_5,
    phi::PHI,
    nemotron::NEMOTRON,
    exaone4::EXAONE4,
    internlm3::INTERNLM3,
    hunyuan_v1_dense::HUNYUAN_V1_DENSE,
    ministral::MINISTRAL,
    ministral::MINISTRAL3,
    apertus::APERTUS,
    cohere::COHERE,
    cohere::COHERE2,
    glm::GLM,
    glm::GLM4,
    persimmon::PERSIMMON,
    gptj::GPTJ,
    gptj::CODEGEN,
    gpt_neo::GPT_NEO,
    gpt_bigcode::GPT_BIGCODE,
    openai_gpt::OPENAI_GPT,
    xglm::XGLM,
    xglm::BIOGPT,
    falcon::FALCON,
    mpt::MPT,
    mixtral::MIXTRAL,
    qwen_moe::QWEN2_MOE,
    qwen_moe::QWEN3_MOE,
    olmoe::OLMOE,
    granite::GRANITEMOE,
    gpt_oss::GPT_OSS,
    marian::MARIAN,
    bart::BART,
    mbart::MBART,
    m2m_100::M2M_100,
    t5::T5,
    t5::MT5,
    t5::UMT5,
    pegasus::PEGASUS,
    blenderbot::BLENDERBOT,
    blenderbot::BLENDERBOT_SMALL,
    plbart::PLBART,
    mvp::MVP,
    fsmt::FSMT,
    longt5::LONGT5,
    switch_transformers::SWITCH_TRANSFORMERS,
    led::LED,
    t5gemma::T5GEMMA,
    bert::BERT,
    roberta::ROBERTA,
    roberta::XLM_ROBERTA,
    roberta::CAMEMBERT,
    distilbert::DISTILBERT,
    electra::ELECTRA,
    albert::ALBERT,
    modernbert::MODERNBERT,
];

/// Encoder–decoders that people may try, and what they have that no part computes.
static UNSUPPORTED: [(&str, &str); 5] = [
    (
        "pegasus_x",
        "its encoder also reads global tokens, which are not implemented; take `pegasus`, or `led` for long texts",
    ),
    ("bigbird_pegasus", "its sparse attention is not implemented; take `pegasus`, or `led` for long texts"),
    ("prophetnet", "its prediction of several tokens at once is not implemented; take `bart`"),
    ("switch_transformers", "its mixture of experts is not implemented; take `t5`"),
    ("nllb-moe", "its mixture of experts is not implemented; take one of the NLLB models without experts (`m2m_100`)"),
];

/// All families.
pub fn all() -> &'static [Family] {
    &FAMILIES
}

/// The family with a given `model_type`.
///
/// # Errors
/// [`ModelError::UnknownFamily`], with all names. A name that differs only in case, `-` and `_` is suggested. One that is merely similar is
/// not, because programs write this field: `gptj` is another family, and not a typing error for `gpt2`.
pub fn find(model_type: &str) -> Result<&'static Family, ModelError> {
    if let Some(family) = FAMILIES.iter().find(|family| family.name == model_type) {
        return Ok(family);
    }
    let plain = |name: &str| name.to_lowercase().replace(['-', '_'], "");
    let supported: Vec<_> = FAMILIES.iter().map(|family| family.name).collect();
    let nearest = supported.iter().find(|name| plain(name) == plain(model_type)).map(|name| (*name).to_owned());
    let reason = UNSUPPORTED.iter().find(|(name, _)| *name == model_type).map(|(_, reason)| *reason);
    Err(ModelError::UnknownFamily { found: model_type.to_owned(), nearest, reason, supported })
}

/// The family of a `config.json`.
///
/// # Errors
/// [`ModelError::Config`] if it has no `model_type`, [`ModelError::UnknownFamily`] if that is not supported.
pub fn of(config_json: &serde_json::Value) -> Result<&'static Family, ModelError> {
    let f = Fields::new(config_json)?;
    let model_type = f.optional_str("model_type")?;
    find(model_type.ok_or_else(|| f.error("model_type", "the name of a family"))?)
}

impl Family {
    /// Whether a tensor with this name is ignored.
    pub(crate) fn ignores(&self, tensor: &str) -> bool {
        let below = tensor.strip_prefix("model.").unwrap_or(tensor);
        self.ignored.iter().any(|end| tensor.ends_with(end) || (end.ends_with('.') && below.starts_with(end)))
    }

    /// Reads `config.json` as written by transformers 4 or 5.
    ///
    /// # Errors
    /// [`ModelError::Config`] with the field, what was expected and what was found: for missing and impossible values, and for every option
    /// that is not implemented.
    pub fn configure(&self, config_json: &serde_json::Value) -> Result<TransformerConfig, ModelError> {
        let f = Fields::new(config_json)?;
        let model_type = f.str_or("model_type", self.name)?;
        f.check(model_type == self.name, "model_type", self.name)?;
        refuse_unsupported(&f)?;
        let config = (self.configure)(&f)?;
        if config.decoder.experts.is_none() {
            refuse_experts(&f)?;
        }
        let is_encoder_decoder = config.is_encoder_decoder();
        f.only_bool(
            "is_encoder_decoder",
            is_encoder_decoder,
            "loading only the encoder or decoder of this family is not implemented",
        )?;
        if is_encoder_decoder {
            f.only_bool("is_decoder", false, "loading only the decoder of this family is not implemented")?;
        }
        config.validate().map_err(|error| f.as_written(error))?;
        Ok(config)
    }

    /// The name table. If a parameter has several rows, the first whose tensor is in the file counts.
    pub fn names(&self, config: &TransformerConfig) -> Vec<Name> {
        (self.names)(config)
    }
}

/// Fields of mixtures of experts, in a family without any.
fn refuse_experts(f: &Fields) -> Result<(), ModelError> {
    for field in ["num_local_experts", "num_experts", "n_routed_experts", "moe_intermediate_size"] {
        f.refuse(field, "this family has no mixtures of experts")?;
    }
    Ok(())
}

/// Options that any file may have and no family here implements.
fn refuse_unsupported(f: &Fields) -> Result<(), ModelError> {
    for field in ["quantization_config", "compression_config"] {
        f.refuse(field, "quantized weights are not supported; load the original checkpoint")?;
    }
    f.only_bool("add_cross_attention", false, "cross-attention in a causal model is not implemented")?;
    f.only_bool("use_bidirectional_attention", false, "bidirectional attention is not implemented")?;
    f.only_bool("is_causal", true, "bidirectional attention is not implemented")?;
    let prunes = f.optional_object("pruned_heads")?.is_some_and(|heads| !heads.is_empty());
    f.check(!prunes, "pruned_heads", "none: pruned heads are not implemented")
}
